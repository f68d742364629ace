"""ONNX export: what comes out answers as what went in, carries its metadata, and leaves this process as it was."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from edgegender.conversion import onnx_export
from edgegender.conversion.onnx_export import MAX_DIFFERENCE, OnnxExport, to_onnx
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.runtime.interpreter import Interpreter
from tests.conv_model import SIZE_PX, build_conv_network

onnx = pytest.importorskip("onnx", reason="the [onnx] extra is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the [onnx] extra is not installed")
for package in ("tf2onnx", "tensorflow"):  # found, not imported: only the child process may
    if util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)
pytestmark = pytest.mark.tensorflow

METADATA = ModelMetadata(
    labels=("fräulein", "herr"),
    positive_label="herr",
    preprocessing=Preprocessing(SIZE_PX),
    architecture="conv",
    scheme=QuantizationScheme.FLOAT32,
    threshold=0.6,
    temperature=1.25,
    unsure_below=0.7,
    metrics={"accuracy": {"value": 0.9}},
    license="Apache-2.0",
)
CONTENT = build_conv_network(is_float=True)


def pictures(size_px: int = SIZE_PX) -> UInt8Array:
    drawn = np.random.default_rng(3).integers(0, 256, (5, size_px, size_px, 3), np.uint8)
    drawn[0], drawn[1], drawn[2, ..., 0] = 0, 255, 255
    return drawn


class Watched:
    """What a process may leave behind."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self.modules = {name for name in sys.modules if name.split(".")[0] in ("tf2onnx", "tensorflow")}
        self.files = set(Path(tempfile.gettempdir()).iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OnnxExport, Watched, Watched]]:
    """The export, and what stood in the process before and after. Temporary files have a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("temporary")
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        before = Watched()
        export = to_onnx(CONTENT, METADATA, inputs=pictures())
        yield export, before, Watched()


@pytest.fixture
def converted_already(exported: tuple[OnnxExport, Watched, Watched], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares a test the child process."""
    content = exported[0].content
    monkeypatch.setattr(onnx_export, "_convert_apart", lambda given, opset: content)  # noqa: ARG005


# What comes out


def test_onnx_runtime_answers_as_litert(exported: tuple[OnnxExport, Watched, Watched]) -> None:
    session = onnxruntime.InferenceSession(exported[0].content, providers=["CPUExecutionProvider"])
    network = Interpreter(CONTENT, num_threads=1)
    expected = np.stack([network.run(picture) for picture in pictures()])
    scores = np.concatenate(
        [session.run(["scores"], {"image": network.to_tensor(picture)})[0] for picture in pictures()]
    )
    assert np.ptp(expected[:, 1]) > 0.05  # the pictures are answered differently, so that agreeing means something
    # float32 sums of some hundred products in another order: 1e-6 of values near 1
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert exported[0].max_difference == pytest.approx(np.abs(scores - expected).max(), abs=1e-9)  # float64 rounding


def test_inputs_and_outputs_have_clean_names_types_and_shapes(exported: tuple[OnnxExport, Watched, Watched]) -> None:
    graph = onnx.load_model_from_string(exported[0].content).graph
    described = {
        value.name: (value.type.tensor_type.elem_type, [side.dim_value for side in value.type.tensor_type.shape.dim])
        for value in (*graph.input, *graph.output)
    }
    assert described == {
        "image": (onnx.TensorProto.FLOAT, [1, SIZE_PX, SIZE_PX, 3]),
        "scores": (onnx.TensorProto.FLOAT, [1, 2]),
    }


def test_the_model_is_valid_and_of_the_asked_opset(exported: tuple[OnnxExport, Watched, Watched]) -> None:
    onnx.checker.check_model(exported[0].content, full_check=True)
    model = onnx.load_model_from_string(exported[0].content)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == 17
    assert [node.op_type for node in model.graph.node].count("Conv") == 3


