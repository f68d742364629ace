"""The gate: what is worse than the float network, for all or for a group, or answers one label only, does not pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgegender.conversion.gate import (
    LABEL_GROUP,
    MIN_GROUP_PHOTOS,
    GateBars,
    GateReport,
    judge,
    require_two_labels,
)
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import CheckFailedError, DataError, UsageError
from edgegender.paired import compare_f1, compare_predictions

LABELS = ("female", "male")


def scores_of(predicted: IntArray, confidence: float = 0.9) -> FloatArray:
    """Returns scores that answer ``predicted``."""
    scores = np.full((len(predicted), 2), 1 - confidence)
    scores[np.arange(len(predicted)), predicted] = confidence
    return scores


def flip(predicted: IntArray, *positions: int) -> IntArray:
    flipped = predicted.copy()
    flipped[list(positions)] ^= 1
    return flipped


def run(
    before: FloatArray,
    after: FloatArray,
    annotated: IntArray,
    groups: Mapping[str, Sequence[str]] | None = None,
    **bars: float,
) -> GateReport:
    """Returns the gate's report; bars that are not named let everything through."""
    chosen = GateBars(**{"max_drop": 100, "max_flips": 100, "max_group_drop": 100, **bars})  # type: ignore[arg-type]
    return judge(before, after, annotated, labels=LABELS, positive_label="male", bars=chosen, groups=groups)


@pytest.fixture
def annotated() -> IntArray:
    """1,000 photos, half of each label."""
    return np.arange(1000) % 2


def test_the_same_answers_pass(annotated: IntArray) -> None:
    bars = {"max_drop": 0, "max_flips": 0, "max_group_drop": 0}
    report = run(scores_of(annotated), scores_of(annotated), annotated, **bars)
    assert report.is_passed
    assert (report.difference.flips, report.difference.p_value, report.max_score_change) == (0, 1.0, 0.0)


# Accuracy, F1, flips


@pytest.mark.parametrize(("lost", "is_passed"), [(4, True), (5, True), (6, False), (40, False)])
def test_a_fall_of_accuracy_beyond_max_drop_is_refused(annotated: IntArray, lost: int, is_passed: bool) -> None:
    """As many of each label are lost, so that F1 falls as accuracy does and no more."""
    after = flip(annotated, *range(lost))
    report = run(scores_of(annotated), scores_of(after), annotated, max_drop=0.5)
    assert report.is_passed is is_passed
    if not is_passed:
        assert report.problems[0] == f"accuracy falls by {lost / 10:.2f} points, more than 0.5"


def test_a_fall_of_f1_beyond_max_drop_is_refused_where_accuracy_alone_would_pass() -> None:
    """Of 1,000 photos 100 are male: 10 of them lost are 1 point of accuracy, and 10 of 190 hits of F1."""
    annotated = np.zeros(1000, np.int64)
    annotated[:100] = 1
    after = scores_of(flip(annotated, *range(10)))
    fall = 100 * (1 - 2 * 90 / (2 * 90 + 10))
    report = run(scores_of(annotated), after, annotated, max_drop=2)
    assert report.problems == (f"F1 falls by {fall:.2f} points, more than 2",)
    assert report.f1_difference == compare_f1(annotated, flip(annotated, *range(10)), annotated, positive_index=1)
    assert run(scores_of(annotated), after, annotated, max_drop=fall + 0.001).is_passed
    assert not run(scores_of(annotated), after, annotated, max_drop=fall - 0.001).is_passed


@pytest.mark.parametrize(("pairs", "is_passed"), [(10, True), (11, False)])
def test_more_flips_than_max_flips_are_refused_though_nothing_is_lost(
    annotated: IntArray, pairs: int, is_passed: bool
) -> None:
    before, after = flip(annotated, *range(pairs)), flip(annotated, *range(100, 100 + pairs))
    report = run(scores_of(before), scores_of(after), annotated, max_drop=0.5, max_flips=2)
    assert report.difference.difference.value == 0
    assert report.is_passed is is_passed
    if not is_passed:
        assert report.problems == ("2.20 % of the answers change, more than 2 %",)


