"""A measurement says what speaks against it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgegender.benchmark.conditions import Conditions
from edgegender.benchmark.judge import (
    judge_data,
    judge_latency,
    judge_machine,
    judge_repeats,
    median_drift,
    median_gap,
)
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


def test_times_of_an_emulated_processor_are_invalid():
    (warning,) = judge_latency(latency_record(), replace(PI, emulator="qemu-aarch64"), DURATIONS)
    assert (warning.kind, warning.is_invalidating) == ("emulated", True)
    assert "qemu-aarch64 imitates the processor" in warning.text


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


# several processes, and what ran beside them

QUIET = Conditions(0.02, 0.0, CALM, CALM)


def repeats(*around_ns, conditions=QUIET, machine=PI):
    parts = [latency_record(around_ns=value) for value in around_ns]
    return judge_repeats(parts, [conditions] * len(parts), machine)


def test_processes_that_agree_within_three_percent_have_no_warning():
    assert repeats(9_000_000, 9_100_000, 9_200_000) == ()
    assert repeats(9_000_000) == ()
    assert median_gap([]) == 0.0


def test_processes_that_disagree_are_named_with_their_medians():
    (warning,) = repeats(9_000_000, 9_000_000, 9_900_000)
    assert (warning.kind, warning.num_threads, warning.is_invalidating) == ("repeats", 1, False)
    assert warning.text.startswith("p50 of 3 processes differs by 10")
    assert "no cause shows itself: measure for longer" in warning.text


@pytest.mark.parametrize(
    ("conditions", "kind", "cause"),
    [
        (replace(QUIET, other_cores=0.8), "load", "other programs kept up to 0.8 cores busy"),
        (replace(QUIET, stolen_cores=0.05), "steal", "other guests took 5 % of a core"),
    ],
)
def test_a_disagreement_says_why(conditions, kind, cause):
    found = repeats(9_000_000, 9_900_000, conditions=conditions)
    assert [warning.kind for warning in found] == ["repeats", kind]
    assert cause in found[0].text


def test_a_virtual_machines_guests_are_the_cause_when_nothing_else_is():
    (warning,) = repeats(9_000_000, 9_900_000, machine=replace(PI, is_virtual_machine=True))
    assert warning.text.endswith("other guests share the processor")


def test_what_ran_beside_is_named_even_when_the_processes_agree():
    assert [warning.kind for warning in repeats(9_000_000, conditions=replace(QUIET, other_cores=1.0))] == ["load"]
    unknown = replace(QUIET, other_cores=None, stolen_cores=None)
    assert repeats(9_000_000, conditions=unknown) == ()


def test_an_early_end_says_how_well_p90_is_known():
    (sure,) = judge_latency(with_latencies([1000] * 400), PI, DURATIONS, until_share=0.01)
    assert (sure.kind, sure.text) == ("early_stop", "ended when p90 was known to 1 %, after 400 runs")
    wide = with_latencies([1000 + 7 * number % 400 for number in range(400)])
    late = {warning.kind: warning.text for warning in judge_latency(wide, PI, DURATIONS, until_share=0.005)}
    assert late["until"].endswith("not to 0.5 %, after 400 runs")
    assert not {"early_stop", "few_runs"} & set(late)
