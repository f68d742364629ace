"""Manifests on disk: CSV, or Parquet where the file's name ends in ``.parquet``."""

from __future__ import annotations

import csv
import os
import posixpath
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from operator import contains
from pathlib import Path

import numpy as np

from edgegender import files
from edgegender.data.manifest import KNOWN_COLUMNS, SPLITS, Manifest, ManifestRow, parse_face_box
from edgegender.errors import ManifestError, MissingDependencyError

PARQUET_SUFFIX = ".parquet"
_CHUNK_ROWS = 500  # fewer lists than wake the garbage collector, which takes half of the time otherwise
_PARQUET_BUFFER_BYTES = 1 << 16  # of one column
_ROW_GROUP = 1 << 16  # of Parquet: a reader may hold a whole one
_SHARE_SAMPLE = 10_000  # cells after which a column without repetitions is known
_INDEX_HINT = "Make one with: edgegender data index FOLDER -o faces.csv"
_ROW_HINT = "Fill the cell or delete the row."
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_CLIMBS = re.compile(r"(?:^|/)(?!\.\.?/)[^/]+/(?:\.?/)*\.\./")  # a name and then ../


class _Column:
    """Cells that come by the hundred. One string stands for all equal ones, unless nearly all of them differ.

    A million rows hold a handful of labels and sizes: without this each of them is a string of its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.cells: list[str] = []
        self._seen: dict[str, str] | None = {}

    def add(self, cells: Sequence[str]) -> None:
        if self.name != "path":  # a file's name may begin or end with a space
            cells = _stripped(cells)
        seen = self._seen
        self.cells += cells if seen is None else [seen.setdefault(cell, cell) for cell in cells]
        if seen is not None and len(self.cells) >= _SHARE_SAMPLE and len(seen) > 0.5 * len(self.cells):
            self._seen = None


def _stripped(cells: Sequence[str]) -> Sequence[str]:
    joined = "".join(cells)
    if " " not in joined and joined.isprintable():  # there is no white space: a million calls less
        return cells
    return [cell.strip() for cell in cells]


def _filled(cells: list[str | None], *, is_float: bool) -> list[str]:
    """Returns cells of Arrow, empty where a value is missing: pandas writes NaN into a column of numbers."""
    return ["" if cell is None or (is_float and cell == "nan") else cell for cell in cells]


def _cannot_read(path: Path, error: OSError) -> ManifestError:
    return ManifestError(f"Expected a manifest, got {error.strerror or error} ({path}).", hint=_INDEX_HINT)


def _line_of(path: Path, record: int) -> int:
    """Returns the line (the last one, where a cell holds line ends) of a CSV's record, the header's line being 1.

    The file is read a second time, because nobody but an error's reader asks.
    """
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        next(islice((True for cells in reader if cells), record + 1, None), None)  # the header is a record, too
        return reader.line_num


class TableReader:
    """A CSV or Parquet file as columns of text; names and cells are stripped, but for the cells of ``path``.

    Numbers and dates of a Parquet file become text, whole numbers without a point, and missing ones empty.

    Args:
        path: The file.

    Raises:
        ManifestError: The file is missing, is no CSV in UTF-8 or no Parquet file, has a column twice or rows of
            another length than its header.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_parquet = path.suffix.lower() == PARQUET_SUFFIX
        self.columns = self._read_parquet() if self.is_parquet else self._read_csv()

    def row_number(self, record: int) -> int:
        """Returns the line of a CSV's record (from 0; the header's line is 1), or the row of a table, from 1."""
        return record + 1 if self.is_parquet else _line_of(self.path, record)

    def where(self, record: int) -> str:
        """Returns what to call a record in an error: the file and the row."""
        return f"{self.path}, row {self.row_number(record)}"

    def _header(self, names: Sequence[str]) -> list[str]:
        stripped = [name.strip() for name in names]
        repeated = [name for name, times in Counter(stripped).items() if name and times > 1]
        if repeated:  # spreadsheets add columns without a name: those may repeat
            columns = ", ".join(map(repr, repeated))
            raise ManifestError(
                f"Expected each column once, got {columns} twice ({self.path}).", hint="Rename or delete one of them."
            )
        return stripped

    def _read_csv(self) -> dict[str, list[str]]:
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as stream:
                reader = csv.reader(stream, strict=True)
                columns = [_Column(name) for name in self._header(next(filter(None, reader), []))]
                while chunk := list(islice(reader, _CHUNK_ROWS)):
                    if [] in chunk:
                        chunk = [cells for cells in chunk if cells]  # an empty line is no row
                    if not chunk:
                        continue
                    self._require_width(chunk, len(columns), start=len(columns[0].cells))
                    for column, cells in zip(columns, zip(*chunk, strict=True), strict=True):
                        column.add(cells)
        except OSError as error:
            raise _cannot_read(self.path, error) from error
        except UnicodeDecodeError as error:
            raise ManifestError(
                f"Expected a CSV in UTF-8, got other bytes ({self.path}).", hint="Save it as CSV in UTF-8."
            ) from error
        except csv.Error as error:
            raise ManifestError(
                f"Expected a CSV, got: {error} ({self.path}).", hint="Look for a quote that is not closed."
            ) from error
        return {column.name: column.cells for column in columns}

    def _require_width(self, chunk: list[list[str]], width: int, *, start: int) -> None:
        if set(map(len, chunk)) == {width}:
            return
        wrong = next(index for index, cells in enumerate(chunk) if len(cells) != width)
        raise ManifestError(
            f"Expected as many cells as the header has, got another number ({self.where(start + wrong)}).",
            hint='Put quotes around a cell that holds a comma: "a,b.jpg".',
        )

    def _read_parquet(self) -> dict[str, list[str]]:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise MissingDependencyError("pyarrow", extra="data") from error
        try:
            # reading ahead whole columns would be faster from a network, but take 150 MB for a million rows
            parts = {"pre_buffer": False, "buffer_size": _PARQUET_BUFFER_BYTES}
            with self.path.open("rb") as stream, parquet.ParquetFile(stream, **parts) as table:
                columns = [_Column(name) for name in self._header(table.schema_arrow.names)]
                for batch in table.iter_batches(_CHUNK_ROWS, use_threads=False):
                    for column, cells in zip(columns, batch.columns, strict=True):
                        listed = cells.cast(pa.string()).to_pylist()
                        column.add(_filled(listed, is_float=pa.types.is_floating(cells.type)))
        except OSError as error:
            raise _cannot_read(self.path, error) from error
        except pa.ArrowException as error:
            raise ManifestError(
                f"Expected a Parquet table of text and numbers, got: {error} ({self.path}).", hint=_INDEX_HINT
            ) from error
        return {column.name: column.cells for column in columns}


