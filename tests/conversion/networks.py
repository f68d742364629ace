"""Networks of some thousand weights for the tests of the conversion, each converted once a session.

TensorFlow needs one to three seconds for a conversion, however small the network is; whoever only reads a file asks for
it here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion import flatbuffer
from edgegender.conversion.float_network import FloatNetwork, build_float_network
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.entities import QuantizationScheme, UInt8Array
from edgegender.preprocess import to_float

SIZE_PX = 24
NUM_PICTURES = 32
TYPE_NAMES = {value: name for name, value in vars(tfl.TensorType).items() if not name.startswith("_")}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def pictures(count: int = NUM_PICTURES, *, size_px: int = SIZE_PX, seed: int = 0) -> UInt8Array:
    """Returns coarse random colours, enlarged, the first of them with a black and a white corner."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 4, 3), np.uint8)
    found = np.stack([cv2.resize(part, (size_px, size_px), interpolation=cv2.INTER_CUBIC) for part in coarse])
    found[0, :2, :2], found[0, -2:, -2:] = 0, 255
    return found


def settle(model, images: UInt8Array, *, scaling: str = "tf", seed: int = 0, spread: float = 1.5):
    """Gives batch normalization the statistics of a trained network, and the head weights that tell pictures apart.

    The head's logits have a standard deviation of ``spread`` over the pictures and a mean of 0: random weights would
    answer every picture alike, and every quantized file would seem to be right.
    """
    import keras

    generator = np.random.default_rng(seed)
    inputs = to_float(images, scaling)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            before = np.asarray(keras.Model(model.input, layer.input)(inputs, training=False), np.float64)
            axes = tuple(range(before.ndim - 1))
            shape = before.shape[-1:]
            layer.set_weights(
                [
                    generator.uniform(0.5, 1.5, shape),
                    generator.uniform(-0.5, 1.0, shape),
                    before.mean(axis=axes),
                    before.var(axis=axes) + 1e-3,
                ]
            )
    head = model.layers[-1]
    features = np.asarray(keras.Model(model.input, head.input)(inputs, training=False), np.float64)
    spreads = features.std(axis=0)[:, None]
    # a feature that hardly changes gets no huge weight, which would leave int8 no steps for the others
    kernel = generator.normal(size=head.get_weights()[0].shape) / (spreads + 0.3 * spreads.max())
    logits = features @ kernel
    kernel *= spread / logits.std(axis=0)
    head.set_weights([kernel, -(features @ kernel).mean(axis=0)])
    return model


def build_block(*, size_px: int = SIZE_PX, num_labels: int = 2, seed: int = 1, scaling: str = "tf"):
    """A stem, one block of MobileNetV2 and a wide layer: batch normalization, ReLU6, a depthwise convolution, a sum."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(seed)
    image = keras.Input((size_px, size_px, 3), name="image")
    stem = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    stem = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_norm")(stem))
    block = layers.Conv2D(16, 1, use_bias=False, name="expand")(stem)
    block = layers.ReLU(6.0, name="expand_relu")(layers.BatchNormalization(name="expand_norm")(block))
    block = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(block)
    block = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(name="depthwise_norm")(block))
    block = layers.BatchNormalization(name="project_norm")(layers.Conv2D(8, 1, use_bias=False, name="project")(block))
    # TensorFlow's dynamic_range leaves weights below 1024 as they are, so that one layer has to have more
    wide = layers.Conv2D(32, 3, strides=2, activation="relu", name="wide")(layers.Add(name="sum")([stem, block]))
    features = layers.GlobalAveragePooling2D(name="pool")(wide)
    model = keras.Model(image, layers.Dense(num_labels, activation="softmax", name="scores")(features), name="block")
    return settle(model, pictures(size_px=size_px), scaling=scaling, seed=seed)


@cache
def block_model():
    """The block network; nobody changes its weights."""
    return build_block()


@cache
def block_network() -> FloatNetwork:
    """The block network, converted."""
    return build_float_network(block_model())


@cache
def block_quantizer() -> Quantizer:
    """The block network with its representative dataset."""
    return Quantizer(block_network(), pictures())


@cache
def block_file(plan: IntegerPlan) -> bytes:
    """The block network as an integer file."""
    return block_quantizer().integer(plan)


def build_sensitive():
    """The block network with one layer, ``expand``, that one scale for all its weights spoils.

    One of its channels has weights a hundred times as large as the others. ReLU6 cuts that channel, so that no
    activation has a wider range, and the next layer does not look at it.
    """
    model = build_block()
    expand, depthwise = model.get_layer("expand"), model.get_layer("depthwise")
    kernel = np.array(expand.get_weights()[0])
    kernel[..., 0] *= 100
    expand.set_weights([kernel])
    kernel = np.array(depthwise.get_weights()[0])
    kernel[:, :, 0] = 0
    depthwise.set_weights([kernel])
    return model


@cache
def sensitive_quantizer() -> Quantizer:
    """The network with a sensitive layer and its representative dataset."""
    return Quantizer(build_float_network(build_sensitive()), pictures())


@cache
def block_scheme(scheme: QuantizationScheme) -> bytes:
    """The block network in another scheme."""
    return block_quantizer().make(scheme)


def altered(content: bytes, alter: Callable[[tfl.ModelT], object]) -> bytes:
    """Returns a file with something altered."""
    model = flatbuffer.unpack(content)
    alter(model)
    return flatbuffer.pack(model)


def output_names(content: bytes, *kinds: str) -> list[str]:
    """Returns the names of what the operators of these kinds compute, of all where none is named."""
    model = flatbuffer.unpack(content)
    graph = flatbuffer.graph_of(model)
    return [
        flatbuffer.text(graph.tensors[operator.outputs[0]].name)
        for kind, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True)
        if kind in kinds or not kinds
    ]


def operator_types(content: bytes) -> list[tuple[str, tuple[str, ...]]]:
    """Returns each operator's name with the types of its input, weights, bias (where there are) and output."""
    model = flatbuffer.unpack(content)
    graph = flatbuffer.graph_of(model)
    return [
        (
            kind,
            tuple(
                TYPE_NAMES[graph.tensors[index].type] for index in (*operator.inputs, operator.outputs[0]) if index >= 0
            ),
        )
        for kind, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True)
    ]


def constants(content: bytes) -> dict[str, tuple[str, bytes, tuple[float, ...], tuple[int, ...]]]:
    """Returns (type, bytes, scales, zero points) of each constant by its name."""
    model = flatbuffer.unpack(content)
    found = {}
    for tensor in flatbuffer.graph_of(model).tensors:
        if flatbuffer.has_data(model, tensor):
            scales, zero_points = quantization_of(tensor)
            data = bytes(model.buffers[tensor.buffer].data)
            found[flatbuffer.text(tensor.name)] = (TYPE_NAMES[tensor.type], data, scales, zero_points)
    return found


def quantization_of(tensor) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Returns (scales, zero points) of a tensor of an unpacked file, empty where it has none."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None:
        return (), ()
    return tuple(quantization.scale.tolist()), tuple(quantization.zeroPoint.tolist())
