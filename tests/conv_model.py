"""A small convolutional ``.tflite``, float32 or int8, built without TensorFlow.

::

    image (1, 16, 16, 3) → CONV_2D 3 × 3, stride 2, ReLU6 → (1, 8, 8, 4) → DEPTHWISE_CONV_2D 3 × 3 → (1, 8, 8, 4)
        → CONV_2D 1 × 1 → (1, 8, 8, 8) → MEAN → (1, 8) → FULLY_CONNECTED → (1, 2) → SOFTMAX → scores

The weights are drawn with a fixed seed: the answers mean nothing, but they differ from picture to picture.
"""

from __future__ import annotations

from collections.abc import Callable

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

from tests.tiny_model import _Network

SIZE_PX = 16
NUM_PARAMETERS = (4 * 3 * 3 * 3 + 4) + (3 * 3 * 4 + 4) + (8 * 4 + 8) + (2 * 8 + 2)
MULTIPLY_ADDS = 8 * 8 * 4 * (3 * 3 * 3) + 8 * 8 * 4 * (3 * 3) + 8 * 8 * 8 * 4 + 2 * 8
_WEIGHT_SCALE = 1 / 64
_SCALES = {"image": 1 / 127.5, "stem": 6 / 255, "depth": 1 / 8, "point": 1 / 8, "mean": 1 / 16, "logits": 1 / 8}


class _Builder:
    def __init__(self, *, is_float: bool) -> None:
        self.network = _Network(is_float=is_float)
        self.is_float, self.random = is_float, np.random.default_rng(5)
        self.kind = tfl.TensorType.FLOAT32 if is_float else tfl.TensorType.INT8

    def flow(self, name: str, shape: tuple[int, ...]) -> int:
        zero_point = {"image": 0, "stem": -128}.get(name, 0)
        return self.network.tensor(name, shape, scale=_SCALES[name], zero_point=zero_point, kind=self.kind)

    def weights(self, name: str, shape: tuple[int, ...]) -> int:
        values = self.random.integers(-40, 41, shape, np.int8)  # no layer saturates
        data = (values * _WEIGHT_SCALE).astype(np.float32) if self.is_float else values
        return self.network.tensor(name, shape, scale=_WEIGHT_SCALE, data=data, kind=self.kind)

    def bias(self, name: str, size: int, source: str) -> int:
        scale = _SCALES[source] * _WEIGHT_SCALE
        values = self.random.integers(-40, 41, size, np.int32)
        data = (values * scale).astype(np.float32) if self.is_float else values
        kind = tfl.TensorType.FLOAT32 if self.is_float else tfl.TensorType.INT32
        return self.network.tensor(name, (size,), scale=scale, data=data, kind=kind)


def _conv_options(*, stride: int, is_depthwise: bool, activation: int = 0) -> object:
    options = tfl.DepthwiseConv2DOptionsT() if is_depthwise else tfl.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = tfl.Padding.SAME, stride, stride
    options.dilationWFactor = options.dilationHFactor = 1
    options.fusedActivationFunction = activation
    if is_depthwise:
        options.depthMultiplier = 1
    return options


def build_conv_network(*, is_float: bool = False) -> bytes:
    """Returns the network, without metadata; int8 in and out, or float32."""
    builder = _Builder(is_float=is_float)
    network, flow, weights, bias = builder.network, builder.flow, builder.weights, builder.bias
    operators, options = tfl.BuiltinOperator, tfl.BuiltinOptions
    image, stem = flow("image", (1, SIZE_PX, SIZE_PX, 3)), flow("stem", (1, 8, 8, 4))
    held = [weights("stem/w", (4, 3, 3, 3)), bias("stem/b", 4, "image")]
    relu6 = _conv_options(stride=2, is_depthwise=False, activation=tfl.ActivationFunctionType.RELU6)
    network.operator(operators.CONV_2D, [image, *held], stem, options.Conv2DOptions, relu6)
    depth = flow("depth", (1, 8, 8, 4))
    held = [weights("depth/w", (1, 3, 3, 4)), bias("depth/b", 4, "stem")]
    plain = _conv_options(stride=1, is_depthwise=True)
    network.operator(operators.DEPTHWISE_CONV_2D, [stem, *held], depth, options.DepthwiseConv2DOptions, plain)
    point = flow("point", (1, 8, 8, 8))
    held = [weights("point/w", (8, 1, 1, 4)), bias("point/b", 8, "depth")]
    plain = _conv_options(stride=1, is_depthwise=False)
    network.operator(operators.CONV_2D, [depth, *held], point, options.Conv2DOptions, plain)
    mean = flow("mean", (1, 8))
    axes = network.tensor("axes", (2,), data=np.array([1, 2], np.int32), kind=tfl.TensorType.INT32)
    network.operator(operators.MEAN, [point, axes], mean, options.ReducerOptions, tfl.ReducerOptionsT())
    logits = flow("logits", (1, 2))
    held = [weights("head/w", (2, 8)), bias("head/b", 2, "mean")]
    network.operator(
        operators.FULLY_CONNECTED,
        [mean, *held],
        logits,
        options.FullyConnectedOptions,
        tfl.FullyConnectedOptionsT(),
    )
    scores = network.tensor("scores", (1, 2), scale=1 / 256, zero_point=-128, kind=builder.kind)
    softmax = tfl.SoftmaxOptionsT()
    softmax.beta = 1.0
    network.operator(operators.SOFTMAX, [logits], scores, options.SoftmaxOptions, softmax)
    return network.pack(input_index=image, output_index=scores)


def alter_network(content: bytes, alter: Callable[[tfl.ModelT], object]) -> bytes:
    """Returns a network with something altered, packed anew."""
    model = tfl.ModelT.InitFromPackedBuf(content)
    alter(model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
