"""How much slower one measurement is than another: an interval that assumes no distribution and no independence."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.percentiles import nearest_rank
from edgegender.entities import FloatArray
from edgegender.errors import DataError
from edgegender.metrics import BOOTSTRAP_RUNS, Interval

MIN_BLOCKS = 8  # with fewer, resampling them says nothing
_GRID = 257  # latencies around the percentile at which the resampled distribution is looked at
_GRID_DEVIATIONS = 8.0

Numbers = npt.NDArray[np.int64]


def block_length(num_runs: int) -> int:
    """Returns how many successive runs are resampled together: the square root of the runs, at most 1,000 blocks.

    The best length grows with the cube root; the longer one is chosen because a processor's clock and its other
    guests change slowly.

    Source: Künsch 1989, doi 10.1214/aos/1176347265, section 3 (the best length and its growth).

    Example:
        >>> block_length(500), block_length(24_576), block_length(4_000_000)
        (22, 156, 4000)
    """
    return max(1, math.isqrt(num_runs), -(-num_runs // 1000))


def _grid(ordered: Numbers, rank: int, spread: float) -> Numbers:
    """Returns latencies around a rank, dense enough that the percentile of a resample is one of them."""
    reach = max(1.0, _GRID_DEVIATIONS * spread)
    low, high = max(0.0, rank - 1 - reach), min(len(ordered) - 1.0, rank - 1 + reach)
    places = np.unique(np.rint(np.linspace(low, high, _GRID)).astype(np.int64))
    return np.unique(np.append(ordered[places], [ordered[0], ordered[-1]]))


def resample_percentile(
    latencies_ns: Sequence[int] | Numbers, percent: int, *, rng: np.random.Generator, num_draws: int = BOOTSTRAP_RUNS
) -> FloatArray:
    """Returns a percentile of resamples of whole blocks of successive runs, shape (num_draws,), nanoseconds.

    Args:
        latencies_ns: Raw, in the order of the runs.
        percent: The percentile.
        rng: Draws the blocks.
        num_draws: Resamples.

    Raises:
        DataError: There are fewer than eight blocks.

    Source: Carlstein 1986, doi 10.1214/aos/1176350057 (blocks that do not overlap).
    """
    values = np.asarray(latencies_ns, np.int64)
    length = block_length(len(values))
    num_blocks = len(values) // length
    if num_blocks < MIN_BLOCKS:
        raise DataError(
            f"Expected runs for {MIN_BLOCKS} blocks, got {len(values)}.", hint="Measure longer: 100 runs or more."
        )
    kept = values[len(values) - num_blocks * length :]  # the first runs, the least settled ones, are the rest
    ordered = np.sort(kept)
    rank = nearest_rank(len(kept), percent)
    blocks = np.sort(kept.reshape(num_blocks, length), axis=1)
    at_rank = (blocks <= ordered[rank - 1]).sum(axis=1)
    grid = _grid(ordered, rank, math.sqrt(num_blocks) * float(at_rank.std()))
    # how many runs of each block do not exceed each latency of the grid: a resample is then a weighted sum of rows
    counts = np.stack([np.searchsorted(block, grid, side="right") for block in blocks]).astype(np.float64)
    weights = rng.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=num_draws).astype(np.float64)
    reached = weights @ counts >= rank - 0.5
    return np.asarray(grid[reached.argmax(axis=1)], np.float64)


def percentile_ratio(
    first_ns: Sequence[int] | Numbers, second_ns: Sequence[int] | Numbers, percent: int, *, seed: int = 0
) -> Interval:
    """Returns a percentile of a second measurement by that of a first one, with its 95 % interval.

    Above 1 the second is slower. The interval covers how the two measurements scatter in themselves, and nothing that
    stays the same during each: for what changes from one start of a process to the next there is the tolerance.

    Args:
        first_ns: Raw latencies in the order of the runs.
        second_ns: Likewise.
        percent: The percentile, such as 50.
        seed: Of the resampling: equal results give equal answers.

    Raises:
        DataError: There are too few runs.
    """
    rng = np.random.default_rng([seed, percent])
    first = resample_percentile(first_ns, percent, rng=rng)
    second = resample_percentile(second_ns, percent, rng=rng)
    ranks = [nearest_rank(len(values), percent) - 1 for values in (first_ns, second_ns)]
    below, above = (
        float(np.partition(np.asarray(values, np.int64), rank)[rank])
        for values, rank in zip((first_ns, second_ns), ranks, strict=True)
    )
    value = above / max(1.0, below)
    low, high = np.quantile(second / np.maximum(first, 1.0), [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))
