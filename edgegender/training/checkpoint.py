"""Checkpoints: all that a run needs to go on as if nothing had happened, in one file that is whole or not there.

The file is an ``.npz`` without pickles: the network's variables (weights, moving statistics, random states), the
optimizer's, the averaged weights, and a JSON text with all counts. The zip's checksums tell a damaged file.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender import files
from edgegender.errors import TrainingError, UsageError

if TYPE_CHECKING:
    import keras

CHECKPOINT_SCHEMA = "edgegender.checkpoint/1"
Arrays = Sequence[npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Checkpoint:
    """What stands in a checkpoint.

    Args:
        progress: Counts, history and schedule, as JSON values.
        model: The network's variables, in their order.
        optimizer: The optimizer's.
        averaged: The averaged weights; empty without averaging.
    """

    progress: Mapping[str, object]
    model: Arrays
    optimizer: Arrays
    averaged: Arrays


def take_checkpoint(model: keras.Model, averaged: Arrays, progress: Mapping[str, object]) -> Checkpoint:
    """Returns the state of a network and its optimizer as arrays.

    Raises:
        TrainingError: A weight is not finite: such a state is not worth keeping.
    """
    import keras

    to_numpy = keras.ops.convert_to_numpy
    checkpoint = Checkpoint(
        progress,
        [np.array(to_numpy(variable)) for variable in model.variables],
        [np.array(to_numpy(variable)) for variable in model.optimizer.variables],
        averaged,
    )
    for array in checkpoint.model:
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise TrainingError(
                "Expected finite weights, got NaN or infinity.",
                hint="Lower the rate, such as --set learning_rate=0.0001; the last good weights were kept.",
            )
    return checkpoint


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, whole or not at all: the one before it stays until the new one is on the disk.

    Raises:
        OutputError: The disk is full or the folder cannot be written.
    """
    text = json.dumps({"schema": CHECKPOINT_SCHEMA, **checkpoint.progress}, allow_nan=False)
    arrays: dict[str, npt.NDArray[np.generic]] = {"progress": np.frombuffer(text.encode(), np.uint8)}
    for name in ("model", "optimizer", "averaged"):
        arrays.update({f"{name}_{index:04d}": array for index, array in enumerate(getattr(checkpoint, name))})
    with files.replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type] # numpy's stub knows a keyword that we do not use


def read_checkpoint(path: Path) -> Checkpoint:
    """Returns a stored checkpoint; nothing in the file is executed.

    Raises:
        UsageError: There is none, or it is damaged or of another version.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            progress = json.loads(stored["progress"].tobytes())
            if progress.pop("schema") != CHECKPOINT_SCHEMA:
                raise UsageError(f"Expected {CHECKPOINT_SCHEMA}, got another ({path}).", hint="Update edgegender.")
            parts = {
                name: [stored[key] for key in sorted(stored.files) if key.startswith(f"{name}_")]
                for name in ("model", "optimizer", "averaged")
            }
    except FileNotFoundError as error:
        raise UsageError(
            f"Expected a checkpoint to go on from, got none ({path}).", hint="Train again, into another folder."
        ) from error
    # EOFError: an empty file; NotImplementedError: an altered zip that asks for a compression nobody has
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"Expected a whole checkpoint, got a damaged one ({path}).",
            hint="The best weights so far may still be good: edgegender evaluate RUN.",
        ) from error
    return Checkpoint(progress, parts["model"], parts["optimizer"], parts["averaged"])


def restore(model: keras.Model, checkpoint: Checkpoint, *, where: Path) -> None:
    """Puts a checkpoint's arrays into a compiled network that was built as it was when they were taken.

    Raises:
        UsageError: They belong to another network or optimizer.
    """
    for variables, arrays in (
        (model.variables, checkpoint.model),
        (model.optimizer.variables, checkpoint.optimizer),
    ):
        shapes = [tuple(variable.shape) for variable in variables]
        if shapes != [array.shape for array in arrays]:
            raise UsageError(f"Expected the checkpoint of this network, got another ({where}).", hint="Train it again.")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
