"""Lists of known sets: rows are counted, names stand once, and photos are found wherever they were unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.data.readers.listing import list_folder
from edgegender.data.readers.lists import (
    Located,
    Once,
    column_places,
    list_files,
    locate,
    pick_list,
    read_pairs,
    read_rows,
    require_cells,
    stem_of,
)
from edgegender.errors import DataError, ManifestError, UsageError
from tests.data.readers.trees import touch, write

# Finding lists


def test_lists_are_looked_for_among_the_photos_or_where_the_user_says(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path / "photos", "1.jpg", "in/train.txt"))
    touch(tmp_path / "lists", "val.txt", "notes.txt", "deeper/train.txt")
    assert list_files(listing, None) == [tmp_path / "photos" / "in" / "train.txt"]
    assert list_files(listing, tmp_path / "lists") == [
        tmp_path / "lists" / "deeper" / "train.txt",
        tmp_path / "lists" / "val.txt",
    ]
    assert list_files(listing, tmp_path / "lists" / "notes.txt") == [tmp_path / "lists" / "val.txt"]


def test_a_place_of_lists_that_is_not_there_has_none_beside_it(tmp_path: Path) -> None:
    missing = tmp_path / "none" / "list.txt"
    assert list_files(list_folder(tmp_path), missing) == [missing]


@pytest.mark.usefixtures("plain_user")
def test_a_folder_of_lists_that_may_not_be_read_is_refused() -> None:
    touch(Path("photos"), "1.jpg")
    Path("lists").mkdir(mode=0)
    try:
        with pytest.raises(UsageError, match=r"Permission denied \(lists\)"):
            list_files(list_folder(Path("photos")), Path("lists"))
    finally:
        Path("lists").chmod(0o700)


def test_the_first_wanted_name_that_is_there_is_picked() -> None:
    files = [Path("a/list.CSV"), Path("b/list.txt")]
    assert pick_list(files, "list.txt", "list.csv") == Path("b/list.txt")
    assert pick_list(files, "list.csv", "list.txt") == Path("a/list.CSV")
    assert pick_list(files, "other.txt") is None


def test_two_lists_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"Expected one train\.txt, got a/train\.txt and b/train\.txt") as caught:
        pick_list([Path("a/train.txt"), Path("b/train.txt")], "train.txt")
    assert "--labels" in caught.value.hint


# Reading lists


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_rows_are_parted_by_blanks_or_commas_and_counted_by_line(tmp_path: Path, ending: str) -> None:
    text = ending.join(["a.jpg  1", "", "b.jpg\t0", ""])
    assert list(read_rows(write(tmp_path / "list.txt", text))) == [(1, ["a.jpg", "1"]), (3, ["b.jpg", "0"])]
    table = ending.join(["name,value", "", '"a,b.jpg", 0', ""])
    assert list(read_rows(write(tmp_path / "list.CSV", table))) == [(1, ["name", "value"]), (3, ["a,b.jpg", "0"])]


def test_a_byte_order_mark_is_no_part_of_the_first_cell(tmp_path: Path) -> None:
    assert list(read_rows(write(tmp_path / "list.txt", "\ufeffa 1\r\nb 2\rc 3\n"))) == [
        (1, ["a", "1"]),
        (2, ["b", "2"]),
        (3, ["c", "3"]),
    ]


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected a list of labels, got No such file .*\(.*none\.txt\)"):
        list(read_rows(tmp_path / "none.txt"))
    (tmp_path / "other.txt").write_bytes(b"caf\xe9 1")
    with pytest.raises(ManifestError, match=r"Expected a list of labels in UTF-8, got other bytes \(.*other\.txt\)"):
        list(read_rows(tmp_path / "other.txt"))
    with pytest.raises(ManifestError, match=r"Expected a CSV, got: .* \(.*broken\.csv, row 2\)"):
        list(read_rows(write(tmp_path / "broken.csv", 'a,b\n"1,2\n')))


def test_columns_are_found_by_name_and_a_missing_one_is_named() -> None:
    assert column_places(["b", "a"], ["a", "b"], Path("x.csv")) == [1, 0]
    with pytest.raises(ManifestError, match=r"Expected the columns a, c, got no c \(x\.csv\)") as caught:
        column_places(["b", "a"], ["a", "c"], Path("x.csv"))
    assert caught.value.hint == "Columns there: b, a"


def test_a_row_of_another_length_is_refused() -> None:
    require_cells(["a", "b"], 2, "x.txt, row 1")
    with pytest.raises(ManifestError, match=r"Expected 3 cells, got 2 \(x\.txt, row 1\)"):
        require_cells(["a", "b"], 3, "x.txt, row 1")


def test_a_name_that_stands_twice_is_refused_with_both_places() -> None:
    once = Once()
    once.add("1.jpg", Path("train.txt"), 3)
    once.add("2.jpg", Path("train.txt"), 4)
    with pytest.raises(ManifestError, match=r"Expected each path once, got 1\.jpg in rows 3 and 9 \(train\.txt\)"):
        once.add("1.jpg", Path("train.txt"), 9)
    with pytest.raises(ManifestError, match=r"got 2\.jpg in row 4 of train\.txt and row 4 \(val\.txt\)"):
        once.add("2.jpg", Path("val.txt"), 4)


def test_pairs_come_from_text_without_a_header_or_from_a_csv_with_one(tmp_path: Path) -> None:
    pairs = {"1.jpg": ("0", 1), "2.jpg": ("2", 2)}
    assert read_pairs(write(tmp_path / "pairs.txt", "1.jpg 0\n2.jpg 2\n"), "partition") == pairs
    table = "partition,image_id,more\n0,1.jpg,x\n2,2.jpg,y\n"
    assert read_pairs(write(tmp_path / "pairs.csv", table), "partition") == {
        name: (value, row + 1) for name, (value, row) in pairs.items()
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("pairs.txt", "1.jpg 0\n1.jpg 1\n", r"Expected each path once, got 1\.jpg in rows 1 and 2"),
        ("pairs.txt", "1.jpg\n", r"Expected 2 cells, got 1 \(.*pairs\.txt, row 1\)"),
        ("pairs.csv", "image_id,split\n1.jpg,0\n", "Expected the columns image_id, partition, got no partition"),
        ("pairs.csv", "", "Expected the columns image_id, partition, got no image_id, partition"),
    ],
)
def test_a_fault_of_a_list_of_pairs_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_pairs(write(tmp_path / name, text), "partition")


# Finding the photos


def test_photos_are_found_in_any_folder_and_others_are_counted(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path, "a/1.jpg", "b/c/2.png", "3.jpg"))
    assert locate(listing, {"1", "2", "4"}, key_of=stem_of) == Located({"1": "a/1.jpg", "2": "b/c/2.png"}, 1, [])


def test_of_two_versions_the_preferred_folder_counts_and_the_other_is_told(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path, "a/1.jpg", "best/1.jpg", "Good/1.jpg", "z/1.png"))
    located = locate(listing, {"1"}, key_of=stem_of, preferred=("best", "good"))
    assert located.paths == {"1": "best/1.jpg"}
    assert located.num_unlisted == 0
    assert {path for path, _ in located.skipped} == {"a/1.jpg", "Good/1.jpg", "z/1.png"}
    assert {reason for _, reason in located.skipped} == {"another version of a photo"}


def test_two_versions_without_a_preferred_one_are_refused(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path, "a/1.jpg", "b/1.jpg"))
    with pytest.raises(DataError, match=r"Expected each photo of the list once, got a/1\.jpg and b/1\.jpg"):
        locate(listing, {"1"}, key_of=stem_of, preferred=("best",))


def test_a_list_of_which_no_photo_is_there_is_refused(tmp_path: Path) -> None:
    listing = list_folder(touch(tmp_path, "a/1.jpg"))
    with pytest.raises(DataError, match=r"Expected the 2 photos that the list names, got none of them") as caught:
        locate(listing, {"8", "9"}, key_of=stem_of)
    assert caught.value.hint == "The list names, for example, 8."
