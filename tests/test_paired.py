"""Two models on the same photos: exact where it can be, and intervals that cover what they say."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import f1_score

from edgegender import paired
from edgegender.errors import DataError
from edgegender.metrics import wilson_interval

ROUNDING = 1e-12  # sums of a few hundred float64 numbers
NO_PHOTOS = np.zeros(0, np.int64)


def test_nothing_is_measured_without_photos() -> None:
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        paired.compare_predictions(NO_PHOTOS, NO_PHOTOS, NO_PHOTOS)
    with pytest.raises(DataError, match="Expected photos to evaluate, got none"):
        paired.compare_f1(NO_PHOTOS, NO_PHOTOS, NO_PHOTOS, positive_index=1)


@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0, 0), (1, 0), (0, 5), (5, 5), (3, 14), (40, 61), (300, 200), (2, 900)]
)
def test_the_mcnemar_test_is_the_exact_binomial_test_of_scipy(only_first: int, only_second: int) -> None:
    ours = paired.mcnemar_p_value(only_first, only_second)
    trials = only_first + only_second
    theirs = scipy.stats.binomtest(only_first, trials).pvalue if trials else 1.0
    # SciPy sums floating-point probabilities: its 1e-9 is the looser side
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert paired.mcnemar_p_value(only_second, only_first) == ours


def test_the_mcnemar_test_takes_thousands_of_flips_in_no_time() -> None:
    start = time.perf_counter()
    p_value = paired.mcnemar_p_value(4900, 5100)
    # 0.02 s here; summing math.comb took 4 s
    assert time.perf_counter() - start < 1
    assert p_value == pytest.approx(scipy.stats.binomtest(4900, 10_000).pvalue, rel=1e-9)


def test_a_comparison_counts_flips_and_has_the_sign_of_the_second_model() -> None:
    annotated = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    first = np.array([0, 0, 0, 0, 1, 1, 1, 1, 0, 0])
    second = np.array([1, 1, 1, 0, 1, 1, 1, 1, 0, 1])
    worse = paired.compare_predictions(first, second, annotated)
    assert worse.difference.value == pytest.approx(-0.2, abs=ROUNDING)
    assert (worse.flips, worse.flip_rate) == (4, 0.4)
    assert worse.p_value == paired.mcnemar_p_value(3, 1)
    better = paired.compare_predictions(second, first, annotated)
    assert better.difference.value == -worse.difference.value
    assert (better.difference.low, better.difference.high) == pytest.approx(
        (-worse.difference.high, -worse.difference.low), abs=ROUNDING
    )


def test_the_same_predictions_differ_by_zero_within_an_interval_that_is_not_empty() -> None:
    labels = np.random.default_rng(12).integers(0, 2, 500)
    same = paired.compare_predictions(labels, labels, labels)
    assert (same.difference.value, same.flips, same.p_value) == (0.0, 0, 1.0)
    assert same.difference.low < 0 < same.difference.high


def test_the_interval_of_a_difference_covers_the_true_one_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(13)
    shares = np.array([0.85, 0.06, 0.03, 0.06])  # both right, only the first, only the second, none
    covered = 0
    for _ in range(500):
        both, first_only, second_only, _ = rng.multinomial(300, shares)
        first, second = np.zeros((2, 300), np.int64)
        first[: both + first_only] = 1
        second[:both] = 1
        second[both + first_only : both + first_only + second_only] = 1
        interval = paired.compare_predictions(first, second, np.ones(300, np.int64)).difference
        covered += interval.low <= -0.03 <= interval.high
    # binomial: 475 ± 3 × 4.9
    assert 460 <= covered <= 490


def test_flips_have_their_wilson_interval() -> None:
    first, second = np.zeros(500, np.int64), np.zeros(500, np.int64)
    second[:7] = 1
    assert paired.compare_predictions(first, second, first).flip_interval == wilson_interval(7, 500)


# F1


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_change_of_f1_is_that_of_scikit_learn(num_labels: int) -> None:
    rng = np.random.default_rng(3)
    annotated = rng.integers(0, num_labels, 400)
    first, second = (
        np.where(rng.random(400) < share, annotated, rng.integers(0, num_labels, 400)) for share in (0.9, 0.8)
    )
    change = paired.compare_f1(first, second, annotated, positive_index=1, num_labels=num_labels)
    expected = [f1_score(annotated, answers, labels=[1], average="macro") for answers in (first, second)]
    assert change.value == pytest.approx(expected[1] - expected[0], abs=ROUNDING)
    assert change.low < change.value < change.high
    assert paired.compare_f1(first, first, annotated, positive_index=1, num_labels=num_labels).value == 0


def test_what_both_models_get_wrong_does_not_widen_the_interval_of_f1() -> None:
    """Unpaired, the difference of two F1 from 400 photos would be sure to some points only."""
    rng = np.random.default_rng(4)
    annotated = rng.integers(0, 2, 400)
    first = np.where(rng.random(400) < 0.8, annotated, 1 - annotated)
    second = first.copy()
    second[:4] = 1 - second[:4]
    change = paired.compare_f1(first, second, annotated, positive_index=1)
    # four flips are ± 2 × 2 / 400 of accuracy, and about as much of F1; unpaired it would be 0.11 wide
    assert change.high - change.low < 0.035


def test_the_interval_of_f1_covers_the_true_change_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(5)
    annotated_shares = np.array([0.40, 0.05, 0.03, 0.02, 0.02, 0.04, 0.04, 0.40])
    cells = np.arange(8)  # annotated, first, second: one bit each

    def draw(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        drawn = rng.choice(cells, size=size, p=annotated_shares)
        return drawn >> 2, drawn >> 1 & 1, drawn & 1

    annotated, first, second = draw(2_000_000)
    true = f1_score(annotated, second) - f1_score(annotated, first)
    covered = 0
    for seed in range(300):
        annotated, first, second = draw(400)
        interval = paired.compare_f1(first, second, annotated, positive_index=1, seed=seed)
        covered += interval.low <= true <= interval.high
    # binomial: 285 ± 3 × 3.8
    assert 273 <= covered <= 297
