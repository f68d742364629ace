"""A folder of photos becomes a manifest: what the layout says about each photo, and what its file holds."""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegender.data.journal import Journal, resume
from edgegender.data.manifest import Manifest, format_face_box
from edgegender.data.measure import Measured, measure_photo, stamp_file
from edgegender.data.perceptual_hash import require_hashing
from edgegender.data.readers import FoundPhoto, ReadResult, read_layout
from edgegender.data.readers.found import SkippedFile
from edgegender.data.split import assign_splits
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.errors import DataError, UsageError
from edgegender.progress import Progress, no_progress

_CHUNK_PHOTOS = 64
_PHOTOS_PER_WORKER = 500


@dataclass(frozen=True)
class IndexedFolder:
    """A manifest and how it came about.

    Args:
        manifest: One row a photo.
        layout: The layout that was read.
        skipped: Files that the layout has no place for.
        num_unlisted: Photos in the folder that its list does not name.
        num_resumed: Photos whose measures came from the journal of a run that was stopped.
    """

    manifest: Manifest
    layout: str
    skipped: tuple[SkippedFile, ...]
    num_unlisted: int
    num_resumed: int


def _from_journal(journal: Journal | None, photos: Sequence[FoundPhoto], folder: str) -> list[Measured | None]:
    """Returns for each photo what was measured before; ``None`` where nothing was, or the file changed since."""
    if journal is None or not journal.entries:
        return [None] * len(photos)
    known: list[Measured | None] = []
    for photo in photos:
        cells = journal.entries.pop(photo.path, None)  # a million of them need not be kept twice
        before = Measured(*cells) if cells and len(cells) == len(Measured._fields) else None  # type: ignore[arg-type]
        is_same = before is not None and (before.size_bytes, before.mtime_ns) == stamp_file(f"{folder}/{photo.path}")
        known.append(before if is_same and before is not None and before.problem != "missing" else None)
    return known


def _measure_all(
    photos: Sequence[FoundPhoto],
    folder: str,
    *,
    with_phash: bool,
    workers: int,
    journal: Journal | None,
    known: Sequence[Measured | None],
) -> Generator[Measured, None, None]:
    missing = (f"{folder}/{photo.path}" for photo, before in zip(photos, known, strict=True) if before is None)
    measure = functools.partial(measure_photo, is_decoded=with_phash, with_phash=with_phash)
    workers = choose_workers(workers, sum(before is None for before in known), items_per_worker=_PHOTOS_PER_WORKER)
    with contextlib.closing(map_in_processes(measure, missing, workers=workers, chunk_items=_CHUNK_PHOTOS)) as measured:
        yield from resume((photo.path for photo in photos), known, measured, journal)


class _Columns:
    """Cells by column, one photo after the other."""

    def __init__(self, extra: Sequence[str]) -> None:
        names = ("path", "label", "split", "width", "height", "sha256", "phash", "face_box", "exclude", *extra)
        self.cells: dict[str, list[str]] = {name: [] for name in names}
        self._extra = extra
        self._shared: dict[str, str] = {}

    def add(self, photo: FoundPhoto, path: str, label: str, measured: Measured) -> None:
        cells = self.cells
        cells["path"].append(path)
        cells["label"].append(label)
        cells["split"].append(photo.split)
        for name, value in (("width", measured.width), ("height", measured.height)):
            text = str(value) if value else ""
            cells[name].append(self._shared.setdefault(text, text))
        cells["sha256"].append(measured.sha256)
        cells["phash"].append(measured.phash)
        cells["face_box"].append(format_face_box(photo.face_box))
        cells["exclude"].append(photo.exclude or (f"unreadable: {measured.problem}" if measured.problem else ""))
        for name in self._extra:
            cells[name].append(photo.extra.get(name, ""))


