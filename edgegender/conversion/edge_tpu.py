"""Which operators of a ``.tflite`` Coral's Edge TPU would run, by Coral's published list.

The compiler has the last word: it also leaves an operator on the CPU when its tensors are too large or its version is
newer than the compiler (``edgetpu_compiler`` 16.0 of 2021 is the last one), and no list tells that beforehand. What
stands here is what the list says for sure.

Source:
    https://coral.ai/docs/edgetpu/models-intro/ , "Model requirements", "Supported operations" (table 1), "Compiling"
    and "Float input and output tensors".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgegender.errors import ModelFileError

MAX_SOFTMAX_ELEMENTS = 16_000
_FILE_IDENTIFIER = b"TFL3"
_INNER_DIMENSIONS = 3  # "only the 3 innermost dimensions may have a size greater than 1"
_BYTES = ("INT8", "UINT8")
_WITH_PARAMETERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "PRELU")


def _names_by_value(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATOR_NAMES = _names_by_value(schema.BuiltinOperator)
_TYPE_NAMES = _names_by_value(schema.TensorType)


@dataclass(frozen=True)
class EdgeTpuOperator:
    """Where one operator would run.

    Args:
        index: Its place in the order of execution, from 0.
        name: As TensorFlow Lite calls it.
        reason: Why it stays on the CPU; empty when the Edge TPU runs it.
    """

    index: int
    name: str
    reason: str

    @property
    def is_mapped(self) -> bool:
        """Whether the Edge TPU runs it."""
        return not self.reason


@dataclass(frozen=True)
class EdgeTpuReport:
    """What Coral's list says about a network.

    Args:
        operators: All of them, in the order of execution.
        problems: What keeps the network from running on the Edge TPU as a whole; empty when nothing does.
    """

    operators: tuple[EdgeTpuOperator, ...]
    problems: tuple[str, ...]

    @property
    def mapped(self) -> tuple[EdgeTpuOperator, ...]:
        """What the Edge TPU would run."""
        return tuple(operator for operator in self.operators if operator.is_mapped)

    @property
    def left_on_cpu(self) -> tuple[EdgeTpuOperator, ...]:
        """What would stay on the CPU."""
        return tuple(operator for operator in self.operators if not operator.is_mapped)


@dataclass(frozen=True)
class _Operator:
    """An operator of the schema; an optional input that is not there is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: object

    def option(self, name: str) -> int:
        return int(getattr(self.options, name, 0))  # a converter may leave out options that are all zero


class _Graph:
    """The schema's lists, by what the rules ask for."""

    def __init__(self, content: bytes) -> None:
        self._model = schema.ModelT.InitFromPackedBuf(content)
        graph = self._model.subgraphs[0]
        self.tensors = graph.tensors
        self.inputs, self.outputs = [int(index) for index in graph.inputs], [int(index) for index in graph.outputs]
        self.operators = [
            _Operator(
                self._name(operator.opcodeIndex),
                tuple(int(index) for index in operator.inputs if index >= 0),
                tuple(int(index) for index in operator.outputs),
                operator.builtinOptions,
            )
            for operator in graph.operators
        ]

    def _name(self, code_index: int) -> str:
        code = self._model.operatorCodes[code_index]
        # a file from before 2020 has the old field only, which is one byte wide
        return _OPERATOR_NAMES.get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")

    def type_name(self, index: int) -> str:
        return _TYPE_NAMES.get(self.tensors[index].type, "UNKNOWN")

    def shape(self, index: int) -> tuple[int, ...]:
        shape = self.tensors[index].shape
        return () if shape is None else tuple(int(side) for side in shape)

    def is_static(self, index: int) -> bool:
        signature = self.tensors[index].shapeSignature
        return signature is None or all(side >= 0 for side in signature)

    def data(self, index: int) -> bytes | None:
        """Returns a constant's bytes, ``None`` for what is computed."""
        data = self._model.buffers[self.tensors[index].buffer].data
        return None if data is None or len(data) == 0 else bytes(bytearray(data))

    def integers(self, index: int) -> list[int] | None:
        data = self.data(index)
        return None if data is None else np.frombuffer(data, np.int32).tolist()


