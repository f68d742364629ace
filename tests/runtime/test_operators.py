"""The operators of a network, held against numbers that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.runtime.interpreter import Network
from edgegender.runtime.model_file import embedded_model_path
from edgegender.runtime.operators import OperatorInfo, count_multiply_adds, describe_operators, sum_operators
from tests.conv_model import MULTIPLY_ADDS, NUM_PARAMETERS, alter_network, build_conv_network
from tests.tiny_model import build_network


def describe(content: bytes, *, is_reference: bool = False) -> tuple[OperatorInfo, ...]:
    return describe_operators(Network(content, num_threads=1, is_reference=is_reference))


@pytest.mark.parametrize(
    ("name", "input_shapes", "output_shape", "expected"),
    [
        # the first layer of MobileNetV2 at 224: 112 × 112 × 32 outputs of 3 × 3 × 3 weights
        ("CONV_2D", [(1, 224, 224, 3), (32, 3, 3, 3), (32,)], (1, 112, 112, 32), 10_838_016),
        # two groups: each of 8 outputs sees 2 of 4 channels
        ("CONV_2D", [(1, 4, 4, 4), (8, 1, 1, 2)], (1, 4, 4, 8), 4 * 4 * 8 * 2),
        ("DEPTHWISE_CONV_2D", [(1, 5, 5, 6), (1, 3, 3, 6), (6,)], (1, 5, 5, 6), 5 * 5 * 6 * 9),
        # 2 × 2 inputs of 3 channels, each spread over 3 × 3 outputs of 5 channels
        ("TRANSPOSE_CONV", [(4,), (5, 3, 3, 3), (1, 2, 2, 3)], (1, 4, 4, 5), 2 * 2 * 3 * 9 * 5),
        ("FULLY_CONNECTED", [(1, 1280), (2, 1280), (2,)], (1, 2), 2560),
        ("FULLY_CONNECTED", [(1, 7, 16), (4, 16)], (1, 7, 4), 7 * 16 * 4),
        ("BATCH_MATMUL", [(2, 3, 4), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),
        ("BATCH_MATMUL", [(2, 4, 3), (2, 4, 5)], (2, 3, 5), 2 * 3 * 4 * 5),  # the first one stored turned round
        ("ADD", [(1, 8, 8, 4), (1, 8, 8, 4)], (1, 8, 8, 4), 0),
        ("SOFTMAX", [(1, 2)], (1, 2), 0),
        ("AVERAGE_POOL_2D", [(1, 8, 8, 4)], (1, 1, 1, 4), 0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_multiply_adds_follow_from_the_shapes(
    name: str, input_shapes: list[tuple[int, ...]], output_shape: tuple[int, ...], expected: int
) -> None:
    assert count_multiply_adds(name, input_shapes, output_shape) == expected


@pytest.mark.parametrize("is_reference", [False, True], ids=["delegated", "reference"])
@pytest.mark.parametrize("is_float", [False, True], ids=["int8", "float32"])
def test_each_operator_of_a_small_network(is_float: bool, is_reference: bool) -> None:
    operators = describe(build_conv_network(is_float=is_float), is_reference=is_reference)
    assert [(op.name, op.num_parameters, op.multiply_adds) for op in operators] == [
        ("CONV_2D", 4 * 27 + 4, 64 * 4 * 27),
        ("DEPTHWISE_CONV_2D", 4 * 9 + 4, 64 * 4 * 9),
        ("CONV_2D", 8 * 4 + 8, 64 * 8 * 4),
        ("MEAN", 0, 0),  # its axes are constant, but nothing learnt
        ("FULLY_CONNECTED", 2 * 8 + 2, 2 * 8),
        ("SOFTMAX", 0, 0),
    ]
    assert [op.index for op in operators] == list(range(6))
    first, mean = operators[0], operators[3]
    kind = "float32" if is_float else "int8"
    assert (first.input_shapes, first.output_shapes) == (((1, 16, 16, 3),), ((1, 8, 8, 4),))
    assert (first.input_types, first.output_types) == ((kind,), (kind,))
    assert first.constant_shapes == ((4, 3, 3, 3), (4,))
    assert first.constant_types == (kind, "float32" if is_float else "int32")
    assert (mean.input_shapes, mean.constant_shapes, mean.constant_types) == (((1, 8, 8, 8),), ((2,),), ("int32",))


def test_totals_are_the_sums() -> None:
    totals = sum_operators(describe(build_conv_network()))
    assert (totals.num_operators, totals.num_parameters, totals.multiply_adds) == (6, NUM_PARAMETERS, MULTIPLY_ADDS)
    empty = sum_operators(())
    assert (empty.num_operators, empty.num_parameters, empty.multiply_adds) == (0, 0, 0)


def test_a_tensor_that_two_operators_share_counts_once() -> None:
    def alter(model: tfl.ModelT) -> None:
        """Multiplies the mean with the same weights a second time."""
        graph = model.subgraphs[0]
        first = graph.operators[2]
        twin, again = tfl.TensorT(), tfl.OperatorT()
        logits = graph.tensors[first.outputs[0]]
        twin.name, twin.shape, twin.type, twin.buffer = "again", logits.shape, logits.type, 0
        graph.tensors.append(twin)
        again.opcodeIndex, again.inputs, again.outputs = first.opcodeIndex, first.inputs, [len(graph.tensors) - 1]
        again.builtinOptionsType, again.builtinOptions = first.builtinOptionsType, first.builtinOptions
        graph.operators.append(again)

    once, twice = describe(build_network(is_float=True)), describe(alter_network(build_network(is_float=True), alter))
    assert [op.num_parameters for op in twice if op.name == "FULLY_CONNECTED"] == [8, 0]
    assert sum_operators(twice).num_parameters == sum_operators(once).num_parameters == 8
    assert sum_operators(twice).multiply_adds == 2 * sum_operators(once).multiply_adds == 12


def test_the_embedded_model_has_the_operators_that_are_counted() -> None:
    network = Network(embedded_model_path().read_bytes(), num_threads=1)
    operators = describe_operators(network)
    counted: dict[str, int] = {}
    for operator in operators:
        counted[operator.name] = counted.get(operator.name, 0) + 1
    assert counted == network.count_operators()
    assert "DELEGATE" not in counted
    # MobileNetV2 1.0 needs 300 M at 224 (Sandler et al. 2018, table 4); at 96 it is 96² / 224² of that, but for the
    # odd sides (3 instead of 3.4 at the end) and the 1.28 M of the 1000 labels that are 2 here
    assert sum_operators(operators).multiply_adds == pytest.approx(300e6 * (96 / 224) ** 2, rel=0.02)
    assert operators[0].input_types == ("uint8",)
    assert operators[0].output_types == ("int8",)


# The converter's own files


@pytest.fixture(scope="module")
def converted() -> tuple[int, bytes, bytes]:
    """A Keras network's number of parameters, and its float32 and float16 files."""
    tf = pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
    keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
    layers = keras.layers
    inputs = keras.Input((16, 16, 3), batch_size=1)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    random = np.random.default_rng(0)  # a bias of zeros would be left out of the file
    model.set_weights([random.normal(0, 0.1, array.shape) for array in model.get_weights()])

    class Frozen(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3), tf.float32)])
        def serve(self, image: object) -> dict[str, object]:
            return {"scores": model(image, training=False)}

    frozen = Frozen()
    files = []
    for types in ([], [tf.float16]):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.serve.get_concrete_function()], frozen)
        if types:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = types
        files.append(bytes(converter.convert()))
    return model.count_params(), files[0], files[1]


@pytest.mark.tensorflow
def test_a_converted_network_has_as_many_parameters_as_keras_counts(converted: tuple[int, bytes, bytes]) -> None:
    num_parameters, float32, float16 = converted
    plain, halved = describe(float32), describe(float16)
    assert sum_operators(plain).num_parameters == num_parameters
    # 8 × 8 × 8 outputs of 27 weights, of 9 weights, 8 × 8 × 8 inputs spread over 2 × 2 × 4, 1024 features to 2
    expected = 512 * 27 + 512 * 9 + 512 * 16 + 1024 * 2
    assert sum_operators(plain).multiply_adds == expected
    # float16 weights stand before a DEQUANTIZE each, and it holds the parameters then
    assert sum_operators(halved).num_parameters == num_parameters
    assert sum_operators(halved).multiply_adds == expected
    assert {"float16"} == {kind for op in halved if op.name == "DEQUANTIZE" for kind in op.constant_types}
