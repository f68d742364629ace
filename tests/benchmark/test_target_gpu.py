"""The GPU target: what a machine without a GPU is told. What a GPU itself does was not seen by these tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark import engine_gpu, target_gpu
from edgegender.benchmark.answers import DataSource
from edgegender.benchmark.engine_gpu import find_missing
from edgegender.benchmark.engine_litert import LitertEngine
from edgegender.benchmark.engines import EngineEntry
from edgegender.benchmark.measure import subject_of
from edgegender.benchmark.presets import SHORT
from edgegender.benchmark.target_gpu import measure, name_gpu, probe
from edgegender.benchmark.targets import TargetRequest
from edgegender.errors import MeasurementError, MissingDependencyError, UsageError
from edgegender.runtime.model_file import read_model
from tests.conv_model import SIZE_PX, build_conv_network
from tests.tiny_model import build_tiny_model

IS_WITH_GPU = not find_missing()
without_gpu = pytest.mark.skipif(IS_WITH_GPU, reason="this machine has a GPU")


def request_for(model: Path, **more: object) -> TargetRequest:
    request = TargetRequest("gpu", "gpu", (model,), (None,), DataSource(), (1,), SHORT)
    return replace(request, **more)  # type: ignore[arg-type] # fields by name


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return build_tiny_model(tmp_path / "tiny.tflite")


def test_an_empty_machine_lacks_all_by_name(tmp_path: Path) -> None:
    missing = "; ".join(find_missing(tmp_path))
    assert "a GPU with its kernel driver" in missing
    assert "mesa-vulkan-drivers" in missing


def test_a_machine_with_device_and_driver_lacks_neither(tmp_path: Path) -> None:
    (tmp_path / "dev/dri").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    (tmp_path / "etc/vulkan/icd.d").mkdir(parents=True)
    (tmp_path / "etc/vulkan/icd.d/nvidia.json").touch()
    assert not [name for name in find_missing(tmp_path) if "libvulkan" not in name]


@without_gpu
def test_without_a_gpu_the_target_ends_with_exit_code_3_and_what_is_missing(model: Path) -> None:
    with pytest.raises(MeasurementError, match="Expected a GPU that LiteRT can use, got: ") as caught:
        measure(request_for(model))
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("Missing: ")


def test_an_accelerator_that_crashes_is_told_and_takes_nobody_with_it(model: Path) -> None:
    subject = subject_of(read_model(model))
    with pytest.raises(MeasurementError, match=r"a GPU that LiteRT can use, got: its accelerator crashed \(SIGABRT\)"):
        probe(subject, EngineEntry("tests.benchmark.crashing_engine"))


def test_the_compiled_models_way_answers_as_the_interpreter_does() -> None:
    content = build_conv_network(is_float=True)
    images = np.random.default_rng(2).integers(0, 256, (1, SIZE_PX, SIZE_PX, 3), np.uint8)
    expected = LitertEngine(content, variant="xnnpack", num_threads=1, scaling="tf")
    expected.run(expected.to_tensor(images))
    engine = engine_gpu.load(content, scaling="tf", precision="float32", is_gpu=False)
    engine.run(engine.to_tensor(images))
    assert (engine.batch_size, engine.input_size_px) == (1, SIZE_PX)
    # the same kernels behind another interface
    np.testing.assert_allclose(engine.read_scores(), expected.read_scores(), atol=1e-6)


def test_a_damaged_file_never_reaches_the_accelerator(tmp_path: Path, model: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(model.read_bytes()[:-9] + b"\x00" * 9)
    with pytest.raises(ValueError, match="Expected"):
        engine_gpu.create(damaged, variant="", num_threads=1, batch_size=1)


def test_options_of_the_engine_are_checked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="Expected a precision of float16, float32 for the GPU, got 'int4'"):
        engine_gpu.create(model, variant="int4", num_threads=1, batch_size=1)
    with pytest.raises(UsageError, match="Expected one picture a run on LiteRT's GPU accelerator, got 8"):
        engine_gpu.create(model, variant="", num_threads=1, batch_size=8)
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert", None)
    with pytest.raises(MissingDependencyError, match="ai-edge-litert"):
        engine_gpu.prepare("")


def test_options_of_the_target_are_checked(model: Path) -> None:
    with pytest.raises(UsageError, match="Expected options of batch, run, got speed"):
        measure(request_for(model, options={"speed": "1"}))
    with pytest.raises(UsageError, match="Expected batch sizes from 1 to 4096, got '1,x'"):
        measure(request_for(model, options={"batch": "1,x"}))
    with pytest.raises(UsageError, match="Expected an engine of litert-gpu"):
        measure(request_for(model, engines=("cuda",)))
    with pytest.raises(UsageError, match="Expected one model and the run that it was converted from for Keras"):
        measure(request_for(model, engines=("keras-jax",)))
    with pytest.raises(UsageError, match="got a larger batch"):
        measure(request_for(model, options={"batch": "1,64"}))


def test_a_gpu_is_named_by_its_driver(tmp_path: Path) -> None:
    assert name_gpu(tmp_path) == ""
    card = tmp_path / "sys/class/drm/card0/device"
    card.mkdir(parents=True)
    (card / "uevent").write_text("DRIVER=i915\nPCI_ID=8086:46A6\n")
    assert name_gpu(tmp_path) == "i915 8086:46A6"
    nvidia = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    nvidia.mkdir(parents=True)
    (nvidia / "information").write_text("Model: \t\t Example GPU\nIRQ: 1\n")
    assert name_gpu(tmp_path) == "Example GPU"


def test_gpu_engines_are_found_by_name() -> None:
    assert target_gpu.ENGINES[:2] == ("litert-gpu", "litert-gpu-float32")
    assert "keras-jax-bfloat16" in target_gpu.ENGINES
