"""The description of a network in a ``.keras`` file, taken as data: what is not on a list here is not built.

Keras resolves the names in a description to classes and functions, and has been led to run code by them again and again
(CVE-2024-3660, CVE-2025-1550, CVE-2025-9906, CVE-2026-1462). Its safe mode refuses what is known to be bad. Here a new
description is written from the old one, of what is known to be good: plain layers, numbers, and words with one meaning.
Nothing is passed on as it stands, and all that only training needs (losses, optimizers, regularizers, constraints,
initializers, seeds) is left out unread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NoReturn

from edgegender.errors import UsageError

# Classes of keras.layers that give the same answer each time, read no file and call nothing of the user's
LAYERS = frozenset({
    *("InputLayer", "Identity", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "Softmax"),
    *("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv2DTranspose", "DepthwiseConv2D", "SeparableConv2D"),
    *("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization"),
    *("Rescaling", "Normalization", "Resizing", "CenterCrop"),
    *("MaxPooling1D", "AveragePooling1D", "GlobalAveragePooling1D", "GlobalMaxPooling1D"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    *("ZeroPadding2D", "Cropping2D", "UpSampling2D", "Flatten", "Reshape", "Permute", "RepeatVector"),
    *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"),
    # random while training only
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    "ActivityRegularization",
})  # fmt: skip
# What x / 127.5 - 1, keras.ops.relu(x) and the like become, and the two classes of keras.applications
OPERATIONS: Mapping[str, frozenset[str]] = {
    "keras.src.ops.numpy": frozenset({
        *("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Negative", "Abs", "Square", "Sqrt", "Clip"),
        *("Maximum", "Minimum", "Mean", "Max", "Sum", "GetItem", "Stack", "Concatenate", "Transpose", "Squeeze"),
        *("Reshape", "ExpandDims", "Flip"),
    }),
    "keras.src.ops.nn": frozenset({
        *("Relu", "Relu6", "LeakyRelu", "Elu", "Gelu", "Silu", "HardSigmoid", "HardSilu", "Sigmoid", "Softmax"),
    }),
    "keras.src.ops.core": frozenset({"Cast"}),
    "keras.src.applications.convnext": frozenset({"LayerScale"}),
    "keras.src.applications.inception_resnet_v2": frozenset({"CustomScaleLayer"}),
}  # fmt: skip
ACTIVATIONS = frozenset({
    *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish"),
    *("hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid"),
    *("silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax"),
    *("squareplus", "swish", "tanh", "tanh_shrink", "threshold"),
})  # fmt: skip
# Where Keras writes that a function comes from; it finds all of these by their name among its activations
_FUNCTION_MODULES = frozenset({"builtins", "keras.activations", "keras.src.activations.activations", "keras.ops"})
_FUNCTION_ALIASES = {"softmax_v2": "softmax"}  # the name that TensorFlow's own softmax has
_ACTIVATION_LAYERS = frozenset({"ReLU", "LeakyReLU", "ELU", "Softmax"})
_NETWORKS: Mapping[tuple[str, str], str] = {
    ("keras.src.models.functional", "Functional"): "Model",
    ("keras", "Model"): "Model",
    ("keras.models", "Model"): "Model",
    ("keras", "Sequential"): "Sequential",
    ("keras.models", "Sequential"): "Sequential",
}
_FLOAT_TYPES = frozenset({"float16", "float32", "float64", "mixed_float16", "mixed_bfloat16"})
_WORDS = frozenset({
    *("channels_last", "valid", "same", "constant"),
    *("nearest", "bilinear", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"),
})  # fmt: skip
# NASNetLarge, the longest of keras.applications, has 1,041 layers
_MAX_LAYERS = 5_000
# What building takes: a network inside of another counts each time that it is called
_MAX_CALLS = 20_000
_MAX_NETWORKS_DEEP = 8
_MAX_LISTS_DEEP = 8
# The largest whole number that stands for a size, a position or a factor in any of these layers
_MAX_WHOLE_NUMBER = 1 << 20
_MAX_NAME = 200
_MAX_SHOWN = 60
_BUILT_IN_HINT = "Build the network from layers of keras.layers, copy its weights with set_weights, and save that."
_LAMBDA_HINT = "It can run any code. Write it with built-in layers, such as Rescaling, and save the network again."
AUGMENTATION_HINT = "Augmentation belongs outside of a network that is served: save the part of it behind that layer."
_FLOAT_HINT = "Save the network with weights and input of float32, before it is quantized."
_DAMAGED_HINT = "Save it again with model.save('name.keras') of Keras 3."


def _shown(value: object) -> str:
    """Returns a text for a message: short, on one line, without anything that a terminal would obey."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")


