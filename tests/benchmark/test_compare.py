"""A comparison matches what belongs together and calls a figure worse only where chance does not explain it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgegender.benchmark.compare import compare_results
from edgegender.benchmark.compare_figures import (
    Tolerances,
    compare_latency,
    compare_numbers,
    subtract_intervals,
)
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import BenchmarkWarning, ParityRecord
from edgegender.errors import UsageError
from edgegender.metrics import Interval, evaluate_scores, wilson_interval
from tests.benchmark.examples import DATA, ENGINE, MODEL, PI, example_result, latency_record, without_accuracy


def timed(seed, *, scale=1.0, num_threads=1, num_runs=600):
    noise = np.random.default_rng(seed).gamma(2.0, 1.0, num_runs)
    latencies = tuple(int(value) for value in scale * 9e6 * (1 + 0.01 * noise))
    record = latency_record(num_threads=num_threads)
    return replace(record, latencies_ns=latencies, percentiles=compute_percentiles(latencies))


def result(seed=0, *, scale=1.0, wrong=10, **changes):
    annotated = np.arange(400) % 2
    positive = np.where((annotated == 1) ^ (np.arange(400) < wrong), 0.9, 0.1)
    scores = np.stack([1 - positive, positive], axis=1)
    evaluation = evaluate_scores(scores, annotated, labels=MODEL.labels, positive_label="male")
    values = {"latencies": (timed(seed, scale=scale),), "evaluation": evaluation, "warnings": (), **changes}
    return replace(example_result(), **values)


def verdicts(first, second, **tolerances):
    report = compare_results([first], [second], tolerances=Tolerances(**tolerances))
    return {figure.name: figure.verdict for comparison in report.comparisons for figure in comparison.figures}


def test_two_runs_of_the_same_file_are_the_same():
    found = verdicts(result(1), result(2))
    assert set(found) == {"accuracy", "f1", "size_bytes", "flips", "p50_ns", "p90_ns", "peak_memory_bytes"}
    assert set(found.values()) == {"same"}


def test_slower_beyond_the_tolerance_is_a_regression_and_within_it_is_worse():
    first, second = result(1), result(2, scale=1.05)
    assert verdicts(first, second)["p50_ns"] == "regression"
    assert verdicts(first, second, relative=0.10)["p50_ns"] == "worse"
    assert verdicts(second, first)["p50_ns"] == "better"


def test_a_change_that_chance_explains_is_no_regression_however_small_the_tolerance():
    assert verdicts(result(1), result(2), relative=0.0)["p50_ns"] == "same"


def test_accuracy_falls_beyond_chance_or_stays_the_same():
    assert verdicts(result(wrong=10), result(wrong=18))["accuracy"] == "same"
    assert verdicts(result(wrong=10), result(wrong=60))["accuracy"] == "regression"
    assert verdicts(result(wrong=10), result(wrong=60), accuracy=0.2)["accuracy"] == "worse"
    assert verdicts(result(wrong=60), result(wrong=10))["f1"] == "better"


def test_different_photos_do_not_compare():
    other = result(data=replace(DATA, sha256="00" * 32), wrong=100)
    found = verdicts(result(), other)
    assert (found["accuracy"], found["f1"]) == ("not_compared", "not_compared")


def test_one_without_accuracy_says_so_and_two_without_have_no_such_figure():
    speed = replace(without_accuracy(), latencies=(timed(3),), warnings=())
    assert verdicts(result(), speed)["accuracy"] == "not_compared"
    assert "accuracy" not in verdicts(speed, speed)


def test_f1_of_different_labels_does_not_compare():
    other = replace(result(), model=replace(MODEL, positive_label="female"))
    assert verdicts(result(), other)["f1"] == "not_compared"


def test_size_is_exact_and_memory_is_judged_by_the_tolerance_alone():
    larger = result(model=replace(MODEL, size_bytes=MODEL.size_bytes + 1))
    assert verdicts(result(), larger)["size_bytes"] == "worse"
    assert verdicts(result(), result(model=replace(MODEL, size_bytes=4_000_000)))["size_bytes"] == "regression"
    memory = {"is_exact": False, "tolerances": Tolerances()}
    assert compare_numbers("peak_memory_bytes", 100, 102, **memory).verdict == "same"
    assert compare_numbers("peak_memory_bytes", 100, 105, **memory).verdict == "regression"
    assert compare_numbers("peak_memory_bytes", 100, 90, **memory).verdict == "better"
    assert compare_numbers("peak_memory_bytes", 100, None, **memory).verdict == "not_compared"
    assert compare_numbers("peak_memory_bytes", 100, 105, **memory).is_significant is None


def test_flips_of_the_same_file_beyond_the_tolerance_are_a_regression():
    golden = example_result().parity.golden_sha256
    flipped = ParityRecord(golden, ((0.25, 0.75), (0.1, 0.9)))
    near = ParityRecord(golden, ((0.26, 0.74), (0.9, 0.1)))
    assert verdicts(result(), result(parity=flipped))["flips"] == "regression"
    assert verdicts(result(), result(parity=near))["flips"] == "differs"
    other_file = result(parity=flipped, model=replace(MODEL, sha256="00" * 32))
    assert verdicts(result(), other_file)["flips"] == "differs"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parity": None}, "only one of both answered golden inputs"),
        ({"parity": ParityRecord("00" * 32, ((0.25, 0.75), (0.9, 0.1)))}, "different golden inputs"),
        ({"model": replace(MODEL, labels=("a", "b"), positive_label="a")}, "different labels"),
    ],
)
def test_answers_that_do_not_belong_together_are_not_compared(changes, reason):
    report = compare_results([result()], [result(**changes)])
    (figure,) = [figure for figure in report.comparisons[0].figures if figure.name == "flips"]
    assert (figure.verdict, figure.reason) == ("not_compared", reason)


def test_results_without_answers_have_no_flips():
    assert "flips" not in verdicts(result(parity=None), result(parity=None))


def test_an_invalid_measurement_is_not_compared_and_reported():
    hot = (BenchmarkWarning("throttled", "the machine slowed itself down", 1, is_invalidating=True),)
    report = compare_results([result()], [result(scale=2.0, warnings=hot)])
    assert report.problems == ("edge, 1 thread: B is invalid: the machine slowed itself down",)
    figures = {figure.name: figure.verdict for figure in report.comparisons[1].figures}
    assert figures["p50_ns"] == "not_compared"


def test_too_few_runs_are_not_compared():
    few = timed(1, num_runs=20)
    figure = compare_latency(few, few, 50, tolerances=Tolerances())
    assert figure.verdict == "not_compared"
    assert "Expected runs for 8 blocks, got 20" in figure.reason


def test_configurations_match_by_threads_and_batch_and_the_rest_is_named():
    first = result(latencies=(timed(1), timed(2, num_threads=2)))
    second = result(latencies=(timed(3), replace(timed(4, num_threads=2), batch_size=8)))
    report = compare_results([first], [second])
    assert [(one.num_threads, one.batch_size) for one in report.comparisons] == [(None, None), (1, 1)]
    assert report.only_first == ("edge, 2 threads",)
    assert report.only_second == ("edge, 2 threads, batch 8",)


def test_differences_of_machine_versions_engine_and_data_are_named():
    other = result(
        machine=replace(PI, cpu_model="Cortex-A72"),
        engine=replace(ENGINE, version="2.4.0"),
        data=replace(DATA, sha256="00" * 32),
    )
    names = [difference.name for difference in compare_results([result()], [other]).comparisons[0].differences]
    assert names == ["machine.cpu_model", "engine.version", "data.sha256"]


def test_several_results_match_by_what_tells_them_apart():
    models = [replace(MODEL, name=name) for name in ("a", "b", "c")]
    firsts = [result(number, model=model) for number, model in enumerate(models)]
    seconds = [result(9, model=models[1]), result(8, model=models[0], scale=2.0)]
    report = compare_results(firsts, seconds)
    assert [one.name for one in report.comparisons] == ["a", "a", "b", "b"]
    assert report.only_first == ("c",)
    assert {comparison.name for comparison, _ in report.regressions} == {"a"}


def test_engine_target_and_machine_stand_in_the_name_where_they_differ():
    firsts = [result(), result(engine=replace(ENGINE, delegate="none"), target="ssh", machine=replace(PI, board=""))]
    names = {one.name for one in compare_results(firsts, firsts).comparisons}
    assert names == {
        "edge, ai-edge-litert+xnnpack, cpu, Raspberry Pi 5 Model B Rev 1.0",
        "edge, ai-edge-litert+none, ssh, Cortex-A76",
    }


def test_two_results_that_cannot_be_told_apart_and_none_are_refused():
    with pytest.raises(UsageError, match="got two of edge in B"):
        compare_results([result()], [result(), result(2)])
    with pytest.raises(UsageError, match="Expected results to compare, got none"):
        compare_results([], [result()])


def test_tolerances_below_zero_are_refused():
    with pytest.raises(UsageError, match=r"Expected tolerances of 0 or more, got -0\.1"):
        Tolerances(relative=-0.1)


def test_the_difference_of_two_accuracies_is_that_of_newcombes_table():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80, and 9/10 - 3/10
    difference = subtract_intervals(wilson_interval(48, 80), wilson_interval(56, 70))
    assert (round(difference.low, 4), round(difference.high, 4)) == (0.0524, 0.3339)
    difference = subtract_intervals(wilson_interval(3, 10), wilson_interval(9, 10))
    assert (round(difference.low, 4), round(difference.high, 4)) == (0.1705, 0.8090)
    assert subtract_intervals(Interval(0.5, 0.4, 0.6), Interval(0.5, 0.4, 0.6)).value == 0
