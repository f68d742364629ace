"""Figures against scikit-learn and SciPy, and what happens where a figure has no meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats
import sklearn.metrics

from edgegender import metrics
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

# The same formulas in another order of operations: a few units in the last of 16 digits.
ROUNDING = 1e-12
NO_PHOTOS: IntArray = np.zeros(0, np.int64)


def drawn_scores(
    num_photos: int, *, seed: int, num_labels: int = 2, sharpness: float = 1.0
) -> tuple[FloatArray, IntArray]:
    """Returns scores and labels drawn from them: calibrated when ``sharpness`` is one, overconfident above."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (num_photos, num_labels))
    true = scipy.special.softmax(logits, axis=1)
    annotated = (true.cumsum(axis=1) > rng.random((num_photos, 1))).argmax(axis=1)
    return scipy.special.softmax(logits * sharpness, axis=1), annotated


# Proportions


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 7), (970, 1000), (5435, 5600), (1, 10**7)]
)
def test_the_wilson_interval_is_the_one_of_scipy(successes: int, trials: int) -> None:
    ours = metrics.wilson_interval(successes, trials)
    theirs = scipy.stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert ours.value == successes / trials
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=ROUNDING)


def test_the_quantile_is_that_of_the_normal_distribution() -> None:
    assert pytest.approx(scipy.stats.norm.ppf(0.975), abs=ROUNDING) == metrics.Z_95


def test_without_trials_a_proportion_can_be_anything() -> None:
    assert metrics.wilson_interval(0, 0) == metrics.Interval(0.0, 0.0, 1.0)


# Labels, confusion, F1


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_confusion_and_f1_are_those_of_scikit_learn(num_labels: int) -> None:
    rng = np.random.default_rng(num_labels)
    annotated, predicted = rng.integers(0, num_labels, (2, 400))
    matrix = metrics.confusion_matrix(annotated, predicted, num_labels)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(annotated, predicted))
    theirs = sklearn.metrics.f1_score(annotated, predicted, average=None)
    ours = [metrics.f1_score(matrix, index) for index in range(num_labels)]
    np.testing.assert_allclose(ours, theirs, atol=ROUNDING)


def test_a_label_that_nobody_has_and_nobody_answers_has_an_f1_of_zero() -> None:
    matrix = metrics.confusion_matrix(np.array([0, 0]), np.array([0, 0]), 2)
    assert matrix.tolist() == [[2, 0], [0, 0]]
    assert metrics.f1_score(matrix, 1) == 0.0


def test_the_positive_label_is_predicted_from_the_threshold_on() -> None:
    scores = np.array([[0.31, 0.69], [0.3, 0.7], [0.29, 0.71]])
    assert metrics.predict_labels(scores, positive_index=1, threshold=0.7).tolist() == [0, 1, 1]
    assert metrics.predict_labels(scores, positive_index=0, threshold=0.3).tolist() == [0, 0, 1]


def test_of_three_labels_the_highest_score_wins_whatever_the_threshold() -> None:
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25]])
    assert metrics.predict_labels(scores, positive_index=2, threshold=0.1).tolist() == [1, 0]


# Scores


@pytest.mark.parametrize("num_labels", [2, 4])
def test_log_loss_is_that_of_scikit_learn(num_labels: int) -> None:
    scores, annotated = drawn_scores(500, seed=1, num_labels=num_labels)
    theirs = sklearn.metrics.log_loss(annotated, scores, labels=range(num_labels))
    assert metrics.log_loss(scores, annotated) == pytest.approx(theirs, abs=ROUNDING)


def test_log_loss_of_a_score_of_zero_is_large_but_finite() -> None:
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-7))


def test_the_calibration_error_of_a_hand_made_case() -> None:
    # ten answers at 0.9, eight right: gap 0.1; ten at 0.6, six right: gap 0
    scores = np.array([[0.9, 0.1]] * 10 + [[0.4, 0.6]] * 10)
    annotated = np.array([0] * 8 + [1] * 2 + [1] * 6 + [0] * 4)
    assert metrics.expected_calibration_error(scores, annotated) == pytest.approx(0.05, abs=ROUNDING)


def test_the_calibration_error_grows_with_overconfidence() -> None:
    calibrated = metrics.expected_calibration_error(*drawn_scores(20_000, seed=2))
    # 15 bins of 1,300 answers whose accuracy varies by 0.013 each: their mean gap is about 0.01
    assert calibrated < 0.02
    assert metrics.expected_calibration_error(*drawn_scores(20_000, seed=2, sharpness=3)) > 0.1


def test_a_certain_answer_falls_into_the_last_bin() -> None:
    assert metrics.expected_calibration_error(np.array([[1.0, 0.0]] * 4), np.array([0, 0, 0, 1])) == pytest.approx(0.25)


# Temperature


