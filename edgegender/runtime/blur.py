"""Faces hidden in a copy of a picture, so that nobody brings them back."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np

from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError

DEFAULT_MARGIN = 0.3
MAX_BLOCKS = 8


def blur_faces(image_rgb: UInt8Array, boxes: Iterable[FaceBox], *, margin: float = DEFAULT_MARGIN) -> UInt8Array:
    """Returns a copy of a picture in which each face is a smear of at most 8 × 8 averages.

    What is hidden is a rectangle that is ``margin`` larger than the face's box on each side, so that hair, ears and
    chin go with it. It is averaged to at most 8 blocks across: that, not the smoothing after it, is what cannot be
    undone, for a smoothed picture that keeps all its pixels can be sharpened again. The blocks are as large where the
    picture's edge cuts a face, so that half a face is no clearer than a whole one.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB. Not altered.
        boxes: The faces; may lie across the picture's edge or outside of it.
        margin: What is hidden beyond each side of a box, as a part of that side, at least 0.3.

    Raises:
        UsageError: The margin is too small.
    """
    if not margin >= DEFAULT_MARGIN:
        raise UsageError(
            f"Expected a margin of at least {DEFAULT_MARGIN}, got {margin:g} (blur_faces).",
            hint="A smaller one leaves hair and ears, by which people are known.",
        )
    hidden: UInt8Array = image_rgb.copy()
    for box in boxes:
        _hide(hidden, box, margin)
    return hidden


def _hide(image: UInt8Array, box: FaceBox, margin: float) -> None:
    height, width = image.shape[:2]
    grow_x, grow_y = margin * (box.x2 - box.x1), margin * (box.y2 - box.y1)
    left, right = (math.floor(min(max(value, 0.0), width)) for value in (box.x1 - grow_x, box.x2 + grow_x + 1))
    top, bottom = (math.floor(min(max(value, 0.0), height)) for value in (box.y1 - grow_y, box.y2 + grow_y + 1))
    if right <= left or bottom <= top:
        return
    block_px = max((1 + 2 * margin) * box.side_px / MAX_BLOCKS, 1.0)
    blocks_wh = (_count_blocks(right - left, block_px), _count_blocks(bottom - top, block_px))
    region = image[top:bottom, left:right]
    blocks = cv2.resize(region, blocks_wh, interpolation=cv2.INTER_AREA)
    region[:] = np.asarray(cv2.resize(blocks, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR), np.uint8)


def _count_blocks(length_px: int, block_px: float) -> int:
    return min(MAX_BLOCKS, max(1, round(length_px / block_px)))
