"""A phone as a target, played by a folder: what adb is told, what is read, and what is said about the figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgegender.benchmark import target_adb
from edgegender.benchmark.adb_device import Adb
from edgegender.benchmark.adb_facts import read_phone, read_phone_state
from edgegender.benchmark.adb_output import parse_output, parse_summary
from edgegender.benchmark.adb_tool import require_tool
from edgegender.benchmark.answers import DataSource, Sample
from edgegender.benchmark.golden import golden_images
from edgegender.benchmark.records import BenchmarkResult, Durations
from edgegender.benchmark.result import SCHEMA_FILE, parse_result, result_to_json
from edgegender.benchmark.target_adb import NUM_CALLS, measure
from edgegender.benchmark.targets import TargetRequest
from edgegender.entities import QuantizationScheme, UInt8Array
from edgegender.errors import MeasurementError, UsageError
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import read_model
from tests.benchmark.fake_adb import RECORDED, SERIAL, FakePhone, elf, make_phone
from tests.tiny_model import build_tiny_model

SHORT = Durations(min_seconds=0.1, min_runs=32, max_seconds=5, warmup_seconds=0.01, warmup_runs=2)
SIZE_PX = 32
NUM_GOLDEN = 8


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


# What the tool prints


def test_a_build_with_percentiles_says_runs_memory_and_delegate() -> None:
    output = parse_output(recorded("benchmark_model_cpu.txt"))
    assert output.init_us == 3337
    assert output.warmup is not None
    assert output.warmup.first_us == 11913
    assert (output.timed.count, output.timed.first_us, output.timed.last_us) == (1061, 11576, 11399)
    assert (output.timed.min_us, output.timed.max_us, output.timed.mean_us) == (11309, 12036, 11465.8)
    assert (output.timed.median_us, output.timed.p95_us) == (11440, 11650)
    assert output.peak_memory_mb == 13.25
    assert output.delegated == (5, 5, "TfLiteXNNPackDelegate")
    assert output.coverage == "completely"


def test_an_older_build_says_no_percentile() -> None:
    output = parse_output(recorded("benchmark_model_old.txt"))
    assert output.timed.mean_us == 2.95034e06
    assert output.timed.median_us is None
    assert output.warmup is not None
    assert (output.warmup.count, output.warmup.first_us) == (1, 3512391)
    assert output.peak_memory_mb == 46.0859
    assert output.coverage == ""


def test_the_summary_under_a_profile_is_read_too() -> None:
    output = parse_output(recorded("benchmark_model_profiled.txt"))
    assert (output.init_us, output.timed.count, output.warmup) == (38467, 50, None)


def test_a_network_that_the_gpu_runs_in_part_is_told_as_such() -> None:
    output = parse_output(recorded("benchmark_model_gpu.txt").replace("\n", "\r\n"))
    assert output.coverage == "partially"
    assert output.delegated == (4, 5, "TfLiteGpuDelegateV2")
    assert output.timed.mean_us == 3513.4
    refused = recorded("benchmark_model_gpu.txt").replace(
        "Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 1 delegate",
        "Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
    )
    assert parse_output(refused).coverage == "not"


def test_runs_that_took_the_same_are_one_number() -> None:
    summary = parse_summary("count=7 curr=12(all same)")
    assert summary is not None
    assert (summary.count, summary.min_us, summary.max_us, summary.mean_us) == (7, 12, 12, 12.0)
    assert parse_summary("count=0") is None


def test_output_without_timings_is_refused_with_the_tools_own_word() -> None:
    with pytest.raises(MeasurementError, match=r"Expected the timings of benchmark_model, got: Benchmarking failed\."):
        parse_output(recorded("benchmark_model_failed.txt"))
    with pytest.raises(MeasurementError, match="got: nothing"):
        parse_output("")
    with pytest.raises(MeasurementError, match=r"Expected count=…, curr=… of benchmark_model, got 'count=3'"):
        parse_summary("count=3")
    with pytest.raises(MeasurementError, match="Expected timed runs"):
        parse_output("Inference timings in us: Init: 1, First\ncount=0\n")


# The phone


@pytest.fixture(autouse=True)
def _few_golden_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the tests 56 starts of the tool for each result."""
    monkeypatch.setattr(target_adb, "golden_images", lambda size_px: golden_images(size_px)[:NUM_GOLDEN])


@pytest.fixture
def phone(tmp_path: Path) -> FakePhone:
    return make_phone(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny.tflite", input_size_px=SIZE_PX)


def samples(count: int = 6) -> list[Sample]:
    values = np.linspace(10, 245, count).astype(np.uint8)
    images = [np.full((SIZE_PX, SIZE_PX, 3), value, np.uint8) for value in values]
    return [Sample(image, int(image[0, 0, 0] > 127)) for image in images]


def know_all(phone: FakePhone, model: Path, photos: list[Sample] | None = None) -> Interpreter:
    """Fills the phone's table with what LiteRT answers here, and returns LiteRT."""
    file = read_model(model)
    network = Interpreter(file.content, num_threads=1)
    images: list[UInt8Array] = [np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8), *golden_images(SIZE_PX)]
    random = np.random.default_rng(0)
    images += [random.integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8) for _ in range(NUM_CALLS)]
    images += [sample.image for sample in photos or [] if sample.image is not None]
    phone.know(network, images)
    return network


