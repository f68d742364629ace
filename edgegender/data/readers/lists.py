"""The lists that known data sets keep their labels in: finding them, reading them, and finding the photos they name."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgegender.data.readers.found import SkippedFile
from edgegender.data.readers.listing import LIST_NAMES, Listing, list_folder
from edgegender.errors import DataError, ManifestError


def list_files(listing: Listing, labels: Path | None) -> list[Path]:
    """Returns the files called like a known list.

    Args:
        listing: The folder of photos; looked at when ``labels`` is ``None``.
        labels: A folder of lists, or one list: then those beside it are returned, too.

    Raises:
        UsageError: ``labels`` is missing or cannot be read.
    """
    if labels is None:
        return [listing.folder / path for path in listing.lists]
    if not labels.is_dir():
        with contextlib.suppress(OSError):  # a folder that may be entered but not listed: the list itself is known
            return [file for file in sorted(labels.parent.iterdir()) if file.name.lower() in LIST_NAMES]
        return [labels]
    place = list_folder(labels)
    return [place.folder / path for path in place.lists]


def pick_list(files: Sequence[Path], *names: str) -> Path | None:
    """Returns the one file with one of some names, the first name that is there; ``None`` when none is.

    Args:
        files: As :func:`list_files` gives them.
        names: In lower case, the most wanted first.

    Raises:
        DataError: Two folders hold a file of that name.
    """
    for name in names:
        found = [file for file in files if file.name.lower() == name]
        if len(found) > 1:
            raise DataError(
                f"Expected one {name}, got {found[0]} and {found[1]}.",
                hint="Say which with --labels, or give a folder that holds one of them.",
            )
        if found:
            return found[0]
    return None


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yields the rows of a list as (number of its line, cells): commas part a ``.csv``, blanks any other file.

    Any line ending, with or without a byte-order mark; empty lines are left out, but counted.

    Raises:
        ManifestError: The file is missing, not UTF-8, or no CSV.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ManifestError(f"Expected a list of labels, got {error.strerror or error} ({path}).") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"Expected a list of labels in UTF-8, got other bytes ({path}).") from error
    if path.suffix.lower() != ".csv":
        for number, line in enumerate(io.StringIO(text, newline=None), start=1):
            if words := line.split():
                yield number, words
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ManifestError(f"Expected a CSV, got: {error} ({path}, row {reader.line_num}).") from error


def column_places(header: Sequence[str], needed: Sequence[str], path: Path) -> list[int]:
    """Returns where the needed columns stand in a header.

    Raises:
        ManifestError: A column is missing.
    """
    missing = [name for name in needed if name not in header]
    if missing:
        raise ManifestError(
            f"Expected the columns {', '.join(needed)}, got no {', '.join(missing)} ({path}).",
            hint=f"Columns there: {', '.join(header) or 'none'}",
        )
    return [header.index(name) for name in needed]


def require_cells(cells: Sequence[str], count: int, where: str) -> None:
    """Refuses a row with too few or too many cells.

    Raises:
        ManifestError: The row has another number of cells than ``count``.
    """
    if len(cells) != count:
        raise ManifestError(
            f"Expected {count} cells, got {len(cells)} ({where}).", hint="Get the list from its source again."
        )


@dataclass
class Once:
    """Sees to it that nothing is named twice, and says where it was.

    Args:
        first: Name → the list and the row where it stood.
    """

    first: dict[str, tuple[Path, int]] = field(default_factory=dict)

    def add(self, name: str, path: Path, row: int) -> None:
        """Notes a name.

        Raises:
            ManifestError: The name was there before.
        """
        other, other_row = self.first.setdefault(name, (path, row))
        if (other, other_row) == (path, row):
            return
        places = f"rows {other_row} and {row}" if other == path else f"row {other_row} of {other} and row {row}"
        raise ManifestError(f"Expected each path once, got {name} in {places} ({path}).")


def read_pairs(path: Path, column: str) -> dict[str, tuple[str, int]]:
    """Returns name → (value, row) of a list with one value a photo.

    Args:
        path: Text of two columns without a header, or a CSV with the columns image_id and ``column``.
        column: The value's column in a CSV.

    Raises:
        ManifestError: The list breaks its format or names a photo twice.
    """
    rows = read_rows(path)
    name_place, value_place, count = 0, 1, 2
    if path.suffix.lower() == ".csv":
        _, header = next(rows, (1, []))
        name_place, value_place = column_places(header, ["image_id", column], path)
        count = len(header)
    pairs: dict[str, tuple[str, int]] = {}
    once = Once()
    for row, cells in rows:
        require_cells(cells, count, f"{path}, row {row}")
        once.add(cells[name_place], path, row)
        pairs[cells[name_place]] = cells[value_place], row
    return pairs


def stem_of(path: str) -> str:
    """Returns a file's name without folder and ending.

    Example:
        >>> stem_of("img_align_celeba/000001.jpg"), stem_of("000001")
        ('000001', '000001')
    """
    return path.rpartition("/")[2].partition(".")[0]


@dataclass(frozen=True)
class Located:
    """The photos of a folder, as a list sees them.

    Args:
        paths: Key → path of the photos that the list names and that are there.
        num_unlisted: Photos that the list does not name.
        skipped: Photos that stand there in a better version, too.
    """

    paths: dict[str, str]
    num_unlisted: int
    skipped: list[SkippedFile]


def locate(
    listing: Listing, wanted: Collection[str], *, key_of: Callable[[str], str], preferred: Sequence[str] = ()
) -> Located:
    """Returns where the photos stand that a list names.

    Args:
        listing: The folder's photos.
        wanted: The keys of the list.
        key_of: Path → key.
        preferred: Lower-case names of folders, the best first, for sets that come in several versions.

    Raises:
        DataError: No photo is there, or one is there twice and no folder is preferred.
    """
    paths: dict[str, str] = {}
    skipped: list[SkippedFile] = []
    num_unlisted = 0
    rank_of: dict[str, int] = {}
    for path in listing.photos:
        key = key_of(path)
        if key not in wanted:
            num_unlisted += 1
            continue
        folder = path.rpartition("/")[0]
        if folder not in rank_of:
            ranks = [preferred.index(part) for part in folder.lower().split("/") if part in preferred]
            rank_of[folder] = min(ranks, default=len(preferred))
        other = paths.setdefault(key, path)
        if other == path:
            continue
        other_rank = rank_of[other.rpartition("/")[0]]
        if rank_of[folder] == other_rank:
            raise DataError(
                f"Expected each photo of the list once, got {other} and {path} ({listing.folder}).",
                hint="Give the folder that holds one version of the photos, and its list with --labels.",
            )
        paths[key], worse = (path, other) if rank_of[folder] < other_rank else (other, path)
        skipped.append(SkippedFile(worse, "another version of a photo"))
    if wanted and not paths:
        raise DataError(
            f"Expected the {len(wanted)} photos that the list names, got none of them ({listing.folder}).",
            hint=f"The list names, for example, {min(wanted)}.",
        )
    return Located(paths, num_unlisted, skipped)
