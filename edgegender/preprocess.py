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


def crop_square(image_rgb: UInt8Array, *, center_xy: tuple[float, float], side: float, size_px: int) -> UInt8Array:
    """Cuts a square out of a photo and resizes it; what lies outside of the photo repeats its edge.

    Area averaging when it shrinks (no aliasing), bilinear when it grows.

    Args:
        image_rgb: Array of shape (height, width, 3), uint8.
        center_xy: Centre of the square, pixels of the photo.
        side: Side of the square, pixels of the photo, > 0.
        size_px: Side of the result, pixels.

    Returns:
        Array of shape (size_px, size_px, 3), uint8.
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
        )
    if before_y or before_x or after_y or after_x:
        part = np.asarray(
            cv2.copyMakeBorder(part, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE), np.uint8
        )
    if side_px == size_px:
        return np.array(part)  # a copy: who draws on the crop must not draw on the photo
    interpolation = cv2.INTER_AREA if side_px > size_px else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (size_px, size_px), interpolation=interpolation), np.uint8)


def to_input(image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing) -> UInt8Array:
    """Returns the raw RGB bytes that a network sees for one face.

    Args:
        image_rgb: The upright photo, shape (height, width, 3), uint8.
        box: The face; ``None`` means that the photo is a face crop already: its central square is taken whole.
        preprocessing: Input size and crop margin of the model.

    Returns:
        Array of shape (input_size_px, input_size_px, 3), uint8, RGB.
    """
    size_px = preprocessing.input_size_px
    if box is None:
        height, width = image_rgb.shape[:2]
        return crop_square(image_rgb, center_xy=(width / 2, height / 2), side=min(height, width), size_px=size_px)
    return crop_square(
        image_rgb, center_xy=box.center_xy, side=box.side_px * preprocessing.crop_margin, size_px=size_px
    )


def to_float(inputs: UInt8Array, scaling: str = "tf") -> npt.NDArray[np.float32]:
    """Returns raw bytes as the numbers that a float network expects.

    - ``tf``: (x - 127.5) / 127.5 in [-1, 1], which the start weights of MobileNetV2 and InceptionV3 expect;
    - ``unit``: x / 255 in [0, 1], as both papers have it;
    - ``caffe``: blue, green, red, less the mean of each over ImageNet, which the start weights of ResNet50 expect;
    - ``raw``: the bytes themselves, 0 to 255, for a network that scales them inside.

    A quantized network needs no such step: its input's scale and zero point say the same.

    Args:
        inputs: Array of shape (..., 3), uint8, RGB.
        scaling: One of ``SCALINGS``.

    Raises:
        UsageError: The scaling is unknown.
    """
    if scaling == "tf":
        return np.asarray((inputs.astype(np.float32) - np.float32(FLOAT_OFFSET)) / np.float32(FLOAT_SCALE), np.float32)
    if scaling == "unit":
        return np.asarray(inputs.astype(np.float32) / np.float32(255), np.float32)
    if scaling == "caffe":
        return np.asarray(inputs[..., ::-1].astype(np.float32) - np.asarray(CAFFE_MEAN_BGR, np.float32), np.float32)
    if scaling == "raw":
        return np.asarray(inputs, np.float32)
    raise UsageError(f"Expected a scaling of {', '.join(SCALINGS)}, got {scaling!r}.")
