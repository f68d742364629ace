"""Finding faces, and mapping every detector's idea of a face to one square (:class:`FaceBox`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from edgegender.errors import UsageError

DETECTOR_NAMES = ("cascade", "yunet", "none")
MIN_WORK_SIDE_PX = 256  # smaller photos are enlarged: the cascades know no face under 20 px
MAX_WORK_SIDE_PX = 640  # larger photos are shrunk: time grows with the pixels
PAD_FRACTION = 0.15  # a tight crop gets an edge, without it a third of such faces is missed
MIN_FACE_FRACTION = 0.08  # of the work side; smaller faces hold too few pixels to classify
_CASCADE_FOLDER = Path(cv2.__file__).parent / "data"
_CASCADE_MIN_NEIGHBORS = 3
_CASCADE_SCALE_FACTOR = 1.1
_MIN_HARD_FACE_FRACTION = 0.2  # smaller finds of the harder search are mostly wrong
_SAME_FACE_OVERLAP = 0.35  # intersection over union
_SURE_VOTES = 12  # of the harder search's finds with so many votes, 81 of 82 were faces


class FaceDetector(Protocol):
    """Finds faces in one photo."""

    @property
    def name(self) -> str:
        """The detector's name, as it is recorded with results."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first.

        Args:
            image_rgb: Upright photo, shape (height, width, 3), uint8.
        """


@dataclass(frozen=True)
class _WorkImage:
    """A photo resized and padded for detection, and the way back."""

    image: UInt8Array
    scale: float
    pad_px: int

    def point_to_photo(self, x: float, y: float) -> tuple[float, float]:
        return (x - self.pad_px) / self.scale, (y - self.pad_px) / self.scale

    def to_photo(
        self, center_x: float, center_y: float, side: float, score: float, landmarks: FaceLandmarks | None = None
    ) -> FaceBox:
        x, y = self.point_to_photo(center_x, center_y)
        half = side / self.scale / 2
        return FaceBox(x - half, y - half, x + half, y + half, score, landmarks)


def _prepare(image: UInt8Array) -> _WorkImage:
    height, width = image.shape[:2]
    longest = max(height, width)
    scale = min(max(longest, MIN_WORK_SIDE_PX), MAX_WORK_SIDE_PX) / longest
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    if scale != 1.0:
        image = np.asarray(
            cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR), np.uint8
        )
    pad_px = round(PAD_FRACTION * max(size_wh))
    padded = cv2.copyMakeBorder(image, pad_px, pad_px, pad_px, pad_px, cv2.BORDER_REPLICATE)
    return _WorkImage(np.asarray(padded, np.uint8), scale, pad_px)


def _by_prominence(boxes: list[FaceBox], image: UInt8Array) -> list[FaceBox]:
    """Large and central faces first: the side, less what the centre stands off the middle."""
    height, width = image.shape[:2]

    def prominence(box: FaceBox) -> float:
        x, y = box.center_xy
        return box.side_px - 0.5 * math.hypot(x - width / 2, y - height / 2)

    return sorted(boxes, key=prominence, reverse=True)


@dataclass(frozen=True)
class _View:
    """A cascade, and where the canonical square lies in units of its own box side.

    Medians over 1,500 training photos of biggest_gender on which YuNet and the cascade agree (IoU > 0.25).
    """

    file_name: str
    side: float
    shift_x: float
    shift_y: float


_FRONTAL_ALT2 = _View("haarcascade_frontalface_alt2.xml", side=1.138, shift_x=0.0, shift_y=0.016)
_FRONTAL_DEFAULT = _View("haarcascade_frontalface_default.xml", side=1.116, shift_x=0.0, shift_y=0.015)
_PROFILE = _View("haarcascade_profileface.xml", side=0.931, shift_x=-0.023, shift_y=0.025)


@dataclass(frozen=True)
class _Candidate:
    """A square in the work image and how many neighbouring windows agreed on it."""

    center_x: float
    center_y: float
    side: float
    votes: int

    def overlap(self, other: _Candidate) -> float:
        """Intersection over union of the two squares, in [0, 1]."""
        half = (self.side + other.side) / 2
        smaller = min(self.side, other.side)
        width = min(smaller, half - abs(self.center_x - other.center_x))
        height = min(smaller, half - abs(self.center_y - other.center_y))
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.side**2 + other.side**2 - width * height)


def _merge(candidates: list[_Candidate]) -> list[_Candidate]:
    """Clusters overlapping candidates; each cluster is their mean, weighted and summed by votes. Most votes first."""
    left = sorted(candidates, key=lambda candidate: candidate.votes, reverse=True)
    clusters = []
    while left:
        seed = left[0]
        members = [other for other in left if other.overlap(seed) > _SAME_FACE_OVERLAP or other is seed]
        left = [other for other in left if other not in members]
        total = sum(member.votes for member in members)
        center_x, center_y, side = (
            sum(getattr(member, name) * member.votes for member in members) / total
            for name in ("center_x", "center_y", "side")
        )
        clusters.append(_Candidate(center_x, center_y, side, total))
    return sorted(clusters, key=lambda cluster: cluster.votes, reverse=True)


class CascadeDetector:
    """OpenCV's bundled Haar cascades. Works offline.

    An upright frontal cascade comes first: one pass, and enough for nine photos of ten. Where it finds nothing, four
    other views are searched (a second frontal cascade, the first one on the photo turned by 20° either way, profiles
    left and right) for faces of at least a fifth of the photo, and their candidates vote: what several views see is
    a face. Measured on 182 photos that the first pass misses: voting finds 128 faces and 8 wrong places, taking the
    first view that answers 110 and 30.

    Source: Viola and Jones 2001; Lienhart and Maydt 2002 (the cascade files).
    """

    name = "cascade"

    def __init__(self) -> None:
        self._loaded: dict[str, cv2.CascadeClassifier] = {}

    def _cascade(self, file_name: str) -> cv2.CascadeClassifier:
        if file_name not in self._loaded:  # 10-40 ms each: most photos need the first only
            self._loaded[file_name] = cv2.CascadeClassifier(str(_CASCADE_FOLDER / file_name))
        return self._loaded[file_name]

    def _search(
        self, view: _View, grey: UInt8Array, *, min_size: int, angle_deg: float = 0.0, is_mirrored: bool = False
    ) -> list[_Candidate]:
        """Returns canonical squares in pixels of ``grey``."""
        height, width = grey.shape[:2]
        seen = grey
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
        if angle_deg:
            seen = np.asarray(cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if is_mirrored:
            seen = np.asarray(cv2.flip(seen, 1), np.uint8)
        found, votes = self._cascade(view.file_name).detectMultiScale2(
            seen, _CASCADE_SCALE_FACTOR, _CASCADE_MIN_NEIGHBORS, 0, (min_size, min_size)
        )
        back = cv2.invertAffineTransform(matrix)
        candidates = []
        boxes = np.asarray(found, np.float64).reshape(-1, 4).tolist()
        for (x, y, w, h), count in zip(boxes, np.asarray(votes).ravel().tolist(), strict=True):
            center_x = x + w / 2 + view.shift_x * w
            center_y = y + h / 2 + view.shift_y * w
            if is_mirrored:
                center_x = width - center_x
            if angle_deg:
                center_x, center_y = (back @ np.array([center_x, center_y, 1.0])).tolist()
            candidates.append(_Candidate(center_x, center_y, w * view.side, int(count)))
        return candidates

    def _search_harder(self, grey: UInt8Array, min_size: int) -> list[_Candidate]:
        candidates = self._search(_FRONTAL_DEFAULT, grey, min_size=min_size)
        for angle_deg in (20.0, -20.0):
            candidates += self._search(_FRONTAL_ALT2, grey, min_size=min_size, angle_deg=angle_deg)
        for is_mirrored in (False, True):
            candidates += self._search(_PROFILE, grey, min_size=min_size, is_mirrored=is_mirrored)
        clusters = _merge(candidates)
        return [cluster for rank, cluster in enumerate(clusters) if rank == 0 or cluster.votes >= _SURE_VOTES]

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first. Empty when every view found nothing.

        A Haar cascade has no probability: the score is votes / (votes + 4), which only orders boxes.
        """
        work = _prepare(np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.uint8))
        longest = max(work.image.shape[:2]) - 2 * work.pad_px
        found = self._search(_FRONTAL_ALT2, work.image, min_size=max(24, round(MIN_FACE_FRACTION * longest)))
        if not found:
            found = self._search_harder(work.image, round(_MIN_HARD_FACE_FRACTION * longest))
        boxes = [
            work.to_photo(face.center_x, face.center_y, face.side, face.votes / (face.votes + 4.0)) for face in found
        ]
        return _by_prominence(boxes, image_rgb)


