"""Small pictures of photos, one decoded at a time, for figures and pages."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgegender import images
from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.errors import ImageError
from edgegender.preprocess import to_input

_JPEG_QUALITY = 80
_REASONS = {
    "missing": "cannot be opened",
    "empty": "0 bytes",
    "format": "not a JPEG, PNG, BMP or WebP photo",
    "truncated": "truncated file",
    "too_large": "too large",
    "damaged": "damaged data",
}


@dataclass(frozen=True)
class Thumbnail:
    """A small picture, or why there is none.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB; ``None`` for a photo that cannot be read.
        problem: Why; empty when there is a picture.
    """

    image_rgb: UInt8Array | None
    problem: str = ""


def _read(file: Path, shrink: Callable[[UInt8Array], UInt8Array]) -> Thumbnail:
    try:
        return Thumbnail(shrink(images.read_image(file)))
    except ImageError as error:
        return Thumbnail(None, _REASONS.get(error.kind, error.kind))


def read_square(file: Path, *, box: FaceBox | None, side_px: int) -> Thumbnail:
    """Returns the square that a network would see of a photo: around the face box, or the photo's middle.

    Args:
        file: The photo.
        box: Where the face stands, pixels of the photo; ``None`` for a face crop.
        side_px: Side of the square.
    """
    preprocessing = Preprocessing(input_size_px=side_px)
    return _read(file, lambda image_rgb: to_input(image_rgb, box, preprocessing))


def read_whole(file: Path, *, longest_px: int) -> Thumbnail:
    """Returns the whole photo, shrunk until its longer side fits; a small photo stays as it is.

    Args:
        file: The photo.
        longest_px: Longer side of the result at most.
    """

    def shrink(image_rgb: UInt8Array) -> UInt8Array:
        height, width = image_rgb.shape[:2]
        factor = longest_px / max(height, width)
        if factor >= 1:
            return image_rgb
        size_wh = (max(1, round(width * factor)), max(1, round(height * factor)))
        return np.asarray(cv2.resize(image_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)

    return _read(file, shrink)


def encode_data_uri(image_rgb: UInt8Array) -> str:
    """Returns a picture as a ``data:`` address of a JPEG, for a page that is one file.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB.

    Source: RFC 2397.
    """
    content = images.encode_image(image_rgb, jpeg_quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content).decode("ascii")
