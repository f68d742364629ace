"""Any table with a path and a label for each photo, CSV or Parquet."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from edgegender.data.manifest import SPLITS, parse_face_box
from edgegender.data.manifest_file import TableReader
from edgegender.data.readers.codes import SPLIT_WORDS
from edgegender.data.readers.found import FoundPhoto, ReadResult
from edgegender.data.readers.listing import Listing, is_writable_name
from edgegender.entities import FaceBox
from edgegender.errors import ManifestError

_OWN_COLUMNS = ("path", "label", "split", "exclude", "face_box", "sha256")
_OTHER_SYSTEM = re.compile(r"[A-Za-z]:[\\/]|\\\\")  # C:\ or \\server
_PANDAS_INDEX = "__index_level_"
_MAX_SHARED = 10_000  # age by race by source has fewer values; a column of hashes has one for each photo

_Where = Callable[[], str]  # what to call a row in an error: looked up only when there is one


@dataclass(frozen=True)
class _Paths:
    """What a path of the table can be held against.

    Args:
        folder: The folder of photos.
        prefixes: Its absolute spellings, each with a slash at its end.
        present: Its photos.
    """

    folder: Path
    prefixes: tuple[str, ...]
    present: frozenset[str]

    def relative(self, cell: str, where: _Where) -> str:
        """Returns the path from the folder to the photo, in its simplest form."""
        if cell in self.present and is_writable_name(cell):
            return cell  # as it is: a file's name may begin with a blank, or hold a backslash
        path = cell.strip()
        if not is_writable_name(path):
            raise ManifestError(f"Expected a path in UTF-8 without control characters, got {path!r} ({where()}).")
        is_foreign = _OTHER_SYSTEM.match(path) is not None
        if not is_foreign and "\\" in path:
            raise ManifestError(
                f"Expected a path with forward slashes, got {path!r} ({where()}).", hint="Write / in place of \\."
            )
        if is_foreign or path.startswith("/"):
            inside = next((path[len(prefix) :] for prefix in self.prefixes if path.startswith(prefix)), None)
            if inside is None:
                raise ManifestError(
                    f"Expected a path inside of {self.folder}, got the absolute path {path!r} ({where()}).",
                    hint="It may come from another machine: write paths relative to the folder of photos.",
                )
            path = inside
        return posixpath.normpath(path)


def _name_groups(names: Sequence[str], used: set[str]) -> dict[str, str]:
    """Returns column → name of the group; one called like a column that the manifest fills itself gets another name."""
    groups: dict[str, str] = {}
    for name in names:
        if not name or name in used or name.startswith(_PANDAS_INDEX):
            continue
        group = name
        while group in _OWN_COLUMNS or (group != name and group in names):
            group = f"original_{group}"
        groups[name] = group
    return groups


def _face_box(text: str, where: _Where) -> FaceBox | None:
    try:
        return parse_face_box(text)
    except ValueError as error:
        raise ManifestError(f"Expected face_box as 'x1 y1 x2 y2', got {text!r} ({where()}).") from error


def _split(text: str, where: _Where) -> str:
    split = SPLIT_WORDS.get(text.lower(), "")
    if text and not split:
        raise ManifestError(f"Expected a split of {', '.join(SPLITS)}, got {text!r} ({where()}).")
    return split


def _require_columns(reader: TableReader, needed: Sequence[str]) -> None:
    missing = [name for name in needed if name not in reader.columns]
    if missing:
        raise ManifestError(
            f"Expected the columns {', '.join(needed)}, got no {', '.join(missing)} ({reader.path}).",
            hint=f"Columns there: {', '.join(reader.columns) or 'none'}",
        )


def _paths_of(listing: Listing) -> _Paths:
    folders = dict.fromkeys((listing.folder.absolute(), listing.folder.resolve()))
    prefixes = tuple(f"{folder.as_posix().rstrip('/')}/" for folder in folders)
    return _Paths(listing.folder, prefixes, frozenset(listing.photos))


def _cells(reader: TableReader, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yields these columns' cells, row by row; a column that is not there has empty ones."""
    count = len(next(iter(reader.columns.values()), []))
    if not names:
        return iter([()] * count)
    return zip(*(reader.columns.get(name) or [""] * count for name in names), strict=True)


def _read_photos(reader: TableReader, paths: _Paths, known: Sequence[str]) -> dict[str, FoundPhoto]:
    groups = _name_groups(list(reader.columns), {*known, "sha256"})
    photos: dict[str, FoundPhoto] = {}
    shared: dict[tuple[str, ...], Mapping[str, str]] = {}
    rows = zip(_cells(reader, known), _cells(reader, list(groups)), strict=True)
    for record, ((path, label, split, exclude, box), values) in enumerate(rows):
        where = partial(reader.where, record)
        if not label or not path.strip():
            raise ManifestError(f"Expected a path and a label, got an empty cell ({where()}).")
        extra = shared.get(values)
        if extra is None:
            extra = dict(zip(groups.values(), values, strict=True))
            if len(shared) < _MAX_SHARED:
                shared[values] = extra
        own_path = paths.relative(path, where)
        if own_path in photos:
            first = list(photos).index(own_path)  # one photo a record until here
            twice = f"rows {reader.row_number(first)} and {reader.row_number(record)}"
            raise ManifestError(f"Expected each path once, got {own_path} in {twice} ({reader.path}).")
        photos[own_path] = FoundPhoto(
            own_path, label, _split(split, where), exclude, _face_box(box, where) if box else None, extra
        )
    return photos


def read_labels_table(
    listing: Listing,
    labels: Path,
    *,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
) -> ReadResult:
    """Returns the photos that a table names, in its order, whether or not they are there.

    Besides the three columns, ``exclude`` and ``face_box`` ("x1 y1 x2 y2") are understood, ``sha256`` and columns
    without a name are left out, and all others are kept as groups. One that is called ``label``, ``path`` or
    ``split`` while another column was chosen for it is kept as ``original_label`` and so on.

    Args:
        listing: The folder that the paths start from.
        labels: A CSV or a ``.parquet`` file.
        path_column: Column of the photo's path: relative to the folder, or absolute and inside of it.
        label_column: Column of the label.
        split_column: Column of the split; may be missing when it is ``split``.

    Raises:
        ManifestError: A column is missing, a cell is wrong, a path is absolute and elsewhere, or stands twice; the
            message names file and row.
        MissingDependencyError: The table is Parquet and pyarrow is not installed.
    """
    reader = TableReader(labels)
    _require_columns(reader, [path_column, label_column] + ([split_column] if split_column != "split" else []))
    paths = _paths_of(listing)
    photos = _read_photos(reader, paths, (path_column, label_column, split_column, "exclude", "face_box"))
    return ReadResult(
        "csv",
        list(photos.values()),
        listing.skipped + listing.unreadable,
        num_unlisted=len(paths.present.difference(photos)),
        label_files=(labels,),
    )