class YuNetDetector:
    """YuNet through ``cv2.FaceDetectorYN``.

    Args:
        model_path: ``yunet_n_320_320.onnx`` or ``yunet_n_640_640.onnx``.
        min_score: Faces below this confidence are left out, in [0, 1].

    Raises:
        UsageError: The file is missing or no YuNet network.

    Source: Wu, Peng and Yu 2023, doi 10.1007/s11633-023-1423-y; https://github.com/ShiqiYu/libfacedetection.train
    """

    name = "yunet"

    def __init__(self, model_path: Path, *, min_score: float = 0.5) -> None:
        if not model_path.is_file():
            raise UsageError(
                f"Expected a YuNet .onnx file, got nothing at {model_path}.",
                hint="Give the detector's file with --detector-path.",
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), min_score, 0.3, 50)
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise UsageError(
                f"Expected a YuNet network, got another file ({model_path}).", hint="Use yunet_n_640_640.onnx."
            ) from error

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first.

        The square has the side of YuNet's box height (forehead to chin) around the box's centre.
        """
        work = _prepare(image_rgb)
        height, width = work.image.shape[:2]
        self._network.setInputSize((width, height))
        _, found = self._network.detect(cv2.cvtColor(work.image, cv2.COLOR_RGB2BGR))
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        longest = max(height, width) - 2 * work.pad_px
        boxes = []
        for x, y, w, h, *points, score in rows.tolist():
            if h < MIN_FACE_FRACTION * longest:
                continue
            # the eye and the mouth corner of the person's right side stand first, on the left of an upright picture
            left_eye, right_eye, nose, left_corner, right_corner = (
                work.point_to_photo(*points[start : start + 2]) for start in range(0, 10, 2)
            )
            mouth = ((left_corner[0] + right_corner[0]) / 2, (left_corner[1] + right_corner[1]) / 2)
            landmarks = FaceLandmarks(left_eye, right_eye, nose, mouth)
            boxes.append(work.to_photo(x + w / 2, y + h / 2, h, score, landmarks))
        return _by_prominence(boxes, image_rgb)


class WholeImageDetector:
    """For photos that are face crops already: the largest central square is the face crop itself."""

    name = "none"

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns no box: :func:`edgegender.preprocess.to_input` then takes the photo whole."""
        del image_rgb
        return []


def create_detector(name: str, model_path: Path | None = None) -> FaceDetector:
    """Returns the detector called ``name``.

    Args:
        name: One of ``DETECTOR_NAMES``.
        model_path: The network's file, for ``yunet``.

    Raises:
        UsageError: The name is unknown, or ``yunet`` has no file.
    """
    if name == "cascade":
        return CascadeDetector()
    if name == "none":
        return WholeImageDetector()
    if name == "yunet":
        if model_path is None:
            raise UsageError(
                "Expected the file of the YuNet network, got none.", hint="Add --detector-path yunet_n_640_640.onnx."
            )
        return YuNetDetector(model_path)
    raise UsageError(f"Expected a detector of {', '.join(DETECTOR_NAMES)}, got {name!r}.")
