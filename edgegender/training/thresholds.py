"""The threshold with the best F1, as Hamza 2025 chooses it, and the sweep that shows it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender import files
from edgegender.entities import FloatArray
from edgegender.metrics import ThresholdSweep, best_threshold, sweep_thresholds

SWEEP_NAME = "thresholds.csv"
_COLUMNS = ("threshold", "precision", "recall", "f1", "accuracy")


def choose_threshold(scores: FloatArray, is_positive: npt.NDArray[np.bool_], folder: Path | None) -> float:
    """Returns the threshold with the best F1 on validation, and writes the sweep into the run folder.

    Args:
        scores: Of the positive label, shape (photos,).
        is_positive: Whether the photo is annotated with it, shape (photos,).
        folder: The run folder; ``None`` writes nothing.

    Raises:
        OutputError: The sweep cannot be written.
    """
    sweep = sweep_thresholds(scores, is_positive)
    if folder is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for row in zip(*(getattr(sweep, name).tolist() for name in _COLUMNS), strict=True):
            writer.writerow([f"{value:.6g}" for value in row])
        files.write_text(folder / SWEEP_NAME, text.getvalue())
    return best_threshold(sweep)


def read_sweep(folder: Path) -> ThresholdSweep | None:
    """Returns the sweep that :func:`choose_threshold` wrote into a run folder; ``None`` where there is none."""
    try:
        with (folder / SWEEP_NAME).open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        columns = {name: np.asarray([float(row[name]) for row in rows]) for name in _COLUMNS}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return ThresholdSweep(**columns)
