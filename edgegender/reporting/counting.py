"""How many photos there are of what: counts by label, and by split or any other column and label."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from edgegender.data.manifest import SPLITS, Manifest
from edgegender.errors import UsageError

EMPTY_NAME = "(empty)"
MAX_BINS = 12
MAX_DRAWN_VALUES = 24
MAX_DRAWN_LABELS = 10
_NO_GROUPS = frozenset({"path", "sha256", "phash", "face_box", "exclude"})
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{1,12})?")
_NUMERIC_SHARE = 0.9  # a column of ages stays one when somebody wrote "unknown" here and there

Counts = Mapping[str, Mapping[str, int]]


def group_columns(manifest: Manifest) -> tuple[str, ...]:
    """Returns the columns that photos can be grouped by: all but those that differ from photo to photo."""
    return tuple(name for name in manifest.column_names if name and name not in _NO_GROUPS)


def _natural_key(name: str) -> tuple[object, ...]:
    """Orders "3-9" before "10-19" before "more than 70"."""
    parts = re.split(r"(\d+)", name)
    return (name == EMPTY_NAME, *((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part))


def _bin_index(number: float, width: float) -> int:
    return math.floor(number / width + 1e-9)  # 0.3 / 0.1 is a little less than 3


def _bin_width(low: float, high: float) -> float:
    """Returns the smallest of 1, 2, 5, 10, … (or 0.5, 0.2, …) that needs no more than ``MAX_BINS`` bins."""
    width = 1e-12
    for exponent in range(-12, 13):
        for step in (1, 2, 5):
            width = float(f"{step}e{exponent}")
            if _bin_index(high, width) - _bin_index(low, width) < MAX_BINS:
                return width
    return width


def _bin_names(numbers: Mapping[str, float]) -> dict[str, str]:
    """Returns the bin's name for each cell, in the order of the bins."""
    low, high = min(numbers.values()), max(numbers.values())
    is_whole = all(number == int(number) for number in numbers.values())
    width = max(_bin_width(low, high), 1.0 if is_whole else 0.0)
    names = {}
    for cell, number in sorted(numbers.items(), key=lambda item: item[1]):
        start = _bin_index(number, width) * width
        if is_whole:
            names[cell] = f"{int(start)}–{int(start + width) - 1}" if width > 1 else str(int(start))
        else:
            names[cell] = f"{start:.6g} to < {start + width:.6g}"
    return names


def _require_column(manifest: Manifest, column: str) -> None:
    known = group_columns(manifest)
    if column not in known:
        raise UsageError(
            f"Expected a column of {', '.join(known)}, got {column!r}.", hint="Name a column of the manifest."
        )


def group_values(manifest: Manifest, column: str) -> tuple[list[str], tuple[str, ...]]:
    """Returns the value of each row in a column, and all values in the order in which a reader expects them.

    Numbers of more than 12 kinds are put into bins of 1, 2, 5, 10 … width: "30–39". Splits stand as train, val, test;
    other values by the numbers in them, then by their letters; an empty cell is ``(empty)`` and stands last.

    Args:
        manifest: The photos, excluded ones, too.
        column: One of :func:`group_columns`.

    Raises:
        UsageError: The manifest has no such column.
    """
    _require_column(manifest, column)
    cells = [cell or EMPTY_NAME for cell in manifest.column(column)]
    kinds = set(cells)
    numbers = {kind: float(kind) for kind in kinds if _NUMBER.fullmatch(kind)}
    names = {kind: kind for kind in sorted(numbers, key=lambda kind: numbers[kind])}
    if len(numbers) > MAX_BINS and len(numbers) >= _NUMERIC_SHARE * len(kinds - {EMPTY_NAME}):
        names = _bin_names(numbers)
    rest = kinds - set(numbers)
    in_order = sorted(rest, key=_natural_key) if column != "split" else [*SPLITS, EMPTY_NAME]
    names.update((kind, kind) for kind in in_order if kind in rest)
    return [names[cell] for cell in cells], tuple(dict.fromkeys(names.values()))


def count_groups(manifest: Manifest, column: str) -> dict[str, dict[str, int]]:
    """Returns the number of photos by value of a column (see :func:`group_values`), then by label.

    Raises:
        UsageError: The manifest has no such column.
    """
    values, ordered = group_values(manifest, column)
    annotated = manifest.column("label")
    counted = Counter(zip(values, annotated, strict=True))
    labels = sorted(set(annotated))
    return {value: {label: counted[value, label] for label in labels} for value in ordered}


def count_labels(manifest: Manifest) -> dict[str, int]:
    """Returns the number of photos by label, in the order of the labels' names."""
    return dict(sorted(Counter(manifest.column("label")).items()))


def _largest(counts: Mapping[str, int], limit: int, kind: str) -> tuple[list[str], str]:
    """Returns the names to draw, in their order, and what the others are called; empty when all are drawn."""
    if len(counts) <= limit:
        return list(counts), ""
    kept = set(sorted(counts, key=lambda name: -counts[name])[: limit - 1])
    return [name for name in counts if name in kept], f"({len(counts) - len(kept)} other {kind})"


def _put_together(counts: Mapping[str, int], kept: Sequence[str], others: str) -> dict[str, int]:
    drawn = {name: counts.get(name, 0) for name in kept}
    if others:
        drawn[others] = sum(counts.values()) - sum(drawn.values())
    return drawn


def simplify_labels(counts: Mapping[str, int]) -> dict[str, int]:
    """Returns counts with at most 24 names; the rare ones are put together as "(7 other labels)".

    Args:
        counts: Label → number of photos; no photo is lost.
    """
    return _put_together(counts, *_largest(counts, MAX_DRAWN_VALUES, "labels"))


def simplify(counts: Counts) -> dict[str, dict[str, int]]:
    """Returns counts with at most 24 values and 10 labels; what is rare is put together as "(7 other values)".

    Args:
        counts: Value → label → number of photos; no photo is lost.
    """
    by_label: Counter[str] = Counter()
    for row in counts.values():
        by_label.update(row)
    labels, other_labels = _largest(by_label, MAX_DRAWN_LABELS, "labels")
    totals = {value: sum(row.values()) for value, row in counts.items()}
    values, other_values = _largest(totals, MAX_DRAWN_VALUES, "values")
    drawn = {value: _put_together(counts[value], labels, other_labels) for value in values}
    if other_values:
        rest: Counter[str] = Counter()
        for value in counts.keys() - set(values):
            rest.update(counts[value])
        drawn[other_values] = _put_together(rest, labels, other_labels)
    return drawn
