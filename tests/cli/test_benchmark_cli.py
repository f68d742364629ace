"""``edgegender benchmark`` measures, records and prints; what is wrong is one line with a hint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from edgegender.benchmark import presets
from edgegender.benchmark.records import Durations
from edgegender.benchmark.result import SCHEMA_FILE, read_result
from edgegender.cli.benchmark_plan import parse_threads
from edgegender.cli.main import main
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import write_manifest
from edgegender.entities import FaceBox
from edgegender.errors import UsageError
from edgegender.runtime.interpreter import available_cores
from tests.benchmark.test_measure import children, is_running, wait_until
from tests.pictures import write_photo
from tests.tiny_model import build_tiny_model, grey_picture

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Makes --short shorter than it is for a user."""
    monkeypatch.setitem(presets.PRESETS, "short", Durations(0.02, 20, 20.0, 0.0, 2))


@pytest.fixture
def model(tmp_path):
    return build_tiny_model(tmp_path / "private" / "tiny.tflite")


@pytest.fixture
def manifest(tmp_path):
    """Six test photos (bright ones male), one of them unreadable; one training photo; one excluded."""
    rows = []
    for number, value in enumerate((10, 40, 90, 160, 220, 250)):
        write_photo(tmp_path / f"{number}.png", grey_picture(value + number, 64))
        rows.append(ManifestRow(f"{number}.png", "male" if value > 100 else "female", "test"))
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no photo")
    rows.append(ManifestRow("bad.jpg", "male", "test"))
    rows.append(ManifestRow("0.png", "male", "test", exclude="label_conflict"))
    write_photo(tmp_path / "train.png", grey_picture(99, 64))
    rows.append(ManifestRow("train.png", "female", "train"))
    rows[-2] = replace(rows[-2], path="excluded.png")
    write_manifest(tmp_path / "faces.csv", rows)
    return tmp_path / "faces.csv"


