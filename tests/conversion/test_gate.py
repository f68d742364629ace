"""The gate: what is worse than the float network, or answers one label only, does not pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgegender.conversion.gate import GateReport, judge
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import CheckFailedError, DataError

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


def run(before: FloatArray, after: FloatArray, annotated: IntArray, *, max_drop: float = 0.5) -> GateReport:
    return judge(before, after, annotated, labels=LABELS, positive_label="male", max_drop=max_drop)


@pytest.fixture
def annotated() -> IntArray:
    """1,000 photos, half of each label."""
    return np.arange(1000) % 2


def test_the_same_answers_pass(annotated: IntArray) -> None:
    report = run(scores_of(annotated), scores_of(annotated), annotated)
    assert report.is_passed
    assert (report.difference.flips, report.difference.p_value, report.max_score_change) == (0, 1.0, 0.0)


@pytest.mark.parametrize(("lost", "is_passed"), [(4, True), (5, True), (6, False), (40, False)])
def test_a_fall_beyond_max_drop_is_refused(annotated: IntArray, lost: int, is_passed: bool) -> None:
    after = flip(annotated, *range(lost))
    report = run(scores_of(annotated), scores_of(after), annotated, max_drop=0.5)
    assert report.is_passed is is_passed
    if not is_passed:
        assert report.problems == (f"accuracy falls by {lost / 10:.2f} points, more than 0.5",)


def test_both_networks_are_judged_at_the_threshold_that_the_run_chose(annotated: IntArray) -> None:
    """Scores move from 0.75 to 0.65: at a half nothing changes, at 0.7 every answer for male is lost."""
    before, after = scores_of(annotated, 0.75), scores_of(annotated, 0.65)
    options = {"labels": LABELS, "positive_label": "male", "max_drop": 0.5}
    assert judge(before, after, annotated, **options).difference.flips == 0  # type: ignore[arg-type]
    report = judge(before, after, annotated, **options, threshold=0.7)  # type: ignore[arg-type]
    assert (report.difference.flips, report.is_passed) == (500, False)
    assert report.float_evaluation.threshold == report.quantized_evaluation.threshold == 0.7


def test_photos_lost_and_won_make_up_for_each_other(annotated: IntArray) -> None:
    before, after = flip(annotated, *range(20)), flip(annotated, *range(20, 40))
    report = run(scores_of(before), scores_of(after), annotated, max_drop=0)
    assert report.is_passed
    assert report.difference.flips == 40
    assert report.difference.flip_rate == 0.04


def test_a_better_network_passes(annotated: IntArray) -> None:
    assert run(scores_of(flip(annotated, 1, 2, 3)), scores_of(annotated), annotated, max_drop=0).is_passed


def test_a_max_drop_of_zero_refuses_a_single_photo(annotated: IntArray) -> None:
    assert not run(scores_of(annotated), scores_of(flip(annotated, 0)), annotated, max_drop=0).is_passed


@pytest.mark.parametrize("answer", [0, 1])
def test_one_label_for_all_photos_is_a_collapse_even_when_any_drop_is_allowed(annotated: IntArray, answer: int) -> None:
    report = run(scores_of(annotated), scores_of(np.full(1000, answer)), annotated, max_drop=100)
    other = LABELS[1 - answer]
    assert report.problems == (f"the quantized network hardly ever answers {other}: 0 of 1000 photos",)


def test_a_label_answered_for_a_hundredth_of_its_photos_is_no_collapse(annotated: IntArray) -> None:
    after = np.ones(1000, np.int64)
    for count, is_passed in ((4, False), (5, True)):  # 500 photos are annotated female: 1 % of them are 5
        after[: 2 * count : 2] = 0
        assert run(scores_of(annotated), scores_of(after), annotated, max_drop=100).is_passed is is_passed


def test_a_float_network_that_had_collapsed_already_does_not_pass_either(annotated: IntArray) -> None:
    collapsed = scores_of(np.ones(1000, np.int64))
    assert not run(collapsed, collapsed, annotated).is_passed


def test_a_rare_label_is_held_against_its_own_share() -> None:
    annotated = np.zeros(1000, np.int64)
    annotated[:3] = 1
    assert run(scores_of(annotated), scores_of(annotated), annotated).is_passed
    assert not run(scores_of(annotated), scores_of(np.zeros(1000, np.int64)), annotated, max_drop=5).is_passed


def test_fall_and_collapse_are_both_told(annotated: IntArray) -> None:
    report = run(scores_of(annotated), scores_of(np.ones(1000, np.int64)), annotated)
    assert len(report.problems) == 2


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
    with pytest.raises(DataError, match="Expected evaluation photos of at least two labels, got one") as caught:
        run(scores_of(annotated), scores_of(annotated), annotated)
    assert caught.value.hint


@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_binomial_test_of_the_photos_that_differ(only_float: int, only_quantized: int) -> None:
    annotated = np.arange(100) % 2
    before = flip(annotated, *range(only_quantized))
    after = flip(annotated, *range(50, 50 + only_float))
    report = run(scores_of(before), scores_of(after), annotated, max_drop=100)
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
    scores = np.full((300, 3), 0.1)
    scores[np.arange(300), annotated] = 0.8
    report = judge(scores, scores, annotated, labels=("a", "b", "c"), positive_label="b", max_drop=0.5)
    assert report.is_passed
    collapsed = np.tile([0.8, 0.1, 0.1], (300, 1))
    report = judge(scores, collapsed, annotated, labels=("a", "b", "c"), positive_label="b", max_drop=100)
    assert "hardly ever answers b" in report.problems[0]
