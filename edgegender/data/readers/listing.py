"""The files below a folder, found quickly, once each, in any tree that people really have."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgegender import images
from edgegender.data.readers.found import SkippedFile
from edgegender.errors import DataError, UsageError

LIST_NAMES = frozenset(
    {
        "fairface_label_train.csv",
        "fairface_label_val.csv",
        "list_attr_celeba.txt",
        "list_attr_celeba.csv",
        "list_eval_partition.txt",
        "list_eval_partition.csv",
        "identity_celeba.txt",
        "identity_celeba.csv",
        "train.txt",
        "val.txt",
    }
)
"""Lower-case names of the files that known data sets keep their labels in."""

_PICTURES_NOT_READ = frozenset(
    {".avif", ".gif", ".heic", ".heif", ".jp2", ".pbm", ".pgm", ".pnm", ".ppm", ".tga", ".tif", ".tiff"}
)


@dataclass(frozen=True, slots=True)
class Listing:
    """What stands below a folder. All paths are relative to it, with forward slashes, sorted.

    Args:
        folder: The folder.
        photos: Files with a photo's ending, whether or not they can be read.
        lists: Files called like a known list of labels.
        skipped: Pictures of formats that are not read, broken links, folders that were read before.
        unreadable: Folders that cannot be read.
    """

    folder: Path
    photos: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    unreadable: list[SkippedFile] = field(default_factory=list)


def _cannot_read(folder: str | Path, reason: str) -> UsageError:
    return UsageError(f"Expected a folder that can be read, got {reason} ({folder}).")


def require_folder(folder: Path) -> None:
    """Refuses what is no folder.

    Raises:
        UsageError: ``folder`` is missing, a file, or cannot be looked at.
    """
    try:
        found = "" if folder.is_dir() else "a file" if folder.exists() else "nothing"
    except OSError as error:
        raise _cannot_read(folder, error.strerror or str(error)) from error
    if found:
        raise UsageError(f"Expected a folder of photos, got {found} at {folder}.")


def _is_link_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that may not be entered
        return False


def _is_broken(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat()
    except OSError:
        return True
    return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class _Walk:
    """One walk through a tree.

    Links to folders wait until all real folders are read: a link never takes photos away from their own place. A
    folder that was read, or that is around the whole tree, is not entered.
    """

    def __init__(self, folder: Path) -> None:
        self.listing = Listing(folder)
        self._links: list[str] = []
        self._seen: set[tuple[int, int]] = set()
        for above in folder.resolve().parents:
            with contextlib.suppress(OSError):
                self._seen.add(_identity(above.stat()))

    def run(self) -> Listing:
        self._read_tree("")
        while self._links:
            self._links.sort(reverse=True)
            self._read_tree(self._links.pop())
        self.listing.photos.sort()
        self.listing.lists.sort()
        self.listing.skipped.sort()
        self.listing.unreadable.sort()
        return self.listing

    def _read_tree(self, start: str) -> None:
        waiting = [start]
        while waiting:
            path = waiting.pop()
            full = os.path.join(self.listing.folder, path)  # noqa: PTH118 - a Path for each folder costs ten times as much
            try:
                identity = _identity(os.stat(full))  # noqa: PTH116 - as above
                if identity in self._seen:
                    self.listing.skipped.append(
                        SkippedFile(path, "a link to a folder that is read already, or to one around it")
                    )
                    continue
                self._seen.add(identity)
                with os.scandir(full) as entries:
                    self._read_entries(entries, f"{path}/" if path else "", waiting)
            except OSError as error:
                if not path:
                    raise _cannot_read(self.listing.folder, error.strerror or str(error)) from error
                self.listing.unreadable.append(SkippedFile(path, error.strerror or str(error)))

    def _read_entries(self, entries: Iterator[os.DirEntry[str]], prefix: str, waiting: list[str]) -> None:
        photos, endings, lists = self.listing.photos, images.IMAGE_SUFFIXES, LIST_NAMES
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(prefix + name)
            elif entry.is_symlink() and _is_link_to_folder(entry):
                self._links.append(prefix + name)
            elif (ending := name[name.rfind(".") :].lower()) in endings:
                photos.append(prefix + name)
            elif name.lower() in lists:
                self.listing.lists.append(prefix + name)
            elif ending in _PICTURES_NOT_READ:
                self.listing.skipped.append(SkippedFile(prefix + name, f"a format that is not read ({ending})"))
            elif entry.is_symlink() and _is_broken(entry):
                self.listing.skipped.append(SkippedFile(prefix + name, "a broken link"))


def list_folder(folder: Path) -> Listing:
    """Returns what stands below a folder; hidden files and folders are passed over.

    Links to folders are followed, each folder once: loops end. A broken link with a photo's ending counts as a photo,
    so that it is told as missing later.

    Raises:
        UsageError: The folder is missing or cannot be read; a subfolder that cannot is named in ``unreadable``.
    """
    require_folder(folder)
    return _Walk(folder).run()


def require_readable(listing: Listing) -> None:
    """Refuses a tree of which a part cannot be read: its photos would be missing and nobody would know.

    Raises:
        UsageError: A subfolder cannot be read.
    """
    for path, reason in listing.unreadable:
        raise _cannot_read(listing.folder / path, reason)


def require_photos(listing: Listing) -> None:
    """Refuses a tree without a photo.

    Raises:
        DataError: No file has a photo's ending.
    """
    if not listing.photos:
        raise DataError(
            f"Expected photos, got none ({listing.folder}).",
            hint=f"Endings read: {' '.join(sorted(images.IMAGE_SUFFIXES))}",
        )


def is_writable_name(name: str) -> bool:
    r"""Returns whether a manifest can hold a name: UTF-8 without control characters.

    Example:
        >>> is_writable_name("žofie 2.jpg"), is_writable_name("a\rb.jpg")
        (True, False)
    """
    return name.isprintable() or not any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name)


def require_names(listing: Listing) -> None:
    """Refuses photos whose name a manifest cannot hold.

    Raises:
        DataError: A name is not UTF-8 or holds a control character.
    """
    for path in listing.photos:
        if not is_writable_name(path):
            raise DataError(
                f"Expected file names in UTF-8 without control characters, got {path!r} ({listing.folder}).",
                hint="Rename the file: a manifest cannot hold its name.",
            )


def find_photos(folder: Path) -> list[Path]:
    """Returns the photo files below a folder, sorted by path; see :func:`list_folder`.

    Raises:
        UsageError: The folder is missing, or a part of it cannot be read.
        DataError: No file in it has a photo's ending.
    """
    listing = list_folder(folder)
    require_readable(listing)
    require_photos(listing)
    return [folder / path for path in listing.photos]
