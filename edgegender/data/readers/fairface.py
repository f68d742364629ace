"""FairFace: 97,698 labelled faces, balanced over seven groups, in ``train/`` and ``val/``.

The labels stand in ``fairface_label_train.csv`` (86,744) and ``fairface_label_val.csv`` (10,954) with the columns
file, age, gender, race, service_test; ``file`` is ``train/1.jpg``, ages are ranges. Perceived by crowd workers, three
a photo. Known fault: annotations that disagree with what others see (github.com/dchen236/FairFace/issues/8).

Source: https://github.com/joojs/fairface (CC BY 4.0)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from edgegender.data.readers.codes import GENDER_CODES, split_of, word_of
from edgegender.data.readers.found import FoundPhoto, ReadResult
from edgegender.data.readers.listing import Listing
from edgegender.data.readers.lists import Once, column_places, list_files, locate, pick_list, read_rows, require_cells
from edgegender.errors import DataError, ManifestError

_Row = tuple[str, str, Mapping[str, str]]  # file, label, groups

LIST_FILES = ("fairface_label_train.csv", "fairface_label_val.csv")


def _key_of(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _find_lists(listing: Listing, labels: Path | None) -> list[Path]:
    if labels is not None and not labels.is_dir():
        return [labels]
    files = list_files(listing, labels)
    found = [file for file in (pick_list(files, name) for name in LIST_FILES) if file is not None]
    if not found:
        raise DataError(
            f"Expected {' or '.join(LIST_FILES)}, got neither ({labels or listing.folder}).",
            hint="Put the lists beside train/ and val/, or say with --labels where they are.",
        )
    return found


def _read_list(file: Path, label_column: str, once: Once) -> Iterator[_Row]:
    rows = read_rows(file)
    _, header = next(rows, (1, []))
    name_place, label_place = column_places(header, ["file", label_column], file)
    gender_place = header.index("gender") if "gender" in header else None
    groups = {name: place for place, name in enumerate(header) if name and place not in (name_place, label_place)}
    shared: dict[tuple[str, ...], Mapping[str, str]] = {}  # few values, many photos
    for row, cells in rows:
        where = f"{file}, row {row}"
        require_cells(cells, len(header), where)
        if gender_place is not None:
            cells[gender_place] = word_of(cells[gender_place], GENDER_CODES["fairface"], what="gender", where=where)
        if not cells[name_place] or not cells[label_place]:
            raise ManifestError(f"Expected a file and a label, got an empty cell ({where}).")
        once.add(cells[name_place], file, row)
        values = tuple(cells[place] for place in groups.values())
        if values not in shared:
            shared[values] = dict(zip(groups, values, strict=True))
        yield cells[name_place], cells[label_place], shared[values]


def read_fairface(listing: Listing, *, labels: Path | None = None, label_column: str = "gender") -> ReadResult:
    """Returns the photos that FairFace's lists name; all columns but the label's are kept as groups.

    Args:
        listing: The folder's photos: ``train/`` and ``val/``, at the top or in one folder below.
        labels: One list, or the folder of both; ``None`` looks among the photos.
        label_column: Column of the label.

    Raises:
        UsageError: ``labels`` cannot be read.
        ManifestError: A list lacks a column, has a wrong cell, or names a photo twice.
        DataError: There is no list, no photo of it, or the photos are there in two versions.
    """
    files = _find_lists(listing, labels)
    once = Once()
    rows = [row for file in files for row in _read_list(file, label_column, once)]
    located = locate(listing, {_key_of(name) for name, _, _ in rows}, key_of=_key_of)
    key, path = next(iter(located.paths.items()), ("", ""))
    prefix = path[: len(path) - len(key)]  # where a missing photo would stand
    photos = [
        FoundPhoto(located.paths.get(_key_of(name), prefix + name), label, split_of(name.split("/")[:-1]), extra=extra)
        for name, label, extra in rows
    ]
    return ReadResult(
        "fairface",
        photos,
        listing.skipped + listing.unreadable + located.skipped,
        num_unlisted=located.num_unlisted,
        label_files=tuple(files),
    )
