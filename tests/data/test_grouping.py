"""Groups that need no network: equal cells, bins, blocks of neighbours, duplicates by their bytes or their looks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgegender.data.grouping import (
    bin_cells,
    encode_cells,
    link_equal_cells,
    name_blocks,
    name_duplicates,
    require_hashes,
)
from edgegender.data.manifest import Manifest
from edgegender.errors import DataError, UsageError

cells_strategy = st.lists(st.sampled_from(["", "a", "b", "ab", "ž", " "]), max_size=30)


def manifest_of(paths: list[str], **columns: list[str]) -> Manifest:
    made = {"label": ["x"] * len(paths), "sha256": [digest(path) for path in paths]}
    return Manifest(Path("faces"), {"path": paths, **made, **columns})


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def phash(*bits: int) -> str:
    """Returns a hash whose bits are zero but for these."""
    return f"{sum(1 << bit for bit in bits):064x}"


# Cells


@given(cells_strategy)
def test_codes_are_places_among_the_sorted_values(cells: list[str]) -> None:
    codes, names = encode_cells(cells)
    assert [names[code] for code in codes] == cells
    assert names == sorted(set(cells))


@given(cells_strategy)
def test_each_cell_is_linked_to_the_first_one_like_it_and_empty_ones_to_none(cells: list[str]) -> None:
    first, second = link_equal_cells(cells)
    expected = [(cells.index(cell), place) for place, cell in enumerate(cells) if cell and cells.index(cell) != place]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


# Bins


def test_few_values_stay_as_they_are_whatever_they_are() -> None:
    cells = ["12", "word", "", *map(str, range(10))]
    assert bin_cells("age", cells) == cells
    assert bin_cells("age", []) == []


def test_many_numbers_become_five_bins_of_about_equal_count_in_their_order() -> None:
    cells = [*map(str, range(100)), "", ""]
    binned = list(bin_cells("age", cells))
    assert binned[:100] == [f"bin {1 + number // 20}" for number in range(100)]
    assert binned[100:] == ["", ""]


@given(st.lists(st.integers(-50, 50), min_size=60, max_size=200))
def test_bins_follow_the_order_of_numbers_and_equal_numbers_share_one(numbers: list[int]) -> None:
    """Also where they are written differently, and out of the order of text: 9 comes before 10."""
    cells = [str(number) if place % 2 else f"{number}.0" for place, number in enumerate(numbers)]
    assume(len(set(cells)) > 12)
    bins = dict(zip(numbers, bin_cells("age", cells), strict=True))
    ordered = [bins[number] for number in sorted(bins)]
    assert ordered == sorted(ordered)
    assert list(bin_cells("age", cells)) == [bins[number] for number in numbers]


def test_a_number_that_half_of_the_photos_share_does_not_empty_the_other_bins() -> None:
    cells = ["30"] * 100 + [str(number) for number in range(31, 81)] * 2
    binned = list(bin_cells("age", cells))
    assert len(set(binned)) >= 3
    assert len(set(binned[:100])) == 1


@pytest.mark.parametrize("odd", ["word", "nan", "inf", "12 years"])
def test_many_values_that_are_no_numbers_are_refused_with_the_first_of_them(odd: str) -> None:
    cells = [odd, *map(str, range(20)), ""]
    message = rf"Expected at most 12 different values, or numbers, in age, got 21 such as '{odd}'\."
    with pytest.raises(UsageError, match=message) as caught:
        bin_cells("age", cells)
    assert caught.value.hint == "Stratify by a column that has few values."


# Blocks


def test_blocks_are_neighbours_in_the_natural_order_of_their_paths() -> None:
    paths = ["10.jpg", "9.jpg", "1.jpg", "2.jpg", "a/1.jpg", "100.jpg"]
    assert name_blocks(manifest_of(paths), num_photos=2) == [
        "x-00001",
        "x-00001",
        "x-00000",
        "x-00000",
        "x-00002",
        "x-00002",
    ]


def test_a_block_stays_within_its_source_and_label() -> None:
    manifest = manifest_of(["1", "2", "3", "4"], source=["a", "a", "b", "b"], label=["x", "y", "x", "x"])
    assert name_blocks(manifest, num_photos=10) == ["a-x-00000", "a-y-00000", "b-x-00000", "b-x-00000"]


@given(st.lists(st.text("012٣²a/.-", min_size=1, max_size=8), unique=True, min_size=1, max_size=20), st.integers(1, 5))
def test_blocks_have_the_asked_size_whatever_the_names_and_their_order(paths: list[str], size: int) -> None:
    block_of = dict(zip(paths, name_blocks(manifest_of(paths), num_photos=size), strict=True))
    backwards = paths[::-1]
    assert dict(zip(backwards, name_blocks(manifest_of(backwards), num_photos=size), strict=True)) == block_of
    sizes = sorted(list(block_of.values()).count(name) for name in set(block_of.values()))
    assert all(own == size for own in sizes[1:])
    assert 1 <= sizes[0] <= size


@pytest.mark.parametrize("size", [0, -1])
def test_blocks_without_photos_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=rf"Expected blocks of at least 1 photo, got {size}\."):
        name_blocks(manifest_of(["a"]), num_photos=size)


# Duplicates


def test_the_same_bytes_and_the_same_looks_make_a_group_named_after_its_first_photo() -> None:
    paths = ["alone", "bytes 1", "looks 1", "bytes 2", "looks 2", "both"]
    hashes = ["1", "2", "3", "2", "4", "4"]
    looks = [phash(*range(100)), "", phash(200), "", phash(200, *range(10)), ""]
    manifest = manifest_of(paths, sha256=[digest(name) for name in hashes], phash=looks)
    assert name_duplicates(manifest) == ["", "bytes 1", "looks 1", "bytes 1", "looks 1", "looks 1"]


def test_looks_reach_as_far_as_24_bits() -> None:
    near = manifest_of(["a", "b"], phash=[phash(), phash(*range(24))])
    far = manifest_of(["a", "b"], phash=[phash(), phash(*range(25))])
    assert (name_duplicates(near), name_duplicates(far)) == (["a", "a"], ["", ""])


def test_without_perceptual_hashes_only_the_bytes_count() -> None:
    assert name_duplicates(manifest_of(["a", "b", "c"], sha256=[digest("1"), digest("2"), digest("1")])) == [
        "a",
        "",
        "a",
    ]


def test_an_excluded_row_needs_no_hash() -> None:
    manifest = manifest_of(["a", "b"], sha256=[digest("1"), ""], exclude=["", "unreadable: empty"])
    require_hashes(manifest)
    assert name_duplicates(manifest) == ["", ""]


def test_a_row_without_a_hash_is_named() -> None:
    manifest = manifest_of(["a", "b"], sha256=[digest("1"), ""])
    for use in (require_hashes, name_duplicates):
        with pytest.raises(DataError, match=r"Expected a sha256 in each row, got none for b \(faces\)") as caught:
            use(manifest)
        assert caught.value.hint == "Make the manifest with: edgegender data index"


@pytest.mark.parametrize("odd", ["abc", "g" * 64, "0" * 65])
def test_a_perceptual_hash_that_is_none_is_refused(odd: str) -> None:
    with pytest.raises(DataError, match=r"Expected phash as 64 hexadecimal digits, got another \(faces\)") as caught:
        name_duplicates(manifest_of(["a", "b"], phash=[phash(1), odd]))
    assert caught.value.hint == "Make the manifest anew with: edgegender data index"


def test_many_copies_are_one_group() -> None:
    count = 3_000
    manifest = manifest_of([str(n) for n in range(count)], phash=[phash(n % 3) for n in range(count)])
    assert set(name_duplicates(manifest)) == {"0"}
    assert np.all([name == "0" for name in name_duplicates(manifest)])