def run(capsys, *arguments):
    """Returns (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return caught.value.code, captured.out, captured.err


def test_accuracy_and_latency_are_printed_and_recorded(capsys, model, manifest, tmp_path):
    output = tmp_path / "results" / "tiny.json"
    code, out, err = run(capsys, "benchmark", model, "--data", manifest, "--threads", "1,2", "--short", "-o", output)
    assert code == 0
    result = read_result(output)
    jsonschema.validate(json.loads(output.read_text()), json.loads(SCHEMA_FILE.read_text()))
    assert result.evaluation.accuracy.value == 1.0
    assert (result.data.num_photos, result.data.num_unreadable, result.data.detector) == (6, 1, "none")
    assert [record.num_threads for record in result.latencies] == [1, 2]
    assert all(record.stages and record.is_output_equal for record in result.latencies)
    assert "accuracy %" in out
    assert "6 photos of faces.csv, split test" in out
    assert "p99 ms" in out
    assert "decode" in out
    assert "warning: 1 of 7 photos are not in the figures: 0 without a face, 1 unreadable" in err
    assert "bad.jpg" in err


def test_the_recorded_file_names_no_folder(capsys, model, manifest, tmp_path):
    output = tmp_path / "result.json"
    assert run(capsys, "benchmark", model, "--data", manifest, "--threads", "1", "--short", "-o", output)[0] == 0
    assert str(tmp_path) not in output.read_text()
    assert read_result(output).command_line == (
        *("edgegender", "benchmark", "tiny.tflite", "--target", "cpu", "--data", "faces.csv", "--split", "test"),
        *("--detector", "none", "--threads", "1", "--short", "--output", "result.json"),
    )


def test_the_same_manifest_and_model_give_the_same_report_row(capsys, model, manifest, tmp_path):
    output = tmp_path / "r.json"
    run(capsys, "benchmark", model, "--data", manifest, "--threads", "1", "--short", "-o", output)
    code, out, _ = run(capsys, "report", output)
    assert code == 0
    assert "| tiny | full_integer | 32 |" in out
    assert "100.00 [" in out


def test_rows_with_a_face_box_are_cropped_by_it_and_need_no_detector(capsys, model, tmp_path):
    picture = grey_picture(0, 100)
    picture[10:40, 10:40] = 255  # a bright face in a dark photo
    write_photo(tmp_path / "a.png", picture)
    write_photo(tmp_path / "b.png", grey_picture(0, 100))
    box = FaceBox(15, 15, 35, 35)
    rows = [ManifestRow("a.png", "male", "", face_box=box), ManifestRow("b.png", "female", "", face_box=box)]
    write_manifest(tmp_path / "faces.csv", rows)
    arguments = ["benchmark", model, "--data", tmp_path / "faces.csv", "--split", "all", "--threads", "1", "--short"]
    code, _, _ = run(capsys, *arguments, "--detector", "cascade", "-o", tmp_path / "r.json")
    result = read_result(tmp_path / "r.json")
    assert code == 0
    assert result.evaluation.accuracy.value == 1.0
    assert result.data.detector == "manifest"
    assert "detect" not in [stage.name for stage in result.latencies[0].stages]


def test_a_detector_leaves_out_photos_without_a_face(capsys, model, manifest):
    arguments = ["benchmark", model, "--data", manifest, "--threads", "1", "--short", "--detector", "cascade"]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "error: Expected photos to answer, got 6 no_face, 1 unreadable" in err


def test_the_detector_looks_at_real_photos(capsys, model, sample_folder, tmp_path):
    names = sorted((sample_folder / "faces").rglob("*.jpg"))[:6]
    rows = [ManifestRow(os.path.relpath(name, tmp_path), "female", "test") for name in names]
    write_manifest(tmp_path / "faces.csv", rows)
    arguments = ["benchmark", model, "--data", tmp_path / "faces.csv", "--threads", "1", "--short"]
    code, _, _ = run(capsys, *arguments, "--detector", "cascade", "-o", tmp_path / "r.json")
    result = read_result(tmp_path / "r.json")
    assert code == 0
    assert result.data.detector == "cascade"
    assert "detect" in [stage.name for stage in result.latencies[0].stages]


def test_without_photos_the_table_says_that_accuracy_was_not_measured(capsys, model):
    code, out, _ = run(capsys, "benchmark", model, "--threads", "1", "--short")
    assert code == 0
    assert "accuracy not measured" in out


def test_json_on_standard_output_is_the_recorded_document(capsys, model, tmp_path):
    code, out, _ = run(capsys, "benchmark", model, "--threads", "1", "--short", "--json", "-o", tmp_path / "r.json")
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "r.json").read_text())


def test_several_models_give_a_file_each(capsys, model, manifest, tmp_path):
    other = build_tiny_model(tmp_path / "other.tflite", is_inverted=True, input_size_px=48, name="other")
    arguments = ["benchmark", model, other, "--data", manifest, "--threads", "1", "--short"]
    code, out, _ = run(capsys, *arguments, "-o", tmp_path / "results")
    assert code == 0
    accuracies = {file.stem: read_result(file).evaluation.accuracy.value for file in (tmp_path / "results").iterdir()}
    assert accuracies == {"tiny": 1.0, "other": 0.0}
    assert out.count("p99 ms") == 2
    code, out, _ = run(capsys, *arguments, "--json")
    assert [document["model"]["name"] for document in json.loads(out)] == ["tiny", "other"]


def test_several_models_need_a_folder_and_different_names(capsys, model, tmp_path):
    other = build_tiny_model(tmp_path / "other.tflite")
    code, _, err = run(capsys, "benchmark", model, other, "-o", tmp_path / "one.json")
    assert code == 2
    assert "Expected a folder for the results of 2 models" in err
    code, _, err = run(capsys, "benchmark", model, build_tiny_model(tmp_path / "tiny.tflite"))
    assert code == 2
    assert "got tiny twice" in err


def test_the_embedded_model_is_the_default(capsys, model, monkeypatch):
    monkeypatch.setattr("edgegender.runtime.classifier.embedded_model_path", lambda: model)
    code, out, _ = run(capsys, "benchmark", "--threads", "1", "--short")
    assert code == 0
    assert out.startswith("tiny (full_integer")


@pytest.mark.parametrize("threads", ["0", "two", "", "1,0", "-1", "1.5", "257", "²", "1,,2", "9" * 5000])
def test_threads_that_are_no_number_are_wrong_usage(capsys, model, threads):
    code, _, err = run(capsys, "benchmark", model, f"--threads={threads}")
    assert code == 2
    assert err.startswith("error: Expected threads from 1 to 256 or all, got")


def test_threads_keep_their_order_and_stand_once():
    assert parse_threads("2, 1,2") == [2, 1]
    assert parse_threads("all") == [available_cores()]
    assert parse_threads(f"{available_cores()},all") == [available_cores()]
    with pytest.raises(UsageError, match="Expected threads"):
        parse_threads("many")


@pytest.mark.parametrize("target", ["", "tpu", "ssh://", "cpu://here", "adb", "telnet://me:secret@host"])
def test_another_target_names_what_there_is(capsys, model, target):
    code, _, err = run(capsys, "benchmark", model, "--target", target)
    assert code == 2
    assert "error: Expected a target of cpu, gpu, browser, ssh://user@host, adb://serial, got" in err
    assert "secret" not in err


def test_a_damaged_and_a_missing_model_are_refused(capsys, model, manifest, tmp_path):
    content = bytearray(model.read_bytes())
    content[900] ^= 1
    model.write_bytes(content)
    for path in (model, tmp_path / "none.tflite"):
        for arguments in ([], ["--data", manifest]):
            code, out, err = run(capsys, "benchmark", path, "--short", *arguments)
            assert (code, out) == (1, "")
            assert err.startswith("error: Expected")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "Expected photos, got none"),
        (["--split", "holdout"], "Expected --split of train, val, test, all"),
        (["--detector", "yunet"], "Expected the file of the yunet network"),
        (["--detector", "other"], "other"),
    ],
)
def test_photos_that_do_not_fit_are_wrong_usage(capsys, model, manifest, arguments, message):
    code, _, err = run(capsys, "benchmark", model, "--data", manifest, *arguments)
    assert code == 2
    assert message in err


def test_labels_that_the_model_does_not_know_are_refused_before_measuring(capsys, manifest, tmp_path):
    other = build_tiny_model(tmp_path / "ages.tflite", labels=("old", "young"), positive_label="old")
    code, _, err = run(capsys, "benchmark", other, "--data", manifest)
    assert code == 2
    assert "Expected labels of old, young, got female, male" in err


def test_an_unwritable_output_is_found_before_measuring(capsys, model, tmp_path, monkeypatch):
    monkeypatch.setattr("edgegender.benchmark.run.measure_repeatedly", None)  # would be an error of its own
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "r.json", tmp_path):
        code, _, err = run(capsys, "benchmark", model, "-o", output)
        assert code == 3
        assert err.startswith("error: Expected")


@pytest.mark.usefixtures("model", "plain_user")
def test_a_folder_without_the_right_to_write_is_found_before_measuring(capsys):
    Path("locked").mkdir(mode=0o500)
    code, _, err = run(capsys, "benchmark", "private/tiny.tflite", "-o", "locked/r.json")
    assert code == 3
    assert "Expected a file that can be written, got locked/r.json" in err


def test_figures_are_printed_even_when_they_cannot_be_written(capsys, model, tmp_path, monkeypatch):
    def full(*_):
        from edgegender.errors import OutputError

        raise OutputError("Expected to write, got No space left on device.")

    monkeypatch.setattr("edgegender.benchmark.result.files.write_bytes", full)
    code, out, err = run(capsys, "benchmark", model, "--threads", "1", "--short", "-o", tmp_path / "r.json")
    assert code == 3
    assert "p99 ms" in out
    assert "No space left" in err


def test_an_invalid_measurement_is_recorded_and_fails(capsys, model, tmp_path, monkeypatch):
    from edgegender.benchmark import run as run_module

    measure = run_module.measure_repeatedly

    def wrong(*arguments, **options):
        measured = measure(*arguments, **options)
        return replace(measured, record=replace(measured.record, is_output_equal=False, max_output_difference=0.5))

    monkeypatch.setattr(run_module, "measure_repeatedly", wrong)
    code, _, err = run(capsys, "benchmark", model, "--threads", "1", "--short", "-o", tmp_path / "r.json")
    assert code == 1
    assert "error: Expected a valid measurement, got: the speed run's scores differ" in err
    assert not read_result(tmp_path / "r.json").is_valid
    _, out, _ = run(capsys, "report", tmp_path / "r.json")
    assert "(invalid)" in out


def test_a_measuring_process_that_dies_is_an_error_of_the_environment(capsys, model, tmp_path, monkeypatch):
    monkeypatch.setattr("edgegender.benchmark.worker_process._BOOT", "import os; os.kill(os.getpid(), 9)")
    code, out, err = run(capsys, "benchmark", model, "--threads", "1", "--short", "-o", tmp_path / "r.json")
    assert (code, out) == (3, "")
    assert "got SIGKILL" in err
    assert "hint: Close other programs" in err
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupt_leaves_no_process_and_no_file(model, tmp_path, number, code):
    output = tmp_path / "out" / "r.json"
    command = [sys.executable, "-m", "edgegender", "benchmark", str(model), "--threads", "1", "-o", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as parent:
        (child,) = wait_until(lambda: children(parent.pid))
        wait_until(lambda: len(list(Path(f"/proc/{child}/task").iterdir())) > 1)
        time.sleep(0.2)
        parent.send_signal(number)
        _, err = parent.communicate(timeout=20)
        wait_until(lambda: not is_running(child))
    assert parent.returncode == code
    assert b"Traceback" not in err
    assert list(output.parent.iterdir()) == []


def test_tensorflow_and_matplotlib_are_not_imported(model):
    code = (
        "import sys\nfrom edgegender.cli.main import main\n"
        "try:\n main(['benchmark', sys.argv[1], '--threads', '1', '--short', '--json'])\n"
        "except SystemExit as end:\n assert end.code == 0, end.code\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'matplotlib', 'pandas')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code, str(model)], capture_output=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
