"""Faces become vectors: photos of one person point the same way, whatever the light, the angle and the file.

The vectors serve to find the same person on both sides of a split, and labels that the photo does not bear out. They
are made for one set of photos at a time and say nothing about who a person is.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edgegender import images
from edgegender.data.journal import Journal
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from edgegender.errors import DataError, ImageError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.progress import Progress, no_progress

Float32Array = npt.NDArray[np.float32]

FACE_SIDE_PX = 112
NO_FACE = "no_face"
# Left eye, right eye, nose and mouth in the aligned face, pixels. The mouth is the middle of the two corners there.
# Source: the reference alignment of Deng et al. 2019, "ArcFace", arXiv:1801.07698, for faces of 112 px.
_TEMPLATE_XY = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [56.1396, 92.2848]])
# Mean and deviation of ImageNet's RGB in [0, 1]. Tried on 350 photos of LFW against (x − 127.5) / 128 and against BGR:
# the same people lie 6.6 deviations above strangers, with the others 5.8 to 6.4.
_MEAN_RGB = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION_RGB = np.array([0.229, 0.224, 0.225], np.float32)
_MAX_PX = 1e6
_MAX_ZOOM = 200.0  # a face of half a pixel, or of 20,000
_CHUNK_PHOTOS = 4  # few, because Ctrl-C waits for the chunks under way
_PHOTOS_PER_WORKER = 50
_JOURNAL_START = b'{"edgegender_journal":'
_MAX_FINER = 8  # a face of 900 px


class LandmarkDetector(Protocol):
    """What the embedding step needs of a face detector: boxes with landmarks."""

    @property
    def name(self) -> str:
        """The detector's name: vectors of faces that another one found are not the same."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces of a photo, the most prominent first."""


@dataclass(frozen=True)
class PhotoEmbeddings:
    """What became of each photo, in the order of the photos.

    Args:
        paths: As they were given.
        sha256: Of each file; empty when it cannot be read.
        vectors: Shape (photos, size), float32, of length one; all zero where there is no face.
        scores: The detector's confidence in the face, in [0, 1]; zero where there is none.
        problems: Empty, ``no_face``, or ``unreadable: KIND``.
    """

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    vectors: Float32Array
    scores: Float32Array
    problems: tuple[str, ...]


def alignment_matrix(landmarks: FaceLandmarks) -> npt.NDArray[np.float64]:
    """Returns the turn, zoom and shift that bring four landmarks closest to their places in the aligned face.

    The least squares solution of Umeyama 1991, doi 10.1109/34.88573, which in the plane, without
    mirroring, is one complex division: w = a z + b with a = Σ conj(z − z̄)(w − w̄) / Σ |z − z̄|².

    Args:
        landmarks: Pixels of the photo.

    Returns:
        Shape (2, 3), float64: pixels of the photo → pixels of the aligned face.

    Raises:
        DataError: The points coincide, are not finite, or do not look like a face at all.
    """
    points = np.array([landmarks.left_eye, landmarks.right_eye, landmarks.nose, landmarks.mouth], np.float64)
    turn = np.nan
    if np.abs(points).max() < _MAX_PX:  # NaN is not
        found, wanted = points @ np.array([1, 1j]), _TEMPLATE_XY @ np.array([1, 1j])
        centred = found - found.mean()
        spread = max(float((np.abs(centred) ** 2).sum()), 1e-12)
        turn = (centred.conj() * (wanted - wanted.mean())).sum() / spread
    if not 1 / _MAX_ZOOM < abs(turn) < _MAX_ZOOM:
        raise DataError(f"Expected four points of a face, got {points.tolist()}.")
    shift = wanted.mean() - turn * found.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align_face(image_rgb: UInt8Array, landmarks: FaceLandmarks) -> UInt8Array:
    """Returns one face upright and centred, shape (112, 112, 3), uint8; black where the photo ends.

    Raises:
        DataError: See :func:`alignment_matrix`.
    """
    matrix = alignment_matrix(landmarks)
    # A large face is drawn larger and then averaged down: bilinear sampling by itself would skip pixels.
    finer = min(_MAX_FINER, max(1, round(1 / math.hypot(matrix[0, 0], matrix[1, 0]))))
    matrix = matrix * finer
    matrix[:, 2] += (finer - 1) / 2  # pixel centres, not corners, lie on whole numbers
    drawn = cv2.warpAffine(image_rgb, matrix, (FACE_SIDE_PX * finer, FACE_SIDE_PX * finer))
    return np.asarray(cv2.resize(drawn, (FACE_SIDE_PX, FACE_SIDE_PX), interpolation=cv2.INTER_AREA), np.uint8)


