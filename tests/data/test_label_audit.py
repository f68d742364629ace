"""The label audit: planted wrong labels are found, and nobody is judged by a model that knows the answer."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest

from edgegender.data import label_audit
from edgegender.data.label_audit import audit_labels
from edgegender.entities import FloatArray
from edgegender.errors import DataError, MissingDependencyError, UsageError


def clouds(count: int, *, names: tuple[str, ...] = ("x", "y"), seed: int = 0) -> tuple[FloatArray, list[str]]:
    """Returns vectors around one centre a label, seven deviations apart."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, len(names), count)
    centres = 5 * np.eye(len(names), 8)
    return centres[codes] + rng.standard_normal((count, 8)), [names[code] for code in codes]


def with_wrong(labels: list[str], wrong: set[int]) -> list[str]:
    names = sorted(set(labels))
    turned = dict(pairwise([*names, names[0]]))
    return [turned[label] if place in wrong else label for place, label in enumerate(labels)]


@pytest.mark.parametrize("names", [("x", "y"), ("young", "old", "middle")])
def test_planted_wrong_labels_are_found(names: tuple[str, ...]) -> None:
    vectors, labels = clouds(1000, names=names)
    wrong = set(np.random.default_rng(1).choice(1000, 30, replace=False).tolist())

    audit = audit_labels(vectors, with_wrong(labels, wrong))

    found = set(np.flatnonzero(audit.is_issue).tolist())
    # Over four seeds, cleanlab named 24 to 30 photos of which 22 to 30 were planted, and the first 60 held 29 or 30.
    assert len(found & wrong) >= 0.85 * len(wrong)
    assert len(found & wrong) >= 0.85 * len(found)
    assert len(set(audit.ranking[:60].tolist()) & wrong) >= 29
    assert all(audit.suggested[place] == labels[place] for place in found & wrong)


def test_the_answer_is_in_order_and_in_range() -> None:
    vectors, labels = clouds(200, names=("b", "c", "a"))

    audit = audit_labels(vectors, labels)

    assert audit.labels == ("a", "b", "c")
    assert audit.probabilities.shape == (200, 3)
    np.testing.assert_allclose(audit.probabilities.sum(axis=1), 1, atol=1e-9)  # sums of three rounded numbers
    assert sorted(audit.ranking.tolist()) == list(range(200))
    assert (np.diff(audit.quality[audit.ranking]) >= 0).all()
    own = [audit.labels.index(label) for label in labels]
    np.testing.assert_allclose(audit.quality, audit.probabilities[np.arange(200), own])
    agreed = [suggested == label for suggested, label in zip(audit.suggested, labels, strict=True)]
    assert audit.accuracy == pytest.approx(np.mean(agreed))


def test_a_label_that_lies_on_no_side_of_a_line_is_learned() -> None:
    """As with faces: the sign of a product, which no straight line separates."""
    vectors = np.random.default_rng(0).standard_normal((1000, 8))
    labels = np.where(vectors[:, 0] * vectors[:, 1] > 0, "x", "y").tolist()

    # 0.85: photos next to the border are a toss-up; a straight line agrees with half of the labels
    assert audit_labels(vectors, labels).accuracy > 0.85


def test_a_group_is_never_judged_by_a_model_that_saw_it() -> None:
    """Ten photos each of people whose label is a coin's: only who has seen a person can know it."""
    rng = np.random.default_rng(0)
    people = rng.standard_normal((60, 16))
    who = np.repeat(np.arange(60), 10)
    vectors = people[who] + 0.01 * rng.standard_normal((600, 16))
    labels = np.array(["x", "y"])[rng.permutation(np.arange(60) % 2)][who].tolist()

    apart = audit_labels(vectors, labels, [f"person-{number}" for number in who])
    mixed = audit_labels(vectors, labels)

    assert mixed.accuracy > 0.99
    assert apart.accuracy < 0.7  # 60 throws of a coin: a share of 0.7 or more comes once in 1,000


def test_photos_without_a_group_are_groups_of_their_own() -> None:
    vectors, labels = clouds(100)

    without = audit_labels(vectors, labels, [""] * 100)

    np.testing.assert_array_equal(without.probabilities, audit_labels(vectors, labels).probabilities)


