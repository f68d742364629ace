"""Networks built from code. A file only ever brings weights, never a graph: a graph from a file can run code."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from edgegender.errors import DownloadError, MissingDependencyError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

# Source: keras/src/applications/mobilenet_v2.py, MobileNetV2: "alpha must be one of"
_IMAGENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


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


@contextlib.contextmanager
def whole_weights() -> Iterator[None]:
    """Makes Keras refuse weights that fit only in part, where it would warn and leave the rest at random.

    Raises:
        ValueError: The file loaded in the block is damaged, no weights file, or of another network.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            yield
    except (OSError, KeyError, BadZipFile, UserWarning) as error:
        raise ValueError(str(error)) from error


def _with_local_weights(recipe: Recipe, file: Path) -> keras.Model:
    if not file.is_file():
        raise UsageError(f"Expected a weights file, got nothing at {file}.", hint="Name an existing .weights.h5.")
    try:
        with whole_weights():
            return _mobilenetv2(recipe, str(file))
    except ValueError as error:
        raise UsageError(
            f"Expected weights of MobileNetV2 {recipe.alpha:g} without top, got another file ({file}).",
            hint="Use a .weights.h5 of the same network and width.",
        ) from error


def _with_imagenet_weights(recipe: Recipe) -> keras.Model:
    if recipe.alpha not in _IMAGENET_WIDTHS:
        raise UsageError(
            f"Expected a width of {', '.join(map(str, _IMAGENET_WIDTHS))}, which ImageNet weights exist for, "
            f"got {recipe.alpha:g} (recipe {recipe.name}).",
            hint="Start from random weights with --set start_weights=none.",
        )
    try:
        # Keras prints the download on standard output, which is for results, and warns that a size without weights
        # of its own gets those made at 224 pixels, which is what is wanted.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`input_shape`", category=UserWarning)
            return _mobilenetv2(recipe, "imagenet")
    except Exception as error:
        # Keras raises a bare Exception with these words; the others come from the connection or the file's reader
        is_expected = isinstance(error, (ValueError, OSError, KeyError, HTTPException))
        if not is_expected and "fetch failure" not in str(error):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"Expected to download ImageNet weights, got: {first}",
            hint="Give the file with --weights PATH, or start from random weights with --set start_weights=none. "
            "A damaged download stands in ~/.keras/models: delete it.",
        ) from error


def _with_start_weights(recipe: Recipe, start_weights: Path | None) -> keras.Model:
    if start_weights is not None:
        return _with_local_weights(recipe, start_weights)
    return _mobilenetv2(recipe, None) if recipe.start_weights == "none" else _with_imagenet_weights(recipe)


def _cnn(recipe: Recipe, num_labels: int) -> keras.Model:
    """Three blocks of convolution and pooling, then one dense layer. Source: Tareq 2025, custom CNN."""
    import keras

    image = keras.Input((recipe.input_size_px, recipe.input_size_px, 3), name="image")
    features = image
    # Every layer has a name: one that Keras counts up would stand in the converted file and change its bytes
    for number, width in enumerate((32, 64, 128), start=1):
        filters = max(8, round(width * recipe.alpha))
        convolve = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv_{number}")
        features = keras.layers.MaxPooling2D(name=f"pool_{number}")(convolve(features))
    flat = keras.layers.Flatten(name="flat")(features)
    hidden = keras.layers.Dense(128, activation="relu", name="hidden")(flat)
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
        UsageError: The weights file does not fit, or there are no start weights for this network.
        DownloadError: The ImageNet weights cannot be fetched.
        MissingDependencyError: Keras is not installed.

    Source: Sandler et al. 2018, arXiv 1801.04381, table 2.
    """
    import_keras()
    import keras

    if recipe.architecture == "cnn":
        if start_weights is not None or recipe.start_weights != "none":
            raise UsageError(
                "Expected start_weights=none, since nobody has start weights for the cnn.",
                hint="Leave --weights out and add --set start_weights=none.",
            )
        return _cnn(recipe, num_labels)
    base = _with_start_weights(recipe, start_weights)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.batch_norm_momentum
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    dropped = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(pooled)
    scores = keras.layers.Dense(num_labels, activation="softmax", name="scores")(dropped)
    return keras.Model(base.input, scores, name=recipe.architecture)
