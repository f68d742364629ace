"""Before quantization-aware training a network takes the form that it has in a ``.tflite``: arithmetic on its spec.

A converter folds batch normalization into the convolution before it, splits separable convolutions and has no layer of
its own for relu6. A network that is trained in that form learns the numbers that are quantized later, and each
convolution has a bias that can take up what rounding shifts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgegender.conversion.twin import LayerSpec, NetworkSpec
from edgegender.errors import UsageError
from edgegender.preprocess import CAFFE_MEAN_BGR

FRONT_NAME = "caffe_front"
_FOLDABLE = frozenset({"Conv2D", "DepthwiseConv2D", "Dense"})


def _split_separable(layer: LayerSpec) -> tuple[LayerSpec, ...]:
    """A separable convolution is a depthwise one and one of 1 × 1."""
    if layer.class_name != "SeparableConv2D":
        return (layer,)
    first_keys = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    first = LayerSpec(
        "DepthwiseConv2D",
        f"{layer.name}_depthwise",
        {**{key: layer.config[key] for key in first_keys}, "use_bias": False},
        layer.inbound,
        layer.weights[:1],
    )
    second_keys = ("filters", "activation", "use_bias")
    config = {**{key: layer.config[key] for key in second_keys}, "kernel_size": [1, 1]}
    return first, LayerSpec("Conv2D", layer.name, config, (first.name,), layer.weights[1:])


def _split_relu6(layer: LayerSpec) -> tuple[LayerSpec, ...]:
    """Quantization-aware training knows relu6 as the layer ReLU(6) only."""
    if layer.config.get("activation") != "relu6":
        return (layer,)
    if layer.class_name == "Activation":
        return (LayerSpec("ReLU", layer.name, {"max_value": 6.0}, layer.inbound),)
    linear = replace(layer, name=f"{layer.name}_linear", config={**layer.config, "activation": "linear"})
    return linear, LayerSpec("ReLU", layer.name, {"max_value": 6.0}, (linear.name,))


def _batch_norm_factors(layer: LayerSpec) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Returns (scale, shift) such that the layer answers x · scale + shift."""
    arrays = [array.astype(np.float64) for array in layer.weights]
    variance, mean = arrays.pop(), arrays.pop()
    beta = arrays.pop() if layer.config["center"] else np.zeros_like(mean)
    gamma = arrays.pop() if layer.config["scale"] else np.ones_like(mean)
    scale = gamma / np.sqrt(variance + float(str(layer.config["epsilon"])))
    return scale, beta - mean * scale


def _fold_into(layer: LayerSpec, batch_norm: LayerSpec) -> LayerSpec:
    """Returns a convolution or dense layer that does what the batch normalization after it does, under its name."""
    scale, shift = _batch_norm_factors(batch_norm)
    kernel = layer.weights[0].astype(np.float64)
    bias = layer.weights[1].astype(np.float64) if layer.config["use_bias"] else np.zeros_like(shift)
    # a depthwise kernel is (rows, columns, channels, multiplier), and its outputs are counted through the last two
    by_output = scale.reshape(kernel.shape[2:]) if layer.class_name == "DepthwiseConv2D" else scale
    weights = (np.asarray(kernel * by_output, np.float32), np.asarray(bias * scale + shift, np.float32))
    return replace(layer, name=batch_norm.name, config={**layer.config, "use_bias": True}, weights=weights)


def _fold_batch_norms(layers: Iterable[LayerSpec]) -> tuple[LayerSpec, ...]:
    folded: dict[str, LayerSpec] = {}
    ordered = tuple(layers)
    uses = Counter(name for layer in ordered for name in layer.inbound)
    for layer in ordered:
        if layer.class_name != "BatchNormalization":
            folded[layer.name] = layer
            continue
        before = folded.get(layer.inbound[0])
        can_fold = (
            before is not None
            and before.class_name in _FOLDABLE
            and before.config.get("activation", "linear") == "linear"
            and uses[before.name] == 1
            and layer.config["axis"] in (-1, len(before.weights[0].shape) - 1)
        )
        if before is None or not can_fold:
            raise UsageError(
                "Expected batch normalization right after a linear convolution or dense layer, "
                f"got it after {layer.inbound[0]} (layer {layer.name}).",
                hint="Convert it without training: edgegender convert --scheme full_integer",
            )
        del folded[before.name]
        folded[layer.name] = _fold_into(before, layer)
    return tuple(folded.values())


def _with_caffe_front(network: NetworkSpec) -> NetworkSpec:
    """Puts a convolution of 1 × 1 in front that turns raw RGB bytes into blue, green, red less their means."""
    kernel = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
    bias = -np.asarray(CAFFE_MEAN_BGR, np.float32)
    front = LayerSpec(
        "Conv2D", FRONT_NAME, {"filters": 3, "kernel_size": [1, 1]}, (network.input_name,), (kernel, bias)
    )
    moved = (
        replace(layer, inbound=tuple(FRONT_NAME if name == network.input_name else name for name in layer.inbound))
        for layer in network.layers
    )
    return replace(network, layers=(front, *moved))


def to_quantizable(network: NetworkSpec, *, scaling: str) -> NetworkSpec:
    """Returns a network that answers the same and has the form in which it will be quantized.

    Args:
        network: From :func:`edgegender.conversion.twin.describe_network`.
        scaling: With ``caffe`` the result takes raw RGB bytes; with any other one, the same numbers as before.

    Raises:
        UsageError: A batch normalization does not follow a linear convolution or dense layer.
    """
    layers = [part for layer in network.layers for part in _split_separable(layer)]
    layers = [part for layer in layers for part in _split_relu6(layer)]
    folded = replace(network, layers=_fold_batch_norms(layers))
    return _with_caffe_front(folded) if scaling == "caffe" else folded
