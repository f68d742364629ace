"""Two models on the same photos: how they differ, and how sure that is. numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgegender.entities import FloatArray, IntArray
from edgegender.metrics import BOOTSTRAP_RUNS, Z_95, Interval, require_photos, wilson_interval


@dataclass(frozen=True)
class PairedDifference:
    """Accuracy of a second model less that of a first, on the same photos.

    Args:
        difference: In [-1, 1]; below zero the second is worse. 95 % interval for paired proportions.
        flips: Photos on which the predicted label differs.
        flip_rate: Flips by photos.
        p_value: Exact McNemar test, two-sided.
        flip_interval: ``flip_rate`` with its Wilson interval.
    """

    difference: Interval
    flips: int
    flip_rate: float
    p_value: float
    flip_interval: Interval


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """Returns the exact two-sided McNemar p-value; 1 when both counts are equal.

    Args:
        only_first: Photos that only the first model answers right.
        only_second: Photos that only the second model answers right.

    Source: McNemar 1947, doi 10.1007/BF02295996; exact binomial form.
    """
    trials = only_first + only_second
    tail = ways = 1
    for k in range(min(only_first, only_second)):
        ways = ways * (trials - k) // (k + 1)  # C(n, k + 1) from C(n, k): exact, and fast for thousands of flips
        tail += ways
    return float(min(1.0, 2 * (tail / 2**trials)))


def compare_predictions(first: IntArray, second: IntArray, annotated: IntArray) -> PairedDifference:
    """Returns how a second model's predictions differ from a first one's on the same photos.

    Args:
        first: Predicted label indices, shape (photos,).
        second: Likewise.
        annotated: Likewise.

    Raises:
        DataError: There is no photo.

    Source: the interval is Wald's for paired proportions with Agresti and Min's half-count (2005,
    doi 10.1002/sim.1781), which stays honest when few photos differ.
    """
    require_photos(annotated)
    total = len(annotated)
    only_first = int(((first == annotated) & (second != annotated)).sum())
    only_second = int(((first != annotated) & (second == annotated)).sum())
    value = (only_second - only_first) / total
    gained, lost, adjusted = only_second + 0.5, only_first + 0.5, total + 2
    middle = (gained - lost) / adjusted
    half = Z_95 * math.sqrt(gained + lost - (gained - lost) ** 2 / adjusted) / adjusted
    flips = int((first != second).sum())
    return PairedDifference(
        difference=Interval(value, min(value, middle - half), max(value, middle + half)),
        flips=flips,
        flip_rate=flips / total,
        p_value=mcnemar_p_value(only_first, only_second),
        flip_interval=wilson_interval(flips, total),
    )


def compare_f1(
    first: IntArray, second: IntArray, annotated: IntArray, *, positive_index: int, num_labels: int = 2, seed: int = 0
) -> Interval:
    """Returns F1 of a second model less that of a first one on the same photos, in [-1, 1].

    The interval is a percentile bootstrap over photos: each photo is drawn with both answers to it, so that what both
    get wrong does not widen the interval.

    Args:
        first: Predicted label indices, shape (photos,).
        second: Likewise.
        annotated: Likewise.
        positive_index: The label that F1 speaks of.
        num_labels: How many there are.
        seed: Of the bootstrap.

    Raises:
        DataError: There is no photo.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 13.3.
    """
    require_photos(annotated)
    cells = (annotated * num_labels + first) * num_labels + second
    counts = np.bincount(cells, minlength=num_labels**3)
    draws = np.random.default_rng(seed).multinomial(len(cells), counts / len(cells), size=BOOTSTRAP_RUNS)
    cubes = np.concatenate([counts[np.newaxis], draws]).reshape(-1, num_labels, num_labels, num_labels)

    def f1(confusion: IntArray) -> FloatArray:
        hits = confusion[:, positive_index, positive_index]
        totals = confusion[:, positive_index, :].sum(axis=1) + confusion[:, :, positive_index].sum(axis=1)
        return np.asarray(np.where(totals > 0, 2 * hits / np.maximum(totals, 1), 0.0), np.float64)

    change = f1(cubes.sum(axis=2)) - f1(cubes.sum(axis=3))
    low, high = np.quantile(change[1:], [0.025, 0.975])
    return Interval(float(change[0]), min(float(change[0]), float(low)), max(float(change[0]), float(high)))
