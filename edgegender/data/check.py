"""What is wrong with a set of photos, before a network learns it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgegender import images
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.errors import ImageError

_SPLIT_RANK = {"test": 0, "val": 1, "train": 2, "": 3}  # of two copies the one that is tested on stays


@dataclass(frozen=True)
class UnreadablePhoto:
    """A photo that cannot be decoded, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class DataReport:
    """The faults of a manifest's photos.

    Args:
        num_photos: Rows that are not excluded.
        num_excluded: Rows that are.
        counts: Photos by split, then by label.
        unreadable: Photos that cannot be decoded.
        duplicates: Groups of paths with the same bytes and label.
        leaks: Those groups that stand in more than one split.
        conflicts: Groups of paths with the same bytes under different labels.
        changed: Paths whose bytes differ from the manifest's sha256.
    """

    num_photos: int
    num_excluded: int
    counts: dict[str, dict[str, int]]
    unreadable: tuple[UnreadablePhoto, ...]
    duplicates: tuple[tuple[str, ...], ...]
    leaks: tuple[tuple[str, ...], ...]
    conflicts: tuple[tuple[str, ...], ...]
    changed: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that would make a measured figure wrong: leaks, conflicts, changed files."""
        return not (self.leaks or self.conflicts or self.changed)


def _no_progress(done: int, total: int) -> None:
    del done, total


def check_manifest(manifest: Manifest, *, on_progress: Callable[[int, int], None] = _no_progress) -> DataReport:
    """Returns the faults of all rows that are not excluded. Every photo is decoded once.

    Args:
        manifest: What to check.
        on_progress: Called with (done, total).
    """
    usable = [row for row in manifest if not row.exclude]
    unreadable: list[UnreadablePhoto] = []
    changed: list[str] = []
    by_content: dict[str, list[ManifestRow]] = defaultdict(list)
    for done, row in enumerate(usable, start=1):
        try:
            content = images.read_bytes(manifest.file(row))
            images.decode_image(content, where=str(manifest.file(row)))
        except ImageError as error:
            unreadable.append(UnreadablePhoto(row.path, error.kind))
        else:
            digest = hashlib.sha256(content).hexdigest()
            if row.sha256 and row.sha256 != digest:
                changed.append(row.path)
            by_content[digest].append(row)
        on_progress(done, len(usable))
    groups = [rows for rows in by_content.values() if len(rows) > 1]
    same_label = [rows for rows in groups if len({row.label for row in rows}) == 1]
    return DataReport(
        num_photos=len(usable),
        num_excluded=len(manifest) - len(usable),
        counts=manifest.counts(),
        unreadable=tuple(unreadable),
        duplicates=tuple(tuple(row.path for row in rows) for rows in same_label),
        leaks=tuple(tuple(row.path for row in rows) for rows in groups if len({row.split for row in rows}) > 1),
        conflicts=tuple(tuple(row.path for row in rows) for rows in groups if len({row.label for row in rows}) > 1),
        changed=tuple(changed),
    )


def exclude_faults(manifest: Manifest, report: DataReport) -> list[ManifestRow]:
    """Returns the manifest's rows with ``exclude`` filled in for what the report found.

    Unreadable and conflicting photos go; of exact duplicates one stays, in test before val before train.
    """
    reasons = {photo.path: f"unreadable: {photo.reason}" for photo in report.unreadable}
    reasons.update((path, "sha256_mismatch") for path in report.changed)
    reasons.update((path, "label_conflict") for group in report.conflicts for path in group)
    split_of = {row.path: row.split for row in manifest}
    for group in report.duplicates:
        sound = [path for path in group if path not in reasons]  # a changed file is no copy to keep
        ordered = sorted(sound, key=lambda path: (_SPLIT_RANK[split_of[path]], path))
        reasons.update((path, "exact_duplicate") for path in ordered[1:])
    return [replace(row, exclude=row.exclude or reasons.get(row.path, "")) for row in manifest]
