"""How long to measure: named choices, and the end that comes as soon as the figure is sure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import Durations
from edgegender.errors import UsageError

DEFAULT = Durations()
SHORT = Durations(min_seconds=1.0, min_runs=100, max_seconds=30.0, warmup_seconds=0.2, warmup_runs=10, preset="short")
# MLPerf Inference: a single stream has 1,024 queries and 600 s at least; 24,576 (3 * 2^13) bound p90 to a margin of
# 0.5 %, with 99 % confidence. Source: MLCommons inference_policies, inference_rules.adoc, "Scenarios" and "Appendix
# Number of Queries".
QUICK = Durations(min_seconds=10.0, min_runs=1024, max_seconds=300.0, preset="quick")
PUBLISHABLE = Durations(
    min_seconds=600.0, min_runs=24_576, max_seconds=7200.0, warmup_seconds=5.0, warmup_runs=50, preset="publishable"
)
PRESETS = {durations.preset: durations for durations in (DEFAULT, SHORT, QUICK, PUBLISHABLE)}
MIN_UNTIL_RUNS = 100  # before, the interval of p90 rests on a handful of runs
_LOOK_GROWTH = 1.1  # looking again after a tenth more runs costs one sort in ten percent of the time
_MIN_REPEATED_SECONDS = 3.0  # below, starting processes would take longer than measuring
_REPEATS = 3
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


def count_repeats(durations: Durations) -> int:
    """Returns how many processes share the time: three, or one where there is little time."""
    return _REPEATS if durations.min_seconds >= _MIN_REPEATED_SECONDS else 1


def share_out(durations: Durations, repeats: int) -> Durations:
    """Returns what each of several processes measures; the warm-up is not shared, for each must be warm.

    Example:
        >>> share_out(QUICK, 3).min_runs
        342
    """
    return replace(
        durations,
        min_seconds=durations.min_seconds / repeats,
        min_runs=-(-durations.min_runs // repeats),
        max_seconds=durations.max_seconds / repeats,
    )


def p90_uncertainty(latencies_ns: Sequence[int] | npt.NDArray[np.int64]) -> float:
    """Returns how far the ends of p90's 95 % interval lie from it at most, as a share; infinite without an interval.

    Example:
        >>> round(p90_uncertainty(range(1000, 2000)), 3)
        0.01
        >>> p90_uncertainty([1, 2, 3])
        inf
    """
    (entry,) = compute_percentiles(latencies_ns, (90,))
    if entry.low_ns is None or entry.high_ns is None or not entry.value_ns:
        return float("inf")
    return max(entry.value_ns - entry.low_ns, entry.high_ns - entry.value_ns) / entry.value_ns


class EarlyStop:
    """Says when p90 is sure enough.

    Args:
        share: Of p90 that its 95 % interval may reach on either side.

    The interval holds for one look; looking many times and ending at the first good one is a little too hopeful.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self.next_look = MIN_UNTIL_RUNS

    def is_reached(self, latencies_ns: Sequence[int]) -> bool:
        """Returns whether to end; to be asked when there are ``next_look`` latencies."""
        self.next_look = int(len(latencies_ns) * _LOOK_GROWTH) + 1
        return p90_uncertainty(latencies_ns) <= self._share


def parse_share(text: str) -> float:
    """Returns ``0.5%`` or ``0.005`` as a share.

    Raises:
        UsageError: It is no number, or not between 0 and 50 %.

    Example:
        >>> parse_share("0.5%"), parse_share("0.01")
        (0.005, 0.01)
    """
    found = _PERCENT.fullmatch(text)
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if not 0 < share <= 0.5:
        raise UsageError(f"Expected a share from 0 to 50%, got {text!r}.", hint="For example: --until 0.5%")
    return share
