"""Figures and how sure they are. numpy only; the tests hold them against scikit-learn and SciPy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edgegender.entities import BoolArray, FloatArray, IntArray
from edgegender.errors import DataError, UsageError

Z_95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
BOOTSTRAP_RUNS = 2000
MIN_SCORE = 1 / 512  # half of a uint8 step


@dataclass(frozen=True)
class Interval:
    """A measured value and its 95 % interval."""

    value: float
    low: float
    high: float


def interval_to_json(interval: Interval) -> dict[str, float]:
    """Returns a measured value and its 95 % interval as they are recorded, to six decimals."""
    return {name: round(value, 6) for name, value in asdict(interval).items()}


@dataclass(frozen=True)
class ClassReport:
    """Precision, recall and F1 of one label.

    Args:
        precision: TP / (TP + FP), with its Wilson interval.
        recall: TP / (TP + FN), with its Wilson interval.
        f1: 2PR / (P + R), with a bootstrap interval: F1 is no proportion, so Wilson does not apply.
        num_photos: Photos annotated with the label.
    """

    precision: Interval
    recall: Interval
    f1: Interval
    num_photos: int


@dataclass(frozen=True)
class Evaluation:
    """How well scores agree with annotated labels.

    Args:
        labels: Names, in the order of the scores.
        positive_label: The label that ``threshold`` and ``f1`` speak of.
        threshold: The positive label is predicted from this score on (two labels only).
        num_photos: Photos measured.
        accuracy: With its Wilson interval.
        f1: Of the positive label.
        macro_f1: Mean of the labels' F1.
        by_label: Label → its figures.
        confusion: Rows annotated, columns predicted.
        log_loss: Mean negative log score of the annotated label, nats.
        expected_calibration_error: Mean gap between score and accuracy over 15 equal-width bins, in [0, 1].
    """

    labels: tuple[str, ...]
    positive_label: str
    threshold: float
    num_photos: int
    accuracy: Interval
    f1: Interval
    macro_f1: float
    by_label: Mapping[str, ClassReport]
    confusion: tuple[tuple[int, ...], ...]
    log_loss: float
    expected_calibration_error: float


def require_photos(annotated: IntArray | BoolArray, scores: FloatArray | float = 0.0) -> None:
    """Makes sure that there is something to measure.

    Raises:
        DataError: There is no photo, or a score is not finite.
    """
    if len(annotated) == 0:
        raise DataError("Expected photos to evaluate, got none.")
    if not np.isfinite(scores).all():
        raise DataError("Expected finite scores, got NaN or infinity.", hint="The model is broken; train it again.")


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Returns a proportion with its Wilson score interval; (0, 0, 1) without trials.

    Args:
        successes: In [0, trials].
        trials: Zero or more.
        z: Quantile of the normal distribution; 1.96 gives 95 %.

    Source: Wilson 1927, doi 10.1080/01621459.1927.10502953.

    Example:
        >>> interval = wilson_interval(970, 1000)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.9575, 0.9789)
    """
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    rate = successes / trials
    middle = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return Interval(rate, max(0.0, middle - half), min(1.0, middle + half))


def confusion_matrix(annotated: IntArray, predicted: IntArray, num_labels: int) -> IntArray:
    """Returns counts of shape (num_labels, num_labels): rows annotated, columns predicted."""
    flat = np.bincount(annotated * num_labels + predicted, minlength=num_labels * num_labels)
    return np.asarray(flat.reshape(num_labels, num_labels), np.int64)


def f1_score(confusion: IntArray, label_index: int) -> float:
    """Returns 2TP / (2TP + FP + FN) of one label; 0 where the label neither stands nor was answered."""
    hits = confusion[label_index, label_index]
    total = confusion[label_index].sum() + confusion[:, label_index].sum()
    return float(2 * hits / total) if total else 0.0


