"""The head that the parts of one drawn person share: its outline, its colours under the light, and how it is turned.

All lengths are in face heights: the hairline is at y = -0.5, the chin at y = 0.5, the middle of the face at the origin.
Proportions follow the usual canon of drawing: brows at a third, the nose's base at two thirds of the face.
"""

from __future__ import annotations

import math

import numpy as np

from edgegender.data.drawn_attributes import HAIR_COLORS, FaceAttributes
from edgegender.data.drawn_canvas import Canvas, Float32Array, Points, mirrored, smooth, streaks, symmetric
from edgegender.entities import FloatArray

BALD_BELOW = 0.06  # of hair_length
SHAVED_BELOW = 0.18
LONG_FROM = 0.44
_CANON_ASPECT = 0.76  # all outlines are drawn for this width over height
_SKIN_TONES = np.array(
    [(246, 212, 188), (234, 192, 160), (214, 164, 124), (184, 128, 90), (142, 92, 64), (104, 66, 48)], np.float64
)


def _skin_color(tone: float) -> FloatArray:
    place = tone * (len(_SKIN_TONES) - 1)
    below = min(int(place), len(_SKIN_TONES) - 2)
    return np.asarray(_SKIN_TONES[below] + (place - below) * (_SKIN_TONES[below + 1] - _SKIN_TONES[below]), np.float64)


class Head:
    """Colours and outlines of one person on one canvas.

    Args:
        canvas: Its frame's origin is the face's middle.
        attributes: How the person looks.
        rng: Where the strands of the hair come from.
    """

    def __init__(self, canvas: Canvas, attributes: FaceAttributes, rng: np.random.Generator) -> None:
        self.canvas = canvas
        self.attributes = attributes
        self.rng = rng
        self.wide = attributes.face_aspect / _CANON_ASPECT
        self.sine = math.sin(math.radians(attributes.turn_deg))
        self._cosine = math.cos(math.radians(attributes.turn_deg))
        self.skin_color = _skin_color(attributes.skin_tone)
        self.hair_color = np.array(HAIR_COLORS[attributes.hair_color], np.float64)
        self._light = self._light_field()
        strands = streaks(canvas.shape_hw, rng, length_px=0.3 * canvas.unit_px, spread=0.14)
        self.hair = self.lit(self.hair_color, depth=0.7) * strands
        self.skin = self.lit(self.skin_color, depth=0.5)
        self.outline = self._outline()
        self.face = canvas.mask(self.outline)

    def _light_field(self) -> Float32Array:
        """Returns how much of the light reaches each pixel of an ellipsoid the size of the head, [0, 1.1]."""
        x, y = self.canvas.u / np.float32(0.48), self.canvas.v / np.float32(0.8)
        z = np.sqrt(np.clip(1 - x * x - y * y, 0.03, 1))
        side = 0.6 * self.attributes.light_direction
        strength = 1.1 / math.hypot(side, 0.35, 0.85)
        towards = x * np.float32(side * strength) - y * np.float32(0.35 * strength) + z * np.float32(0.85 * strength)
        return np.asarray(np.clip(towards, 0, 1.1), np.float32)

    def lit(self, color: FloatArray, *, depth: float) -> Float32Array:
        """Returns a picture of one colour under the light, shape (3, height, width).

        Args:
            color: RGB in [0, 255].
            depth: Share of the colour that the light decides, in [0, 1].
        """
        shade = self._light * np.float32(depth) + np.float32(1 - depth)
        return np.asarray(shade * color.astype(np.float32)[:, None, None], np.float32)

    def _outline(self) -> FloatArray:
        jaw = self.attributes.jaw_width
        right = [
            (0.0, -0.68),
            (0.2, -0.645),
            (0.325, -0.49),
            (0.37, -0.28),
            (0.38, -0.06),
            (0.362, 0.12),
            (0.282 + 0.068 * jaw, 0.28),
            (0.158 + 0.128 * jaw, 0.42),
            (0.06 + 0.09 * jaw, 0.492),
        ]
        knots = np.concatenate([symmetric(right), [(0.0, 0.505)]]) * (self.wide, 1.0)
        outline = smooth(knots, is_closed=True)
        outline[:, 0] += 0.2 * self.sine * np.clip(outline[:, 1], 0, 0.5)  # the chin stands before the head's axis
        return outline

    def turned(self, points: Points, *, lift: float = 0.0) -> FloatArray:
        """Returns points of the face's surface where the turned head shows them.

        Args:
            points: Points (x, y) of a head that looks straight ahead.
            lift: How far they stand out of the surface, such as the tip of the nose.
        """
        placed = np.asarray(points, np.float64) * (self.wide, 1.0)
        depth = 0.27 * np.sqrt(np.clip(1 - (placed[:, 0] / 0.46) ** 2, 0.02, 1)) + lift
        placed[:, 0] = placed[:, 0] * self._cosine + depth * self.sine
        return placed

    def spot(self, x: float, y: float, *, lift: float = 0.0) -> tuple[float, float]:
        """Returns one point of the face as the turned head shows it."""
        point = self.turned([(x, y)], lift=lift)[0]
        return float(point[0]), float(point[1])

    def both(self, *shapes: Points, lift: float = 0.0) -> list[FloatArray]:
        """Returns shapes of the face's right half and their mirror images, as the turned head shows them."""
        return [self.turned(side, lift=lift) for shape in shapes for side in (shape, mirrored(shape))]

    @property
    def is_tied(self) -> bool:
        """Whether long hair is tied up."""
        return self.attributes.hair_style == "bun" and self.attributes.hair_length >= LONG_FROM

    @property
    def has_long_hair(self) -> bool:
        """Whether hair falls beside the face."""
        return self.attributes.hair_length >= LONG_FROM and not self.is_tied

    @property
    def hair_end(self) -> float:
        """How far down long hair falls, in the frame of the head."""
        return 0.2 + 1.1 * (self.attributes.hair_length - LONG_FROM)
