"""The threshold sweep against scikit-learn, and which of several equal thresholds is chosen."""

from __future__ import annotations

import time

import numpy as np
import pytest
import sklearn.metrics

from edgegender import metrics
from edgegender.entities import BoolArray, FloatArray
from edgegender.errors import DataError
from edgegender.metrics import ThresholdSweep, best_threshold, predict_labels, sweep_thresholds

# The same quotients of whole numbers, computed in another order
ROUNDING = 1e-12


def drawn(num_photos: int, *, seed: int) -> tuple[FloatArray, BoolArray]:
    """Scores and labels that agree with them; every second score lies on a threshold, where >= and > differ."""
    rng = np.random.default_rng(seed)
    scores = rng.random(num_photos)
    is_positive = rng.random(num_photos) < scores
    scores[::2] = np.round(scores[::2], 2)
    return scores, is_positive


@pytest.mark.parametrize(("num_photos", "seed"), [(400, 1), (37, 2), (2, 3)])
def test_the_sweep_is_that_of_scikit_learn_at_each_threshold(num_photos: int, seed: int) -> None:
    scores, is_positive = drawn(num_photos, seed=seed)
    sweep = sweep_thresholds(scores, is_positive, num_steps=100)
    assert sweep.threshold.tolist() == [step / 100 for step in range(101)]
    for index, threshold in enumerate(sweep.threshold):
        predicted = scores >= threshold
        precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(
            is_positive, predicted, average="binary", zero_division=0
        )
        assert sweep.precision[index] == pytest.approx(precision, abs=ROUNDING)
        assert sweep.recall[index] == pytest.approx(recall, abs=ROUNDING)
        assert sweep.f1[index] == pytest.approx(f1, abs=ROUNDING)
        assert sweep.accuracy[index] == pytest.approx((predicted == is_positive).mean(), abs=ROUNDING)


def test_a_sweep_predicts_as_the_evaluation_does() -> None:
    scores, is_positive = drawn(300, seed=4)
    sweep = sweep_thresholds(scores, is_positive, num_steps=50)
    both = np.stack([1 - scores, scores], axis=1)
    for threshold, accuracy in zip(sweep.threshold, sweep.accuracy, strict=True):
        predicted = predict_labels(both, positive_index=1, threshold=float(threshold))
        assert accuracy == (predicted == is_positive).mean()


def test_at_the_ends_all_photos_and_the_certain_ones_are_positive() -> None:
    sweep = sweep_thresholds(np.array([0.0, 0.4, 1.0]), np.array([False, True, True]))
    assert len(sweep.threshold) == 1001
    assert (sweep.threshold[0], sweep.recall[0], sweep.precision[0]) == (0.0, 1.0, pytest.approx(2 / 3))
    assert (sweep.threshold[-1], sweep.recall[-1], sweep.precision[-1]) == (1.0, 0.5, 1.0)


@pytest.mark.parametrize("is_positive", [True, False], ids=["all positive", "none positive"])
def test_photos_of_one_label_have_defined_figures(is_positive: bool) -> None:
    sweep = sweep_thresholds(np.array([0.2, 0.7]), np.full(2, is_positive))
    for values in (sweep.precision, sweep.recall, sweep.f1, sweep.accuracy):
        assert np.isfinite(values).all()
    assert sweep.f1.max() == float(is_positive)
    assert 0 < best_threshold(sweep) < 1


def with_f1(*f1: float) -> ThresholdSweep:
    values = np.array(f1)
    return ThresholdSweep(np.linspace(0, 1, len(f1)), values, values, values, values)


@pytest.mark.parametrize(
    ("f1", "chosen"),
    [
        ((0.1, 0.2, 0.9, 0.3, 0.1), 0.5),
        ((0.1, 0.9, 0.9, 0.9, 0.1), 0.5),
        ((0.9, 0.9, 0.1, 0.8, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9, 0.1), 0.5),  # 0.1, then 0.4 to 0.7, then 0.9
        ((1.0, 0.9, 0.5, 0.4, 1.0), 0.25),  # the ends are no thresholds
        ((0.0, 0.0, 0.0, 0.0, 0.0), 0.5),
        ((0.0, 1.0, 0.0), 0.5),
    ],
    ids=["peak", "run", "longest run", "ends", "no hit", "two steps"],
)
def test_the_middle_of_the_longest_run_of_the_best_f1_is_chosen(f1: tuple[float, ...], chosen: float) -> None:
    assert best_threshold(with_f1(*f1)) == pytest.approx(chosen)


def test_labels_that_scores_separate_get_the_threshold_between_them() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.7, 0.8])
    sweep = sweep_thresholds(scores, scores > 0.5)
    # F1 is 1 at 0.301 to 0.7, on both sides of which a photo is wrong
    assert best_threshold(sweep) == 0.5
    assert sweep.f1[500] == 1


def test_no_threshold_has_a_better_f1_than_the_best_one() -> None:
    scores, is_positive = drawn(500, seed=5)
    sweep = sweep_thresholds(scores, is_positive)
    threshold = best_threshold(sweep)
    assert sweep.f1[round(threshold * 1000)] == sweep.f1[1:-1].max()


def test_a_sweep_of_a_million_photos_takes_a_second() -> None:
    scores, is_positive = drawn(1_000_000, seed=6)
    start = time.perf_counter()
    sweep_thresholds(scores, is_positive)
    # 0.1 s here; a confusion matrix a threshold took minutes
    assert time.perf_counter() - start < 5


def test_a_sweep_needs_photos_and_finite_scores() -> None:
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        sweep_thresholds(np.zeros(0), np.zeros(0, np.bool_))
    with pytest.raises(DataError, match="Expected finite scores, got NaN or infinity") as caught:
        metrics.sweep_thresholds(np.array([0.5, float("nan")]), np.array([True, False]))
    assert caught.value.hint == "The model is broken; train it again."
