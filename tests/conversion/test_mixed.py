"""Layers that stay in float32: those and no others; and the layer that rounding spoils is found."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.conversion.layers import short_name
from edgegender.conversion.measured import score_inputs
from edgegender.conversion.mixed import rank_layers
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.entities import QuantizationScheme
from edgegender.errors import UsageError
from edgegender.runtime.interpreter import Interpreter
from tests.conversion.networks import (
    WEIGHTED,
    block_file,
    block_network,
    block_quantizer,
    operator_types,
    output_names,
    pictures,
    sensitive_quantizer,
)

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

FLOAT, INTEGER = ("FLOAT32",) * 4, ("INT8", "INT8", "INT32", "INT8")
LAYERS = ("stem_relu_1", "expand_relu_1", "depthwise_relu_1", "project_norm_1", "wide_1", "scores_1")


def layers_by_name() -> dict[str, str]:
    """Names of output tensors by the short names of the layers with weights."""
    return {short_name(name): name for name in output_names(block_network().content, *WEIGHTED)}


@pytest.mark.parametrize("chosen", [("stem_relu_1",), ("depthwise_relu_1", "wide_1"), ("scores_1",)])
def test_the_named_layers_stay_float32_and_the_others_are_int8(chosen: tuple[str, ...]) -> None:
    names = layers_by_name()
    assert tuple(names) == LAYERS
    content = block_file(IntegerPlan(float_layers=tuple(names[name] for name in chosen)))
    types = [types for kind, types in operator_types(content) if kind in WEIGHTED]
    assert types == [FLOAT if name in chosen else INTEGER for name in LAYERS]
    others = {types for kind, types in operator_types(content) if kind in ("ADD", "MEAN", "SOFTMAX")}
    assert others == {("INT8",) * 3, ("INT8", "INT32", "INT8"), ("INT8", "INT8")}


@pytest.mark.parametrize("io_type", ["uint8", "int8"])
def test_a_mixed_file_takes_bytes_and_keeps_its_names(io_type: str) -> None:
    content = block_file(IntegerPlan(io_type=io_type, float_layers=(layers_by_name()["stem_relu_1"],)))
    interpreter = Interpreter(content, num_threads=1)
    assert interpreter.input_dtype == interpreter.output_dtype == io_type
    assert interpreter.signatures() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}


def test_a_mixed_file_is_larger_and_closer_to_float() -> None:
    """With all layers but one in float, next to nothing is lost."""
    images, plain = pictures(), score_inputs(block_network().content, pictures(), scaling="tf")
    names = layers_by_name()
    mostly_float = IntegerPlan(float_layers=tuple(names[name] for name in LAYERS[1:]))
    mixed, integer = block_file(mostly_float), block_file(IntegerPlan())
    assert len(mixed) > len(integer)
    difference = [np.abs(score_inputs(content, images, scaling="tf") - plain).mean() for content in (mixed, integer)]
    assert difference[0] < 0.75 * difference[1]


def test_make_calls_a_plan_with_float_layers_mixed() -> None:
    plan = IntegerPlan(float_layers=(layers_by_name()["scores_1"],))
    assert block_quantizer().make(QuantizationScheme.MIXED_INTEGER, plan) == block_file(plan)


def test_a_layer_that_is_not_there_is_refused_instead_of_ignored() -> None:
    plan = IntegerPlan(float_layers=(layers_by_name()["stem_relu_1"], "stem"))
    with pytest.raises(UsageError, match="Expected names of output tensors of the network, got stem") as caught:
        block_quantizer().integer(plan)
    assert "rank_layers" in caught.value.hint


# Which to leave


@pytest.fixture(scope="module")
def ranked() -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """The layers of the network with a sensitive one, and what was told meanwhile."""
    told: list[tuple[int, int]] = []
    plan = IntegerPlan(is_per_channel=False, is_bias_corrected=True)
    return rank_layers(sensitive_quantizer(), plan, on_progress=lambda *step: told.append(step)), told


def test_the_layer_that_one_scale_spoils_comes_first(ranked: tuple[tuple[str, ...], list[tuple[int, int]]]) -> None:
    names = [short_name(name) for name in ranked[0]]
    assert names[0] == "expand_relu_1"
    assert sorted(names) == sorted(LAYERS)


def test_with_a_scale_a_channel_that_layer_is_no_worse_than_others() -> None:
    assert short_name(rank_layers(sensitive_quantizer(), IntegerPlan())[0]) != "expand_relu_1"


def test_leaving_the_first_layer_in_float_mends_the_network(
    ranked: tuple[tuple[str, ...], list[tuple[int, int]]],
) -> None:
    quantizer = sensitive_quantizer()
    images = pictures()
    plain = score_inputs(quantizer.network.content, images, scaling="tf")
    errors = []
    for layers in ((), ranked[0][-1:], ranked[0][:1]):
        content = quantizer.integer(IntegerPlan(is_per_channel=False, float_layers=layers))
        errors.append(float(np.square(score_inputs(content, images, scaling="tf") - plain).mean()))
    none, last, first = errors
    # the spoilt layer makes nearly all of the error: what is left are the usual steps of the others
    assert first < 0.1 * none
    assert last > 0.5 * none


def test_progress_is_told_layer_by_layer(ranked: tuple[tuple[str, ...], list[tuple[int, int]]]) -> None:
    assert ranked[1] == [(done, 6) for done in range(1, 7)]


def test_layers_are_measured_on_the_first_photos_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.conversion import mixed

    seen: list[int] = []

    def count(content: bytes, inputs: np.ndarray, *, scaling: str) -> np.ndarray:
        seen.append(len(inputs))
        return score_inputs(content, inputs, scaling=scaling)

    monkeypatch.setattr(mixed, "_MAX_PHOTOS", 3)
    monkeypatch.setattr(mixed, "score_inputs", count)
    rank_layers(Quantizer(block_network(), pictures(5)), IntegerPlan())
    assert seen == [3] * 7  # the float network, and a file for each layer
