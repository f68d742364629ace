"""Percentiles of latencies, each with an interval that assumes no distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray
from edgegender.errors import DataError

PERCENTS = (50, 90, 95, 99)
_TAIL = 0.025  # on either side of a 95 % interval
_WINDOW_DEVIATIONS = 12  # a binomial holds less than 1e-30 beyond


@dataclass(frozen=True)
class Percentile:
    """A latency that a share of the runs did not exceed.

    Args:
        percent: The share, such as 99.
        value_ns: The nearest-rank percentile: a latency that was really measured.
        low_ns: Lower end of the 95 % interval; ``None`` when there are too few runs to bound it.
        high_ns: Upper end; likewise.
    """

    percent: int
    value_ns: int
    low_ns: int | None
    high_ns: int | None


def _binomial_cumulative(num_runs: int, share: float) -> tuple[int, FloatArray]:
    """Returns (first count, P(count ≤ first), P(count ≤ first + 1), …) around the mean of a binomial."""
    mean, deviation = num_runs * share, math.sqrt(num_runs * share * (1 - share))
    first = max(0, math.floor(mean - _WINDOW_DEVIATIONS * deviation) - 1)
    last = min(num_runs, math.ceil(mean + _WINDOW_DEVIATIONS * deviation) + 1)
    log_first = (
        math.lgamma(num_runs + 1)
        - math.lgamma(first + 1)
        - math.lgamma(num_runs - first + 1)
        + first * math.log(share)
        + (num_runs - first) * math.log1p(-share)
    )
    counts = np.arange(first, last, dtype=np.float64)
    steps = np.log((num_runs - counts) / (counts + 1)) + math.log(share / (1 - share))  # p(k + 1) by p(k)
    logs = np.concatenate([[log_first], log_first + np.cumsum(steps)])
    return first, np.cumsum(np.exp(logs))


def interval_ranks(num_runs: int, share: float) -> tuple[int | None, int | None]:
    """Returns the ranks, from 1, of the order statistics that hold a quantile with at least 95 % confidence.

    The number of runs below the quantile is binomial (num_runs, share), whatever the latencies' distribution. ``None``
    stands for a side that no run bounds: the upper side of p99 needs 368 runs. Runs are taken as independent; slow
    changes of the machine are what the drift warning is for.

    Args:
        num_runs: At least 1.
        share: In (0, 1), such as 0.99.

    Source: David and Nagaraja 2003, Order Statistics, section 7.1.

    Example:
        >>> interval_ranks(100, 0.5)
        (40, 61)
        >>> interval_ranks(367, 0.99)[1], interval_ranks(368, 0.99)[1]
        (None, 368)
    """
    first, cumulative = _binomial_cumulative(num_runs, share)
    below = int(np.searchsorted(cumulative, _TAIL, side="right"))  # counts with P(count ≤ …) ≤ the tail
    low = first + below
    above = int(np.searchsorted(cumulative, 1 - _TAIL, side="left"))
    high = first + above + 1
    return (low if low >= 1 else None), (high if high <= num_runs else None)


def nearest_rank(num_runs: int, percent: int) -> int:
    """Returns the rank, from 1, of a percentile: the smallest one that ``percent`` of the runs do not exceed.

    Example:
        >>> nearest_rank(100, 99), nearest_rank(101, 99), nearest_rank(1, 50)
        (99, 100, 1)
    """
    return max(1, -(-num_runs * percent // 100))


def compute_percentiles(
    latencies_ns: Sequence[int] | npt.NDArray[np.int64], percents: Sequence[int] = PERCENTS
) -> tuple[Percentile, ...]:
    """Returns nearest-rank percentiles with their distribution-free 95 % intervals.

    Args:
        latencies_ns: Raw latencies in any order, nanoseconds.
        percents: Whole numbers in (0, 100).

    Raises:
        DataError: There is no latency.

    Example:
        >>> compute_percentiles(range(1, 1001), (50,))[0]
        Percentile(percent=50, value_ns=500, low_ns=469, high_ns=532)
    """
    if not len(latencies_ns):
        raise DataError("Expected latencies, got none.")
    ordered = np.sort(np.asarray(latencies_ns, np.int64))
    answers = []
    for percent in percents:
        low, high = interval_ranks(len(ordered), percent / 100)
        answers.append(
            Percentile(
                percent=percent,
                value_ns=int(ordered[nearest_rank(len(ordered), percent) - 1]),
                low_ns=None if low is None else int(ordered[low - 1]),
                high_ns=None if high is None else int(ordered[high - 1]),
            )
        )
    return tuple(answers)
