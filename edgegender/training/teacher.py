"""A larger run whose answers become a part of what a smaller network learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, Preprocessing
from edgegender.errors import UsageError
from edgegender.training.recipes import Recipe
from edgegender.training.run_folder import load_model, load_run

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Teacher:
    """A finished run's network.

    Args:
        folder: Its run folder.
        labels: Its outputs.
        preprocessing: What it expects.
        model: From scaled inputs to scores.
    """

    folder: Path
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    model: keras.Model

    def require_fit(self, recipe: Recipe, labels: tuple[str, ...]) -> None:
        """Makes sure that teacher and learner speak of the same labels and the same crop.

        Raises:
            UsageError: They do not.
        """
        if self.labels != labels:
            raise UsageError(
                f"Expected a teacher of the labels {', '.join(labels)}, got {', '.join(self.labels)} ({self.folder})."
            )
        if self.preprocessing.crop_margin != recipe.crop_margin:
            raise UsageError(
                f"Expected a teacher with crop_margin {recipe.crop_margin:g}, got "
                f"{self.preprocessing.crop_margin:g} ({self.folder}).",
                hint=f"Train with --set crop_margin={self.preprocessing.crop_margin:g}.",
            )
        if not recipe.teacher_weight:
            raise UsageError(
                "Expected a teacher_weight above 0 where there is a teacher, got 0.",
                hint="Set it, such as --set teacher_weight=0.5, or leave --teacher out.",
            )

    def score(self, inputs: npt.NDArray[np.float32]) -> FloatArray:
        """Returns the teacher's scores for scaled inputs, shape (batch, labels)."""
        return np.asarray(self.model.predict_on_batch(inputs), np.float64)


def load_teacher(folder: Path) -> Teacher:
    """Returns a run's network as a teacher.

    Raises:
        UsageError: The folder holds no run with a finished epoch, or its weights are others; no file's code runs.
    """
    run = load_run(folder)
    return Teacher(folder, run.labels, run.preprocessing, load_model(run))
