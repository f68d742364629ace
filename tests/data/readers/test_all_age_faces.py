"""All-Age-Faces: lists where they are there, else the serial number."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.data.readers.all_age_faces import read_all_age_faces
from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.errors import DataError, ManifestError, UsageError
from tests.data.readers.trees import answers, groups, touch, write

ROOT = "All-Age-Faces Dataset"
FACES = f"{ROOT}/aglined faces"
NAMES = ("00000A02", "07380A80", "07381A02", "13321A80")


def make(folder: Path, *, train: str = "00000A02.jpg 0\n13321A80.jpg 1\n") -> Path:
    write(folder / ROOT / "image sets" / "train.txt", train)
    write(folder / ROOT / "image sets" / "val.txt", "07380A80.jpg 0\r\n07381A02.jpg 1\r\n")
    return touch(folder, *(f"{FACES}/{name}.jpg" for name in NAMES))


def read(folder: Path, *, labels: Path | None = None, label_column: str = "gender") -> ReadResult:
    return read_all_age_faces(list_folder(folder), labels=labels, label_column=label_column)


def test_lists_give_label_and_split_and_names_the_age(tmp_path: Path) -> None:
    result = read(make(tmp_path))
    assert answers(result) == {
        f"{FACES}/00000A02.jpg": ("female", "train"),
        f"{FACES}/13321A80.jpg": ("male", "train"),
        f"{FACES}/07380A80.jpg": ("female", "val"),
        f"{FACES}/07381A02.jpg": ("male", "val"),
    }
    assert [photo.extra["age"] for photo in result.photos] == ["2", "80", "80", "2"]
    assert (result.layout, result.skipped, result.num_unlisted) == ("all_age_faces", [], 0)
    assert [file.name for file in result.label_files] == ["train.txt", "val.txt"]


def test_the_lists_count_and_not_the_serial_number(tmp_path: Path) -> None:
    folder = make(tmp_path, train="00000A02.jpg 1\n13321A80.jpg 0\n")
    assert [photo.label for photo in read(folder).photos[:2]] == ["male", "female"]


def test_rows_without_an_ending_as_the_page_of_the_set_writes_them_are_read(tmp_path: Path) -> None:
    folder = make(tmp_path, train="00000A02 0\n13321A80 1\n")
    assert answers(read(folder))[f"{FACES}/13321A80.jpg"] == ("male", "train")


def test_without_lists_the_serial_number_tells_and_there_is_no_split(tmp_path: Path) -> None:
    result = read(touch(tmp_path, *(f"{FACES}/{name}.jpg" for name in NAMES)))
    assert [(photo.label, photo.split) for photo in result.photos] == [
        ("female", ""),
        ("female", ""),
        ("male", ""),
        ("male", ""),
    ]
    assert result.label_files == ()


def test_without_lists_other_names_are_told(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "00000A02.jpg", "13322A20.jpg", "example/img_kp.bmp"))
    assert list(answers(result)) == ["00000A02.jpg"]
    assert result.skipped == [
        ("13322A20.jpg", "the serial number is above 13321"),
        ("example/img_kp.bmp", "the name is not a serial number and an age"),
    ]


@pytest.mark.parametrize("with_lists", [True, False])
def test_aligned_faces_are_taken_before_original_images(tmp_path: Path, with_lists: bool) -> None:
    folder = make(tmp_path) if with_lists else touch(tmp_path, f"{FACES}/00000A02.jpg")
    result = read(touch(folder, f"{ROOT}/original images/00000A02.jpg"))
    assert result.photos[0].path == f"{FACES}/00000A02.jpg"
    assert result.skipped == [(f"{ROOT}/original images/00000A02.jpg", "another version of a photo")]
    assert result.num_unlisted == 0


def test_the_age_can_be_the_label(tmp_path: Path) -> None:
    result = read(make(tmp_path), label_column="age")
    assert [photo.label for photo in result.photos] == ["2", "80", "80", "2"]
    assert groups(result)[f"{FACES}/00000A02.jpg"] == {"gender": "female"}


def test_one_list_alone_leaves_the_other_photos_unlisted(tmp_path: Path) -> None:
    folder = make(tmp_path)
    result = read(folder, labels=folder / ROOT / "image sets" / "val.txt")
    assert [photo.split for photo in result.photos] == ["val", "val"]
    assert result.num_unlisted == 2


def test_lists_of_the_set_are_taken_before_others_of_the_same_name(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder / "train.txt", "someone's notes\n")
    assert len(read(folder).photos) == 4


def test_lists_may_stand_in_another_folder_and_must_be_there(tmp_path: Path) -> None:
    photos = make(tmp_path / "photos")
    lists = write(tmp_path / "lists" / "train.txt", "00000A02.jpg 0\n").parent
    assert len(read(photos, labels=lists).photos) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"Expected train\.txt or val\.txt, got neither \(.*empty\)"):
        read(photos, labels=tmp_path / "empty")


def test_a_photo_that_is_not_there_is_kept_where_it_would_stand(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / FACES / "13321A80.jpg").unlink()
    assert answers(read(folder))[f"{FACES}/13321A80.jpg"] == ("male", "train")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("00000A02.jpg 2\n", r"Expected gender to be one of 0, 1, got '2' \(.*train\.txt, row 1\)"),
        ("00000A02.jpg\n", r"Expected 2 cells, got 1 \(.*train\.txt, row 1\)"),
        ("1.jpg 0\n", r"Expected a name such as 00000A02\.jpg, got '1\.jpg' \(.*train\.txt, row 1\)"),
        ("00000A02.jpg 0\n00000A02.jpg 1\n", r"got 00000A02 in rows 1 and 2 \(.*train\.txt\)"),
        ("07381A02.jpg 1\n", r"got 07381A02 in row 1 of .*train\.txt and row 2 \(.*val\.txt\)"),
    ],
    ids=["code", "cells", "name", "twice", "in both lists"],
)
def test_a_fault_of_a_list_is_named_with_file_and_row(tmp_path: Path, train: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(make(tmp_path, train=train))


def test_photos_of_another_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected names such as 00000A02\.jpg, got none in 1 photos") as caught:
        read(touch(tmp_path, "a/1.jpg"))
    assert caught.value.hint == "The first photo is a/1.jpg."
    with pytest.raises(UsageError, match="Expected one of gender, age as the label, got 'race'"):
        read(tmp_path, label_column="race")
