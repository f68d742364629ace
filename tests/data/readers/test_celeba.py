"""CelebA: one list of attributes, text or CSV, with splits and persons where they are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.data.readers.celeba import read_celeba
from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.errors import DataError, ManifestError
from tests.data.readers.trees import answers, groups, touch, write

TEXT = "3\nMale Smiling Young Eyeglasses\n000001.jpg -1  1  1 -1\n000002.jpg  1 -1 -1 -1\n000003.jpg  1 -1  1  1\n"
TABLE = "image_id,Male,Smiling,Young,Eyeglasses\n" + "".join(
    ",".join(line.split()) + "\n" for line in TEXT.splitlines()[2:]
)
NAMES = [f"img_align_celeba/00000{number}.jpg" for number in (1, 2, 3)]


def make(folder: Path, text: str = TEXT) -> Path:
    write(folder / "list_attr_celeba.txt", text)
    return touch(folder, *NAMES)


def read(folder: Path, *, labels: Path | None = None, label_column: str = "Male") -> ReadResult:
    return read_celeba(list_folder(folder), labels=labels, label_column=label_column)


def test_the_text_of_the_set_and_the_csv_made_of_it_say_the_same(tmp_path: Path) -> None:
    text = read(make(tmp_path / "text"))
    write(tmp_path / "csv" / "list_attr_celeba.csv", TABLE)
    table = read(touch(tmp_path / "csv", *NAMES))
    assert text.photos == table.photos
    assert answers(text) == dict(zip(NAMES, [("female", ""), ("male", ""), ("male", "")], strict=True))
    assert groups(text)[NAMES[0]] == {"Young": "yes", "Eyeglasses": "no"}
    assert (text.layout, text.skipped, text.num_unlisted) == ("celeba", [], 0)


def test_splits_and_persons_are_taken_where_they_are_there(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder / "Eval" / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n")
    write(folder / "Anno" / "identity_CelebA.txt", "000001.jpg 2880\n000003.jpg 7\n")
    result = read(folder)
    assert [photo.split for photo in result.photos] == ["train", "val", "test"]
    assert [photo.extra.get("person") for photo in result.photos] == ["2880", None, "7"]
    assert [file.name for file in result.label_files] == [
        "list_attr_celeba.txt",
        "list_eval_partition.txt",
        "identity_CelebA.txt",
    ]


def test_the_nested_folder_and_the_csv_files_of_a_popular_copy_are_read(tmp_path: Path) -> None:
    names = [f"img_align_celeba/{name}" for name in NAMES]
    write(touch(tmp_path, *names) / "list_attr_celeba.csv", TABLE)
    write(tmp_path / "list_eval_partition.csv", "image_id,partition\n000001.jpg,0\n000002.jpg,1\n000003.jpg,2\n")
    assert answers(read(tmp_path)) == dict(
        zip(names, [("female", "train"), ("male", "val"), ("male", "test")], strict=True)
    )


@pytest.mark.parametrize(
    ("column", "labels", "left"),
    [
        ("Smiling", ["Smiling", "not_Smiling", "not_Smiling"], {"Young", "Eyeglasses"}),
        ("Young", ["Young", "not_Young", "Young"], {"Eyeglasses"}),
    ],
)
def test_another_attribute_can_be_the_label(tmp_path: Path, column: str, labels: list[str], left: set[str]) -> None:
    result = read(make(tmp_path), label_column=column)
    assert [photo.label for photo in result.photos] == labels
    assert set(result.photos[0].extra) == left


def test_a_list_without_the_count_in_front_and_with_zeros_is_read(tmp_path: Path) -> None:
    result = read(make(tmp_path, "Male\n000001.jpg 0\n000002.jpg 1\n"))
    assert [photo.label for photo in result.photos] == ["female", "male"]
    assert [dict(photo.extra) for photo in result.photos] == [{}, {}]


def test_aligned_photos_are_taken_before_those_in_the_wild(tmp_path: Path) -> None:
    folder = make(tmp_path)
    touch(folder, "img_celeba/000001.jpg", "img_align_celeba_png/000001.png")
    result = read(folder)
    assert result.photos[0].path == NAMES[0]
    assert [path for path, _ in result.skipped] == ["img_align_celeba_png/000001.png", "img_celeba/000001.jpg"]


def test_photos_saved_as_png_are_found(tmp_path: Path) -> None:
    write(touch(tmp_path, "img_align_celeba_png/000001.png") / "list_attr_celeba.txt", TEXT)
    assert read(tmp_path).photos[0].path == "img_align_celeba_png/000001.png"


def test_a_photo_that_is_not_there_is_kept_where_it_would_stand_and_another_is_counted(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (folder / NAMES[1]).unlink()
    touch(folder, "img_align_celeba/000009.jpg")
    result = read(folder)
    assert answers(result)[NAMES[1]] == ("male", "")
    assert result.num_unlisted == 1


def test_the_list_may_stand_elsewhere_with_its_companions_beside_it(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", *NAMES)
    lists = tmp_path / "lists"
    file = write(lists / "list_attr_celeba.txt", TEXT)
    write(lists / "list_eval_partition.txt", "000001.jpg 2\n")
    assert [photo.split for photo in read(photos, labels=file).photos] == ["test", "", ""]
    assert read(photos, labels=lists).photos == read(photos, labels=file).photos


def test_companions_among_the_photos_are_found_when_only_the_list_is_elsewhere(tmp_path: Path) -> None:
    photos = touch(tmp_path / "photos", *NAMES)
    write(photos / "list_eval_partition.txt", "000001.jpg 1\n")
    file = write(tmp_path / "mine.txt", TEXT)
    assert read(photos, labels=file).photos[0].split == "val"


def test_persons_of_ten_thousand_photos_share_what_is_the_same(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder / "identity_CelebA.txt", "000001.jpg 1\n000002.jpg 2\n000003.jpg 2\n")
    write(folder / "list_attr_celeba.txt", TEXT.replace("000003.jpg  1 -1  1  1", "000003.jpg  1 -1 -1 -1"))
    first, second, third = (photo.extra for photo in read(folder).photos)
    assert second is third
    assert first is not second


def test_a_folder_without_the_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected list_attr_celeba\.txt or list_attr_celeba\.csv, got neither"):
        read(touch(tmp_path, *NAMES))


def test_a_folder_without_the_photos_is_refused(tmp_path: Path) -> None:
    write(touch(tmp_path, "other.jpg") / "list_attr_celeba.txt", TEXT)
    with pytest.raises(DataError, match="Expected the 3 photos that the list names, got none of them"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("3\n", "4\n", 1), r"Expected 4 rows, as the first line says, got 3 \(.*list_attr_celeba\.txt\)"),
        (TEXT + "000004.jpg 1 1\n", r"Expected 5 cells, got 3 \(.*, row 6\)"),
        (TEXT.replace("Male", "Man"), "Expected the columns image_id, Male, got no Male"),
        (TEXT.replace(" -1  1  1 -1", "  2  1  1 -1"), r"Expected Male to be one of -1, 0, 1, got '2' \(.*, row 3\)"),
        (TEXT.replace("1  1 -1\n", "1  5 -1\n"), r"Expected Young to be one of 1, -1, 0, got '5' \(.*, row 3\)"),
        (TEXT.replace("000002", "000001"), r"Expected each path once, got 000001\.jpg in rows 3 and 4"),
        ("", "Expected the columns image_id, Male, got no Male"),
    ],
    ids=["cut off", "cells", "column", "code", "group", "twice", "empty"],
)
def test_a_fault_of_the_list_is_named_with_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(make(tmp_path, text))


def test_a_partition_that_is_none_is_refused_with_its_row(tmp_path: Path) -> None:
    folder = make(tmp_path)
    write(folder / "list_eval_partition.txt", "000001.jpg 0\n000002.jpg 3\n")
    with pytest.raises(
        ManifestError, match=r"Expected the partition to be one of 0, 1, 2, got '3' \(.*partition\.txt, row 2\)"
    ):
        read(folder)
