"""Durations have names, and p90 can be sure before they are over."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.benchmark.presets import (
    DEFAULT,
    MIN_UNTIL_RUNS,
    PRESETS,
    PUBLISHABLE,
    QUICK,
    SHORT,
    EarlyStop,
    count_repeats,
    p90_uncertainty,
    parse_share,
    share_out,
)
from edgegender.errors import UsageError


def test_quick_and_publishable_have_the_bounds_of_mlperf():
    assert (QUICK.min_seconds, QUICK.min_runs) == (10, 1024)
    assert (PUBLISHABLE.min_seconds, PUBLISHABLE.min_runs) == (600, 24_576)


def test_each_preset_is_found_by_its_name():
    assert PRESETS == {"default": DEFAULT, "short": SHORT, "quick": QUICK, "publishable": PUBLISHABLE}


def test_all_but_the_short_one_are_shared_by_three_processes():
    assert [count_repeats(durations) for durations in (DEFAULT, SHORT, QUICK, PUBLISHABLE)] == [3, 1, 3, 3]


def test_shares_reach_the_whole_and_each_warms_up():
    share = share_out(PUBLISHABLE, 3)
    assert 3 * share.min_runs >= PUBLISHABLE.min_runs
    assert 3 * share.min_seconds == PUBLISHABLE.min_seconds
    assert 3 * share.max_seconds == PUBLISHABLE.max_seconds
    assert share.warmup_seconds == PUBLISHABLE.warmup_seconds


def test_more_runs_make_p90_surer():
    noise = np.random.default_rng(0).uniform(1000, 1100, 10_000).astype(np.int64)
    few, many = p90_uncertainty(noise[:200]), p90_uncertainty(noise)
    assert many < few < 0.1


def test_a_handful_of_runs_or_no_time_at_all_leave_p90_unknown():
    assert p90_uncertainty([5] * 10) == float("inf")
    assert p90_uncertainty([0] * 1000) == float("inf")


def test_early_stop_looks_again_after_a_tenth_more_runs():
    early = EarlyStop(0.001)
    assert early.next_look == MIN_UNTIL_RUNS
    assert not early.is_reached(list(range(1000, 1100)))
    assert early.next_look == 111
    assert early.is_reached([1000] * 111)


@pytest.mark.parametrize(("text", "share"), [("0.5%", 0.005), (" 2 % ", 0.02), ("0.01", 0.01), ("50%", 0.5)])
def test_shares_are_read_as_percent_or_as_numbers(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "0", "0%", "51%", "1", "-1%", "half", "1e-3", "%", "nan"])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(UsageError, match="Expected a share from 0 to 50%, got"):
        parse_share(text)
