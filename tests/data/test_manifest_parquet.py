"""Parquet manifests: what others wrote with pyarrow or pandas is read as it is meant, and what is none is refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.manifest_file import read_manifest, read_table, write_manifest
from edgegender.errors import ManifestError, MissingDependencyError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
parquet = pytest.importorskip("pyarrow.parquet")


def table(tmp_path: Path, columns: Mapping[str, object], **options: object) -> Path:
    """Writes a table whose columns path and label are there in any case."""
    count = len(next(iter(columns.values()), ["a"]))  # type: ignore[arg-type]
    content = {"path": [f"{n}.jpg" for n in range(count)], "label": ["x"] * count, **columns}
    parquet.write_table(pa.table(content), tmp_path / "faces.parquet", **options)
    return tmp_path / "faces.parquet"


def column(file: Path, name: str) -> list[str]:
    return list(read_manifest(file).column(name))


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        (pa.array([25, None, -3]), ["25", "", "-3"]),
        (pa.array([25.0, None, float("nan"), 0.5, 123456789.0]), ["25", "", "", "0.5", "123456789"]),
        (pa.array([25.0, 0.1], pa.float32()), ["25", "0.1"]),
        (pa.array([2**62, 7], pa.uint64()), [str(2**62), "7"]),
        (pa.array([True, False, None]), ["true", "false", ""]),
        (pa.array(["a", "b", "a", None]).dictionary_encode(), ["a", "b", "a", ""]),
        (pa.array([25, 30, None]).dictionary_encode(), ["25", "30", ""]),
        (pa.array(["é", "", None], pa.large_string()), ["é", "", ""]),
        (pa.array([b"abc"]), ["abc"]),
        (pa.nulls(2), ["", ""]),
        (pa.array([" a ", "\tb", "nan"]), ["a", "b", "nan"]),
        (pa.array([18262], pa.date32()), ["2020-01-01"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values_of_any_simple_type_become_text(tmp_path: Path, values: pa.Array, cells: Sequence[str]) -> None:
    assert column(table(tmp_path, {"age": values}), "age") == cells


def test_a_column_of_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected a Parquet table of text and numbers, got: .*faces\.parquet"):
        read_manifest(table(tmp_path, {"boxes": [[1, 2], [3, 4]]}))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected a Parquet table of text and numbers, got: .*faces\.parquet"):
        read_manifest(table(tmp_path, {"name": [b"\xff\xfe"]}))


def test_a_table_of_pandas_is_read_with_its_numbers_and_gaps(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(
        {
            "path": ["a.jpg", "b.jpg", "c.jpg"],
            "label": pandas.Categorical(["x", "y", "x"]),
            "age": [25, None, 31],  # a gap makes floats of whole numbers
            "width": [100, 200, 300],
            "race": ["r", None, "s"],
            "exclude": [None, None, None],
        }
    )
    frame.to_parquet(tmp_path / "faces.parquet")
    rows = read_manifest(tmp_path / "faces.parquet").rows
    assert [row.label for row in rows] == ["x", "y", "x"]
    assert [dict(row.extra) for row in rows] == [
        {"age": "25", "width": "100", "race": "r"},
        {"age": "", "width": "200", "race": ""},
        {"age": "31", "width": "300", "race": "s"},
    ]
    assert {row.exclude for row in rows} == {""}


def test_the_same_table_gives_the_same_manifest_as_csv_and_as_parquet(tmp_path: Path) -> None:
    manifest = Manifest(
        tmp_path,
        {
            "path": [f" {n}.jpg" for n in range(3_000)],
            "label": ["x", "y"] * 1_500,
            "age": [str(n % 90) for n in range(3_000)],
            "face_box": ["1.0 2.0 3.5 4.5", ""] * 1_500,
        },
    )
    for name in ("faces.csv", "faces.parquet", "FACES.PARQUET"):
        write_manifest(tmp_path / name, manifest)
    read = [read_manifest(tmp_path / name) for name in ("faces.csv", "faces.parquet", "FACES.PARQUET")]
    assert read[0].rows == read[1].rows == read[2].rows
    assert [row.path for row in read[0]] == list(manifest.column("path"))
    assert parquet.ParquetFile(tmp_path / "FACES.PARQUET").metadata.num_rows == 3_000


def test_row_groups_of_any_size_are_read_whole(tmp_path: Path) -> None:
    numbers = list(range(2_600))
    file = table(tmp_path, {"number": numbers}, row_group_size=700)
    assert column(file, "number") == [str(number) for number in numbers]


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    rows = pa.Table.from_arrays(
        [pa.array(["1"]), pa.array(["a"]), pa.array(["2"]), pa.array(["x"])], ["", "path", "", "label"]
    )
    parquet.write_table(rows, tmp_path / "faces.parquet")
    assert read_manifest(tmp_path / "faces.parquet").column_names == ("path", "label")


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    rows = pa.Table.from_arrays([pa.array(["a"]), pa.array(["x"]), pa.array(["y"])], ["path", "label", "label"])
    parquet.write_table(rows, tmp_path / "faces.parquet")
    with pytest.raises(ManifestError, match=r"Expected each column once, got 'label' twice \(.*faces\.parquet\)"):
        read_manifest(tmp_path / "faces.parquet")


@pytest.mark.parametrize("row", [1, 500, 501, 2_345, 3_000])
@pytest.mark.parametrize(
    ("name", "cell", "message"),
    [
        ("path", None, "Expected a path, got an empty cell"),
        ("path", "/home/a.jpg", "Expected a path relative to the manifest, got the absolute '/home/a.jpg'"),
        ("label", " ", "Expected a label, got an empty cell"),
        ("split", "dev", "Expected a split of train, val, test, got 'dev'"),
        ("face_box", "1 2 3", "Expected face_box as 'x1 y1 x2 y2', got '1 2 3'"),
    ],
)
def test_a_fault_is_named_with_its_row(tmp_path: Path, row: int, name: str, cell: str | None, message: str) -> None:
    columns: dict[str, list[str | None]] = {
        "path": [f"{n}.jpg" for n in range(3_000)],
        "label": ["x"] * 3_000,
        "split": ["train"] * 3_000,
        "face_box": ["1 2 3 4"] * 3_000,
    }
    columns[name][row - 1] = cell
    with pytest.raises(ManifestError, match=rf"{message} \(.*faces\.parquet, row {row}\)\."):
        read_manifest(table(tmp_path, columns))


def test_two_rows_of_one_path_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"Expected each path once, got a in rows 1 and 3 \(.*faces\.parquet\)"):
        read_manifest(table(tmp_path, {"path": ["a", "b", "a"]}))


@pytest.mark.parametrize(
    "content", [b"", b"path,label\na,x\n", b"PAR1" + bytes(100), b"PAR1" + bytes(90) + b"\xff\0\0\0PAR1"]
)
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "faces.parquet").write_bytes(content)
    with pytest.raises(
        ManifestError, match=r"Expected a (Parquet table of text and numbers|manifest), got.*faces\.parquet"
    ):
        read_manifest(tmp_path / "faces.parquet")


def test_a_parquet_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    file = table(tmp_path, {"number": list(range(5_000))})
    whole = file.read_bytes()
    for kept in (len(whole) - 1, len(whole) - 50, len(whole) // 2, 5):
        file.write_bytes(whole[:kept])
        with pytest.raises(ManifestError, match=r"faces\.parquet"):
            read_manifest(file)


def test_a_parquet_file_with_damaged_pages_is_refused_or_read_as_a_table(tmp_path: Path) -> None:
    file = table(tmp_path, {"number": list(range(5_000))}, compression="zstd")
    whole = bytearray(file.read_bytes())
    for start in range(100, 4_000, 300):
        file.write_bytes(bytes(whole[:start]) + b"\xa5" * 40 + bytes(whole[start + 40 :]))
        try:
            assert len(read_manifest(file)) == 5_000
        except ManifestError as error:
            assert "faces.parquet" in str(error)  # noqa: PT017 - both ends are right: the damage may lie in padding


@pytest.mark.parametrize(("name", "reason"), [("none.parquet", "No such file"), ("folder.parquet", "Is a directory")])
def test_a_file_that_cannot_be_read_names_the_way_to_one(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(ManifestError, match=f"Expected a manifest, got {reason}") as caught:
        read_manifest(tmp_path / name)
    assert caught.value.hint.startswith("Make one with: edgegender data index")


def test_a_table_without_photos_or_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="Expected at least one photo, got none"):
        read_manifest(table(tmp_path, {"age": []}))
    parquet.write_table(pa.table({"age": [1]}), tmp_path / "faces.parquet")
    with pytest.raises(ManifestError, match="Expected the columns path and label, got age"):
        read_manifest(tmp_path / "faces.parquet")


def test_a_table_is_read_as_rows_by_their_numbers(tmp_path: Path) -> None:
    names, rows = read_table(table(tmp_path, {"age": [3, None]}))
    assert names == ["path", "label", "age"]
    assert rows == {
        1: {"path": "0.jpg", "label": "x", "age": "3"},
        2: {"path": "1.jpg", "label": "x", "age": ""},
    }


def test_parquet_without_pyarrow_names_the_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = table(tmp_path, {})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for use in (lambda: read_manifest(file), lambda: write_manifest(file, [ManifestRow("a", "x")])):
        with pytest.raises(MissingDependencyError, match="Expected the package pyarrow to be installed") as caught:
            use()
        assert caught.value.hint == "pip install 'edgegender[data]'"
