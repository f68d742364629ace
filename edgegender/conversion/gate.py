"""Is the quantized network as good as the float one? Measured on the same photos, before the file may exist."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegender.entities import FloatArray, IntArray
from edgegender.errors import CheckFailedError, DataError
from edgegender.metrics import Evaluation, PairedDifference, compare_predictions, evaluate_scores, predict_labels

_MIN_ANSWER_SHARE = 0.01  # a label answered for fewer than one photo in a hundred of its own share is a collapse


@dataclass(frozen=True)
class GateReport:
    """Float and quantized answers on the same photos.

    Args:
        float_evaluation: The network before quantization.
        quantized_evaluation: The file that would be shipped.
        difference: Accuracy of the second less the first, flips, McNemar.
        max_score_change: Largest change of a score.
        mean_score_change: Mean change of the positive label's score.
        problems: Why the file is refused; empty when it passed.
    """

    float_evaluation: Evaluation
    quantized_evaluation: Evaluation
    difference: PairedDifference
    max_score_change: float
    mean_score_change: float
    problems: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether nothing speaks against the file."""
        return not self.problems


def _collapse(predicted: IntArray, annotated: IntArray, labels: tuple[str, ...]) -> str:
    answered = np.bincount(predicted, minlength=len(labels))
    present = np.bincount(annotated, minlength=len(labels))
    for index, label in enumerate(labels):
        if present[index] and answered[index] < _MIN_ANSWER_SHARE * present[index]:
            return f"the quantized network hardly ever answers {label}: {answered[index]} of {len(predicted)} photos"
    return ""


def judge(
    float_scores: FloatArray,
    quantized_scores: FloatArray,
    annotated: IntArray,
    *,
    labels: tuple[str, ...],
    positive_label: str,
    max_drop: float,
    threshold: float = 0.5,
) -> GateReport:
    """Returns how the quantized network compares, with the reasons to refuse it.

    Args:
        float_scores: Shape (photos, labels).
        quantized_scores: Likewise, of the same photos in the same order.
        annotated: Label indices, shape (photos,).
        labels: Names.
        positive_label: One of them.
        max_drop: Largest accepted fall of accuracy, percentage points.
        threshold: For two labels: the positive one is answered from this score on, by both networks.

    Raises:
        DataError: The photos have fewer than two labels: neither accuracy nor collapse means anything then.
        CheckFailedError: The quantized scores are not finite.
    """
    if len(np.unique(annotated)) < 2:
        raise DataError("Expected evaluation photos of at least two labels, got one.", hint="Add photos or splits.")
    if not np.isfinite(quantized_scores).all():
        raise CheckFailedError(
            "Expected finite scores of the quantized network, got NaN or infinity.",
            hint="The converter lost the weights: report this with your versions (edgegender doctor).",
        )
    positive_index = labels.index(positive_label)
    before, after = (
        evaluate_scores(scores, annotated, labels=labels, positive_label=positive_label, threshold=threshold)
        for scores in (float_scores, quantized_scores)
    )
    first, second = (
        predict_labels(scores, positive_index=positive_index, threshold=threshold)
        for scores in (float_scores, quantized_scores)
    )
    difference = compare_predictions(first, second, annotated)
    problems = []
    drop_points = -100 * difference.difference.value
    if drop_points > max_drop + 1e-9:
        problems.append(f"accuracy falls by {drop_points:.2f} points, more than {max_drop:g}")
    if collapse := _collapse(second, annotated, labels):
        problems.append(collapse)
    change = np.abs(quantized_scores - float_scores)
    return GateReport(
        before, after, difference, float(change.max()), float(change[:, positive_index].mean()), tuple(problems)
    )
