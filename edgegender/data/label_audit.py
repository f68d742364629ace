"""Labels that a photo does not bear out: ranked for a person to look at. Nothing is changed here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, MissingDependencyError, UsageError
from edgegender.progress import Progress, no_progress

# Folds train on a random part of larger sets: the time grows with the square, and on 27,000 photos the last third of
# the training photos added 0.2 points of accuracy.
MAX_TRAINING_PHOTOS = 20_000
_PENALTY = 10.0  # C of the support vector machine

Vectors = npt.NDArray[np.float32] | FloatArray
BoolArray = npt.NDArray[np.bool_]
Folds = list[tuple[IntArray, IntArray]]


@dataclass(frozen=True)
class LabelAudit:
    """What out-of-fold predictions say about each label, in the order of the photos.

    Args:
        labels: The label names, sorted: the columns of ``probabilities``.
        probabilities: Shape (photos, labels), calibrated, each by a model that saw neither the photo nor its group.
        quality: How well the photo bears out its label, in [0, 1]; low is suspicious.
        suggested: The most probable label.
        is_issue: Whether cleanlab counts the label as wrong.
        ranking: Row numbers, the most suspicious first.
        accuracy: Share of photos whose most probable label is the annotated one.
    """

    labels: tuple[str, ...]
    probabilities: FloatArray
    quality: FloatArray
    suggested: tuple[str, ...]
    is_issue: BoolArray
    ranking: IntArray
    accuracy: float


def audit_labels(
    vectors: Vectors,
    labels: Sequence[str],
    groups: Sequence[str] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
    on_progress: Progress = no_progress,
) -> LabelAudit:
    """Ranks photos by how little their embedding bears out their label.

    Each photo is judged by a support vector machine that was trained on other folds. An identity embedding carries
    gender, but not along a straight line: on 26,920 photos of biggest_gender, grouped by person, logistic regression
    agrees with 74 % of the labels, a support vector machine with radial kernel with 97 %.

    Args:
        vectors: Shape (photos, size): embeddings, never the answers or features of a model trained on these labels.
        labels: One a photo.
        groups: One a photo, such as its person; a group stands in one fold only. An empty one is a group of its own.
        folds: Parts, at least 2.
        seed: Of the parts, and of the choice of training photos in a large set.
        on_progress: Called with (done, total) folds.

    Raises:
        UsageError: ``folds`` is below 2.
        DataError: The lengths differ, a vector is not finite or zero, or the labels are too few to be judged.
        MissingDependencyError: scikit-learn or cleanlab is missing.

    Source: Northcutt, Jiang and Chuang 2021, "Confident Learning", doi 10.1613/jair.1.12125.
    """
    _require_packages()
    table = _require_vectors(vectors, labels, groups)
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    codes = codes.astype(np.int64)
    numbers = _group_numbers(groups, len(labels))
    _require_enough(names, codes, numbers, folds)
    parts = _split(codes, numbers, folds=folds, seed=seed)
    probabilities = _out_of_fold_probabilities(table, codes, parts, seed=seed, on_progress=on_progress)
    quality, is_issue = _judge(codes, probabilities)
    best = probabilities.argmax(axis=1)
    return LabelAudit(
        labels=tuple(names.tolist()),
        probabilities=probabilities,
        quality=quality,
        suggested=tuple(names[best].tolist()),
        is_issue=is_issue,
        ranking=np.argsort(quality, kind="stable").astype(np.int64),
        accuracy=float((best == codes).mean()),
    )


def _require_packages() -> None:
    try:
        import sklearn  # noqa: F401 - to say what is missing before any work
    except ImportError as error:
        raise MissingDependencyError("scikit-learn", extra="data") from error
    try:
        import cleanlab  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("cleanlab", extra="data") from error


def _require_vectors(vectors: Vectors, labels: Sequence[str], groups: Sequence[str] | None) -> FloatArray:
    table = np.asarray(vectors, np.float64)
    if table.ndim != 2 or len(table) != len(labels) or (groups is not None and len(groups) != len(labels)):
        raise DataError(
            f"Expected a vector, a label and a group for each photo, got vectors of shape {table.shape}, "
            f"{len(labels)} labels and {'no' if groups is None else len(groups)} groups."
        )
    wrong = np.flatnonzero(~np.isfinite(table).all(axis=1) | ~table.any(axis=1))
    if len(wrong):
        raise DataError(
            f"Expected finite vectors that are not zero, got another one ({len(wrong)} photos, the first is row "
            f"{wrong[0]}).",
            hint="Leave out the photos without a face.",
        )
    return table


def _group_numbers(groups: Sequence[str] | None, num_photos: int) -> IntArray:
    if groups is None:
        return np.arange(num_photos)
    numbers: dict[str, int] = {}
    return np.array(
        [numbers.setdefault(group or f"\0{place}", len(numbers)) for place, group in enumerate(groups)], np.int64
    )


def _require_enough(names: npt.NDArray[np.str_], codes: IntArray, groups: IntArray, folds: int) -> None:
    if folds < 2:
        raise UsageError(f"Expected at least 2 folds, got {folds}.")
    if len(names) < 2:
        raise DataError(f"Expected at least two labels, got {names.tolist()}.", hint="One label cannot be doubted.")
    groups_of = Counter(code for code, _ in set(zip(codes.tolist(), groups.tolist(), strict=True)))
    for code, name in enumerate(names.tolist()):
        if groups_of[code] < folds:
            raise DataError(
                f"Expected at least {folds} photos of different groups for each label, got {groups_of[code]} "
                f"(label {name!r}).",
                hint="Use fewer folds, or leave the label out.",
            )


def _split(codes: IntArray, groups: IntArray, *, folds: int, seed: int) -> Folds:
    """Returns (training rows, judged rows) of each fold."""
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = [(train, judged) for train, judged in splitter.split(codes, codes, groups) if len(judged)]
    if any(len(np.unique(codes[train])) < len(np.unique(codes)) for train, _ in parts):
        raise DataError(
            f"Expected each label in every training part, got a label that stands in one of {folds} folds only.",
            hint="Its photos are nearly all of one group. Use more folds, or leave the label out.",
        )
    return parts


def _sample(train: IntArray, codes: IntArray, rng: np.random.Generator) -> IntArray:
    """Returns about ``MAX_TRAINING_PHOTOS`` of the rows, the same share of each label."""
    if len(train) <= MAX_TRAINING_PHOTOS:
        return train
    share = MAX_TRAINING_PHOTOS / len(train)
    of_label = [train[codes[train] == code] for code in np.unique(codes)]
    return np.concatenate([np.sort(rng.choice(rows, math.ceil(len(rows) * share), replace=False)) for rows in of_label])


def _out_of_fold_probabilities(
    table: FloatArray, codes: IntArray, parts: Folds, *, seed: int, on_progress: Progress
) -> FloatArray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rng = np.random.default_rng(seed)
    decisions: FloatArray | None = None
    for done, (train, judged) in enumerate(parts, start=1):
        rows = _sample(train, codes, rng)
        machine = make_pipeline(StandardScaler(), SVC(C=_PENALTY, cache_size=500)).fit(table[rows], codes[rows])
        answers = np.asarray(machine.decision_function(table[judged]), np.float64).reshape(len(judged), -1)
        if decisions is None:
            decisions = np.zeros((len(table), answers.shape[1]))
        decisions[judged] = answers
        on_progress(done, len(parts))
    assert decisions is not None  # noqa: S101 - there are at least two folds
    # A machine's answer is a distance. A second model, with two numbers a label, turns distances into probabilities;
    # it, too, is trained on the other folds.
    probabilities = np.zeros((len(table), int(codes.max()) + 1))
    for train, judged in parts:
        calibration = LogisticRegression(max_iter=1000).fit(decisions[train], codes[train])
        probabilities[judged] = calibration.predict_proba(decisions[judged])
    return probabilities


def _judge(codes: IntArray, probabilities: FloatArray) -> tuple[FloatArray, BoolArray]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality = np.asarray(get_label_quality_scores(codes, probabilities, method="self_confidence"), np.float64)
    is_issue = np.asarray(find_label_issues(codes, probabilities, n_jobs=1), np.bool_)
    return quality, is_issue