def request_for(phone: FakePhone, model: Path, photos: list[Sample] | None = None, **more: object) -> TargetRequest:
    request = TargetRequest(
        target="adb",
        address=f"adb://{SERIAL}",
        models=(model,),
        samples=(photos,),
        source=DataSource("faces.csv", "test"),
        threads=(1,),
        durations=SHORT,
        engines=("xnnpack",),
        options={"benchmark_model": str(phone.tool), "adb": str(phone.program)},
        command_line=("edgegender", "benchmark", model.name, "--target", "adb"),
    )
    return replace(request, **more)  # type: ignore[arg-type] # fields by name


def kinds(result: BenchmarkResult) -> set[str]:
    return {warning.kind for warning in result.warnings}


def test_a_phone_says_what_it_is_without_its_serial_number(phone: FakePhone) -> None:
    adb = Adb(SERIAL, program=str(phone.program))
    machine, state = read_phone(adb), read_phone_state(adb)
    adb.close()
    assert (machine.cpu_model, machine.board, machine.architecture) == ("Acme AC9000", "Example Phone 9", "arm64-v8a")
    assert (machine.num_cores, machine.memory_bytes) == (2, 7629396 * 1024)
    assert machine.operating_system == "Android 14 (SDK 34)"
    assert not machine.is_virtual_machine
    assert (state.machine.governor, state.machine.frequency_mhz, state.machine.temperature_c) == (
        "schedutil",
        1801.0,
        31.2,
    )
    assert (state.thermal_status, state.is_awake, state.is_locked) == (0, True, False)
    assert SERIAL not in repr((machine, state))
    assert not list((phone.root / "data/local/tmp").iterdir())


def test_accuracy_parity_and_times_come_from_the_phone(phone: FakePhone, model: Path) -> None:
    photos = samples()
    network = know_all(phone, model, photos)
    kept: list[BenchmarkResult] = []
    (result,) = measure(request_for(phone, model, photos, on_result=kept.append))
    assert kept == [result]
    (record,) = result.latencies
    # nothing but what the tool names: the first and the last run of each process
    assert record.latencies_ns == (11_576_000, 11_399_000) * NUM_CALLS
    assert record.warmup_latencies_ns[:2] == (11_913_000, 11_502_000)
    assert record.mean_ns == pytest.approx(11_465_800)
    assert (record.load_time_ns, record.first_inference_ns) == (3_337_000, 11_913_000)
    assert record.peak_memory_bytes == int(13.25 * 2**20)
    assert record.is_output_equal
    assert record.max_output_difference == 0
    assert result.evaluation is not None
    assert result.evaluation.accuracy.value == 1.0
    assert result.data is not None
    assert result.data.num_photos == len(photos)
    assert result.parity is not None
    assert result.parity.scores[0] == tuple(network.run(golden_images(SIZE_PX)[0]))
    assert result.engine.label.startswith("benchmark_model+xnnpack")
    assert "summary_only" in kinds(result)
    assert result.is_valid
    document = result_to_json(result)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    assert parse_result(document, where="result.json").latencies == result.latencies
    assert SERIAL not in json.dumps(document)
    assert not list((phone.root / "data/local/tmp").iterdir())


def test_a_float_model_without_photos_is_measured_on_cpu_and_gpu(phone: FakePhone, tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "float.tflite", input_size_px=SIZE_PX, scheme=QuantizationScheme.FLOAT32)
    know_all(phone, model)
    on_cpu, on_gpu = measure(request_for(phone, model, threads=(1, 2), engines=()))
    assert [record.num_threads for record in on_cpu.latencies] == [1, 2]
    assert [record.num_threads for record in on_gpu.latencies] == [1]
    assert (on_gpu.engine.delegate, on_gpu.engine.precision) == ("gpu", "float16")
    assert on_gpu.latencies[0].peak_memory_bytes is None
    assert "partial_delegate" in kinds(on_gpu)
    assert on_cpu.evaluation is None
    calls = "\n".join(phone.commands())
    assert "--use_gpu=true --use_xnnpack=false" in calls
    assert "--num_threads=2 --use_xnnpack=true" in calls


def test_a_phone_whose_gpu_fails_is_measured_on_its_cpu_and_says_why(phone: FakePhone, model: Path) -> None:
    know_all(phone, model)
    phone.play("gpu", "benchmark_model_failed.txt")
    (result,) = measure(request_for(phone, model, engines=()))
    assert result.engine.delegate == "xnnpack"
    (note,) = [warning.text for warning in result.warnings if warning.kind == "no_gpu"]
    assert "Benchmarking failed" in note
    with pytest.raises(MeasurementError, match="Expected a network that the phone's GPU delegate runs"):
        measure(request_for(phone, model, engines=("gpu",)))