def _renamed(found: ReadResult, rename: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the new name of each label.

    Raises:
        UsageError: A name that is to be replaced is no label.
    """
    labels = {photo.label for photo in found.photos}
    unknown = sorted(set(rename) - labels)
    if unknown:
        raise UsageError(
            f"Expected to rename a label that is there, got {unknown[0]!r}.",
            hint=f"Labels: {', '.join(sorted(labels))}",
        )
    return {label: rename.get(label, label) for label in labels}


def _require_usable(manifest: Manifest, folder: Path) -> None:
    kept = manifest.select()
    if not len(kept):
        first = manifest.row(0) if len(manifest) else None
        raise DataError(
            f"Expected photos that can be read, got {len(manifest)} that cannot ({folder}).",
            hint=f"The first: {first.path} is {first.exclude}." if first else "The list of photos is empty.",
        )
    if len(kept.labels) < 2:
        raise DataError(
            f"Expected at least two labels, got {kept.labels[0]!r} only ({folder}).",
            hint="Put each label's photos into a folder of its own, such as female/ and male/.",
        )


def _fill(found: ReadResult, measured: Iterator[Measured], prefix: str, names: Mapping[str, str]) -> _Columns:
    extra = list(dict.fromkeys(name for photo in found.photos for name in photo.extra))
    columns = _Columns([name for name in extra if name not in ("width", "height", "sha256", "phash")])
    for photo, its_measures in zip(found.photos, measured, strict=True):
        columns.add(photo, posixpath.normpath(f"{prefix}/{photo.path}"), names[photo.label], its_measures)
    return columns


def _count_up(measured: Iterator[Measured], total: int, on_progress: Progress) -> Iterator[Measured]:
    for done, one in enumerate(measured, start=1):
        yield one
        on_progress(done, total)


def index_folder(
    folder: Path,
    *,
    output_folder: Path,
    layout: str | None = None,
    labels: Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    levels: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    ratios: Sequence[float] = (70, 10, 20),
    seed: int = 0,
    with_phash: bool = True,
    workers: int = 1,
    journal_path: Path | None = None,
    on_progress: Progress = no_progress,
) -> IndexedFolder:
    """Returns a manifest of a folder's photos, with size, hashes and split.

    Splits come from the layout; where it has none, they are drawn by :func:`edgegender.data.split.assign_splits`. A
    photo that cannot be read stays in, with a reason in ``exclude``. One photo is in memory at a time, in each process.

    Args:
        folder: The photos.
        output_folder: Where the manifest will stand; paths are made relative to it.
        layout: See :func:`edgegender.data.readers.read_layout`, as for the next five.
        labels: A table or list of labels.
        path_column: Of the table.
        label_column: Of the table or list.
        split_column: Of the table.
        levels: Meaning of the levels of folders.
        rename: Label as found → label as wanted.
        ratios: Shares of train, val and test where splits are drawn.
        seed: Of the drawn splits.
        with_phash: Decode each photo and write down its perceptual hash.
        workers: Processes.
        journal_path: Where a killed run leaves what it measured; who has written the manifest removes it.
        on_progress: Called with (done, total).

    Raises:
        DataError: There are no photos, none can be read, or all have one label.
        UsageError: The folder is missing, or an option does not fit.
        ManifestError: A list or table lacks a column, has a wrong cell or names a photo twice.
        MissingDependencyError: The library that hashes pictures, or reads Parquet, is not installed.
        OutputError: The journal cannot be written.
        WorkerError: A process was killed or crashed.
    """
    if with_phash:
        require_hashing()
    found = read_layout(
        folder,
        layout=layout,
        labels=labels,
        path_column=path_column,
        label_column=label_column,
        split_column=split_column,
        levels=levels,
    )
    names = _renamed(found, rename or {})
    # Relative even across folders, so that data and manifest move together; resolve() makes '..' safe with links.
    prefix = Path(os.path.relpath(folder.resolve(), output_folder.resolve())).as_posix()
    with contextlib.ExitStack() as stack:
        settings = {"step": "index", "folder": str(folder.resolve()), "with_phash": with_phash}
        journal = stack.enter_context(Journal(journal_path, settings)) if journal_path else None
        known = _from_journal(journal, found.photos, str(folder))
        measured = stack.enter_context(
            contextlib.closing(  # an interrupt ends the processes at once and not when all photos are done
                _measure_all(
                    found.photos, str(folder), with_phash=with_phash, workers=workers, journal=journal, known=known
                )
            )
        )
        columns = _fill(found, _count_up(measured, len(found.photos), on_progress), prefix, names)
    if not with_phash:
        del columns.cells["phash"]
    manifest = Manifest(output_folder.resolve(), columns.cells)
    _require_usable(manifest, folder)
    if not any(manifest.select().column("split")):
        manifest = assign_splits(manifest, ratios=ratios, seed=seed)
    num_resumed = sum(before is not None for before in known)
    return IndexedFolder(manifest, found.layout, tuple(found.skipped), found.num_unlisted, num_resumed)