def read_table(path: Path) -> tuple[list[str], dict[int, dict[str, str]]]:
    """Returns the header and the rows of a CSV or Parquet file, each by its number.

    For tables of moderate size; :class:`TableReader` keeps columns.

    Raises:
        ManifestError: See :class:`TableReader`.
    """
    reader = TableReader(path)
    names = list(reader.columns)
    rows = zip(*reader.columns.values(), strict=True)
    return names, {
        number: dict(zip(names, cells, strict=True)) for number, cells in zip(_numbers(reader), rows, strict=True)
    }


def _numbers(reader: TableReader) -> Iterator[int]:
    if reader.is_parquet:
        yield from range(1, 1 + len(next(iter(reader.columns.values()), [])))
        return
    with reader.path.open(newline="", encoding="utf-8-sig") as stream:
        lines = csv.reader(stream, strict=True)
        is_header = True
        for cells in lines:
            if cells and not is_header:
                yield lines.line_num
            is_header = is_header and not cells


def _first(cells: Sequence[str], wrong: Iterable[str]) -> tuple[int, str] | None:
    """Returns the first cell that is among ``wrong``, with its record."""
    values = set(wrong)
    return next(((index, cell) for index, cell in enumerate(cells) if cell in values), None) if values else None


def _require_paths(reader: TableReader) -> None:
    paths = reader.columns["path"]
    wrong = _first(paths, (path for path in paths if not path or path.isspace()))
    if wrong:
        raise ManifestError(f"Expected a path, got an empty cell ({reader.where(wrong[0])}).", hint=_ROW_HINT)
    wrong = _first(paths, filter(_ABSOLUTE.match, paths))
    if wrong:
        raise ManifestError(
            f"Expected a path relative to the manifest, got the absolute {wrong[1]!r} ({reader.where(wrong[0])}).",
            hint="Make it anew from the photos: edgegender data index FOLDER --labels OLD.csv -o faces.csv",
        )
    if len(set(paths)) == len(paths):
        return
    first: dict[str, int] = {}
    for index, path in enumerate(paths):
        before = first.setdefault(path, index)
        if before != index:
            rows = f"{reader.row_number(before)} and {reader.row_number(index)}"
            raise ManifestError(
                f"Expected each path once, got {path} in rows {rows} ({reader.path}).", hint="Delete one of the rows."
            )


def _require_cells(reader: TableReader) -> None:
    wrong = _first(reader.columns["label"], {""} & set(reader.columns["label"]))
    if wrong:
        raise ManifestError(f"Expected a label, got an empty cell ({reader.where(wrong[0])}).", hint=_ROW_HINT)
    splits = reader.columns.get("split", [])
    wrong = _first(splits, set(splits) - {"", *SPLITS})
    if wrong:
        raise ManifestError(
            f"Expected a split of {', '.join(SPLITS)}, got {wrong[1]!r} ({reader.where(wrong[0])}).",
            hint="Leave the cell empty where a photo has none.",
        )
    _require_boxes(reader)