class FaceEmbedder:
    """MobileFaceNet, or another network of the same input, through OpenCV.

    Args:
        model_path: An ONNX file that takes 1 × 3 × 112 × 112 and gives 1 × N.

    Raises:
        UsageError: The file is missing or is another network.

    Source: Chen, Liu, Gao and Han 2018, "MobileFaceNets", arXiv:1804.07573.
    """

    def __init__(self, model_path: Path) -> None:
        self.model_sha256, self._network, self.size = _read_network(model_path)

    def embed(self, image_rgb: UInt8Array, landmarks: FaceLandmarks) -> Float32Array:
        """Returns the unit vector of one face: the mean of the face's and its mirror image's answers.

        The cosine similarity of two faces is the product of their vectors, in [−1, 1].

        Args:
            image_rgb: Photo, shape (height, width, 3), uint8.
            landmarks: Where the face is, pixels of the photo.

        Returns:
            Shape (size,), float32, of length one.

        Raises:
            DataError: See :func:`alignment_matrix`.
            UsageError: The network's answer has no direction.
        """
        face = (align_face(image_rgb, landmarks).astype(np.float32) / 255 - _MEAN_RGB) / _DEVIATION_RGB
        total = np.zeros(self.size, np.float64)
        for view in (face, face[:, ::-1]):
            self._network.setInput(np.ascontiguousarray(view.transpose(2, 0, 1)[None], np.float32))
            answer = np.asarray(self._network.forward(), np.float64).ravel()
            total += answer / max(float(np.linalg.norm(answer)), 1e-12)
        length = float(np.linalg.norm(total))
        if not np.isfinite(length) or length < 1e-6:
            raise UsageError("Expected an embedding with a direction, got none.", hint="Use MobileFaceNet.onnx.")
        return (total / length).astype(np.float32)


def _read_network(model_path: Path) -> tuple[str, cv2.dnn.Net, int]:
    """Returns the sha256, the network and the length of its answer, after one trial run."""
    try:
        content = model_path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"Expected an embedding network, got {error.strerror or error} ({model_path}).",
            hint="Give the .onnx file of MobileFaceNet.",
        ) from error
    wrong = UsageError(
        f"Expected a network of 1 × 3 × {FACE_SIDE_PX} × {FACE_SIDE_PX} → 1 × N, got another file ({model_path}).",
        hint="Use MobileFaceNet.onnx.",
    )
    try:
        with held_back_stderr():
            network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
            network.setInput(np.zeros((1, 3, FACE_SIDE_PX, FACE_SIDE_PX), np.float32))
            answer = network.forward()
    except cv2.error as error:
        raise wrong from error
    if answer.ndim != 2 or answer.shape[0] != 1 or answer.shape[1] < 2 or not np.isfinite(answer).all():
        raise wrong
    return hashlib.sha256(content).hexdigest(), network, int(answer.shape[1])


@dataclass(frozen=True)
class _Worker:
    detector: LandmarkDetector
    embedder: FaceEmbedder

    def look(self, file: Path) -> _Found:
        try:
            image = images.read_image(file)
        except ImageError as error:
            return _Found(f"unreadable: {error.kind}")
        boxes = self.detector.detect(image)
        if not boxes:
            return _Found(NO_FACE)
        if boxes[0].landmarks is None:
            raise UsageError(
                f"Expected a detector that finds eyes, nose and mouth, got {self.detector.name}.",
                hint="Use YuNet: --detector yunet --detector-path yunet_n_640_640.onnx",
            )
        try:
            vector = self.embedder.embed(image, boxes[0].landmarks)
        except DataError:  # four points on one spot are no face
            return _Found(NO_FACE)
        return _Found("", float(boxes[0].score), base64.b64encode(vector.tobytes()).decode())


class _Found(NamedTuple):
    """What one photo gave, as it stands in the journal. ``vector`` is float32, little-endian, as base64."""

    problem: str = ""
    score: float = 0.0
    vector: str = ""


_worker: _Worker | None = None


def _start_worker(make_detector: Callable[[], LandmarkDetector], model_path: Path, *, is_alone: bool) -> None:
    global _worker  # noqa: PLW0603 - one network a process: loading it for each photo would cost more than using it
    if not is_alone:
        cv2.setNumThreads(1)
    _worker = _Worker(make_detector(), FaceEmbedder(model_path))


