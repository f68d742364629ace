"""Coral's list of operators, rule by rule, on a network that is altered to break each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion.edge_tpu import MAX_SOFTMAX_ELEMENTS, check_edge_tpu
from edgegender.errors import ModelFileError
from edgegender.runtime.model_file import embedded_model_path
from tests.conv_model import alter_network, build_conv_network
from tests.tiny_model import build_network

CONV, DEPTHWISE, POINT, MEAN, DENSE, SOFTMAX = range(6)
Alter = Callable[[tfl.ModelT], object]


def reason_after(alter: Alter, index: int) -> str:
    return check_edge_tpu(alter_network(build_conv_network(), alter)).operators[index].reason


def set_code(model: tfl.ModelT, index: int, code: int, options: object = None) -> tfl.OperatorT:
    """Makes another operator of one, and returns it."""
    operator = model.subgraphs[0].operators[index]
    operator_code = tfl.OperatorCodeT()
    operator_code.builtinCode, operator_code.deprecatedBuiltinCode, operator_code.version = code, min(code, 127), 1
    model.operatorCodes.append(operator_code)
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.builtinOptions = options
    operator.builtinOptionsType = 0
    if options is not None:
        name = type(options).__name__.removesuffix("T")
        operator.builtinOptionsType = getattr(tfl.BuiltinOptions, name)
    return operator


def add_constant(model: tfl.ModelT, values: list[int], *, dtype: type = np.int32) -> int:
    buffer, tensor = tfl.BufferT(), tfl.TensorT()
    buffer.data = np.frombuffer(np.asarray(values, dtype).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.name, tensor.shape, tensor.buffer = f"constant {len(model.buffers)}", [len(values)], len(model.buffers) - 1
    tensor.type = tfl.TensorType.INT32 if dtype is np.int32 else tfl.TensorType.INT8
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def options_of(name: str, **values: object) -> object:
    options = getattr(tfl, f"{name}OptionsT")()
    for key, value in values.items():
        setattr(options, key, value)
    return options


def tensor_of(model: tfl.ModelT, index: int, side: str) -> tfl.TensorT:
    """Returns the first tensor that an operator reads or writes."""
    graph = model.subgraphs[0]
    return graph.tensors[getattr(graph.operators[index], side)[0]]


# Whole networks


def test_an_int8_network_is_mapped_as_a_whole() -> None:
    report = check_edge_tpu(build_conv_network())
    assert report.problems == ()
    assert [op.name for op in report.mapped] == [
        "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"
    ]  # fmt: skip
    assert [op.index for op in report.mapped] == list(range(6))
    assert report.left_on_cpu == ()


@pytest.mark.parametrize("content", [build_network(), embedded_model_path().read_bytes()], ids=["tiny", "embedded"])
def test_uint8_in_and_out_is_no_problem(content: bytes) -> None:
    report = check_edge_tpu(content)
    assert report.problems == ()
    assert len(report.mapped) == len(report.operators) > 0


def test_of_a_float_network_nothing_is_mapped() -> None:
    report = check_edge_tpu(build_conv_network(is_float=True))
    assert report.mapped == ()
    assert {op.reason for op in report.left_on_cpu} == {"float32 tensors"}
    assert report.problems[:2] == (
        "the input is float32: its conversion runs on the CPU",
        "the output is float32: its conversion runs on the CPU",
    )
    assert "operator 0 CONV_2D: float32 tensors" in report.problems
    assert report.problems[-1] == "no operator is mapped"


def test_what_stands_behind_the_first_unknown_operator_stays_on_the_cpu() -> None:
    report = check_edge_tpu(
        alter_network(build_conv_network(), lambda model: set_code(model, POINT, tfl.BuiltinOperator.HARD_SWISH))
    )
    assert [op.is_mapped for op in report.operators] == [True, True, False, False, False, False]
    assert report.operators[POINT].reason == "not in Coral's list of operators"
    assert report.operators[MEAN].reason == "stands behind operator 2 (HARD_SWISH), where the compiler cuts the graph"
    assert report.problems == (
        "operator 2 HARD_SWISH: not in Coral's list of operators",
        "3 operators could be mapped but stand behind the cut",
    )


def test_a_float_input_costs_its_first_step_and_no_more() -> None:
    def alter(model: tfl.ModelT) -> None:
        graph = model.subgraphs[0]
        image = tfl.TensorT()
        image.name, image.shape, image.type, image.buffer = "image32", [1, 16, 16, 3], tfl.TensorType.FLOAT32, 0
        graph.tensors.append(image)
        graph.operators.insert(0, tfl.OperatorT())
        set_code(model, 0, tfl.BuiltinOperator.QUANTIZE)
        graph.operators[0].inputs, graph.operators[0].outputs = [len(graph.tensors) - 1], [graph.inputs[0]]
        graph.inputs = [len(graph.tensors) - 1]

    report = check_edge_tpu(alter_network(build_conv_network(), alter))
    assert [op.name for op in report.left_on_cpu] == ["QUANTIZE"]
    assert len(report.mapped) == 6
    assert report.problems == (
        "the input is float32: its conversion runs on the CPU",
        "operator 0 QUANTIZE: float32 tensors",
    )


@pytest.mark.parametrize("content", [b"", b"PK\3\4 something else", b"\0" * 100])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"Expected a \.tflite model, got another file"):
        check_edge_tpu(content)


# Requirements on all tensors


def test_int16_activations_are_left() -> None:
    def alter(model: tfl.ModelT) -> None:
        tensor_of(model, POINT, "outputs").type = tfl.TensorType.INT16

    assert reason_after(alter, POINT) == "int16 tensors"


def test_a_size_that_may_change_is_left() -> None:
    def alter(model: tfl.ModelT) -> None:
        tensor_of(model, CONV, "inputs").shapeSignature = [-1, 16, 16, 3]

    assert reason_after(alter, CONV) == "a tensor whose size may change"


def test_more_than_one_picture_at_a_time_is_left() -> None:
    def alter(model: tfl.ModelT) -> None:
        tensor_of(model, CONV, "inputs").shape = [2, 16, 16, 3]

    assert reason_after(alter, CONV) == "a tensor of more than 3 dimensions: [2, 16, 16, 3]"


def test_weights_that_are_computed_are_left() -> None:
    def alter(model: tfl.ModelT) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[POINT].inputs[1]].buffer = 0

    assert reason_after(alter, POINT) == "parameters that are computed"


def test_float_weights_are_left() -> None:
    def alter(model: tfl.ModelT) -> None:
        graph = model.subgraphs[0]
        graph.tensors[graph.operators[DENSE].inputs[1]].type = tfl.TensorType.FLOAT16

    assert reason_after(alter, DENSE) == "float16 parameters"


# Rules of single operators


def uneven_dilation(model: tfl.ModelT) -> None:
    model.subgraphs[0].operators[CONV].builtinOptions.dilationHFactor = 2


def shuffled_weights(model: tfl.ModelT) -> None:
    model.subgraphs[0].operators[DENSE].builtinOptions.weightsFormat = 1


def wide_output(model: tfl.ModelT) -> None:
    tensor_of(model, DENSE, "outputs").shape = [3, 2]


def wide_softmax(model: tfl.ModelT) -> None:
    tensor_of(model, SOFTMAX, "inputs").shape = [3, 2]


def long_softmax(model: tfl.ModelT) -> None:
    tensor_of(model, SOFTMAX, "inputs").shape = [1, MAX_SOFTMAX_ELEMENTS + 1]


def mean_over(*axes: int, channels: int = 8) -> Alter:
    def alter(model: tfl.ModelT) -> None:
        tensor_of(model, MEAN, "inputs").shape = [1, 8, 8, channels]
        operator = model.subgraphs[0].operators[MEAN]
        operator.inputs = [int(operator.inputs[0]), add_constant(model, list(axes))]

    return alter


def mean_over_computed_axes(model: tfl.ModelT) -> None:
    axes = model.subgraphs[0].tensors[model.subgraphs[0].operators[MEAN].inputs[1]]
    axes.buffer, axes.type = 0, tfl.TensorType.INT8


def replaced(index: int, code: str, options: object = None, *constants: list[int], is_first: bool = False) -> Alter:
    """Puts another operator in the place of one, which reads the same tensor and these constants."""

    def alter(model: tfl.ModelT) -> None:
        operator = set_code(model, index, getattr(tfl.BuiltinOperator, code), options)
        held = [add_constant(model, values) for values in constants]
        flowing = [int(operator.inputs[0])]
        operator.inputs = [*held, *flowing] if is_first else [*flowing, *held]

    return alter


def computed(code: str, num_inputs: int) -> Alter:
    """Puts an operator in the place of the 1 × 1 convolution that reads the same tensor several times."""

    def alter(model: tfl.ModelT) -> None:
        operator = set_code(model, POINT, getattr(tfl.BuiltinOperator, code))
        operator.inputs = [int(operator.inputs[0])] * num_inputs

    return alter


def joined(*values: int, extra: int = 1) -> Alter:
    """Joins a constant to what flows."""

    def alter(model: tfl.ModelT) -> None:
        operator = set_code(model, POINT, tfl.BuiltinOperator.CONCATENATION, options_of("Concatenation", axis=3))
        operator.inputs = [int(operator.inputs[0])] * extra + [add_constant(model, list(values), dtype=np.int8)]

    return alter


def squeezed(shape: list[int], dims: list[int]) -> Alter:
    def alter(model: tfl.ModelT) -> None:
        operator = set_code(model, POINT, tfl.BuiltinOperator.SQUEEZE, options_of("Squeeze", squeezeDims=dims))
        operator.inputs = [int(operator.inputs[0])]
        tensor_of(model, POINT, "inputs").shape = shape

    return alter


def prelu(shape: list[int]) -> Alter:
    def alter(model: tfl.ModelT) -> None:
        operator = set_code(model, POINT, tfl.BuiltinOperator.PRELU)
        alpha = add_constant(model, [1] * int(np.prod(shape)), dtype=np.int8)
        model.subgraphs[0].tensors[alpha].shape = shape
        operator.inputs = [int(operator.inputs[0]), alpha]

    return alter


FUSED = options_of("Pool2D", fusedActivationFunction=tfl.ActivationFunctionType.RELU)


def sliced(*strides: int, **options: int) -> Alter:
    return replaced(POINT, "STRIDED_SLICE", options_of("StridedSlice", **options), [0] * 4, [1] * 4, list(strides))


@pytest.mark.parametrize(
    ("alter", "index", "expected"),
    [
        (uneven_dilation, CONV, "another dilation in x than in y"),
        (shuffled_weights, DENSE, "weights in another than the default format"),
        (wide_output, DENSE, "an output of more than one dimension"),
        (wide_softmax, SOFTMAX, "an input of more than one dimension"),
        (long_softmax, SOFTMAX, "more than 16000 elements"),
        (mean_over(0, 1), MEAN, "a reduction over the batch"),
        (mean_over(-1, channels=6), MEAN, "a mean over channels whose number is no multiple of 4"),
        (mean_over(-1, channels=8), MEAN, ""),
        (mean_over_computed_axes, MEAN, "axes that are computed"),
        (replaced(POINT, "MAX_POOL_2D", FUSED), POINT, "a fused activation function"),
        (replaced(POINT, "AVERAGE_POOL_2D", options_of("Pool2D")), POINT, ""),
        (replaced(POINT, "SUM", None, [0]), POINT, "a reduction over the batch"),
        (replaced(POINT, "REDUCE_MAX", None, [3]), POINT, ""),
        (replaced(POINT, "PAD", None, [1, 0, 0, 0, 0, 0, 0, 0]), POINT, "padding of the batch"),
        (replaced(POINT, "PAD", None, [0, 0, 1, 1, 1, 1, 0, 0]), POINT, ""),
        (computed("PAD", 2), POINT, "paddings that are computed"),
        (replaced(POINT, "PACK", options_of("Pack", axis=0)), POINT, "packing in the batch dimension"),
        (replaced(POINT, "PACK", options_of("Pack", axis=-1)), POINT, ""),
        (replaced(POINT, "SPLIT", None, [0], is_first=True), POINT, "splitting in the batch dimension"),
        (replaced(POINT, "SPLIT", None, [-1], is_first=True), POINT, ""),
        (computed("SPLIT", 2), POINT, "an axis that is computed"),
        (joined(0, 0), POINT, ""),
        (joined(0, 1), POINT, "a constant input that is more than padding with zeros"),
        (joined(0, 0, extra=2), POINT, "a constant input that is more than padding with zeros"),
        (squeezed([1, 1, 1, 10], [1, 2]), POINT, ""),
        (squeezed([1, 1, 5, 10], [1]), POINT, ""),
        (squeezed([1, 5, 1, 10], [2]), POINT, "removing a dimension that is no leading 1"),
        (squeezed([1, 5, 1, 10], []), POINT, "removing a dimension that is no leading 1"),
        (prelu([4]), POINT, ""),
        (prelu([8, 1, 4]), POINT, "an alpha of more than one dimension"),
        (sliced(1, 1, 1, 1), POINT, ""),
        (sliced(1, 2, 2, 1), POINT, "strides other than 1"),
        (sliced(1, 1, 1, 1, newAxisMask=1), POINT, "an ellipsis or a new axis"),
        (sliced(1, 1, 1, 1, ellipsisMask=2), POINT, "an ellipsis or a new axis"),
        (computed("ADD", 2), POINT, ""),
        (computed("GELU", 1), POINT, "not in Coral's list of operators"),
    ],
)
def test_the_limits_of_single_operators(alter: Alter, index: int, expected: str) -> None:
    assert reason_after(alter, index) == expected
