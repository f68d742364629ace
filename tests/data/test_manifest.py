"""The manifest: what is written comes back, and what is wrong is named with its file and row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegender.data.manifest import Manifest, ManifestRow, format_face_box, parse_face_box, require_labels
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.entities import FaceBox
from edgegender.errors import DataError, ManifestError, OutputError


def written(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "faces.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# What is written comes back

# Cells as they may stand in a table: no control characters, and no spaces at the ends (those are cut off on reading).
cells = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=12).map(str.strip)
words = cells.filter(bool)
tenths = st.integers(-5000, 5000).map(lambda number: number / 10)
boxes = st.builds(
    lambda x, y, side: FaceBox(x, y, round(x + side, 1), round(y + side, 1)), tenths, tenths, st.integers(1, 900)
)
rows_strategy = st.lists(
    st.builds(
        ManifestRow,
        path=words.filter(lambda path: not re.match(r"[/\\]|[A-Za-z]:[/\\]", path)),
        label=words,
        split=st.sampled_from(["", "train", "val", "test"]),
        sha256=st.sampled_from(["", "ab" * 32]),
        face_box=st.none() | boxes,
        exclude=cells,
        extra=st.fixed_dictionaries({"age": cells, "race, as written": cells, "width": st.just("10")}),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda row: row.path,
)


@given(rows_strategy)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_as_they_were_written(tmp_path: Path, rows: list[ManifestRow]) -> None:
    write_manifest(tmp_path / "faces.csv", rows)
    manifest = read_manifest(tmp_path / "faces.csv")
    assert list(manifest) == rows
    assert manifest.folder == tmp_path


def test_writing_what_was_read_gives_the_same_bytes(tmp_path: Path) -> None:
    text = "path,label,split,sha256,face_box,exclude,age\na.jpg,x,train,,1.0 2.0 3.0 4.0,,30\nb.jpg,y,,,,no_face,\n"
    write_manifest(tmp_path / "again.csv", read_manifest(written(tmp_path, text)))
    assert (tmp_path / "again.csv").read_text() == text


@pytest.mark.parametrize("name", [" a.jpg", "a.jpg ", "a,b.jpg", 'a"b.jpg', "žofie 顔.jpg", "a\nb.jpg", "a;b.jpg"])
def test_any_photo_name_comes_back_exactly(tmp_path: Path, name: str) -> None:
    write_manifest(tmp_path / "faces.csv", [ManifestRow(name, "x")])
    assert [row.path for row in read_manifest(tmp_path / "faces.csv")] == [name]


def test_a_column_that_only_some_rows_have_is_empty_in_the_others(tmp_path: Path) -> None:
    write_manifest(
        tmp_path / "faces.csv", [ManifestRow("a", "x", extra={"age": "3"}), ManifestRow("b", "y", extra={"race": "r"})]
    )
    assert [dict(row.extra) for row in read_manifest(tmp_path / "faces.csv")] == [
        {"age": "3", "race": ""},
        {"age": "", "race": "r"},
    ]


def test_known_columns_stand_first_and_only_where_they_are_used(tmp_path: Path) -> None:
    write_manifest(tmp_path / "faces.csv", [ManifestRow("a", "x", extra={"age": "3", "height": "1", "width": "2"})])
    header = (tmp_path / "faces.csv").read_text().splitlines()[0]
    assert header == "path,label,split,width,height,sha256,face_box,exclude,age"


def test_a_manifest_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Expected to write .*file, got File exists"):
        write_manifest(tmp_path / "file" / "faces.csv", [ManifestRow("a", "x")])


# Reading what others wrote


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte-order mark"])
@pytest.mark.parametrize("last", ["", "end"], ids=["no last ending", "last ending"])
def test_any_line_ending_with_or_without_a_byte_order_mark_is_read(
    tmp_path: Path, ending: str, mark: bytes, last: str
) -> None:
    lines = ["path,label,age", "a.jpg,x,1", '"b,c.jpg",y,2']
    content = mark + (ending.join(lines) + (ending if last else "")).encode()
    manifest = read_manifest(written(tmp_path, content))
    assert [(row.path, row.label, row.extra["age"]) for row in manifest] == [("a.jpg", "x", "1"), ("b,c.jpg", "y", "2")]


def test_path_and_label_are_enough(tmp_path: Path) -> None:
    assert read_manifest(written(tmp_path, "label,path\nx,a.jpg\n")).rows == (ManifestRow("a.jpg", "x"),)


def test_spaces_around_a_label_or_a_group_do_not_count(tmp_path: Path) -> None:
    (row,) = read_manifest(written(tmp_path, "path,label,split,age\na.jpg, x , train, 3 \n"))
    assert (row.label, row.split, row.extra["age"]) == ("x", "train", "3")


def test_photos_are_looked_for_beside_the_manifest_wherever_it_is_read_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    written(tmp_path / "sub", "path,label\nx/a.jpg,x\n")
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(Path("sub/faces.csv"))
    monkeypatch.chdir("/")
    assert manifest.file(manifest.rows[0]) == tmp_path / "sub" / "x" / "a.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"Expected the columns path and label, got an empty file \(.*faces\.csv\)"),
        ("path,split\na.jpg,train\n", r"Expected the columns path and label, got path, split \(.*faces\.csv\)"),
        ("name;label\na.jpg;x\n", r"Expected the columns path and label, got name;label"),
        ("path,label\n", r"Expected at least one photo, got none \(.*faces\.csv\)"),
        ("path,label,label\na.jpg,x,y\n", r"Expected each column once, got 'label' twice"),
        ("path,label\na,x\nb,y\na,x\n", r"Expected each path once, got a in rows 2 and 4"),
        ("path,label\na,x\nb,y,z\n", r"Expected as many cells as the header has, got another number \(.*, row 3\)"),
        ("path,label\na,x\nb\n", r"Expected as many cells as the header has, got another number \(.*, row 3\)"),
        ("path,label\n\n\na,x\nb\n", r"Expected as many cells as the header has, got another number \(.*, row 5\)"),
        ("path,label\n  ,x\n", r"Expected a path, got an empty cell \(.*, row 2\)"),
        ("path,label\na,x\nb, \n", r"Expected a label, got an empty cell \(.*, row 3\)"),
        ("path,label,split\na,x,Train\n", r"Expected a split of train, val, test, got 'Train' \(.*, row 2\)"),
        ('path,label\n"a,x\n', r"Expected a CSV, got: .*\(.*faces\.csv\)"),
        (b"path,label\n\xff\xfe,x\n", r"Expected a CSV in UTF-8, got other bytes \(.*faces\.csv\)"),
    ],
    ids=lambda value: None if isinstance(value, bytes) or value.startswith("Expected") else repr(value)[:40],
)
def test_a_fault_is_named_with_its_file_and_row(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(written(tmp_path, content))


@pytest.mark.parametrize(
    "cell", ["1 2 3", "1 2 3 4 5", "a b c d", "nan 0 1 1", "0 0 inf 1", "5 5 5 9", "9 9 1 1", "1e9 0 2e9 1"]
)
def test_a_face_box_that_is_none_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    file = written(tmp_path, f"path,label,face_box\na,x,\nb,x,{cell}\n")
    with pytest.raises(ManifestError, match=rf"Expected face_box as 'x1 y1 x2 y2', got '{cell}' \(.*, row 3\)"):
        read_manifest(file)
    with pytest.raises(ValueError, match=r"four numbers|x1 < x2|could not convert"):
        parse_face_box(cell)


def test_a_face_box_is_written_to_a_tenth_of_a_pixel() -> None:
    assert format_face_box(FaceBox(1.04, -2.05, 3, 4.96)) == "1.0 -2.0 3.0 5.0"
    assert format_face_box(None) == ""
    assert parse_face_box("  ") is None


@pytest.mark.parametrize("name", ["none.csv", "."], ids=["missing", "a folder"])
def test_a_manifest_that_cannot_be_read_names_the_way_to_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match=r"Expected a manifest, got (No such file|Is a directory)") as caught:
        read_manifest(tmp_path / name)
    assert caught.value.hint == "Make one with: edgegender data index FOLDER -o faces.csv"


# What a manifest answers

ROWS = (
    ManifestRow("a", "y", "train"),
    ManifestRow("b", "x", "train"),
    ManifestRow("c", "x", "test"),
    ManifestRow("d", "x"),
    ManifestRow("e", "z", "test", exclude="no_face"),
)


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
