"""One face-crop step for every set: photos in, square crops with some context and their face boxes out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import cv2

from edgegender import files, images
from edgegender.data.alignment import LEVEL_DEG, cut_turned_square, measure_tilt
from edgegender.data.journal import Journal, resume
from edgegender.data.manifest import Manifest, format_face_box
from edgegender.data.manifest_file import rebase
from edgegender.data.measure import stamp_file
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import DataError, ImageError, UsageError
from edgegender.preprocess import MAX_SIDE_RATIO, crop_square
from edgegender.progress import Progress, no_progress

DEFAULT_CONTEXT = 1.8  # room for a margin of 1.3 and for shifts and zooms in training
DEFAULT_SIZE_PX = 176
MAX_CONTEXT = 10.0  # beyond, a crop holds next to nothing of the face
MIN_SIZE_PX = 16
MAX_SIZE_PX = 4096  # 50 MB a crop: several workers fit into a board's memory
_CHUNK_PHOTOS = 4  # few, because Ctrl-C waits for the chunks under way; a photo costs far more than its way here
_PHOTOS_PER_WORKER = 50
_MISSING = "unreadable: missing"


class Detector(Protocol):
    """What the crop step needs of a face detector."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces of a photo, the most prominent first."""


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut.

    Args:
        context: Side of the stored square divided by the side of the face box, 1 to 10.
        size_px: Largest side of a stored crop, 16 to 4096 pixels; smaller faces are stored as they are.
        suffix: ``.jpg`` (quality 95) or ``.png`` (lossless).
        is_aligned: Turn each photo around the face until the eyes are level; needs a detector that finds eyes.
    """

    context: float = DEFAULT_CONTEXT
    size_px: int = DEFAULT_SIZE_PX
    suffix: str = ".jpg"
    is_aligned: bool = False


@dataclass(frozen=True)
class CropSummary:
    """What happened to the photos.

    Args:
        num_cropped: Photos with a face.
        no_face: Paths without one.
        several_faces: Paths with more than one; the most prominent was taken.
        unreadable: Paths that could not be decoded.
        num_resumed: Photos that a run that was stopped had done before.

    Paths are those of the photos' own manifest.
    """

    num_cropped: int
    no_face: tuple[str, ...]
    several_faces: tuple[str, ...]
    unreadable: tuple[str, ...]
    num_resumed: int = 0


class _Task(NamedTuple):
    source: Path
    target: Path


class _Outcome(NamedTuple):
    """What became of a photo. ``box_side`` is the side of the face box in the crop, which stands in its middle."""

    size_bytes: int
    mtime_ns: int
    problem: str = ""
    sha256: str = ""
    side_px: int = 0
    box_side: float = 0.0
    num_faces: int = 0


_worker_detector: Detector | None = None


def _start_worker(make_detector: Callable[[], Detector], *, is_alone: bool) -> None:
    global _worker_detector  # noqa: PLW0603 - one detector a process: building it for each photo would cost more than using it
    if not is_alone:
        cv2.setNumThreads(1)
    _worker_detector = make_detector()


def _cut(image: UInt8Array, box: FaceBox, side: float, size_px: int, angle_deg: float) -> UInt8Array:
    if abs(angle_deg) < LEVEL_DEG:
        return crop_square(image, center_xy=box.center_xy, side=side, size_px=size_px)
    return cut_turned_square(image, center_xy=box.center_xy, side=side, angle_deg=angle_deg, size_px=size_px)


def _crop_one(task: _Task, settings: CropSettings, detector: Detector) -> _Outcome:
    stamp = stamp_file(str(task.source))
    try:
        image = images.read_image(task.source)
    except ImageError as error:
        return _Outcome(*stamp, problem=f"unreadable: {error.kind}")
    boxes = detector.detect(image)
    if not boxes:
        return _Outcome(*stamp, problem="no_face")
    box = boxes[0]
    side = min(box.side_px * settings.context, MAX_SIDE_RATIO * max(image.shape[:2]))  # as crop_square cuts it
    side_px = max(1, min(settings.size_px, round(side)))
    angle_deg = measure_tilt(image, box, detect=detector.detect) if settings.is_aligned else 0.0
    content = images.encode_image(_cut(image, box, side, side_px, angle_deg), suffix=settings.suffix)
    files.write_bytes(task.target, content, is_synced=False)  # all are, once, at the end
    digest = hashlib.sha256(content).hexdigest()
    return _Outcome(*stamp, "", digest, side_px, side_px * box.side_px / side, len(boxes))


def _crop_in_worker(task: _Task, settings: CropSettings) -> _Outcome:
    if _worker_detector is None:  # pragma: no cover - the worker's start sets it
        raise RuntimeError("the worker has no detector")
    return _crop_one(task, settings, _worker_detector)


def _has_hash(file: Path, sha256: str) -> bool:
    try:
        return files.hash_file(file) == sha256
    except OSError:
        return False


def _is_done(before: _Outcome, task: _Task) -> bool:
    """Returns whether the photo is what it was and its crop is what was written."""
    if (before.size_bytes, before.mtime_ns) != stamp_file(str(task.source)):
        return False
    if before.problem:
        return before.problem != _MISSING  # a disk may be back, or a right to read
    return _has_hash(task.target, before.sha256)


def _from_journal(journal: Journal | None, tasks: Sequence[_Task], names: Sequence[str]) -> list[_Outcome | None]:
    """Returns what became of each photo in a run that was stopped; ``None`` where it must be done anew."""
    if journal is None or not journal.entries:
        return [None] * len(tasks)
    known: list[_Outcome | None] = []
    for task, name in zip(tasks, names, strict=True):
        cells = journal.entries.get(name)
        before = _Outcome(*cells) if cells and len(cells) == len(_Outcome._fields) else None  # type: ignore[arg-type]
        known.append(before if before is not None and _is_done(before, task) else None)
    return known


def _remove_leftovers(tasks: Sequence[_Task]) -> None:
    """Removes the crops that a killed run was writing: the journal's lock says that nobody writes now."""
    for folder in {task.target.parent for task in tasks}:
        files.remove_leftovers(folder)


