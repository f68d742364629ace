"""Manifests on disk: what is written comes back, and what is wrong is named with its file and row."""

from __future__ import annotations

import hashlib
import re
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgegender.data.manifest import Manifest, ManifestRow, parse_face_box
from edgegender.data.manifest_file import read_manifest, read_table, rebase, write_manifest
from edgegender.entities import FaceBox
from edgegender.errors import ManifestError, OutputError
from tests.data.test_manifest import WRONG_BOXES


def written(tmp_path: Path, content: str | bytes) -> Path:
    file = tmp_path / "faces.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


# What is written comes back

# Cells as they may stand in a table: any character that UTF-8 holds (line ends, too; Python 3.10 cannot read NUL), but
# no spaces at the ends, which are cut off on reading except from a path.
texts = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=12)
cells = texts.map(str.strip)
words = cells.filter(bool)
tenths = st.integers(-5000, 5000).map(lambda number: number / 10)
boxes = st.builds(
    lambda x, y, side: FaceBox(x, y, round(x + side, 1), round(y + side, 1)), tenths, tenths, st.integers(1, 900)
)
rows_strategy = st.lists(
    st.builds(
        ManifestRow,
        path=texts.filter(lambda path: path.strip() and not re.match(r"[/\\]|[A-Za-z]:[/\\]", path)),
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


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(rows=rows_strategy)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_as_they_were_written(tmp_path: Path, suffix: str, rows: list[ManifestRow]) -> None:
    file = tmp_path / f"faces{suffix}"
    write_manifest(file, rows)
    manifest = read_manifest(file)
    assert list(manifest) == rows
    assert manifest.folder == tmp_path
    write_manifest(file, manifest)
    assert list(read_manifest(file)) == rows


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_without_a_name_is_left_out_and_does_no_harm(tmp_path: Path, suffix: str) -> None:
    manifest = Manifest(tmp_path, {"": ["1", "2"], "path": ["a", "b"], "label": ["x", "y"], "age": ["3", "4"]})
    write_manifest(tmp_path / f"faces{suffix}", manifest)
    again = read_manifest(tmp_path / f"faces{suffix}")
    assert [dict(row.extra) for row in again] == [{"age": "3"}, {"age": "4"}]
    write_manifest(tmp_path / f"again{suffix}", again)
    assert list(read_manifest(tmp_path / f"again{suffix}")) == list(again)


def test_columns_that_a_spreadsheet_adds_at_the_end_are_left_out(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, ",path,label,,\n0,a,x,,\n1,b,y,,\n"))
    assert manifest.column_names == ("path", "label")
    assert [row.path for row in manifest] == ["a", "b"]


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


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_that_cannot_be_written_is_an_output_error(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"Expected to write .*file, got File exists"):
        write_manifest(tmp_path / "file" / f"faces{suffix}", [ManifestRow("a", "x")])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_full_disk_leaves_the_manifest_that_was_there(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"faces{suffix}"
    write_manifest(file, [ManifestRow("a", "x")])
    before = file.read_bytes()
    rows = [ManifestRow(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest(), "x") for n in range(3_000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # as a full disk: EFBIG in the place of ENOSPC
    try:
        with pytest.raises(OutputError, match=r"Expected to write .*faces"):
            write_manifest(file, rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


# Another folder


@pytest.mark.parametrize("output", [".", "sub/deeper", "../elsewhere", "link", "link/new"])
def test_a_manifest_written_into_another_folder_still_leads_to_the_photos(tmp_path: Path, output: str) -> None:
    here = tmp_path / "here"
    (tmp_path / "store" / "deep" / "runs").mkdir(parents=True)
    (here / "x").mkdir(parents=True)
    (here / "link").symlink_to(tmp_path / "store" / "deep" / "runs", target_is_directory=True)
    for name in ("x/a b.jpg", "c.jpg"):
        (here / name).write_text(name)
    manifest = Manifest.from_rows(here, [ManifestRow("x/a b.jpg", "x"), ManifestRow("c.jpg", "y")])
    write_manifest(here / output / "faces.csv", manifest)
    moved = read_manifest(here / output / "faces.csv")
    assert [moved.file(row).read_text() for row in moved] == ["x/a b.jpg", "c.jpg"]
    assert not any(row.path.startswith("/") for row in moved)
    write_manifest(tmp_path / "back" / "faces.csv", moved)
    back = read_manifest(tmp_path / "back" / "faces.csv")
    assert [back.file(row).read_text() for row in back] == ["x/a b.jpg", "c.jpg"]


def test_a_manifest_read_through_a_link_leads_to_the_photos_beside_the_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "store" / "set").mkdir(parents=True)
    (tmp_path / "store" / "set" / "a.jpg").write_text("photo")
    written(tmp_path / "store" / "set", "path,label\na.jpg,x\n")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "set", target_is_directory=True)
    write_manifest(tmp_path / "new" / "faces.csv", read_manifest(tmp_path / "link" / "faces.csv"))
    moved = read_manifest(tmp_path / "new" / "faces.csv")
    assert [row.path for row in moved] == ["../store/set/a.jpg"]
    assert moved.file(moved.row(0)).read_text() == "photo"


def test_a_path_that_leaves_a_linked_folder_upwards_is_not_cut_short(tmp_path: Path) -> None:
    (tmp_path / "store" / "inner").mkdir(parents=True)
    (tmp_path / "store" / "a.jpg").write_text("right")
    (tmp_path / "a.jpg").write_text("wrong")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "inner", target_is_directory=True)
    for path in ("link/../a.jpg", "./link/./../a.jpg"):
        manifest = Manifest.from_rows(tmp_path, [ManifestRow(path, "x")])
        moved = rebase(manifest, tmp_path / "store")
        assert moved.file(moved.row(0)).read_text() == "right"


def test_rows_are_written_with_the_paths_that_they_have(tmp_path: Path) -> None:
    write_manifest(tmp_path / "sub" / "faces.csv", iter([ManifestRow("../a.jpg", "x")]))
    assert read_manifest(tmp_path / "sub" / "faces.csv").row(0).path == "../a.jpg"


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


def test_line_endings_of_all_kinds_may_stand_in_one_file(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, b"path,label\r\na,x\nb,y\rc,x\r\n\r\n\n\rd,y"))
    assert [(row.path, row.label) for row in manifest] == [("a", "x"), ("b", "y"), ("c", "x"), ("d", "y")]


def test_a_thousand_empty_lines_are_no_rows_and_do_not_shift_the_numbers(tmp_path: Path) -> None:
    content = "\n" * 1_200 + "path,label\na,x\n" + "\n" * 1_200 + "b,y\n"
    assert [row.path for row in read_manifest(written(tmp_path, content))] == ["a", "b"]
    with pytest.raises(ManifestError, match=r"Expected a label, got an empty cell \(.*, row 2404\)"):
        read_manifest(written(tmp_path, content + "c,\n"))


def test_a_cell_may_hold_line_endings(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, b'path,label,note\n"a\r\nb",x,"1\n2\r3"\nc,y,\n'))
    assert [(row.path, row.extra["note"]) for row in manifest] == [("a\r\nb", "1\n2\r3"), ("c", "")]


