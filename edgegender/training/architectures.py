"""Networks built from code. A file only ever brings weights, never a graph: a graph from a file can run code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.errors import DownloadError, MissingDependencyError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.training.recipes import Recipe

if TYPE_CHECKING:
    import keras


def import_keras() -> None:
    """Imports Keras 3, or says how to install it.

    Raises:
        MissingDependencyError: Keras or its backend is not installed.
    """
    try:
        with held_back_stderr():  # TensorFlow's banner about missing GPUs is no message of ours
            import keras  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("keras with tensorflow", extra="train") from error


def _mobilenetv2(recipe: Recipe, weights: str | None) -> keras.Model:
    import keras

    return keras.applications.MobileNetV2(
        input_shape=(recipe.input_size_px, recipe.input_size_px, 3),
        alpha=recipe.alpha,
        include_top=False,
        weights=weights,
    )


def _with_start_weights(recipe: Recipe, start_weights: Path | None) -> keras.Model:
    if start_weights is None and recipe.start_weights == "none":
        return _mobilenetv2(recipe, None)
    if start_weights is not None and not start_weights.is_file():
        raise UsageError(f"Expected a weights file, got nothing at {start_weights}.")
    try:
        return _mobilenetv2(recipe, str(start_weights) if start_weights else "imagenet")
    except (ValueError, OSError, KeyError) as error:
        if start_weights is not None:
            raise UsageError(
                f"Expected weights of MobileNetV2 {recipe.alpha:g} without top, got another file ({start_weights}).",
                hint="Use a .weights.h5 of the same network and width.",
            ) from error
        raise DownloadError(
            "Expected to download ImageNet weights, got no answer.",
            hint="Give the file with --weights PATH, or start from random weights with --set start_weights=none.",
        ) from error
    except Exception as error:
        if "fetch failure" not in str(error):
            raise
        raise DownloadError(
            "Expected to download ImageNet weights, got no answer.",
            hint="Give the file with --weights PATH, or start from random weights with --set start_weights=none.",
        ) from error


def _cnn(recipe: Recipe, num_labels: int) -> keras.Model:
    """Three blocks of convolution and pooling, then one dense layer. Source: Tareq 2025, custom CNN."""
    import keras

    image = keras.Input((recipe.input_size_px, recipe.input_size_px, 3))
    features = image
    for filters in (32, 64, 128):
        filters = max(8, round(filters * recipe.alpha))  # noqa: PLW2901
        features = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(features)
        features = keras.layers.MaxPooling2D()(features)
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(features))
    dropped = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(hidden)
    scores = keras.layers.Dense(num_labels, activation="softmax", name="scores")(dropped)
    return keras.Model(image, scores, name=recipe.architecture)


def build_model(recipe: Recipe, num_labels: int, *, start_weights: Path | None = None) -> keras.Model:
    """Returns an untrained classifier: MobileNetV2 with average pooling, or the small cnn; then dropout and softmax.

    Args:
        recipe: Width, input size, dropout, start weights.
        num_labels: Outputs, at least 2.
        start_weights: A local ``.weights.h5`` for the base; otherwise as the recipe says.

    Returns:
        A Keras model from (batch, input_size_px, input_size_px, 3) float32 in [-1, 1] to (batch, num_labels) float32
        scores that sum to one.

    Raises:
        UsageError: The weights file does not fit.
        DownloadError: The ImageNet weights cannot be fetched.
        MissingDependencyError: Keras is not installed.

    Source: Sandler et al. 2018, arXiv 1801.04381, table 2.
    """
    import_keras()
    import keras

    if recipe.architecture == "cnn":
        if start_weights is not None or recipe.start_weights != "none":
            raise UsageError("Expected start_weights=none, since nobody has start weights for the cnn.")
        return _cnn(recipe, num_labels)
    base = _with_start_weights(recipe, start_weights)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.batch_norm_momentum
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    dropped = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(pooled)
    scores = keras.layers.Dense(num_labels, activation="softmax", name="scores")(dropped)
    return keras.Model(base.input, scores, name=recipe.architecture)
