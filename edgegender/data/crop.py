"""One face-crop step for every set: photos in, square crops with some context and their face boxes out."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from edgegender import files, images
from edgegender.data.journal import Journal
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.manifest_file import rebase
from edgegender.data.measure import stamp_file
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from edgegender.errors import DataError, ImageError, UsageError
from edgegender.preprocess import crop_square

DEFAULT_CONTEXT = 1.8  # room for a margin of 1.3 and for shifts and zooms in training
DEFAULT_SIZE_PX = 176
_CHUNK_PHOTOS = 4  # few, because Ctrl-C waits for the chunks under way; a photo costs far more than its way here
_PHOTOS_PER_WORKER = 50
_LEVEL_DEG = 0.5  # turning blurs a little: not for a tilt that nobody sees
_TURNED_SIDE = 1.5  # a little more than the square root of 2


class Detector(Protocol):
    """What the crop step needs of a face detector."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces of a photo, the most prominent first."""


@dataclass(frozen=True)
class CropSettings:
    """How crops are cut.

    Args:
        context: Side of the stored square divided by the side of the face box, at least 1.
        size_px: Largest side of a stored crop, pixels; smaller faces are stored as they are.
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


def _tilt_deg(landmarks: FaceLandmarks) -> float:
    """Returns by how much the line through the eyes falls to the right of the picture."""
    (left_x, left_y), (right_x, right_y) = landmarks.left_eye, landmarks.right_eye
    return math.degrees(math.atan2(right_y - left_y, right_x - left_x))


def _turned_crop(image: UInt8Array, box: FaceBox, side: float, size_px: int) -> UInt8Array:
    """Cuts the square out of the photo turned around the face until the eyes are level."""
    if box.landmarks is None:
        raise UsageError(
            "Expected a detector that finds eyes, got one that does not.",
            hint="Use --detector yunet or blazeface, or crop without --align.",
        )
    angle = _tilt_deg(box.landmarks)
    if abs(angle) < _LEVEL_DEG:
        return crop_square(image, center_xy=box.center_xy, side=side, size_px=size_px)
    around = max(2, round(side * _TURNED_SIDE))  # the corners of the turned square lie in it
    part = crop_square(image, center_xy=box.center_xy, side=around, size_px=around)
    middle = len(part) / 2
    matrix = cv2.getRotationMatrix2D((middle - 0.5, middle - 0.5), angle, 1.0)
    turned = cv2.warpAffine(part, matrix, part.shape[:2], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    scale = len(part) / around
    return crop_square(np.asarray(turned, np.uint8), center_xy=(middle, middle), side=side * scale, size_px=size_px)


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
    side = box.side_px * settings.context
    side_px = max(1, min(settings.size_px, round(side)))
    if settings.is_aligned:
        crop = _turned_crop(image, box, side, side_px)
    else:
        crop = crop_square(image, center_xy=box.center_xy, side=side, size_px=side_px)
    content = images.encode_image(crop, suffix=settings.suffix)
    files.write_bytes(task.target, content)
    digest = hashlib.sha256(content).hexdigest()
    return _Outcome(*stamp, "", digest, side_px, side_px / settings.context, len(boxes))


def _crop_in_worker(task: _Task, settings: CropSettings) -> _Outcome:
    if _worker_detector is None:  # pragma: no cover - the worker's start sets it
        raise RuntimeError("the worker has no detector")
    return _crop_one(task, settings, _worker_detector)


def _from_journal(journal: Journal | None, tasks: Sequence[_Task], names: Sequence[str]) -> list[_Outcome | None]:
    """Returns what became of each photo in a run that was stopped; ``None`` where a photo or its crop is not there."""
    if journal is None or not journal.entries:
        return [None] * len(tasks)
    known: list[_Outcome | None] = []
    for task, name in zip(tasks, names, strict=True):
        cells = journal.entries.get(name)
        before = _Outcome(*cells) if cells and len(cells) == len(_Outcome._fields) else None  # type: ignore[arg-type]
        is_same = before is not None and (before.size_bytes, before.mtime_ns) == stamp_file(str(task.source))
        is_there = before is not None and (bool(before.problem) or stamp_file(str(task.target))[0] > 0)
        known.append(before if is_same and is_there else None)
    return known


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
        for name, before in zip(names, known, strict=True):
            if before is not None:
                yield before
                continue
            outcome = next(fresh)
            if journal is not None:
                journal.add(name, list(outcome))
            yield outcome


def _target_name(row: ManifestRow, suffix: str) -> str:
    """A readable and unique name: label, stem, and a hash of the path, since two folders may hold the same name."""
    label = re.sub(r"[^\w -]", "_", row.label)  # a label such as "../x" must not lead out of the folder
    stem = PurePosixPath(row.path).stem[:60]
    return f"{label}/{stem}-{hashlib.sha256(row.path.encode()).hexdigest()[:10]}{suffix}"


def _face_box(outcome: _Outcome) -> FaceBox | None:
    """Returns the box in the middle of the crop."""
    if outcome.problem:
        return None
    low, high = (outcome.side_px - outcome.box_side) / 2, (outcome.side_px + outcome.box_side) / 2
    return FaceBox(low, low, high, high)


def _cropped_row(row: ManifestRow, name: str, outcome: _Outcome) -> ManifestRow:
    extra = {column: cell for column, cell in row.extra.items() if column != "phash"}  # it is the original's
    side = str(outcome.side_px) if outcome.side_px else ""
    extra.update(width=side, height=side, original=row.path, num_faces=str(outcome.num_faces))
    return replace(
        row, path=name, sha256=outcome.sha256, face_box=_face_box(outcome), exclude=outcome.problem, extra=extra
    )


def _summarize(paths: Sequence[str], rows: Sequence[ManifestRow], num_resumed: int) -> CropSummary:
    def those(is_meant: Callable[[ManifestRow], bool]) -> tuple[str, ...]:
        return tuple(path for path, row in zip(paths, rows, strict=True) if is_meant(row))

    return CropSummary(
        num_cropped=sum(not row.exclude for row in rows),
        no_face=those(lambda row: row.exclude == "no_face"),
        several_faces=those(lambda row: int(row.extra["num_faces"]) > 1),
        unreadable=those(lambda row: row.exclude.startswith("unreadable")),
        num_resumed=num_resumed,
    )


def _no_progress(done: int, total: int) -> None:
    del done, total


def crop_faces(
    manifest: Manifest,
    output: Path,
    *,
    make_detector: Callable[[], Detector],
    settings: CropSettings | None = None,
    workers: int = 1,
    journal_path: Path | None = None,
    detector_name: str = "",
    on_progress: Callable[[int, int], None] = _no_progress,
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
        journal_path: Where a killed run leaves what it did; who has written the manifest removes it.
        detector_name: Tells detectors apart in the journal: crops of another one are made anew.
        on_progress: Called with (done, total).

    Returns:
        A manifest whose paths are relative to ``output``, and a summary.

    Raises:
        DataError: No photo has a face.
        UsageError: A setting is out of range, or a detector that finds no eyes is to align faces.
        OutputError: A crop or the journal cannot be written.
    """
    settings = settings or CropSettings()
    is_in_range = 1 <= settings.context < math.inf and settings.size_px >= 16 and workers >= 1
    if not is_in_range or settings.suffix not in (".jpg", ".png"):
        raise UsageError(f"Expected context ≥ 1, size ≥ 16, .jpg or .png and workers ≥ 1, got {settings}, {workers}.")
    usable = manifest.select()
    names = [_target_name(row, settings.suffix) for row in usable]
    sources = [manifest.folder / path for path in usable.column("path")]
    tasks = [_Task(source, output / name) for source, name in zip(sources, names, strict=True)]
    rows: list[ManifestRow] = []
    with contextlib.ExitStack() as stack:
        about = {"step": "crop", "detector": detector_name, **asdict(settings)}
        journal = stack.enter_context(Journal(journal_path, about)) if journal_path else None
        known = _from_journal(journal, tasks, names)
        # closing: an interrupt in on_progress, too, ends the workers at once and not when all photos are done
        outcomes = stack.enter_context(
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
        for done, (row, name, outcome) in enumerate(zip(rebase(usable, output), names, outcomes, strict=True), start=1):
            rows.append(_cropped_row(row, name, outcome))
            on_progress(done, len(usable))
    summary = _summarize(usable.column("path"), rows, sum(before is not None for before in known))
    if not summary.num_cropped:
        raise DataError(
            f"Expected faces, got none in {len(usable)} photos ({manifest.folder}).",
            hint="When the photos are face crops already, train on them as they are.",
        )
    return Manifest.from_rows(output.resolve(), rows), summary
