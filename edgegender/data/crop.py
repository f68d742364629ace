"""One face-crop step for every set: photos in, square crops with some context and their face boxes out."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath
from typing import Protocol

import cv2

from edgegender import files, images
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import DataError, ImageError, UsageError
from edgegender.preprocess import crop_square

DEFAULT_CONTEXT = 1.8  # room for a margin of 1.3 and for shifts and zooms in training
DEFAULT_SIZE_PX = 176
_CHUNK_PHOTOS = 4  # few, because Ctrl-C waits for the chunks under way; a photo costs far more than its way here


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
    """

    context: float = DEFAULT_CONTEXT
    size_px: int = DEFAULT_SIZE_PX
    suffix: str = ".jpg"


@dataclass(frozen=True)
class CropSummary:
    """What happened to the photos.

    Args:
        num_cropped: Photos with a face.
        no_face: Paths without one.
        several_faces: Paths with more than one; the most prominent was taken.
        unreadable: Paths that could not be decoded.
    """

    num_cropped: int
    no_face: tuple[str, ...]
    several_faces: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    source: Path
    target: Path


@dataclass(frozen=True)
class _Outcome:
    problem: str = ""
    sha256: str = ""
    side_px: int = 0
    box: FaceBox | None = None
    num_faces: int = 0


_worker_detector: Detector | None = None


def _start_worker(make_detector: Callable[[], Detector]) -> None:
    global _worker_detector  # noqa: PLW0603 - one detector a process: building it for each photo would cost more than using it
    cv2.setNumThreads(1)
    _worker_detector = make_detector()


def _crop_one(task: _Task, settings: CropSettings, detector: Detector) -> _Outcome:
    try:
        image = images.read_image(task.source)
    except ImageError as error:
        return _Outcome(problem=f"unreadable: {error.kind}")
    boxes = detector.detect(image)
    if not boxes:
        return _Outcome(problem="no_face")
    box = boxes[0]
    side = box.side_px * settings.context
    side_px = max(1, min(settings.size_px, round(side)))
    crop = crop_square(image, center_xy=box.center_xy, side=side, size_px=side_px)
    content = images.encode_image(crop, suffix=settings.suffix)
    files.write_bytes(task.target, content)
    edge = side_px / settings.context / 2
    middle = side_px / 2
    stored = FaceBox(middle - edge, middle - edge, middle + edge, middle + edge, box.score)
    return _Outcome("", hashlib.sha256(content).hexdigest(), side_px, stored, len(boxes))


def _crop_in_worker(job: tuple[_Task, CropSettings]) -> _Outcome:
    if _worker_detector is None:  # pragma: no cover - the pool's initializer sets it
        raise RuntimeError("the worker has no detector")
    return _crop_one(job[0], job[1], _worker_detector)


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defers Ctrl-C to the end of the block: a half-made pool or a half-started process would print a traceback."""
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to the main thread only
        yield
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
    if heard:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _interrupts_masked() -> Iterator[None]:
    """Keeps Ctrl-C from the processes that start in the block, for as long as they live.

    A terminal sends it to all of them at once: each would print a traceback of its own. They inherit this mask, and
    the process that started them ends them.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _run(
    tasks: Iterable[_Task], settings: CropSettings, make_detector: Callable[[], Detector], workers: int
) -> Generator[_Outcome, None, None]:
    detector = make_detector()  # with workers, too: an error of theirs would only say that the pool is broken
    if workers == 1:
        for task in tasks:
            yield _crop_one(task, settings, detector)
        return
    pool: ProcessPoolExecutor | None = None
    try:
        with _interrupts_deferred():
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (make_detector,))
            with _interrupts_masked():  # after the pool is made: Python's resource tracker takes the mask off
                outcomes = pool.map(_crop_in_worker, [(task, settings) for task in tasks], chunksize=_CHUNK_PHOTOS)
        yield from outcomes
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _target_name(row: ManifestRow, suffix: str) -> str:
    """A readable and unique name: label, stem, and a hash of the path, since two folders may hold the same name."""
    label = re.sub(r"[^\w -]", "_", row.label)  # a label such as "../x" must not lead out of the folder
    stem = PurePosixPath(row.path).stem[:60]
    return f"{label}/{stem}-{hashlib.sha256(row.path.encode()).hexdigest()[:10]}{suffix}"


def _cropped_row(row: ManifestRow, name: str, outcome: _Outcome) -> ManifestRow:
    extra = {**row.extra, "width": str(outcome.side_px), "height": str(outcome.side_px), "original": row.path}
    return replace(row, path=name, sha256=outcome.sha256, face_box=outcome.box, exclude=outcome.problem, extra=extra)


def _no_progress(done: int, total: int) -> None:
    del done, total


def crop_faces(
    manifest: Manifest,
    output: Path,
    *,
    make_detector: Callable[[], Detector],
    settings: CropSettings | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = _no_progress,
) -> tuple[list[ManifestRow], CropSummary]:
    """Cuts the most prominent face out of each photo and returns the rows of the crops.

    The photos are not touched. A row without a face stays, with ``exclude`` set to ``no_face``.

    Args:
        manifest: Photos; excluded rows are not read and not kept.
        output: Folder of the crops.
        make_detector: Makes a detector; must be picklable when ``workers`` is above one.
        settings: Context, size and format.
        workers: Processes.
        on_progress: Called with (done, total).

    Returns:
        Rows whose paths are relative to ``output``, and a summary.

    Raises:
        DataError: No photo has a face.
        UsageError: A setting is out of range.
        OutputError: A crop cannot be written.
    """
    settings = settings or CropSettings()
    is_in_range = 1 <= settings.context < math.inf and settings.size_px >= 16 and workers >= 1
    if not is_in_range or settings.suffix not in (".jpg", ".png"):
        raise UsageError(f"Expected context ≥ 1, size ≥ 16, .jpg or .png and workers ≥ 1, got {settings}, {workers}.")
    usable = [row for row in manifest if not row.exclude]
    names = [_target_name(row, settings.suffix) for row in usable]
    tasks = [_Task(manifest.file(row), output / name) for row, name in zip(usable, names, strict=True)]
    rows: list[ManifestRow] = []
    problems: Counter[str] = Counter()
    no_face, several, unreadable = [], [], []
    # closing: an interrupt in on_progress, too, ends the workers at once and not when all photos are done
    with contextlib.closing(_run(tasks, settings, make_detector, workers)) as outcomes:
        for done, (row, name, outcome) in enumerate(zip(usable, names, outcomes, strict=True), start=1):
            problems[outcome.problem] += 1
            if outcome.problem == "no_face":
                no_face.append(row.path)
            elif outcome.problem:
                unreadable.append(row.path)
            elif outcome.num_faces > 1:
                several.append(row.path)
            rows.append(_cropped_row(row, name, outcome))
            on_progress(done, len(usable))
    if not problems[""]:
        raise DataError(
            f"Expected faces, got none in {len(usable)} photos ({manifest.folder}).",
            hint="When the photos are face crops already, train on them as they are.",
        )
    return rows, CropSummary(problems[""], tuple(no_face), tuple(several), tuple(unreadable))
