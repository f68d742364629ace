"""Whole networks from a ``.keras`` file that a user brings, without running anything that stands in it.

The file's description of the network is read as data and written anew from known parts
(:mod:`edgegender.training.network_config`), Keras builds that, and the weights are read as any others are
(:mod:`edgegender.training.weights_file`). :func:`as_classifier` then gives the network one softmax score a label.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

from edgegender.errors import UsageError
from edgegender.training.architectures import to_two_scores
from edgegender.training.backend import import_keras
from edgegender.training.network_config import AUGMENTATION_HINT, clean_network, is_augmentation
from edgegender.training.weights_file import checked_hdf5, load_weights_into

if TYPE_CHECKING:
    import keras

# Source: keras/src/saving/saving_lib.py, _CONFIG_FILENAME, _METADATA_FILENAME
_CONFIG_MEMBER = "config.json"
_METADATA_MEMBER = "metadata.json"
# InceptionResNetV2 and NASNetLarge, the longest of keras.applications, take less than 2 MiB
_MAX_CONFIG_BYTES = 16 << 20
_MAX_METADATA_BYTES = 1 << 16
# Keras stores weights as they are; somebody may have packed the archive again
_MAX_EXPANSION = 8
_EXPANSION_FLOOR_BYTES = 64 << 20
_MAX_WEIGHTS_BYTES = 4 << 30
_MIN_BYTES_A_WEIGHT = 2  # float16
# What one layer may answer to one photo, 1 GiB of float32; the first layer of VGG16 at 1024 px has a quarter of it
_MAX_ANSWERS = 1 << 28
_SIZES_PX = range(16, 1025)
_SAVE_HINT = "Save the network with model.save('name.keras') of Keras 3."
_HEAD_HINT = "End it with a Dense layer: softmax or logits with one output a label, or one sigmoid for two labels."
# Hand their input on while predicting, whatever it means: scores stay scores
_PASSING = frozenset({
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout", "GaussianNoise"),
    *("Identity", "ActivityRegularization", "Flatten", "Reshape"),
})  # fmt: skip
_WEIGHTED = frozenset({"Dense", "EinsumDense", "Conv2D", "Conv1D"})
_SCALING = frozenset({"Rescaling", "Normalization", "Add", "Subtract", "Multiply", "Divide", "TrueDivide"})
_BEFORE_SCALING = frozenset({
    *("InputLayer", "Identity", "Resizing", "CenterCrop", "ZeroPadding2D", "Cropping2D", "Cast", "GetItem", "Stack"),
    *("Flip", "Concatenate"),
})  # fmt: skip


# Reading


class _Allowance:
    """Starts weights with zeros, as many as the file can fill: a description alone may ask for any number.

    Args:
        num_weights: How many.
    """

    def __init__(self, num_weights: int) -> None:
        self._num_left = num_weights

    @property
    def is_exceeded(self) -> bool:
        return self._num_left < 0

    def __call__(self, shape: Sequence[int], dtype: str | None = None, **_: object) -> object:
        import keras

        self._num_left -= math.prod(shape)
        if self._num_left < 0:
            raise ValueError("more weights than the file holds")
        return keras.ops.zeros(shape, dtype)


def _read_member(archive: ZipFile, name: str, max_bytes: int, path: Path) -> object:
    with archive.open(name) as member:
        content = member.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UsageError(f"Expected {name} of at most {max_bytes >> 10} KiB, got more ({path}).", hint=_SAVE_HINT)
    return json.loads(content)


def _read_description(path: Path) -> object:
    try:
        with ZipFile(path) as archive:
            if any(member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) for member in archive.infolist()):
                raise BadZipFile("a compression that Keras does not use")  # noqa: TRY301 - one message for all damage
            metadata: object = {}
            if _METADATA_MEMBER in archive.namelist():
                metadata = _read_member(archive, _METADATA_MEMBER, _MAX_METADATA_BYTES, path)
            description = _read_member(archive, _CONFIG_MEMBER, _MAX_CONFIG_BYTES, path)
    except UsageError:
        raise
    # RecursionError is a RuntimeError, JSONDecodeError and UnicodeDecodeError are ValueErrors
    except (
        BadZipFile,
        KeyError,
        OSError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        ValueError,
        zlib.error,
    ) as error:
        raise UsageError(
            f"Expected a .keras file with {_CONFIG_MEMBER} in it, got another or a damaged one ({path}).",
            hint=_SAVE_HINT,
        ) from error
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if version is not None and not str(version).startswith("3."):
        raise UsageError(
            f"Expected a network of Keras 3, got one of Keras {str(version)[:20]!a} ({path}).",
            hint="Build it in Keras 3, copy its weights with set_weights, and save it with model.save('name.keras').",
        )
    return description


def _check_path(path: Path) -> None:
    if path.is_dir():
        raise UsageError(
            f"Expected a .keras file, got a folder ({path}).",
            hint=f"A SavedModel holds a graph that can do anything. {_SAVE_HINT}",
        )
    if path.suffix.lower() in (".h5", ".hdf5"):
        raise UsageError(
            f"Expected a .keras file, got HDF5 ({path}).",
            hint=f"Keras loads whole networks from it without its safe mode (CVE-2025-9905). {_SAVE_HINT}",
        )
    if path.suffix != ".keras":
        raise UsageError(f"Expected a file that ends in .keras, got {path}.", hint=_SAVE_HINT)
    if not path.is_file():
        raise UsageError(f"Expected a .keras file, got nothing at {path}.", hint="Name an existing file.")


def _layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns all layers and operations in their order, those of networks inside of it in place of these."""
    import keras

    own = getattr(model, "operations", model.layers)  # layers of a graph are those with a state, or that could have one
    return [inner for layer in own for inner in (_layers(layer) if isinstance(layer, keras.Model) else [layer])]