def _outcomes(
    tasks: Sequence[_Task],
    names: Sequence[str],
    *,
    settings: CropSettings,
    make_detector: Callable[[], Detector],
    workers: int,
    journal: Journal | None,
    known: Sequence[_Outcome | None],
) -> Generator[_Outcome, None, None]:
    left = [task for task, before in zip(tasks, known, strict=True) if before is None]
    workers = choose_workers(workers, len(left), items_per_worker=_PHOTOS_PER_WORKER)
    if workers > 1:
        make_detector()  # an error of a worker would only say that the pool is broken
    work = functools.partial(_crop_in_worker, settings=settings)
    start = functools.partial(_start_worker, make_detector, is_alone=workers == 1)
    with contextlib.closing(
        map_in_processes(work, left, workers=workers, chunk_items=_CHUNK_PHOTOS, start_worker=start)
    ) as fresh:
        yield from resume(names, known, fresh, journal)


def _target_name(path: str, label: str, suffix: str) -> str:
    """A readable and unique name: label, stem, and a hash of the path, since two folders may hold the same name."""
    folder = re.sub(r"[^\w -]", "_", label)[:60]  # a label such as "../x" must not lead out of the folder
    stem = PurePosixPath(path).stem[:60]
    return f"{folder}/{stem}-{hashlib.sha256(path.encode()).hexdigest()[:10]}{suffix}"


def _face_box(outcome: _Outcome) -> FaceBox | None:
    """Returns the box in the middle of the crop."""
    if outcome.problem:
        return None
    low, high = (outcome.side_px - outcome.box_side) / 2, (outcome.side_px + outcome.box_side) / 2
    return FaceBox(low, low, high, high)


def _crops_manifest(photos: Manifest, output: Path, names: Sequence[str], outcomes: Sequence[_Outcome]) -> Manifest:
    """Returns the photos' columns with what the crops' own files hold in the place of what the photos' held."""
    columns = {name: photos.column(name) for name in photos.column_names if name != "phash"}
    sides = [str(outcome.side_px) if outcome.side_px else "" for outcome in outcomes]
    columns.update(
        path=names,
        width=sides,
        height=sides,
        sha256=[outcome.sha256 for outcome in outcomes],
        face_box=[format_face_box(_face_box(outcome)) for outcome in outcomes],
        exclude=[outcome.problem for outcome in outcomes],
        original=rebase(photos, output).column("path"),
        num_faces=[str(outcome.num_faces) for outcome in outcomes],
    )
    return Manifest(output.resolve(), columns)


