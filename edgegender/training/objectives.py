"""What a network is trained for: loss, optimizer, and the counts that accuracy and F1 come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import IntArray
from edgegender.training.recipes import Recipe

if TYPE_CHECKING:
    import keras


def join_targets(
    targets: npt.NDArray[np.float32], teacher_scores: npt.NDArray[np.float64] | None, recipe: Recipe
) -> npt.NDArray[np.float32]:
    """Returns what the network is compared with: the target's distribution over the labels, then the annotated label.

    With a teacher the distribution is (1 - w) · annotated + w · teacher, where the teacher's scores are softened by
    its temperature. The annotated label stays beside it, so that accuracy is that of the annotation.

    Args:
        targets: One-hot, shape (batch, labels).
        teacher_scores: The teacher's scores for the same crops, shape (batch, labels); ``None`` without one.
        recipe: Its ``teacher_weight`` and ``teacher_temperature``.

    Returns:
        Shape (batch, labels + 1), float32.

    Source: Hinton et al. 2015, arXiv 1503.02531; Beyer et al. 2022, arXiv 2106.05237 (the teacher sees the same crop).
    """
    mixed = targets
    if teacher_scores is not None:
        softened = np.clip(teacher_scores, 1e-7, 1.0) ** (1.0 / recipe.teacher_temperature)
        softened /= softened.sum(axis=1, keepdims=True)
        mixed = np.asarray((1 - recipe.teacher_weight) * targets + recipe.teacher_weight * softened, np.float32)
    annotated = targets.argmax(axis=1).astype(np.float32)
    return np.concatenate([mixed, annotated[:, np.newaxis]], axis=1)


def _make_loss(recipe: Recipe) -> keras.losses.Loss:
    import keras

    smoothing = recipe.label_smoothing
    inner: keras.losses.Loss
    if recipe.output == "sigmoid":
        inner = (
            keras.losses.BinaryFocalCrossentropy(gamma=recipe.focal_gamma, label_smoothing=smoothing)
            if recipe.loss == "focal"
            else keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        )
    elif recipe.loss == "focal":
        inner = keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=recipe.focal_gamma, label_smoothing=smoothing
        )
    else:
        inner = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)

    class _TargetLoss(keras.losses.Loss):
        """The loss against the distribution, without the annotated label behind it."""

        def call(self, y_true: object, y_pred: object) -> object:
            distribution = y_true[:, :-1]  # type: ignore[index] # a tensor of whichever backend
            return inner.call(distribution[:, 1:2] if recipe.output == "sigmoid" else distribution, y_pred)

    return _TargetLoss(name="loss")


def _make_counts(num_labels: int) -> keras.metrics.Metric:
    import keras

    class _LabelCounts(keras.metrics.Metric):
        """Confusion counts of one step; photos of weight zero do not count."""

        def __init__(self) -> None:
            super().__init__(name="counts", dtype="float32")
            self.counts = self.add_weight(shape=(num_labels, num_labels), initializer="zeros", name="counts")

        def update_state(self, y_true: object, y_pred: object, sample_weight: object = None) -> None:
            ops = keras.ops
            scores = ops.cast(y_pred, "float32")
            if scores.shape[-1] == 1:
                scores = ops.concatenate([1 - scores, scores], axis=-1)
            annotated = ops.one_hot(ops.cast(y_true[:, -1], "int32"), num_labels, dtype="float32")  # type: ignore[index]
            is_counted = ops.cast(sample_weight > 0, "float32")  # type: ignore[operator] # always given
            predicted = ops.one_hot(ops.argmax(scores, axis=-1), num_labels, dtype="float32")
            self.counts.assign_add(ops.matmul(ops.transpose(annotated * ops.reshape(is_counted, (-1, 1))), predicted))

        def result(self) -> dict[str, object]:
            return {
                _cell(row, column): self.counts[row, column]
                for row in range(num_labels)
                for column in range(num_labels)
            }

        def reset_state(self) -> None:
            self.counts.assign(keras.ops.zeros((num_labels, num_labels)))

    return _LabelCounts()


def _cell(row: int, column: int) -> str:
    return f"counts_{row}_{column}"


def read_counts(logs: Mapping[str, float], num_labels: int) -> IntArray:
    """Returns a step's confusion matrix: rows annotated, columns predicted; shape (num_labels, num_labels)."""
    cells = [[round(float(logs[_cell(row, column)])) for column in range(num_labels)] for row in range(num_labels)]
    return np.asarray(cells, np.int64)


def compile_model(model: keras.Model, recipe: Recipe, num_labels: int) -> None:
    """Gives a network its loss, its optimizer with an empty state, and its counts.

    Args:
        model: With those layers trainable that are to learn.
        recipe: What to do.
        num_labels: At least 2.
    """
    import keras

    clip_norm = recipe.clip_norm or None
    optimizer: keras.optimizers.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(
            recipe.learning_rate, weight_decay=recipe.weight_decay, clipnorm=clip_norm, name="optimizer"
        )
        # Scale and shift parameters decay towards nothing useful: they are left out, as is usual
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    else:
        optimizer = keras.optimizers.Adam(recipe.learning_rate, clipnorm=clip_norm, name="optimizer")
    model.compile(optimizer=optimizer, loss=_make_loss(recipe), weighted_metrics=[_make_counts(num_labels)])
    model.optimizer.build(model.trainable_variables)
