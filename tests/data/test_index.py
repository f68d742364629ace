"""Folders and CSVs of photos become a manifest: nothing lost in silence, no photo on two sides of a split."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from edgegender.data.index import index_folder
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.data.perceptual_hash import hash_picture
from edgegender.data.readers import find_photos
from edgegender.entities import FaceBox
from edgegender.errors import DataError, ManifestError, MissingDependencyError, UsageError
from edgegender.images import read_image
from tests import pictures


def write_photos(folder: Path, *names: str) -> None:
    """Writes a different small photo to each name."""
    for name in names:
        seed = int.from_bytes(name.encode()[-8:], "big")
        pictures.write_photo(folder / name, pictures.noise(8, 8, seed))


def index(folder: Path, **options: object) -> list[ManifestRow]:
    return list(index_folder(folder, output_folder=folder, with_phash=False, **options).manifest)  # type: ignore[arg-type]


# Finding photos


def test_photos_are_found_by_their_endings_in_any_case_and_sorted(tmp_path: Path) -> None:
    write_photos(tmp_path, "b/2.jpg", "b/1.png", "a/3.jpg")
    (tmp_path / "b" / "4.JPEG").touch()
    (tmp_path / "b" / "notes.txt").touch()
    found = [photo.relative_to(tmp_path).as_posix() for photo in find_photos(tmp_path)]
    assert found == ["a/3.jpg", "b/1.png", "b/2.jpg", "b/4.JPEG"]


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    write_photos(tmp_path, "a/1.jpg", ".cache/2.jpg", "a/.part-3.jpg", "a/._1.jpg")
    assert find_photos(tmp_path) == [tmp_path / "a" / "1.jpg"]


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write_photos(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self.jpg").symlink_to(tmp_path / "a" / "self.jpg")
    assert [photo.name for photo in find_photos(tmp_path)] == ["1.jpg", "self.jpg"]


def test_a_folder_called_like_a_photo_is_a_folder(tmp_path: Path) -> None:
    write_photos(tmp_path, "a/x.jpg/1.jpg")
    assert find_photos(tmp_path) == [tmp_path / "a" / "x.jpg" / "1.jpg"]


@pytest.mark.parametrize(("name", "what"), [("none", "nothing"), ("file", "a file")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=rf"Expected a folder of photos, got {what} at .*{name}"):
        find_photos(tmp_path / name)
    (tmp_path / "labels.csv").write_text("path,label\na.jpg,x\n")
    with pytest.raises(UsageError, match=rf"Expected a folder of photos, got {what} at .*{name}"):
        index(tmp_path / name, labels=tmp_path / "labels.csv")


def test_a_folder_name_that_no_folder_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a folder that can be read, got File name too long"):
        find_photos(tmp_path / ("a" * 300))


@pytest.mark.usefixtures("plain_user")
def test_a_subfolder_that_may_not_be_read_is_not_left_out_in_silence() -> None:
    write_photos(Path("photos"), "a/1.jpg", "b/2.jpg")
    Path("photos/b").chmod(0)
    try:
        with pytest.raises(UsageError, match=r"Expected a folder that can be read, got Permission denied \(photos/b\)"):
            find_photos(Path("photos"))
    finally:
        Path("photos/b").chmod(0o700)


def test_a_folder_without_photos_names_the_endings_that_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError, match=r"Expected photos, got none \(.*\)") as caught:
        find_photos(tmp_path)
    assert caught.value.hint == "Endings read: .bmp .jfif .jpeg .jpg .png .webp"


# Folder layouts


def test_class_folders_become_labels_with_hash_size_and_split(tmp_path: Path) -> None:
    write_photos(tmp_path, *(f"{label}/{number}.jpg" for label in "xy" for number in range(10)))
    rows = index(tmp_path)
    assert [(row.path, row.label) for row in rows[:1] + rows[-1:]] == [("x/0.jpg", "x"), ("y/9.jpg", "y")]
    assert all(len(row.sha256) == 64 and dict(row.extra) == {"width": "8", "height": "8"} for row in rows)
    assert Counter(row.split for row in rows) == {"train": 14, "val": 2, "test": 4}


@pytest.mark.parametrize(
    "names",
    [
        ("train/x/1.jpg", "Validation/x/2.jpg", "TEST/y/3.jpg"),
        ("x/train/1.jpg", "x/valid/2.jpg", "y/testing/3.jpg"),
        ("train/x/deep/1.jpg", "val/x/deep/2.jpg", "test/y/deep/3.jpg"),
    ],
    ids=["split over label", "label over split", "deeper folders"],
)
def test_split_folders_are_known_by_their_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_photos(tmp_path, *names)
    answers = {Path(row.path).stem: (row.label, row.split) for row in index(tmp_path)}
    assert answers == {"1": ("x", "train"), "2": ("x", "val"), "3": ("y", "test")}


def test_the_name_of_the_indexed_folder_itself_is_no_split(tmp_path: Path) -> None:
    write_photos(tmp_path / "test", *(f"{label}/{number}.jpg" for label in "xy" for number in range(10)))
    assert {row.split for row in index(tmp_path / "test")} == {"train", "val", "test"}


def test_labels_are_renamed_before_they_are_counted(tmp_path: Path) -> None:
    write_photos(tmp_path, "woman/1.jpg", "f/2.jpg", "man/3.jpg")
    rows = index(tmp_path, rename={"woman": "female", "f": "female", "man": "male"})
    assert [row.label for row in rows] == ["female", "male", "female"]


def test_photos_outside_of_class_folders_are_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, "x/1.jpg", "train/2.jpg")
    with pytest.raises(DataError, match=r"Expected each label's photos in a folder of its own, got 2\.jpg in .*train"):
        index(tmp_path)


def test_one_label_only_is_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, "faces/x/1.jpg", "faces/y/2.jpg")
    with pytest.raises(DataError, match=r"Expected at least two labels, got 'faces' only"):
        index(tmp_path)


def test_unreadable_photos_stay_with_a_reason_and_without_a_split(tmp_path: Path) -> None:
    write_photos(tmp_path, "x/1.jpg", "y/2.jpg")
    (tmp_path / "x" / "text.jpg").write_text("no photo")
    (tmp_path / "y" / "empty.jpg").touch()
    (tmp_path / "y" / "gone.jpg").symlink_to(tmp_path / "none.jpg")
    os.mkfifo(tmp_path / "y" / "pipe.jpg")
    rows = {row.path: row for row in index(tmp_path)}
    assert {path: row.exclude for path, row in rows.items()} == {
        "x/1.jpg": "",
        "x/text.jpg": "unreadable: format",
        "y/2.jpg": "",
        "y/empty.jpg": "unreadable: empty",
        "y/gone.jpg": "unreadable: missing",
        "y/pipe.jpg": "unreadable: missing",
    }
    assert {row.split for row in rows.values() if row.exclude} == {""}


def test_a_folder_of_text_files_called_like_photos_is_refused(tmp_path: Path) -> None:
    for name in ("x/1.jpg", "y/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("no photo")
    with pytest.raises(DataError, match="Expected photos that can be read, got 2 that cannot") as caught:
        index(tmp_path)
    assert caught.value.hint == "The first: x/1.jpg is unreadable: format."


@pytest.mark.parametrize("name", ["a\rb.jpg", os.fsdecode(b"caf\xe9.jpg")], ids=["carriage return", "not UTF-8"])
def test_a_name_that_a_manifest_cannot_hold_is_named(tmp_path: Path, name: str) -> None:
    write_photos(tmp_path, "y/2.jpg")
    pictures.write_photo(tmp_path / "x" / name, pictures.gradient(8, 8))
    with pytest.raises(
        DataError, match=r"Expected file names in UTF-8 without control characters, got 'x/.*(\\r|\\udce9)"
    ):
        index(tmp_path)


def test_paths_lead_from_the_manifest_to_the_photos_even_through_a_link(tmp_path: Path) -> None:
    write_photos(tmp_path / "store" / "photos", "x/1.jpg", "y/ žofie 2.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "photos", target_is_directory=True)
    output = tmp_path / "runs" / "a"
    rows = list(index_folder(tmp_path / "link", output_folder=output).manifest)
    assert [row.path for row in rows] == ["../../store/photos/x/1.jpg", "../../store/photos/y/ žofie 2.jpg"]
    write_manifest(output / "faces.csv", rows)
    manifest = read_manifest(output / "faces.csv")
    assert list(manifest) == rows
    assert all(manifest.file(row).is_file() for row in manifest)


def test_progress_counts_up_to_the_number_of_photos(tmp_path: Path) -> None:
    write_photos(tmp_path, "x/1.jpg", "y/2.jpg")
    calls: list[tuple[int, int]] = []
    index(tmp_path, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]


# A CSV


def test_a_csv_gives_labels_splits_boxes_groups_and_exclusions(tmp_path: Path) -> None:
    write_photos(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "labels.csv").write_text(
        "path,label,my_split,face_box,exclude,age\n"
        "1.jpg,x,training,1 2 3 4,,20\n2.jpg,y,Validation,,,30\n3.jpg,y,,,blurred,\n"
    )
    rows = index(tmp_path, labels=tmp_path / "labels.csv", split_column="my_split", rename={"y": "z"})
    assert [(row.path, row.label, row.split, row.exclude) for row in rows] == [
        ("1.jpg", "x", "train", ""),
        ("2.jpg", "z", "val", ""),
        ("3.jpg", "z", "", "blurred"),
    ]
    assert rows[0].face_box == FaceBox(1, 2, 3, 4)
    assert dict(rows[0].extra) == {"age": "20", "width": "8", "height": "8"}
    assert all(len(row.sha256) == 64 for row in rows)


def test_a_csv_without_splits_gets_drawn_ones(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(20)]
    write_photos(tmp_path, *names)
    lines = [f"{name},{'xy'[number % 2]}" for number, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]))
    counts = Counter(row.split for row in index(tmp_path, labels=tmp_path / "labels.csv"))
    assert counts == {"train": 14, "val": 2, "test": 4}


def test_a_photo_that_a_csv_names_and_nobody_has_stays_as_unreadable(tmp_path: Path) -> None:
    write_photos(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,x\n2.jpg,y\nnone.jpg,y\n")
    assert index(tmp_path, labels=tmp_path / "labels.csv")[2].exclude == "unreadable: missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,name\n1.jpg,x\n", r"Expected the columns path, label, got no label \(.*labels\.csv\)"),
        ("path,label,split\n1.jpg,x,dev\n", r"Expected a split of train, val, test, got 'dev' \(.*, row 2\)"),
        ("path,label\n1.jpg,x\n2.jpg,\n", r"Expected a path and a label, got an empty cell \(.*, row 3\)"),
        ("path,label\n1.jpg,x\n,y\n", r"Expected a path and a label, got an empty cell \(.*, row 3\)"),
        ("path,label,face_box\n1.jpg,x,1 2 3\n", r"Expected face_box as 'x1 y1 x2 y2', got '1 2 3' \(.*, row 2\)"),
        ("path,label\na,1.jpg,x\n", r"Expected as many cells as the header has, got another number \(.*, row 2\)"),
        ("path,label\n1.jpg,x\n./1.jpg,y\n", r"Expected each path once, got 1\.jpg in rows 2 and 3 \(.*labels\.csv\)"),
    ],
    ids=["column", "split", "label", "path", "face box", "comma", "twice"],
)
def test_a_fault_of_the_csv_is_named_with_its_row(tmp_path: Path, content: str, message: str) -> None:
    write_photos(tmp_path, "1.jpg", "2.jpg")
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ManifestError, match=message):
        index(tmp_path, labels=tmp_path / "labels.csv")


def test_a_csv_without_the_wanted_split_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,x\n")
    with pytest.raises(ManifestError, match="Expected the columns path, label, fold, got no fold") as caught:
        index(tmp_path, labels=tmp_path / "labels.csv", split_column="fold")
    assert caught.value.hint == "Columns there: path, label"


def test_a_csv_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\n")
    with pytest.raises(DataError, match="Expected photos that can be read, got 0 that cannot") as caught:
        index(tmp_path, labels=tmp_path / "labels.csv")
    assert caught.value.hint == "The list of photos is empty."


# Perceptual hashes, other layouts, labels


def test_perceptual_hashes_are_written_down_unless_nobody_wants_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_photos(tmp_path, "x/1.jpg", "y/2.jpg")
    (tmp_path / "y" / "text.jpg").write_text("no photo")
    manifest = index_folder(tmp_path, output_folder=tmp_path).manifest
    hashes = [hash_picture(read_image(tmp_path / name)) for name in ("x/1.jpg", "y/2.jpg")]
    assert list(manifest.column("phash")) == [*hashes, ""]
    monkeypatch.setitem(sys.modules, "imagehash", None)
    without = index_folder(tmp_path, output_folder=tmp_path, with_phash=False).manifest
    assert "phash" not in without.column_names
    assert list(without.column("sha256")) == list(manifest.column("sha256"))


def test_a_missing_hash_library_is_told_before_a_photo_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_photos(tmp_path, "x/1.jpg", "y/2.jpg")
    monkeypatch.setitem(sys.modules, "imagehash", None)
    calls: list[int] = []
    with pytest.raises(MissingDependencyError, match="Expected the package ImageHash to be installed"):
        index_folder(tmp_path, output_folder=tmp_path, on_progress=lambda done, _: calls.append(done))
    assert calls == []


def test_names_that_hold_the_labels_become_labels_and_groups(tmp_path: Path) -> None:
    write_photos(tmp_path, *(f"{age}_{age % 2}_3_20170116184024{age:03d}.jpg" for age in range(20, 40)))
    done = index_folder(tmp_path, output_folder=tmp_path, with_phash=False)
    assert (done.layout, len(done.manifest.labels), done.num_unlisted, done.skipped) == ("utkface", 2, 0, ())
    assert Counter(done.manifest.column("split")) == {"train": 14, "val": 2, "test": 4}
    assert [row.extra["age"] for row in done.manifest] == [str(age) for age in range(20, 40)]


def test_photos_that_no_list_names_and_files_without_a_place_are_told(tmp_path: Path) -> None:
    write_photos(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "labels.csv").write_text("path,label\n1.jpg,x\n2.jpg,y\n")
    done = index_folder(tmp_path, output_folder=tmp_path, labels=tmp_path / "labels.csv", with_phash=False)
    assert (done.layout, len(done.manifest), done.num_unlisted) == ("csv", 2, 1)


def test_folders_may_mean_something_else_than_labels(tmp_path: Path) -> None:
    write_photos(tmp_path, "x/young/1.jpg", "y/old/2.jpg")
    rows = index(tmp_path, levels=("label", "age"))
    assert [(row.label, row.extra["age"]) for row in rows] == [("x", "young"), ("y", "old")]


def test_renaming_a_label_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_photos(tmp_path, "x/1.jpg", "y/2.jpg")
    with pytest.raises(UsageError, match=r"Expected to rename a label that is there, got 'z'\.") as caught:
        index(tmp_path, rename={"x": "a", "z": "b"})
    assert caught.value.hint == "Labels: x, y"


def test_an_own_split_is_kept_and_photos_without_one_get_none(tmp_path: Path) -> None:
    write_photos(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "labels.csv").write_text("path,label,split\n1.jpg,x,train\n2.jpg,y,test\n3.jpg,y,\n")
    rows = index(tmp_path, labels=tmp_path / "labels.csv")
    assert [row.split for row in rows] == ["train", "test", ""]


def test_the_same_bytes_get_one_side_and_another_seed_another_cut(tmp_path: Path) -> None:
    for number in range(30):
        for copy in ("a", "b"):
            pictures.write_photo(tmp_path / "xy"[number % 2] / f"{number}{copy}.jpg", pictures.noise(8, 8, number))
    drawn = [{row.path: row.split for row in index(tmp_path, seed=seed)} for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(side == drawn[0][path.replace("a.jpg", "b.jpg")] for path, side in drawn[0].items())
