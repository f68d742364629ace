"""From a photo and a face box to a network's input: the ONE definition.

Training, calibration, evaluation, the device and the benchmark all call :func:`to_input`; a test holds what they feed
their network byte for byte the same. numpy and OpenCV only.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.errors import UsageError

# Source: Keras, applications/imagenet_utils.py, _preprocess_numpy_input; the names are its modes, but for two.
SCALINGS = ("tf", "unit", "caffe", "raw")
FLOAT_OFFSET = 127.5
FLOAT_SCALE = 127.5
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)
MAX_SIDE_RATIO = 4  # a square wider than four photos holds nothing but repeated edges


def _halve(image_rgb: UInt8Array) -> UInt8Array:
    height, width = image_rgb.shape[:2]
    half_wh = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(image_rgb, half_wh, interpolation=cv2.INTER_AREA), np.uint8)


def crop_square(
    image_rgb: UInt8Array,
    *,
    center_xy: tuple[float, float],
    side: float,
    size_px: int,
    out: UInt8Array | None = None,
) -> UInt8Array:
    """Cuts a square out of a photo and resizes it; what lies outside of the photo repeats its edge.

    Area averaging when it shrinks (no aliasing), bilinear when it grows.

    Args:
        image_rgb: Array of shape (height, width, 3), uint8.
        center_xy: Centre of the square, pixels of the photo.
        side: Side of the square, pixels of the photo, > 0.
        size_px: Side of the result, pixels.
        out: Where to write it, such as a network's own input tensor; ``None`` makes a new array.

    Returns:
        Array of shape (size_px, size_px, 3), uint8; ``out`` where it was given.
    """
    height, width = image_rgb.shape[:2]
    side_px = max(1, round(min(side, MAX_SIDE_RATIO * max(height, width))))
    left = math.floor(center_xy[0] - side_px / 2 + 0.5)
    top = math.floor(center_xy[1] - side_px / 2 + 0.5)
    # Keep a sliver of the photo in the square, so that a wild box cannot ask for an endless border.
    left = min(max(left, 1 - side_px), width - 1)
    top = min(max(top, 1 - side_px), height - 1)
    part = image_rgb[max(top, 0) : top + side_px, max(left, 0) : left + side_px]
    before_y, before_x = max(-top, 0), max(-left, 0)
    after_y = side_px - part.shape[0] - before_y
    after_x = side_px - part.shape[1] - before_x
    if side_px > 4 * size_px and (before_y or before_x or after_y or after_x):
        # Shrink first: the border of a huge box is not worth its memory.
        return crop_square(
            _halve(image_rgb),
            center_xy=(center_xy[0] / 2, center_xy[1] / 2),
            side=side_px / 2,
            size_px=size_px,
            out=out,
        )
    if before_y or before_x or after_y or after_x:
        part = np.asarray(
            cv2.copyMakeBorder(part, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE), np.uint8
        )
    if out is None:
        out = np.empty(
            (size_px, size_px, 3), np.uint8
        )  # never a view: who draws on the crop must not draw on the photo
    if side_px == size_px:
        np.copyto(out, part)
        return out
    cv2.resize(
        part, (size_px, size_px), dst=out, interpolation=cv2.INTER_AREA if side_px > size_px else cv2.INTER_LINEAR
    )
    return out


def to_input(
    image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing, *, out: UInt8Array | None = None
) -> UInt8Array:
    """Returns the raw RGB bytes that a network sees for one face.

    Args:
        image_rgb: The upright photo, shape (height, width, 3), uint8.
        box: The face; ``None`` means that the photo is a face crop already: its central square is taken whole.
        preprocessing: Input size and crop margin of the model.
        out: Where to write it: contiguous, of the shape that is returned; ``None`` makes a new array.

    Returns:
        Array of shape (input_size_px, input_size_px, 3), uint8, RGB; ``out`` where it was given.
    """
    size_px = preprocessing.input_size_px
    if box is None:
        height, width = image_rgb.shape[:2]
        center_xy, side = (width / 2, height / 2), float(min(height, width))
    else:
        center_xy, side = box.center_xy, box.side_px * preprocessing.crop_margin
    return crop_square(image_rgb, center_xy=center_xy, side=side, size_px=size_px, out=out)


def to_float(
    inputs: UInt8Array, scaling: str = "tf", *, out: npt.NDArray[np.float32] | None = None
) -> npt.NDArray[np.float32]:
    """Returns raw bytes as the numbers that a float network expects.

    - ``tf``: (x - 127.5) / 127.5 in [-1, 1], which the start weights of MobileNetV2 and InceptionV3 expect;
    - ``unit``: x / 255 in [0, 1], as both papers have it;
    - ``caffe``: blue, green, red, less the mean of each over ImageNet, which the start weights of ResNet50 expect;
    - ``raw``: the bytes themselves, 0 to 255, for a network that scales them inside.

    A quantized network needs no such step: its input's scale and zero point say the same.

    Args:
        inputs: Array of shape (..., 3), uint8, RGB.
        scaling: One of ``SCALINGS``.
        out: Where to write them, float32, of the same shape; ``None`` makes a new array.

    Raises:
        UsageError: The scaling is unknown.
    """
    if scaling not in SCALINGS:
        raise UsageError(f"Expected a scaling of {', '.join(SCALINGS)}, got {scaling!r}.")
    if out is None:
        out = np.empty(inputs.shape, np.float32)
    if scaling == "caffe":
        np.subtract(inputs[..., ::-1], np.asarray(CAFFE_MEAN_BGR, np.float32), out=out, dtype=np.float32)
        return out
    np.copyto(out, inputs)
    if scaling == "tf":
        out -= np.float32(FLOAT_OFFSET)
        out /= np.float32(FLOAT_SCALE)
    elif scaling == "unit":
        out /= np.float32(255)
    return out
