"""Splits of single photos: the ratios to a photo, the same bytes on one side, whatever the order and the names."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.split import assign_splits as assign_manifest_splits
from edgegender.errors import DataError, UsageError

RATIOS = (70, 10, 20)


def assign_splits(rows: Sequence[ManifestRow], *, ratios: Sequence[float], seed: int) -> list[ManifestRow]:
    return list(assign_manifest_splits(Manifest.from_rows(Path(), rows), ratios=ratios, seed=seed))


def splits(rows: Sequence[ManifestRow]) -> dict[str, str]:
    return {row.path: row.split for row in rows}


def digest(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def measured_rows(count: int, *, label: str = "x", start: int = 0) -> list[ManifestRow]:
    return [ManifestRow(f"{label}/{n}.jpg", label, sha256=f"{label}-{n}") for n in range(start, start + count)]


def test_the_same_bytes_never_stand_on_two_sides() -> None:
    rows = measured_rows(60)
    copies = [replace(row, path=f"copy/{row.path}") for row in rows]
    relabeled = [replace(row, path=f"other/{row.path}", label="y") for row in rows[:20]]
    assigned = assign_splits([*rows, *copies, *relabeled], ratios=(60, 20, 20), seed=0)
    by_content: dict[str, set[str]] = {}
    for row in assigned:
        by_content.setdefault(row.sha256, set()).add(row.split)
    assert all(len(sides) == 1 for sides in by_content.values())
    assert {row.split for row in assigned} == {"train", "val", "test"}


@pytest.mark.parametrize("ratios", [(70, 10, 20), (0.7, 0.1, 0.2), (1, 1, 1), (1, 0, 0), (80, 0, 20), (98, 1, 1)])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_the_ratios_are_kept_within_each_label_to_a_photo(ratios: tuple[float, float, float], count: int) -> None:
    rows = [*measured_rows(count, label="x"), *measured_rows(3 * count, label="y")]
    assigned = assign_splits(rows, ratios=ratios, seed=3)
    for label, number in (("x", count), ("y", 3 * count)):
        counts = Counter(row.split for row in assigned if row.label == label)
        for split, ratio in zip(("train", "val", "test"), ratios, strict=True):
            # val lies between two rounded cuts: each is off by half a photo at most
            assert abs(counts[split] - number * ratio / sum(ratios)) <= 1


def test_a_split_follows_the_content_when_files_are_renamed_or_reordered() -> None:
    rows = measured_rows(50)
    first = {row.sha256: row.split for row in assign_splits(rows, ratios=(70, 10, 20), seed=0)}
    renamed = [replace(row, path=f"new/{number}.jpg") for number, row in enumerate(reversed(rows))]
    assert {row.sha256: row.split for row in assign_splits(renamed, ratios=(70, 10, 20), seed=0)} == first


def test_one_more_photo_moves_at_most_one_other_across_each_cut() -> None:
    for count in range(20, 60):
        before = splits(assign_splits(measured_rows(count), ratios=(70, 10, 20), seed=0))
        after = splits(assign_splits(measured_rows(count + 1), ratios=(70, 10, 20), seed=0))
        assert sum(after[path] != split for path, split in before.items()) <= 2


def test_photos_of_one_label_do_not_move_those_of_another() -> None:
    alone = splits(assign_splits(measured_rows(30), ratios=(70, 10, 20), seed=0))
    both = splits(assign_splits([*measured_rows(30), *measured_rows(17, label="y")], ratios=(70, 10, 20), seed=0))
    assert {path: both[path] for path in alone} == alone


def test_another_seed_gives_another_cut_of_the_same_size() -> None:
    rows = measured_rows(100)
    first, second = (splits(assign_splits(rows, ratios=(70, 10, 20), seed=seed)) for seed in (0, 1))
    assert first != second
    assert Counter(first.values()) == Counter(second.values())


def test_excluded_rows_keep_their_split_and_take_no_share() -> None:
    rows = [*measured_rows(10), ManifestRow("bad.jpg", "x", exclude="unreadable: format")]
    assigned = assign_splits(rows, ratios=(50, 0, 50), seed=0)
    assert assigned[-1] == rows[-1]
    assert Counter(row.split for row in assigned[:-1]) == {"train": 5, "test": 5}


@pytest.mark.parametrize(
    "ratios",
    [(70,), (70, 10, 10, 10), (0, 50, 50), (-1, 1, 1), (70, -10, 40), (float("nan"), 1, 1), (1, float("inf"), 1)],
)
def test_ratios_that_are_none_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"Expected three ratios such as 70,10,20, got "):
        assign_splits(measured_rows(5), ratios=ratios, seed=0)


def test_rows_without_a_hash_are_refused_instead_of_taken_for_copies_of_each_other() -> None:
    with pytest.raises(DataError, match=r"Expected a sha256 in each row, got none for b\.jpg"):
        assign_splits([*measured_rows(3), ManifestRow("b.jpg", "x")], ratios=(70, 10, 20), seed=0)
