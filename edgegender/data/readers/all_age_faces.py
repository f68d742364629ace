"""All-Age-Faces: 13,322 faces, mostly Asian, one person each, ages 2–80 (7,381 female, 5,941 male).

File names are ``%05dA%02d.jpg``: serial number and age. The lists ``train.txt`` and ``val.txt`` in ``image sets/``
hold rows such as ``00000A02.jpg 0``: 0 female, 1 male. Without the lists the serial number tells it, too: 00000–07380
are female, the rest male. Known faults: 2–3 % wrong labels, black corners where faces were turned upright.

Source: https://github.com/JingchunCheng/All-Age-Faces-Dataset (no licence given)
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from edgegender.data.readers.codes import GENDER_CODES, SPLIT_WORDS, word_of
from edgegender.data.readers.found import FoundPhoto, ReadResult, SkippedFile
from edgegender.data.readers.listing import Listing, require_photos, require_readable
from edgegender.data.readers.lists import Once, list_files, locate, pick_list, read_rows, require_cells, stem_of
from edgegender.errors import DataError, ManifestError, UsageError

FIELDS = ("gender", "age")
OWN_FOLDERS = frozenset({"all-age-faces dataset", "aglined faces", "aligned faces", "original images", "example"})
"""Lower-case names of the folders that the set comes in, its own spelling among them."""

_NAME = re.compile(r"(\d{5})A(\d{2,3})$")
_LAST_FEMALE, _LAST_MALE = 7380, 13321
_PHOTO_FOLDERS = ("aglined faces", "aligned faces", "original images")


def is_all_age_faces_name(name: str) -> bool:
    """Returns whether a file name is a serial number and an age.

    Example:
        >>> is_all_age_faces_name("07381A02.jpg"), is_all_age_faces_name("000001.jpg")
        (True, False)
    """
    return bool(_NAME.match(stem_of(name)))


def find_lists(listing: Listing, labels: Path | None) -> list[Path]:
    """Returns ``train.txt`` and ``val.txt``, those in a folder ``image sets`` before others; none when none is there.

    Raises:
        UsageError: ``labels`` cannot be read.
        DataError: Two folders hold a list of the same name.
    """
    if labels is not None and not labels.is_dir():
        return [labels]
    files = list_files(listing, labels)
    files = [file for file in files if file.parent.name.lower() == "image sets"] or files
    return [file for file in (pick_list(files, "train.txt"), pick_list(files, "val.txt")) if file is not None]


def _photo(path: str, fields: dict[str, str], split: str, label_column: str) -> FoundPhoto:
    label = fields.pop(label_column)
    return FoundPhoto(path, label, split, extra=fields)


def _read_lists(listing: Listing, files: list[Path], label_column: str) -> ReadResult:
    once = Once()
    fields_of: dict[str, tuple[dict[str, str], str]] = {}  # stem → fields, split
    for file in files:
        for row, cells in read_rows(file):
            where = f"{file}, row {row}"
            require_cells(cells, 2, where)
            stem = stem_of(cells[0])  # the set's own page writes the rows without .jpg
            once.add(stem, file, row)
            match = _NAME.match(stem)
            if match is None:
                raise ManifestError(f"Expected a name such as 00000A02.jpg, got {cells[0]!r} ({where}).")
            gender = word_of(cells[1], GENDER_CODES["all_age_faces"], what="gender", where=where)
            fields_of[stem] = {"gender": gender, "age": str(int(match[2]))}, SPLIT_WORDS.get(file.stem.lower(), "")
    located = locate(listing, fields_of, key_of=stem_of, preferred=_PHOTO_FOLDERS)
    folder = next(iter(located.paths.values()), "").rpartition("/")[0]  # where a missing photo would stand
    photos = [
        _photo(located.paths.get(stem) or posixpath.join(folder, f"{stem}.jpg"), fields, split, label_column)
        for stem, (fields, split) in fields_of.items()
    ]
    return ReadResult(
        "all_age_faces",
        photos,
        listing.skipped + listing.unreadable + located.skipped,
        num_unlisted=located.num_unlisted,
        label_files=tuple(files),
    )


def _read_serial_numbers(listing: Listing, label_column: str) -> ReadResult:
    require_readable(listing)
    require_photos(listing)
    skipped = list(listing.skipped)
    codes = GENDER_CODES["all_age_faces"]
    fields_of: dict[str, dict[str, str]] = {}
    for path in listing.photos:
        stem = stem_of(path)
        if (match := _NAME.match(stem)) is None:
            skipped.append(SkippedFile(path, "the name is not a serial number and an age"))
        elif int(match[1]) > _LAST_MALE:
            skipped.append(SkippedFile(path, f"the serial number is above {_LAST_MALE}"))
        else:
            gender = codes["0" if int(match[1]) <= _LAST_FEMALE else "1"]
            fields_of[stem] = {"gender": gender, "age": str(int(match[2]))}
    if not fields_of:
        raise DataError(
            f"Expected names such as 00000A02.jpg, got none in {len(listing.photos)} photos ({listing.folder}).",
            hint=f"The first photo is {listing.photos[0]}.",
        )
    located = locate(listing, fields_of, key_of=stem_of, preferred=_PHOTO_FOLDERS)
    photos = [_photo(path, fields_of[stem], "", label_column) for stem, path in sorted(located.paths.items())]
    return ReadResult("all_age_faces", photos, skipped + located.skipped)


def read_all_age_faces(listing: Listing, *, labels: Path | None = None, label_column: str = "gender") -> ReadResult:
    """Returns the photos that the lists name; without lists, all photos, labelled by their serial numbers.

    Args:
        listing: The folder's photos, the aligned faces before the original images.
        labels: One list, or the folder of both; ``None`` looks among the photos.
        label_column: ``gender`` or ``age``; the other one is kept as a group.

    Raises:
        UsageError: ``labels`` or a subfolder cannot be read, or ``label_column`` is no field.
        ManifestError: A list has a wrong row or names a photo twice, or a photo stands in both.
        DataError: No photo is named so, or two are.
    """
    if label_column not in FIELDS:
        raise UsageError(f"Expected one of {', '.join(FIELDS)} as the label, got {label_column!r}.")
    files = find_lists(listing, labels)
    if labels is not None and not files:
        raise DataError(f"Expected train.txt or val.txt, got neither ({labels}).")
    return _read_lists(listing, files, label_column) if files else _read_serial_numbers(listing, label_column)
