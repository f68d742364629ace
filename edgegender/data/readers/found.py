"""What a reader hands over: photos that were found, not yet opened, and files that found no place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edgegender.entities import FaceBox


@dataclass(frozen=True, slots=True)
class FoundPhoto:
    """A photo that a reader found, not yet opened.

    Args:
        path: Relative to the folder that was read, with forward slashes, as the file system spells it.
        label: The annotated label, as the source says it.
        split: ``train``, ``val``, ``test`` or empty.
        exclude: Why the photo is left out; empty keeps it.
        face_box: Where the source says the face is; ``None`` when it does not say.
        extra: All other columns: age, race, person, … Photos with the same values may share one mapping.
    """

    path: str
    label: str
    split: str = ""
    exclude: str = ""
    face_box: FaceBox | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


class SkippedFile(NamedTuple):
    """A file or folder that the layout cannot place.

    Args:
        path: Relative to the folder that was read.
        reason: What is wrong with it.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ReadResult:
    """All that a reader found in a folder.

    Args:
        layout: The layout that was read, one of ``LAYOUTS``.
        photos: In the order of their paths, or of the list that names them.
        skipped: What the layout cannot place.
        num_unlisted: Photos in the folder that the list does not name; 0 where there is no list.
        label_files: Where the labels come from; empty when they stand in the names of files and folders.
    """

    layout: str
    photos: list[FoundPhoto]
    skipped: list[SkippedFile]
    num_unlisted: int = 0
    label_files: tuple[Path, ...] = ()
