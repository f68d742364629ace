"""Latency is measured by a process of its own, which ends with its parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark import measure, worker_process
from edgegender.benchmark.engines import create_engine, entry_to_job, find_engine
from edgegender.benchmark.measure import (
    SpeedInputs,
    StagePhoto,
    measure_latency,
    measure_stages,
)
from edgegender.benchmark.records import Durations
from edgegender.benchmark.worker import time_runs
from edgegender.benchmark.worker_process import run_worker
from edgegender.entities import FaceBox, QuantizationScheme
from edgegender.errors import MeasurementError, ModelFileError, UsageError
from edgegender.memory import memory_bytes
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import read_model
from tests.pictures import noise, write_photo
from tests.tiny_model import build_tiny_model

SHORT = Durations(min_seconds=0.05, min_runs=50, max_seconds=20, warmup_seconds=0.0, warmup_runs=3)
REPOSITORY = Path(__file__).resolve().parents[2]


def speed_inputs(path, count=4):
    classifier = Classifier(path, num_threads=1)
    size_px = classifier.metadata.preprocessing.input_size_px
    images = [noise(size_px, size_px, seed) // (seed + 1) for seed in range(count)]
    tensors = np.stack([classifier.interpreter.to_tensor(image) for image in images])
    return SpeedInputs(tensors, np.stack([classifier.forward(image) for image in images]))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture(scope="module")
def record(tiny):
    return measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)


def test_runs_go_on_until_seconds_and_runs_are_both_reached(record, tiny):
    assert record.num_runs >= SHORT.min_runs
    assert sum(record.latencies_ns) > 0.2 * SHORT.min_seconds * 1e9  # the rest is the comparing of scores
    many = replace(SHORT, min_seconds=0.0, min_runs=700)
    assert measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=many).num_runs == 700


def test_a_slow_network_ends_at_the_most_seconds(tiny):
    endless = Durations(min_seconds=0.1, min_runs=10**9, max_seconds=0.1, warmup_seconds=0, warmup_runs=1)
    record = measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=endless)
    assert 0 < record.num_runs < 10**9


def test_warmup_and_first_inference_are_kept_apart(record):
    assert len(record.warmup_latencies_ns) == 3
    assert record.first_inference_ns > 0
    assert record.load_time_ns > record.first_inference_ns


def test_figures_follow_from_the_raw_values(record):
    assert record.mean_ns == pytest.approx(np.mean(record.latencies_ns))
    assert record.throughput_per_s == pytest.approx(1e9 / record.mean_ns)
    assert [entry.percent for entry in record.percentiles] == [50, 90, 95, 99]
    assert {entry.value_ns for entry in record.percentiles} <= set(record.latencies_ns)


def test_the_scores_of_the_speed_run_equal_those_of_the_accuracy_run(record):
    assert (record.is_output_equal, record.max_output_difference, record.num_inputs) == (True, 0.0, 4)


def test_float_scores_are_equal_within_rounding(tmp_path):
    path = build_tiny_model(tmp_path / "f.tflite", scheme=QuantizationScheme.FLOAT32)
    inputs = speed_inputs(path)
    near = SpeedInputs(inputs.tensors, inputs.scores + 1e-6)
    record = measure_latency(read_model(path), near, num_threads=2, durations=SHORT)
    assert record.is_output_equal
    assert record.max_output_difference == pytest.approx(1e-6, rel=0.1)  # float32 scores: 6e-8 a step


@pytest.mark.parametrize(("change", "difference"), [(0.25, 0.25), (np.nan, 1.0)])
def test_one_other_score_is_noticed(tiny, change, difference):
    inputs = speed_inputs(tiny)
    scores = inputs.scores.copy()
    scores[2, 1] += change
    record = measure_latency(read_model(tiny), SpeedInputs(inputs.tensors, scores), num_threads=1, durations=SHORT)
    assert (record.is_output_equal, record.max_output_difference) == (False, difference)


def test_a_quantized_score_may_not_differ_at_all(tiny):
    inputs = speed_inputs(tiny)
    moved = SpeedInputs(inputs.tensors, inputs.scores + 1e-9)
    assert not measure_latency(read_model(tiny), moved, num_threads=1, durations=SHORT).is_output_equal


def test_memory_is_that_of_the_measuring_process_not_of_this_one(tiny):
    ballast = np.ones(200_000_000, np.uint8)  # ru_maxrss would hand its size on to the child
    record = measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)
    assert 10e6 < record.baseline_memory_bytes < record.peak_memory_bytes < 0.9 * ballast.nbytes


def test_memory_falls_back_where_there_is_no_proc(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(OSError))
    assert memory_bytes("VmHWM") > 1e6


def test_the_parent_sleeps_while_it_measures(tiny):
    inputs, file = speed_inputs(tiny), read_model(tiny)
    job = {
        "kind": "speed",
        "engine": entry_to_job(find_engine("litert")),
        "model": str(tiny),
        "num_threads": 1,
        "batch_size": 1,
        "until_share": None,
        "inputs_dtype": inputs.tensors.dtype.str,
        "inputs_shape": inputs.tensors.shape,
        "scores_shape": inputs.scores[:, np.newaxis].shape,
        "min_seconds": 2.0,
        "min_runs": 1,
        "max_seconds": 2.0,
        "warmup_seconds": 0,
        "warmup_runs": 1,
    }
    cpu, wall = time.process_time(), time.perf_counter()
    values, _ = run_worker(job, (inputs.tensors, inputs.scores), what="test")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    assert values["sha256"] == file.sha256
    assert wall >= 2.0
    assert cpu < 0.01 * wall


def test_a_timed_run_costs_little_more_than_the_bare_network(tiny):
    engine = create_engine("litert", tiny, num_threads=1)
    inputs = speed_inputs(tiny)
    native, index = engine._native, engine._input_index
    tensor = inputs.tensors[0]
    bare = []
    for _ in range(400):
        begin = time.perf_counter_ns()
        for _ in range(10):
            native.set_tensor(index, tensor)
            native.invoke()
        bare.append((time.perf_counter_ns() - begin) / 10)
    latencies, _ = time_runs(
        engine, list(inputs.tensors), inputs.scores[:, np.newaxis], min_seconds=0, min_runs=4000, max_seconds=20
    )
    # 0.2 µs here: two readings of the clock and one Python call; 5 µs leaves room for a slow or busy machine and is
    # 1 % of the 0.5 ms network that the harness must not slow down
    assert np.median(latencies) - np.median(bare) < 5000


def test_garbage_collection_is_on_again_after_the_runs(tiny):
    import gc

    inputs = speed_inputs(tiny)
    engine = create_engine("litert", tiny, num_threads=1)
    time_runs(engine, list(inputs.tensors), inputs.scores[:, np.newaxis], min_seconds=0, min_runs=1, max_seconds=1)
    assert gc.isenabled()


@pytest.mark.parametrize("num_threads", [0, -1, 257])
def test_a_number_of_threads_that_makes_no_sense_is_refused(tiny, num_threads):
    with pytest.raises(UsageError, match="Expected 1 to 256 threads"):
        measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=num_threads)


def test_inputs_without_scores_are_refused(tiny):
    inputs = speed_inputs(tiny)
    with pytest.raises(UsageError, match="Expected scores for each input, got 4 and 3"):
        measure_latency(read_model(tiny), SpeedInputs(inputs.tensors, inputs.scores[:3]), num_threads=1)
    with pytest.raises(UsageError, match="got 0 and 0"):
        measure_latency(read_model(tiny), SpeedInputs(inputs.tensors[:0], inputs.scores[:0]), num_threads=1)


def test_a_model_that_was_replaced_meanwhile_is_refused(tmp_path):
    path = build_tiny_model(tmp_path / "m.tflite")
    file, inputs = read_model(path), speed_inputs(path)
    build_tiny_model(path, name="another")
    with pytest.raises(ModelFileError, match="Expected sha256"):
        measure_latency(file, inputs, num_threads=1, durations=SHORT)


def test_a_model_that_is_gone_or_damaged_is_refused_as_everywhere(tmp_path):
    path = build_tiny_model(tmp_path / "m.tflite")
    file, inputs = read_model(path), speed_inputs(path)
    path.write_bytes(b"other")
    with pytest.raises(ModelFileError, match=r"Expected (sha256|a \.tflite model)"):
        measure_latency(file, inputs, num_threads=1, durations=SHORT)
    path.unlink()
    with pytest.raises(ModelFileError, match="No such file"):
        measure_latency(file, inputs, num_threads=1, durations=SHORT)


@pytest.mark.parametrize(
    ("code", "message", "hint"),
    [
        ("import os; os.kill(os.getpid(), 9)", "got SIGKILL", "too much memory"),
        ("import os; os.abort()", "got SIGABRT", "inspect MODEL"),
        ("import os; os.kill(os.getpid(), 40)", "got signal 40", "inspect MODEL"),
        ("raise MemoryError('no room')", "got: MemoryError: no room", "doctor"),
        ("import os; os._exit(7)", "got: exit code 7", "doctor"),
        ("pass", "got: exit code 0", "doctor"),
    ],
)
def test_a_process_that_dies_is_one_clear_error(tiny, monkeypatch, code, message, hint):
    monkeypatch.setattr(worker_process, "_BOOT", code)
    with pytest.raises(MeasurementError, match=f"Expected the measuring process to finish, {message}") as caught:
        measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_process_that_cannot_start_is_one_clear_error(tiny, monkeypatch):
    monkeypatch.setattr(worker_process.sys, "executable", "/no/python")
    with pytest.raises(MeasurementError, match="Expected to start a measuring process, got No such file"):
        measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)


def count_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_pipe_is_left_open(tiny):
    before = count_open_files()
    measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)
    with pytest.raises(ModelFileError):
        run_worker({"kind": "stages", "engine": None, "model": "none", "num_threads": 1}, what="test")
    assert count_open_files() == before


def test_a_file_of_the_current_folder_shadows_no_package(tiny, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise SystemExit('shadowed')")
    (tmp_path / "json.py").write_text("raise SystemExit('shadowed')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT).num_runs


# The parent as a process of its own: it says which child it has, and is then ended in one way or another.
PARENT = """
import signal, sys, threading
from pathlib import Path
from edgegender.benchmark.measure import measure_latency
from edgegender.benchmark.records import Durations
from edgegender.runtime.model_file import read_model
from tests.benchmark.test_measure import speed_inputs

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
path = Path(sys.argv[1])
file, inputs = read_model(path), speed_inputs(path)
print("ready", flush=True)
measure_latency(file, inputs, num_threads=1, durations=Durations(min_seconds=60, max_seconds=60))
"""


def children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(folder.name))
    return found


def is_running(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_measuring_process_ends_with_its_parent(tiny, number):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tiny)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        (child,) = wait_until(lambda: children(parent.pid))
        # it measures: its threads are there (the one that watches the parent, at least)
        wait_until(lambda: len(list(Path(f"/proc/{child}/task").iterdir())) > 1)
        parent.send_signal(number)
        wait_until(lambda: not is_running(child))
        parent.communicate(timeout=20)
    assert parent.returncode != 0


# end to end


def test_another_engine_takes_photos_to_the_end_too(tiny, photos):
    stages = measure_stages(
        *(read_model(tiny), [StagePhoto(photo) for photo in photos]),
        num_threads=1,
        min_seconds=0.0,
        entry=find_engine("litert-no-xnnpack"),
    )
    assert [stage.name for stage in stages] == ["decode", "preprocess", "invoke", "post", "total"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    return [write_photo(folder / f"{seed}.jpg", noise(120, 90, seed)) for seed in range(3)]


def test_stages_of_crops_are_decode_preprocess_invoke_post(tiny, photos):
    stages = measure_stages(read_model(tiny), [StagePhoto(photo) for photo in photos], num_threads=1, min_seconds=0.0)
    assert [stage.name for stage in stages] == ["decode", "preprocess", "invoke", "post", "total"]
    assert {len(stage.latencies_ns) for stage in stages} == {3}
    assert [entry.percent for entry in stages[0].percentiles] == [50, 90]


def test_the_total_is_the_sum_of_the_stages(tiny, photos):
    stages = measure_stages(
        read_model(tiny), [StagePhoto(photo) for photo in photos], num_threads=1, detector="cascade", min_seconds=0.0
    )
    assert "detect" in [stage.name for stage in stages]
    parts = np.array([stage.latencies_ns for stage in stages])
    assert np.array_equal(parts[:-1].sum(axis=0), parts[-1])


def test_photos_with_a_face_box_need_no_detection(tiny, photos):
    boxed = [StagePhoto(photo, FaceBox(10, 10, 60, 60)) for photo in photos]
    stages = measure_stages(read_model(tiny), boxed, num_threads=1, detector="cascade", min_seconds=0.05)
    assert "detect" not in [stage.name for stage in stages]
    assert len(stages[0].latencies_ns) >= 3


def test_stages_without_photos_and_with_unknown_detectors_are_refused(tiny, photos):
    with pytest.raises(UsageError, match="Expected photos for the end-to-end times, got none"):
        measure_stages(read_model(tiny), [], num_threads=1)
    with pytest.raises(UsageError, match="Expected a detector of"):
        measure_stages(read_model(tiny), [StagePhoto(photos[0])], num_threads=1, detector="other")


def test_a_photo_that_has_gone_is_one_clear_error(tiny, tmp_path):
    with pytest.raises(MeasurementError, match="Expected a readable file"):
        measure_stages(read_model(tiny), [StagePhoto(tmp_path / "gone.jpg")], num_threads=1)


def test_the_worker_reports_numbers_that_it_can_be_held_to(monkeypatch, tiny):
    def answer(*_, **__):
        values = {"sha256": read_model(tiny).sha256, "load_time_ns": "soon", "max_output_difference": 0.0}
        return values, {"latencies": np.array([5]), "warmup": np.array([5])}

    monkeypatch.setattr(measure, "run_worker", answer)
    with pytest.raises(MeasurementError, match="Expected a whole number as load_time_ns, got 'soon'"):
        measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)


def test_a_job_that_was_cut_short_is_not_measured():
    head = json.dumps({"kind": "speed", "payload_bytes": 100}).encode() + b"\n"
    lifeline, held = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", worker_process._BOOT, str(lifeline), "\n".join(sys.path)],
        input=head + b"x" * 99,
        capture_output=True,
        pass_fds=(lifeline,),
        check=False,
    )
    os.close(lifeline)
    os.close(held)
    assert done.returncode == 1
    assert b"the job was cut short" in done.stderr
