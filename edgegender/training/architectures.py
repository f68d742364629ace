"""Networks built from code. A file only ever brings weights, never a graph: a graph from a file can run code.

All of them have an input ``image``, a base, and a head of ``pool`` (``flat`` in the cnn), ``hidden`` where the recipe
has hidden units, ``dropout`` and ``scores``. Each layer has the same name in each build: one that Keras counts up would
stand in the converted file and change its bytes, and in a checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.errors import UsageError
from edgegender.training.backend import import_keras
from edgegender.training.recipes import Recipe
from edgegender.training.start_weights import LoadedPart, build_with_imagenet, load_start_weights

if TYPE_CHECKING:
    import keras

INPUT_NAME = "image"
HEAD_NAMES = frozenset({"pool", "flat", "hidden", "dropout", "scores"})
# What the start weights were trained with. Source: Keras, preprocess_input of each module of keras.applications
_START_SCALING: Mapping[str, str] = {"mobilenetv2": "tf", "inceptionv3": "tf", "resnet50": "caffe", "cnn": "unit"}
_CNN_FILTERS = (32, 64, 128)
_MIN_FILTERS = 8


def choose_scaling(recipe: Recipe) -> str:
    """Returns how bytes become the network's numbers, one of :data:`edgegender.preprocess.SCALINGS`.

    Args:
        recipe: Its scaling, where that is ``auto``, is what the start weights of its architecture expect.

    Example:
        >>> from edgegender.training.recipes import load_recipe
        >>> choose_scaling(load_recipe("edge")), choose_scaling(load_recipe("edge", ["scaling=unit"]))
        ('tf', 'unit')
    """
    return _START_SCALING[recipe.architecture] if recipe.scaling == "auto" else recipe.scaling


def _with_fixed_names(base: keras.Model) -> keras.Model:
    """Returns a copy whose layers are numbered from 1 in their order, where Keras numbered them by a global count."""
    import keras

    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for layer in base.layers:
        stem = re.sub(r"_\d+$", "", layer.name)
        if stem.replace("_", "") == type(layer).__name__.lower():  # a name that the network's author gave is kept
            counts[stem] = counts.get(stem, 0) + 1
            names[layer.name] = f"{stem}_{counts[stem]}"

    def renamed(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "name": names.get(layer.name, layer.name)})

    copy = keras.models.clone_model(base, clone_function=renamed)
    copy.set_weights(base.get_weights())
    return copy


def _cnn(recipe: Recipe, _: str | None) -> keras.Model:
    """Three blocks of convolution and pooling. Source: Tareq 2025, custom CNN."""
    import keras

    image = keras.Input((recipe.input_size_px, recipe.input_size_px, 3), name=INPUT_NAME)
    features = image
    for number, width in enumerate(_CNN_FILTERS, start=1):
        filters = max(_MIN_FILTERS, round(width * recipe.alpha))
        # The paper names no padding: Keras's own is "valid"
        features = keras.layers.Conv2D(filters, 3, activation="relu", name=f"conv_{number}")(features)
        features = keras.layers.MaxPooling2D(name=f"pool_{number}")(features)
    return keras.Model(image, features, name="cnn_base")


def _mobilenetv2(recipe: Recipe, weights: str | None) -> keras.Model:
    """Source: Sandler et al. 2018, arXiv 1801.04381, table 2."""
    import keras

    shape = (recipe.input_size_px, recipe.input_size_px, 3)
    return keras.applications.MobileNetV2(
        input_shape=shape,
        input_tensor=keras.Input(shape, name=INPUT_NAME),
        alpha=recipe.alpha,
        include_top=False,
        weights=weights,
    )


def _resnet50(recipe: Recipe, weights: str | None) -> keras.Model:
    """Source: He et al. 2015, arXiv 1512.03385, table 1."""
    import keras

    image = keras.Input((recipe.input_size_px, recipe.input_size_px, 3), name=INPUT_NAME)
    return keras.applications.ResNet50(input_tensor=image, include_top=False, weights=weights)


def _inceptionv3(recipe: Recipe, weights: str | None) -> keras.Model:
    """Source: Szegedy et al. 2015, arXiv 1512.00567, table 1."""
    import keras

    image = keras.Input((recipe.input_size_px, recipe.input_size_px, 3), name=INPUT_NAME)
    return _with_fixed_names(keras.applications.InceptionV3(input_tensor=image, include_top=False, weights=weights))


_BASES: Mapping[str, Callable[[Recipe, str | None], keras.Model]] = {
    "cnn": _cnn,
    "mobilenetv2": _mobilenetv2,
    "resnet50": _resnet50,
    "inceptionv3": _inceptionv3,
}


def _build_base(recipe: Recipe, *, is_downloaded: bool) -> keras.Model:
    import keras

    def build(weights: str | None) -> keras.Model:
        return _BASES[recipe.architecture](recipe, weights)

    base = build_with_imagenet(recipe, build) if is_downloaded else build(None)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and recipe.batch_norm_momentum:
            layer.momentum = recipe.batch_norm_momentum
    return base


def _add_head(base: keras.Model, recipe: Recipe, num_labels: int) -> keras.Model:
    import keras

    if recipe.architecture == "cnn":
        features = keras.layers.Flatten(name="flat")(base.output)
    else:
        features = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    if recipe.hidden_units:
        features = keras.layers.Dense(recipe.hidden_units, activation="relu", name="hidden")(features)
    features = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(features)
    num_outputs = 1 if recipe.output == "sigmoid" else num_labels
    # A softmax of 16-bit numbers would round scores near one to one
    scores = keras.layers.Dense(num_outputs, activation=recipe.output, dtype="float32", name="scores")(features)
    # keras.applications wraps its input in a list, and would warn of each call without one
    return keras.Model(base.inputs[0], scores, name=recipe.architecture)


def _check(recipe: Recipe, num_labels: int, *, is_downloaded: bool) -> None:
    if recipe.output == "sigmoid" and num_labels != 2:
        raise UsageError(
            f"Expected two labels for one sigmoid score, got {num_labels} (recipe {recipe.name}).",
            hint="Give each label a score of its own with --set output=softmax.",
        )
    if recipe.architecture == "cnn" and recipe.frozen_epochs:
        raise UsageError(
            f"Expected frozen_epochs=0 for the cnn, got {recipe.frozen_epochs} (recipe {recipe.name}).",
            hint="It has no pre-trained base to freeze: add --set frozen_epochs=0.",
        )
    if recipe.architecture == "cnn" and is_downloaded:
        raise UsageError(
            f"Expected start_weights=none for the cnn, got {recipe.start_weights} (recipe {recipe.name}).",
            hint="Nobody has ImageNet weights of it: add --set start_weights=none.",
        )


def _ignore(_: LoadedPart) -> None:
    """Hears what start weights filled and says nothing."""


def build_model(
    recipe: Recipe,
    num_labels: int,
    *,
    start_weights: Path | None = None,
    on_start_weights: Callable[[LoadedPart], None] = _ignore,
) -> keras.Model:
    """Returns an untrained classifier.

    Args:
        recipe: Architecture, width, input size, head and start weights.
        num_labels: At least 2; exactly 2 where the recipe's output is ``sigmoid``.
        start_weights: A local weights file for the base, or a run folder; otherwise as the recipe says.
        on_start_weights: Called with what ``start_weights`` filled: a run folder fills the head also where its shapes
            are the same.

    Returns:
        A Keras model from (batch, input_size_px, input_size_px, 3) float32, scaled by :func:`choose_scaling`, to
        float32 scores: (batch, num_labels) that sum to one, or (batch, 1) of the second label with ``sigmoid``.

    Raises:
        UsageError: The recipe's parts do not go together, or the weights file does not fit or is hostile.
        DownloadError: The ImageNet weights cannot be fetched.
        MissingDependencyError: Keras is not installed.
    """
    is_downloaded = start_weights is None and recipe.start_weights == "imagenet"
    _check(recipe, num_labels, is_downloaded=is_downloaded)
    import_keras()
    base = _build_base(recipe, is_downloaded=is_downloaded)
    model = _add_head(base, recipe, num_labels)
    if start_weights is not None:
        on_start_weights(load_start_weights(model, base, start_weights, recipe))
    return model


def set_frozen(model: keras.Model, recipe: Recipe, *, is_frozen: bool) -> None:
    """Says which layers learn. The network must be compiled again after it.

    Args:
        model: From :func:`build_model`.
        recipe: Whether batch normalization learns while the base does; otherwise it keeps its statistics.
        is_frozen: Whether the base keeps its weights and only the head learns.
    """
    import keras

    for layer in model.layers:
        if layer.name not in HEAD_NAMES:
            is_kept = isinstance(layer, keras.layers.BatchNormalization) and not recipe.is_batch_norm_trained
            layer.trainable = not is_frozen and not is_kept


def to_two_scores(logit: keras.layers.Dense, features: keras.KerasTensor, *, name: str = "scores") -> keras.KerasTensor:
    """Returns the two softmax scores whose second is the sigmoid of a layer's one answer.

    A sigmoid of z is the second of a softmax over (-z/2, z/2): the same scores, in the form that a file has.

    Args:
        logit: A built layer of one unit, which is copied as it is now; its activation is not looked at.
        features: (batch, num_features), what the layer is called with.
        name: Of the new layer.

    Returns:
        (batch, 2) float32 of the new layer.
    """
    import keras
    import numpy as np

    last = keras.layers.Dense(2, activation="softmax", use_bias=logit.use_bias, dtype="float32", name=name)
    scores = last(features)
    last.set_weights([np.concatenate([-half, half], axis=-1) for half in (array / 2 for array in logit.get_weights())])
    return scores


def to_serving_model(model: keras.Model, num_labels: int) -> keras.Model:
    """Returns a network with one score a label, whatever head was trained.

    Args:
        model: From :func:`build_model`, or any whose last layer is a Dense with softmax, or one unit with sigmoid;
            its layers but the last are shared, the last is copied as it is now, see :func:`to_two_scores`.
        num_labels: How many scores to give.

    Returns:
        A network to (batch, num_labels) float32 scores that sum to one; the model itself where it is one already.

    Raises:
        UsageError: The network has another number of scores.
    """
    import keras

    num_outputs = model.output_shape[-1]
    if num_outputs == num_labels:
        return model
    if (num_outputs, num_labels) != (1, 2):
        raise UsageError(f"Expected a network with {num_labels} scores, got {num_outputs}.")
    trained = model.layers[-1]
    return keras.Model(model.input, to_two_scores(trained, trained.input), name=model.name)
