"""Changes a camera makes to a face, none of which changes its label. numpy and OpenCV, outside of the network.

(Random layers inside of a Keras model survive its conversion as random operators.)
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.preprocess import crop_square, to_input


def _clip(image: npt.NDArray[np.floating]) -> UInt8Array:
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _jittered_crop(
    image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing, rng: np.random.Generator, strength: float
) -> UInt8Array:
    """Another detector, another day: zoom, shift and turn of the crop."""
    height, width = image_rgb.shape[:2]
    if box is None:
        center_x, center_y, side = width / 2, height / 2, float(min(height, width))
    else:
        center_x, center_y = box.center_xy
        side = box.side_px * preprocessing.crop_margin
    zoom = float(np.exp(rng.normal(0.0, 0.11 * strength)))
    shift_x, shift_y = (rng.normal(0.0, 0.04 * strength, 2) * side).tolist()
    angle_deg = float(rng.normal(0.0, 9.0 * strength))
    if rng.random() < 0.7:
        matrix = cv2.getRotationMatrix2D((center_x, center_y), angle_deg, 1.0)
        image_rgb = np.asarray(
            cv2.warpAffine(image_rgb, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
            np.uint8,
        )
    crop = crop_square(
        image_rgb,
        center_xy=(center_x + shift_x, center_y + shift_y),
        side=max(8.0, side * min(max(zoom, 0.7), 1.45)),
        size_px=preprocessing.input_size_px,
    )
    return np.asarray(cv2.flip(crop, 1), np.uint8) if rng.random() < 0.5 else crop


def _light(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Exposure, contrast, gamma and white balance."""
    values = np.arange(256, dtype=np.float32) / 255
    gamma = float(np.exp(rng.normal(0.0, 0.25)))
    contrast = float(np.exp(rng.normal(0.0, 0.18)))
    brightness = float(rng.normal(0.0, 0.07))
    tint = np.exp(rng.normal(0.0, 0.05, 3))
    tables = [((values**gamma - 0.5) * contrast + 0.5 + brightness) * scale * 255 for scale in tint]
    table = _clip(np.stack(tables, axis=-1)[None])
    return np.asarray(cv2.LUT(image, table), np.uint8)


def _low_light(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A dark room: little light and the sensor's noise on top of it."""
    dark = image.astype(np.float32) * rng.uniform(0.25, 0.6)
    return _clip(dark + rng.normal(0.0, rng.uniform(2.0, 8.0), image.shape))


def _low_resolution(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A face far away: few pixels, enlarged."""
    size_px = image.shape[0]
    small = max(12, round(size_px * rng.uniform(0.25, 0.7)))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size_px, size_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def _jpeg(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A cheap camera's compression."""
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 85))])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def _occlude(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A hand, a cup, a scarf: one plain rectangle of up to a tenth of the picture."""
    size_px = image.shape[0]
    height, width = (rng.uniform(0.1, 0.35, 2) * size_px).astype(int).tolist()
    top, left = int(rng.integers(0, size_px - height)), int(rng.integers(0, size_px - width))
    covered: UInt8Array = image.copy()
    covered[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return covered


def _camera_like(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    if rng.random() < 0.8:
        image = _light(image, rng)
    if rng.random() < 0.10:
        image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    if rng.random() < 0.10:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < 0.15:
        image = _low_resolution(image, rng)
    if rng.random() < 0.05:
        image = _low_light(image, rng)
    if rng.random() < 0.10:
        image = _clip(image + rng.normal(0.0, rng.uniform(2.0, 10.0), image.shape))
    if rng.random() < 0.20:
        image = _jpeg(image, rng)
    if rng.random() < 0.10:
        image = _occlude(image, rng)
    return image


def augment(
    image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing, kind: str, rng: np.random.Generator
) -> UInt8Array:
    """Returns a changed network input for one photo.

    Args:
        image_rgb: Photo or stored crop, shape (height, width, 3), uint8.
        box: The face in it; ``None`` when the photo is a face crop.
        preprocessing: Input size and crop margin.
        kind: ``none`` (the same as :func:`edgegender.preprocess.to_input`), ``light`` (small crop jitter, flip, light)
            or ``camera`` (all of it).
        rng: Where the chance comes from.

    Returns:
        Array of shape (input_size_px, input_size_px, 3), uint8, RGB.
    """
    if kind == "none":
        return to_input(image_rgb, box, preprocessing)
    if kind == "light":
        return _light(_jittered_crop(image_rgb, box, preprocessing, rng, 0.5), rng)
    return _camera_like(_jittered_crop(image_rgb, box, preprocessing, rng, 1.0), rng)