def test_spaces_around_a_columns_name_do_not_count(tmp_path: Path) -> None:
    manifest = read_manifest(written(tmp_path, "path, label ,age\na, x, 3\n"))
    assert (manifest.row(0).label, manifest.row(0).extra) == ("x", {"age": "3"})


@pytest.mark.parametrize(
    ("cell", "clean"), [("\u00a0x\u2003", "x"), ("a b", "a b"), ("\tx", "x"), ("\x1cx", "x"), ("日本 ", "日本")]
)
def test_any_white_space_at_the_ends_of_a_cell_is_cut_off(tmp_path: Path, cell: str, clean: str) -> None:
    assert read_manifest(written(tmp_path, f"path,label\na,{cell}\n")).row(0).label == clean


def test_a_column_is_the_same_whether_its_cells_repeat_or_not(tmp_path: Path) -> None:
    # equal cells share one string, until a column turns out to have next to none: at 10,000 rows
    rows = 25_000
    values = [(f"p{n}", f"{n % 3}", f"{n // 2}", f"{n % 20_000}") for n in range(rows)]
    file = written(tmp_path, "path,label,half,late\n" + "".join(f"{','.join(cells)}\n" for cells in values))
    manifest = read_manifest(file)
    columns = (manifest.column(name) for name in ("path", "label", "half", "late"))
    assert list(zip(*columns, strict=True)) == values


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
        ("\n\n", r"Expected the columns path and label, got an empty file \(.*faces\.csv\)"),
        ("path,label,label\na.jpg,x,y\n", r"Expected each column once, got 'label' twice"),
        ("path,label, label\na.jpg,x,y\n", r"Expected each column once, got 'label' twice"),
        ("path,label\n/home/a.jpg,x\n", r"Expected a path relative .*, got the absolute '/home/a\.jpg' \(.*, row 2\)"),
        ("path,label\na,x\nC:\\a.jpg,x\n", r"got the absolute 'C:\\\\a\.jpg' \(.*, row 3\)"),
        ("path,label\nd:/a.jpg,x\n", r"got the absolute 'd:/a\.jpg' \(.*, row 2\)"),
        ("path,label\n\\\\server\\a.jpg,x\n", r"got the absolute .* \(.*, row 2\)"),
        ('path,label\n"a\nb",x\n\n"c\r\nd",\n', r"Expected a label, got an empty cell \(.*, row 6\)"),
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


ABSOLUTE = "/home/someone/photos/a.jpg"


