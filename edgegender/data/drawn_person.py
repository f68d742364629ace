"""Paints one drawn person on a canvas, from the hair behind the neck to the hat."""

from __future__ import annotations

import numpy as np

from edgegender.data.drawn_attributes import FaceAttributes
from edgegender.data.drawn_canvas import Canvas, Points, ellipse, hsv_color, mirrored, ribbon, smooth, symmetric
from edgegender.data.drawn_features import paint_beard, paint_brows, paint_eyes, paint_mouth, paint_nose, paint_skin
from edgegender.data.drawn_head import BALD_BELOW, SHAVED_BELOW, Head

# The hair's edge over the forehead, from the left temple to the right one, or its right half from the middle.
_PARTED = [(-0.35, -0.3), (-0.26, -0.41), (-0.15, -0.5), (0.06, -0.46), (0.24, -0.38), (0.345, -0.25)]
_HAIRLINES: dict[str, Points] = {
    "side_part": _PARTED,
    "center_part": symmetric([(0.06, -0.51), (0.24, -0.37), (0.35, -0.24)]),
    "fringe": symmetric([(0.08, -0.365), (0.24, -0.34), (0.35, -0.26)]),
    "swept": symmetric([(0.12, -0.49), (0.29, -0.43), (0.345, -0.32)]),
    "curly": symmetric([(0.09, -0.455), (0.265, -0.4), (0.35, -0.28)]),
    "bun": symmetric([(0.12, -0.485), (0.29, -0.42), (0.345, -0.3)]),
}
_VOLUMES = {"swept": 0.05, "curly": 0.05}  # how much higher than flat hair
_UPRIGHT = 0.7  # share of the head's tilt that the shoulders do not follow
_GOLD, _RIM, _LENS = (226, 190, 92), (44, 40, 44), (214, 226, 236)


def _paint_back_hair(head: Head) -> None:
    if not head.has_long_hair:
        return
    end = head.hair_end
    right = [(0.0, -0.7), (0.3, -0.62), (0.45, -0.36), (0.475, 0.0), (0.48, 0.5 * end), (0.47, end), (0.3, end + 0.06)]
    knots = np.concatenate([symmetric(right), [(0.0, end + 0.02)]])
    shape = smooth(knots * (head.wide, 1.0), is_closed=True)
    if head.attributes.hair_style == "curly":
        shape = shape * (1 + 0.035 * np.sin(np.linspace(0, 32 * np.pi, len(shape))))[:, None]
    head.canvas.fill(shape, color=head.hair * np.float32(0.72), blur=0.006)


def _paint_body(head: Head) -> None:
    attributes = head.attributes
    canvas = head.canvas.turned_about((0.0, 0.4), turn_deg=-_UPRIGHT * attributes.tilt_deg)
    broad = 0.15 + 0.06 * attributes.jaw_width
    neck = symmetric(
        smooth([(broad, 0.2), (broad, 0.56), (broad + 0.05, 0.68), (broad + 0.2, 0.8), (broad + 0.2, 1.2)])
    )
    canvas.fill(neck, color=head.skin_color * 0.74)
    canvas.glow((0.0, 0.5), (0.2, 0.07), (0.62, 0.58, 0.56), inside=canvas.mask(neck))  # the chin's shadow
    shirt = hsv_color(attributes.clothing_hue, 0.45, 0.6)[:, None, None] * (0.775 + 0.25 * np.minimum(canvas.v, 1.8))
    collar = smooth([(0.0, 0.86), (0.1, 0.83), (broad + 0.03, 0.66)])
    shoulder = smooth([(broad + 0.03, 0.66), (0.42, 0.77), (0.68, 0.86), (0.83, 1.05), (0.9, 2.6), (0.9, 9.0)])
    canvas.fill(symmetric(np.concatenate([collar, shoulder])), color=shirt, blur=0.004)
    canvas.fill(ribbon(symmetric(collar)[::4], [0.03]), color=shirt * np.float32(0.72))


def _paint_ears(head: Head) -> None:
    if head.has_long_hair and head.attributes.hair_length > 0.55:
        return
    for side in (-1.0, 1.0):
        x = side * 0.385 * head.wide - 0.04 * head.sine
        head.canvas.fill(ellipse((x, 0.0), (0.045, 0.105)), color=head.skin_color * 0.82)
        head.canvas.fill(ellipse((x, -0.005), (0.022, 0.065)), color=head.skin_color * 0.62, alpha=0.7, blur=0.008)


