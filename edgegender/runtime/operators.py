"""What a network is made of: its operators with shapes, types, parameters and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgegender.runtime.interpreter import Network, OperatorNode, TensorInfo

Shape = tuple[int, ...]
_UNSCALED_INTEGERS = ("int32", "int64")  # shapes, axes, paddings: how to compute, not what was learnt


@dataclass(frozen=True)
class OperatorInfo:
    """One operator, with what flows through it and what it holds.

    Args:
        index: Its place in the order of execution, from 0.
        name: As TensorFlow Lite calls it, such as ``CONV_2D``.
        input_shapes: Of the tensors that flow in: those that another operator computes, or that the network is given.
        output_shapes: Of the tensors it computes.
        input_types: numpy's names, one for each of ``input_shapes``.
        output_types: Likewise, of ``output_shapes``.
        constant_shapes: Of the tensors that stand in the file: weights, biases, shapes.
        constant_types: Likewise, of ``constant_shapes``.
        num_parameters: Numbers in its weights and biases. Shapes, axes and paddings are none, and a tensor that
            several operators share counts for the first of them.
        multiply_adds: Of one inference; 0 for an operator that :func:`count_multiply_adds` does not count.
    """

    index: int
    name: str
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    input_types: tuple[str, ...]
    output_types: tuple[str, ...]
    constant_shapes: tuple[Shape, ...]
    constant_types: tuple[str, ...]
    num_parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class OperatorTotals:
    """Sums over a network.

    Args:
        num_operators: Without the nodes of a delegate.
        num_parameters: Numbers that were learnt, each counted once.
        multiply_adds: Of one inference.
    """

    num_operators: int
    num_parameters: int
    multiply_adds: int


def count_multiply_adds(name: str, input_shapes: Sequence[Shape], output_shape: Shape) -> int:
    """Returns the multiplications (each with its addition) of one operator, by its shapes alone.

    What counts are convolutions and matrix products; biases, activations, pooling, additions and (de)quantization cost
    time, too, but count as 0, as in the tables of the papers:

    - ``CONV_2D``: outputs × kernel height × kernel width × input channels of a group;
    - ``DEPTHWISE_CONV_2D``: outputs × kernel height × kernel width;
    - ``TRANSPOSE_CONV``: inputs × kernel height × kernel width × output channels;
    - ``FULLY_CONNECTED``: outputs × input features;
    - ``BATCH_MATMUL``: outputs × the side that both matrices share.

    Args:
        name: As TensorFlow Lite calls the operator.
        input_shapes: Of all its inputs, weights among them, in the operator's order.
        output_shape: Of its first output.

    Source:
        Sandler et al. 2018, "MobileNetV2", section 3.1 and table 4 (its "MAdds"); the layouts of weights are those of
        tensorflow/compiler/mlir/lite/schema/schema.fbs.

    Example:
        >>> count_multiply_adds("CONV_2D", [(1, 224, 224, 3), (32, 3, 3, 3), (32,)], (1, 112, 112, 32))
        10838016
    """
    outputs = math.prod(output_shape)
    if name == "CONV_2D":
        return outputs * math.prod(input_shapes[1][1:])  # weights: output channels, height, width, input channels
    if name == "DEPTHWISE_CONV_2D":
        return outputs * math.prod(input_shapes[1][1:3])  # weights: 1, height, width, output channels
    if name == "TRANSPOSE_CONV":
        # inputs: the output's shape, weights (output channels, height, width, input channels), the picture
        return math.prod(input_shapes[2]) * math.prod(input_shapes[1][:3])
    if name == "FULLY_CONNECTED":
        return outputs * input_shapes[1][-1]  # weights: output features, input features
    if name == "BATCH_MATMUL":
        # the first matrix may be stored turned round: its two sides are the output's rows and the shared side
        return outputs * (math.prod(input_shapes[0][-2:]) // output_shape[-2])
    return 0


def _is_parameter(tensor: TensorInfo) -> bool:
    return bool(tensor.scales) or tensor.dtype not in _UNSCALED_INTEGERS


def _describe(
    node: OperatorNode, tensors: dict[int, TensorInfo], constants: set[int], counted: set[int]
) -> OperatorInfo:
    flowing = [tensors[index] for index in node.inputs if index not in constants]
    held = [tensors[index] for index in node.inputs if index in constants]
    outputs = [tensors[index] for index in node.outputs]
    new = {index for index in node.inputs if index in constants and _is_parameter(tensors[index])} - counted
    counted |= new
    return OperatorInfo(
        index=node.index,
        name=node.name,
        input_shapes=tuple(tensor.shape for tensor in flowing),
        output_shapes=tuple(tensor.shape for tensor in outputs),
        input_types=tuple(tensor.dtype for tensor in flowing),
        output_types=tuple(tensor.dtype for tensor in outputs),
        constant_shapes=tuple(tensor.shape for tensor in held),
        constant_types=tuple(tensor.dtype for tensor in held),
        num_parameters=sum(math.prod(tensors[index].shape) for index in new),
        multiply_adds=count_multiply_adds(
            node.name, [tensors[index].shape for index in node.inputs], outputs[0].shape if outputs else ()
        ),
    )


def describe_operators(network: Network) -> tuple[OperatorInfo, ...]:
    """Returns every operator of a network in the order of execution, as it stands in the file.

    A tensor is a constant when an operator reads it, none computes it, and the network is not given it.

    Args:
        network: A loaded network; a delegate's own node is left out, the operators that it took over are not.
    """
    nodes, tensors = network.operator_nodes(), network.tensors()
    computed = {index for node in nodes for index in node.outputs}
    constants = {index for node in nodes for index in node.inputs} - computed - set(network.input_indices)
    counted: set[int] = set()
    return tuple(_describe(node, tensors, constants, counted) for node in nodes)


def sum_operators(operators: Sequence[OperatorInfo]) -> OperatorTotals:
    """Returns the sums over a network's operators."""
    return OperatorTotals(
        num_operators=len(operators),
        num_parameters=sum(operator.num_parameters for operator in operators),
        multiply_adds=sum(operator.multiply_adds for operator in operators),
    )