@pytest.mark.parametrize("row", [2, 501, 502, 2_002, 4_321, 5_001])
@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (("a,b", "x", "", ""), "Expected as many cells as the header has, got another number"),
        (("", "x", "", ""), "Expected a path, got an empty cell"),
        ((ABSOLUTE, "x", "", ""), f"Expected a path relative to the manifest, got the absolute '{ABSOLUTE}'"),
        (("a", " ", "", ""), "Expected a label, got an empty cell"),
        (("a", "x", "dev", ""), "Expected a split of train, val, test, got 'dev'"),
        (("a", "x", "", "4 3 2 1"), "Expected face_box as 'x1 y1 x2 y2', got '4 3 2 1'"),
        (("a", "x", "", "1 2 3"), "Expected face_box as 'x1 y1 x2 y2', got '1 2 3'"),
    ],
    ids=["width", "path", "absolute", "label", "split", "box", "short box"],
)
def test_a_fault_far_down_is_named_with_its_row(tmp_path: Path, row: int, cells: tuple[str, ...], message: str) -> None:
    lines = ["path,label,split,face_box", *(f"{n}.jpg,x,train,1 2 3 4" for n in range(2, 5_002))]
    lines[row - 1] = ",".join(cells)
    with pytest.raises(ManifestError, match=rf"{re.escape(message)} \(.*faces\.csv, row {row}\)\."):
        read_manifest(written(tmp_path, "\n".join(lines)))


def test_two_rows_of_one_path_are_named_however_far_apart(tmp_path: Path) -> None:
    lines = ["path,label", "", *(f"{n}.jpg,x" for n in range(3, 5_002)), "4.jpg,y"]
    with pytest.raises(ManifestError, match=r"Expected each path once, got 4\.jpg in rows 4 and 5002") as caught:
        read_manifest(written(tmp_path, "\n".join(lines)))
    assert caught.value.hint == "Delete one of the rows."


@pytest.mark.parametrize("boxes_in_file", [["", ""], ["1 2 3 4", ""], ["1  2 3  4", " 1.5 2e1 3.25 40 "]])
def test_face_boxes_may_be_missing_or_oddly_written(tmp_path: Path, boxes_in_file: list[str]) -> None:
    lines = [f"{number},x,{cell}" for number, cell in enumerate(boxes_in_file)]
    rows = read_manifest(written(tmp_path, "\n".join(["path,label,face_box", *lines]))).rows
    assert [row.face_box for row in rows] == [parse_face_box(cell) for cell in boxes_in_file]


def test_numbers_of_odd_boxes_are_not_added_up_to_right_ones(tmp_path: Path) -> None:
    file = written(tmp_path, "path,label,face_box\na,x,1 2  3\nb,x,4\t5 6 7 8\n")  # eight numbers, as of two boxes
    with pytest.raises(ManifestError, match=r"Expected face_box .*, got '1 2  3' \(.*, row 2\)"):
        read_manifest(file)


@pytest.mark.parametrize("cell", WRONG_BOXES)
def test_a_face_box_that_is_none_is_named_with_its_row(tmp_path: Path, cell: str) -> None:
    file = written(tmp_path, f"path,label,face_box\na,x,\nb,x,{cell}\n")
    with pytest.raises(ManifestError, match=rf"Expected face_box as 'x1 y1 x2 y2', got '{cell}' \(.*, row 3\)"):
        read_manifest(file)


@pytest.mark.parametrize("name", ["none.csv", "."], ids=["missing", "a folder"])
def test_a_manifest_that_cannot_be_read_names_the_way_to_one(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match=r"Expected a manifest, got (No such file|Is a directory)") as caught:
        read_manifest(tmp_path / name)
    assert caught.value.hint == "Make one with: edgegender data index FOLDER -o faces.csv"


def test_every_error_of_a_manifest_says_what_to_do_next(tmp_path: Path) -> None:
    faults = [
        "",
        "a,b\n",
        "path,label\n",
        "path,label,label\n",
        "path,label\n,x\n",
        "path,label\na,\n",
        'path,label\n"\n',
    ]
    faults += ["path,label\na,x\na,x\n", "path,label\na,x,y\n", "path,label\n/a,x\n", "path,label,split\na,x,dev\n"]
    faults += ["path,label,face_box\na,x,1\n"]
    for content in faults:
        with pytest.raises(ManifestError) as caught:
            read_manifest(written(tmp_path, content))
        assert caught.value.hint, str(caught.value)


# Tables that are no manifests


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_table_is_read_as_rows_by_their_numbers(tmp_path: Path, ending: str) -> None:
    file = written(tmp_path, ending.join(["", "name,note", "", 'a,"1', '2"', "", "b, 3 "]))
    names, rows = read_table(file)
    assert names == ["name", "note"]
    assert rows == {5: {"name": "a", "note": f"1{ending}2"}, 7: {"name": "b", "note": "3"}}


def test_a_table_without_rows_or_without_anything_is_empty(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "name,note\n")) == (["name", "note"], {})
    assert read_table(written(tmp_path, "")) == ([], {})
