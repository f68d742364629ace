"""CelebA: 202,599 photos of 10,177 celebrities with 40 attributes each, 1 for yes and -1 for no.

The attributes stand in ``list_attr_celeba.txt`` (the number of photos, the names of the attributes, then one row a
photo) or in the CSV made of it (``image_id``, then the attributes); the label is the attribute ``Male`` or another
one. Splits come from ``list_eval_partition`` (0 train, 1 val, 2 test), persons from ``identity_CelebA.txt``, where
these are there. Known faults: annotators agree on few of the attributes (arXiv 2210.07356), celebrities are no sample
of people.

Source: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (non-commercial research only)
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgegender.data.readers.codes import CELEBA_PARTITIONS, GENDER_CODES, word_of
from edgegender.data.readers.found import FoundPhoto, ReadResult
from edgegender.data.readers.listing import Listing
from edgegender.data.readers.lists import (
    Once,
    column_places,
    list_files,
    locate,
    pick_list,
    read_pairs,
    read_rows,
    require_cells,
    stem_of,
)
from edgegender.errors import DataError, ManifestError

LIST_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")
GROUP_ATTRIBUTES = ("Young", "Eyeglasses")
"""Attributes that are kept as groups, ``yes`` or ``no``: what faces are hard may depend on them."""

_PHOTO_FOLDERS = ("img_align_celeba", "img_align_celeba_png", "img_celeba")  # aligned before in the wild
_YES_OR_NO = {"1": "yes", "-1": "no", "0": "no"}

_Row = tuple[str, str, tuple[tuple[str, str], ...]]  # name, label, groups


def _attribute_rows(file: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]], int | None]:
    """Returns the header with the photo's name in front, the rows, and how many the file says there are."""
    rows = read_rows(file)
    _, header = next(rows, (1, []))
    if file.suffix.lower() == ".csv":
        return header, rows, None
    promised = int(header[0]) if len(header) == 1 and header[0].isdecimal() else None
    if promised is not None:
        _, header = next(rows, (2, []))
    return ["image_id", *header], rows, promised


def _read_attributes(file: Path, label_column: str) -> list[_Row]:
    header, rows, promised = _attribute_rows(file)
    name_place, label_place = column_places(header, ["image_id", label_column], file)
    codes = {"1": label_column, "-1": f"not_{label_column}", "0": f"not_{label_column}"}
    codes = dict(GENDER_CODES["celeba"]) if label_column == "Male" else codes
    groups = {name: header.index(name) for name in GROUP_ATTRIBUTES if name in header and name != label_column}
    read: list[_Row] = []
    once = Once()
    for row, cells in rows:
        where = f"{file}, row {row}"
        require_cells(cells, len(header), where)
        once.add(cells[name_place], file, row)
        label = word_of(cells[label_place], codes, what=label_column, where=where)
        values = [(name, word_of(cells[place], _YES_OR_NO, what=name, where=where)) for name, place in groups.items()]
        read.append((cells[name_place], label, tuple(values)))
    if promised is not None and promised != len(read):
        raise ManifestError(
            f"Expected {promised} rows, as the first line says, got {len(read)} ({file}).",
            hint="Get the list from its source again, or correct its first line.",
        )
    return read


def _find_attributes(listing: Listing, labels: Path | None) -> Path:
    if labels is not None and not labels.is_dir():
        return labels
    found = pick_list(list_files(listing, labels), *LIST_FILES)
    if found is None:
        raise DataError(
            f"Expected {' or '.join(LIST_FILES)}, got neither ({labels or listing.folder}).",
            hint="Put the list beside img_align_celeba/, or say with --labels where it is.",
        )
    return found


def _find_companion(listing: Listing, labels: Path | None, stem: str) -> Path | None:
    names = f"{stem}.txt", f"{stem}.csv"
    return pick_list(list_files(listing, labels), *names) or pick_list(list_files(listing, None), *names)


def _splits(file: Path | None) -> dict[str, str]:
    if file is None:
        return {}
    pairs = read_pairs(file, "partition")
    return {
        name: word_of(code, CELEBA_PARTITIONS, what="the partition", where=f"{file}, row {row}")
        for name, (code, row) in pairs.items()
    }


def read_celeba(listing: Listing, *, labels: Path | None = None, label_column: str = "Male") -> ReadResult:
    """Returns the photos that CelebA's list names.

    The attribute ``Male`` gives the words ``male`` and ``female``; any other attribute gives its own name, and
    ``not_`` before it. Of the others, those of ``GROUP_ATTRIBUTES`` are kept, and ``person`` where it is known.

    Args:
        listing: The folder's photos, those of ``img_align_celeba`` before those in the wild.
        labels: The list of attributes, or the folder of the lists; ``None`` looks among the photos.
        label_column: The attribute that is the label.

    Raises:
        UsageError: ``labels`` cannot be read.
        ManifestError: A list lacks a column, is cut off, has a wrong cell, or names a photo twice.
        DataError: There is no list or no photo of it, or two of one.
    """
    file = _find_attributes(listing, labels)
    rows = _read_attributes(file, label_column)
    partition, identity = (
        _find_companion(listing, labels, stem) for stem in ("list_eval_partition", "identity_celeba")
    )
    splits = _splits(partition)
    persons = read_pairs(identity, "identity") if identity else {}
    located = locate(listing, {stem_of(name) for name, _, _ in rows}, key_of=stem_of, preferred=_PHOTO_FOLDERS)
    folder = next(iter(located.paths.values()), "").rpartition("/")[0]  # where a missing photo would stand
    shared: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}  # few values, many photos
    photos: list[FoundPhoto] = []
    for name, label, groups in rows:
        person = (("person", persons[name][0]),) if name in persons else ()
        extra = shared.setdefault(groups + person, dict(groups + person))
        path = located.paths.get(stem_of(name)) or posixpath.join(folder, name)
        photos.append(FoundPhoto(path, label, splits.get(name, ""), extra=extra))
    return ReadResult(
        "celeba",
        photos,
        listing.skipped + listing.unreadable + located.skipped,
        num_unlisted=located.num_unlisted,
        label_files=tuple(found for found in (file, partition, identity) if found),
    )
