"""A measurement says what speaks against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgegender.benchmark.judge import judge_data, judge_latency, judge_machine, median_drift
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import Durations
from tests.benchmark.examples import CALM, DATA, PI, latency_record

DURATIONS = Durations()


def with_latencies(latencies):
    return replace(latency_record(), latencies_ns=tuple(latencies), percentiles=compute_percentiles(latencies))


def kinds(record, machine=PI, durations=DURATIONS):
    return [warning.kind for warning in judge_latency(record, machine, durations)]


def test_a_calm_measurement_has_no_warning():
    assert kinds(latency_record()) == []
    assert judge_machine(PI, [latency_record()]) == ()
    assert judge_data(DATA) == ()


def test_a_long_tail_is_named():
    assert kinds(with_latencies([1000] * 480 + [1600] * 20)) == ["spread"]


def test_a_median_that_moves_by_more_than_three_percent_is_named():
    assert kinds(with_latencies([1000] * 250 + [1040] * 250)) == ["drift"]
    assert kinds(with_latencies([1000] * 250 + [1020] * 250)) == []


def test_too_few_runs_for_p99_are_named():
    assert kinds(with_latencies([1000] * 367), durations=Durations(min_runs=100)) == ["few_runs"]


def test_runs_that_ended_before_their_number_was_reached_are_named():
    assert kinds(with_latencies([1000] * 400)) == ["few_runs"]


def test_a_load_above_the_cores_is_named():
    busy = replace(latency_record(), state_before=replace(CALM, load_average=4.5))
    assert kinds(busy) == ["load"]
    assert kinds(replace(busy, state_before=replace(CALM, load_average=None))) == []


def test_more_threads_than_cores_are_named():
    assert kinds(latency_record(num_threads=8)) == ["threads"]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (replace(latency_record(), state_after=replace(CALM, throttled_flags=0x40000)), "throttled"),
        (replace(latency_record(), is_output_equal=False, max_output_difference=0.25), "output"),
    ],
)
def test_throttling_and_other_scores_make_the_figures_invalid(record, kind):
    (warning,) = judge_latency(record, PI, DURATIONS)
    assert (warning.kind, warning.is_invalidating, warning.num_threads) == (kind, True, 1)


def test_governor_and_virtual_machine_are_named_once():
    slow = replace(latency_record(), state_before=replace(CALM, governor="ondemand"))
    found = judge_machine(replace(PI, is_virtual_machine=True), [slow, slow])
    assert [warning.kind for warning in found] == ["governor", "virtual_machine"]
    assert "ondemand" in found[0].text


def test_an_unknown_governor_is_no_warning():
    assert judge_machine(PI, [replace(latency_record(), state_before=replace(CALM, governor=None))]) == ()


def test_photos_that_were_left_out_are_counted():
    (warning,) = judge_data(replace(DATA, num_no_face=3, num_unreadable=2))
    assert warning.text == "5 of 405 photos are not in the figures: 3 without a face, 2 unreadable"


def test_accuracy_of_a_handful_of_photos_is_named():
    assert [warning.kind for warning in judge_data(replace(DATA, num_photos=4))] == ["few_photos"]


def test_drift_needs_two_runs():
    assert median_drift([5]) == 0.0
    assert median_drift([100, 200]) == pytest.approx(100 / 150)
