"""Percentiles are measured values, and their intervals are those of the binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from edgegender.benchmark.percentiles import compute_percentiles, interval_ranks, nearest_rank
from edgegender.errors import DataError

RUNS = [1, 2, 5, 17, 100, 367, 368, 1000, 24_576, 300_000]
SHARES = [0.5, 0.9, 0.95, 0.99]


@pytest.mark.parametrize("num_runs", RUNS)
@pytest.mark.parametrize("share", SHARES)
def test_ranks_are_the_binomial_quantiles_of_scipy(num_runs, share):
    low, high = interval_ranks(num_runs, share)
    distribution = binom(num_runs, share)
    if low is None:
        assert distribution.cdf(0) > 0.025
    else:
        assert distribution.cdf(low - 1) <= 0.025 < distribution.cdf(low)
    if high is None:
        assert distribution.cdf(num_runs - 1) < 0.975
    else:
        assert distribution.cdf(high - 2) < 0.975 <= distribution.cdf(high - 1)


@pytest.mark.parametrize("num_runs", RUNS)
@pytest.mark.parametrize("share", SHARES)
def test_a_bounded_interval_holds_the_quantile_with_95_percent_at_least(num_runs, share):
    low, high = interval_ranks(num_runs, share)
    if low is not None and high is not None:
        distribution = binom(num_runs, share)
        assert distribution.cdf(high - 1) - distribution.cdf(low - 1) >= 0.95


def test_intervals_of_skewed_latencies_hold_the_true_p90_in_95_of_100_experiments():
    random = np.random.default_rng(5)
    truth = -np.log(0.1)  # the 90 % quantile of the exponential distribution
    hits = 0
    for _ in range(1000):
        latencies = (random.exponential(1.0, 400) * 1e6).astype(np.int64)
        figure = compute_percentiles(latencies, (90,))[0]
        hits += figure.low_ns <= truth * 1e6 <= figure.high_ns
    # at least 95 %, less three standard deviations of 1,000 experiments (0.7 points each)
    assert hits >= 930


@pytest.mark.parametrize(
    ("num_runs", "percent", "rank"), [(1, 50, 1), (1, 99, 1), (2, 50, 1), (3, 50, 2), (100, 99, 99), (101, 99, 100)]
)
def test_nearest_rank_is_the_first_that_the_share_does_not_exceed(num_runs, percent, rank):
    assert nearest_rank(num_runs, percent) == rank


def test_every_figure_is_a_latency_that_was_measured():
    latencies = np.random.default_rng(0).integers(1000, 9000, 777)
    measured = set(latencies.tolist())
    for figure in compute_percentiles(latencies):
        assert {figure.value_ns, figure.low_ns, figure.high_ns} <= measured
        assert figure.low_ns <= figure.value_ns <= figure.high_ns


def test_the_order_of_the_runs_does_not_matter():
    latencies = np.random.default_rng(0).integers(1000, 9000, 500).tolist()
    assert compute_percentiles(latencies) == compute_percentiles(sorted(latencies, reverse=True))


def test_one_run_bounds_nothing_but_the_lower_side_of_a_high_percentile():
    median, high = compute_percentiles([7], (50, 99))
    assert (median.value_ns, median.low_ns, median.high_ns) == (7, None, None)
    assert (high.value_ns, high.low_ns, high.high_ns) == (7, 7, None)  # one run lies below p99 with 99 %


def test_equal_latencies_have_an_interval_of_no_width():
    figure = compute_percentiles([5] * 400, (99,))[0]
    assert (figure.low_ns, figure.value_ns, figure.high_ns) == (5, 5, 5)


def test_no_latency_is_refused():
    with pytest.raises(DataError, match="Expected latencies, got none"):
        compute_percentiles([])