def _build(description: object, path: Path, num_weights: int) -> keras.Model:
    import keras

    allowance = _Allowance(num_weights)
    cleaned = clean_network(description, where=str(path), initializer=allowance)
    network = keras.Sequential if cleaned["class_name"] == "Sequential" else keras.Model
    try:
        model = network.from_config(cleaned["config"])
    except Exception as error:  # Keras and what is below it raise anything on parts that do not fit
        expected = "weights for all layers" if allowance.is_exceeded else "a network whose layers fit together"
        raise UsageError(
            f"Expected {expected}, got {'fewer' if allowance.is_exceeded else 'another'} ({path}).", hint=_SAVE_HINT
        ) from error
    for layer in _layers(model):
        for name, value in list(vars(layer).items()):
            if value is allowance:  # what the network says of itself must be readable again
                setattr(layer, name, keras.initializers.Zeros())
        if math.prod(size or 1 for size in layer.output.shape) > _MAX_ANSWERS:
            raise UsageError(
                f"Expected layers with at most {_MAX_ANSWERS} answers to a photo, got more "
                f"(layer {layer.name!a}, {path}).",
                hint="Use a smaller input.",
            )
    return model


def load_network(path: Path) -> keras.Model:
    """Returns the network in a ``.keras`` file, built and filled, and runs nothing that stands in it.

    Args:
        path: What ``model.save('name.keras')`` of Keras 3 wrote, of layers that are built into Keras; see
            :data:`edgegender.training.network_config.LAYERS` and ``OPERATIONS``.

    Returns:
        A Functional or Sequential network that computes in float32, with the names that the file gives. It is not
        compiled, and has no regularizers, constraints or seeds.

    Raises:
        UsageError: There is no such file; it is damaged, of another format, hostile, larger than it should be, or has
            layers that are not built into Keras.
        MissingDependencyError: Keras is not installed.
    """
    _check_path(path)
    description = _read_description(path)
    import_keras()
    largest = min(_MAX_WEIGHTS_BYTES, _EXPANSION_FLOOR_BYTES + _MAX_EXPANSION * path.stat().st_size)
    with checked_hdf5(path, max_bytes=largest) as weights:
        num_weights = weights.stat().st_size // _MIN_BYTES_A_WEIGHT
    model = _build(description, path, num_weights)
    load_weights_into(model, path, expected="weights of the network in the same file", hint=_SAVE_HINT)
    return model