def _fused(graph: _Graph, operator: _Operator) -> str:
    del graph
    return "a fused activation function" if operator.option("fusedActivationFunction") else ""


def _concatenation(graph: _Graph, operator: _Operator) -> str:
    constants = [data for index in operator.inputs if (data := graph.data(index)) is not None]
    if constants and (len(operator.inputs) != 2 or any(constants[0])):
        return "a constant input that is more than padding with zeros"
    return _fused(graph, operator)


def _convolution(graph: _Graph, operator: _Operator) -> str:
    del graph
    is_even = operator.option("dilationWFactor") == operator.option("dilationHFactor")
    return "" if is_even else "another dilation in x than in y"


def _fully_connected(graph: _Graph, operator: _Operator) -> str:
    if operator.option("weightsFormat"):
        return "weights in another than the default format"
    return "an output of more than one dimension" if math.prod(graph.shape(operator.outputs[0])[:-1]) > 1 else ""


def _softmax(graph: _Graph, operator: _Operator) -> str:
    shape = graph.shape(operator.inputs[0])
    if math.prod(shape[:-1]) > 1:
        return "an input of more than one dimension"
    return f"more than {MAX_SOFTMAX_ELEMENTS} elements" if shape[-1] > MAX_SOFTMAX_ELEMENTS else ""


def _reduction(graph: _Graph, operator: _Operator) -> str:
    shape, axes = graph.shape(operator.inputs[0]), graph.integers(operator.inputs[1])
    if axes is None:
        return "axes that are computed"
    reduced = {axis % len(shape) for axis in axes}
    if 0 in reduced and len(shape) > _INNER_DIMENSIONS:
        return "a reduction over the batch"
    if operator.name == "MEAN" and len(shape) - 1 in reduced and shape[-1] % 4:
        return "a mean over channels whose number is no multiple of 4"
    return ""


def _pad(graph: _Graph, operator: _Operator) -> str:
    paddings = graph.integers(operator.inputs[1])
    if paddings is None:
        return "paddings that are computed"
    is_batch = len(graph.shape(operator.inputs[0])) > _INNER_DIMENSIONS and any(paddings[:2])
    return "padding of the batch" if is_batch else ""


def _pack(graph: _Graph, operator: _Operator) -> str:
    rank = len(graph.shape(operator.outputs[0]))
    return "packing in the batch dimension" if operator.option("axis") % rank == 0 else ""


def _split(graph: _Graph, operator: _Operator) -> str:
    axes = graph.integers(operator.inputs[0])
    if axes is None:
        return "an axis that is computed"
    return "splitting in the batch dimension" if axes[0] % len(graph.shape(operator.inputs[1])) == 0 else ""


def _prelu(graph: _Graph, operator: _Operator) -> str:
    return "an alpha of more than one dimension" if math.prod(graph.shape(operator.inputs[1])[:-1]) > 1 else ""


def _squeeze(graph: _Graph, operator: _Operator) -> str:
    shape = graph.shape(operator.inputs[0])
    named = getattr(operator.options, "squeezeDims", None)
    removed = [axis % len(shape) for axis in named] if named is not None and len(named) else range(len(shape))
    is_inside = any(shape[axis] == 1 and math.prod(shape[:axis]) > 1 for axis in removed)
    return "removing a dimension that is no leading 1" if is_inside else ""


def _strided_slice(graph: _Graph, operator: _Operator) -> str:
    strides = graph.integers(operator.inputs[3])
    if strides is None or any(stride != 1 for stride in strides):
        return "strides other than 1"
    return "an ellipsis or a new axis" if operator.option("ellipsisMask") or operator.option("newAxisMask") else ""


def _any(graph: _Graph, operator: _Operator) -> str:
    del graph, operator
    return ""


