"""Start weights: from a file, from an earlier run, or by download."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.error import HTTPError

from edgegender.errors import DownloadError, UsageError
from edgegender.training.recipes import Recipe
from edgegender.training.weights_file import checked_hdf5, load_weights_into, max_file_bytes

if TYPE_CHECKING:
    import keras

WEIGHTS_NAME = "best.weights.h5"
"""The best epoch's weights in a run folder."""

LoadedPart = Literal["whole network", "base"]
"""What start weights filled: a base alone leaves the head at random."""

# Source: keras/src/applications/mobilenet_v2.py, MobileNetV2: "alpha must be one of"
_IMAGENET_WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)


def describe_network(recipe: Recipe) -> str:
    """Returns the network's name, with its width where it has one.

    Example:
        >>> from edgegender.training.recipes import load_recipe
        >>> describe_network(load_recipe("edge", ["alpha=0.35"]))
        'mobilenetv2 0.35'
    """
    has_width = recipe.architecture in ("mobilenetv2", "cnn")
    return f"{recipe.architecture} {recipe.alpha:g}" if has_width else recipe.architecture


def build_with_imagenet(recipe: Recipe, build: Callable[[str], keras.Model]) -> keras.Model:
    """Returns a base with the weights that ``keras.applications`` downloads.

    Args:
        recipe: The architecture and its width.
        build: Builds the base from the word ``imagenet``.

    Raises:
        UsageError: There are no such weights for this width.
        DownloadError: They cannot be fetched, or the fetched file is damaged.
    """
    if recipe.architecture == "mobilenetv2" and recipe.alpha not in _IMAGENET_WIDTHS:
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
            return build("imagenet")
    except Exception as error:
        # Keras raises a bare Exception with these words; the others come from the connection or the file's reader
        is_expected = isinstance(error, (ValueError, OSError, KeyError, HTTPException))
        if not is_expected and "fetch failure" not in str(error):
            raise
        if isinstance(error.__context__, HTTPError):
            error.__context__.close()  # Keras leaves the server's answer open
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"Expected to download ImageNet weights of {describe_network(recipe)}, got: {first}",
            hint="Give the file with --weights PATH, or start from random weights with --set start_weights=none. "
            "A damaged download stands in ~/.keras/models: delete it.",
        ) from error


def _saved_dense_shapes(model: keras.Model, file: Path) -> list[tuple[int, ...]]:
    import h5py

    with checked_hdf5(file, max_bytes=max_file_bytes(model)) as checked, h5py.File(checked, "r") as opened:
        # Keras counts the layers of a class in their order: dense, dense_1, …
        groups = [opened.get(f"layers/dense{end}/vars/0") for end in ("", *(f"_{number}" for number in range(1, 4)))]
        return [tuple(group.shape) for group in groups if isinstance(group, h5py.Dataset)]


def _load_run(model: keras.Model, base: keras.Model, file: Path, expected: str) -> LoadedPart:
    import keras

    # Dense layers stand in the head alone: equal ones mean an equal head
    wanted = [tuple(layer.kernel.shape) for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    if _saved_dense_shapes(model, file) == wanted:
        load_weights_into(model, file, expected=expected)
        return "whole network"
    load_weights_into(base, file, expected=expected)
    return "base"


def load_start_weights(model: keras.Model, base: keras.Model, path: Path, recipe: Recipe) -> LoadedPart:
    """Reads start weights into a network.

    Args:
        model: The whole network.
        base: Its layers below the head, as a network that shares them.
        path: A weights file of the base (see :func:`~edgegender.training.weights_file.load_weights_into`), or a run
            folder, which fills the head also where its shapes are the same.
        recipe: Names the network in messages.

    Returns:
        What was filled.

    Raises:
        UsageError: The path is missing, damaged, hostile, or of another network or shape; or it is a file for the cnn.
    """
    expected = f"weights of {describe_network(recipe)}"
    if path.is_dir():
        file = path / WEIGHTS_NAME
        if not file.is_file():
            raise UsageError(
                f"Expected a run folder with {WEIGHTS_NAME}, got none in {path}.",
                hint="Name a folder that edgegender train wrote, or a weights file.",
            )
        return _load_run(model, base, file, expected)
    if recipe.architecture == "cnn":
        raise UsageError(
            f"Expected a run folder as start weights of the cnn, got {path}.",
            hint="Nobody but this project has weights of it: name the folder of a run, or leave --weights out.",
        )
    load_weights_into(base, path, expected=expected)
    return "base"