def _summarize(paths: Sequence[str], outcomes: Sequence[_Outcome], num_resumed: int) -> CropSummary:
    def those(is_meant: Callable[[_Outcome], bool]) -> tuple[str, ...]:
        return tuple(path for path, outcome in zip(paths, outcomes, strict=True) if is_meant(outcome))

    return CropSummary(
        num_cropped=sum(not outcome.problem for outcome in outcomes),
        no_face=those(lambda outcome: outcome.problem == "no_face"),
        several_faces=those(lambda outcome: outcome.num_faces > 1),
        unreadable=those(lambda outcome: outcome.problem.startswith("unreadable")),
        num_resumed=num_resumed,
    )


def _require_range(settings: CropSettings, workers: int) -> None:
    is_in_range = 1 <= settings.context <= MAX_CONTEXT and MIN_SIZE_PX <= settings.size_px <= MAX_SIZE_PX
    if not is_in_range or settings.suffix not in (".jpg", ".png") or workers < 1:
        raise UsageError(
            f"Expected a context of 1 to {MAX_CONTEXT:g}, a size of {MIN_SIZE_PX} to {MAX_SIZE_PX} pixels, .jpg or "
            f".png, and workers ≥ 1, got {settings} and {workers}."
        )


def _require_faces(summary: CropSummary, outcomes: Sequence[_Outcome], folder: Path) -> None:
    if summary.num_cropped:
        return
    if len(summary.unreadable) == len(outcomes):
        raise DataError(
            f"Expected photos that can be read, got {len(outcomes)} that cannot ({folder}).",
            hint=f"The first: {summary.unreadable[0]} is {outcomes[0].problem}.",
        )
    raise DataError(
        f"Expected faces, got none in {len(outcomes)} photos ({folder}).",
        hint="When the photos are face crops already, train on them as they are.",
    )


def crop_faces(
    manifest: Manifest,
    output: Path,
    *,
    make_detector: Callable[[], Detector],
    settings: CropSettings | None = None,
    workers: int = 1,
    journal_path: Path | None = None,
    detector_name: str = "",
    on_progress: Progress = no_progress,
) -> tuple[Manifest, CropSummary]:
    """Cuts the most prominent face out of each photo and returns the manifest of the crops.

    The photos are not touched. A row without a face stays, with ``exclude`` set to ``no_face``; the column
    ``num_faces`` says how many faces were found, ``original`` where the photo stands from ``output``.

    Args:
        manifest: Photos; excluded rows are not read and not kept.
        output: Folder of the crops and of the new manifest.
        make_detector: Makes a detector; must be picklable when ``workers`` is above one.
        settings: Context, size, format, alignment.
        workers: Processes.
        journal_path: Where a killed run leaves what it did; who has written the manifest removes it. It also keeps
            two runs from writing into ``output`` at once.
        detector_name: Tells detectors apart in the journal: crops of another one are made anew.
        on_progress: Called with (done, total).

    Returns:
        A manifest whose paths are relative to ``output``, and a summary.

    Raises:
        DataError: There is no photo, none can be read, or none has a face.
        UsageError: A setting is out of range, a detector that finds no eyes is to align faces, or another run writes
            into ``output``.
        OutputError: A crop or the journal cannot be written.
    """
    settings = settings or CropSettings()
    _require_range(settings, workers)
    usable = manifest.select()
    if not len(usable):
        raise DataError(f"Expected photos to crop, got none ({manifest.folder}).", hint="Look at the exclude column.")
    paths = usable.column("path")
    names = [_target_name(*row, settings.suffix) for row in zip(paths, usable.column("label"), strict=True)]
    tasks = [_Task(manifest.folder / path, output / name) for path, name in zip(paths, names, strict=True)]
    about = {"step": "crop", "folder": str(manifest.folder.resolve()), "detector": detector_name, **asdict(settings)}
    outcomes: list[_Outcome] = []
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal(journal_path, about)) if journal_path else None
        if journal is not None:
            _remove_leftovers(tasks)
        known = _from_journal(journal, tasks, names)
        # closing: an interrupt in on_progress, too, ends the workers at once and not when all photos are done
        done = stack.enter_context(
            contextlib.closing(
                _outcomes(
                    tasks,
                    names,
                    settings=settings,
                    make_detector=make_detector,
                    workers=workers,
                    journal=journal,
                    known=known,
                )
            )
        )
        for outcome in done:
            outcomes.append(outcome)
            on_progress(len(outcomes), len(tasks))
    os.sync()  # what a power cut empties before this is done anew: its hash is wrong
    summary = _summarize(paths, outcomes, sum(before is not None for before in known))
    _require_faces(summary, outcomes, manifest.folder)
    return _crops_manifest(usable, output, names, outcomes), summary
