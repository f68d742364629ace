"""Engines are found by name and imported when they are asked for."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest

from edgegender.benchmark import engines
from edgegender.benchmark.engine_litert import LitertEngine
from edgegender.benchmark.engines import (
    EngineEntry,
    create_engine,
    engine_names,
    entry_to_job,
    find_engine,
    prepare_engine,
    register_engine,
)
from edgegender.benchmark.golden import golden_images
from edgegender.entities import QuantizationScheme
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import embedded_model_path
from tests.pictures import noise
from tests.tiny_model import build_network, build_tiny_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(engines, "_ENGINES", dict(engines._ENGINES))


def pictures(count):
    return np.stack([noise(32, 32, seed) // (seed + 1) for seed in range(count)])


@pytest.mark.parametrize("name", ["litert", "litert-no-xnnpack", "litert-reference"])
@pytest.mark.parametrize("scheme", [QuantizationScheme.FULL_INTEGER, QuantizationScheme.FLOAT32])
def test_each_way_through_litert_gives_the_classifiers_scores(tmp_path, name, scheme):
    path = build_tiny_model(tmp_path / "m.tflite", scheme=scheme)
    engine, classifier = create_engine(name, path, num_threads=1), Classifier(path)
    for image in pictures(3):
        engine.run(engine.to_tensor(image[np.newaxis]))
        # kernels may round another way: one step of a quantized score, a few bits of a float one
        assert np.abs(engine.read_scores()[0] - classifier.forward(image)).max() <= 1 / 256


def test_the_device_path_gives_the_classifiers_scores_exactly(tiny):
    engine, classifier = create_engine("litert", tiny, num_threads=1), Classifier(tiny, num_threads=1)
    for image in pictures(5):
        engine.run(engine.to_tensor(image[np.newaxis]))
        assert engine.read_scores().tolist() == [classifier.forward(image).tolist()]


@pytest.mark.parametrize(
    ("name", "delegate"), [("litert", "xnnpack"), ("litert-no-xnnpack", "none"), ("litert-reference", "reference")]
)
def test_an_engine_says_what_it_is(tiny, name, delegate):
    engine = create_engine(name, tiny, num_threads=1)
    assert (engine.record.delegate, engine.record.precision) == (delegate, "as_stored")
    assert engine.record.version
    assert (engine.batch_size, engine.input_size_px) == (1, 32)


def test_a_batch_gives_a_row_a_picture():
    model = embedded_model_path()
    single, batch = (create_engine("litert", model, num_threads=1, batch_size=size) for size in (1, 3))
    images = golden_images(single.input_size_px)[:3]
    batch.run(batch.to_tensor(images))
    for image, row in zip(images, batch.read_scores(), strict=True):
        single.run(single.to_tensor(image[np.newaxis]))
        assert row.tolist() == single.read_scores()[0].tolist()


@pytest.mark.parametrize(("threads", "batch"), [(0, 1), (257, 1), (1, 0)])
def test_threads_and_batches_that_make_no_sense_are_refused(tiny, threads, batch):
    with pytest.raises(UsageError, match="Expected 1 to 256 threads and a picture at least"):
        create_engine("litert", tiny, num_threads=threads, batch_size=batch)


def test_a_network_that_takes_no_batch_says_so(tiny):
    with pytest.raises(ModelFileError, match=r"Expected a network that .* runs, got: .* \(tiny.tflite\)"):
        create_engine("litert", tiny, num_threads=1, batch_size=3)


def test_a_damaged_file_and_a_network_that_does_not_run_are_refused(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match="Expected"):
        create_engine("litert", tmp_path / "bad.tflite", num_threads=1)
    with pytest.raises(ModelFileError, match="Expected a network that ai-edge-litert"):
        LitertEngine(b"\0" * 64, variant="xnnpack", num_threads=1, scaling="tf")


def test_an_unknown_way_is_refused():
    with pytest.raises(UsageError, match="Expected a variant of xnnpack"):
        LitertEngine(build_network(), variant="turbo", num_threads=1, scaling="tf")


def test_an_unknown_engine_names_those_there_are():
    with pytest.raises(UsageError, match=r"Expected an engine of litert, litert-no-xnnpack, .*, got 'warp'"):
        create_engine("warp", None, num_threads=1)
    assert {"litert", "onnxruntime", "openvino", "keras-jax", "tflite-runtime"} <= set(engine_names())


@pytest.mark.skipif("tflite_runtime" in sys.modules, reason="tflite-runtime is installed")
def test_a_runtime_that_is_not_installed_names_its_extra(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", None)
    with pytest.raises(MissingDependencyError, match="Expected the package tflite-runtime") as caught:
        create_engine("tflite-runtime", tiny, num_threads=1)
    assert "edgegender[tflite-runtime]" in caught.value.hint


@pytest.mark.usefixtures("own_registry")
def test_another_module_can_add_an_engine(monkeypatch, tiny):
    module = ModuleType("own_engine")
    asked = []
    module.create = lambda model, **options: asked.append((model, options))
    monkeypatch.setitem(sys.modules, "own_engine", module)
    register_engine("own", EngineEntry("own_engine", "fast"))
    prepare_engine(find_engine("own"))
    create_engine("own", tiny, num_threads=2, batch_size=4)
    assert asked == [(tiny, {"variant": "fast", "num_threads": 2, "batch_size": 4})]
    assert EngineEntry(**entry_to_job(find_engine("own"))) == EngineEntry("own_engine", "fast")


def test_an_engine_whose_module_is_not_there_is_refused_and_a_broken_one_is_not_hidden(monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="Expected an engine of this version, got no_such_module"):
        prepare_engine(EngineEntry("no_such_module"))
    (tmp_path / "broken_engine.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        prepare_engine(EngineEntry("broken_engine"))


def test_looking_an_engine_up_imports_no_runtime():
    code = (
        "import sys; from edgegender.benchmark.engines import find_engine; find_engine('openvino'); "
        "sys.exit(any(name.split('.')[0] in ('ai_edge_litert', 'openvino', 'onnxruntime', 'keras') "
        "for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