def test_a_share_that_no_binary_number_holds_is_not_beyond_its_bar() -> None:
    """7 of 100 photos are 7.000000000000001 points in float64."""
    annotated = np.arange(100) % 2
    report = run(scores_of(annotated), scores_of(flip(annotated, *range(7))), annotated, max_drop=7, max_flips=7)
    assert 100 * report.difference.flip_rate > 7
    assert -100 * report.difference.difference.value > 7
    assert report.is_passed


def test_each_bar_that_is_passed_over_is_told(annotated: IntArray) -> None:
    report = run(
        scores_of(annotated),
        scores_of(flip(annotated, *range(0, 400, 2))),
        annotated,
        max_drop=1,
        max_flips=1,
        max_group_drop=1,
    )
    assert [problem.split(" by ")[0] for problem in report.problems] == [
        "accuracy falls",
        "F1 falls",
        "20.00 % of the answers change, more than 1 %",
        "accuracy of label female falls",
    ]


def test_both_networks_are_judged_at_the_threshold_that_the_run_chose(annotated: IntArray) -> None:
    """Scores move from 0.75 to 0.65: at a half nothing changes, at 0.7 every answer for male is lost."""
    before, after = scores_of(annotated, 0.75), scores_of(annotated, 0.65)
    options = {"labels": LABELS, "positive_label": "male", "bars": GateBars()}
    assert judge(before, after, annotated, **options).difference.flips == 0  # type: ignore[arg-type]
    report = judge(before, after, annotated, **options, threshold=0.7)  # type: ignore[arg-type]
    assert (report.difference.flips, report.is_passed) == (500, False)
    assert report.float_evaluation.threshold == report.quantized_evaluation.threshold == 0.7


def test_photos_lost_and_won_make_up_for_each_other(annotated: IntArray) -> None:
    before, after = flip(annotated, *range(20)), flip(annotated, *range(20, 40))
    report = run(scores_of(before), scores_of(after), annotated, max_drop=0)
    assert report.is_passed
    assert report.difference.flips == 40
    assert report.difference.flip_rate == report.difference.flip_interval.value == 0.04
    assert report.difference == compare_predictions(before, after, annotated)


def test_a_better_network_passes(annotated: IntArray) -> None:
    assert run(scores_of(flip(annotated, 1, 2, 3)), scores_of(annotated), annotated, max_drop=0).is_passed


def test_a_max_drop_of_zero_refuses_a_single_photo(annotated: IntArray) -> None:
    assert not run(scores_of(annotated), scores_of(flip(annotated, 0)), annotated, max_drop=0).is_passed


@pytest.mark.parametrize("answer", [0, 1])
def test_one_label_for_all_photos_is_a_collapse_even_when_any_drop_is_allowed(annotated: IntArray, answer: int) -> None:
    report = run(scores_of(annotated), scores_of(np.full(1000, answer)), annotated)
    other = LABELS[1 - answer]
    assert report.problems == (f"the quantized network hardly ever answers {other}: 0 of 1000 photos",)


def test_a_label_answered_for_a_hundredth_of_its_photos_is_no_collapse(annotated: IntArray) -> None:
    after = np.ones(1000, np.int64)
    for count, is_passed in ((4, False), (5, True)):  # 500 photos are annotated female: 1 % of them are 5
        after[: 2 * count : 2] = 0
        assert run(scores_of(annotated), scores_of(after), annotated).is_passed is is_passed


def test_a_float_network_that_had_collapsed_already_does_not_pass_either(annotated: IntArray) -> None:
    collapsed = scores_of(np.ones(1000, np.int64))
    assert not run(collapsed, collapsed, annotated).is_passed