def _require_boxes(reader: TableReader) -> None:
    cells = reader.columns.get("face_box", [])
    if _are_boxes([cell for cell in cells if cell]):
        return
    for index, cell in enumerate(cells):  # ten times slower: one of them is wrong, or oddly written
        try:
            parse_face_box(cell)
        except ValueError as error:
            raise ManifestError(
                f"Expected face_box as 'x1 y1 x2 y2', got {cell!r} ({reader.where(index)}).",
                hint="Pixels, x1 < x2 and y1 < y2; leave the cell empty where nobody knows.",
            ) from error


def _are_boxes(cells: Sequence[str]) -> bool:
    """Returns whether all cells are boxes as edgegender writes them: four numbers with one space between each."""
    joined = " ".join(cells)
    if any(cell.count(" ") != 3 for cell in cells) or "  " in joined or not joined.isprintable():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how numpy says that the text ends in no number
        try:
            numbers = np.fromstring(joined, np.float64, sep=" ")
        except (DeprecationWarning, ValueError):
            return False
    if len(numbers) != 4 * len(cells) or not (np.abs(numbers) < 1e6).all():
        return False
    x1, y1, x2, y2 = numbers.reshape(-1, 4).T
    return bool((x1 < x2).all() and (y1 < y2).all())


def read_manifest(path: Path) -> Manifest:
    """Returns the manifest at ``path``, a CSV or a ``.parquet`` file.

    Columns without a name, which spreadsheets and pandas add, are left out.

    Raises:
        ManifestError: A column is missing, a cell is wrong, a path is absolute or stands twice; the message names
            file and row.
        MissingDependencyError: Parquet without pyarrow.
    """
    reader = TableReader(path)
    missing = [name for name in ("path", "label") if name not in reader.columns]
    if missing:
        found = ", ".join(reader.columns) or "an empty file"
        raise ManifestError(f"Expected the columns path and label, got {found} ({path}).", hint=_INDEX_HINT)
    if not reader.columns["path"]:
        raise ManifestError(f"Expected at least one photo, got none ({path}).", hint=_INDEX_HINT)
    _require_paths(reader)
    _require_cells(reader)
    return Manifest(path.resolve().parent, {name: cells for name, cells in reader.columns.items() if name})


def rebase(manifest: Manifest, folder: Path) -> Manifest:
    """Returns the manifest with its paths relative to another folder. The photos stay where they are."""
    folder = folder.resolve()
    start = manifest.folder.resolve()
    if folder == start:
        return manifest
    # Relative even across folders, so that data and manifest move together; resolve() makes '..' safe with links.
    prefix = Path(os.path.relpath(start, folder)).as_posix()
    paths = [_joined(prefix, path) for path in manifest.column("path")]
    return Manifest(folder, {**{name: manifest.column(name) for name in manifest.column_names}, "path": paths})


def _joined(prefix: str, path: str) -> str:
    joined = f"{prefix}/{path}"
    return joined if _CLIMBS.search(path) else posixpath.normpath(joined)  # a/../b is not b where a is a link


def write_manifest(path: Path, content: Manifest | Iterable[ManifestRow]) -> None:
    """Writes a manifest, whole or not at all; as Parquet where the name ends in ``.parquet``.

    Args:
        path: The file.
        content: A manifest, whose paths are made relative to the file's folder; or rows whose paths are so already.

    Raises:
        OutputError: The file cannot be written.
        MissingDependencyError: Parquet without pyarrow.
    """
    if isinstance(content, Manifest):
        manifest = rebase(content, path.parent)
    else:
        manifest = Manifest.from_rows(path.parent, content)
    columns = {name: manifest.column(name) for name in _written_columns(manifest)}
    if path.suffix.lower() == PARQUET_SUFFIX:
        _write_parquet(path, columns)
        return
    # Python before 3.13 puts no quotes around a cell for a carriage return in it
    has_return = any(any(map(contains, cells, repeat("\r"))) for cells in columns.values())
    with files.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n", quoting=csv.QUOTE_ALL if has_return else csv.QUOTE_MINIMAL)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _written_columns(manifest: Manifest) -> list[str]:
    always = ("path", "label", "split", "sha256", "face_box", "exclude")  # a reader of the file finds them, if empty
    names = [*manifest.column_names, *(name for name in always if name not in manifest.column_names)]
    known = {name: rank for rank, name in enumerate(KNOWN_COLUMNS)}
    return sorted(names, key=lambda name: known.get(name, len(known)))


def _write_parquet(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingDependencyError("pyarrow", extra="data") from error
    table = pa.table({name: pa.array(list(cells), pa.string()) for name, cells in columns.items()})
    with files.replacing(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd", row_group_size=_ROW_GROUP)
