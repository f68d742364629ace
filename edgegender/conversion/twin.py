"""A Keras 3 classifier as plain data, and the same network again in tf_keras.

Quantization-aware training, pruning and clustering come from tensorflow-model-optimization, which works on tf_keras
only. :func:`describe_network` reads the Keras 3 network in the caller's process; :func:`build_twin` builds it anew in
the worker's, where tf_keras may be imported. In between stand numbers, names and a few words: no object of Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import pairwise
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Weights = tuple[npt.NDArray[np.float32], ...]
_HINT = "Convert it without training: edgegender convert --scheme full_integer"
# Words that mean the same in Keras 3 and in tf_keras. What is left out says how to start, regularize or name a layer.
_CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias")
_KEYS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Conv2D": ("filters", "groups", *_CONVOLUTION),
        "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
        "SeparableConv2D": ("filters", "depth_multiplier", *_CONVOLUTION),
        "Dense": ("units", "activation", "use_bias"),
        "BatchNormalization": ("axis", "epsilon", "center", "scale"),
        "Activation": ("activation",),
        "ReLU": ("max_value", "negative_slope", "threshold"),
        "LeakyReLU": ("negative_slope",),
        "Softmax": ("axis",),
        "MaxPooling2D": ("pool_size", "strides", "padding"),
        "AveragePooling2D": ("pool_size", "strides", "padding"),
        "GlobalAveragePooling2D": ("keepdims",),
        "GlobalMaxPooling2D": ("keepdims",),
        "ZeroPadding2D": ("padding",),
        "Cropping2D": ("cropping",),
        "UpSampling2D": ("size", "interpolation"),
        "Add": (),
        "Multiply": (),
        "Concatenate": ("axis",),
        "Flatten": (),
        "Reshape": ("target_shape",),
    }
)
_RENAMED: Mapping[tuple[str, str], str] = MappingProxyType({("LeakyReLU", "negative_slope"): "alpha"})
_SKIPPED = frozenset({"Dropout", "SpatialDropout2D"})  # they do nothing in inference
_ACTIVATIONS = frozenset({"linear", "relu", "relu6", "sigmoid", "softmax", "tanh"})


@dataclass(frozen=True)
class LayerSpec:
    """One layer.

    Args:
        class_name: Its class, the same in Keras 3 and tf_keras.
        name: Its name.
        config: What its class is called with, for tf_keras: numbers, words and lists of them.
        inbound: The layers whose output it takes, in their order; empty in the input layer's place.
        weights: In the order of ``layer.get_weights()``.
    """

    class_name: str
    name: str
    config: Mapping[str, object]
    inbound: tuple[str, ...]
    weights: Weights = ()


@dataclass(frozen=True)
class NetworkSpec:
    """A flat network with one input and one output.

    Args:
        input_name: Name of the input layer.
        input_shape: (height, width, 3).
        layers: Each after those it takes its inputs from; the last one gives the scores.
    """

    input_name: str
    input_shape: tuple[int, int, int]
    layers: tuple[LayerSpec, ...]


def _refuse(layer: str, kind: str, why: str) -> UsageError:
    return UsageError(f"Expected a flat network of plain layers, got {why} (layer {layer}, {kind}).", hint=_HINT)


def _plain(value: object) -> object:
    """Returns numbers, words, None, and lists of them as JSON has them, so that a spec is the same on both sides."""
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _reduce_config(layer: keras.layers.Layer) -> dict[str, object]:
    """Returns what tf_keras needs to build the layer again."""
    kind = type(layer).__name__
    config = layer.get_config()
    activation = config.get("activation", "linear")
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        word = activation if isinstance(activation, str) else "a function of its own"
        raise _refuse(layer.name, kind, f"the activation {word}")
    if config.get("data_format") == "channels_first":
        raise _refuse(layer.name, kind, "channels before rows")
    return {_RENAMED.get((kind, key), key): _plain(config[key]) for key in _KEYS[kind] if key in config}


def _check_layer(layer: keras.layers.Layer) -> None:
    import keras

    kind = type(layer).__name__
    if isinstance(layer, keras.Model):
        raise _refuse(layer.name, kind, "a network inside of the network")
    is_known = kind in _KEYS or kind in _SKIPPED or kind == "InputLayer"
    if not is_known or getattr(keras.layers, kind, None) is not type(layer):
        raise _refuse(layer.name, kind, "a layer that quantization-aware training cannot treat")


def _tensor_sources(value: object) -> list[str]:
    """Returns the names of the layers whose tensors stand in the arguments of a call, in their order."""
    if isinstance(value, Mapping):
        if value.get("class_name") == "__keras_tensor__":
            return [str(value["config"]["keras_history"][0])]
        value = list(value.values())
    return [name for item in value for name in _tensor_sources(item)] if isinstance(value, (list, tuple)) else []


def _inbound_names(model: keras.Model) -> dict[str, list[str]]:
    """Returns, by layer, the layers that it takes its inputs from."""
    import keras

    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    if isinstance(model, keras.Sequential):
        names = [model.inputs[0].name, *(layer.name for layer in layers)]
        return {after: [before] for before, after in pairwise(names)}
    calls = {entry["config"]["name"]: entry["inbound_nodes"] for entry in model.get_config()["layers"]}
    inbound = {}
    for layer in layers:
        nodes = calls[layer.name]
        if len(nodes) != 1:
            raise _refuse(layer.name, type(layer).__name__, f"a layer that is used {len(nodes)} times")
        inbound[layer.name] = _tensor_sources(nodes[0]["args"])
    return inbound


def _input_shape(model: keras.Model) -> tuple[int, int, int]:
    counts = (len(model.inputs), len(model.outputs)) if getattr(model, "inputs", None) else (0, 0)
    if counts != (1, 1):
        raise UsageError(f"Expected one input and one output, got {counts[0]} and {counts[1]}.", hint=_HINT)
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3 or shape[2] != 3 or None in shape:
        raise UsageError(f"Expected an input of (height, width, 3), got {shape}.", hint=_HINT)
    return int(shape[0]), int(shape[1]), 3


def _gives_scores(layer: LayerSpec) -> bool:
    return layer.class_name == "Softmax" or layer.config.get("activation") == "softmax"


def describe_network(model: keras.Model) -> NetworkSpec:
    """Returns a Keras 3 classifier as plain data, layer by layer. The network itself stays as it is.

    Dropout is left out: it does nothing in inference, and a network that is pulled toward its own answers needs none.

    Args:
        model: Functional or sequential, built, from (batch, height, width, 3) to scores of a softmax.

    Raises:
        UsageError: It holds a layer that quantization-aware training cannot treat: a network, Rescaling, Lambda, a
            layer of one's own or one that is used twice; or it has another number of inputs or outputs, or no softmax.
    """
    import keras

    if not isinstance(model, keras.Sequential) and not hasattr(model, "get_layer"):
        raise UsageError(f"Expected a Keras network, got {type(model).__name__}.")
    for layer in model.layers:
        _check_layer(layer)
    shape = _input_shape(model)
    inputs = [layer.name for layer in model.layers if type(layer).__name__ == "InputLayer"]
    input_name = inputs[0] if inputs else model.inputs[0].name
    inbound = _inbound_names(model)
    stands_for = {input_name: input_name}  # what takes the place of a layer that is left out
    specs: list[LayerSpec] = []
    for layer in model.layers:
        kind = type(layer).__name__
        if kind == "InputLayer":
            continue
        sources = tuple(stands_for[name] for name in inbound[layer.name])
        stands_for[layer.name] = sources[0] if kind in _SKIPPED else layer.name
        if kind not in _SKIPPED:
            weights = tuple(np.asarray(array, np.float32) for array in layer.get_weights())
            specs.append(LayerSpec(kind, layer.name, _reduce_config(layer), sources, weights))
    if not specs or not _gives_scores(specs[-1]):
        raise UsageError(
            f"Expected a softmax in the last layer, got {specs[-1].name if specs else 'no layer'}.",
            hint="A sigmoid is made a softmax by edgegender.training.architectures.to_serving_model.",
        )
    return NetworkSpec(input_name, shape, tuple(specs))


def with_input_name(network: NetworkSpec, name: str) -> NetworkSpec:
    """Returns the network under another input name: one that Keras counts up would depend on what ran before."""
    layers = (
        replace(layer, inbound=tuple(name if source == network.input_name else source for source in layer.inbound))
        for layer in network.layers
    )
    return replace(network, input_name=name, layers=tuple(layers))


def import_or_explain(module: str, package: str) -> ModuleType:
    """Returns a module of the worker's own.

    Raises:
        MissingDependencyError: It, or distutils that tensorflow-model-optimization imports, is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        # setuptools brings distutils to Python 3.12 and later
        missing = "setuptools" if (error.name or "").partition(".")[0] == "distutils" else package
        raise MissingDependencyError(missing, extra="train") from error