# Serving


def input_size_px(model: keras.Model) -> int:
    """Returns the side of the square photo that a network takes, pixels.

    Raises:
        UsageError: It takes something else than one square colour photo of a fixed size from 16 to 1024 pixels.
    """
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    shape = shapes[0]
    is_square = len(shapes) == 1 and len(shape) == 4 and shape[0] is None and shape[1] == shape[2] and shape[3] == 3
    if not is_square or shape[1] not in _SIZES_PX or model.inputs[0].dtype != "float32":
        found = ", ".join(str(shape) for shape in shapes)
        raise UsageError(
            f"Expected one input (None, S, S, 3) of float32 with S from {_SIZES_PX[0]} to {_SIZES_PX[-1]}, got "
            f"{found} of {model.inputs[0].dtype} (network {model.name!a}).",
            hint="Build the network for square RGB photos of one size, such as keras.Input((96, 96, 3)).",
        )
    return int(shape[1])


def has_scaling_inside(model: keras.Model) -> bool:
    """Returns whether a network begins with its own scaling of pixel values: then it wants raw bytes.

    Seen are ``Rescaling``, ``Normalization`` and arithmetic such as ``x / 127.5 - 1`` before the first layer that
    learns; not a ``BatchNormalization`` there.

    Args:
        model: A network with one input.
    """
    names = (type(layer).__name__ for layer in _layers(model))
    first = next((name for name in names if name not in _BEFORE_SCALING), "")
    return first in _SCALING


@dataclass(frozen=True)
class _Head:
    """How a network ends: the activation of its answers, the layer that applies it, what that is called with."""

    activation: str
    layer: keras.layers.Layer
    features: keras.KerasTensor


def _activation_of(layer: keras.layers.Layer, rank: int) -> str:
    """Returns the name of what a layer does to its numbers at last, or ``""`` where that is no activation of each."""
    kind = type(layer).__name__
    if kind in _WEIGHTED or kind == "Activation":
        return str(getattr(layer.activation, "__name__", type(layer.activation).__name__)).lower()
    if kind in ("Softmax", "Sigmoid"):
        return kind.lower() if getattr(layer, "axis", -1) in (-1, rank - 1) else ""
    return ""


def _find_head(tensor: keras.KerasTensor) -> _Head:
    """Returns how the network to a tensor ends, looking through networks inside of it and layers that change nothing.

    Where it ends inside of another network, the features are those of a new network to there, with the same layers.
    """
    import keras

    history = tensor._keras_history  # Keras has no public way from a tensor to its layer
    layer = history.operation
    inputs = layer._inbound_nodes[history.node_index].input_tensors
    if isinstance(layer, keras.Model):
        inner = _find_head(layer.outputs[0])
        return _Head(
            inner.activation, inner.layer, keras.Model(layer.inputs[0], inner.features, name=layer.name)(inputs[0])
        )
    if not inputs:
        return _Head("", layer, tensor)
    kind, features = type(layer).__name__, inputs[0]
    activation = _activation_of(layer, len(tensor.shape))
    is_same = kind in _PASSING or (kind == "Activation" and activation == "linear")
    if is_same and tensor.shape[-1] == features.shape[-1]:
        return _find_head(features)
    if kind == "GlobalAveragePooling2D" and _find_head(features).activation == "linear":
        activation = "linear"  # the mean of logits is a logit; the mean of scores would be none
    return _Head(activation, layer, features)


