"""UTKFace: labels stand in the names, and a name that lacks a field is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.data.readers.utkface import read_utkface
from edgegender.errors import DataError, UsageError
from tests.data.readers.trees import answers, groups, touch

WOMAN, MAN = "26_1_2_20170116184024662.jpg", "100_0_0_20170112213303693.jpg.chip.jpg"


def read(folder: Path, **options: str) -> ReadResult:
    return read_utkface(list_folder(folder), **options)


def test_names_give_label_age_and_race(tmp_path: Path) -> None:
    result = read(touch(tmp_path, f"UTKFace/{WOMAN}", f"UTKFace/{MAN}"))
    assert answers(result) == {f"UTKFace/{MAN}": ("male", ""), f"UTKFace/{WOMAN}": ("female", "")}
    assert groups(result) == {
        f"UTKFace/{MAN}": {"age": "100", "race": "White"},
        f"UTKFace/{WOMAN}": {"age": "26", "race": "Asian"},
    }
    assert (result.layout, result.skipped, result.num_unlisted, result.label_files) == ("utkface", [], 0, ())


@pytest.mark.parametrize(
    ("code", "race"), [("0", "White"), ("1", "Black"), ("2", "Asian"), ("3", "Indian"), ("4", "Others")]
)
def test_each_code_of_a_race_has_a_word(tmp_path: Path, code: str, race: str) -> None:
    name = f"1_0_{code}_20161219140530307.jpg"
    assert groups(read(touch(tmp_path, name))) == {name: {"age": "1", "race": race}}


@pytest.mark.parametrize("column", ["age", "race"])
def test_another_field_can_be_the_label(tmp_path: Path, column: str) -> None:
    result = read(touch(tmp_path, WOMAN), label_column=column)
    fields = {"age": "26", "gender": "female", "race": "Asian"}
    assert answers(result) == {WOMAN: (fields.pop(column), "")}
    assert groups(result) == {WOMAN: fields}


# names of the real set
@pytest.mark.parametrize("name", ["24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg"])
def test_what_follows_the_date_does_not_matter(tmp_path: Path, name: str) -> None:
    assert answers(read(touch(tmp_path, name))) == {name: ("male", "")}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("39_1_20170116174525125.jpg", "a field is missing: age_gender_race_date"),
        ("61_1_20170109142408075.jpg.chip.jpg", "a field is missing: age_gender_race_date"),
        ("61_3_20170109150557335.jpg", "a field is missing: age_gender_race_date"),
        ("26_3_2_20170116184024662.jpg", "gender 3 is none of 0, 1"),
        ("26_1_7_20170116184024662.jpg", "race 7 is none of 0, 1, 2, 3, 4"),
        ("26__2_20170116184024662.jpg", "the name is not age_gender_race_date"),
        ("logo.png", "the name is not age_gender_race_date"),
    ],
)
def test_a_name_that_cannot_be_placed_is_told_with_the_reason(tmp_path: Path, name: str, reason: str) -> None:
    result = read(touch(tmp_path, WOMAN, f"part1/{name}"))
    assert list(answers(result)) == [WOMAN]
    assert result.skipped == [(f"part1/{name}", reason)]


def test_split_folders_that_somebody_made_are_kept(tmp_path: Path) -> None:
    result = read(touch(tmp_path, f"Train/{WOMAN}", f"x/test/{MAN}"))
    assert answers(result) == {f"Train/{WOMAN}": ("female", "train"), f"x/test/{MAN}": ("male", "test")}


def test_photos_of_one_age_and_race_share_their_groups(tmp_path: Path) -> None:
    first, second = read(touch(tmp_path, WOMAN, "26_0_2_20170116184024663.jpg")).photos
    assert first.extra is second.extra
    assert {first.label, second.label} == {"female", "male"}


def test_a_folder_without_such_names_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected names such as 26_1_2_.*, got none in 2 photos \(.*\)") as caught:
        read(touch(tmp_path, "a/1.jpg", "a/2.jpg"))
    assert caught.value.hint == "The first photo is a/1.jpg: the name is not age_gender_race_date."


def test_a_label_that_is_no_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected one of age, gender, race as the label, got 'smile'"):
        read(touch(tmp_path, WOMAN), label_column="smile")


def test_a_folder_without_photos_and_a_name_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected photos, got none"):
        read(tmp_path)
    with pytest.raises(DataError, match="Expected file names in UTF-8"):
        read(touch(tmp_path, os.fsdecode(b"caf\xe9/") + WOMAN))