@pytest.mark.parametrize("num_labels", [2, 3, 7])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_one_row_is_calibrated_as_many_are(num_labels: int, temperature: float) -> None:
    scores, _ = drawn_scores(50, seed=4, num_labels=num_labels, sharpness=4)
    expected = metrics.apply_temperature(scores, temperature)
    rows = [metrics.apply_temperature_to_row(row, temperature) for row in scores.tolist()]
    np.testing.assert_allclose(rows, expected, rtol=ROUNDING)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_divides_the_log_scores_before_the_softmax(temperature: float) -> None:
    scores, _ = drawn_scores(200, seed=3, num_labels=3)
    scores = np.clip(scores, 0.01, None)
    scores /= scores.sum(axis=1, keepdims=True)
    warmed = metrics.apply_temperature(scores, temperature)
    np.testing.assert_allclose(warmed, scipy.special.softmax(np.log(scores) / temperature, axis=1), atol=ROUNDING)
    np.testing.assert_allclose(warmed.sum(axis=1), 1, atol=ROUNDING)
    np.testing.assert_array_equal(warmed.argmax(axis=1), scores.argmax(axis=1))


def test_a_quantized_score_of_zero_stays_finite_at_any_temperature() -> None:
    for temperature in (0.25, 1.0, 4.0):
        warmed = metrics.apply_temperature(np.array([[1.0, 0.0], [0.0, 1.0]]), temperature)
        assert np.isfinite(warmed).all()
        assert warmed.argmax(axis=1).tolist() == [0, 1]


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 1.5, 2.0])
def test_the_fitted_temperature_is_the_one_that_the_scores_were_made_with(sharpness: float) -> None:
    scores, annotated = drawn_scores(20_000, seed=4, sharpness=sharpness)
    # a slope from 20,000 photos is known to about 2 %; the clip at 1/512 adds as much where scores are sharp
    assert metrics.fit_temperature(scores, annotated) == pytest.approx(sharpness, rel=0.06)


def test_the_fitted_temperature_has_the_lowest_log_loss() -> None:
    scores, annotated = drawn_scores(2000, seed=5, sharpness=1.7)
    best = scipy.optimize.minimize_scalar(
        lambda temperature: metrics.log_loss(metrics.apply_temperature(scores, temperature), annotated),
        bounds=(0.25, 4),
        method="bounded",
        options={"xatol": 1e-6},
    )
    # a minimum is flat: its place is known to the square root of the loss's 1e-16
    assert metrics.fit_temperature(scores, annotated) == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize(("annotated", "limit"), [([0, 0, 0], 0.25), ([1, 1, 1], 4.0)], ids=["all right", "all wrong"])
def test_a_temperature_without_a_minimum_ends_at_its_limit(annotated: list[int], limit: float) -> None:
    scores = np.array([[0.8, 0.2], [0.7, 0.3], [0.9, 0.1]])
    # the bracket has shrunk to 1e-8 of its width
    assert metrics.fit_temperature(scores, np.array(annotated)) == pytest.approx(limit, rel=1e-6)


# Unsure


@pytest.mark.parametrize("wanted", [0.85, 0.88, 0.9])
def test_the_answers_from_the_unsure_band_on_reach_the_wanted_accuracy(wanted: float) -> None:
    scores, annotated = drawn_scores(3000, seed=6)
    band = metrics.unsure_band(scores, annotated, wanted_accuracy=wanted)
    confidence, is_right = scores.max(axis=1), scores.argmax(axis=1) == annotated
    assert 0.5 < band < 1
    assert is_right.mean() < wanted <= is_right[confidence >= band].mean()
    lower = [edge for edge in np.unique(confidence) if edge < band]
    assert all(is_right[confidence >= edge].mean() < wanted for edge in lower)
    assert (confidence < band).mean() <= 0.5


def test_no_answer_is_unsure_when_all_together_are_good_enough() -> None:
    scores, annotated = drawn_scores(500, seed=7)
    accuracy = float((scores.argmax(axis=1) == annotated).mean())
    assert metrics.unsure_band(scores, annotated, wanted_accuracy=accuracy) == 0.0


def test_at_most_half_of_the_photos_are_given_up_for_an_accuracy_out_of_reach() -> None:
    rng = np.random.default_rng(8)
    confident = rng.uniform(0.5, 1, 1001)
    scores = np.stack([confident, 1 - confident], axis=1)
    band = metrics.unsure_band(scores, rng.integers(0, 2, 1001), wanted_accuracy=0.99)
    assert (confident < band).sum() == 500


def test_photos_with_the_same_confidence_are_on_the_same_side_of_the_band() -> None:
    scores = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]] * 2)
    annotated = np.array([0, 0, 0, 0, 0, 1])  # with the first of the two at 0.6 the accuracy would still be 1
    assert metrics.unsure_band(scores, annotated, wanted_accuracy=1.0) == 0.9


# The whole report