def _look_in_worker(file: Path) -> _Found:
    if _worker is None:  # pragma: no cover - the start of the worker sets it
        raise RuntimeError("the worker has no network")
    return _worker.look(file)


def _sha256_or_problem(file: Path) -> tuple[str, str]:
    try:
        return hashlib.sha256(images.read_bytes(file)).hexdigest(), ""
    except ImageError as error:
        return "", f"unreadable: {error.kind}"


def embed_photos(
    photos: Iterable[tuple[str, Path]],
    *,
    make_detector: Callable[[], LandmarkDetector],
    model_path: Path,
    cache: Path,
    workers: int = 1,
    on_progress: Progress = no_progress,
) -> PhotoEmbeddings:
    """Embeds the most prominent face of each photo.

    Args:
        photos: A name, such as the manifest's path, and the file.
        make_detector: Makes a detector with landmarks; must be picklable when ``workers`` is above one.
        model_path: See :class:`FaceEmbedder`.
        cache: A journal of what was found, by the photos' sha256, about 750 bytes each: a run that was stopped goes on
            there, and the same photos need not be embedded again. Another network or detector starts it anew.
        workers: Processes.
        on_progress: Called with (done, total); photos of the journal count as done.

    Returns:
        One entry a photo; those without a face are marked, not left out.

    Raises:
        UsageError: The network or the detector cannot be used, ``workers`` is below one, or ``cache`` is
            another file or in use.
        OutputError: The journal cannot be written.
    """
    if workers < 1:
        raise UsageError(f"Expected at least one worker, got {workers}.")
    _refuse_other_file(cache)
    listed = list(photos)
    embedder = FaceEmbedder(model_path)  # with workers, too: an error of theirs would only say that the pool is broken
    settings = {"embeddings": 1, "network": embedder.model_sha256, "detector": make_detector().name}
    hashes = [_sha256_or_problem(file) for _, file in listed]
    with Journal(cache, settings) as journal:
        todo = {
            sha256: file
            for (sha256, _), (_, file) in zip(hashes, listed, strict=True)
            if sha256 and sha256 not in journal.entries
        }
        num_known = len(listed) - len(todo)
        on_progress(num_known, len(listed))
        workers = choose_workers(workers, len(todo), items_per_worker=_PHOTOS_PER_WORKER)
        start = functools.partial(_start_worker, make_detector, model_path, is_alone=workers == 1)
        results = map_in_processes(
            _look_in_worker, todo.values(), workers=workers, chunk_items=_CHUNK_PHOTOS, start_worker=start
        )
        # closing: an interrupt in on_progress, too, ends the workers at once and not when all photos are done
        with contextlib.closing(results):
            for done, (sha256, found) in enumerate(zip(todo, results, strict=True), start=num_known + 1):
                journal.entries[sha256] = list(found)
                journal.add(sha256, list(found))
                on_progress(done, len(listed))
        return _collect(listed, hashes, journal.entries, embedder.size)


def _refuse_other_file(cache: Path) -> None:
    """A journal that is not ours is started anew: a mistaken name must not cost somebody's file."""
    try:
        with cache.open("rb") as stream:
            start = stream.read(len(_JOURNAL_START))
    except OSError:  # nothing there yet, or nothing to be written: the journal says which
        return
    if start and start != _JOURNAL_START:
        raise UsageError(f"Expected a journal of embeddings, got another file ({cache}).", hint="Name a new one.")


def _collect(
    photos: Sequence[tuple[str, Path]],
    hashes: Sequence[tuple[str, str]],
    entries: Mapping[str, Sequence[object]],
    size: int,
) -> PhotoEmbeddings:
    vectors = np.zeros((len(photos), size), np.float32)
    scores = np.zeros(len(photos), np.float32)
    problems = []
    for place, (sha256, problem) in enumerate(hashes):
        found = _Found(problem) if problem else _Found(*entries[sha256])  # type: ignore[arg-type] # from our own journal
        problems.append(found.problem)
        if not found.problem:
            vectors[place] = np.frombuffer(base64.b64decode(found.vector), "<f4")
            scores[place] = found.score
    return PhotoEmbeddings(
        tuple(name for name, _ in photos), tuple(sha256 for sha256, _ in hashes), vectors, scores, tuple(problems)
    )
