"""Is the quantized network as good as the float one? Measured on the same photos, before the file may exist."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgegender.entities import FloatArray, IntArray
from edgegender.errors import CheckFailedError, DataError, UsageError
from edgegender.metrics import Evaluation, Interval, evaluate_scores, predict_labels
from edgegender.paired import PairedDifference, compare_f1, compare_predictions

MIN_GROUP_PHOTOS = 50  # below that, one photo is more than two points
LABEL_GROUP = "label"
_MIN_ANSWER_SHARE = 0.01  # a label answered for fewer than one photo in a hundred of its own share is a collapse


@dataclass(frozen=True)
class GateBars:
    """What a quantized network may lose. All are points of a hundred.

    Args:
        max_drop: Largest accepted fall of accuracy, and of F1.
        max_flips: Largest accepted share of photos whose answer changes, to better or worse.
        max_group_drop: Largest accepted fall of accuracy in a group of at least ``MIN_GROUP_PHOTOS`` photos; the
            photos of each label are a group, too.
        is_strict: Whether the whole 95 % interval of the fall of accuracy must lie within ``max_drop``.
    """

    max_drop: float = 0.5
    max_flips: float = 2.0
    max_group_drop: float = 2.0
    is_strict: bool = False

    def __post_init__(self) -> None:
        for name in ("max_drop", "max_flips", "max_group_drop"):
            value = getattr(self, name)
            if not 0 <= value <= 100:
                raise UsageError(f"Expected {name.replace('_', '-')} in [0, 100] percentage points, got {value:g}.")


@dataclass(frozen=True)
class GroupDifference:
    """Float and quantized answers on the photos of one group.

    Args:
        column: The sensitive feature, or ``label``.
        value: Its value.
        num_photos: Photos.
        float_accuracy: In [0, 1].
        difference: Accuracy of the quantized network less that of the float one, flips, McNemar.
    """

    column: str
    value: str
    num_photos: int
    float_accuracy: float
    difference: PairedDifference

    @property
    def is_judged(self) -> bool:
        """Whether the group is large enough to speak for itself."""
        return self.num_photos >= MIN_GROUP_PHOTOS


@dataclass(frozen=True)
class GateReport:
    """Float and quantized answers on the same photos.

    Args:
        float_evaluation: The network before quantization.
        quantized_evaluation: The file that would be shipped.
        difference: Accuracy of the second less the first, flips, McNemar.
        f1_difference: F1 of the positive label, likewise; bootstrap interval.
        groups: By label and by each sensitive feature, the worst first.
        max_score_change: Largest change of a score.
        mean_score_change: Mean change of the positive label's score.
        problems: Why the file is refused; empty when it passed.
        warnings: What the photos cannot tell.
    """

    float_evaluation: Evaluation
    quantized_evaluation: Evaluation
    difference: PairedDifference
    f1_difference: Interval
    groups: tuple[GroupDifference, ...]
    max_score_change: float
    mean_score_change: float
    problems: tuple[str, ...]
    warnings: tuple[str, ...] = field(default=())

    @property
    def is_passed(self) -> bool:
        """Whether nothing speaks against the file."""
        return not self.problems

    @property
    def worst_group(self) -> GroupDifference | None:
        """The judged group that loses most; ``None`` without one."""
        return next((group for group in self.groups if group.is_judged), None)


def _collapse(predicted: IntArray, annotated: IntArray, labels: tuple[str, ...]) -> list[str]:
    answered = np.bincount(predicted, minlength=len(labels))
    present = np.bincount(annotated, minlength=len(labels))
    return [
        f"the quantized network hardly ever answers {label}: {answered[index]} of {len(predicted)} photos"
        for index, label in enumerate(labels)
        if present[index] and answered[index] < _MIN_ANSWER_SHARE * present[index]
    ]


def _compare_groups(
    first: IntArray, second: IntArray, annotated: IntArray, groups: Mapping[str, Sequence[str]]
) -> tuple[GroupDifference, ...]:
    found = []
    for column, cells in groups.items():
        values = np.asarray(cells)
        if len(values) != len(annotated):
            raise UsageError(
                f"Expected a value of {column} for each of {len(annotated)} photos, got {len(values)} values."
            )
        for value in sorted(set(values.tolist()) - {""}):
            is_in = values == value
            found.append(
                GroupDifference(
                    column,
                    value,
                    int(is_in.sum()),
                    float((first[is_in] == annotated[is_in]).mean()),
                    compare_predictions(first[is_in], second[is_in], annotated[is_in]),
                )
            )
    return tuple(sorted(found, key=lambda group: (group.difference.difference.value, group.column, group.value)))


def _drop(difference: Interval) -> float:
    """Returns a fall in points; the rounding error of a difference is no fall."""
    return round(-100 * difference.value, 9)


def _find_problems(
    bars: GateBars, difference: PairedDifference, f1_difference: Interval, groups: Sequence[GroupDifference]
) -> list[str]:
    problems = []
    if (drop := _drop(difference.difference)) > bars.max_drop:
        problems.append(f"accuracy falls by {drop:.2f} points, more than {bars.max_drop:g}")
    elif bars.is_strict and (worst := -100 * difference.difference.low) > bars.max_drop:
        problems.append(f"accuracy may fall by up to {worst:.2f} points, more than {bars.max_drop:g}")
    if (drop := _drop(f1_difference)) > bars.max_drop:
        problems.append(f"F1 falls by {drop:.2f} points, more than {bars.max_drop:g}")
    if (flips := round(100 * difference.flip_rate, 9)) > bars.max_flips:
        problems.append(f"{flips:.2f} % of the answers change, more than {bars.max_flips:g} %")
    for group in groups:
        if group.is_judged and (drop := _drop(group.difference.difference)) > bars.max_group_drop:
            problems.append(
                f"accuracy of {group.column} {group.value} falls by {drop:.2f} points, "
                f"more than {bars.max_group_drop:g}"
            )
    return problems


def require_two_labels(annotated: IntArray, *, name: str = "evaluation") -> None:
    """Makes sure that photos can tell a good network from a constant.

    Args:
        annotated: Label indices, shape (photos,).
        name: Which photos, for the message.

    Raises:
        DataError: They have fewer than two labels: neither accuracy nor collapse means anything then.
    """
    if (count := len(np.unique(annotated))) < 2:
        raise DataError(
            f"Expected {name} photos of at least two labels, got {'one' if count else 'none'}.",
            hint="Add photos or splits.",
        )


def judge(
    float_scores: FloatArray,
    quantized_scores: FloatArray,
    annotated: IntArray,
    *,
    labels: tuple[str, ...],
    positive_label: str,
    bars: GateBars,
    threshold: float = 0.5,
    groups: Mapping[str, Sequence[str]] | None = None,
) -> GateReport:
    """Returns how the quantized network compares, with the reasons to refuse it.

    Args:
        float_scores: Shape (photos, labels).
        quantized_scores: Likewise, of the same photos in the same order.
        annotated: Label indices, shape (photos,).
        labels: Names.
        positive_label: One of them.
        bars: What may be lost.
        threshold: For two labels: the positive one is answered from this score on, by both networks.
        groups: Sensitive feature → its value for each photo; photos with an empty one are left out of it.

    Raises:
        DataError: The photos have fewer than two labels: neither accuracy nor collapse means anything then.
        CheckFailedError: The quantized scores are not finite.
        UsageError: A group has another number of values than there are photos.
    """
    require_two_labels(annotated)
    if not np.isfinite(quantized_scores).all():
        raise CheckFailedError(
            "Expected finite scores of the quantized network, got NaN or infinity.",
            hint="The converter lost the weights: report this with your versions (edgegender doctor).",
        )
    positive_index = labels.index(positive_label)
    before, after = (
        evaluate_scores(scores, annotated, labels=labels, positive_label=positive_label, threshold=threshold)
        for scores in (float_scores, quantized_scores)
    )
    first, second = (
        predict_labels(scores, positive_index=positive_index, threshold=threshold)
        for scores in (float_scores, quantized_scores)
    )
    difference = compare_predictions(first, second, annotated)
    f1_difference = compare_f1(first, second, annotated, positive_index=positive_index, num_labels=len(labels))
    by_group = _compare_groups(
        first, second, annotated, {LABEL_GROUP: [labels[index] for index in annotated], **(groups or {})}
    )
    change = np.abs(quantized_scores - float_scores)
    problems = _find_problems(bars, difference, f1_difference, by_group)
    worst = -100 * difference.difference.low
    warnings = []
    if not problems and worst > bars.max_drop:
        warnings.append(
            f"{len(annotated)} photos cannot rule out a fall of {worst:.2f} points, more than {bars.max_drop:g}"
        )
    return GateReport(
        float_evaluation=before,
        quantized_evaluation=after,
        difference=difference,
        f1_difference=f1_difference,
        groups=by_group,
        max_score_change=float(change.max()),
        mean_score_change=float(change[:, positive_index].mean()),
        problems=(*problems, *_collapse(second, annotated, labels)),
        warnings=tuple(warnings),
    )