def test_probabilities_are_calibrated() -> None:
    """Overlapping clouds: of the answers given with 70 to 90 %, about 80 % must be right."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 2000)
    vectors = rng.standard_normal((2000, 4)) + 0.8 * codes[:, None]

    audit = audit_labels(vectors, np.array(["x", "y"])[codes].tolist())

    best = audit.probabilities.max(axis=1)
    chosen = (best > 0.7) & (best < 0.9)
    is_right = audit.probabilities.argmax(axis=1) == codes
    # some hundred answers: three deviations of their share are 0.06
    assert abs(is_right[chosen].mean() - best[chosen].mean()) < 0.06


def test_the_same_seed_gives_the_same_answer_and_another_one_other_folds() -> None:
    vectors, labels = clouds(120)

    first, again, other = (audit_labels(vectors, labels, seed=seed) for seed in (3, 3, 4))

    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert (first.probabilities != other.probabilities).any()


def test_a_large_set_is_judged_by_a_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels = clouds(600)
    labels[:5] = ["rare"] * 5  # a label of few photos must not get lost
    vectors[:5, 7] += 20

    monkeypatch.setattr(label_audit, "MAX_TRAINING_PHOTOS", 60)
    audit = audit_labels(vectors, labels)

    assert audit.labels == ("rare", "x", "y")
    assert audit.accuracy > 0.95


def test_progress_counts_folds() -> None:
    vectors, labels = clouds(90)
    seen: list[tuple[int, int]] = []

    audit_labels(vectors, labels, folds=3, on_progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_lengths_that_differ_are_refused() -> None:
    vectors, labels = clouds(20)
    with pytest.raises(DataError, match=r"Expected a vector, a label and a group for each photo, got .* 19 labels"):
        audit_labels(vectors, labels[:-1])
    with pytest.raises(DataError, match=r"Expected a vector, a label and a group .* and 3 groups"):
        audit_labels(vectors, labels, ["a", "b", "c"])
    with pytest.raises(DataError, match="Expected a vector, a label and a group"):
        audit_labels(vectors[0], labels)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_vectors_that_say_nothing_are_refused(value: float) -> None:
    vectors, labels = clouds(40)
    vectors[[7, 9]] = value
    with pytest.raises(DataError, match=r"Expected finite vectors that are not zero, .* \(2 photos, .* row 7\)"):
        audit_labels(vectors, labels)


def test_one_label_is_refused() -> None:
    vectors, _ = clouds(20)
    with pytest.raises(DataError, match=r"Expected at least two labels, got \['x'\]"):
        audit_labels(vectors, ["x"] * 20)


def test_no_photo_is_refused() -> None:
    with pytest.raises(DataError, match=r"Expected at least two labels, got \[\]"):
        audit_labels(np.zeros((0, 4)), [])


def test_a_label_with_fewer_photos_or_groups_than_folds_is_refused() -> None:
    vectors, labels = clouds(40)
    labels[:4] = ["rare"] * 4
    with pytest.raises(DataError, match=r"at least 5 photos of different groups .* got 4 \(label 'rare'\)"):
        audit_labels(vectors, labels)
    groups = [f"person-{place % 4}" for place in range(40)]
    with pytest.raises(DataError, match=r"at least 5 photos of different groups .* got \d \(label"):
        audit_labels(vectors, labels, groups)


def test_a_label_that_stands_in_one_fold_only_is_refused() -> None:
    people = "01212110021112220110000001202000"
    labels = "xxxxxyyxxxxxyxxxxyyxxxxxxxxxyxxx"  # only the people 1 and 2 have a y: both fall into one fold
    with pytest.raises(DataError, match=r"Expected each label in every training part, .* in one of 2 folds only"):
        audit_labels(np.eye(32, 40) + 1, list(labels), list(people), folds=2)


def test_one_fold_is_refused() -> None:
    vectors, labels = clouds(20)
    with pytest.raises(UsageError, match="Expected at least 2 folds, got 1"):
        audit_labels(vectors, labels, folds=1)


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("cleanlab", "cleanlab")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    vectors, labels = clouds(20)
    monkeypatch.setitem(sys.modules, module, None)  # as Python marks a module that cannot be imported
    with pytest.raises(MissingDependencyError, match=f"Expected the package {package}") as caught:
        audit_labels(vectors, labels)
    assert "edgegender[data]" in caught.value.hint