def _f1_interval(confusion: IntArray, label_index: int, seed: int = 0) -> Interval:
    """Percentile bootstrap over photos: a photo is a cell of the confusion matrix, so counts are drawn at once."""
    total = int(confusion.sum())
    value = f1_score(confusion, label_index)
    if total == 0:
        return Interval(0.0, 0.0, 1.0)
    draws = np.random.default_rng(seed).multinomial(total, confusion.ravel() / total, size=BOOTSTRAP_RUNS)
    cubes = draws.reshape(-1, *confusion.shape)
    hits = cubes[:, label_index, label_index]
    totals = cubes[:, label_index, :].sum(axis=1) + cubes[:, :, label_index].sum(axis=1)
    values = np.where(totals > 0, 2 * hits / np.maximum(totals, 1), 0.0)
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def predict_labels(scores: FloatArray, *, positive_index: int, threshold: float) -> IntArray:
    """Returns the predicted label's index for each photo.

    With two labels the positive one is predicted from ``threshold`` on; with more, the highest score wins.

    Args:
        scores: Shape (photos, labels), rows sum to one.
        positive_index: The positive label's column.
        threshold: In [0, 1].
    """
    if scores.shape[1] != 2:
        return np.asarray(np.argmax(scores, axis=1), np.int64)
    is_positive = scores[:, positive_index] >= threshold
    return np.where(is_positive, positive_index, 1 - positive_index).astype(np.int64)


def log_loss(scores: FloatArray, annotated: IntArray) -> float:
    """Returns the mean negative log score of the annotated label, nats; scores are clipped at 1e-7."""
    chosen = scores[np.arange(len(annotated)), annotated]
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def expected_calibration_error(scores: FloatArray, annotated: IntArray, num_bins: int = 15) -> float:
    """Returns the mean gap between the highest score and the accuracy, weighted by bin; 0 is perfect.

    Source: Guo et al. 2017, arXiv 1706.04599, equation 3.
    """
    confidence = scores.max(axis=1)
    is_right = scores.argmax(axis=1) == annotated
    bins = np.minimum((confidence * num_bins).astype(int), num_bins - 1)
    gaps = [abs(float(confidence[bins == number].sum() - is_right[bins == number].sum())) for number in range(num_bins)]
    return float(sum(gaps)) / len(annotated)


def apply_temperature(scores: FloatArray, temperature: float) -> FloatArray:
    """Returns softmax(log(scores) / temperature): above 1 makes answers less certain, 1 changes nothing.

    Scores are clipped at ``MIN_SCORE``, because a quantized score of zero only means "less than that".

    Args:
        scores: Shape (photos, labels).
        temperature: Above zero.

    Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """
    logits = np.log(np.clip(scores, MIN_SCORE, 1.0)) / temperature
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float64)


def apply_temperature_to_row(scores: Sequence[float], temperature: float) -> list[float]:
    """Returns :func:`apply_temperature` of one photo's scores, without numpy: twenty times as fast for a few labels.

    Args:
        scores: One a label.
        temperature: Above zero.
    """
    logits = [math.log(min(max(score, MIN_SCORE), 1.0)) / temperature for score in scores]
    highest = max(logits)
    raised = [math.exp(logit - highest) for logit in logits]
    total = sum(raised)
    return [value / total for value in raised]