def test_the_metadata_stands_inside(exported: tuple[OnnxExport, Watched, Watched]) -> None:
    model = onnx.load_model_from_string(exported[0].content)
    props = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(props["labels"]) == ["fräulein", "herr"]
    assert json.loads(props["preprocessing"]) == {"input_size_px": SIZE_PX, "crop_margin": 1.3, "scaling": "tf"}
    assert {name: float(props[name]) for name in ("threshold", "temperature", "unsure_below")} == {
        "threshold": 0.6, "temperature": 1.25, "unsure_below": 0.7
    }  # fmt: skip
    assert (props["positive_label"], props["scheme"], props["license"]) == ("herr", "float32", "Apache-2.0")
    assert json.loads(props["metrics"]) == METADATA.metrics
    assert props["source_sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert list(props) == sorted(props)


def test_this_process_is_left_as_it_was(
    exported: tuple[OnnxExport, Watched, Watched], capfd: pytest.CaptureFixture[str]
) -> None:
    _, before, after = exported
    assert before.environment == after.environment
    assert before.modules == after.modules
    assert before.files == after.files == set()
    assert capfd.readouterr() == ("", "")


def test_the_same_input_gives_the_same_bytes(
    exported: tuple[OnnxExport, Watched, Watched], capfd: pytest.CaptureFixture[str]
) -> None:
    """tf2onnx itself gives another order and other names each time."""
    assert to_onnx(CONTENT, METADATA, inputs=pictures()).content == exported[0].content
    assert capfd.readouterr() == ("", "")


# What is refused


@pytest.mark.usefixtures("converted_already")
def test_another_network_than_the_one_that_was_asked_for_is_refused() -> None:
    other = build_conv_network(is_float=True).replace(np.float32(1 / 64).tobytes(), np.float32(0.5).tobytes())
    assert other != CONTENT
    with pytest.raises(CheckFailedError, match=f"Expected scores within {MAX_DIFFERENCE:g} of the .tflite, got a diff"):
        to_onnx(other, METADATA, inputs=pictures())


def test_scores_that_are_not_finite_are_refused(
    exported: tuple[OnnxExport, Watched, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model_from_string(exported[0].content)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = np.full_like(onnx.numpy_helper.to_array(tensor), np.nan)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    monkeypatch.setattr(onnx_export, "_convert_apart", lambda given, opset: model.SerializeToString())  # noqa: ARG005
    with pytest.raises(CheckFailedError, match="Expected finite scores of both networks, got NaN or infinity"):
        to_onnx(CONTENT, METADATA, inputs=pictures())


def test_an_invalid_model_is_refused(
    exported: tuple[OnnxExport, Watched, Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_model_from_string(exported[0].content)
    model.graph.node[-1].op_type = "NoSuchOperator"
    monkeypatch.setattr(onnx_export, "_convert_apart", lambda given, opset: model.SerializeToString())  # noqa: ARG005
    with pytest.raises(CheckFailedError, match=r"Expected a valid ONNX model from tf2onnx, got: .*NoSuchOperator"):
        to_onnx(CONTENT, METADATA, inputs=pictures())


def test_what_tf2onnx_says_when_it_fails_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_BOOT", "import sys; print('a banner'); sys.exit('ValueError: no such operator')")
    with pytest.raises(CheckFailedError, match="Expected tf2onnx to convert the network, got: ValueError: no such op"):
        to_onnx(CONTENT, METADATA, inputs=pictures())


def test_a_child_that_dies_in_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "_BOOT", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(CheckFailedError, match="Expected tf2onnx to convert the network, got: exit code -9"):
        to_onnx(CONTENT, METADATA, inputs=pictures())


def test_a_child_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    with pytest.raises(CheckFailedError, match="Expected to start tf2onnx, got No such file or directory"):
        to_onnx(CONTENT, METADATA, inputs=pictures())


@pytest.mark.parametrize("package", ["tf2onnx", "onnx", "onnxruntime", "tensorflow"])
def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingDependencyError, match=f"Expected the package {package} to be installed") as caught:
        to_onnx(CONTENT, METADATA, inputs=pictures())
    assert caught.value.hint == "pip install 'edgegender[onnx]'"


def test_a_quantized_network_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a float32 network, got float32 with int8 input"):
        to_onnx(build_conv_network(), METADATA, inputs=pictures())
    metadata = dataclasses.replace(METADATA, scheme=QuantizationScheme.DYNAMIC_RANGE)
    with pytest.raises(UsageError, match="Expected a float32 network, got dynamic_range with float32 input"):
        to_onnx(CONTENT, metadata, inputs=pictures())


@pytest.mark.parametrize(
    "inputs", [pictures()[:0], pictures(15), pictures()[0], pictures().astype(np.float32)],
    ids=["none", "another size", "no batch", "numbers"],
)  # fmt: skip
def test_inputs_that_do_not_fit_are_refused(inputs: UInt8Array) -> None:
    with pytest.raises(UsageError, match=r"Expected one input or more of \(16, 16, 3\) bytes, got "):
        to_onnx(CONTENT, METADATA, inputs=inputs)


@pytest.mark.parametrize("opset", [12, 19])
def test_an_opset_that_nobody_tried_is_refused(opset: int) -> None:
    with pytest.raises(UsageError, match=f"Expected an opset from 13 to 18, got {opset}"):
        to_onnx(CONTENT, METADATA, inputs=pictures(), opset=opset)
