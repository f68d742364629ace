"""Trees of empty files: a reader opens no photo, so none needs to hold one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgegender.data.readers import ReadResult


def touch(folder: Path, *names: str) -> Path:
    """Makes empty files with their folders and returns ``folder``."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def write(file: Path, text: str) -> Path:
    """Writes a list, its line endings as given, and returns its path."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def answers(result: ReadResult) -> dict[str, tuple[str, str]]:
    """Returns path → (label, split)."""
    return {photo.path: (photo.label, photo.split) for photo in result.photos}


def groups(result: ReadResult) -> dict[str, Mapping[str, str]]:
    """Returns path → groups."""
    return {photo.path: dict(photo.extra) for photo in result.photos}
