"""The manifest: photos by column, what is excluded does not count, and nothing changes once it is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.data.manifest import Manifest, ManifestRow, format_face_box, parse_face_box, require_labels
from edgegender.entities import FaceBox
from edgegender.errors import DataError, ManifestError

ROWS = (
    ManifestRow("a", "y", "train"),
    ManifestRow("b", "x", "train"),
    ManifestRow("c", "x", "test"),
    ManifestRow("d", "x"),
    ManifestRow("e", "z", "test", exclude="no_face"),
)


# Rows and columns


def test_rows_become_columns_and_rows_again() -> None:
    rows = [
        ManifestRow("a", "x", "val", "ab", FaceBox(1, 2, 3, 4), "", {"age": "3"}),
        ManifestRow("b", "y", extra={"race": "r"}),
    ]
    manifest = Manifest.from_rows(Path("folder"), rows)
    assert (manifest.folder, len(manifest)) == (Path("folder"), 2)
    assert manifest.column_names == ("path", "label", "split", "sha256", "face_box", "exclude", "age", "race")
    assert manifest.column("face_box") == ["1.0 2.0 3.0 4.0", ""]
    assert [dict(row.extra) for row in manifest.rows] == [{"age": "3", "race": ""}, {"age": "", "race": "r"}]
    assert (manifest.row(0).split, manifest.row(0).sha256, manifest.row(0).face_box) == ("val", "ab", rows[0].face_box)
    assert manifest.file(manifest.row(1)) == Path("folder/b")


def test_a_column_that_is_not_there_has_empty_cells() -> None:
    manifest = Manifest(Path(), {"path": ["a", "b"], "label": ["x", "y"]})
    assert list(manifest.column("age")) == ["", ""]
    assert manifest.row(1) == ManifestRow("b", "y")


@pytest.mark.parametrize(
    "columns",
    [{}, {"path": ["a"]}, {"label": ["x"]}, {"path": ["a"], "label": ["x", "y"]}],
    ids=["none", "no label", "no path", "lengths"],
)
def test_columns_that_make_no_manifest_are_refused(columns: dict[str, list[str]]) -> None:
    with pytest.raises(ManifestError, match=r"Expected the columns path and label, all of one length, got .*\(here\)"):
        Manifest(Path("here"), columns)


@pytest.mark.parametrize("name", ["path", "label", "split", "sha256", "face_box", "exclude"])
def test_an_extra_column_cannot_take_the_place_of_a_rows_own_field(name: str) -> None:
    with pytest.raises(ManifestError, match=f"Expected no field of a row among its extra columns, got {name}"):
        Manifest.from_rows(Path(), [ManifestRow("a", "x", extra={name: "other"})])


def test_no_rows_make_an_empty_manifest() -> None:
    manifest = Manifest.from_rows(Path(), [])
    assert (len(manifest), manifest.rows, manifest.labels, manifest.counts()) == (0, (), (), {})
    assert len(manifest.select()) == len(manifest.take([])) == 0


def test_rows_are_chosen_by_truth_or_by_place_and_columns_replaced_or_added() -> None:
    manifest = Manifest.from_rows(Path("f"), ROWS)
    chosen = manifest.where(row.label == "x" for row in ROWS)
    assert [row.path for row in chosen] == ["b", "c", "d"]
    assert [row.path for row in manifest.take([3, 0, 0])] == ["d", "a", "a"]
    changed = chosen.with_columns({"split": ["val"] * 3, "age": ["1", "2", "3"]})
    assert [(row.split, row.extra["age"]) for row in changed] == [("val", "1"), ("val", "2"), ("val", "3")]
    assert [row.split for row in chosen] == ["train", "test", ""]
    assert {part.folder for part in (chosen, changed, manifest.take([1]))} == {Path("f")}


@pytest.mark.parametrize("mask", [[True] * 4, [True] * 6, [False] * 4], ids=["short", "long", "short, none"])
def test_a_choice_of_another_length_is_refused(mask: list[bool]) -> None:
    with pytest.raises(ManifestError, match=r"Expected one value a row, 5 in all, got [46]"):
        Manifest.from_rows(Path(), ROWS).where(mask)


def test_columns_of_another_length_are_refused() -> None:
    with pytest.raises(ManifestError, match="all of one length"):
        Manifest.from_rows(Path(), ROWS).with_columns({"age": ["1"]})


# Face boxes


WRONG_BOXES = ["1 2 3", "1 2 3 4 5", "a b c d", "nan 0 1 1", "0 0 inf 1", "5 5 5 9", "9 9 1 1", "1e9 0 2e9 1"]


@pytest.mark.parametrize("cell", WRONG_BOXES)
def test_a_cell_that_is_no_face_box_is_refused(cell: str) -> None:
    with pytest.raises(ValueError, match=r"four numbers|x1 < x2|could not convert"):
        parse_face_box(cell)


tenths = st.integers(-9_999_999, 9_999_999).map(lambda number: number / 10)


@given(tenths, tenths, st.integers(1, 9_999).map(lambda number: number / 10))
def test_a_face_box_comes_back_from_its_cell(x: float, y: float, side: float) -> None:
    box = FaceBox(x, y, round(x + side, 1), round(y + side, 1))
    if max(abs(box.x2), abs(box.y2)) < 1e6:
        assert parse_face_box(format_face_box(box)) == box


def test_a_face_box_is_written_to_a_tenth_of_a_pixel() -> None:
    assert format_face_box(FaceBox(1.04, -2.05, 3, 4.96)) == "1.0 -2.0 3.0 5.0"
    assert format_face_box(None) == ""
    assert parse_face_box("  ") is None


# What a manifest answers


def test_excluded_rows_do_not_count_and_are_not_selected() -> None:
    manifest = Manifest.from_rows(Path(), ROWS)
    assert len(manifest) == 5
    assert manifest.labels == ("x", "y")
    assert [row.path for row in manifest.select()] == ["a", "b", "c", "d"]
    assert [row.path for row in manifest.select(split="test")] == ["c"]
    assert manifest.counts() == {"train": {"x": 1, "y": 1}, "test": {"x": 1, "y": 0}, "unsplit": {"x": 1, "y": 0}}


def test_the_labels_of_the_rows_are_those_asked_for() -> None:
    assert require_labels(Manifest.from_rows(Path(), ROWS), where="faces.csv") == ("x", "y")
    assert require_labels(Manifest.from_rows(Path(), ROWS), where="faces.csv", labels=["y", "x", "w"]) == (
        "y",
        "x",
        "w",
    )


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ((), None, r"Expected photos, got none \(here\)"),
        (ROWS[4:], None, r"Expected photos, got none \(here\)"),
        (ROWS[1:], None, r"Expected at least two labels, got 'x' only \(here\)"),
        (ROWS, ["x", "w"], r"Expected labels of x, w, got y \(here\)"),
    ],
    ids=["empty", "all excluded", "one label", "unknown label"],
)
def test_rows_that_cannot_be_learned_from_are_refused(
    rows: tuple[ManifestRow, ...], labels: list[str] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        require_labels(Manifest.from_rows(Path(), rows), where="here", labels=labels)
