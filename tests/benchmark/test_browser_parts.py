"""What a browser's page sends, taken apart: steps, reports, records, addresses; no browser is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark.browser_model import byte_tables, gather_model
from edgegender.benchmark.browser_records import BrowserDevice, read_device, read_latencies_ns, read_matrix, read_number
from edgegender.benchmark.browser_result import make_result
from edgegender.benchmark.browser_run import BrowserPlan, DeviceRun
from edgegender.benchmark.golden import golden_images
from edgegender.benchmark.records import BenchmarkResult, Durations
from edgegender.benchmark.run import Sample
from edgegender.benchmark.target_browser import read_options
from edgegender.errors import DataError, UsageError
from edgegender.preprocess import SCALINGS, to_float
from edgegender.runtime.classifier import Classifier
from tests.benchmark.browser_requests import SHORT, grey_samples, make_request
from tests.tiny_model import build_tiny_model

DEVICE = {"cores": 8, "memoryGib": 8, "resolutionMs": 0.005, "platform": "Android", "isIsolated": True}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny.tflite")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": "red"}, "Expected options of cache, .*, got color"),
        ({"timeout": "soon"}, "Expected a number from 0 to 86400 as timeout, got 'soon'"),
        ({"devices": "0"}, "Expected a number from 0 to 64 as devices, got '0'"),
        ({"listen": "a phone:80"}, "Expected an address such as :8080 or 0.0.0.0:8080, got 'a phone:80'"),
        ({"listen": ":99999"}, "Expected an address such as :8080 or 0.0.0.0:8080, got ':99999'"),
        ({"key": "k.pem"}, "Expected a certificate and its key, got one of them"),
        ({"https": "maybe"}, "Expected https=yes or https=no, got 'maybe'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_options(options)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_tables_of_bytes_say_the_same_as_the_preprocessing(scaling: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    tables, order = byte_tables(scaling)
    looked_up = np.stack([tables[channel][picture[:, :, order[channel]]] for channel in range(3)], axis=-1)
    np.testing.assert_array_equal(looked_up, to_float(picture, scaling))


def test_samples_that_do_not_fit_are_refused(tiny: Path) -> None:
    for samples, message in (
        ([Sample(np.zeros((8, 8, 3), np.uint8), 0)], r"Expected uint8 inputs \(32, 32, 3\)"),
        ([Sample(None, 0, problem="no_face")], "Expected photos to answer, got 1 no_face"),
        ([], "Expected photos to answer, got none"),
    ):
        with pytest.raises(DataError, match=message):
            gather_model(tiny, samples, golden_images)


def test_a_browser_takes_no_signed_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    del tmp_path
    classifier = Classifier(tiny)
    classifier.interpreter.input_dtype = np.dtype("int8")  # edgegender makes no such file; a rival may be one
    monkeypatch.setattr("edgegender.benchmark.browser_model.Classifier", lambda *_, **__: classifier)
    with pytest.raises(UsageError, match="Expected a uint8 or float32 input for a browser, got int8"):
        gather_model(tiny, None, golden_images)


class Phone:
    """A device that reports what a test says."""

    def __init__(self, model: Path, samples: list[Sample] | None = None, durations: Durations = SHORT, **about: object):
        self.request = make_request(model, samples, durations=durations)
        self.model = gather_model(model, samples, lambda size_px: golden_images(size_px)[:2])
        plan = BrowserPlan([self.model], ("wasm", "webgpu"), (1, 2), durations)
        self.run = DeviceRun(read_device("  My\nphone ", {**DEVICE, **about}), plan)

    def __enter__(self) -> Phone:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.samples_file.close()

    def step(self, engine: str = "wasm", threads: int = 1, **rest: object) -> dict[str, object]:
        return {"model": 0, "engine": engine, "threads": threads, "kind": "speed", **rest}

    def report(self, kind: str, step: dict[str, object] | None = None, **values: object) -> dict[str, object]:
        return self.run.take({"step": step or self.step(), "kind": kind, **values})

    def begin(self, answers: object = None) -> dict[str, object]:
        rows = [[128, 128]] * len(self.model.speed) if answers is None else answers
        return self.report("start", loadMs=5, firstMs=3, answers=rows)

    def block(self, latencies: list[float], **values: object) -> dict[str, object]:
        return self.report("block", latencies=latencies, elapsedMs=sum(latencies), **{"gap": 0, **values})

    def result(self) -> BenchmarkResult | None:
        return make_result(self.run, self.run.engines[0], self.request, litertjs_version="2.5.3")


def kinds(result: BenchmarkResult | None) -> set[str]:
    assert result is not None
    return {warning.kind for warning in result.warnings}


def test_a_warm_up_lasts_until_its_times_settle(tiny: Path) -> None:
    with Phone(tiny) as phone:
        assert phone.begin()["phase"] == "warmup"
        assert phone.block([30.0, 30.0], phase="warmup")["phase"] == "warmup"
        assert phone.block([10.0, 10.0], phase="warmup")["phase"] == "warmup"  # still getting faster
        assert phone.block([10.0, 10.0], phase="warmup")["phase"] == "timed"
        assert phone.block([10.0] * 20, phase="timed").get("phase") is None
        result = phone.result()
        assert result is not None
        assert len(result.latencies[0].warmup_latencies_ns) == 6
        assert result.latencies[0].percentile(50).value_ns == 10_000_000


def test_a_coarse_clock_is_told(tiny: Path) -> None:
    for resolution_ms, is_invalid in ((0.2, False), (20.0, True)):
        with Phone(tiny, resolutionMs=resolution_ms) as phone:
            phone.begin()
            phone.block([10.0] * 20, phase="timed")
            result = phone.result()
            assert result is not None
            (warning,) = (warning for warning in result.warnings if warning.kind == "resolution")
            assert warning.is_invalidating == is_invalid
    with Phone(tiny, resolutionMs=0.005) as phone:
        phone.begin()
        phone.block([10.0] * 20, phase="timed")
        assert "resolution" not in kinds(phone.result())


def test_answers_that_change_while_the_speed_is_measured_invalidate_it(tiny: Path) -> None:
    with Phone(tiny) as phone:
        phone.begin()
        phone.block([10.0] * 20, phase="timed", gap=1)
        result = phone.result()
        assert result is not None
        assert result.latencies[0].max_output_difference == pytest.approx(1 / 256)
        assert not result.is_valid


def test_answers_of_the_speed_run_are_held_to_the_accuracy_run(tiny: Path) -> None:
    with Phone(tiny, grey_samples(3)) as phone:
        phone.begin([[100, 156]] * 3)
        phone.block([10.0] * 20, phase="timed")
        rows = [[100, 156], [90, 166], [100, 156]]
        phone.report("answers", phone.step(kind="answers", start=0, count=3), answers=rows)
        result = phone.result()
        assert result is not None
        assert result.latencies[0].max_output_difference == pytest.approx(10 / 256)
        assert "output" in kinds(result)


def test_a_page_that_is_hidden_again_and_again_is_given_up(tiny: Path) -> None:
    with Phone(tiny) as phone:
        phone.begin()
        for _ in range(20):
            assert phone.block([10.0], phase="timed", isHidden=True)["phase"] == "warmup"
        assert phone.block([10.0], phase="timed", isHidden=True).get("phase") is None
        assert phone.run.engines[0].speeds[0].problem == "the page was hidden again and again"
        assert phone.result() is None


def test_what_a_device_does_not_have_is_noted_and_left_out(tiny: Path) -> None:
    with Phone(tiny, isIsolated=False) as phone:
        assert [(run.engine, len(run.speeds)) for run in phone.run.engines] == [("wasm", 1)]
        phone.begin()
        phone.block([10.0] * 20, phase="timed")
        assert {"webgpu", "threads", "not_isolated"} <= kinds(phone.result())
    with Phone(tiny, gpu="arm mali", canThread=True) as phone:
        assert [(run.engine, len(run.speeds)) for run in phone.run.engines] == [("wasm", 2), ("webgpu", 1)]
        phone.report("failed", phone.step("webgpu"), message="device lost")
        assert not phone.run.engines[1].is_over  # it may try once more
        phone.report("failed", phone.step("webgpu"), message="device lost")
        assert phone.run.engines[1].is_over
        phone.begin()
        phone.block([10.0] * 20, phase="timed")
        result = phone.result()
        assert result is not None
        assert "WebGPU did not do its part: device lost" in [warning.text for warning in result.warnings]
        assert phone.run.device.to_machine("webgpu").cpu_model == "GPU arm mali"


def test_a_device_is_described_without_what_it_should_not_say() -> None:
    device = read_device("My\x1b[31m phone" + "x" * 99, {**DEVICE, "platformVersion": "14", "browser": "Chrome"})
    assert device.name.startswith("My[31m phone")
    assert len(device.name) == 60
    assert device.to_machine("wasm").operating_system == "Android 14, Chrome"
    assert device.to_machine("wasm").memory_bytes == 8 * 2**30
    unknown = BrowserDevice("", "", "", "", "", 0, 0.0, "", False, False, 0.1)
    assert unknown.title == "unknown device"
    assert unknown.to_machine("wasm").num_cores == 1


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("start", {"answers": [[1, 2]], "loadMs": 1, "firstMs": 1}, "Expected 64 rows of 2 finite numbers as answers"),
        ("start", {"answers": [["a"]]}, "Expected rows of numbers as answers, got others"),
        ("block", {}, "Expected a report of this step, got another"),
        ("golden", {"answers": [[float("nan"), 0.0]] * 2}, "Expected 2 rows of 2 finite numbers as answers"),
        ("dance", {}, "Expected a report of this step, got another"),
    ],
)
def test_reports_that_make_no_sense_are_refused(tiny: Path, kind: str, values: dict[str, object], message: str) -> None:
    with Phone(tiny) as phone, pytest.raises(UsageError, match=message):
        phone.report(kind, **values)


def test_a_report_of_another_step_is_refused(tiny: Path) -> None:
    with Phone(tiny) as phone:
        for step in ({"model": 7}, {**phone.step(), "threads": 9}):
            with pytest.raises(UsageError, match="Expected a step of this run, got another"):
                phone.report("start", step)


def test_numbers_of_a_page_are_held_to_their_ranges() -> None:
    for value in (None, True, -1, 2.0, float("nan"), "1"):
        with pytest.raises(UsageError, match="Expected a number from 0 to 1 as x"):
            read_number({"x": value}, "x", most=1)
    for value in (None, [], [1.0] * 4):
        with pytest.raises(UsageError, match="Expected 1 to 3 latencies, got others"):
            read_latencies_ns({"latencies": value}, most=3)
    with pytest.raises(UsageError, match=r"Expected latencies from 0 to 1e\+08 ms, got -1 to 1"):
        read_latencies_ns({"latencies": [-1, 1]}, most=3)
    with pytest.raises(UsageError, match="Expected rows of numbers as m, got others"):
        read_matrix({"m": [[1], [1, 2]]}, "m", (2, 1))
