"""The layout of a folder is found out, or said; what is not certain is asked and never guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.data import readers
from edgegender.data.readers import LAYOUTS, read_layout
from edgegender.errors import DataError, ManifestError, UsageError
from tests.data.readers.trees import answers, groups, touch, write

UTKFACE = ("26_1_2_20170116184024662.jpg", "30_0_0_20170116184024663.jpg")
ALL_AGE_FACES = ("00000A02.jpg", "13321A80.jpg")


def make_fairface(folder: Path) -> Path:
    write(folder / "fairface_label_val.csv", "file,age,gender,race,service_test\nval/1.jpg,3-9,Male,Black,True\n")
    return touch(folder, "val/1.jpg")


def make_celeba(folder: Path) -> Path:
    write(folder / "Anno" / "list_attr_celeba.txt", "1\nMale Smiling\n000001.jpg -1 1\n")
    return touch(folder, "Img/img_align_celeba/000001.jpg")


def make_table(folder: Path) -> Path:
    return write(folder / "labels.csv", "path,label\nx/1.jpg,a\n")


def test_every_layout_is_described() -> None:
    assert all(f"\n{layout} " in (readers.__doc__ or "") for layout in LAYOUTS)


def test_class_folders_are_found_out(tmp_path: Path) -> None:
    result = read_layout(touch(tmp_path, "train/x/1.jpg", "val/y/2.jpg"))
    assert result.layout == "folders"
    assert answers(result) == {"train/x/1.jpg": ("x", "train"), "val/y/2.jpg": ("y", "val")}


@pytest.mark.parametrize("prefix", ["", "UTKFace/", "train/", "data/UTKFace/"])
def test_utkface_is_found_out_by_its_names_even_with_a_few_others(tmp_path: Path, prefix: str) -> None:
    names = [f"{number}_1_2_20170116184024662.jpg" for number in range(1, 20)]
    result = read_layout(touch(tmp_path, *(prefix + name for name in names), f"{prefix}39_1_20170116174525125.jpg"))
    assert (result.layout, len(result.photos), len(result.skipped)) == ("utkface", 19, 1)


def test_the_parts_that_utkface_comes_in_are_no_classes(tmp_path: Path) -> None:
    assert read_layout(touch(tmp_path, f"part1/{UTKFACE[0]}", f"part2/{UTKFACE[1]}")).layout == "utkface"


def test_fairface_and_celeba_are_found_out_by_their_lists(tmp_path: Path) -> None:
    assert read_layout(make_fairface(tmp_path / "fairface")).layout == "fairface"
    assert read_layout(make_celeba(tmp_path / "celeba")).layout == "celeba"


def test_all_age_faces_is_found_out_by_its_names(tmp_path: Path) -> None:
    folder = touch(tmp_path, *(f"All-Age-Faces Dataset/aglined faces/{name}" for name in ALL_AGE_FACES))
    assert [photo.label for photo in read_layout(folder).photos] == ["female", "male"]
    write(folder / "All-Age-Faces Dataset" / "image sets" / "val.txt", "00000A02 0\n")
    result = read_layout(folder)
    assert (result.layout, len(result.photos), result.num_unlisted) == ("all_age_faces", 1, 1)


def test_lists_named_train_and_val_beside_other_photos_mean_nothing(tmp_path: Path) -> None:
    assert read_layout(touch(tmp_path, "x/1.jpg", "train.txt", "val.txt")).layout == "folders"


@pytest.mark.parametrize("names", [UTKFACE, ALL_AGE_FACES], ids=["utkface", "all_age_faces"])
def test_names_of_a_known_set_in_class_folders_are_asked_about(tmp_path: Path, names: tuple[str, str]) -> None:
    folder = touch(tmp_path, f"female/{names[0]}", f"male/{names[1]}")
    with pytest.raises(UsageError, match=r"Expected one layout, got signs of \w+ and folders \(.*\)") as caught:
        read_layout(folder)
    assert caught.value.hint == f"Say which with --layout: {', '.join(LAYOUTS)}."
    assert [photo.label for photo in read_layout(folder, layout="folders").photos] == ["female", "male"]


def test_lists_of_two_sets_are_asked_about(tmp_path: Path) -> None:
    make_celeba(tmp_path)
    make_fairface(tmp_path)
    with pytest.raises(UsageError, match="Expected one layout, got signs of fairface and celeba"):
        read_layout(tmp_path)
    assert read_layout(tmp_path, layout="celeba").layout == "celeba"


def test_a_table_is_read_as_one_and_a_known_list_as_that(tmp_path: Path) -> None:
    folder = make_celeba(touch(tmp_path, "x/1.jpg"))
    assert read_layout(folder, labels=make_table(tmp_path)).layout == "csv"
    assert read_layout(folder, labels=folder / "Anno" / "list_attr_celeba.txt").layout == "celeba"
    assert read_layout(folder, labels=folder / "Anno").layout == "celeba"


def test_a_table_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"No such file or directory \(.*none\.csv\)"):
        read_layout(touch(tmp_path, "x/1.jpg"), labels=tmp_path / "none.csv")


def test_a_folder_without_known_lists_is_no_place_of_labels(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    with pytest.raises(UsageError, match=r"Expected a table or a folder with known lists, got none \(.*lists\)"):
        read_layout(touch(tmp_path, "x/1.jpg"), labels=tmp_path / "lists")


def test_options_reach_the_reader(tmp_path: Path) -> None:
    touch(tmp_path, "x/1.jpg", f"utk/{UTKFACE[0]}")
    table = write(tmp_path / "labels.csv", "file,sex,fold\nx/1.jpg,a,test\n")
    result = read_layout(tmp_path, labels=table, path_column="file", label_column="sex", split_column="fold")
    assert answers(result) == {"x/1.jpg": ("a", "test")}
    assert [photo.label for photo in read_layout(tmp_path / "utk", label_column="race").photos] == ["Asian"]
    smiling = read_layout(make_celeba(tmp_path / "celeba"), label_column="Smiling")
    assert [photo.label for photo in smiling.photos] == ["Smiling"]


def test_named_levels_mean_class_folders(tmp_path: Path) -> None:
    result = read_layout(touch(tmp_path, "images/x/asian/1.jpg"), levels=["-", "label", "race"])
    assert (result.layout, groups(result)) == ("folders", {"images/x/asian/1.jpg": {"race": "asian"}})


@pytest.mark.parametrize(
    ("layout", "options", "name"),
    [
        ("folders", {"labels": Path("labels.csv")}, "labels"),
        ("folders", {"label_column": "race"}, "label_column"),
        ("utkface", {"labels": Path("labels.csv")}, "labels"),
        ("utkface", {"levels": ["label"]}, "levels"),
        ("fairface", {"path_column": "file"}, "path_column"),
        ("celeba", {"split_column": "fold"}, "split_column"),
        ("csv", {"levels": ["label"], "labels": Path("labels.csv")}, "levels"),
    ],
)
def test_an_option_that_a_layout_has_no_use_for_is_refused(
    tmp_path: Path, layout: str, options: dict[str, object], name: str
) -> None:
    with pytest.raises(UsageError, match=f"Expected no {name} with the layout {layout}, got one"):
        read_layout(touch(tmp_path, "x/1.jpg"), layout=layout, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [None, Path()], ids=["none", "a folder"])
def test_the_layout_csv_needs_a_table(tmp_path: Path, labels: Path | None) -> None:
    with pytest.raises(UsageError, match="Expected a table for the layout csv, got") as caught:
        read_layout(touch(tmp_path, "x/1.jpg"), layout="csv", labels=labels)
    assert caught.value.hint == "Name it with --labels FILE."


def test_a_layout_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected a layout of folders, csv, .*, got 'imagenet'"):
        read_layout(tmp_path, layout="imagenet")


def test_a_folder_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected a folder of photos, got nothing at .*none"):
        read_layout(tmp_path / "none", labels=make_table(tmp_path))
    with pytest.raises(DataError, match="Expected photos, got none"):
        read_layout(tmp_path)


def test_real_class_folders_are_read(sample_folder: Path) -> None:
    result = read_layout(sample_folder / "faces")
    assert {photo.label for photo in result.photos} == {"female", "male"}
    assert all((sample_folder / "faces" / photo.path).is_file() for photo in result.photos)
