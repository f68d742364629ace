"""OpenVINO answers as LiteRT does on the same float network, and says in which precision."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgegender.benchmark import engine_openvino
from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from tests.benchmark.exported_pair import answer, litert_scores, pictures, write_pair
from tests.benchmark.test_engine_onnx import channels_first
from tests.conv_model import SIZE_PX

pytest.importorskip("openvino", reason="openvino is not installed: the extra [openvino]")
pytestmark = pytest.mark.tensorflow
TOLERANCE = 1e-5  # float32 sums in another order
ROUNDED_TOLERANCE = 0.02  # bfloat16 keeps 8 bits: a fraction of a per cent of each number, over three layers


def test_in_float32_it_answers_as_litert_does(tmp_path: Path) -> None:
    model = write_pair(tmp_path)
    engine = engine_openvino.create(model, variant="float32", num_threads=2, batch_size=1)
    assert engine.record.label == "openvino float32"
    assert engine.input_size_px == SIZE_PX
    np.testing.assert_allclose(answer(engine, pictures()), litert_scores(pictures()), atol=TOLERANCE)
    batch = engine_openvino.create(model, variant="float32", num_threads=1, batch_size=4)
    np.testing.assert_allclose(answer(batch, pictures()), litert_scores(pictures()), atol=TOLERANCE)


def test_its_own_choice_of_precision_is_recorded(tmp_path: Path) -> None:
    engine = create_engine("openvino", write_pair(tmp_path), num_threads=1)
    assert engine.record.precision in ("as_stored", "bfloat16", "float16")
    np.testing.assert_allclose(answer(engine, pictures()), litert_scores(pictures()), atol=ROUNDED_TOLERANCE)


def test_what_is_no_fitting_network_is_refused() -> None:
    content, spec = channels_first(), InputSpec(16, "NCHW")
    engine = engine_openvino.load(content, spec=spec, output=OutputSpec(tensor=1), batch_size=2)
    assert engine.batch_size == 2
    with pytest.raises(ModelFileError, match="Expected a network for OpenVINO, got: "):
        engine_openvino.load(b"no network", spec=spec, output=OutputSpec())
    with pytest.raises(ModelFileError, match=r"Expected an input of shape \(1, 16, 16, 3\)"):
        engine_openvino.load(content, spec=InputSpec(16), output=OutputSpec())
    with pytest.raises(ModelFileError, match="Expected one input and output 2, got 1 and 2"):
        engine_openvino.load(content, spec=spec, output=OutputSpec(tensor=2))
    with pytest.raises(UsageError, match="Expected a precision of as_stored, float32 for openvino, got 'int4'"):
        engine_openvino.load(content, spec=spec, output=OutputSpec(), precision="int4")


def test_without_openvino_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match="Expected the package openvino") as caught:
        engine_openvino.prepare("")
    assert caught.value.hint == "pip install 'edgegender[openvino]'"
