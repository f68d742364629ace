"""What a detector looks at, the way back to the photo, and which face comes first."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array

MIN_WORK_SIDE_PX = 256  # smaller photos are enlarged: the cascades know no face under 20 px
MAX_WORK_SIDE_PX = 640  # larger photos are shrunk: time grows with the pixels
PAD_FRACTION = 0.15  # a tight crop gets an edge, without it a third of such faces is missed
MIN_FACE_FRACTION = 0.08  # of the photo's longest side; smaller faces hold too few pixels to classify


@dataclass(frozen=True)
class WorkImage:
    """A photo, or a part of it, resized and padded for detection, and the way back.

    Args:
        image: What the detector sees, shape (height, width) or (height, width, 3), uint8.
        scale: Pixels of this image for one pixel of the photo.
        left_px: Where the photo's left edge lies in this image, pixels; negative when a part of the photo is shown
            that begins further to the right.
        top_px: Where its top edge lies.
        longest_px: Longest side of what is shown of the photo, without the padding, pixels of this image.
    """

    image: UInt8Array
    scale: float
    left_px: float
    top_px: float
    longest_px: int

    def point_to_photo(self, x: float, y: float) -> tuple[float, float]:
        """Returns where a point of this image lies in the photo, pixels."""
        return (x - self.left_px) / self.scale, (y - self.top_px) / self.scale

    def to_photo(
        self, center_x: float, center_y: float, side: float, score: float, landmarks: FaceLandmarks | None = None
    ) -> FaceBox:
        """Returns a square of this image as a box of the photo; ``landmarks`` are those of the photo already."""
        x, y = self.point_to_photo(center_x, center_y)
        half = side / self.scale / 2
        return FaceBox(x - half, y - half, x + half, y + half, score, landmarks)


def _resize(image: UInt8Array, scale: float) -> UInt8Array:
    if scale == 1.0:
        return image
    height, width = image.shape[:2]
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size_wh, interpolation=interpolation), np.uint8)


def prepare(image: UInt8Array) -> WorkImage:
    """Returns the photo at 256 to 640 pixels, with an edge of 15 % around it that repeats its border.

    Args:
        image: Shape (height, width) or (height, width, 3), uint8.
    """
    longest = max(image.shape[:2])
    scale = min(max(longest, MIN_WORK_SIDE_PX), MAX_WORK_SIDE_PX) / longest
    resized = _resize(image, scale)
    longest_px = max(resized.shape[:2])
    pad_px = round(PAD_FRACTION * longest_px)
    padded = cv2.copyMakeBorder(resized, pad_px, pad_px, pad_px, pad_px, cv2.BORDER_REPLICATE)
    return WorkImage(np.asarray(padded, np.uint8), scale, pad_px, pad_px, longest_px)


def to_square(
    image: UInt8Array,
    *,
    side_px: int,
    pad_fraction: float = 0.0,
    part_xyxy: tuple[int, int, int, int] | None = None,
) -> WorkImage:
    """Returns the photo, or a part of it, in the middle of a square, its proportions kept.

    Args:
        image: Shape (height, width) or (height, width, 3), uint8.
        side_px: Side of the square.
        pad_fraction: Edge at both ends of the longest side, as a share of that side; the photo's border is repeated.
        part_xyxy: The part of the photo, pixels; ``None`` takes it whole.
    """
    left, top, right, bottom = part_xyxy or (0, 0, image.shape[1], image.shape[0])
    part = image[top:bottom, left:right]
    scale = side_px / (1 + 2 * pad_fraction) / max(part.shape[:2])
    resized = _resize(part, scale)
    height, width = resized.shape[:2]
    before_x, before_y = (side_px - width) // 2, (side_px - height) // 2
    after_x, after_y = side_px - width - before_x, side_px - height - before_y
    square = cv2.copyMakeBorder(resized, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
    return WorkImage(
        np.asarray(square, np.uint8), scale, before_x - left * scale, before_y - top * scale, max(width, height)
    )


def by_prominence(boxes: list[FaceBox], image: UInt8Array) -> list[FaceBox]:
    """Returns large and central faces first: the side, less half of what the centre stands off the middle."""
    height, width = image.shape[:2]

    def prominence(box: FaceBox) -> float:
        x, y = box.center_xy
        return box.side_px - 0.5 * math.hypot(x - width / 2, y - height / 2)

    return sorted(boxes, key=prominence, reverse=True)
