"""Class folders: the name of a folder is the label of the photos in it.

Folders called like a split (``train``, ``Validation``, ``TEST``, …) may stand at any level. The first other folder is
the label, deeper ones are kept as the group ``subfolder``. Trees of another form are described by ``levels``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgegender.data.readers.codes import SPLIT_WORDS, split_of
from edgegender.data.readers.found import FoundPhoto, ReadResult, SkippedFile
from edgegender.data.readers.listing import Listing, require_names, require_photos, require_readable
from edgegender.errors import DataError, UsageError

IGNORED_LEVEL = "-"
_OWN_COLUMNS = frozenset({"path", "sha256", "width", "height", "face_box", "exclude"})

_Place = tuple[str, str, Mapping[str, str]]  # label, split, groups


def check_levels(levels: Sequence[str]) -> None:
    """Refuses names of folder levels that make no sense.

    Raises:
        UsageError: No ``label`` or several, a name twice, or the name of a manifest's own column.
    """
    named = [name for name in levels if name != IGNORED_LEVEL]
    if named.count("label") != 1 or len(set(named)) < len(named) or _OWN_COLUMNS & set(named) or "" in named:
        raise UsageError(
            f"Expected folder levels such as split,label or -,label,race, got {','.join(levels)!r}.",
            hint=f"Name each level once, from the top: label, split, a group, or {IGNORED_LEVEL} to pass over it.",
        )


def class_folder(parts: Sequence[str]) -> str | None:
    """Returns the first of a photo's folders that is not called like a split; ``None`` without one."""
    return next((part for part in parts if part.lower() not in SPLIT_WORDS), None)


def _place_freely(parts: list[str]) -> _Place | str:
    label = class_folder(parts)
    if label is None:
        return "no class folder"
    named = [part for part in parts if part.lower() not in SPLIT_WORDS]
    deeper = "/".join(named[1:])
    return label, split_of(parts), {"subfolder": deeper} if deeper else {}


def _place_by_levels(parts: list[str], levels: Sequence[str], where: str) -> _Place | str:
    if len(parts) < len(levels):
        return f"{len(parts)} folder levels, not {len(levels)} ({','.join(levels)})"
    values = {name: part for name, part in zip(levels, parts, strict=False) if name != IGNORED_LEVEL}
    label, split = values.pop("label"), values.pop("split", "")
    if split and split.lower() not in SPLIT_WORDS:
        raise DataError(
            f"Expected a split folder such as train, val or test, got {split!r} ({where}).",
            hint="Name the folder levels from the top, as in: split,label",
        )
    deeper = "/".join(parts[len(levels) :])
    return label, SPLIT_WORDS.get(split.lower(), ""), {**values, "subfolder": deeper} if deeper else values


def read_folders(listing: Listing, *, levels: Sequence[str] | None = None) -> ReadResult:
    """Returns the photos of class folders; labels are the folders' names, letter by letter.

    Args:
        listing: The folder's photos.
        levels: What each level of folders means, from the top: ``label``, ``split``, ``-`` for nothing, or the name
            of a group. ``None`` finds splits by their names and takes the first other folder as the label.

    Raises:
        UsageError: A subfolder cannot be read, or ``levels`` makes no sense.
        DataError: There are no photos, one stands outside of class folders, or a name cannot be written.
    """
    if levels is not None:
        check_levels(levels)
    require_readable(listing)
    require_photos(listing)
    require_names(listing)
    photos: list[FoundPhoto] = []
    skipped = list(listing.skipped)
    placed: dict[str, _Place | str] = {}
    for path in listing.photos:
        folder = path.rpartition("/")[0]
        place = placed.get(folder)
        if place is None:
            parts = folder.split("/") if folder else []
            where = f"{listing.folder / folder}"
            place = placed[folder] = _place_freely(parts) if levels is None else _place_by_levels(parts, levels, where)
        if not isinstance(place, str):
            photos.append(FoundPhoto(path, place[0], place[1], extra=place[2]))
        elif levels is not None:
            skipped.append(SkippedFile(path, place))
        else:
            raise DataError(
                f"Expected each label's photos in a folder of its own, got {path.rpartition('/')[2]} in "
                f"{listing.folder / folder}.",
                hint="Move the photos into folders such as female/ and male/, or give --labels CSV.",
            )
    if not photos:
        raise DataError(
            f"Expected photos at the folder levels {','.join(levels or ())}, got none ({listing.folder}).",
            hint=f"The first photo is {listing.photos[0]}.",
        )
    return ReadResult("folders", photos, skipped)