def fit_temperature(scores: FloatArray, annotated: IntArray) -> float:
    """Returns the temperature in [0.25, 4] with the lowest log loss, found by golden-section search.

    Args:
        scores: Validation scores, shape (photos, labels).
        annotated: Label indices, shape (photos,).

    Raises:
        DataError: There is no photo.
    """
    require_photos(annotated)
    low, high = math.log(0.25), math.log(4.0)
    shrink = (math.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return log_loss(apply_temperature(scores, math.exp(log_temperature)), annotated)

    for _ in range(40):  # the bracket shrinks by .618 a round: 1e-8 of its width
        left, right = high - shrink * (high - low), low + shrink * (high - low)
        if loss(left) <= loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def unsure_band(scores: FloatArray, annotated: IntArray, *, wanted_accuracy: float = 0.99) -> float:
    """Returns the lowest confidence from which on the answers reach the wanted accuracy; 0 when all of them do.

    Answers below it are to be called unsure. At most half of the photos are given up: beyond that a model should be
    replaced rather than silenced.

    Args:
        scores: Calibrated validation scores, shape (photos, labels).
        annotated: Label indices, shape (photos,).
        wanted_accuracy: Of the answers that are given, in (0, 1].

    Raises:
        DataError: There is no photo.
    """
    require_photos(annotated)
    confidence = scores.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    is_right = (scores.argmax(axis=1) == annotated)[order]
    ordered = confidence[order]
    accuracy = np.cumsum(is_right) / np.arange(1, len(order) + 1)
    if accuracy[-1] >= wanted_accuracy:
        return 0.0
    is_last_of_tie = np.append(ordered[1:] < ordered[:-1], True)
    good = np.flatnonzero((accuracy >= wanted_accuracy) & is_last_of_tie)
    half = len(order) // 2
    last = max(int(good[-1]) if len(good) else 0, half)
    return float(ordered[min(last, len(ordered) - 1)])


@dataclass(frozen=True, eq=False)
class ThresholdSweep:
    """Figures of the positive label by threshold: arrays of one length, in [0, 1]; 0 where a figure has no meaning."""

    threshold: FloatArray
    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    accuracy: FloatArray


def sweep_thresholds(scores: FloatArray, is_positive: BoolArray, *, num_steps: int = 1000) -> ThresholdSweep:
    """Returns precision, recall, F1 and accuracy at the thresholds 0, 1/num_steps, … 1.

    Args:
        scores: Shape (photos,); from the threshold on the positive label is predicted.
        is_positive: Shape (photos,): whether the photo is annotated with the positive label.
        num_steps: At least 2.

    Raises:
        DataError: There is no photo, or a score is not finite.

    Source: Hamza 2025, figure 8, doi 10.29304/jqcm.2025.17.11970.
    """
    require_photos(is_positive, scores)
    threshold = np.arange(num_steps + 1) / num_steps
    positives, negatives = np.sort(scores[is_positive]), np.sort(scores[~is_positive])
    hits = len(positives) - np.searchsorted(positives, threshold)
    false_hits = len(negatives) - np.searchsorted(negatives, threshold)
    return ThresholdSweep(
        threshold=threshold,
        precision=hits / np.maximum(hits + false_hits, 1),
        recall=hits / max(len(positives), 1),
        f1=2 * hits / np.maximum(hits + false_hits + len(positives), 1),
        accuracy=(hits + len(negatives) - false_hits) / len(is_positive),
    )


def best_threshold(sweep: ThresholdSweep) -> float:
    """Returns the threshold with the best F1, strictly inside of (0, 1).

    Among equal ones: the middle of the longest run. The papers' sweep keeps the first one, at the run's edge.
    """
    f1 = sweep.f1[1:-1]
    edges = np.flatnonzero(np.diff(f1 == f1.max(), prepend=False, append=False))
    start, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    return float(sweep.threshold[1 + (start + end - 1) // 2])


def evaluate_scores(
    scores: FloatArray, annotated: IntArray, *, labels: Sequence[str], positive_label: str, threshold: float = 0.5
) -> Evaluation:
    """Returns how well scores agree with the annotated labels.

    Args:
        scores: Shape (photos, labels), finite, rows sum to one.
        annotated: Label indices, shape (photos,).
        labels: Names, in the order of the scores' columns.
        positive_label: One of ``labels``.
        threshold: For two labels: the positive one is predicted from this score on.

    Raises:
        DataError: There is no photo, or a score is not finite.
        UsageError: ``positive_label`` is not among the labels.
    """
    require_photos(annotated, scores)
    if positive_label not in labels:
        raise UsageError(f"Expected a positive label of {', '.join(labels)}, got {positive_label!r}.")
    positive_index = list(labels).index(positive_label)
    predicted = predict_labels(scores, positive_index=positive_index, threshold=threshold)
    matrix = confusion_matrix(annotated, predicted, len(labels))
    by_label = {}
    for index, label in enumerate(labels):
        hits = int(matrix[index, index])
        by_label[label] = ClassReport(
            precision=wilson_interval(hits, int(matrix[:, index].sum())),
            recall=wilson_interval(hits, int(matrix[index].sum())),
            f1=_f1_interval(matrix, index),
            num_photos=int(matrix[index].sum()),
        )
    return Evaluation(
        labels=tuple(labels),
        positive_label=positive_label,
        threshold=threshold,
        num_photos=len(annotated),
        accuracy=wilson_interval(int(np.trace(matrix)), len(annotated)),
        f1=by_label[positive_label].f1,
        macro_f1=float(np.mean([report.f1.value for report in by_label.values()])),
        by_label=by_label,
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        log_loss=log_loss(scores, annotated),
        expected_calibration_error=expected_calibration_error(scores, annotated),
    )
