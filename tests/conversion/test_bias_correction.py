"""Biases take the mean error of each channel away, and nothing else in the file changes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from edgegender.conversion import bias_correction, flatbuffer
from edgegender.conversion.bias_correction import correct_biases
from edgegender.conversion.float_network import FloatNetwork
from edgegender.conversion.layers import short_name
from edgegender.conversion.measured import score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer, require_integer
from edgegender.conversion.tensors import TensorReader, to_network_inputs
from tests.conversion.networks import (
    SIZE_PX,
    WEIGHTED,
    altered,
    block_file,
    block_network,
    block_quantizer,
    constants,
    operator_types,
    output_names,
    pictures,
    sensitive_quantizer,
)

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

PLAIN, CORRECTED = IntegerPlan(is_per_channel=False), IntegerPlan(is_per_channel=False, is_bias_corrected=True)
LAYERS = ("stem_relu_1", "expand_relu_1", "depthwise_relu_1", "project_norm_1", "wide_1", "scores_1")


@cache
def files(network: str) -> tuple[Quantizer, bytes, bytes]:
    """Returns (quantizer, plain file, corrected file)."""
    quantizer = {"block": block_quantizer, "sensitive": sensitive_quantizer}[network]()
    return quantizer, quantizer.integer(PLAIN), quantizer.integer(CORRECTED)


def channel_means(content: bytes, inputs: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the mean of each output channel of each layer with weights, measured here by hand."""
    reader = TensorReader(content)
    means: dict[str, np.ndarray] = {}
    for tensor in inputs:
        reader.run(tensor)
        for index, name, kind in reader.outputs():
            if kind in WEIGHTED:
                value = reader.value(index).astype(np.float64)
                mean = value.reshape(-1, value.shape[-1]).mean(axis=0)
                means[short_name(name)] = means.get(short_name(name), 0) + mean / len(inputs)
    return means