def test_what_was_measured_before_the_phone_went_is_kept_and_marked(phone: FakePhone, model: Path) -> None:
    know_all(phone, model)
    noise, golden, memory = NUM_CALLS, NUM_GOLDEN, 1
    (phone.root / "limit").write_text(f"{noise + golden + NUM_CALLS + memory + 3}\n")
    (result,) = measure(request_for(phone, model, threads=(1, 2)))
    assert [record.num_threads for record in result.latencies] == [1]
    (warning,) = [warning for warning in result.warnings if warning.kind == "partial"]
    assert warning.num_threads == 2
    assert not result.is_valid


def test_answers_that_change_between_the_runs_invalidate_the_figures(phone: FakePhone, model: Path) -> None:
    photos = samples()
    know_all(phone, model, photos)
    (result,) = measure(
        request_for(
            phone,
            model,
            photos,
            # the phone turns bad once the golden inputs are answered
            on_progress=lambda text: (
                (phone.root / "broken").write_bytes(b"\x00\xff") if "process 1 of" in text else None
            ),
        )
    )
    assert not result.latencies[0].is_output_equal
    assert "output" in kinds(result)
    assert not result.is_valid


@pytest.mark.parametrize(
    ("said", "kind", "is_valid"),
    [
        ({"thermalservice": "Thermal Status: 1\n"}, "throttled", True),
        ({"thermalservice": "Thermal Status: 3\n"}, "throttled", False),
        ({"power": "mWakefulness=Asleep\n"}, "screen", True),
        ({"window": "isKeyguardShowing=true\n"}, "screen", True),
    ],
)
def test_heat_and_a_dark_screen_are_told(
    phone: FakePhone, model: Path, said: dict[str, str], kind: str, is_valid: bool
) -> None:
    know_all(phone, model)
    phone.set_dumpsys(**said)
    (result,) = measure(request_for(phone, model))
    assert kind in kinds(result)
    assert result.is_valid == is_valid


def test_a_screen_that_goes_off_meanwhile_invalidates_the_figures(phone: FakePhone, model: Path) -> None:
    know_all(phone, model)
    (result,) = measure(
        request_for(
            phone,
            model,
            on_progress=lambda text: (
                phone.set_dumpsys(power="mWakefulness=Asleep\n") if f"process {NUM_CALLS} of" in text else None
            ),
        )
    )
    assert not result.is_valid
    assert "screen went off" in str(result.warnings)


# What is refused


def test_a_missing_adb_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"Expected the program .*adb, got none") as caught:
        Adb("", program=str(tmp_path / "adb"))
    assert caught.value.hint == "sudo apt-get install adb"
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", "has not allowed this computer"),
        ("error: device offline", "the phone is offline"),
        ("error: more than one device/emulator", "more than one phone"),
        ("error: no devices/emulators found", "no phone"),
        ("error: protocol fault", "Expected adb to succeed, got: error: protocol fault"),
    ],
)
def test_a_phone_that_is_not_ready_is_told_apart(phone: FakePhone, state: str, message: str) -> None:
    (phone.root / "state").write_text(state)
    with pytest.raises(MeasurementError, match=message):
        Adb("", program=str(phone.program))


def test_an_unknown_phone_is_refused_without_repeating_its_serial(phone: FakePhone) -> None:
    with pytest.raises(MeasurementError, match="no such phone") as caught:
        Adb("OTHER123", program=str(phone.program))
    assert "OTHER123" not in str(caught.value)
    with pytest.raises(UsageError, match="Expected a serial"):
        Adb("-x; reboot", program=str(phone.program))


def test_a_tool_for_another_processor_is_refused(phone: FakePhone, model: Path) -> None:
    phone.tool.write_bytes(elf(62))
    with pytest.raises(UsageError, match="Expected a benchmark_model for arm64-v8a, got one for x86_64"):
        measure(request_for(phone, model))
    phone.tool.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(UsageError, match="Expected the program benchmark_model, got another file"):
        require_tool(phone.tool, "arm64-v8a")
    with pytest.raises(UsageError, match="got No such file"):
        require_tool(phone.tool.with_name("gone"), "arm64-v8a")


def test_a_tool_too_old_to_write_its_answers_is_refused(phone: FakePhone, model: Path) -> None:
    know_all(phone, model)
    (phone.root / "writes").unlink()
    with pytest.raises(MeasurementError, match="Expected 16 answers from the phone, got 0") as caught:
        measure(request_for(phone, model))
    assert "--output_filepath" in caught.value.hint


def test_options_and_engines_are_checked(phone: FakePhone, model: Path) -> None:
    with pytest.raises(UsageError, match="Expected TensorFlow's benchmark_model for the phone, got none"):
        measure(request_for(phone, model, options={}))
    with pytest.raises(UsageError, match="Expected options of adb, benchmark_model, got speed"):
        measure(request_for(phone, model, options={"speed": "1"}))
    with pytest.raises(UsageError, match="Expected an engine of xnnpack, none, gpu, got 'npu'"):
        measure(request_for(phone, model, engines=("npu",)))
