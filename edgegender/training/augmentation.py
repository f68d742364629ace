"""Changes a camera makes to a face, none of which changes its label. numpy and OpenCV, outside of the network.

(Random layers inside of a Keras model survive its conversion as random operators.) What chance decides does not depend
on what the photo shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.preprocess import MAX_SIDE_RATIO, crop_square, to_input

_MIN_SIDE = 8.0  # pixels of the photo: below it a jittered crop shows nothing
_TONES = np.arange(256, dtype=np.float32) / 255


@dataclass(frozen=True)
class _View:
    """How a crop differs from the plain one: its side is ``zoom`` times, its centre is ``shift_xy`` sides away."""

    zoom: float
    shift_xy: tuple[float, float]
    angle_deg: float
    is_mirrored: bool


def _jittered_view(rng: np.random.Generator, strength: float) -> _View:
    """Another detector, another day: zoom, shift and turn of the crop."""
    zoom = float(np.exp(rng.normal(0.0, 0.11 * strength)))
    shift_x, shift_y = rng.normal(0.0, 0.04 * strength, 2).tolist()
    angle_deg = float(rng.normal(0.0, 9.0 * strength))
    is_turned = rng.random() < 0.7
    is_mirrored = bool(rng.random() < 0.5)
    return _View(min(max(zoom, 0.7), 1.45), (shift_x, shift_y), angle_deg if is_turned else 0.0, is_mirrored)


def _geometric_view(rng: np.random.Generator) -> _View:
    """Both papers' changes: they name flip, slight rotation and zoom, and no amounts; these are ours."""
    zoom, angle_deg = float(rng.uniform(0.9, 1.1)), float(rng.uniform(-18.0, 18.0))
    return _View(zoom, (0.0, 0.0), angle_deg, bool(rng.random() < 0.5))


