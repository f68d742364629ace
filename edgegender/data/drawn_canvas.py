"""A canvas for soft, anti-aliased shapes in a frame of their own, and the background of drawn faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, UInt8Array

Float32Array = npt.NDArray[np.float32]
Points = Sequence[tuple[float, float]] | FloatArray
Color = Sequence[float] | Float32Array | FloatArray
_SUPERSAMPLING = 4  # coverage in 1/16: shapes move by fractions of a pixel without a visible step
_CURVE_STEPS = 8
_MIN_SIGMA_PX = 0.35  # less blur than that is lost in the coverage of the edge
_WALL_SCALE = 2  # the background is out of focus: half the pixels hold all of it


@lru_cache(maxsize=4)
def _catmull_rom(steps: int) -> FloatArray:
    """Returns the weights of four neighbours for each step between the middle two, shape (steps, 4)."""
    t = np.arange(steps)[:, None] / steps
    cubic = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], np.float64) / 2
    return np.asarray(np.hstack([t**0, t, t**2, t**3]) @ cubic, np.float64)


def smooth(points: Points, *, is_closed: bool = False) -> FloatArray:
    """Returns a Catmull-Rom curve through the points.

    Args:
        points: At least two points (x, y).
        is_closed: Whether the curve comes back to its first point.

    Returns:
        Array of shape (8 times the number of spans, plus one when open; 2).
    """
    knots = np.asarray(points, np.float64)
    ends = (knots[-1:], knots, knots[:2]) if is_closed else (knots[:1], knots, knots[-1:])
    padded = np.concatenate(ends)
    spans = np.stack([padded[i : len(padded) - 3 + i] for i in range(4)])
    curve = np.einsum("tk,ksd->std", _catmull_rom(_CURVE_STEPS), spans).reshape(-1, 2)
    return np.asarray(curve if is_closed else np.concatenate([curve, knots[-1:]]), np.float64)


def ribbon(points: Points, widths: Sequence[float]) -> FloatArray:
    """Returns the outline of a smooth stroke whose width changes along the way.

    Args:
        points: Knots (x, y) of the centre line, at least two.
        widths: Full width at the first knot, …, the last; spread evenly when there are fewer than knots.
    """
    line = smooth(points)
    step = np.concatenate([line[1:2] - line[:1], line[2:] - line[:-2], line[-1:] - line[-2:-1]])
    length = np.hypot(step[:, 0], step[:, 1]) + 1e-9
    at = np.arange(len(line)) * ((len(widths) - 1) / (len(line) - 1))
    half = np.interp(at, np.arange(len(widths)), widths) / (2 * length)
    edge = step[:, ::-1] * (-1.0, 1.0) * half[:, None]
    return np.concatenate([line + edge, (line - edge)[::-1]])


def ellipse(center: tuple[float, float], radii: tuple[float, float], *, num_points: int = 24) -> FloatArray:
    """Returns an ellipse as a polygon of shape (num_points, 2)."""
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False)
    return np.stack([center[0] + radii[0] * np.cos(angle), center[1] + radii[1] * np.sin(angle)], axis=1)


def mirrored(points: Points) -> FloatArray:
    """Returns the points on the other side of the vertical axis."""
    return np.asarray(points, np.float64) * (-1.0, 1.0)


def symmetric(right: Points) -> FloatArray:
    """Returns a right half, given from the axis outwards, behind its mirror image: left end … axis … right end.

    A first point on the axis itself is not doubled.
    """
    half = np.asarray(right, np.float64)
    left = mirrored(half[1:] if half[0, 0] == 0 else half)
    return np.concatenate([left[::-1], half])


class Canvas:
    """A picture that is painted in a frame of its own: unit 1 is a face's height, x to the right, y down.

    ``u`` and ``v`` hold x and y of each pixel's middle, shape (height, width), float32.

    Args:
        image: Picture to paint on, shape (3, height, width), float32, RGB, range [0, 255]; changed in place. Planes,
            since numpy is several times faster where the inner axis is a row of pixels.
        center_xy: Where the frame's origin stands, pixels.
        unit_px: Length of the frame's unit, pixels.
        tilt_deg: Clockwise turn of the frame, degrees.
    """

    def __init__(
        self, image: Float32Array, *, center_xy: tuple[float, float], unit_px: float, tilt_deg: float = 0.0
    ) -> None:
        self.image = image
        self.unit_px = unit_px
        self._tilt_deg = tilt_deg
        self._center = np.asarray(center_xy, np.float64)
        sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
        self._turn = np.array([[cosine, sine], [-sine, cosine]])  # of row vectors
        height, width = self.shape_hw
        columns = (np.arange(width, dtype=np.float32) + 0.5 - self._center[0]) / unit_px
        rows = (np.arange(height, dtype=np.float32)[:, None] + 0.5 - self._center[1]) / unit_px
        self.u: Float32Array = np.asarray(columns * cosine + rows * sine, np.float32)
        self.v: Float32Array = np.asarray(rows * cosine - columns * sine, np.float32)

    def turned_about(self, pivot: tuple[float, float], *, turn_deg: float) -> Canvas:
        """Returns a canvas over the same picture, whose frame is turned further clockwise about one of its points."""
        tilt_deg = self._tilt_deg + turn_deg
        sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
        x, y = self._to_pixels([pivot])[0].tolist()
        center_x = x - self.unit_px * (pivot[0] * cosine - pivot[1] * sine)
        center_y = y - self.unit_px * (pivot[0] * sine + pivot[1] * cosine)
        return Canvas(self.image, center_xy=(center_x, center_y), unit_px=self.unit_px, tilt_deg=tilt_deg)

    @property
    def shape_hw(self) -> tuple[int, int]:
        """Height and width of the picture, pixels."""
        return self.image.shape[1], self.image.shape[2]

    def _to_pixels(self, points: Points) -> FloatArray:
        return np.asarray((np.asarray(points, np.float64) @ self._turn) * self.unit_px + self._center, np.float64)

    def _window(self, low: FloatArray, high: FloatArray) -> tuple[slice, slice] | None:
        height, width = self.shape_hw
        left, top = max(math.floor(low[0]), 0), max(math.floor(low[1]), 0)
        right, bottom = min(math.ceil(high[0]), width), min(math.ceil(high[1]), height)
        return (slice(top, bottom), slice(left, right)) if left < right and top < bottom else None

    def _cover(self, shapes: Sequence[Points], blur: float) -> tuple[tuple[slice, slice], Float32Array] | None:
        """Returns a window of the picture and how much of each of its pixels lies inside of the shapes."""
        polygons = [self._to_pixels(shape) for shape in shapes]
        every = polygons[0] if len(polygons) == 1 else np.concatenate(polygons)
        sigma = blur * self.unit_px
        margin = 1 + 2.5 * sigma
        window = self._window(every.min(axis=0) - margin, every.max(axis=0) + margin)
        if window is None:
            return None
        rows, columns = window
        height, width = rows.stop - rows.start, columns.stop - columns.start
        fine: UInt8Array = np.zeros((height * _SUPERSAMPLING, width * _SUPERSAMPLING), np.uint8)
        origin = np.array([columns.start, rows.start])
        cv2.fillPoly(
            fine,
            [np.round((polygon - origin) * _SUPERSAMPLING * 16 - 8).astype(np.int32) for polygon in polygons],
            255,
            shift=4,
        )
        mask = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        if sigma > _MIN_SIGMA_PX:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        return window, np.asarray(mask, np.float32) / np.float32(255)

    def fill(
        self,
        *shapes: Points,
        color: Color,
        alpha: float = 1.0,
        blur: float = 0.0,
        inside: Float32Array | None = None,
    ) -> None:
        """Paints polygons; where two of them overlap, there is a hole.

        Args:
            shapes: Outlines, points (x, y) in units of the frame.
            color: RGB in [0, 255], or a picture of the canvas' own shape to paint with.
            alpha: Opacity in [0, 1].
            blur: Softness of the edge, units of the frame.
            inside: Opacity of each pixel of the canvas, shape (height, width), in [0, 1].
        """
        covered = self._cover(shapes, blur)
        if covered is None or alpha <= 0:
            return
        window, mask = covered
        if inside is not None:
            mask = mask * inside[window]
        paint = np.asarray(color, np.float32)
        under = self.image[:, window[0], window[1]]
        change = (paint[:, window[0], window[1]] if paint.ndim == 3 else paint[:, None, None]) - under
        change *= mask if alpha == 1 else mask * np.float32(alpha)
        under += change

    def mask(self, *shapes: Points, blur: float = 0.0) -> Float32Array:
        """Returns how much of each pixel lies inside of polygons, shape (height, width), in [0, 1]."""
        whole: Float32Array = np.zeros(self.shape_hw, np.float32)
        covered = self._cover(shapes, blur)
        if covered is not None:
            whole[covered[0]] = covered[1]
        return whole

    def glow(
        self,
        center: tuple[float, float],
        radii: tuple[float, float],
        gain: float | tuple[float, float, float],
        *,
        inside: Float32Array | None = None,
    ) -> None:
        """Makes a soft spot lighter or darker.

        Args:
            center: Middle of the spot (x, y), units of the frame.
            radii: Sigma to the right and down, units of the frame.
            gain: Factor in the middle, one for all or one for each of red, green and blue.
            inside: Opacity of each pixel of the canvas, shape (height, width), in [0, 1].
        """
        middle = self._to_pixels([center])[0]
        reach = 2.6 * max(radii) * self.unit_px
        window = self._window(middle - reach, middle + reach)
        if window is None:
            return
        away = ((self.u[window] - np.float32(center[0])) / np.float32(radii[0])) ** 2
        away += ((self.v[window] - np.float32(center[1])) / np.float32(radii[1])) ** 2
        weight = np.exp(away * np.float32(-0.5))
        if inside is not None:
            weight *= inside[window]
        if isinstance(gain, tuple):
            factor = weight * (np.asarray(gain, np.float32) - np.float32(1))[:, None, None]
        else:
            factor = weight * np.float32(gain - 1)
        self.image[:, window[0], window[1]] *= factor + np.float32(1)


def hsv_color(hue: float, saturation: float, value: float) -> Float32Array:
    """Returns the RGB colour, range [0, 255], of hue, saturation and value in [0, 1]; hue 0 and 1 are red."""
    corners = (np.array([5.0, 3.0, 1.0]) + hue * 6) % 6
    return np.asarray(255 * value * (1 - saturation * np.clip(np.minimum(corners, 4 - corners), 0, 1)), np.float32)


def streaks(shape_hw: tuple[int, int], rng: np.random.Generator, *, length_px: float, spread: float) -> Float32Array:
    """Returns factors around 1 that run down the picture like hair, shape (height, width)."""
    height, width = shape_hw
    coarse = rng.standard_normal((max(2, round(height / max(length_px, 1.0))), width), np.float32)
    grown = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(1 + np.float32(spread) * grown, np.float32)


def paint_background(
    shape_hw: tuple[int, int], rng: np.random.Generator, *, hue: float, clutter: float
) -> Float32Array:
    """Returns a wall out of focus: a gradient, mottled, with soft shapes standing in front of it.

    Args:
        shape_hw: Height and width, pixels.
        rng: Where the chance comes from.
        hue: Hue in [0, 1].
        clutter: How much stands there, 0 plain to 1.

    Returns:
        Array of shape (3, height, width), float32, RGB, range [0, 255].
    """
    height, width = (max(2, side // _WALL_SCALE) for side in shape_hw)
    image = np.empty((3, height, width), np.float32)
    image[:] = hsv_color(hue, rng.uniform(0.05, 0.4), rng.uniform(0.35, 0.9))[:, None, None]
    canvas = Canvas(image, center_xy=(width / 2, height / 2), unit_px=min(height, width))
    reach = max(height, width) / min(height, width) / 2
    for _ in range(round(8 * clutter)):
        center = (rng.uniform(-reach, reach), rng.uniform(-0.5, 0.5))
        paint = hsv_color((hue + rng.normal(0, 0.12)) % 1, rng.uniform(0.05, 0.45), rng.uniform(0.25, 0.95))
        if rng.random() < 0.5:  # a lamp out of focus
            radius = rng.uniform(0.03, 0.12)
            shape = ellipse(center, (radius, radius))
        else:  # a shelf, a window, a door
            x, y = rng.uniform(0.04, 0.25, 2) * (1.0, 2.0)
            shape = np.array(center) + np.array([(-x, -y), (x, -y), (x, y), (-x, y)])
        canvas.fill(shape, color=paint, alpha=rng.uniform(0.3, 0.8), blur=rng.uniform(0.01, 0.03))
    mottle = cv2.resize(rng.standard_normal((7, 7), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    slope = canvas.u * np.float32(rng.normal(0, 0.25)) + canvas.v * np.float32(rng.normal(0, 0.25))
    image *= 1 + np.float32(0.05) * mottle + slope
    planes = [cv2.resize(plane, shape_hw[::-1], interpolation=cv2.INTER_LINEAR) for plane in image]
    return np.asarray(np.stack(planes), np.float32)
