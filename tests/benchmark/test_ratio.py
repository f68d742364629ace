"""The interval of a ratio holds the truth as often as it says, also where successive runs resemble each other."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.benchmark.ratio import block_length, percentile_ratio, resample_percentile
from edgegender.errors import DataError


def runs(rng, num_runs, *, likeness=0.0, scale=1.0):
    """Latencies of an autoregressive process: ``likeness`` is the correlation of successive ones."""
    noise = rng.gamma(2.0, 1.0, num_runs)
    values = np.empty(num_runs)
    values[0] = noise[0]
    for number in range(1, num_runs):
        values[number] = likeness * values[number - 1] + (1 - likeness) * noise[number]
    return (scale * 1e6 * (1 + 0.05 * values)).astype(np.int64)


@pytest.mark.parametrize("likeness", [0.0, 0.5])
@pytest.mark.parametrize("percent", [50, 90])
def test_the_interval_holds_the_truth_in_nine_of_ten_cases(likeness, percent):
    # 95 % is what it aims at; 40 cases leave a standard error of 3 points, and resampling blocks is a little narrow
    rng = np.random.default_rng(3)
    hits = 0
    for seed in range(40):
        pair = runs(rng, 1024, likeness=likeness), runs(rng, 1024, likeness=likeness)
        ratio = percentile_ratio(*pair, percent, seed=seed)
        hits += ratio.low <= 1 <= ratio.high
    assert hits >= 34


def test_likeness_of_successive_runs_widens_the_interval():
    rng = np.random.default_rng(5)
    values = runs(rng, 4096, likeness=0.95)
    mixed = rng.permutation(values)
    wide, narrow = percentile_ratio(values, values, 50), percentile_ratio(mixed, mixed, 50)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_a_real_difference_is_found_and_named():
    rng = np.random.default_rng(6)
    ratio = percentile_ratio(runs(rng, 1024), runs(rng, 1024, scale=1.05), 50)
    assert ratio.low > 1.03
    assert ratio.high < 1.07
    assert ratio.low <= ratio.value <= ratio.high


def test_independent_runs_give_the_spread_that_order_statistics_give():
    values = np.random.default_rng(7).permutation(np.arange(1_000_000, 1_004_000))
    draws = resample_percentile(values, 50, rng=np.random.default_rng(0))
    # the median of n uniform values scatters by range / (2 sqrt(n)); 2,000 draws of 63 blocks tell it to a fifth
    assert draws.std() == pytest.approx(4000 / (2 * 4000**0.5), rel=0.2)


def test_equal_results_give_equal_answers_and_a_ratio_of_one():
    values = runs(np.random.default_rng(8), 600)
    assert percentile_ratio(values, values, 90) == percentile_ratio(values, values, 90)
    assert percentile_ratio(values, values, 90).value == 1.0


def test_constant_latencies_have_an_interval_of_no_width():
    ratio = percentile_ratio([100] * 200, [110] * 200, 50)
    assert (ratio.value, ratio.low, ratio.high) == (1.1, 1.1, 1.1)


def test_too_few_runs_are_refused():
    with pytest.raises(DataError, match=r"Expected runs for 8 blocks, got 40\."):
        percentile_ratio(range(1, 41), range(1, 41), 50)


def test_a_long_measurement_has_a_thousand_blocks_at_most():
    assert 5_000_000 // block_length(5_000_000) <= 1000
    assert 500 // block_length(500) == 22
