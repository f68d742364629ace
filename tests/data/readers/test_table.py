"""A table of labels: every column is kept, and every fault is named with file and row."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import list_folder
from edgegender.data.readers.table import read_labels_table
from edgegender.entities import FaceBox
from edgegender.errors import ManifestError, MissingDependencyError
from tests.data.readers.trees import answers, groups, touch, write


def read(folder: Path, text: str, **columns: str) -> ReadResult:
    """Reads a table of labels that stands beside the photos."""
    return read_labels_table(list_folder(folder), write(folder / "labels.csv", text), **columns)


def test_a_table_gives_labels_splits_boxes_exclusions_and_groups(tmp_path: Path) -> None:
    result = read(
        touch(tmp_path, "1.jpg", "2.jpg", "3.jpg"),
        "path,label,split,face_box,exclude,age,race,sha256\n"
        "1.jpg,x,training,1 2 3 4,,20,a,ffff\n2.jpg,y,Validation,,,30,b,\n3.jpg,y,,,blurred,,,\n",
    )
    assert answers(result) == {"1.jpg": ("x", "train"), "2.jpg": ("y", "val"), "3.jpg": ("y", "")}
    assert [photo.face_box for photo in result.photos] == [FaceBox(1, 2, 3, 4), None, None]
    assert [photo.exclude for photo in result.photos] == ["", "", "blurred"]
    assert groups(result)["1.jpg"] == {"age": "20", "race": "a"}
    assert (result.layout, result.num_unlisted, result.label_files) == ("csv", 0, (tmp_path / "labels.csv",))


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    result = read(
        touch(tmp_path, "a/1.jpg"),
        "image,sex,fold\na/1.jpg,x,test\n",
        path_column="image",
        label_column="sex",
        split_column="fold",
    )
    assert answers(result) == {"a/1.jpg": ("x", "test")}
    assert groups(result) == {"a/1.jpg": {}}


def test_a_column_whose_place_is_taken_is_kept_under_another_name(tmp_path: Path) -> None:
    result = read(
        touch(tmp_path, "1.jpg"),
        "path,label,split,race,fold,original_label\n1.jpg,female,train,asian,test,f\n",
        label_column="race",
        split_column="fold",
    )
    assert answers(result) == {"1.jpg": ("asian", "test")}
    assert groups(result) == {
        "1.jpg": {"original_original_label": "female", "original_split": "train", "original_label": "f"}
    }


def test_columns_of_spreadsheets_and_pandas_without_a_meaning_are_left_out(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "1.jpg"), ",path,label,__index_level_0__,\n0,1.jpg,x,7,\n")
    assert groups(result) == {"1.jpg": {}}


def test_the_order_of_the_table_is_kept(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "1.jpg", "2.jpg", "3.jpg"), "path,label\n3.jpg,x\n1.jpg,y\n2.jpg,x\n")
    assert [photo.path for photo in result.photos] == ["3.jpg", "1.jpg", "2.jpg"]


def test_photos_with_the_same_groups_share_them_and_others_do_not(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "1.jpg"), "path,label,age\n1.jpg,x,20\n2.jpg,x,20\n3.jpg,x,30\n")
    first, second, third = (photo.extra for photo in result.photos)
    assert first is second
    assert (dict(first), dict(third)) == ({"age": "20"}, {"age": "30"})


def test_groups_of_their_own_for_more_photos_than_are_shared_stay_their_own(tmp_path: Path) -> None:
    lines = [f"{number}.jpg,x,{number}" for number in range(10_050)]
    result = read(tmp_path, "\n".join(["path,label,name", *lines]))
    assert all(photo.extra["name"] == photo.path.removesuffix(".jpg") for photo in result.photos)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte-order mark"])
def test_any_line_ending_is_read(tmp_path: Path, ending: str, mark: str) -> None:
    result = read(touch(tmp_path, "1.jpg"), mark + ending.join(["path,label", "1.jpg,x", '"a,b.jpg",y', ""]))
    assert answers(result) == {"1.jpg": ("x", ""), "a,b.jpg": ("y", "")}


def test_line_endings_may_be_mixed_in_one_file_and_rows_are_still_counted(tmp_path: Path) -> None:
    text = "path,label\r\n1.jpg,x\n2.jpg,y\r\n\n3.jpg,"
    assert len(read(tmp_path, text + "z\n").photos) == 3
    with pytest.raises(ManifestError, match=r"got an empty cell \(.*labels\.csv, row 5\)"):
        read(tmp_path, text + "\n")


# Photos there and not there


def test_a_photo_that_is_not_there_is_kept_and_one_that_is_not_named_is_counted(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "1.jpg", "a/2.jpg", "a/3.jpg"), "path,label\n1.jpg,x\nnone.jpg,y\n")
    assert answers(result) == {"1.jpg": ("x", ""), "none.jpg": ("y", "")}
    assert result.num_unlisted == 2


def test_a_table_without_rows_names_no_photo(tmp_path: Path) -> None:
    result = read(touch(tmp_path, "1.jpg"), "path,label\n")
    assert (result.photos, result.num_unlisted) == ([], 1)


@pytest.mark.usefixtures("plain_user")
def test_a_folder_beside_the_photos_that_may_not_be_read_is_told_and_no_error() -> None:
    touch(Path("photos"), "1.jpg", "private/2.jpg")
    Path("photos/private").chmod(0)
    try:
        result = read(Path("photos"), "path,label\n1.jpg,x\n")
        assert (result.skipped, result.num_unlisted) == ([("private", "Permission denied")], 0)
    finally:
        Path("photos/private").chmod(0o700)


# Paths


@pytest.mark.parametrize("cell", ["./a/1.jpg", "a//1.jpg", "a/./1.jpg", "b/../a/1.jpg", " a/1.jpg "])
def test_a_path_is_brought_into_its_simplest_form(tmp_path: Path, cell: str) -> None:
    assert [photo.path for photo in read(touch(tmp_path, "a/1.jpg"), f"path,label\n{cell},x\n").photos] == ["a/1.jpg"]


@pytest.mark.parametrize("name", [" 1.jpg", "a\\b.jpg", "C:\\1.jpg"])
def test_a_path_that_is_there_as_it_is_written_is_kept(tmp_path: Path, name: str) -> None:
    assert [photo.path for photo in read(touch(tmp_path, name), f"path,label\n{name},x\n").photos] == [name]


def test_an_absolute_path_inside_of_the_folder_becomes_relative_even_through_a_link(tmp_path: Path) -> None:
    folder = touch(tmp_path / "photos", "a/1.jpg", "a/2.jpg")
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    result = read(tmp_path / "link", f"path,label\n{folder}/a/1.jpg,x\n{tmp_path}/link/a/2.jpg,y\n")
    assert answers(result) == {"a/1.jpg": ("x", ""), "a/2.jpg": ("y", "")}
    assert result.num_unlisted == 0


@pytest.mark.parametrize(
    "cell", ["/home/me/1.jpg", "C:\\photos\\1.jpg", "d:/photos/1.jpg", "\\\\server\\photos\\1.jpg", "{folder}s/1.jpg"]
)
def test_an_absolute_path_from_another_machine_is_refused_with_its_row(tmp_path: Path, cell: str) -> None:
    folder = touch(tmp_path / "photos", "1.jpg")
    text = f"path,label\n1.jpg,x\n{cell.format(folder=folder)},y\n"
    with pytest.raises(
        ManifestError, match=r"Expected a path inside of .*photos, got the absolute path .* \(.*labels\.csv, row 3\)"
    ) as caught:
        read(folder, text)
    assert "another machine" in caught.value.hint


def test_a_path_with_backslashes_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(
        ManifestError, match=r"Expected a path with forward slashes, got 'a\\\\1\.jpg' \(.*, row 2\)"
    ) as caught:
        read(touch(tmp_path, "a/1.jpg"), "path,label\na\\1.jpg,x\n")
    assert caught.value.hint == "Write / in place of \\."


def test_a_path_with_a_control_character_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"without control characters, got 'a\\nb\.jpg' \(.*, row 3\)"):
        read(touch(tmp_path, "a\nb.jpg"), 'path,label\n"a\nb.jpg",x\n')


def test_a_path_that_stands_twice_is_refused_with_both_rows(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected each path once, got 1\.jpg in rows 2 and 4 \(.*labels\.csv\)"):
        read(touch(tmp_path, "1.jpg"), "path,label\n1.jpg,x\n2.jpg,y\n./1.jpg,y\n")


# Faults


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,name\n1.jpg,x\n", r"Expected the columns path, label, got no label \(.*labels\.csv\)"),
        ("path,label,split\n1.jpg,x,dev\n", r"Expected a split of train, val, test, got 'dev' \(.*, row 2\)"),
        ("path,label\n1.jpg,x\n2.jpg,\n", r"Expected a path and a label, got an empty cell \(.*, row 3\)"),
        ("path,label\n1.jpg,x\n ,y\n", r"Expected a path and a label, got an empty cell \(.*, row 3\)"),
        ("path,label,face_box\n1.jpg,x,1 2 3\n", r"Expected face_box as 'x1 y1 x2 y2', got '1 2 3' \(.*, row 2\)"),
        ("path,label\na,1.jpg,x\n", r"Expected as many cells as the header has, got another number \(.*, row 2\)"),
        ("path,label,label\n1.jpg,x,y\n", r"Expected each column once, got 'label' twice \(.*labels\.csv\)"),
        ('path,label\n"1.jpg,x\n', r"Expected a CSV, got: .* \(.*labels\.csv\)"),
        ("", r"Expected the columns path, label, got no path, label \(.*labels\.csv\)"),
    ],
    ids=["column", "split", "label", "path", "face box", "comma", "two columns", "quote", "empty"],
)
def test_a_fault_is_named_with_file_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read(touch(tmp_path, "1.jpg", "2.jpg"), text)


def test_a_wanted_column_that_is_missing_is_named_beside_those_there(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="Expected the columns file, label, fold, got no file, fold") as caught:
        read(tmp_path, "path,label\n1.jpg,x\n", path_column="file", split_column="fold")
    assert caught.value.hint == "Columns there: path, label"


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"got No such file or directory \(.*none\.csv\)"):
        read_labels_table(list_folder(tmp_path), tmp_path / "none.csv")


# Parquet


def write_parquet(file: Path, columns: dict[str, list[object]]) -> Path:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), file)
    return file


def test_a_parquet_table_reads_like_a_csv(tmp_path: Path) -> None:
    table = write_parquet(
        tmp_path / "labels.parquet",
        {
            "path": ["1.jpg", "2.jpg", "3.jpg"],
            "label": ["x", "y", "y"],
            "split": ["train", None, "val"],
            "age": [20, 30, None],
            "__index_level_0__": [0, 1, 2],
        },
    )
    result = read_labels_table(list_folder(touch(tmp_path, "1.jpg", "2.jpg")), table)
    assert answers(result) == {"1.jpg": ("x", "train"), "2.jpg": ("y", ""), "3.jpg": ("y", "val")}
    assert groups(result) == {"1.jpg": {"age": "20"}, "2.jpg": {"age": "30"}, "3.jpg": {"age": ""}}


def test_a_fault_of_a_parquet_table_is_named_with_its_row_from_one(tmp_path: Path) -> None:
    table = write_parquet(tmp_path / "labels.parquet", {"path": ["1.jpg", "2.jpg"], "label": ["x", ""]})
    with pytest.raises(ManifestError, match=r"got an empty cell \(.*labels\.parquet, row 2\)"):
        read_labels_table(list_folder(tmp_path), table)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(ManifestError, match=r"Expected a Parquet table .*\(.*labels\.parquet\)"):
        read_labels_table(list_folder(tmp_path), write(tmp_path / "labels.parquet", "path,label\n"))


def test_parquet_without_pyarrow_names_the_exact_pip_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # how Python itself marks what cannot be imported
    with pytest.raises(MissingDependencyError, match="Expected the package pyarrow") as caught:
        read_labels_table(list_folder(tmp_path), touch(tmp_path, "labels.parquet") / "labels.parquet")
    assert caught.value.hint == "pip install 'edgegender[data]'"


def test_a_real_table_names_photos_that_are_there(sample_folder: Path) -> None:
    result = read_labels_table(list_folder(sample_folder), sample_folder / "sample.csv")
    assert result.photos
    assert all((sample_folder / photo.path).is_file() for photo in result.photos)
    assert {photo.label for photo in result.photos} == {"female", "male"}
    assert {"source", "race"} == set(result.photos[0].extra)
