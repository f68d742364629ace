"""A network's answers to photos, and what they say about an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, IntArray, Preprocessing
from edgegender.errors import DataError, TrainingError
from edgegender.metrics import confusion_matrix, f1_score, log_loss
from edgegender.preprocess import to_float
from edgegender.training.dataset import Sample, evaluation_batches
from edgegender.training.distribution import Processes, single_process

if TYPE_CHECKING:
    import keras

_BATCH_SIZE = 64


@dataclass(frozen=True)
class Validation:
    """How an epoch validated.

    Args:
        loss: Log loss, nats.
        accuracy: At equal thresholds.
        f1: Of the positive label.
        scores: Shape (photos, labels).
        annotated: Label indices, shape (photos,).
    """

    loss: float
    accuracy: float
    f1: float
    scores: FloatArray
    annotated: IntArray


def to_label_scores(raw: npt.NDArray[np.floating]) -> FloatArray:
    """Returns a network's output as one score a label: a single sigmoid p is [1 - p, p]."""
    scores = np.asarray(raw, np.float64)
    return np.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores


def predict_scores(
    model: keras.Model, samples: Sequence[Sample], preprocessing: Preprocessing
) -> tuple[FloatArray, IntArray]:
    """Returns a float network's scores for photos, and the positions of those that could be read.

    Returns:
        scores (photos, labels) float64; positions in ``samples`` (photos,).

    Raises:
        DataError: No photo could be read.
    """
    scores: list[FloatArray] = []
    positions: list[int] = []
    for inputs, kept in evaluation_batches(samples, preprocessing, batch_size=_BATCH_SIZE):
        # predict_on_batch traces one graph; a ragged last batch would trace a second one
        padded = np.concatenate([inputs, np.zeros((_BATCH_SIZE - len(inputs), *inputs.shape[1:]), np.uint8)])
        raw = np.asarray(model.predict_on_batch(to_float(padded, preprocessing.scaling)))[: len(inputs)]
        scores.append(to_label_scores(raw))
        positions += kept
    if not positions:
        raise DataError("Expected photos that can be read, got none.")
    return np.concatenate(scores), np.asarray(positions)


def validate(
    model: keras.Model,
    samples: Sequence[Sample],
    preprocessing: Preprocessing,
    *,
    positive_index: int,
    processes: Processes | None = None,
) -> Validation:
    """Returns how a network does on the validation photos; several processes share the photos.

    Raises:
        DataError: No photo could be read.
        TrainingError: A score is not finite.
    """
    processes = processes or single_process()
    own = samples[processes.index :: processes.count]
    try:
        scores, positions = predict_scores(model, own, preprocessing)
    except DataError:
        if processes.count == 1:
            raise
        num_labels = max(2, model.output_shape[-1])  # fewer photos than processes: the others have them
        scores, positions = np.zeros((0, num_labels)), np.zeros(0, np.int64)
    annotated = np.asarray([own[position].label_index for position in positions], np.int64)
    scores, annotated = processes.gather(scores), processes.gather(annotated)
    if not len(annotated):
        raise DataError("Expected photos that can be read, got none (the validation split).")
    if not np.isfinite(scores).all():
        raise TrainingError(
            "Expected finite validation scores, got NaN.", hint="Lower the rate, such as --set learning_rate=0.0001."
        )
    matrix = confusion_matrix(annotated, scores.argmax(axis=1), scores.shape[1])
    return Validation(
        loss=log_loss(scores, annotated),
        accuracy=float(np.trace(matrix) / matrix.sum()),
        f1=f1_score(matrix, positive_index),
        scores=scores,
        annotated=annotated,
    )