def _shrink_around(
    image_rgb: UInt8Array, center_xy: tuple[float, float], reach: float, factor: int
) -> tuple[UInt8Array, tuple[float, float], tuple[float, float]]:
    """Shrinks what lies within ``reach`` of a point, and no more, by area.

    Returns:
        The shrunk part; the point's (x, y) in it; how many pixels of the photo one of its pixels is, in x and in y.
    """
    bounds = []
    for center, length in zip(center_xy, image_rgb.shape[1::-1], strict=True):
        first = min(max(math.floor(center - reach), 0), length - 1)
        bounds.append((first, max(first + 1, min(math.ceil(center + reach), length))))
    (left, right), (top, bottom) = bounds
    size_wh = max(1, (right - left) // factor), max(1, (bottom - top) // factor)
    part = cv2.resize(image_rgb[top:bottom, left:right], size_wh, interpolation=cv2.INTER_AREA)
    scale_x, scale_y = (right - left) / size_wh[0], (bottom - top) / size_wh[1]
    # the middle of the first pixel is 0, as in OpenCV
    center_x, center_y = (center_xy[0] - left + 0.5) / scale_x - 0.5, (center_xy[1] - top + 0.5) / scale_y - 0.5
    return np.asarray(part, np.uint8), (center_x, center_y), (scale_x, scale_y)


def _turned_crop(
    image_rgb: UInt8Array, center_xy: tuple[float, float], side: float, view: _View, size_px: int
) -> UInt8Array:
    """Cuts a turned square out of a photo: only its own pixels are computed, at the photo's resolution.

    A square far larger than the result is shrunk by area first, to no less than twice the result.
    """
    factor = max(1, int(side / (2 * size_px)))
    scale_xy = (1.0, 1.0)
    if factor > 1:
        image_rgb, center_xy, scale_xy = _shrink_around(image_rgb, center_xy, 0.75 * side + 2 * factor, factor)
    side_px = max(1, round(side / factor))
    sine, cosine = math.sin(math.radians(view.angle_deg)), math.cos(math.radians(view.angle_deg))
    step = side / side_px  # pixels of the photo, for one pixel of the square
    mirror = -1.0 if view.is_mirrored else 1.0
    x_by_x, x_by_y = mirror * cosine * step / scale_xy[0], -sine * step / scale_xy[0]
    y_by_x, y_by_y = mirror * sine * step / scale_xy[1], cosine * step / scale_xy[1]
    middle = (side_px - 1) / 2
    offset_x, offset_y = center_xy[0] - (x_by_x + x_by_y) * middle, center_xy[1] - (y_by_x + y_by_y) * middle
    square = cv2.warpAffine(
        image_rgb,
        np.array([[x_by_x, x_by_y, offset_x], [y_by_x, y_by_y, offset_y]]),
        (side_px, side_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return crop_square(
        np.asarray(square, np.uint8), center_xy=(side_px / 2, side_px / 2), side=side_px, size_px=size_px
    )


def _crop(image_rgb: UInt8Array, box: FaceBox | None, preprocessing: Preprocessing, view: _View) -> UInt8Array:
    height, width = image_rgb.shape[:2]
    if box is None:
        (center_x, center_y), side = (width / 2, height / 2), float(min(height, width))
    else:
        (center_x, center_y), side = box.center_xy, box.side_px * preprocessing.crop_margin
    shift_x, shift_y = view.shift_xy[0] * side, view.shift_xy[1] * side
    side = min(max(_MIN_SIDE, side * view.zoom), MAX_SIDE_RATIO * max(height, width))
    if view.angle_deg == 0.0:
        shifted_xy = center_x + shift_x, center_y + shift_y
        crop = crop_square(image_rgb, center_xy=shifted_xy, side=side, size_px=preprocessing.input_size_px)
        return np.asarray(cv2.flip(crop, 1), np.uint8) if view.is_mirrored else crop
    # the square is shifted along its own sides, after the turn about the middle of the face
    sine, cosine = math.sin(math.radians(view.angle_deg)), math.cos(math.radians(view.angle_deg))
    center_x += cosine * shift_x - sine * shift_y
    center_y += sine * shift_x + cosine * shift_y
    return _turned_crop(image_rgb, (center_x - 0.5, center_y - 0.5), side, view, preprocessing.input_size_px)


def _clip(image: npt.NDArray[np.floating]) -> UInt8Array:
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def _with_noise(image: npt.NDArray[np.float32], deviation: float, rng: np.random.Generator) -> UInt8Array:
    # in 32 bits: the normal numbers are the dearest part of it
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(deviation)
    noise += image
    return _clip(noise)


def _light(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """Exposure, contrast, gamma and white balance."""
    gamma = float(np.exp(rng.normal(0.0, 0.25)))
    contrast = float(np.exp(rng.normal(0.0, 0.18)))
    brightness = float(rng.normal(0.0, 0.07))
    tint = np.exp(rng.normal(0.0, 0.05, 3)).astype(np.float32)
    tones = ((_TONES**gamma - 0.5) * contrast + (0.5 + brightness)) * 255
    return np.asarray(cv2.LUT(image, _clip(tones[:, None] * tint)[None]), np.uint8)


def _low_light(image: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    """A dark room: little light and the sensor's noise on top of it."""
    dark = image.astype(np.float32) * np.float32(rng.uniform(0.25, 0.6))
    return _with_noise(dark, rng.uniform(2.0, 8.0), rng)


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
        image = _with_noise(image.astype(np.float32), rng.uniform(2.0, 10.0), rng)
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
        kind: ``none`` (the same as :func:`edgegender.preprocess.to_input`, byte for byte), ``geometric`` (mirrored in
            one of two, turned by up to 18°, zoomed by up to 10 %, each evenly spread; what lies outside of the photo
            repeats its edge), ``light`` (small crop jitter, mirror, light) or ``camera`` (all that a camera does).
        rng: Where the chance comes from.

    Returns:
        Array of shape (input_size_px, input_size_px, 3), uint8, RGB.

    Source: Tareq 2025 for ``geometric``: "random horizontal flip, slight rotation, zoom", without amounts.
    """
    if kind == "none":
        return to_input(image_rgb, box, preprocessing)
    if kind == "geometric":
        return _crop(image_rgb, box, preprocessing, _geometric_view(rng))
    if kind == "light":
        return _light(_crop(image_rgb, box, preprocessing, _jittered_view(rng, 0.5)), rng)
    return _camera_like(_crop(image_rgb, box, preprocessing, _jittered_view(rng, 1.0)), rng)
