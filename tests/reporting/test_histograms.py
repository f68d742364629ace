"""Histograms count every run, and draw what they count."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.errors import DataError
from edgegender.reporting.histograms import NUM_BINS, Histogram, count_latencies, histogram_path


def test_every_run_is_counted_or_said_to_lie_beyond():
    latencies = np.random.default_rng(0).gamma(2.0, 1e6, 5000).astype(np.int64)
    histogram = count_latencies(latencies)
    assert sum(histogram.counts) + histogram.num_beyond == 5000
    assert histogram.num_beyond == 50
    assert len(histogram.counts) == NUM_BINS
    assert histogram.low_ns == latencies.min()


def test_one_pause_does_not_flatten_the_rest():
    histogram = count_latencies([1_000_000 + number for number in range(999)] + [10**10])
    assert histogram.high_ns < 1_001_000
    assert histogram.num_beyond == 10


@pytest.mark.parametrize("latencies", [[7], [7, 7, 7]])
def test_equal_latencies_fill_one_bin(latencies):
    histogram = count_latencies(latencies)
    assert sum(histogram.counts) == len(latencies)
    assert (histogram.low_ns, histogram.high_ns, histogram.num_beyond) == (7, 7, 0)


def test_no_latency_is_refused():
    with pytest.raises(DataError, match="Expected latencies, got none"):
        count_latencies([])


def test_the_fullest_bin_reaches_the_top_and_a_single_run_is_still_seen():
    path = histogram_path(Histogram(0, 4, (1000, 0, 1, 0), 0), width=40, height=20)
    assert path == "M0 20v-20h10v20h10v-1h10v1h10V20z"
