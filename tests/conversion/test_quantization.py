"""What each scheme's file holds: types, scales, names, size, and answers close to float."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from edgegender.conversion import flatbuffer
from edgegender.conversion.float_network import build_float_network
from edgegender.conversion.measured import score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer, require_integer, set_input_range, without_layers
from edgegender.entities import QuantizationScheme
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.preprocess import to_float
from edgegender.runtime.interpreter import Interpreter
from tests.conv_model import build_conv_network
from tests.conversion.networks import (
    SIZE_PX,
    TYPE_NAMES,
    WEIGHTED,
    altered,
    block_file,
    block_network,
    block_quantizer,
    block_scheme,
    build_block,
    constants,
    operator_types,
    pictures,
    quantization_of,
)

pytest.importorskip("keras", reason="the [train] extra is not installed")
tf = pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

QUANTIZED = [scheme for scheme in QuantizationScheme if scheme is not QuantizationScheme.MIXED_INTEGER]
OPERATORS = [
    "CONV_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "CONV_2D",
    "ADD",
    "CONV_2D",
    "MEAN",
    "FULLY_CONNECTED",
    "SOFTMAX",
]


@pytest.fixture(autouse=True)
def _quantizer_for_weights(request: pytest.FixtureRequest) -> None:
    if "weight_only" in request.node.name:
        pytest.importorskip("ai_edge_quantizer", reason="the [train] extra is not installed")


def scores_of(content: bytes, scaling: str = "tf") -> np.ndarray:
    return score_inputs(content, pictures(), scaling=scaling)


# What each scheme's file holds


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_the_signature_names_survive_each_scheme(scheme: QuantizationScheme) -> None:
    interpreter = Interpreter(block_scheme(scheme), num_threads=1)
    assert interpreter.signatures() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}
    assert interpreter.input_shape == (1, SIZE_PX, SIZE_PX, 3)
    assert interpreter.num_outputs == 2


def layer_types(content: bytes) -> list[tuple[str, tuple[str, ...]]]:
    return [(kind, types) for kind, types in operator_types(content) if kind in WEIGHTED]


def test_float32_is_the_float_network_itself() -> None:
    assert block_scheme(QuantizationScheme.FLOAT32) is block_network().content


def test_float16_has_its_weights_in_16_bits() -> None:
    content = block_scheme(QuantizationScheme.FLOAT16)
    assert {kind for kind, *_ in constants(content).values() if kind != "INT32"} == {"FLOAT16"}
    assert {types for kind, types in operator_types(content) if kind == "DEQUANTIZE"} == {("FLOAT16", "FLOAT32")}
    assert {types for _, types in layer_types(content)} == {("FLOAT32",) * 4}
    # 11 bits of each weight: 2⁻¹² of it at most, and the head's weights are large against their sum
    assert np.abs(scores_of(content) - scores_of(block_network().content)).max() < 0.01


def test_weight_only_has_int8_weights_and_computes_in_float32() -> None:
    content = block_scheme(QuantizationScheme.WEIGHT_ONLY)
    kernels = [scales for kind, _, scales, _ in constants(content).values() if kind == "INT8"]
    assert sorted(map(len, kernels)) == [2, 8, 8, 16, 16, 32]  # a scale for each output channel
    assert {types for kind, types in operator_types(content) if kind == "DEQUANTIZE"} == {("INT8", "FLOAT32")}
    assert {types for _, types in layer_types(content)} == {("FLOAT32",) * 4}


def test_weight_only_answers_as_the_network_with_rounded_weights_does() -> None:
    """To the float32 sum: nothing but the weights is rounded, each to the nearest of 255 steps of its channel."""
    content = block_network().content

    def round_weights(model) -> None:
        graph = flatbuffer.graph_of(model)
        for kind, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True):
            if kind not in WEIGHTED:
                continue
            tensor = graph.tensors[operator.inputs[1]]
            weights = model.buffers[tensor.buffer].data.view(np.float32).reshape(tensor.shape)
            axes = (0, 1, 2) if kind == "DEPTHWISE_CONV_2D" else tuple(range(1, weights.ndim))
            step = np.abs(weights).max(axis=axes, keepdims=True) / 127
            model.buffers[tensor.buffer].data = (
                (np.round(weights / step) * step).astype(np.float32).view(np.uint8).ravel()
            )

    expected = scores_of(altered(content, round_weights))
    rounded = scores_of(block_scheme(QuantizationScheme.WEIGHT_ONLY))
    assert np.abs(expected - scores_of(content)).max() > 0.01
    np.testing.assert_allclose(rounded, expected, atol=1e-4)  # the head multiplies float32's 1e-7 by some hundred


def test_dynamic_range_has_int8_weights_where_they_are_many() -> None:
    """TensorFlow leaves weights below 1024 as they are; activations are quantized while it runs."""
    kinds = [types for kind, types in layer_types(block_scheme(QuantizationScheme.DYNAMIC_RANGE)) if kind == "CONV_2D"]
    assert kinds == [("FLOAT32",) * 4] * 3 + [("FLOAT32", "INT8", "FLOAT32", "FLOAT32")]


@pytest.mark.parametrize("io_type", ["uint8", "int8"])
def test_full_integer_computes_in_int8_and_takes_what_was_asked_for(io_type: str) -> None:
    content = block_file(IntegerPlan(io_type=io_type))
    assert {types for _, types in layer_types(content)} == {("INT8", "INT8", "INT32", "INT8")}
    interpreter = Interpreter(content, num_threads=1)
    assert interpreter.input_dtype == interpreter.output_dtype == io_type
    offset = 0 if io_type == "uint8" else 128
    assert (interpreter.output_scale, interpreter.output_zero_point) == (1 / 256, -offset)
    names = flatbuffer.operator_names(flatbuffer.unpack(content))
    # uint8 costs an operator at each end; nothing in between goes back to float
    assert names == (["QUANTIZE", *OPERATORS, "QUANTIZE"] if io_type == "uint8" else OPERATORS)
    require_integer(content)


def test_int8_and_uint8_give_the_same_answers() -> None:
    np.testing.assert_array_equal(
        scores_of(block_file(IntegerPlan(io_type="uint8"))), scores_of(block_file(IntegerPlan(io_type="int8")))
    )


def test_int16x8_has_int16_activations_and_is_float_outside() -> None:
    content = block_scheme(QuantizationScheme.INT16X8)
    assert {types for _, types in layer_types(content)} == {("INT16", "INT8", "INT64", "INT16")}
    interpreter = Interpreter(content, num_threads=1)
    assert interpreter.input_dtype == interpreter.output_dtype == np.float32
    # what is left is the rounding of the weights, which weight_only has, too
    difference = scores_of(content) - scores_of(block_scheme(QuantizationScheme.DYNAMIC_RANGE))
    assert np.abs(difference).mean() < 0.05


def test_the_fewer_bits_the_smaller_the_file() -> None:
    sizes = {scheme.value: len(block_scheme(scheme)) for scheme in QUANTIZED}
    assert sizes["float32"] > sizes["float16"] > sizes["int16x8"] > sizes["full_integer"]  # int64 biases, int32 ones
    assert sizes["float16"] > sizes["dynamic_range"]
    assert sizes["float16"] > sizes["weight_only"]
    assert len(block_file(IntegerPlan(is_per_channel=False))) < sizes["full_integer"]  # one scale instead of 82


@pytest.mark.parametrize("is_per_channel", [True, False])
def test_weights_have_a_scale_a_channel_or_one_a_tensor(is_per_channel: bool) -> None:
    content = block_file(IntegerPlan(is_per_channel=is_per_channel))
    kernels = [scales for kind, _, scales, _ in constants(content).values() if kind == "INT8"]
    assert sorted(map(len, kernels)) == ([2, 8, 8, 16, 16, 32] if is_per_channel else [1] * 6)


def test_each_scheme_comes_close_to_float_and_none_is_float() -> None:
    plain = scores_of(block_network().content)
    for scheme in QUANTIZED[1:]:
        difference = np.abs(scores_of(block_scheme(scheme)) - plain)
        assert 0 < difference.mean() < 0.05, scheme  # 13 steps of a score of int8; scores spread over 0.33


def test_the_inputs_scale_says_what_to_float_says() -> None:
    interpreter = Interpreter(block_file(IntegerPlan()), num_threads=1)
    assert interpreter.input_scale == pytest.approx(1 / 127.5, rel=1e-6)  # stored as float32: 24 bits
    assert interpreter.input_zero_point in (127, 128)
    # the true zero point is 127.5, which no integer is: every byte is read half a step of 1/127.5 too high or too low
    every_byte = np.arange(256, dtype=np.uint8)
    read = (every_byte.astype(np.float64) - interpreter.input_zero_point) * interpreter.input_scale
    np.testing.assert_allclose(np.abs(read - to_float(every_byte)), 0.5 / 127.5, rtol=1e-4)


def test_the_input_covers_all_bytes_whatever_pictures_were_seen() -> None:
    dim = pictures(4) // 4 + 90
    content = Quantizer(block_network(), dim).integer(IntegerPlan())
    full, dimmed = Interpreter(block_file(IntegerPlan())), Interpreter(content)
    assert (dimmed.input_scale, dimmed.input_zero_point) == (full.input_scale, full.input_zero_point)


def test_a_network_of_another_scaling_takes_raw_bytes_too() -> None:
    model = build_block(scaling="unit")
    content = Quantizer(build_float_network(model, scaling="unit"), pictures()).integer(IntegerPlan())
    interpreter = Interpreter(content, num_threads=1)
    assert (np.float32(interpreter.input_scale), interpreter.input_zero_point) == (np.float32(1 / 255), 0)
    plain = np.asarray(model(to_float(pictures(), "unit"), training=False))
    difference = np.abs(scores_of(content) - plain).mean()
    assert difference < 0.03  # eight steps of a score, as the network of the other scaling has it
    wrong = np.asarray(model(to_float(pictures(), "tf"), training=False))
    assert np.abs(wrong - plain).mean() > 5 * difference


def test_one_representative_photo_is_enough_to_convert() -> None:
    content = Quantizer(block_network(), pictures(1)).integer(IntegerPlan("mse", is_bias_corrected=True))
    assert Interpreter(content).input_dtype == np.uint8


def test_a_layer_that_is_always_zero_can_be_quantized() -> None:
    """A dead layer has a range of no width."""

    def kill(model) -> None:
        graph = flatbuffer.graph_of(model)
        wide = next(operator for operator in graph.operators if graph.tensors[operator.outputs[0]].shape[-1] == 32)
        for index in wide.inputs[1:]:
            buffer = model.buffers[graph.tensors[index].buffer]
            buffer.data = np.zeros_like(buffer.data)

    network = block_network()
    dead = type(network)(altered(network.content, kill), "tf", SIZE_PX, 2, network.convert)
    for method in ("min_max", "mse"):
        scores = scores_of(Quantizer(dead, pictures(4)).integer(IntegerPlan(method, is_bias_corrected=True)))
        # only the head's bias is left
        assert np.abs(scores - scores_of(dead.content)).max() <= 2 / 256


# Ranges


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_narrower_ranges_are_what_the_file_has(method: str) -> None:
    wide, narrow = (flatbuffer.unpack(block_file(IntegerPlan(name))) for name in ("min_max", method))
    pairs = [
        (quantization_of(left)[0][0], quantization_of(right)[0][0])
        for left, right in zip(wide.subgraphs[0].tensors, narrow.subgraphs[0].tensors, strict=True)
        if TYPE_NAMES[left.type] == "INT8" and not flatbuffer.has_data(wide, left)
    ]
    # a step of float32 for ends that were computed in two ways
    assert all(right <= left * (1 + 1e-6) for left, right in pairs)
    assert any(right < 0.95 * left for left, right in pairs)
    assert {name: entry[1] for name, entry in constants(block_file(IntegerPlan())).items() if entry[0] == "INT8"} == {
        name: entry[1] for name, entry in constants(block_file(IntegerPlan(method))).items() if entry[0] == "INT8"
    }


def test_the_range_of_the_input_is_set_alone() -> None:
    content = set_input_range(build_conv_network(is_float=True), (-2.0, 3.0))
    ranges = {
        flatbuffer.text(tensor.name): (tensor.quantization.min[0], tensor.quantization.max[0])
        for tensor in flatbuffer.unpack(content).subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    assert ranges == {"image": (-2.0, 3.0)}


# Plans


def test_a_plan_names_its_scheme() -> None:
    plan = IntegerPlan("mse")
    assert plan.scheme is QuantizationScheme.FULL_INTEGER
    mixed = without_layers(plan, ["stem"])
    assert mixed == IntegerPlan("mse", float_layers=("stem",))
    assert mixed.scheme is QuantizationScheme.MIXED_INTEGER


def test_an_unknown_plan_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match="Expected ranges of min_max, percentile, mse, got 'entropy'"):
        IntegerPlan("entropy")
    with pytest.raises(UsageError, match="Expected input and output of uint8, int8, got 'int4'"):
        IntegerPlan(io_type="int4")


def test_make_takes_a_plan_for_the_integer_schemes() -> None:
    plan = IntegerPlan(is_per_channel=False)
    assert block_quantizer().make(QuantizationScheme.FULL_INTEGER, plan) == block_file(plan)


# Operators in float


def test_float_operators_are_named() -> None:
    names = "ADD, CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, MEAN, SOFTMAX"
    with pytest.raises(CheckFailedError, match=f"Expected integer operators alone, got float32 in {names}") as caught:
        require_integer(block_network().content)
    assert "mixed_integer" in caught.value.hint


def test_weights_that_are_unpacked_to_float_are_no_integer_file() -> None:
    with pytest.raises(CheckFailedError, match=r"got float32 in .*DEQUANTIZE"):
        require_integer(block_scheme(QuantizationScheme.FLOAT16))


def test_an_operator_without_an_integer_form_is_named_instead_of_left_in_float() -> None:
    import keras

    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    features = keras.layers.Conv2D(4, 3, strides=4)(image)
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Activation(keras.ops.sin)(features))
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(features))
    quantizer = Quantizer(build_float_network(model), pictures(2))
    with pytest.raises(CheckFailedError, match=r"Expected integer operators alone, got float32 in .*SIN"):
        quantizer.integer(IntegerPlan())


# The same again


def test_the_same_network_built_again_gives_the_same_integer_file() -> None:
    again = Quantizer(build_float_network(build_block()), pictures())
    for plan in (IntegerPlan(), IntegerPlan("mse", is_bias_corrected=True)):
        assert again.integer(plan) == block_file(plan)


def test_other_pictures_give_another_file() -> None:
    assert Quantizer(block_network(), pictures(seed=1)).integer(IntegerPlan()) != block_file(IntegerPlan())


def test_ctrl_c_in_the_middle_of_the_calibration_is_no_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.conversion import float_network

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(float_network, "to_float", stop)
    for scheme in (QuantizationScheme.FULL_INTEGER, QuantizationScheme.INT16X8):
        with pytest.raises(KeyboardInterrupt):
            Quantizer(block_network(), pictures(2)).make(scheme)


@pytest.mark.parametrize(
    ("missing", "scheme", "package"),
    [
        ("tensorflow", QuantizationScheme.FULL_INTEGER, "tensorflow"),
        ("tensorflow", QuantizationScheme.INT16X8, "tensorflow"),
        ("ai_edge_quantizer", QuantizationScheme.WEIGHT_ONLY, "ai-edge-quantizer"),
    ],
)
def test_a_missing_package_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, missing: str, scheme: QuantizationScheme, package: str
) -> None:
    quantizer = block_quantizer()
    real_import = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".", maxsplit=1)[0] == missing:
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependencyError, match=f"Expected the package {package}") as caught:
        quantizer.make(scheme)
    assert caught.value.hint == "pip install 'edgegender[train]'"