def build_twin(spec: NetworkSpec) -> tf.keras.Model:
    """Returns the network in tf_keras, with its weights. For the worker's process only.

    Batch normalization keeps its statistics, whatever the call says.

    Args:
        spec: From :func:`describe_network`.

    Returns:
        A flat functional ``tf_keras.Model`` with the same layer names and weights.

    Raises:
        MissingDependencyError: tf_keras is not installed.
    """
    tf_keras = import_or_explain("tf_keras", "tf_keras")
    layers = tf_keras.layers
    image = layers.Input(spec.input_shape, name=spec.input_name)
    outputs = {spec.input_name: image}
    built: list[tuple[tf.keras.layers.Layer, Weights]] = []
    for layer_spec in spec.layers:
        layer = getattr(layers, layer_spec.class_name)(name=layer_spec.name, **layer_spec.config)
        if layer_spec.class_name == "BatchNormalization":
            layer.trainable = False  # which is how tf_keras is told to use its statistics
        sources = [outputs[name] for name in layer_spec.inbound]
        outputs[layer_spec.name] = layer(sources if len(sources) > 1 else sources[0])
        built.append((layer, layer_spec.weights))
    for layer, weights in built:
        layer.set_weights(weights)
    return tf_keras.Model(image, outputs[spec.layers[-1].name])
