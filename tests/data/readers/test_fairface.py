"""FairFace: two lists, one photo a row, in the folder or below it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.data.readers.fairface import read_fairface
from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.errors import DataError, ManifestError
from tests.data.readers.trees import answers, groups, touch, write

HEADER = "file,age,gender,race,service_test\n"
TRAIN = HEADER + "train/1.jpg,50-59,Male,East Asian,True\ntrain/2.jpg,more than 70,Female,Latino_Hispanic,False\n"
VAL = HEADER + "val/1.jpg,3-9,Male,East Asian,False\n"


def make(folder: Path, *, prefix: str = "") -> Path:
    write(folder / "fairface_label_train.csv", TRAIN)
    write(folder / "fairface_label_val.csv", VAL)
    return touch(folder, *(f"{prefix}{name}" for name in ("train/1.jpg", "train/2.jpg", "val/1.jpg")))


def read(folder: Path, *, labels: Path | None = None, label_column: str = "gender") -> ReadResult:
    return read_fairface(list_folder(folder), labels=labels, label_column=label_column)


@pytest.mark.parametrize("prefix", ["", "fairface-img-margin025-trainval/", "a/b/"])
def test_lists_give_label_split_and_all_other_columns(tmp_path: Path, prefix: str) -> None:
    result = read(make(tmp_path, prefix=prefix))
    assert answers(result) == {
        f"{prefix}train/1.jpg": ("male", "train"),
        f"{prefix}train/2.jpg": ("female", "train"),
        f"{prefix}val/1.jpg": ("male", "val"),
    }
    assert groups(result)[f"{prefix}train/2.jpg"] == {
        "age": "more than 70",
        "race": "Latino_Hispanic",
        "service_test": "False",
    }
    assert (result.layout, result.skipped, result.num_unlisted) == ("fairface", [], 0)
    assert [file.name for file in result.label_files] == ["fairface_label_train.csv", "fairface_label_val.csv"]


def test_another_column_can_be_the_label(tmp_path: Path) -> None:
    result = read(make(tmp_path), label_column="race")
    assert answers(result)["val/1.jpg"] == ("East Asian", "val")
    assert groups(result)["val/1.jpg"] == {"age": "3-9", "gender": "male", "service_test": "False"}


def test_one_list_alone_is_enough_and_the_other_photos_are_counted(tmp_path: Path) -> None:
    folder = make(tmp_path)
    result = read(folder, labels=folder / "fairface_label_val.csv")
    assert answers(result) == {"val/1.jpg": ("male", "val")}
    assert result.num_unlisted == 2


def test_lists_may_stand_in_another_folder(tmp_path: Path) -> None:
    make(tmp_path / "lists")
    photos = touch(tmp_path / "photos", "train/1.jpg")
    assert len(read(photos, labels=tmp_path / "lists").photos) == 3


def test_a_photo_that_is_not_there_is_kept_where_it_would_stand(tmp_path: Path) -> None:
    folder = make(tmp_path, prefix="faces/")
    (folder / "faces" / "val" / "1.jpg").unlink()
    assert answers(read(folder))["faces/val/1.jpg"] == ("male", "val")


def test_two_margins_in_one_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path, prefix="margin025/")
    with pytest.raises(DataError, match=r"got margin025/train/1\.jpg and margin125/train/1\.jpg"):
        read(make(tmp_path, prefix="margin125/"))


def test_a_folder_without_lists_is_refused(tmp_path: Path) -> None:
    photos = touch(tmp_path, "train/1.jpg")
    with pytest.raises(DataError, match=r"Expected fairface_label_train\.csv or fairface_label_val\.csv, got neither"):
        read(photos)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,age\ntrain/1.jpg,3-9\n", r"Expected the columns file, gender, got no gender \(.*list\.csv\)"),
        (HEADER + "train/1.jpg,3-9,Man,Black,True\n", r"Expected gender to be one of Female, Male, got 'Man' .*row 2"),
        (HEADER + "train/1.jpg,3-9,Male,Black\n", r"Expected 5 cells, got 4 \(.*list\.csv, row 2\)"),
        (HEADER + ",3-9,Male,Black,True\n", r"Expected a file and a label, got an empty cell \(.*list\.csv, row 2\)"),
        (TRAIN + "train/1.jpg,3-9,Male,Black,True\n", r"got train/1\.jpg in rows 2 and 4 \(.*list\.csv\)"),
    ],
    ids=["column", "word", "cells", "empty", "twice"],
)
def test_a_fault_of_a_list_is_named_with_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(touch(tmp_path, "train/1.jpg"), labels=write(tmp_path / "list.csv", text))


def test_a_photo_in_both_lists_is_refused_with_both_places(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder / "fairface_label_val.csv", VAL + "train/2.jpg,3-9,Male,Black,True\n")
    with pytest.raises(ManifestError, match=r"got train/2\.jpg in row 3 of .*_train\.csv and row 3 \(.*_val\.csv\)"):
        read(folder)
