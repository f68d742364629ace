"""ONNX Runtime answers as LiteRT does on the same float network."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark import engine_onnx
from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.records import Durations
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec
from edgegender.benchmark.rival_source import rival_entry, rival_subject
from edgegender.benchmark.rivals import read_rival
from edgegender.benchmark.run import benchmark_model
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from tests.benchmark.exported_pair import answer, litert_scores, pictures, write_pair, write_rival
from tests.conv_model import SIZE_PX
from tests.tiny_model import build_tiny_model

onnx = pytest.importorskip("onnx", reason="the [onnx] extra is not installed")
pytest.importorskip("onnxruntime", reason="the [onnx] extra is not installed")
pytestmark = pytest.mark.tensorflow
TOLERANCE = 1e-5  # float32 sums in another order
VERY_SHORT = Durations(min_seconds=0.05, min_runs=20, max_seconds=5, warmup_seconds=0, warmup_runs=1)


def channels_first(size_px: int = 16) -> bytes:
    """Returns an ONNX network of any batch: the mean of each channel, and minus it for the second row of answers."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Neg", ["means"], ["negatives"]),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ["batch", 3, size_px, size_px])],
        [helper.make_tensor_value_info(name, kinds.FLOAT, ["batch", 3]) for name in ("means", "negatives")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("num_threads", [1, 2])
def test_the_exported_network_answers_as_litert_does(tmp_path: Path, num_threads: int) -> None:
    engine = create_engine("onnxruntime", write_pair(tmp_path), num_threads=num_threads)
    assert engine.record.label == "onnxruntime"
    assert (engine.batch_size, engine.input_size_px) == (1, SIZE_PX)
    np.testing.assert_allclose(answer(engine, pictures()), litert_scores(pictures()), atol=TOLERANCE)


def test_the_harness_measures_it_from_the_tflites_name(tmp_path: Path) -> None:
    result = benchmark_model(write_pair(tmp_path), None, threads=(1,), durations=VERY_SHORT, engine="onnxruntime")
    assert result.engine.name == "onnxruntime"
    assert result.latencies[0].is_output_equal


def test_a_rival_with_channels_first_and_any_batch_is_run(tmp_path: Path) -> None:
    description = write_rival(
        tmp_path,
        channels_first(),
        input={"size_px": 16, "layout": "NCHW", "channels": "BGR", "scaling": "raw"},
        output={"tensor": 1, "kind": "logits", "columns": [2, 0]},
    )
    rival = read_rival(description)
    subject, entry = rival_subject(rival), rival_entry(rival)
    engine = create_engine(entry, subject.path, num_threads=1, batch_size=2)
    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[..., 0], images[..., 2] = 3, 2  # red 3, blue 2: logits -3 for red (column 2), -2 for blue (column 0)
    raised = np.exp([-3.0, -2.0])
    np.testing.assert_allclose(answer(engine, images), [raised / raised.sum()] * 2, rtol=1e-6)


def test_a_tflite_without_its_onnx_or_with_another_one_is_refused(tmp_path: Path) -> None:
    model = write_pair(tmp_path)
    content = model.with_suffix(".onnx").read_bytes()
    for changed, message in (
        (
            content.replace(b'{"seed": 1}', b'{"seed": 2}'),
            "same network as conv.tflite, got one with other prov",
        ),
        (content[:1000], "Expected an ONNX file, got a damaged one"),
    ):
        model.with_suffix(".onnx").write_bytes(changed)
        with pytest.raises(ModelFileError, match=message):
            engine_onnx.create(model, variant="", num_threads=1, batch_size=1)
    model.with_suffix(".onnx").unlink()
    with pytest.raises(ModelFileError, match="Expected the network as ONNX beside it, got none"):
        engine_onnx.create(model, variant="", num_threads=1, batch_size=1)
    with pytest.raises(UsageError, match="got full_integer"):
        engine_onnx.create(build_tiny_model(tmp_path / "t.tflite"), variant="", num_threads=1, batch_size=1)


def test_what_is_no_fitting_network_is_refused() -> None:
    content, spec = channels_first(), InputSpec(16, "NCHW")
    with pytest.raises(ModelFileError, match="Expected an ONNX network, got: "):
        engine_onnx.load(b"no network", spec=spec, output=OutputSpec())
    with pytest.raises(ModelFileError, match=r"Expected an input of shape \(1, 16, 16, 3\)"):
        engine_onnx.load(content, spec=InputSpec(16), output=OutputSpec())
    with pytest.raises(ModelFileError, match="Expected output 2, got a network with 2"):
        engine_onnx.load(content, spec=spec, output=OutputSpec(tensor=2))
    two = onnx.load_model_from_string(content)
    two.graph.input.append(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1]))
    with pytest.raises(ModelFileError, match=r"Expected one picture as input, got x .*, y "):
        engine_onnx.load(two.SerializeToString(), spec=spec, output=OutputSpec())


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="Expected the package onnxruntime") as caught:
        engine_onnx.prepare("")
    assert "edgegender[onnxruntime]" in caught.value.hint
