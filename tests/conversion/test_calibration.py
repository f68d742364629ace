"""The representative dataset: as many photos of each label, drawn by a seed, none of which is evaluated on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.conversion.calibration import build_representative, check_disjoint, choose_rows
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, DataError, ImageError, UsageError


def rows_of(**counts: int) -> list[ManifestRow]:
    """Returns rows with a sha256 each, such as ``rows_of(female=3, male=2)``."""
    return [
        ManifestRow(
            f"{label}/{number}.jpg", label, "train", sha256=hashlib.sha256(f"{label}{number}".encode()).hexdigest()
        )
        for label, count in counts.items()
        for number in range(count)
    ]


def manifest_of(rows: list[ManifestRow]) -> Manifest:
    return Manifest.from_rows(Path("photos"), tuple(rows))


# Drawing


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
def test_labels_are_drawn_alike_whatever_their_share(female: int, num_photos: int, seed: int) -> None:
    chosen = choose_rows(manifest_of(rows_of(female=female, male=40)), num_photos=num_photos, seed=seed)
    counts = Counter(row.label for row in chosen)
    assert len(chosen) == min(num_photos, female + 40)
    assert len({row.path for row in chosen}) == len(chosen)
    assert counts["female"] == min(female, (num_photos + 1) // 2 if num_photos <= 2 * female else female)


def test_three_labels_come_in_turns() -> None:
    chosen = choose_rows(manifest_of(rows_of(a=5, b=5, c=5)), num_photos=9, seed=0)
    assert [row.label for row in chosen] == ["a", "b", "c"] * 3


def test_the_seed_decides_the_draw() -> None:
    manifest = manifest_of(rows_of(female=50, male=50))
    first, again, other = (choose_rows(manifest, num_photos=20, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert {row.path for row in first} != {row.path for row in other}


def test_a_larger_draw_begins_with_the_smaller_one() -> None:
    manifest = manifest_of(rows_of(female=50, male=50))
    small, large = (choose_rows(manifest, num_photos=count, seed=3) for count in (10, 60))
    assert large[:10] == small


def test_all_rows_are_taken_when_there_are_fewer() -> None:
    rows = rows_of(female=2, male=5)
    assert sorted(choose_rows(manifest_of(rows), num_photos=500, seed=0), key=lambda row: row.path) == rows


def test_an_empty_split_gives_no_rows() -> None:
    assert choose_rows(manifest_of([]), num_photos=5, seed=0) == []


@pytest.mark.parametrize("num_photos", [0, -1])
def test_fewer_than_one_photo_is_refused(num_photos: int) -> None:
    with pytest.raises(UsageError, match=f"Expected at least one representative photo, got {num_photos}"):
        choose_rows(manifest_of(rows_of(a=1)), num_photos=num_photos, seed=0)


# Apart from the evaluation


def test_a_copy_under_another_name_and_split_is_seen() -> None:
    calibration = rows_of(female=5, male=5)
    copy = dataclasses.replace(calibration[7], path="elsewhere/copy.png", split="test")
    with pytest.raises(CheckFailedError, match=r"got 1 that are \(first: male/2\.jpg\)") as caught:
        check_disjoint(manifest_of(calibration), manifest_of([copy]))
    assert "data check" in caught.value.hint


def test_the_same_name_with_other_content_is_no_copy() -> None:
    calibration = rows_of(female=5)
    other = dataclasses.replace(calibration[0], sha256="f" * 64)
    check_disjoint(manifest_of(calibration), manifest_of([other]))


@pytest.mark.parametrize("is_calibration", [True, False])
def test_rows_whose_content_nobody_knows_are_refused(is_calibration: bool) -> None:
    known, unknown = manifest_of(rows_of(female=2)), manifest_of([ManifestRow("a.jpg", "female")])
    pair = (unknown, known) if is_calibration else (known, unknown)
    with pytest.raises(DataError, match="Expected a sha256 in each row, got rows without") as caught:
        check_disjoint(*pair)
    assert "data index" in caught.value.hint


# Inputs


def read_by_name(row: ManifestRow) -> UInt8Array:
    if row.path.endswith("1.jpg"):
        raise ImageError("Expected a photo, got damaged data.", kind="damaged")
    return np.full((4, 4, 3), int(row.path[-5]), np.uint8)


def test_inputs_are_stacked_hashed_and_counted() -> None:
    rows = rows_of(female=1, male=1)
    dataset = build_representative(rows, lambda _: np.full((4, 4, 3), 7, np.uint8), on_skip=pytest.fail)
    assert dataset.inputs.shape == (2, 4, 4, 3)
    assert dataset.inputs.dtype == np.uint8
    assert dataset.sha256 == hashlib.sha256(bytes([7]) * 2 * 48).hexdigest()
    assert dataset.counts == {"female": 1, "male": 1}


def test_photos_that_cannot_be_read_are_told_and_left_out() -> None:
    skipped: list[str] = []
    dataset = build_representative(rows_of(female=3, male=2), read_by_name, on_skip=skipped.append)
    assert skipped == ["female/1.jpg", "male/1.jpg"]
    assert dataset.inputs[:, 0, 0, 0].tolist() == [0, 2, 0]
    assert dataset.counts == {"female": 2, "male": 1}


def test_no_readable_photo_at_all_is_refused() -> None:
    rows = [row for row in rows_of(female=2, male=2) if row.path.endswith("1.jpg")]
    with pytest.raises(DataError, match="Expected representative photos that can be read, got none"):
        build_representative(rows, read_by_name, on_skip=lambda _: None)
    with pytest.raises(DataError, match="got none"):
        build_representative([], read_by_name, on_skip=lambda _: None)
