"""Class folders: the folder's name is the label, whatever stands around it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgegender.data.readers.folders import read_folders
from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.errors import DataError, UsageError
from tests.data.readers.trees import answers, groups, touch


def read(folder: Path, levels: str | None = None) -> ReadResult:
    return read_folders(list_folder(folder), levels=None if levels is None else levels.split(","))


@pytest.mark.parametrize("labels", [("female", "male"), ("woman", "man"), ("Female", "Male"), ("f", "m"), ("x", "y")])
def test_labels_are_the_names_of_the_folders_letter_by_letter(tmp_path: Path, labels: tuple[str, str]) -> None:
    result = read(touch(tmp_path, *(f"{label}/{number}.jpg" for label in labels for number in range(2))))
    assert answers(result) == {f"{label}/{number}.jpg": (label, "") for label in labels for number in range(2)}
    assert (result.layout, result.skipped, result.num_unlisted, result.label_files) == ("folders", [], 0, ())


@pytest.mark.parametrize(
    ("path", "label", "split"),
    [
        ("train/x/1.jpg", "x", "train"),
        ("x/Validation/1.jpg", "x", "val"),
        ("TEST/x/1.jpg", "x", "test"),
        ("Training/x/1.jpg", "x", "train"),
        ("valid/x/1.jpg", "x", "val"),
        ("x/testing/1.jpg", "x", "test"),
        ("x/deep/train/1.jpg", "x", "train"),
        ("train/x/test/1.jpg", "x", "train"),
        ("trains/1.jpg", "trains", ""),
    ],
)
def test_split_folders_stand_at_any_level_and_the_first_counts(
    tmp_path: Path, path: str, label: str, split: str
) -> None:
    assert answers(read(touch(tmp_path, path))) == {path: (label, split)}


def test_folders_below_the_class_are_kept_as_a_group(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "x/asian/1.jpg", "x/asian/train/a/2.jpg", "y/3.jpg"))
    assert groups(result) == {
        "x/asian/1.jpg": {"subfolder": "asian"},
        "x/asian/train/a/2.jpg": {"subfolder": "asian/a"},
        "y/3.jpg": {},
    }


def test_the_name_of_the_folder_itself_is_no_split_and_no_label(tmp_path: Path) -> None:
    assert answers(read(touch(tmp_path / "test", "x/1.jpg"))) == {"x/1.jpg": ("x", "")}


@pytest.mark.parametrize("path", ["2.jpg", "train/2.jpg"])
def test_a_photo_outside_of_class_folders_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(
        DataError, match=r"Expected each label's photos in a folder of its own, got 2\.jpg in "
    ) as caught:
        read(touch(tmp_path, "x/1.jpg", path))
    assert "--labels CSV" in caught.value.hint


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Expected photos, got none"):
        read(touch(tmp_path, "x/1.txt"))


def test_a_name_that_a_manifest_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got 'caf\\udce9/1\.jpg'"):
        read(touch(tmp_path, os.fsdecode(b"caf\xe9/1.jpg")))


@pytest.mark.usefixtures("plain_user")
def test_a_class_that_may_not_be_read_is_refused() -> None:
    touch(Path("photos"), "x/1.jpg", "y/2.jpg")
    Path("photos/y").chmod(0)
    try:
        with pytest.raises(UsageError, match=r"got Permission denied \(photos/y\)"):
            read(Path("photos"))
    finally:
        Path("photos/y").chmod(0o700)


def test_pictures_of_other_formats_are_told(tmp_path: Path) -> None:
    assert read(touch(tmp_path, "x/1.jpg", "x/2.gif")).skipped == [("x/2.gif", "a format that is not read (.gif)")]


# Named levels


@pytest.mark.parametrize(
    ("path", "levels", "answer", "extra"),
    [
        ("images/female/asian/1.jpg", "-,label,race", ("female", ""), {"race": "asian"}),
        ("Validation/x/1.jpg", "split,label", ("x", "val"), {}),
        ("x/p1/1.jpg", "label,person", ("x", ""), {"person": "p1"}),
        ("a/train/1.jpg", "source,label", ("train", ""), {"source": "a"}),
        ("-/x/a/b/1.jpg", "-,label", ("x", ""), {"subfolder": "a/b"}),
        ("p/q/r/1.jpg", "label,-,age", ("p", ""), {"age": "r"}),
    ],
)
def test_levels_say_what_each_folder_means(
    tmp_path: Path, path: str, levels: str, answer: tuple[str, str], extra: dict[str, str]
) -> None:
    result = read(touch(tmp_path, path), levels)
    assert answers(result) == {path: answer}
    assert groups(result) == {path: extra}


def test_photos_above_the_named_levels_are_told_and_not_dropped_in_silence(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "a/x/1.jpg", "a/2.jpg", "3.jpg"), "-,label")
    assert answers(result) == {"a/x/1.jpg": ("x", "")}
    assert result.skipped == [
        ("3.jpg", "0 folder levels, not 2 (-,label)"),
        ("a/2.jpg", "1 folder levels, not 2 (-,label)"),
    ]


def test_levels_that_no_photo_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected photos at the folder levels -,label, got none \(.*\)") as caught:
        read(touch(tmp_path, "x/1.jpg"), "-,label")
    assert caught.value.hint == "The first photo is x/1.jpg."


def test_a_level_called_split_holds_splits_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected a split folder such as train, val or test, got 'x' \(.*x/train\)"):
        read(touch(tmp_path, "x/train/1.jpg"), "split,label")


@pytest.mark.parametrize(
    "levels", ["", "race", "label,label", "label,race,race", "label,sha256", "label,", "path,label", "-,-"]
)
def test_levels_that_make_no_sense_are_refused(tmp_path: Path, levels: str) -> None:
    with pytest.raises(UsageError, match="Expected folder levels such as split,label or -,label,race") as caught:
        read(touch(tmp_path, "x/1.jpg"), levels)
    assert "from the top" in caught.value.hint