def _free_name(model: keras.Model, replaced: keras.layers.Layer) -> str:
    taken = {layer.name for layer in (*model.layers, *_layers(model)) if layer is not replaced}
    names = ("scores", *(f"scores_{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _two_scores(model: keras.Model, head: _Head) -> keras.KerasTensor:
    """Returns two softmax scores in place of one logit or its sigmoid."""
    import keras
    import numpy as np

    name = _free_name(model, head.layer)
    if isinstance(head.layer, keras.layers.Dense):
        return to_two_scores(head.layer, head.features, name=name)
    if head.activation == "linear":
        logits = model.outputs[0]
    elif type(head.layer).__name__ not in _WEIGHTED:
        logits = head.features
        before = _find_head(logits)
        if before.activation == "linear" and isinstance(before.layer, keras.layers.Dense):
            return to_two_scores(before.layer, before.features, name=name)
    else:
        raise _wrong_head(model, f"a {type(head.layer).__name__} with {head.activation}")
    identity = keras.layers.Dense(1, use_bias=False)
    identity.build(logits.shape)
    identity.set_weights([np.ones((1, 1), np.float32)])
    return to_two_scores(identity, logits, name=name)


def _wrong_head(model: keras.Model, found: str) -> UsageError:
    return UsageError(
        f"Expected a network that ends in softmax, logits or one sigmoid, got {found} (network {model.name!a}).",
        hint=_HEAD_HINT,
    )


def _check_classifier(model: keras.Model, num_labels: int) -> None:
    if num_labels < 2:
        raise UsageError(f"Expected two labels or more, got {num_labels}.", hint="Name what each output means.")
    input_size_px(model)
    shapes = [tuple(tensor.shape) for tensor in model.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or model.outputs[0].dtype != "float32":
        found = f"{', '.join(str(shape) for shape in shapes)} of {model.outputs[0].dtype}"
        raise UsageError(
            f"Expected one output (None, labels) of float32, got {found} (network {model.name!a}).", hint=_HEAD_HINT
        )
    num_outputs = shapes[0][1]
    if num_outputs != num_labels and (num_outputs, num_labels) != (1, 2):
        raise UsageError(
            f"Expected one output a label, or one sigmoid for two labels, got {num_outputs} outputs for {num_labels} "
            f"labels (network {model.name!a}).",
            hint="Name all labels, in the order of the outputs.",
        )
    augmentation = [layer for layer in _layers(model) if is_augmentation(type(layer).__name__)]
    if augmentation:
        raise UsageError(
            f"Expected layers that do the same each time, got {type(augmentation[0]).__name__} "
            f"(layer {augmentation[0].name!a}, network {model.name!a}).",
            hint=AUGMENTATION_HINT,
        )


def as_classifier(model: keras.Model, num_labels: int) -> keras.Model:
    """Returns a network with one softmax score a label, equal to what another one answers.

    Args:
        model: A network from one square photo to (batch, k), which ends in: softmax, k = ``num_labels``; logits, the
            same, which get a softmax; a sigmoid of one number, or that number, for two labels: the second's score. It
            is not changed; all layers but the last are shared.
        num_labels: At least 2.

    Returns:
        A network to (batch, num_labels) float32 scores that sum to one: the given one where it is that already,
        otherwise with a new last layer ``scores``.

    Raises:
        UsageError: The network takes or gives something else, has another number of outputs, ends in something else
            (such as several sigmoids, which need not sum to one), or has random layers.
    """
    import keras

    _check_classifier(model, num_labels)
    output = model.outputs[0]
    head = _find_head(output)
    if output.shape[-1] == 1:
        if head.activation not in ("sigmoid", "linear"):
            raise _wrong_head(model, head.activation or f"a {type(head.layer).__name__}")
        scores = _two_scores(model, head)
        if len(scores.shape) != 2:
            raise _wrong_head(model, f"{head.activation} of an answer a pixel")
    elif head.activation == "softmax":
        return model
    elif head.activation == "linear":
        scores = keras.layers.Activation("softmax", dtype="float32", name=_free_name(model, model))(output)
    else:
        found = head.activation or f"a {type(head.layer).__name__}"
        raise _wrong_head(model, f"{found} of {num_labels} numbers")
    return keras.Model(model.inputs[0], scores, name=model.name)
