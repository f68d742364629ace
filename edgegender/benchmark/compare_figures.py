"""One figure of two measurements: whether they differ by more than chance, and whether that is a regression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edgegender.benchmark.agreement import compare_answers
from edgegender.benchmark.ratio import percentile_ratio
from edgegender.benchmark.records import BenchmarkResult, LatencyRecord
from edgegender.errors import DataError, UsageError
from edgegender.metrics import Interval

Verdict = Literal["same", "better", "worse", "differs", "regression", "not_compared"]
COMPARED_PERCENTS = (50, 90)


@dataclass(frozen=True)
class Tolerances:
    """How much worse is still no regression.

    Args:
        relative: Of latency, memory, size, and of golden inputs that flip; a share, such as 0.03.
        accuracy: Of accuracy and F1; a share of the photos, such as 0.005 for half a point.
    """

    relative: float = 0.03
    accuracy: float = 0.0

    def __post_init__(self) -> None:
        for value in (self.relative, self.accuracy):
            if not (math.isfinite(value) and 0 <= value < 10):
                raise UsageError(f"Expected tolerances of 0 or more, got {value}.", hint="For example: 3%")


@dataclass(frozen=True)
class FigureComparison:
    """A figure of A and of B.

    Args:
        name: ``p50_ns``, ``p90_ns``, ``peak_memory_bytes``, ``accuracy``, ``f1``, ``size_bytes`` or ``flips``.
        first: Of A; ``None`` where it has none.
        second: Of B; likewise.
        change: ``second / first - 1`` for latency, memory and size, else ``second - first``; with its 95 % interval
            where chance plays a part, else with equal ends. ``None`` where it is not compared.
        is_significant: Whether the interval leaves out "no change"; ``None`` where a figure is one number that chance
            has changed a little: the tolerance alone judges.
        verdict: ``regression`` is worse beyond the tolerance, and not by chance; ``worse`` is worse within it;
            ``differs`` is neither better nor worse.
        reason: How it was compared, or why it was not.
    """

    name: str
    first: float | None
    second: float | None
    change: Interval | None
    is_significant: bool | None
    verdict: Verdict
    reason: str = ""


def _not_compared(name: str, first: float | None, second: float | None, reason: str) -> FigureComparison:
    return FigureComparison(name, first, second, None, None, "not_compared", reason)


def _judge(change: float, *, is_significant: bool, tolerance: float) -> Verdict:
    """Above zero is worse."""
    if not is_significant or change == 0:
        return "same"
    if change < 0:
        return "better"
    return "regression" if change > tolerance else "worse"


def compare_latency(
    first: LatencyRecord, second: LatencyRecord, percent: int, *, tolerances: Tolerances, problem: str = ""
) -> FigureComparison:
    """Returns how a percentile of the raw latencies differs: the ratio, by a bootstrap of blocks of successive runs.

    Args:
        first: Of A.
        second: Of B.
        percent: The percentile.
        tolerances: The relative one counts.
        problem: Why the figures must not be compared; empty where they may.
    """
    name, values = f"p{percent}_ns", (first.percentile(percent).value_ns, second.percentile(percent).value_ns)
    if problem:
        return _not_compared(name, *values, problem)
    try:
        ratio = percentile_ratio(first.latencies_ns, second.latencies_ns, percent)
    except DataError as error:
        return _not_compared(name, *values, str(error))
    change = Interval(ratio.value - 1, ratio.low - 1, ratio.high - 1)
    is_significant = ratio.low > 1 or ratio.high < 1
    verdict = _judge(change.value, is_significant=is_significant, tolerance=tolerances.relative)
    return FigureComparison(name, *values, change, is_significant, verdict, "bootstrap of blocks of successive runs")


def subtract_intervals(first: Interval, second: Interval) -> Interval:
    """Returns the difference of two figures with its interval, from those of the figures.

    For two accuracies with Wilson intervals this is Newcombe's interval. The photos are taken as two independent
    samples: on the same photos the truth is narrower, but without the answer to each photo nobody can say by how much.

    Source: Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10;
    for other figures Zou and Donner 2008, doi 10.1002/sim.3095.

    Example:
        >>> from edgegender.metrics import wilson_interval
        >>> difference = subtract_intervals(wilson_interval(48, 80), wilson_interval(56, 70))
        >>> [round(value, 4) for value in (difference.value, difference.low, difference.high)]
        [0.2, 0.0524, 0.3339]
    """
    value = second.value - first.value
    low = value - math.hypot(second.value - second.low, first.high - first.value)
    high = value + math.hypot(second.high - second.value, first.value - first.low)
    return Interval(value, low, high)


def compare_accuracy(
    first: BenchmarkResult, second: BenchmarkResult, *, tolerances: Tolerances
) -> list[FigureComparison]:
    """Returns how accuracy and F1 differ; they are not compared on different photos.

    Args:
        first: A.
        second: B.
        tolerances: The one of accuracy counts.
    """
    figures = []
    for name in ("accuracy", "f1"):
        one, other = (getattr(result.evaluation, name, None) for result in (first, second))
        values = (one.value if one else None, other.value if other else None)
        if one is None or other is None:
            if one or other:
                figures.append(_not_compared(name, *values, "only one of both measured it"))
            continue
        if first.data is None or second.data is None or first.data.sha256 != second.data.sha256:
            figures.append(_not_compared(name, *values, "measured on different photos"))
            continue
        if name == "f1" and first.model.positive_label != second.model.positive_label:
            figures.append(_not_compared(name, *values, "F1 of different labels"))
            continue
        change = subtract_intervals(one, other)
        is_significant = change.low > 0 or change.high < 0
        verdict = _judge(-change.value, is_significant=is_significant, tolerance=tolerances.accuracy)
        reason = "difference of independent samples: without the answer to each photo no paired test is possible"
        figures.append(FigureComparison(name, *values, change, is_significant, verdict, reason))
    return figures


def compare_numbers(
    name: str, first: float | None, second: float | None, *, is_exact: bool, tolerances: Tolerances
) -> FigureComparison:
    """Returns how two single numbers differ, of which less is better.

    Args:
        name: What they are.
        first: Of A.
        second: Of B.
        is_exact: Whether chance has no part in them.
        tolerances: The relative one counts.
    """
    if not first or not second:
        return _not_compared(name, first, second, "the target does not tell it")
    share = second / first - 1
    is_larger_change = abs(share) > (0 if is_exact else tolerances.relative)
    verdict = _judge(share, is_significant=is_larger_change, tolerance=tolerances.relative)
    reason = "exact" if is_exact else "one number each: the tolerance alone judges"
    return FigureComparison(
        name, first, second, Interval(share, share, share), is_larger_change if is_exact else None, verdict, reason
    )


def compare_parity(
    first: BenchmarkResult, second: BenchmarkResult, *, tolerances: Tolerances
) -> FigureComparison | None:
    """Returns on how many golden inputs the answers differ; ``None`` where neither has answers.

    Args:
        first: A.
        second: B.
        tolerances: The share of inputs that may flip, where the file is the same; another file may answer otherwise.
    """
    if first.parity is None and second.parity is None:
        return None
    if first.parity is None or second.parity is None:
        return _not_compared("flips", None, None, "only one of both answered golden inputs")
    if first.model.labels != second.model.labels:
        return _not_compared("flips", None, None, "different labels")
    try:
        agreement = compare_answers(second.parity, first.parity, second.model)
    except UsageError:
        return _not_compared("flips", None, None, "different golden inputs")
    share = agreement.num_flips / agreement.num_inputs
    verdict: Verdict = "same" if agreement.max_score_difference == 0 else "differs"
    if first.model.sha256 == second.model.sha256 and share > tolerances.relative:
        verdict = "regression"
    reason = f"largest score difference {agreement.max_score_difference:.2g} on {agreement.num_inputs} golden inputs"
    return FigureComparison(
        "flips", 0, agreement.num_flips, Interval(share, share, share), agreement.num_flips > 0, verdict, reason
    )