def test_an_evaluation_agrees_with_scikit_learn_and_scipy() -> None:
    scores, annotated = drawn_scores(800, seed=9)
    report = metrics.evaluate_scores(scores, annotated, labels=["female", "male"], positive_label="male", threshold=0.6)
    predicted = (scores[:, 1] >= 0.6).astype(int)
    wilson = scipy.stats.binomtest(int((predicted == annotated).sum()), 800).proportion_ci(method="wilson")
    assert report.num_photos == 800
    assert report.accuracy.value == sklearn.metrics.accuracy_score(annotated, predicted)
    assert (report.accuracy.low, report.accuracy.high) == pytest.approx((wilson.low, wilson.high), abs=ROUNDING)
    assert report.f1.value == pytest.approx(sklearn.metrics.f1_score(annotated, predicted), abs=ROUNDING)
    macro = sklearn.metrics.f1_score(annotated, predicted, average="macro")
    assert report.macro_f1 == pytest.approx(macro, abs=ROUNDING)
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(annotated, predicted)
    for index, label in enumerate(report.labels):
        of_label = report.by_label[label]
        assert of_label.precision.value == pytest.approx(precision[index], abs=ROUNDING)
        assert of_label.recall.value == pytest.approx(recall[index], abs=ROUNDING)
        assert of_label.f1.value == pytest.approx(f1[index], abs=ROUNDING)
        assert of_label.f1.low < of_label.f1.value < of_label.f1.high
        assert of_label.num_photos == support[index]
    assert report.confusion == tuple(map(tuple, sklearn.metrics.confusion_matrix(annotated, predicted).tolist()))
    assert report.log_loss == pytest.approx(sklearn.metrics.log_loss(annotated, scores), abs=ROUNDING)


def test_the_positive_label_may_stand_first() -> None:
    scores, annotated = drawn_scores(300, seed=10)
    report = metrics.evaluate_scores(scores, annotated, labels=["a", "b"], positive_label="a", threshold=0.5)
    assert report.f1 == report.by_label["a"].f1
    assert report.f1.value == pytest.approx(
        sklearn.metrics.f1_score(annotated, (scores[:, 0] < 0.5).astype(int), pos_label=0), abs=ROUNDING
    )


def test_the_bootstrap_interval_of_f1_covers_the_true_value_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(11)
    cells = np.array([[0.45, 0.05], [0.08, 0.42]])
    true_f1 = 2 * 0.42 / (2 * 0.42 + 0.05 + 0.08)
    covered = 0
    for _ in range(600):
        counts = rng.multinomial(400, cells.ravel())
        annotated, predicted = np.repeat([0, 0, 1, 1], counts), np.repeat([0, 1, 0, 1], counts)
        report = metrics.evaluate_scores(np.eye(2)[predicted], annotated, labels=["a", "b"], positive_label="b")
        covered += report.f1.low <= true_f1 <= report.f1.high
    # binomial: 570 ± 3 × 5.3; an interval of 90 % would cover 540
    assert 554 <= covered <= 586


def test_an_evaluation_of_one_predicted_label_has_defined_figures() -> None:
    scores = np.array([[0.9, 0.1]] * 6)
    report = metrics.evaluate_scores(scores, np.array([0, 0, 0, 1, 1, 1]), labels=["a", "b"], positive_label="b")
    assert report.confusion == ((3, 0), (3, 0))
    assert report.by_label["b"].precision == metrics.Interval(0.0, 0.0, 1.0)
    assert report.by_label["b"].recall.value == 0.0
    assert (report.f1.value, report.f1.low, report.f1.high) == (0.0, 0.0, 0.0)


def test_an_evaluation_of_one_annotated_label_has_defined_figures() -> None:
    report = metrics.evaluate_scores(np.array([[0.9, 0.1]]), np.array([0]), labels=["a", "b"], positive_label="a")
    assert report.by_label["b"].recall == metrics.Interval(0.0, 0.0, 1.0)
    assert (report.accuracy.value, report.f1.value, report.macro_f1) == (1.0, 1.0, 0.5)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(broken: float) -> None:
    with pytest.raises(DataError, match="Expected finite scores, got NaN or infinity") as caught:
        metrics.evaluate_scores(
            np.array([[broken, 0.5], [0.5, 0.5]]), np.array([0, 1]), labels=["a", "b"], positive_label="a"
        )
    assert caught.value.hint == "The model is broken; train it again."


def test_an_unknown_positive_label_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a positive label of a, b, got 'c'"):
        metrics.evaluate_scores(np.array([[0.5, 0.5]]), np.array([0]), labels=["a", "b"], positive_label="c")


def test_no_photos_are_refused_everywhere() -> None:
    scores = np.zeros((0, 2))
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        metrics.evaluate_scores(scores, NO_PHOTOS, labels=["a", "b"], positive_label="a")
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        metrics.fit_temperature(scores, NO_PHOTOS)
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        metrics.unsure_band(scores, NO_PHOTOS)
