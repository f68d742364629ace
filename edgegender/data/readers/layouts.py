"""Which layout a folder has, and the reader for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edgegender.data.readers import all_age_faces, celeba, fairface, utkface
from edgegender.data.readers.folders import class_folder, read_folders
from edgegender.data.readers.found import ReadResult
from edgegender.data.readers.listing import Listing, list_folder
from edgegender.data.readers.lists import list_files
from edgegender.data.readers.table import read_labels_table
from edgegender.errors import UsageError

LAYOUTS = ("folders", "csv", "utkface", "fairface", "celeba", "all_age_faces")
"""The layouts that are read."""

_LISTED = {"fairface": fairface.LIST_FILES, "celeba": celeba.LIST_FILES}
_SAMPLE = 1000  # photos whose names are looked at
_MOST = 0.9  # share of them that must follow a pattern
_TELL_LAYOUT = f"Say which with --layout: {', '.join(LAYOUTS)}."


def _are_named(photos: Sequence[str], is_one: Callable[[str], bool]) -> bool:
    followed = sum(is_one(path.rpartition("/")[2]) for path in photos)
    return followed > 0 and followed >= _MOST * len(photos)


def _has_class_folders(photos: Sequence[str], own_folders: frozenset[str]) -> bool:
    named = {class_folder(path.split("/")[:-1]) for path in photos} - {None}
    return len([name for name in named if name and name.lower() not in own_folders]) > 1


def detect_layout(listing: Listing, *, labels: Path | None = None) -> str:
    """Returns the layout of a folder: a known list in it, names that follow a pattern, or else class folders.

    Args:
        listing: The folder's photos.
        labels: A table, a known list, or a folder of known lists.

    Raises:
        UsageError: There are signs of two layouts, or none in the folder ``labels``.
    """
    if labels is not None and not labels.is_dir():
        return next((layout for layout, lists in _LISTED.items() if labels.name.lower() in lists), "csv")
    names = {file.name.lower() for file in list_files(listing, labels)}
    found = [layout for layout, lists in _LISTED.items() if names.intersection(lists)]
    sample = listing.photos[:: max(1, len(listing.photos) // _SAMPLE)]
    if _are_named(sample, all_age_faces.is_all_age_faces_name):
        found.append("all_age_faces")
        own_folders = all_age_faces.OWN_FOLDERS
    elif _are_named(sample, utkface.is_utkface_name):
        found.append("utkface")
        own_folders = utkface.OWN_FOLDERS
    else:
        own_folders = frozenset()
    if own_folders and labels is None and _has_class_folders(sample, own_folders):
        found.append("folders")
    if len(found) > 1:
        raise UsageError(
            f"Expected one layout, got signs of {' and '.join(found)} ({listing.folder}).", hint=_TELL_LAYOUT
        )
    if labels is not None and not found:
        raise UsageError(f"Expected a table or a folder with known lists, got none ({labels}).", hint=_TELL_LAYOUT)
    return found[0] if found else "folders"


def _check_options(layout: str, labels: Path | None, options: dict[str, bool]) -> None:
    """Refuses options that the layout has no use for: ignoring one would give other rows than were asked for."""
    allowed = {
        "folders": {"levels"},
        "csv": {"labels", "path_column", "label_column", "split_column"},
        "utkface": {"label_column"},
    }.get(layout, {"labels", "label_column"})
    for name, is_given in options.items():
        if is_given and name not in allowed:
            raise UsageError(f"Expected no {name} with the layout {layout}, got one.", hint=_TELL_LAYOUT)
    if layout == "csv" and (labels is None or labels.is_dir()):
        raise UsageError(
            f"Expected a table for the layout csv, got {labels or 'none'}.", hint="Name it with --labels FILE."
        )


def read_layout(
    folder: Path,
    *,
    layout: str | None = None,
    labels: Path | None = None,
    split_column: str = "split",
    label_column: str = "label",
    path_column: str = "path",
    levels: Sequence[str] | None = None,
) -> ReadResult:
    """Returns the photos of a folder with what its layout says about each; no photo is opened.

    Args:
        folder: The photos, and most often the lists.
        layout: One of ``LAYOUTS``; ``None`` finds out.
        labels: The table of the layout csv; for fairface, celeba and all_age_faces a list or the folder of the lists.
        split_column: For csv, column of the split.
        label_column: Column, field or attribute of the label; ``label`` stands for each layout's own: ``gender`` of
            utkface, fairface and all_age_faces, ``Male`` of celeba.
        path_column: For csv, column of the path.
        levels: For folders, what each level of folders means, from the top: ``label``, ``split``, ``-``, or a group.

    Raises:
        UsageError: The folder is missing or cannot be read, the layout is unknown or not certain, or an option does
            not go with it.
        ManifestError: A list or table breaks its format; the message names file and row.
        DataError: There are no photos, or the layout has no place for one.
        MissingDependencyError: The table is Parquet and pyarrow is not installed.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"Expected a layout of {', '.join(LAYOUTS)}, got {layout!r}.")
    listing = list_folder(folder)
    chosen = layout or ("folders" if levels is not None else detect_layout(listing, labels=labels))
    options = {
        "labels": labels is not None,
        "levels": levels is not None,
        "label_column": label_column != "label",
        "path_column": path_column != "path",
        "split_column": split_column != "split",
    }
    _check_options(chosen, labels, options)
    own = {} if label_column == "label" else {"label_column": label_column}
    if chosen == "folders":
        return read_folders(listing, levels=levels)
    if chosen == "utkface":
        return utkface.read_utkface(listing, **own)
    if chosen == "fairface":
        return fairface.read_fairface(listing, labels=labels, **own)
    if chosen == "celeba":
        return celeba.read_celeba(listing, labels=labels, **own)
    if chosen == "all_age_faces":
        return all_age_faces.read_all_age_faces(listing, labels=labels, **own)
    columns = {"path_column": path_column, "label_column": label_column, "split_column": split_column}
    return read_labels_table(listing, labels or Path(), **columns)