def is_augmentation(class_name: str) -> bool:
    """Returns whether a class of keras.layers changes photos at random.

    Example:
        >>> is_augmentation("RandomFlip"), is_augmentation("Dropout")
        (True, False)
    """
    return class_name.startswith("Random") or class_name in ("RandAugment", "AugMix", "CutMix", "MixUp")


def _hint(class_name: object) -> str:
    if class_name in ("Lambda", "__lambda__", "function"):
        return _LAMBDA_HINT
    return AUGMENTATION_HINT if is_augmentation(str(class_name)) else _BUILT_IN_HINT


class _Reader:
    """One description while it is read.

    Args:
        where: The file, for messages.
        initializer: What starts the weights.
    """

    def __init__(self, where: str, initializer: object) -> None:
        self._where = where
        self._initializer = initializer
        self._num_layers = 0

    def refuse(self, expected: str, found: object, *, hint: str = _DAMAGED_HINT, layer: str = "") -> NoReturn:
        place = f"layer {_shown(layer)}, {self._where}" if layer else self._where
        raise UsageError(f"Expected {expected}, got {_shown(found)} ({place}).", hint=hint)

    def _mapping(self, value: object, expected: str) -> dict[str, object]:
        if not isinstance(value, dict):
            self.refuse(expected, type(value).__name__)
        return value

    def _list(self, value: object, expected: str, *, layer: str = "") -> list[object]:
        if not isinstance(value, list):
            self.refuse(expected, value, layer=layer)
        return value

    def _name(self, value: object) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable() or "/" in value:
            self.refuse("a short name of each layer", value)
        return value

    # Networks

    def network(self, description: object, *, depth: int = 0) -> tuple[dict[str, object], int]:
        """Returns the new description, and how many calls of layers it takes to build."""
        found = self._mapping(description, "the description of a network")
        module, class_name = found.get("module"), found.get("class_name")
        kind = _NETWORKS.get((str(module), str(class_name)))
        if kind is None or found.get("registered_name") not in (None, class_name):
            self.refuse(
                "a network of Keras 3",
                f"{class_name} of {found.get('registered_name') or module}",
                hint=_hint(class_name),
            )
        if depth > _MAX_NETWORKS_DEEP:
            self.refuse("networks inside of each other", f"more than {_MAX_NETWORKS_DEEP} levels")
        config = self._mapping(found.get("config"), "the layers of a network")
        name = self._name(config.get("name"))
        layers, calls = [], 0
        for layer in self._list(config.get("layers"), "the list of a network's layers", layer=name):
            cleaned, layer_calls = self._layer_of_network(layer, is_graph=kind == "Model", depth=depth)
            layers.append(cleaned)
            calls += layer_calls
            if calls > _MAX_CALLS:
                self.refuse("a network that can be built", f"more than {_MAX_CALLS} calls of layers")
        cleaned_config: dict[str, object] = {"name": name, "layers": layers}
        if kind == "Model":
            cleaned_config["trainable"] = bool(config.get("trainable", True))
            for key in ("input_layers", "output_layers"):
                names = self._tensor_names(config.get(key), layer=name)
                # One tensor in a list: Keras would warn of each call with a tensor that stands in none
                cleaned_config[key] = names[0] if len(names) == 1 else names
        elif not layers or layers[0]["class_name"] != "InputLayer":
            self.refuse("an input of a fixed size", "a Sequential network without", layer=name, hint=_DAMAGED_HINT)
        return self._object("keras", kind, cleaned_config), calls

    @staticmethod
    def _object(module: str, class_name: str, config: dict[str, object]) -> dict[str, object]:
        return {"module": module, "class_name": class_name, "config": config, "registered_name": None}

    def _tensor_names(self, value: object, *, layer: str, depth: int = 0) -> list[object]:
        found = self._list(value, "one input and one output", layer=layer)
        if depth > 1:
            self.refuse("one input and one output", "nested ones", layer=layer)
        if len(found) == 3 and isinstance(found[0], str):
            return self._history(found, layer=layer)
        return [self._tensor_names(part, layer=layer, depth=depth + 1) for part in found]

    def _history(self, value: object, *, layer: str) -> list[object]:
        """A tensor is named by its layer, the layer's call, and which of the call's results it is."""
        found = self._list(value, "where a tensor comes from", layer=layer)
        if len(found) != 3:
            self.refuse("where a tensor comes from", found, layer=layer)
        return [self._name(found[0]), *(self._whole(part, layer=layer) for part in found[1:])]

    def _whole(self, value: object, *, layer: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_WHOLE_NUMBER:
            self.refuse("a position", value, layer=layer)
        return value

    # Layers

    def _layer_of_network(self, description: object, *, is_graph: bool, depth: int) -> tuple[dict[str, object], int]:
        found = self._mapping(description, "the description of a layer")
        self._num_layers += 1
        if self._num_layers > _MAX_LAYERS:
            self.refuse("a network that can be built", f"more than {_MAX_LAYERS} layers")
        if (str(found.get("module")), str(found.get("class_name"))) in _NETWORKS:
            cleaned, calls = self.network(found, depth=depth + 1)
        else:
            cleaned, calls = self.layer(found), 1
        config = self._mapping(cleaned["config"], "the settings of a layer")
        name = self._name(config["name"])
        if "shared_object_id" in found:
            # Its weights stand once in the file, and only Keras's own reader would share them
            self.refuse("layers of one network each", "one that two networks share", layer=name, hint=_BUILT_IN_HINT)
        if is_graph:
            nodes = self._list(found.get("inbound_nodes"), "the calls of a layer", layer=name)
            if found.get("name") != name:
                self.refuse("the layer's own name in its network", found.get("name"), layer=name)
            cleaned["name"] = name
            cleaned["inbound_nodes"] = [self._node(node, layer=name) for node in nodes]
            calls *= max(1, len(nodes))
        return cleaned, calls

    def layer(self, found: Mapping[str, object]) -> dict[str, object]:
        """Returns the new description of one layer or operation, without its calls."""
        module, class_name = found.get("module"), found.get("class_name")
        settings = found.get("config")
        name = settings.get("name") if isinstance(settings, dict) else None
        shown_name = name if isinstance(name, str) else str(found.get("name", ""))
        if not isinstance(module, str) or not isinstance(class_name, str):
            self.refuse("layers that are built into Keras", class_name, hint=_hint(class_name), layer=shown_name)
        is_known = class_name in (LAYERS if module == "keras.layers" else OPERATIONS.get(module, ()))
        registered = found.get("registered_name")
        if not is_known or registered not in (None, class_name):
            self.refuse(
                "layers that are built into Keras and do the same each time",
                f"{class_name} of {registered if is_known else module}",
                hint=_hint(class_name),
                layer=shown_name,
            )
        config: dict[str, object] = {"name": self._name(name)}
        for key, value in self._mapping(settings, "the settings of a layer").items():
            self._set(config, key, value, layer=self._name(name))
        return self._object(module, class_name, config)

    def _set(self, config: dict[str, object], key: str, value: object, *, layer: str) -> None:
        if key in ("name", "seed") or key.endswith(("_regularizer", "_constraint")):
            return
        if key in ("sparse", "ragged", "optional", "quantization_config", "lora_rank"):
            if value:
                self.refuse(f"a layer without {key}", value, layer=layer, hint=_FLOAT_HINT)
        elif key.endswith("_initializer"):
            config[key] = self._initializer
        elif key == "dtype":
            config[key] = self._float_type(value, layer=layer)
        elif key == "activation":
            config[key] = self._activation(value, layer=layer)
        elif key in ("equation", "bias_axes") and value is not None:  # of EinsumDense: letters for axes
            if (
                not isinstance(value, str)
                or len(value) > _MAX_SHOWN
                or set(value) - set("abcdefghijklmnopqrstuvwxyz.,->")
            ):
                self.refuse("an equation of letters", value, layer=layer)
            config[key] = value
        else:
            config[key] = self._value(value, layer=layer)

    def _float_type(self, value: object, *, layer: str) -> str:
        """Half precision was for training: 32 bits hold all numbers of the shorter types."""
        name: object = value
        if isinstance(value, dict):
            inner = value.get("config")
            is_plain = value.get("class_name") == "DTypePolicy" and isinstance(inner, dict)
            name = inner.get("name") if is_plain and isinstance(inner, dict) else value.get("class_name")
        if name is not None and name not in _FLOAT_TYPES:
            self.refuse("a network of floating-point numbers", name, layer=layer, hint=_FLOAT_HINT)
        return "float32"

    def _activation(self, value: object, *, layer: str) -> object:
        name: object = value
        if isinstance(value, dict):
            if value.get("module") == "keras.layers" and value.get("class_name") in _ACTIVATION_LAYERS:
                return self.layer(value)
            is_function = value.get("class_name") == "function" and value.get("module") in _FUNCTION_MODULES
            name = value.get("config") if is_function else f"{value.get('class_name')} of {value.get('module')}"
            name = _FUNCTION_ALIASES.get(name, name) if isinstance(name, str) else name
        if name is not None and (not isinstance(name, str) or name not in ACTIVATIONS):
            self.refuse("an activation of keras.activations", name, layer=layer, hint=_BUILT_IN_HINT)
        return name

    # Values

    def _value(self, value: object, *, layer: str, depth: int = 0) -> object:
        """A number, one of a few words, or a list of such."""
        if value is None or isinstance(value, (bool, float)):
            if isinstance(value, float) and not math.isfinite(value):
                self.refuse("finite numbers", value, layer=layer)
            return value
        if isinstance(value, int):
            if abs(value) > _MAX_WHOLE_NUMBER:
                self.refuse(f"whole numbers up to {_MAX_WHOLE_NUMBER}", value, layer=layer)
            return value
        if isinstance(value, list):
            if depth == _MAX_LISTS_DEEP:
                self.refuse("plain settings", f"lists inside of lists, more than {_MAX_LISTS_DEEP}", layer=layer)
            return [self._value(part, layer=layer, depth=depth + 1) for part in value]
        if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
            return self._array(value, layer=layer)
        if not isinstance(value, str) or value not in _WORDS:
            found = (
                f"{value['class_name']} of {value.get('module')}"
                if isinstance(value, dict) and "class_name" in value
                else value
            )
            self.refuse("settings of numbers and known words", found, layer=layer, hint=_BUILT_IN_HINT)
        return value

    def _array(self, value: dict[str, object], *, layer: str) -> dict[str, object]:
        inner = self._mapping(value.get("config"), "an array")
        numbers = self._value(inner.get("value"), layer=layer)
        return {"class_name": value["class_name"], "config": {"value": numbers, "dtype": "float32"}}

    def _node(self, description: object, *, layer: str) -> dict[str, object]:
        """One call of a layer: the tensors and numbers that it is given."""
        found = self._mapping(description, "a layer's call as Keras 3 writes it")
        named = self._mapping(found.get("kwargs"), "the named arguments of a call")
        if named.get("training"):
            self.refuse("layers that are called to predict", "training=True", layer=layer, hint=AUGMENTATION_HINT)
        arguments = [
            self._argument(part, layer=layer) for part in self._list(found.get("args"), "arguments", layer=layer)
        ]
        kwargs = {
            key: self._argument(part, layer=layer)
            for key, part in named.items()
            if key != "training" and part is not None
        }
        return {"args": arguments, "kwargs": kwargs}

    def _argument(self, value: object, *, layer: str, depth: int = 0) -> object:
        if isinstance(value, list) and depth < _MAX_LISTS_DEEP:
            return [self._argument(part, layer=layer, depth=depth + 1) for part in value]
        if not isinstance(value, dict):
            return self._value(value, layer=layer, depth=depth)
        kind, config = value.get("class_name"), value.get("config")
        if kind == "__keras_tensor__":
            inner = self._mapping(config, "a tensor")
            # Keras replaces it by the layer's real one: shape and type in the file mean nothing
            history = self._history(inner.get("keras_history"), layer=layer)
            return {"class_name": kind, "config": {"shape": [], "dtype": "float32", "keras_history": history}}
        if kind == "__ellipsis__":
            return {"class_name": kind, "config": {}}
        if kind == "__slice__":
            inner = self._mapping(config, "a slice")
            ends = {key: self._value(inner.get(key), layer=layer) for key in ("start", "stop", "step")}
            return {"class_name": kind, "config": ends}
        return self._value(value, layer=layer, depth=depth)


def clean_network(description: object, *, where: str, initializer: object = "zeros") -> dict[str, object]:
    """Returns a new description of a network, of known parts only, for ``from_config`` of Keras.

    Args:
        description: What ``config.json`` of a ``.keras`` file says, as :mod:`json` reads it. It is not changed.
        where: The file, for messages.
        initializer: What starts all weights, in place of what the file says: they are read afterwards.

    Returns:
        ``class_name`` (``Model`` or ``Sequential``), ``module`` (``keras``) and ``config``. All layers compute in
        float32, whatever they were trained in; none is compiled, regularized, constrained or seeded.

    Raises:
        UsageError: The network has a layer, an activation or a setting that is not known to be harmless, or more of
            them than any network has.

    Example:
        >>> clean_network({"module": "os", "class_name": "system", "config": {}}, where="it.keras")
        Traceback (most recent call last):
        edgegender.errors.UsageError: Expected a network of Keras 3, got 'system of os' (it.keras).
    """
    return _Reader(where, initializer).network(description)[0]
