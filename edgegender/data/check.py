"""What is wrong with a set of photos, before a network learns it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.data.grouping import link_equal_cells
from edgegender.data.manifest import Manifest
from edgegender.data.measure import Measured, measure_photo
from edgegender.data.near_duplicates import MAX_DISTANCE, find_near_pairs, group_pairs, require_distance
from edgegender.data.perceptual_hash import pack_hashes, require_hashing
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.entities import IntArray
from edgegender.progress import Progress, no_progress

DEFAULT_MIN_SIDE_PX = 32  # a third of the smallest common network input: what is added by enlarging is no face
_CHUNK_PHOTOS = 32
_PHOTOS_PER_WORKER = 500
_SPLIT_RANK = {"test": 0, "val": 1, "train": 2, "": 3}  # of two copies the one that is tested on stays

PathGroup = tuple[str, ...]


@dataclass(frozen=True)
class FaultyPhoto:
    """A photo with a fault of its own.

    Args:
        path: As the manifest has it.
        reason: The kind of the fault, or the size in pixels of a tiny photo.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class DataReport:
    """The faults of a manifest's photos. Groups of paths are in the order of the manifest.

    Args:
        num_photos: Rows that are not excluded.
        num_excluded: Rows that are.
        counts: Photos by split, then by label.
        unreadable: Photos that cannot be decoded.
        tiny: Photos whose shorter side is below the limit.
        duplicates: Groups with the same bytes and label.
        near_duplicates: Groups that look the same and are not all the same bytes; exact copies of one of them are in
            the group, too. ``None`` when nobody looked.
        leaks: Groups with the same bytes in more than one split; a row without a split is in none.
        near_leaks: Near duplicates in more than one split.
        person_leaks: Groups of one person (column ``person``) in more than one split.
        conflicts: Groups with the same bytes under different labels.
        near_conflicts: Near duplicates under different labels.
        changed: Paths whose bytes differ from the manifest's sha256.
    """

    num_photos: int
    num_excluded: int
    counts: dict[str, dict[str, int]]
    unreadable: tuple[FaultyPhoto, ...]
    tiny: tuple[FaultyPhoto, ...]
    duplicates: tuple[PathGroup, ...]
    near_duplicates: tuple[PathGroup, ...] | None
    leaks: tuple[PathGroup, ...]
    near_leaks: tuple[PathGroup, ...]
    person_leaks: tuple[PathGroup, ...]
    conflicts: tuple[PathGroup, ...]
    near_conflicts: tuple[PathGroup, ...]
    changed: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found that would make a measured figure wrong: leaks, conflicts, changed files."""
        return not (
            self.leaks or self.near_leaks or self.person_leaks or self.conflicts or self.near_conflicts or self.changed
        )


def _measure_all(manifest: Manifest, *, with_phash: bool, workers: int, on_progress: Progress) -> list[Measured]:
    files = (str(manifest.folder / path) for path in manifest.column("path"))
    measure = functools.partial(measure_photo, is_decoded=True, with_phash=with_phash)
    measured = []
    workers = choose_workers(workers, len(manifest), items_per_worker=_PHOTOS_PER_WORKER)
    with contextlib.closing(map_in_processes(measure, files, workers=workers, chunk_items=_CHUNK_PHOTOS)) as results:
        for done, one in enumerate(results, start=1):
            measured.append(one)
            on_progress(done, len(manifest))
    return measured


def _members(group: IntArray) -> list[IntArray]:
    """Returns the positions of equal numbers, where there are at least two, in the order of their first one."""
    order = np.argsort(group, kind="stable")
    order = order[np.bincount(group, minlength=len(group))[group[order]] > 1]
    return np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []


def _equal_groups(cells: Sequence[str]) -> list[IntArray]:
    """Returns the positions of equal cells; empty cells are no group."""
    return _members(group_pairs(len(cells), *link_equal_cells(cells)))


def _near_groups(measured: Sequence[Measured], max_distance: int) -> list[IntArray]:
    """Returns groups of photos that look the same, those of the same bytes only left out."""
    hashed = np.asarray([position for position, one in enumerate(measured) if one.phash], np.int64)
    pairs = find_near_pairs(pack_hashes([measured[position].phash for position in hashed]), max_distance=max_distance)
    found = _members(group_pairs(len(measured), hashed[pairs.first], hashed[pairs.second]))
    return [members for members in found if len({measured[position].sha256 for position in members}) > 1]


class _Groups:
    """Groups of positions, told as paths and sifted by what their rows say."""

    def __init__(self, manifest: Manifest, groups: Iterable[IntArray]) -> None:
        self._paths, self._labels = manifest.column("path"), manifest.column("label")
        self._splits = manifest.column("split")
        self._groups = list(groups)

    def _told(self, groups: Iterable[IntArray]) -> tuple[PathGroup, ...]:
        return tuple(tuple(self._paths[position] for position in group) for group in groups)

    @property
    def all(self) -> tuple[PathGroup, ...]:
        return self._told(self._groups)

    @property
    def same_label(self) -> tuple[PathGroup, ...]:
        return self._told(group for group in self._groups if len({self._labels[at] for at in group}) == 1)

    @property
    def conflicts(self) -> tuple[PathGroup, ...]:
        return self._told(group for group in self._groups if len({self._labels[at] for at in group}) > 1)

    @property
    def leaks(self) -> tuple[PathGroup, ...]:
        return self._told(group for group in self._groups if len({self._splits[at] for at in group} - {""}) > 1)


def check_manifest(
    manifest: Manifest,
    *,
    with_near: bool = True,
    max_distance: int = MAX_DISTANCE,
    min_side_px: int = DEFAULT_MIN_SIDE_PX,
    workers: int = 1,
    on_progress: Progress = no_progress,
) -> DataReport:
    """Returns the faults of all rows that are not excluded. Every photo is read and decoded once.

    Args:
        manifest: What to check.
        with_near: Look for near duplicates.
        max_distance: Most bits of 256 in which the perceptual hashes of near duplicates differ, 0 to 24.
        min_side_px: Photos with a shorter side are tiny.
        workers: Processes.
        on_progress: Called with (done, total).

    Raises:
        MissingDependencyError: ``with_near`` without ImageHash.
        UsageError: ``max_distance`` is out of range.
        WorkerError: A process was killed or crashed.
    """
    if with_near:  # before hours of reading, not after them
        require_hashing()
        require_distance(max_distance)
    usable = manifest.select()
    measured = _measure_all(usable, with_phash=with_near, workers=workers, on_progress=on_progress)
    paths = usable.column("path")
    exact = _Groups(usable, _equal_groups([one.sha256 for one in measured]))
    near = _Groups(usable, _near_groups(measured, max_distance) if with_near else ())
    return DataReport(
        num_photos=len(usable),
        num_excluded=len(manifest) - len(usable),
        counts=manifest.counts(),
        unreadable=tuple(
            FaultyPhoto(path, one.problem) for path, one in zip(paths, measured, strict=True) if one.problem
        ),
        tiny=tuple(
            FaultyPhoto(path, f"{one.width} × {one.height}")
            for path, one in zip(paths, measured, strict=True)
            if not one.problem and min(one.width, one.height) < min_side_px
        ),
        duplicates=exact.same_label,
        near_duplicates=near.all if with_near else None,
        leaks=exact.leaks,
        near_leaks=near.leaks,
        person_leaks=_Groups(usable, _equal_groups(usable.column("person"))).leaks,
        conflicts=exact.conflicts,
        near_conflicts=near.conflicts,
        changed=tuple(
            path
            for path, one, before in zip(paths, measured, usable.column("sha256"), strict=True)
            if before and one.sha256 and one.sha256 != before
        ),
    )


def exclude_faults(manifest: Manifest, report: DataReport) -> Manifest:
    """Returns the manifest with ``exclude`` filled in for what the report found.

    Unreadable, tiny, changed and conflicting photos go; of exact and of near duplicates one stays, in test before val
    before train. People in several splits stay: that is mended by splitting anew.
    """
    reasons = {photo.path: f"unreadable: {photo.reason}" for photo in report.unreadable}
    reasons.update((photo.path, "tiny") for photo in report.tiny)
    reasons.update((path, "sha256_mismatch") for path in report.changed)
    reasons.update((path, "label_conflict") for group in report.conflicts for path in group)
    for group in report.near_conflicts:
        for path in group:
            reasons.setdefault(path, "label_conflict_near_duplicate")
    split_of = dict(zip(manifest.column("path"), manifest.column("split"), strict=True))
    for name, groups in (("exact_duplicate", report.duplicates), ("near_duplicate", report.near_duplicates or ())):
        for group in groups:
            sound = [path for path in group if path not in reasons]  # a changed file is no copy to keep
            ordered = sorted(sound, key=lambda path: (_SPLIT_RANK[split_of[path]], path))
            reasons.update((path, name) for path in ordered[1:])
    excluded = [
        reason or reasons.get(path, "")
        for reason, path in zip(manifest.column("exclude"), manifest.column("path"), strict=True)
    ]
    return manifest.with_columns({"exclude": excluded})