# Coral's table 1. RESHAPE, RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR "might not be mapped", depending on sizes.
_RULES: dict[str, Callable[[_Graph, _Operator], str]] = {
    **dict.fromkeys(
        ("ADD", "EXPAND_DIMS", "L2_NORMALIZATION", "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "QUANTIZE", "RELU", "RELU6",
         "RELU_N1_TO_1", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SPACE_TO_DEPTH",
         "SQUARED_DIFFERENCE", "SUB", "TANH", "TRANSPOSE", "TRANSPOSE_CONV", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
        _any,
    ),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), _fused),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), _convolution),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM"), _reduction),
    "CONCATENATION": _concatenation,
    "FULLY_CONNECTED": _fully_connected,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
}  # fmt: skip


def _tensor_reason(graph: _Graph, operator: _Operator) -> str:
    """Returns which of the requirements on all tensors an operator breaks."""
    flowing = [index for index in operator.inputs if graph.data(index) is None] + list(operator.outputs)
    for index in flowing:
        if graph.type_name(index) not in _BYTES:
            return f"{graph.type_name(index).lower()} tensors"
    # what is held besides bytes are biases and shapes, which are integers
    for index in operator.inputs:
        if index not in flowing and "FLOAT" in graph.type_name(index):
            return f"{graph.type_name(index).lower()} parameters"
    if operator.name in _WITH_PARAMETERS and graph.data(operator.inputs[1]) is None:
        return "parameters that are computed"
    for index in flowing:
        if not graph.is_static(index):
            return "a tensor whose size may change"
        if any(side > 1 for side in graph.shape(index)[:-_INNER_DIMENSIONS]):
            return f"a tensor of more than {_INNER_DIMENSIONS} dimensions: {list(graph.shape(index))}"
    return ""


def _own_reason(graph: _Graph, operator: _Operator) -> str:
    rule = _RULES.get(operator.name)
    if rule is None:
        return "not in Coral's list of operators"
    return _tensor_reason(graph, operator) or rule(graph, operator)


def _add_cut(graph: _Graph, own: list[str]) -> list[str]:
    """Returns why each operator stays on the CPU, what stands behind the one cut included."""
    reasons: list[str] = []
    cut = ""
    for index, (operator, reason) in enumerate(zip(graph.operators, own, strict=True)):
        reasons.append(reason or cut)
        # The compiler leaves the step from a float input to bytes on the CPU and goes on behind it.
        is_first_step = operator.name == "QUANTIZE" and operator.inputs[0] in graph.inputs
        if reason and not cut and not is_first_step:
            cut = f"stands behind operator {index} ({operator.name}), where the compiler cuts the graph"
    return reasons


def _float_ends(graph: _Graph) -> list[str]:
    ends = [("input", index) for index in graph.inputs] + [("output", index) for index in graph.outputs]
    return [
        f"the {side} is {graph.type_name(index).lower()}: its conversion runs on the CPU"
        for side, index in ends
        if graph.type_name(index) not in _BYTES
    ]


def check_edge_tpu(content: bytes) -> EdgeTpuReport:
    """Returns which operators the Edge TPU would run and which would stay on the CPU, with the reasons.

    The compiler cuts the graph once: what stands behind the first operator that it cannot map stays on the CPU, too,
    whether it could be mapped or not.

    Args:
        content: A ``.tflite``, not yet compiled for the Edge TPU.

    Raises:
        ModelFileError: It is no ``.tflite``.
    """
    if content[4:8] != _FILE_IDENTIFIER:
        raise ModelFileError(
            "Expected a .tflite model, got another file.", hint="Make one with: edgegender convert RUN --int8"
        )
    graph = _Graph(content)
    own = [_own_reason(graph, operator) for operator in graph.operators]
    operators = tuple(
        EdgeTpuOperator(index, operator.name, reason)
        for index, (operator, reason) in enumerate(zip(graph.operators, _add_cut(graph, own), strict=True))
    )
    left = [(operator, reason) for operator, reason in zip(operators, own, strict=True) if not operator.is_mapped]
    problems = _float_ends(graph)
    problems += [f"operator {operator.index} {operator.name}: {reason}" for operator, reason in left if reason]
    num_behind = sum(not reason for _, reason in left)
    if num_behind:
        problems.append(f"{num_behind} operators could be mapped but stand behind the cut")
    if len(left) == len(operators):
        problems.append("no operator is mapped")
    return EdgeTpuReport(operators, tuple(problems))
