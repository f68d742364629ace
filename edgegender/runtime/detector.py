"""Finding faces, and mapping every detector's idea of a face to one square (:class:`FaceBox`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError

DETECTOR_NAMES = ("cascade", "yunet", "none")
MIN_WORK_SIDE_PX = 256  # smaller photos are enlarged: the cascades know no face under 20 px
MAX_WORK_SIDE_PX = 640  # larger photos are shrunk: time grows with the pixels
PAD_FRACTION = 0.15  # a tight crop gets an edge, without it a third of such faces is missed
MIN_FACE_FRACTION = 0.08  # of the work side; smaller faces hold too few pixels to classify
_CASCADE_FOLDER = Path(cv2.__file__).parent / "data"
_CASCADE_MIN_NEIGHBORS = 3
_CASCADE_SCALE_FACTOR = 1.1


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

    def to_photo(self, center_x: float, center_y: float, side: float, score: float) -> FaceBox:
        x, y = (center_x - self.pad_px) / self.scale, (center_y - self.pad_px) / self.scale
        half = side / self.scale / 2
        return FaceBox(x - half, y - half, x + half, y + half, score)


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
class _Geometry:
    """Where the canonical square lies, in units of the detector's own box side.

    Medians over 1,500 training photos of biggest_gender on which YuNet and the cascade agree (IoU > 0.25).
    """

    side: float
    shift_x: float
    shift_y: float


_FRONTAL_ALT2 = _Geometry(side=1.138, shift_x=0.0, shift_y=0.016)
_FRONTAL_DEFAULT = _Geometry(side=1.116, shift_x=0.0, shift_y=0.015)
_PROFILE = _Geometry(side=0.931, shift_x=-0.023, shift_y=0.025)


class CascadeDetector:
    """OpenCV's bundled Haar cascades, tried one after the other until one finds a face. Works offline.

    The order is upright frontal (two cascades), frontal turned by 20° either way, profile left and right. Each later
    step runs only when all earlier ones found nothing, so that an ordinary photo costs one pass.

    Source: Viola and Jones 2001; Lienhart and Maydt 2002 (the cascade files).
    """

    name = "cascade"

    def __init__(self) -> None:
        self._loaded: dict[str, cv2.CascadeClassifier] = {}

    def _cascade(self, file_name: str) -> cv2.CascadeClassifier:
        if file_name not in self._loaded:  # 10-40 ms each: most photos need the first only
            self._loaded[file_name] = cv2.CascadeClassifier(str(_CASCADE_FOLDER / file_name))
        return self._loaded[file_name]

    def _run(
        self, file_name: str, grey: UInt8Array, *, min_size: int, angle_deg: float = 0.0, is_mirrored: bool = False
    ) -> list[tuple[float, float, float]]:
        """Returns (centre x, centre y, side) in pixels of ``grey``."""
        height, width = grey.shape[:2]
        seen = grey
        matrix = None
        if angle_deg:
            matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
            seen = np.asarray(cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if is_mirrored:
            seen = np.asarray(cv2.flip(seen, 1), np.uint8)
        found = self._cascade(file_name).detectMultiScale(
            seen, _CASCADE_SCALE_FACTOR, _CASCADE_MIN_NEIGHBORS, 0, (min_size, min_size)
        )
        answers = []
        for x, y, w, h in np.asarray(found, np.float64).reshape(-1, 4).tolist():
            center_x, center_y = x + w / 2, y + h / 2
            if is_mirrored:
                center_x = width - center_x
            if matrix is not None:
                back = cv2.invertAffineTransform(matrix) @ np.array([center_x, center_y, 1.0])
                center_x, center_y = float(back[0]), float(back[1])
            answers.append((center_x, center_y, w))
        return answers

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first. Empty when every cascade found nothing."""
        work = _prepare(np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.uint8))
        grey = work.image
        min_size = max(24, round(MIN_FACE_FRACTION * (max(grey.shape[:2]) - 2 * work.pad_px)))
        alt2, default = "haarcascade_frontalface_alt2.xml", "haarcascade_frontalface_default.xml"
        profile = "haarcascade_profileface.xml"
        steps: list[tuple[str, _Geometry, float, bool]] = [
            (alt2, _FRONTAL_ALT2, 0.0, False),
            (default, _FRONTAL_DEFAULT, 0.0, False),
            (alt2, _FRONTAL_ALT2, 20.0, False),
            (alt2, _FRONTAL_ALT2, -20.0, False),
            (profile, _PROFILE, 0.0, False),
            (profile, _PROFILE, 0.0, True),
        ]
        for rank, (file_name, geometry, angle_deg, is_mirrored) in enumerate(steps):
            found = self._run(file_name, grey, min_size=min_size, angle_deg=angle_deg, is_mirrored=is_mirrored)
            if found:
                sign = -1.0 if is_mirrored else 1.0
                score = 1.0 - 0.1 * rank  # the step's rank: a Haar cascade has no probability of its own
                boxes = [
                    work.to_photo(
                        x + sign * geometry.shift_x * side, y + geometry.shift_y * side, side * geometry.side, score
                    )
                    for x, y, side in found
                ]
                return _by_prominence(boxes, image_rgb)
        return []


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
        boxes = [
            work.to_photo(x + w / 2, y + h / 2, h, score)
            for x, y, w, h, score in rows[:, [0, 1, 2, 3, 14]].tolist()
            if h >= MIN_FACE_FRACTION * longest
        ]
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
