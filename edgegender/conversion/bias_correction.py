"""Biases make up for the mean error that quantization leaves in each output channel.

Rounded weights and activations shift the mean of a channel; every later layer sees that shift. Layer by layer, from
the first to the last, the shift is measured on the representative dataset and taken off the layer's int32 bias, so that
each layer is corrected with all layers before it corrected already. Weights, scales and speed stay as they were.

Source: Nagel et al. 2019, arXiv 1906.04721, section 4.2 and appendix D (empirical bias correction).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.conversion import flatbuffer
from edgegender.conversion.tensors import WEIGHTED_OPERATORS, TensorReader, to_network_inputs
from edgegender.entities import FloatArray, UInt8Array

_MAX_PHOTOS = 64  # a mean over all positions of a channel is sure enough with these
_LEAST_ACTIVE = 0.2  # share of a channel's values that an activation lets through, below which nothing is corrected
_BIAS_LIMIT = 2**30  # int32, with room for the sum that it is added to


@dataclass(frozen=True)
class _Layer:
    """One layer with a bias, in the float file and in the integer one."""

    float_index: int
    index: int
    bias_index: int
    bias_scale: FloatArray
    has_activation: bool


def _find_layers(float_content: bytes, content: bytes) -> list[_Layer]:
    by_name = {name: index for index, name, _ in TensorReader(float_content).outputs()}
    model = flatbuffer.unpack(content)
    graph = flatbuffer.graph_of(model)
    layers = []
    for name, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True):
        has_bias = name in WEIGHTED_OPERATORS and len(operator.inputs) > 2 and operator.inputs[2] >= 0
        output = int(operator.outputs[0])
        float_index = by_name.get(flatbuffer.text(graph.tensors[output].name))
        if not has_bias or float_index is None:
            continue
        bias = graph.tensors[operator.inputs[2]]
        if bias.quantization is None or bias.quantization.scale is None:
            continue  # a layer that stayed float
        layers.append(
            _Layer(
                float_index,
                output,
                int(operator.inputs[2]),
                np.asarray(bias.quantization.scale, np.float64),
                operator.builtinOptions.fusedActivationFunction != 0,
            )
        )
    return layers


def _with_own_biases(content: bytes) -> bytes:
    """Returns a file in which no two layers share a bias: the converter stores equal ones, such as zeros, once."""
    model = flatbuffer.unpack(content)
    graph = flatbuffer.graph_of(model)
    tensor_uses = Counter(int(index) for operator in graph.operators for index in operator.inputs)
    buffer_uses = Counter(tensor.buffer for tensor in graph.tensors)
    is_changed = False
    for name, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True):
        if name not in WEIGHTED_OPERATORS or len(operator.inputs) < 3 or operator.inputs[2] < 0:
            continue
        index = int(operator.inputs[2])
        tensor = graph.tensors[index]
        if tensor_uses[index] == 1 and buffer_uses[tensor.buffer] == 1:
            continue
        own = copy.copy(tensor)
        own.buffer = len(model.buffers)
        model.buffers.append(copy.copy(model.buffers[tensor.buffer]))
        if tensor_uses[index] == 1:
            graph.tensors[index] = own
        else:
            # the unpacked array is read only
            operator.inputs = [*operator.inputs[:2], len(graph.tensors), *operator.inputs[3:]]
            graph.tensors.append(own)
        tensor_uses[index] -= 1
        buffer_uses[tensor.buffer] -= 1
        is_changed = True
    return flatbuffer.pack(model) if is_changed else content


def _bias_view(content: bytearray, tensor_index: int) -> npt.NDArray[np.int32]:
    """Returns a bias as an array that writes into the file's bytes."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    data = model.Buffers(model.Subgraphs(0).Tensors(tensor_index).Buffer()).DataAsNumpy()
    return data.view(np.int32)  # type: ignore[no-any-return] # generated code


def _channel_mean(value: npt.NDArray[np.generic]) -> FloatArray:
    return np.asarray(np.asarray(value, np.float64).reshape(-1, value.shape[-1]).mean(axis=0), np.float64)


def _measure(content: bytes, layer: _Layer, images: Sequence[npt.NDArray[np.generic]]) -> tuple[FloatArray, FloatArray]:
    """Returns the mean of each channel, and the share of its values that are not clipped."""
    reader = TensorReader(content)
    mean: FloatArray = np.zeros(1)
    active: FloatArray = np.zeros(1)
    for image in images:
        reader.run(image)
        mean = mean + _channel_mean(reader.value(layer.index))
        if layer.has_activation:
            raw = reader.raw(layer.index).astype(np.int16)
            active = active + _channel_mean((raw > -128) & (raw < 127))
    share = active / len(images) if layer.has_activation else np.ones_like(mean)
    return mean / len(images), share


def correct_biases(
    float_content: bytes,
    content: bytes,
    float_inputs: Sequence[npt.NDArray[np.float32]],
    images: UInt8Array,
) -> bytes:
    """Returns an integer file whose channels have the mean of the float network's.

    A channel behind a fused activation is corrected by the shift divided by the share of its values that the activation
    lets through, and left alone where that share is small.

    Args:
        float_content: The float ``.tflite``.
        content: Made from it, uint8 or int8 in.
        float_inputs: What the float file takes, (1, size, size, 3) each.
        images: The same pictures as raw bytes, (photos, size, size, 3).
    """
    count = min(_MAX_PHOTOS, len(images))
    content = _with_own_biases(content)
    layers = _find_layers(float_content, content)
    reader = TensorReader(float_content)
    wanted: dict[int, FloatArray] = {}
    for position in range(count):
        reader.run(float_inputs[position])
        for layer in layers:
            wanted[layer.index] = wanted.get(layer.index, 0) + _channel_mean(reader.value(layer.float_index)) / count
    tensors = to_network_inputs(content, images[:count])
    corrected = bytearray(content)
    for layer in layers:
        mean, share = _measure(bytes(corrected), layer, tensors)
        shift = np.where(share >= _LEAST_ACTIVE, (wanted[layer.index] - mean) / np.maximum(share, _LEAST_ACTIVE), 0.0)
        bias = _bias_view(corrected, layer.bias_index)
        moved = bias.astype(np.float64) + np.round(shift / layer.bias_scale)
        bias[:] = np.clip(moved, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)
    return bytes(corrected)