def _paint_front_hair(head: Head) -> None:
    attributes, canvas = head.attributes, head.canvas
    if attributes.hair_length < BALD_BELOW:
        return
    is_shaved = attributes.hair_length < SHAVED_BELOW
    style = "swept" if is_shaved else attributes.hair_style
    grown = min(1.0, attributes.hair_length / 0.4)
    line = np.asarray(_HAIRLINES[style], np.float64)
    if head.rng.random() < 0.5:  # parted on the other side
        line = mirrored(line)[::-1]
    burn = -0.08 + 0.1 * grown
    hairline = smooth([(-0.392, burn), (-0.36, burn - 0.02), *line, (0.36, burn - 0.02), (0.392, burn)])
    top = (0.03 + _VOLUMES.get(style, 0.0)) * grown
    crown = [(0.0, -0.71 - top), (0.13, -0.69 - top), (0.26, -0.62 - 0.7 * top), (0.35 + 0.03 * grown, -0.5)]
    outer = smooth(symmetric([*crown, (0.395 + 0.03 * grown, -0.28), (0.4, burn)]))
    if style == "curly":
        outer = outer * (1 + 0.03 * np.sin(np.linspace(0, 17 * np.pi, len(outer))))[:, None]
    shape = np.concatenate([hairline, outer[::-1]]) * (head.wide, 1.0)
    if is_shaved:
        canvas.fill(shape, color=0.4 * head.skin_color + 0.5 * head.hair_color, alpha=0.8, blur=0.014)
        return
    if head.is_tied:
        canvas.fill(ellipse((0.0, -0.8), (0.15, 0.12)), color=head.hair * np.float32(0.85), blur=0.006)
    canvas.fill(shape, color=head.hair, blur=0.007)
    canvas.glow((0.3 * attributes.light_direction, -0.62), (0.16, 0.045), 1.25, inside=canvas.mask(shape))


def _paint_locks(head: Head) -> None:
    if not head.has_long_hair:
        return
    end = head.hair_end
    knots = [(0.33, -0.42), (0.395, -0.2), (0.405, 0.1), (0.42, max(0.6 * end, 0.16)), (0.4, end)]
    lock = ribbon(knots, [0.05, 0.09, 0.085, 0.11, 0.03]) * (head.wide, 1.0)
    for shape in (lock, mirrored(lock)):
        head.canvas.fill(shape, color=head.hair * np.float32(0.95), blur=0.008)


def _paint_earrings(head: Head) -> None:
    if not head.attributes.has_earrings:
        return
    for side in (-1.0, 1.0):
        center = (side * 0.392 * head.wide - 0.04 * head.sine, 0.15)
        head.canvas.fill(ellipse(center, (0.026, 0.034)), ellipse(center, (0.014, 0.022)), color=_GOLD)


def _paint_glasses(head: Head) -> None:
    if not head.attributes.has_glasses:
        return
    upper = [(0.058, -0.135), (0.17, -0.15), (0.285, -0.135)]
    rim = smooth([*upper, (0.285, -0.05), (0.2, 0.012), (0.1, 0.0), (0.06, -0.05)], is_closed=True)
    middle = np.array((0.171, -0.07))
    lens = (rim - middle) * 0.88 + middle
    bridge = ribbon([(-0.062, -0.1), (0.0, -0.118), (0.062, -0.1)], [0.014])
    temple = ribbon([(0.28, -0.115), (0.37, -0.09)], [0.016])
    head.canvas.fill(*head.both(rim, lens), color=_RIM, alpha=0.9)
    head.canvas.fill(head.turned(bridge, lift=0.03), *head.both(temple), color=_RIM, alpha=0.9)
    head.canvas.fill(*head.both(lens), color=_LENS, alpha=0.08)


def _paint_hat(head: Head) -> None:
    if not head.attributes.has_hat:
        return
    wool = hsv_color((head.attributes.clothing_hue + 0.45) % 1, 0.45, 0.6).astype(np.float64)
    lit = head.lit(wool, depth=0.6)
    crown = smooth(symmetric([(0.0, -0.88), (0.25, -0.82), (0.41, -0.6), (0.42, -0.42)]))
    lower, upper = smooth(symmetric([(0.0, -0.44), (0.43, -0.38)])), smooth(symmetric([(0.0, -0.58), (0.42, -0.52)]))
    head.canvas.fill(crown * (head.wide, 1.0), color=lit, blur=0.005)
    band = np.concatenate([lower, upper[::-1]]) * (head.wide, 1.0)
    head.canvas.fill(band, color=lit * np.float32(0.8), blur=0.005)


_BACK_TO_FRONT = (
    _paint_back_hair,
    _paint_body,
    _paint_ears,
    paint_skin,
    paint_beard,
    paint_nose,
    paint_mouth,
    paint_eyes,
    paint_brows,
    _paint_front_hair,
    _paint_locks,
    _paint_earrings,
    _paint_glasses,
    _paint_hat,
)


def paint_person(canvas: Canvas, attributes: FaceAttributes, rng: np.random.Generator) -> None:
    """Paints head and shoulders on a canvas whose frame has its origin in the face's middle.

    Args:
        canvas: Where to paint; what is on it already stays behind the person.
        attributes: How the person looks; placement, brightness, background, blur and noise are not read here.
        rng: Where the strands and the parting of the hair come from.
    """
    head = Head(canvas, attributes, rng)
    for paint in _BACK_TO_FRONT:
        paint(head)
