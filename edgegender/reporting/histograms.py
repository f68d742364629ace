"""Raw latencies as counts: small enough for a page that shows a thousand of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.errors import DataError

NUM_BINS = 27
_SHOWN_SHARE = 0.99


@dataclass(frozen=True)
class Histogram:
    """Counts of latencies in bins of equal width.

    Args:
        low_ns: Left edge of the first bin: the fastest run.
        high_ns: Right edge of the last bin: the slowest of the fastest 99 %, so that one pause does not flatten it.
        counts: Runs a bin.
        num_beyond: Runs slower than ``high_ns``.
    """

    low_ns: int
    high_ns: int
    counts: tuple[int, ...]
    num_beyond: int


def count_latencies(latencies_ns: Sequence[int] | npt.NDArray[np.int64], *, num_bins: int = NUM_BINS) -> Histogram:
    """Returns raw latencies as a histogram.

    Args:
        latencies_ns: In any order, nanoseconds.
        num_bins: At least 1.

    Raises:
        DataError: There is no latency.

    Example:
        >>> count_latencies([10, 10, 11, 13, 14], num_bins=4)
        Histogram(low_ns=10, high_ns=14, counts=(2, 1, 0, 2), num_beyond=0)
    """
    if not len(latencies_ns):
        raise DataError("Expected latencies, got none.")
    values = np.asarray(latencies_ns, np.int64)
    rank = max(1, -(-len(values) * int(100 * _SHOWN_SHARE) // 100))
    low, high = int(values.min()), int(np.partition(values, rank - 1)[rank - 1])
    width = max(1, high - low) / num_bins
    shown = values[values <= high]
    bins = np.minimum(((shown - low) / width).astype(np.int64), num_bins - 1)
    counts = np.bincount(bins, minlength=num_bins)
    return Histogram(low, high, tuple(int(count) for count in counts), len(values) - len(shown))


def histogram_path(histogram: Histogram, *, width: int, height: int) -> str:
    """Returns the outline of a histogram as the data of an SVG path: whole steps, relative to one another, closed.

    Args:
        histogram: The counts.
        width: Of the drawing.
        height: Of the drawing; the fullest bin reaches it.

    Example:
        >>> histogram_path(Histogram(0, 2, (2, 1), 0), width=20, height=10)
        'M0 10v-10h10v5h10V10z'
    """
    fullest = max(1, *histogram.counts)
    steps = []
    last_x, last_y = 0, height
    num_bins = len(histogram.counts)
    for number, count in enumerate(histogram.counts):
        top = height - round(height * count / fullest)
        if count and top == height:
            top = height - 1  # a bin that holds something is seen
        if top != last_y:
            x = round(width * number / num_bins)
            steps.append(f"h{x - last_x}v{top - last_y}" if number else f"v{top - last_y}")
            last_x, last_y = x, top
    return f"M0 {height}{''.join(steps)}h{width - last_x}V{height}z"