def test_a_rare_label_is_held_against_its_own_share() -> None:
    annotated = np.zeros(1000, np.int64)
    annotated[:3] = 1
    assert run(scores_of(annotated), scores_of(annotated), annotated).is_passed
    assert not run(scores_of(annotated), scores_of(np.zeros(1000, np.int64)), annotated, max_drop=5).is_passed


def test_fall_and_collapse_are_both_told(annotated: IntArray) -> None:
    report = run(scores_of(annotated), scores_of(np.ones(1000, np.int64)), annotated, max_drop=50)
    assert len(report.problems) == 1
    report = run(scores_of(annotated), scores_of(np.ones(1000, np.int64)), annotated, max_drop=49)
    assert [problem.split(" by ")[0] for problem in report.problems] == [
        "accuracy falls",
        "the quantized network hardly ever answers female: 0 of 1000 photos",
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused(annotated: IntArray, value: float) -> None:
    broken = scores_of(annotated)
    broken[17, 0] = value
    with pytest.raises(CheckFailedError, match="Expected finite scores of the quantized network") as caught:
        run(scores_of(annotated), broken, annotated)
    assert "lost the weights" in caught.value.hint


def test_float_scores_that_are_no_numbers_are_refused(annotated: IntArray) -> None:
    with pytest.raises(DataError, match="Expected finite scores, got NaN"):
        run(np.full((1000, 2), np.nan), scores_of(annotated), annotated)


@pytest.mark.parametrize("annotated", [np.zeros(10, np.int64), np.zeros(0, np.int64)], ids=["one label", "no photo"])
def test_photos_of_one_label_prove_nothing(annotated: IntArray) -> None:
    told = "one" if len(annotated) else "none"
    message = rf"Expected evaluation photos of at least two labels, got {told}\."
    with pytest.raises(DataError, match=message) as caught:
        run(scores_of(annotated), scores_of(annotated), annotated)
    assert caught.value.hint == "Add photos or splits."


def test_photos_of_one_label_are_named_by_what_they_are_for() -> None:
    with pytest.raises(DataError, match="Expected validation photos of at least two labels, got one"):
        require_two_labels(np.ones(5, np.int64), name="validation")
    require_two_labels(np.asarray([0, 2]), name="validation")


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_binomial_test_of_the_photos_that_differ(only_float: int, only_quantized: int) -> None:
    annotated = np.arange(100) % 2
    before = flip(annotated, *range(only_quantized))
    after = flip(annotated, *range(50, 50 + only_float))
    report = run(scores_of(before), scores_of(after), annotated)
    differing = only_float + only_quantized
    expected = binomtest(only_float, differing).pvalue if differing else 1.0
    assert report.difference.p_value == pytest.approx(expected, rel=1e-9)  # both are exact; SciPy works in float64
    assert report.difference.difference.value == pytest.approx((only_quantized - only_float) / 100)


def test_the_change_of_scores_is_measured(annotated: IntArray) -> None:
    before = scores_of(annotated, 0.9)
    after = before.copy()
    after[0] = (0.5, 0.5)
    report = run(before, after, annotated)
    assert report.max_score_change == pytest.approx(0.4)
    assert report.mean_score_change == pytest.approx(0.4 / 1000)


def test_with_three_labels_the_highest_score_is_the_answer() -> None:
    annotated = np.arange(300) % 3
    labels, free = ("a", "b", "c"), GateBars(100, 100, 100)
    scores = np.full((300, 3), 0.1)
    scores[np.arange(300), annotated] = 0.8
    report = judge(scores, scores, annotated, labels=labels, positive_label="b", bars=GateBars())
    assert report.is_passed
    assert [group.value for group in report.groups] == ["a", "b", "c"]
    turned = scores.copy()
    turned[:150:3] = (0.1, 0.8, 0.1)  # half of the photos of a
    report = judge(scores, turned, annotated, labels=labels, positive_label="b", bars=free)
    assert (report.difference.flips, report.is_passed) == (50, True)
    # F1 of b: every b is found, and 50 photos of a are called b, too
    assert report.f1_difference.value == pytest.approx(2 * 100 / (2 * 100 + 50) - 1)
    assert report.groups[0].value == "a"
    collapsed = np.tile([0.8, 0.1, 0.1], (300, 1))
    report = judge(scores, collapsed, annotated, labels=labels, positive_label="b", bars=free)
    assert [problem.split(":")[0] for problem in report.problems] == [
        "the quantized network hardly ever answers b",
        "the quantized network hardly ever answers c",
    ]


# Groups


def ages(*sizes: int) -> list[str]:
    """Returns a group's name for each of 1,000 photos: ``a`` for the first, ``b`` …, and empty for the rest."""
    cells = [chr(ord("a") + number) for number, size in enumerate(sizes) for _ in range(size)]
    return [*cells, *[""] * (1000 - len(cells))]


@pytest.mark.parametrize(("lost", "is_passed"), [(4, True), (5, False)])
def test_a_group_that_loses_more_than_max_group_drop_is_refused(
    annotated: IntArray, lost: int, is_passed: bool
) -> None:
    after = scores_of(flip(annotated, *range(lost)))
    report = run(scores_of(annotated), after, annotated, {"age": ages(100, 900)}, max_group_drop=4)
    assert report.is_passed is is_passed
    if not is_passed:
        assert report.problems == ("accuracy of age a falls by 5.00 points, more than 4",)


@pytest.mark.parametrize(("size", "is_judged"), [(MIN_GROUP_PHOTOS - 1, False), (MIN_GROUP_PHOTOS, True)])
def test_a_group_too_small_to_speak_for_itself_is_reported_and_not_judged(
    annotated: IntArray, size: int, is_judged: bool
) -> None:
    after = scores_of(flip(annotated, *range(10)))
    report = run(scores_of(annotated), after, annotated, {"age": ages(size, 900)}, max_group_drop=2)
    (group,) = (group for group in report.groups if group.value == "a")
    assert (group.num_photos, group.is_judged, group.difference.flips) == (size, is_judged, 10)
    assert report.is_passed is not is_judged
    worst = report.worst_group
    assert worst is not None
    assert (worst.value == "a") is is_judged


def test_the_photos_of_each_label_are_a_group(annotated: IntArray) -> None:
    """Eleven photos of 500 female ones lost, and eleven of the others won: accuracy says that nothing happened."""
    before, after = flip(annotated, *range(1, 23, 2)), flip(annotated, *range(0, 22, 2))
    report = run(scores_of(before), scores_of(after), annotated, max_drop=2, max_group_drop=2)
    assert report.problems == ("accuracy of label female falls by 2.20 points, more than 2",)
    assert [(group.column, group.value, group.num_photos) for group in report.groups] == [
        (LABEL_GROUP, "female", 500),
        (LABEL_GROUP, "male", 500),
    ]
    assert [group.difference.difference.value for group in report.groups] == pytest.approx([-0.022, 0.022])
    assert report.groups[1].float_accuracy == pytest.approx(1 - 11 / 500)


def test_groups_are_those_of_their_photos_alone_and_the_worst_comes_first(annotated: IntArray) -> None:
    """The first 60 photos are a, the next 60 b; ten photos in a hundred have no age."""
    lost = [0, 1, 60, 61, 62, 200]
    before, after = scores_of(flip(annotated, 5)), scores_of(flip(annotated, 5, *lost))
    cells = ages(60, 60, 780)
    report = run(before, after, annotated, {"age": cells, "place": ["here"] * 1000})
    order = [group.difference.difference.value for group in report.groups]
    assert order == sorted(order)
    assert (report.groups[0].column, report.groups[0].value) == ("age", "b")
    assert report.worst_group == report.groups[0]
    assert {group.value for group in report.groups} == {"a", "b", "c", "here", "female", "male"}  # no empty one
    for value in "abc":
        is_in = np.asarray(cells) == value
        (group,) = (group for group in report.groups if group.value == value)
        answers = flip(annotated, 5)[is_in], flip(annotated, 5, *lost)[is_in]
        assert group.difference == compare_predictions(*answers, annotated[is_in])
        assert group.num_photos == is_in.sum()
        assert group.float_accuracy == (answers[0] == annotated[is_in]).mean()


def test_without_a_group_that_is_large_enough_there_is_no_worst_one() -> None:
    annotated = np.arange(60) % 2
    report = run(scores_of(annotated), scores_of(flip(annotated, *range(0, 20, 2))), annotated, max_group_drop=0)
    assert len(report.groups) == 2
    assert report.worst_group is None
    assert report.is_passed


@pytest.mark.parametrize("count", [0, 999, 1001])
def test_a_group_needs_a_value_for_each_photo(annotated: IntArray, count: int) -> None:
    with pytest.raises(UsageError, match=rf"Expected a value of age for each of 1000 photos, got {count} values\."):
        run(scores_of(annotated), scores_of(annotated), annotated, {"age": ["a"] * count})


# What the photos cannot tell


def test_strict_refuses_what_the_photos_cannot_rule_out(annotated: IntArray) -> None:
    """Four photos of 1,000 lost are 0.4 points, and up to 0.9 with 95 % certainty."""
    after = flip(annotated, 0, 1, 2, 3)
    low = -100 * compare_predictions(annotated, after, annotated).difference.low
    assert 0.5 < low < 1
    for bar, is_strict, is_passed in (
        (0.5, False, True),
        (0.5, True, False),
        (low - 0.001, True, False),
        (low + 0.001, True, True),
    ):
        report = run(scores_of(annotated), scores_of(after), annotated, max_drop=bar, is_strict=is_strict)
        assert report.is_passed is is_passed
    report = run(scores_of(annotated), scores_of(after), annotated, max_drop=0.5, is_strict=True)
    assert report.problems == (f"accuracy may fall by up to {low:.2f} points, more than 0.5",)
    assert report.warnings == ()


def test_a_fall_that_is_beyond_the_bar_is_told_once_even_when_strict(annotated: IntArray) -> None:
    after = scores_of(flip(annotated, *range(10)))
    report = run(scores_of(annotated), after, annotated, max_drop=0.5, is_strict=True)
    assert [problem for problem in report.problems if problem.startswith("accuracy")] == [
        "accuracy falls by 1.00 points, more than 0.5"
    ]


def test_few_photos_pass_with_a_warning_that_they_cannot_rule_out_a_larger_fall() -> None:
    few, many = np.arange(100) % 2, np.arange(10_000) % 2
    low = -100 * compare_predictions(few, few, few).difference.low
    report = run(scores_of(few), scores_of(few), few, max_drop=0.5)
    assert report.is_passed
    assert report.warnings == (f"100 photos cannot rule out a fall of {low:.2f} points, more than 0.5",)
    assert run(scores_of(many), scores_of(many), many, max_drop=0.5).warnings == ()


# Bars


def test_the_bars_that_nobody_sets() -> None:
    bars = GateBars()
    assert (bars.max_drop, bars.max_flips, bars.max_group_drop, bars.is_strict) == (0.5, 2.0, 2.0, False)


@pytest.mark.parametrize("name", ["max_drop", "max_flips", "max_group_drop"])
@pytest.mark.parametrize(("value", "told"), [(-0.1, "-0.1"), (100.5, "100.5"), (np.nan, "nan"), (np.inf, "inf")])
def test_a_bar_that_makes_no_sense_is_refused_by_its_name(name: str, value: float, told: str) -> None:
    message = rf"Expected {name.replace('_', '-')} in \[0, 100\] percentage points, got {told}\."
    with pytest.raises(UsageError, match=message):
        GateBars(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 100])
def test_the_ends_of_a_bar_are_allowed(value: float) -> None:
    assert GateBars(value, value, value).max_flips == value
