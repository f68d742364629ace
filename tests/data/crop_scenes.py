"""Photos in which a face is whatever its detector finds, and detectors that know the truth."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from edgegender import files
from edgegender.data.drawn_faces import FaceAttributes, draw_face
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from tests import pictures

RED = (230, 20, 20)
LEFT_EYE, RIGHT_EYE, CENTER = (0, 255, 0), (0, 0, 255), (255, 0, 255)
MARKED_SIDE = 160.0


class RedSquareDetector:
    """Finds the red squares of a test picture, the largest first."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        is_red = (image_rgb[..., 0] > 150) & (image_rgb[..., 1] < 90) & (image_rgb[..., 2] < 90)
        _, _, stats, _ = cv2.connectedComponentsWithStats(is_red.astype(np.uint8))
        found = sorted((row for row in stats[1:].tolist() if row[4] > 20), key=lambda row: -row[4])
        return [FaceBox(x, y, x + w, y + h, 0.75) for x, y, w, h, _ in found]


class SignedDetector(RedSquareDetector):
    """Leaves the number of its process in a folder."""

    def __init__(self, folder: Path) -> None:
        (folder / str(os.getpid())).touch()


class CountingDetector(RedSquareDetector):
    """Counts the photos that it has seen, over all that were made."""

    seen = 0

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        CountingDetector.seen += 1
        return super().detect(image_rgb)


class KillingDetector(RedSquareDetector):
    """Kills its own process, without a chance to clean up, at the photo of that number."""

    def __init__(self, at: int) -> None:
        self._left = at

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().detect(image_rgb)


class FixedDetector:
    """Finds the same boxes everywhere."""

    def __init__(self, *boxes: FaceBox) -> None:
        self._boxes = list(boxes)

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        del image_rgb
        return self._boxes


class MarkedEyesDetector:
    """Finds the eyes and the face's centre by the coloured dots that :func:`marked_face` painted on them."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        left, right, (x, y) = (find_dot(image_rgb, color) for color in (LEFT_EYE, RIGHT_EYE, CENTER))
        half = MARKED_SIDE / 2
        landmarks = FaceLandmarks(left, right, nose=(x, y), mouth=(x, y + 0.25 * MARKED_SIDE))
        return [FaceBox(x - half, y - half, x + half, y + half, 0.9, landmarks)]


class ShySightedDetector(MarkedEyesDetector):
    """Sees six tenths of a tilt, as networks do that have seen upright faces only."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        (box,) = super().detect(image_rgb)
        assert box.landmarks is not None
        (left_x, left_y), (right_x, right_y) = box.landmarks.left_eye, box.landmarks.right_eye
        half = (0.6 * (right_y - left_y) - (right_y - left_y)) / 2
        eyes = replace(box.landmarks, left_eye=(left_x, left_y - half), right_eye=(right_x, right_y + half))
        return [replace(box, landmarks=eyes)]


class NoDetector:
    """Cannot be made."""

    def __init__(self) -> None:
        from edgegender.errors import UsageError

        raise UsageError("Expected a detector, got none.")

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        raise NotImplementedError


def find_dot(image_rgb: UInt8Array, color: tuple[int, int, int]) -> tuple[float, float]:
    """Returns the centre (x, y) of a dot, pixels from the picture's corner; a pixel's own centre lies at 0.5."""
    is_dot = (np.abs(image_rgb.astype(int) - color) < 90).all(axis=-1)
    y, x = np.nonzero(is_dot)
    return float(x.mean() + 0.5), float(y.mean() + 0.5)


def marked_face(turn_deg: float, *, center_xy: tuple[float, float] = (160.0, 160.0)) -> UInt8Array:
    """Returns a drawn face of 320 × 320 pixels, turned clockwise about its centre, with dots on eyes and centre."""
    size_px = 320
    drawn = draw_face(FaceAttributes(face_fraction=0.5, noise=0.0), size_px=size_px, rng=np.random.default_rng(4))
    image = drawn.image_rgb.copy()
    x, y = (round(value) for value in drawn.box.center_xy)
    for color, offset in ((LEFT_EYE, -30), (RIGHT_EYE, 30), (CENTER, 0)):
        cv2.circle(image, (x + offset, y - (10 if offset else 0)), 5, color, -1)
    matrix = cv2.getRotationMatrix2D((x, y), -turn_deg, 1.0)
    matrix[:, 2] += (center_xy[0] - x, center_xy[1] - y)
    return np.asarray(cv2.warpAffine(image, matrix, (size_px, size_px), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def scene(*squares: tuple[int, int, int], height: int = 200, width: int = 240) -> UInt8Array:
    """Returns a grey-blue gradient with red squares (left, top, side) that have a smooth pattern inside."""
    image = pictures.gradient(height, width)
    image[..., 0] = image[..., 0] // 3
    for left, top, side in squares:
        image[top : top + side, left : left + side] = RED
        image[top : top + side, left : left + side, 1] += np.linspace(0, 60, side).astype(np.uint8)[:, None]
        image[top : top + side, left : left + side, 2] += np.linspace(0, 60, side).astype(np.uint8)[None, :]
    return image


def one_face_each(folder: Path, count: int) -> Manifest:
    """Writes ``count`` scenes, every fifth without a face, every seventh cut."""
    rng = np.random.default_rng(count)
    rows = []
    for number in range(count):
        side = int(rng.integers(40, 90))
        left, top = int(rng.integers(0, 240 - side)), int(rng.integers(0, 200 - side))
        file = pictures.write_photo(folder / f"{number}.png", scene() if number % 5 == 4 else scene((left, top, side)))
        if number % 7 == 6:
            file.write_bytes(file.read_bytes()[:500])
        rows.append(ManifestRow(file.name, "xy"[number % 2], "train", extra={"age": str(number)}))
    return Manifest.from_rows(folder, rows)


def tree(folder: Path) -> dict[str, str]:
    """Returns the hash of each file below a folder, hidden ones, too."""
    return {
        str(file.relative_to(folder)): files.hash_file(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }
