"""Averaged answers: one answer is the classifier's, many do not flicker, and a settled one is stable and sure."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.entities import FaceBox, ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import UsageError
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.smoothing import MARGIN, NUM_AVERAGED, SETTLED_AFTER, ScoreAverage
from tests.tiny_model import build_tiny_model

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(32, 1.3),
    architecture="brightness",
    scheme=QuantizationScheme.FULL_INTEGER,
    threshold=0.6,
    unsure_below=0.55,
)
THREE = dataclasses.replace(METADATA, labels=("child", "adult", "old"), positive_label="adult", unsure_below=0.0)
BOX = FaceBox(10, 10, 50, 50, 0.9)


def average_of(*male_scores: float, metadata: ModelMetadata = METADATA) -> ScoreAverage:
    average = ScoreAverage(metadata)
    for male in male_scores:
        average.add((1 - male, male))
    return average


# One answer


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    file = build_tiny_model(
        tmp_path_factory.mktemp("tiny") / "tiny.tflite", threshold=0.6, temperature=1.5, unsure_below=0.55
    )
    return Classifier(file, num_threads=1)


@given(st.floats(0, 1))
def test_a_single_answer_is_the_one_of_the_classifier(classifier: Classifier, male: float) -> None:
    expected = classifier.post_process(np.array([1 - male, male]), BOX)
    average = ScoreAverage(classifier.metadata)
    average.add(expected.scores.values())
    assert average.prediction(BOX) == expected


@pytest.mark.parametrize("scores", [(0.4, 0.3, 0.3), (0.3, 0.3, 0.4), (0.3, 0.4, 0.3), (0.35, 0.35, 0.3)])
def test_of_three_labels_the_highest_score_wins_the_first_of_equals(scores: tuple[float, ...]) -> None:
    average = ScoreAverage(THREE)
    average.add(scores)
    assert average.predicted_label == THREE.labels[int(np.argmax(scores))]
    assert average.prediction(None).score == max(scores)


def test_before_the_first_answer_nothing_is_claimed() -> None:
    answer = ScoreAverage(METADATA).prediction(BOX)
    assert answer.is_unsure
    assert answer.scores == {"female": 0.5, "male": 0.5}
    assert answer.box == BOX


# Many answers


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=40))
def test_the_mean_is_the_normalised_geometric_mean_of_the_latest(males: list[float]) -> None:
    latest = np.array(males[-NUM_AVERAGED:])
    male, female = np.exp(np.log(latest).mean()), np.exp(np.log(1 - latest).mean())
    answer = average_of(*males).prediction(None)
    assert answer.scores["male"] == pytest.approx(male / (male + female), abs=1e-12)  # rounding of float64
    assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-12)
    assert answer.score == answer.scores[answer.predicted_label]


def test_one_wrong_frame_does_not_turn_the_answer() -> None:
    average = average_of(*[0.9] * 10, 0.0)
    assert average.predicted_label == "male"
    assert average_of(0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1).predicted_label == "female"


def test_an_answer_at_the_border_does_not_flicker() -> None:
    at_border = [METADATA.threshold + (0.02 if index % 2 else -0.02) for index in range(60)]
    average, alone, labels, labels_alone = ScoreAverage(METADATA), None, [], []
    for male in at_border:
        average.add((1 - male, male))
        labels.append(average.predicted_label)
        alone = average_of(male)
        labels_alone.append(alone.predicted_label)
    changes = sum(first != second for first, second in itertools.pairwise(labels))
    assert changes == 0
    assert len(set(labels_alone)) == 2


@pytest.mark.parametrize("threshold", [0.001, 0.5, 0.999])
def test_either_label_can_be_reached_whatever_the_threshold(threshold: float) -> None:
    metadata = dataclasses.replace(METADATA, threshold=threshold)
    assert average_of(0.0, *[1.0] * NUM_AVERAGED, metadata=metadata).predicted_label == "male"
    assert average_of(1.0, *[0.0] * NUM_AVERAGED, metadata=metadata).predicted_label == "female"


def test_of_three_labels_the_winner_changes_by_a_margin_only() -> None:
    average = ScoreAverage(THREE, num_averaged=1)
    average.add((0.4, 0.35, 0.25))
    average.add((0.37, 0.37 + MARGIN / 2, 0.26 - MARGIN / 2))
    average.add((0.37, 0.37 + MARGIN / 2, 0.26 - MARGIN / 2))
    assert average.predicted_label == "adult"  # a window of one answer has nothing to smooth
    average = ScoreAverage(THREE)
    for _ in range(4):
        average.add((0.4, 0.35, 0.25))
    for _ in range(3):
        average.add((0.35, 0.4, 0.25))
    assert average.predicted_label == "child"
    for _ in range(20):
        average.add((0.3, 0.5, 0.2))
    assert average.predicted_label == "adult"


def test_an_unsure_answer_is_sure_again_only_past_a_margin() -> None:
    metadata = dataclasses.replace(METADATA, unsure_below=0.8)
    average = average_of(0.75, 0.86, metadata=metadata)
    assert METADATA.threshold < 0.8 < average.prediction(None).score < 0.8 + MARGIN
    assert average.is_unsure
    for _ in range(NUM_AVERAGED):
        average.add((0.1, 0.9))
    assert not average.is_unsure


# Settled


def test_an_answer_settles_when_it_is_stable() -> None:
    assert not average_of(*[0.9] * (SETTLED_AFTER - 1)).is_settled
    assert average_of(*[0.9] * SETTLED_AFTER).is_settled


def test_an_unsure_answer_never_settles() -> None:
    average = average_of(*[0.5] * 50, metadata=dataclasses.replace(METADATA, threshold=0.5))
    assert average.is_unsure
    assert not average.is_settled


def test_an_answer_that_changed_has_to_settle_again() -> None:
    average = average_of(*[0.9] * SETTLED_AFTER)
    while average.predicted_label == "male":
        average.add((0.95, 0.05))
    assert not average.is_settled
    for _ in range(2 * SETTLED_AFTER):
        average.add((0.95, 0.05))
    assert average.is_settled


def test_a_score_of_zero_does_not_outvote_all_others() -> None:
    answer = average_of(*[0.99] * 14, 0.0).prediction(None)
    assert answer.predicted_label == "male"
    assert all(map(math.isfinite, answer.scores.values()))


def test_the_number_of_averaged_answers_is_bounded() -> None:
    assert average_of(*[0.5] * 100).num_averaged == NUM_AVERAGED


@pytest.mark.parametrize("scores", [(), (1.0,), (0.2, 0.3, 0.5), (float("nan"), 1.0)])
def test_one_finite_score_a_label_is_needed(scores: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="Expected 2 scores, one a label"):
        ScoreAverage(METADATA).add(scores)


def test_arrays_are_taken_as_scores() -> None:
    average = ScoreAverage(METADATA)
    average.add(np.array([0.1, 0.9]))
    assert type(average.prediction(None).score) is float
