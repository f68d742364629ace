"""The representative dataset: as many photos of each label and group, drawn by a seed, none evaluated on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgegender.conversion.calibration import (
    MIN_PHOTOS,
    RepresentativeDataset,
    build_representative,
    check_content,
    check_disjoint,
    choose_rows,
    group_cells,
    require_enough,
)
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


# Groups


def faces(cells: dict[tuple[str, str], int]) -> Manifest:
    """Returns photos by label and age, such as ``{("female", "old"): 3}``, with a column ``age``."""
    pairs = [pair for pair, count in cells.items() for _ in range(count)]
    columns = {
        "path": [f"{number}.jpg" for number in range(len(pairs))],
        "label": [label for label, _ in pairs],
        "age": [age for _, age in pairs],
    }
    return Manifest(Path("photos"), columns)


def ages_of(rows: list[ManifestRow]) -> Counter[tuple[str, str]]:
    return Counter((row.label, row.extra["age"]) for row in rows)


SKEWED = {("female", "old"): 20, ("female", "young"): 700, ("male", "old"): 200, ("male", "young"): 80}


def test_a_small_group_gets_its_share() -> None:
    """By chance alone 100 photos would hold two of the twenty old women."""
    chosen = choose_rows(faces(SKEWED), num_photos=100, seed=0, group_by=["age"])
    assert ages_of(chosen) == {
        ("female", "old"): 20,
        ("female", "young"): 30,
        ("male", "old"): 25,
        ("male", "young"): 25,
    }
    assert len({row.path for row in chosen}) == 100
    assert ages_of(choose_rows(faces(SKEWED), num_photos=100, seed=0))["female", "old"] < 10


cells_of_any_size = st.dictionaries(
    st.tuples(st.sampled_from(["female", "male", "other"]), st.sampled_from(["", "a", "b", "c", "d"])),
    st.integers(1, 12),
    min_size=1,
)


@given(cells_of_any_size, st.integers(1, 80), st.integers(0, 3))
def test_labels_are_drawn_alike_and_groups_within_a_label(
    cells: dict[tuple[str, str], int], num_photos: int, seed: int
) -> None:
    chosen = choose_rows(faces(cells), num_photos=num_photos, seed=seed, group_by=["age"])
    got = ages_of(chosen)
    assert got.total() == min(num_photos, sum(cells.values()))
    assert len({row.path for row in chosen}) == len(chosen)
    by_label = Counter(row.label for row in chosen)
    there = Counter({label: sum(n for (own, _), n in cells.items() if own == label) for label, _ in cells})
    # who got fewer than another, by more than the turn that was broken off, had no more to give
    for label in there:
        assert by_label[label] == there[label] or by_label[label] >= max(by_label.values()) - 1
    for (label, age), count in cells.items():
        most = max(got[own] for own in cells if own[0] == label)
        assert got[label, age] == count or got[label, age] >= most - 1


# each woman alone in her group, the men in threes: group by group alone, all women would come first
ALONE = {(label, age): count for label, count in (("female", 1), ("male", 3)) for age in "abcde"}


@given(cells_of_any_size, st.integers(1, 40), st.integers(0, 3), st.booleans())
@example(ALONE, 40, 0, True)
def test_both_halves_are_mixed_alike(cells: dict[tuple[str, str], int], half: int, seed: int, is_grouped: bool) -> None:
    """Two files calibrated on them are to differ by chance, and not because one never saw a small group."""
    group_by = ["age"] if is_grouped else []
    chosen = choose_rows(faces(cells), num_photos=2 * half, seed=seed, group_by=group_by)
    half = len(chosen) // 2
    parts = chosen[:half], chosen[half : 2 * half]
    # an odd number of photos leaves the last one out of both halves, which may make up one more
    slack = 1 + len(chosen) % 2
    labels = [Counter(row.label for row in part) for part in parts]
    assert all(abs(labels[0][label] - labels[1][label]) <= slack for label in labels[0] | labels[1])
    if is_grouped:
        ages = [ages_of(part) for part in parts]
        assert all(abs(ages[0][cell] - ages[1][cell]) <= slack for cell in ages[0] | ages[1])


def test_with_more_groups_than_photos_chance_decides_which_are_seen() -> None:
    cells = {(label, str(number)): 1 for label in ("female", "male") for number in range(12)}
    draws = [choose_rows(faces(cells), num_photos=8, seed=seed, group_by=["age"]) for seed in range(40)]
    for chosen in draws:
        assert Counter(row.label for row in chosen) == {"female": 4, "male": 4}
    assert set().union(*(ages_of(chosen) for chosen in draws)) == set(cells)


def test_the_seed_decides_the_draw_within_groups() -> None:
    first, again, other = (choose_rows(faces(SKEWED), num_photos=60, seed=seed, group_by=["age"]) for seed in (0, 0, 1))
    assert first == again
    assert ages_of(first) == ages_of(other)
    assert {row.path for row in first} != {row.path for row in other}


def test_numbers_with_many_values_are_grouped_in_bins() -> None:
    """Nineteen of twenty are young: without bins an age of 90 would be one value among a hundred."""
    cells = {("female", str(20 + number % 10)): 40 for number in range(10)}
    cells |= {("female", str(age)): 8 for age in range(60, 100)}
    manifest = faces(cells)
    assert set(group_cells(manifest, ["age"])["age"]) == {f"bin {number}" for number in range(1, 6)}
    chosen = choose_rows(manifest, num_photos=100, seed=0, group_by=["age"])
    binned = dict(zip(manifest.column("path"), group_cells(manifest, ["age"])["age"], strict=True))
    assert set(Counter(binned[row.path] for row in chosen).values()) == {20}


def test_cells_are_given_by_column_and_few_values_stay_as_they_are() -> None:
    manifest = faces({("female", "old"): 2, ("male", ""): 1})
    assert group_cells(manifest, ["age", "label"]) == {
        "age": ["old", "old", ""],
        "label": ["female", "female", "male"],
    }
    assert group_cells(manifest, []) == {}


def test_a_column_that_is_not_there_is_named_with_those_that_are() -> None:
    for use in (
        lambda: choose_rows(faces(SKEWED), num_photos=5, seed=0, group_by=["age", "place"]),
        lambda: group_cells(faces(SKEWED), ["place"]),
    ):
        with pytest.raises(UsageError, match="Expected --group to name columns of the manifest, got 'place'") as caught:
            use()
        assert caught.value.hint == "It has path, label, age."


def test_a_column_of_many_words_cannot_be_grouped_by() -> None:
    manifest = faces({("female", f"p{number}"): 1 for number in range(13)})
    with pytest.raises(UsageError, match="Expected at most 12 different values, or numbers, in age, got 13"):
        choose_rows(manifest, num_photos=5, seed=0, group_by=["age"])


# Enough of them


def test_enough_photos_need_no_word() -> None:
    assert MIN_PHOTOS == 100
    assert require_enough(100, is_forced=False) == require_enough(100, is_forced=True) == ""


def test_a_handful_of_photos_is_refused() -> None:
    with pytest.raises(DataError, match=r"Expected at least 100 representative photos, got 99\.") as caught:
        require_enough(99, is_forced=False)
    assert "--force" in caught.value.hint


def test_a_handful_of_photos_is_warned_of_when_somebody_insists() -> None:
    assert require_enough(99, is_forced=True).startswith("only 99 representative photos; 100 and more show")


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


# What the photos show


def dataset_of(inputs: UInt8Array, **counts: int) -> RepresentativeDataset:
    return RepresentativeDataset(inputs, "0" * 64, counts)


def noise_photos(count: int) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8)


def test_photos_of_all_labels_that_show_something_are_good() -> None:
    check_content(dataset_of(noise_photos(40), female=39, male=1), ("female", "male"))


def test_a_label_without_a_calibration_photo_is_refused() -> None:
    with pytest.raises(CheckFailedError, match="Expected calibration photos of each label, got none of male"):
        check_content(dataset_of(noise_photos(40), female=40), ("female", "male"))


@pytest.mark.parametrize("colour", [0, 128, 255])
@pytest.mark.parametrize(("plain", "is_refused"), [(0, False), (2, False), (3, True), (40, True)])
def test_photos_of_one_colour_are_refused_when_they_are_many(colour: int, plain: int, is_refused: bool) -> None:
    """Two of forty are a twentieth."""
    photos = noise_photos(40)
    photos[:plain] = colour
    dataset = dataset_of(photos, female=20, male=20)
    if is_refused:
        with pytest.raises(CheckFailedError, match=f"that show something, got {plain} of 40 in one colour"):
            check_content(dataset, ("female", "male"))
    else:
        check_content(dataset, ("female", "male"))