def mean_errors(network: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns |difference of channel means to float| before and after correction, by layer."""
    quantizer, plain, corrected = files(network)
    wanted = channel_means(quantizer.network.content, list(quantizer.inputs))
    before, after = (
        channel_means(content, to_network_inputs(content, quantizer.representative)) for content in (plain, corrected)
    )
    assert tuple(wanted) == tuple(before) == tuple(after) == LAYERS
    return (
        {name: np.abs(before[name] - wanted[name]) for name in wanted},
        {name: np.abs(after[name] - wanted[name]) for name in wanted},
    )


@pytest.mark.parametrize("network", ["block", "sensitive"])
def test_the_means_of_each_layer_come_closer_to_float(network: str) -> None:
    before, after = mean_errors(network)
    for name in LAYERS:
        # measured: a twentieth to a hundredth of it in layers without activation, a sixth behind ReLU6, whose clipped
        # values do not move with the bias
        assert after[name].mean() < 0.25 * before[name].mean(), name


def test_without_an_activation_hardly_a_step_of_the_bias_is_left() -> None:
    _, _, corrected = files("block")
    _, after = mean_errors("block")
    model = flatbuffer.unpack(corrected)
    graph = flatbuffer.graph_of(model)
    for operator in graph.operators:
        name = short_name(flatbuffer.text(graph.tensors[operator.outputs[0]].name))
        if name in ("project_norm_1", "scores_1"):
            # measured: an eighth of a step of the output, whose rounding moves some of the values only
            step = float(graph.tensors[operator.outputs[0]].quantization.scale[0])
            assert after[name].max() < 0.25 * step


@pytest.mark.parametrize(("network", "share"), [("block", 0.6), ("sensitive", 0.4)])
def test_the_scores_come_closer_to_float(network: str, share: float) -> None:
    """Measured: .0237 to .0083 and .224 to .044; noise without a mean stays, and the bounds leave room for it."""
    quantizer, *contents = files(network)
    images = quantizer.representative
    plain = score_inputs(quantizer.network.content, images, scaling="tf")
    differences = [score_inputs(content, images, scaling="tf") - plain for content in contents]
    before, after = (np.abs(difference).mean() for difference in differences)
    assert after < share * before
    # and on average, which is what was corrected, nearly nothing is left
    shift_before, shift_after = (np.abs(difference.mean(axis=0)).max() for difference in differences)
    assert shift_after < 0.2 * shift_before


def test_pictures_that_were_not_measured_gain_too() -> None:
    quantizer, plain, corrected = files("sensitive")
    images = pictures(seed=5)
    wanted = score_inputs(quantizer.network.content, images, scaling="tf")
    before, after = (
        np.abs(score_inputs(content, images, scaling="tf") - wanted).mean() for content in (plain, corrected)
    )
    assert after < 0.5 * before


@pytest.mark.parametrize("is_per_channel", [True, False])
def test_nothing_but_biases_changes(is_per_channel: bool) -> None:
    plain = block_file(IntegerPlan(is_per_channel=is_per_channel))
    corrected = block_file(IntegerPlan(is_per_channel=is_per_channel, is_bias_corrected=True))
    assert operator_types(corrected) == operator_types(plain)
    before, after = constants(plain), constants(corrected)
    assert before.keys() == after.keys()
    changed = set()
    for name, (kind, data, *quantization) in before.items():
        assert (after[name][0], *after[name][2:]) == (kind, *quantization)
        if after[name][1] != data:
            changed.add(name)
            assert kind == "INT32"
    assert len(changed) == 6
    require_integer(corrected)


def test_int8_and_uint8_files_get_the_same_biases() -> None:
    biases = [
        [data for kind, data, scales, _ in constants(content).values() if kind == "INT32" and scales]
        for content in (
            block_file(IntegerPlan(is_bias_corrected=True)),
            block_file(IntegerPlan(is_bias_corrected=True, io_type="int8")),
        )
    ]
    assert len(biases[0]) == 6
    assert biases[0] == biases[1]


def test_the_same_pictures_give_the_same_bytes() -> None:
    quantizer, plain, corrected = files("block")
    again = correct_biases(quantizer.network.content, plain, quantizer.inputs, quantizer.representative)
    assert again == corrected


def test_the_given_file_is_not_written_into() -> None:
    quantizer, plain, _ = files("block")
    before = bytes(bytearray(plain))
    correct_biases(quantizer.network.content, plain, quantizer.inputs, quantizer.representative[:2])
    assert plain == before


def test_no_more_photos_are_run_than_a_mean_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer, plain, _ = files("block")
    few = correct_biases(quantizer.network.content, plain, list(quantizer.inputs)[:3], quantizer.representative[:3])
    monkeypatch.setattr(bias_correction, "_MAX_PHOTOS", 3)
    assert correct_biases(quantizer.network.content, plain, quantizer.inputs, quantizer.representative) == few


def test_layers_that_stayed_float_are_left_alone_and_the_others_corrected() -> None:
    (wide,) = (name for name in output_names(block_network().content, "CONV_2D") if "wide" in name)
    plain, corrected = (
        constants(block_file(IntegerPlan(is_bias_corrected=is_corrected, float_layers=(wide,))))
        for is_corrected in (False, True)
    )
    changed = {name for name in plain if plain[name] != corrected[name]}
    assert len(changed) == 5
    assert not any("wide" in name for name in changed)
    assert {plain[name][0] for name in changed} == {"INT32"}


def test_layers_with_equal_biases_are_corrected_one_by_one() -> None:
    """The converter stores equal arrays once: a network without biases has one array of zeros for all its layers."""

    def silence(model) -> None:
        graph = flatbuffer.graph_of(model)
        for kind, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True):
            if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
                buffer = model.buffers[graph.tensors[operator.inputs[2]].buffer]
                buffer.data = np.zeros_like(buffer.data)

    network = block_network()
    quantizer = Quantizer(
        FloatNetwork(altered(network.content, silence), "tf", SIZE_PX, 2, network.convert), pictures()
    )
    plain = quantizer.integer(PLAIN)
    model = flatbuffer.unpack(plain)
    graph = flatbuffer.graph_of(model)
    stored = [
        graph.tensors[operator.inputs[2]].buffer
        for kind, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True)
        if kind in WEIGHTED
    ]
    assert len(set(stored)) < len(stored)  # what the test is about
    corrected = quantizer.integer(CORRECTED)
    wanted = channel_means(quantizer.network.content, list(quantizer.inputs))
    before, after = (
        channel_means(content, to_network_inputs(content, quantizer.representative)) for content in (plain, corrected)
    )
    for name in LAYERS:
        error, left = (np.abs(means[name] - wanted[name]).mean() for means in (before, after))
        assert left < 0.5 * error, name


def test_one_bias_of_two_layers_becomes_two() -> None:
    def share(model) -> None:
        graph = flatbuffer.graph_of(model)
        operators = [operator for operator in graph.operators if len(operator.inputs) == 3]
        sixteen = [operator for operator in operators if graph.tensors[operator.inputs[2]].shape[0] == 16]
        sixteen[1].inputs = [*sixteen[1].inputs[:2], sixteen[0].inputs[2]]

    shared = altered(block_file(PLAIN), share)
    own = bias_correction._with_own_biases(shared)
    assert bias_correction._with_own_biases(own) == own
    graphs = [flatbuffer.graph_of(flatbuffer.unpack(content)) for content in (shared, own)]
    biases = [[operator.inputs[2] for operator in graph.operators if len(operator.inputs) == 3] for graph in graphs]
    assert len(set(biases[0])) == 5
    assert len(set(biases[1])) == 6
    image = pictures(1)
    np.testing.assert_array_equal(score_inputs(own, image, scaling="tf"), score_inputs(shared, image, scaling="tf"))


def test_a_channel_that_an_activation_nearly_closes_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shift divided by a small share of values would be a large step into what is not known."""
    monkeypatch.setattr(bias_correction, "_LEAST_ACTIVE", 0.6)  # so that there are many such channels
    quantizer, plain, _ = files("block")
    corrected = quantizer.integer(CORRECTED)
    reader = TensorReader(plain)
    index = next(index for index, name, _ in reader.outputs() if short_name(name) == "depthwise_relu_1")
    active = np.zeros(16)
    for tensor in to_network_inputs(plain, quantizer.representative):
        reader.run(tensor)
        raw = reader.raw(index)
        active += ((raw > -128) & (raw < 127)).mean(axis=(0, 1, 2)) / len(quantizer.representative)
    before, after = (
        next(
            np.frombuffer(data, np.int32)
            for name, (kind, data, *_) in constants(content).items()
            if short_name(name) == "depthwise_relu_1" and kind == "INT32"
        )
        for content in (plain, corrected)
    )
    # the layers before are corrected in one file and not in the other: some values cross the edge
    is_open, is_closed = active > 0.65, active < 0.55
    assert is_open.sum() >= 4
    assert is_closed.sum() >= 4
    assert (before != after)[is_open].all()
    assert not (before != after)[is_closed].any()
