"""UTKFace: about 23,700 faces whose labels stand in the file names, ``[age]_[gender]_[race]_[date&time].jpg``.

Ages 0–116; gender 0 male, 1 female; race 0 White, 1 Black, 2 Asian, 3 Indian, 4 Others. The labels were estimated by
a network and checked by a human annotator. Known faults: a few files lack a field, such as
``39_1_20170116174525125.jpg`` and ``61_1_20170109142408075.jpg``, and are skipped with the reason.

Source: https://susanqq.github.io/UTKFace/ (non-commercial research only)
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgegender.data.readers.codes import GENDER_CODES, UTKFACE_RACES, split_of
from edgegender.data.readers.found import FoundPhoto, ReadResult, SkippedFile
from edgegender.data.readers.listing import Listing, require_names, require_photos, require_readable
from edgegender.errors import DataError, UsageError

OWN_FOLDERS = frozenset({"utkface", "utkface_aligned_cropped", "crop_part1", "part1", "part2", "part3"})
"""Lower-case names of the folders that the set comes in."""

FIELDS = ("age", "gender", "race")
# One real name holds a blank behind the date, one lacks the dot before jpg: what follows the date does not matter.
_FULL_NAME = re.compile(r"(\d{1,3})_(\d+)_(\d+)_\d{8}")
_SHORT_NAME = re.compile(r"\d{1,3}_(\d+_)?\d{8}")


def is_utkface_name(name: str) -> bool:
    """Returns whether a file name has the four fields of UTKFace's.

    Example:
        >>> is_utkface_name("26_1_2_20170116184024662.jpg"), is_utkface_name("39_1_20170116174525125.jpg")
        (True, False)
    """
    return _FULL_NAME.match(name) is not None


def _fields_of(name: str) -> dict[str, str] | str:
    match = _FULL_NAME.match(name)
    if match is None:
        is_short = _SHORT_NAME.match(name)
        return "a field is missing: age_gender_race_date" if is_short else "the name is not age_gender_race_date"
    age, gender, race = match.groups()
    if gender not in GENDER_CODES["utkface"]:
        return f"gender {gender} is none of {', '.join(GENDER_CODES['utkface'])}"
    if race not in UTKFACE_RACES:
        return f"race {race} is none of {', '.join(UTKFACE_RACES)}"
    return {"age": str(int(age)), "gender": GENDER_CODES["utkface"][gender], "race": UTKFACE_RACES[race]}


def read_utkface(listing: Listing, *, label_column: str = "gender") -> ReadResult:
    """Returns the photos whose names follow the pattern, with the other two fields as groups.

    Splits come from split folders where somebody made them; the set itself has none.

    Args:
        listing: The folder's photos.
        label_column: ``gender``, ``race`` or ``age``.

    Raises:
        UsageError: A subfolder cannot be read, or ``label_column`` is no field.
        DataError: No photo's name follows the pattern, or a name cannot be written.
    """
    if label_column not in FIELDS:
        raise UsageError(f"Expected one of {', '.join(FIELDS)} as the label, got {label_column!r}.")
    require_readable(listing)
    require_photos(listing)
    require_names(listing)
    photos: list[FoundPhoto] = []
    skipped = list(listing.skipped)
    shared: dict[tuple[str, ...], Mapping[str, str]] = {}  # few values, many photos
    splits: dict[str, str] = {}
    for path in listing.photos:
        folder, _, name = path.rpartition("/")
        fields = _fields_of(name)
        if isinstance(fields, str):
            skipped.append(SkippedFile(path, fields))
            continue
        label = fields.pop(label_column)
        extra = shared.setdefault(tuple(fields.values()), fields)
        if folder not in splits:
            splits[folder] = split_of(folder.split("/"))
        photos.append(FoundPhoto(path, label, splits[folder], extra=extra))
    if not photos:
        raise DataError(
            f"Expected names such as 26_1_2_20170116184024662.jpg, got none in {len(listing.photos)} photos "
            f"({listing.folder}).",
            hint=f"The first photo is {skipped[0].path}: {skipped[0].reason}.",
        )
    return ReadResult("utkface", photos, skipped)
