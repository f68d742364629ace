"""Paints what lies inside of a drawn face: skin, nose, mouth, eyes, brows and beard."""

from __future__ import annotations

import numpy as np

from edgegender.data.drawn_canvas import ellipse, ribbon, smooth, symmetric
from edgegender.data.drawn_head import BALD_BELOW, Head
from edgegender.entities import FloatArray

EYE_X, EYE_Y = 0.172, -0.09
_LIPS_RED = np.array((178.0, 58.0, 66.0))
_IRIS_BROWN, _IRIS_BLUE = np.array((62.0, 38.0, 24.0)), np.array((96.0, 132.0, 156.0))
_PUPIL = np.array((14.0, 12.0, 12.0))
_IRIS_RADIUS = 0.039
_MOUTH_Y = 0.277
_SOCKET, _CHEEK = (0.66, 0.62, 0.6), (1.09, 1.02, 1.0)
# The light and the dark that make a face round, and that a face detector looks for:
# x, y, sigma right and down, factor on the skin in the middle of the spot.
_RELIEF: tuple[tuple[float, float, tuple[float, float], float | tuple[float, float, float]], ...] = (
    (EYE_X, EYE_Y - 0.01, (0.085, 0.055), _SOCKET),
    (-EYE_X, EYE_Y - 0.01, (0.085, 0.055), _SOCKET),
    (0.05, EYE_Y + 0.04, (0.03, 0.09), 0.9),  # flanks of the nose
    (-0.05, EYE_Y + 0.04, (0.03, 0.09), 0.9),
    (0.2, 0.1, (0.09, 0.07), _CHEEK),
    (-0.2, 0.1, (0.09, 0.07), _CHEEK),
    (0.0, -0.34, (0.18, 0.08), 1.09),  # forehead
    (0.0, 0.4, (0.08, 0.05), 1.06),  # chin
    (0.0, 0.345, (0.09, 0.022), 0.86),  # below the lower lip
)


def paint_skin(head: Head) -> None:
    """Paints the face's shape, its relief and its wrinkles."""
    canvas = head.canvas
    canvas.fill(head.outline, color=head.skin)
    for x, y, radii, gain in _RELIEF:
        canvas.glow(head.spot(x, y), radii, gain, inside=head.face)
    if head.attributes.hair_length >= BALD_BELOW:
        canvas.glow((0.0, -0.56), (0.34, 0.07), 0.78, inside=head.face)  # the hair's shadow
    beside_mouth = ribbon([(0.1, 0.16), (0.16, 0.22), (0.18, 0.3)], [0.006, 0.012, 0.004])
    below_eye = ribbon([(0.1, -0.015), (0.17, 0.005), (0.23, -0.02)], [0.004, 0.011, 0.004])
    beside_eye = ribbon([(0.275, -0.11), (0.31, -0.13)], [0.006, 0.004])
    forehead = [ribbon([(-0.18, y), (0.0, y - 0.012), (0.18, y)], [0.003, 0.01, 0.003]) for y in (-0.39, -0.32)]
    canvas.fill(
        *head.both(beside_mouth, below_eye, beside_eye),
        *(head.turned(line) for line in forehead),
        color=head.skin_color * 0.5,
        alpha=0.03 + 0.45 * head.attributes.wrinkles,
        blur=0.006,
        inside=head.face,
    )


def paint_nose(head: Head) -> None:
    """Paints the light on the nose's back and tip, its shadow, wings and nostrils."""
    canvas, dark = head.canvas, head.skin_color * 0.42
    canvas.glow(head.spot(0.0, -0.06, lift=0.04), (0.022, 0.11), 1.12, inside=head.face)
    canvas.glow(head.spot(0.0, 0.1, lift=0.1), (0.03, 0.026), 1.14, inside=head.face)
    canvas.glow(head.spot(0.0, 0.165, lift=0.06), (0.06, 0.014), 0.76, inside=head.face)
    wing = ribbon([(0.062, 0.1), (0.084, 0.13), (0.058, 0.155)], [0.006, 0.014, 0.01])
    canvas.fill(*head.both(wing, lift=0.05), color=dark, alpha=0.5, blur=0.006)
    nostril = ellipse((0.034, 0.152), (0.019, 0.009))
    canvas.fill(*head.both(nostril, lift=0.07), color=dark * 0.6, alpha=0.85, blur=0.004)


def paint_mouth(head: Head) -> None:
    """Paints both lips and the line between them."""
    canvas, attributes = head.canvas, head.attributes
    half = 0.115 + 0.03 * max(attributes.smile, 0.0)
    middle_y = _MOUTH_Y + 0.012 * attributes.smile
    corner = (half, _MOUTH_Y - 0.036 * attributes.smile)
    top, low = 0.016 + 0.026 * attributes.lip_fullness, 0.02 + 0.036 * attributes.lip_fullness
    line = symmetric([(0.0, middle_y + 0.003), (0.5 * half, middle_y - 0.004), corner])
    upper = symmetric([(0.0, middle_y - 0.72 * top), (0.3 * half, middle_y - top), corner])
    lower = symmetric([(0.0, middle_y + low), (0.45 * half, middle_y + 0.88 * low), corner])
    strength = 0.2 + 0.7 * attributes.lip_color
    red = _LIPS_RED * (0.55 + 0.45 * head.skin_color[0] / 255)
    color = head.skin_color * 0.8 * (1 - strength) + red * strength
    for lip, shade in ((upper, 0.82), (lower, 1.0)):
        shape = np.concatenate([smooth(line), smooth(lip)[::-1]])
        canvas.fill(head.turned(shape), color=color * shade, blur=0.004)
    canvas.glow(head.spot(0.0, middle_y + 0.55 * low), (0.04, 0.012), 1.14)
    canvas.fill(head.turned(ribbon(line, [0.006, 0.013, 0.006])), color=color * 0.35, alpha=0.9, blur=0.003)


def _paint_irises(head: Head, half_height: float) -> None:
    tone = head.attributes.iris_tone
    look = 0.01 * head.attributes.turn_deg / 25
    iris = _IRIS_BROWN * (1 - tone) + _IRIS_BLUE * tone
    for share, color in ((1.0, iris * 0.45), (0.8, iris), (0.46, _PUPIL)):
        disc = ellipse((look, EYE_Y - 0.002), (_IRIS_RADIUS * share, _IRIS_RADIUS * share))
        disc[:, 1] = np.clip(disc[:, 1], EYE_Y - 0.92 * half_height, EYE_Y + 0.72 * half_height)  # below the lids
        both = [head.turned(disc + np.array((side * EYE_X, 0.0))) for side in (-1, 1)]
        head.canvas.fill(*both, color=color)
    glints = [head.spot(side * EYE_X + 0.012, EYE_Y - 0.012) for side in (-1, 1)]
    glint_shapes = [ellipse(glint, (0.008, 0.008), num_points=8) for glint in glints]
    head.canvas.fill(*glint_shapes, color=(240, 240, 240), alpha=0.85)


def _lids(half_width: float, half_height: float) -> tuple[FloatArray, FloatArray]:
    """Returns the upper lid's edge from the nose outwards, and the lower lid's back."""
    x, y = EYE_X, EYE_Y
    inner, outer = (x - half_width, y + 0.01), (x + half_width, y - 0.002)
    upper = [(-0.45, -0.75), (0.1, -1.0), (0.6, -0.6)]
    lower = [(0.45, 0.72), (-0.35, 0.72)]
    return (
        smooth([inner, *((x + across * half_width, y + down * half_height) for across, down in upper), outer]),
        smooth([outer, *((x + across * half_width, y + down * half_height) for across, down in lower), inner]),
    )


def paint_eyes(head: Head) -> None:
    """Paints both eyes with lids and lashes."""
    canvas, size, lashes = head.canvas, head.attributes.eye_size, head.attributes.lashes
    half_w, half_h = 0.074 + 0.018 * size, 0.027 + 0.024 * size
    upper, lower = _lids(half_w, half_h)
    canvas.fill(*head.both(np.concatenate([upper, lower])), color=(196, 188, 184), blur=0.003)
    _paint_irises(head, half_h)
    dark = head.skin_color * 0.18
    lid = 0.016 + 0.014 * lashes
    upper_edge, lower_edge = ribbon(upper[::8], [0.008, lid, lid, 0.012]), ribbon(lower[::8], [0.004, 0.01, 0.004])
    canvas.fill(*head.both(upper_edge), color=dark, alpha=0.75 + 0.25 * lashes, blur=0.002)
    canvas.fill(*head.both(lower_edge), color=dark * 1.6, alpha=0.5, blur=0.003)
    roots = [(EYE_X + across * half_w, EYE_Y - up * half_h) for across, up in ((0.98, 0.05), (0.72, 0.5), (0.42, 0.85))]
    tips = [ribbon([(x, y), (x + 0.22 * half_w, y - 0.022)], [0.012, 0.004]) for x, y in roots]
    canvas.fill(*head.both(*tips), color=dark, alpha=lashes**1.5)
    top_y = EYE_Y - half_h
    fold = [
        (EYE_X - 0.8 * half_w, top_y - 0.004),
        (EYE_X, top_y - 0.026),
        (EYE_X + half_w, top_y + 0.4 * half_h - 0.01),
    ]
    canvas.fill(*head.both(ribbon(fold, [0.004, 0.01, 0.004])), color=head.skin_color * 0.4, alpha=0.55, blur=0.004)


def paint_brows(head: Head) -> None:
    """Paints both brows: thin ones are arched, thick ones straight."""
    thick = head.attributes.brow_thickness
    width, arch = 0.012 + 0.042 * thick, 0.012 * (1 - thick)
    knots = [(0.08, -0.178), (0.175, -0.207 - arch), (0.245, -0.192 - arch), (0.282, -0.165)]
    brow = ribbon(knots, [0.75 * width, width, 0.8 * width, 0.25 * width])
    color = 0.6 * head.hair_color + 0.1 * head.skin_color * (1 - thick)
    head.canvas.fill(*head.both(brow), color=color, alpha=0.72 + 0.2 * thick, blur=0.006)


def paint_beard(head: Head) -> None:
    """Paints a beard or its shadow over jaw and upper lip, around the mouth."""
    attributes, canvas = head.attributes, head.canvas
    if not (attributes.beard or attributes.stubble):
        return
    edge = symmetric(
        [(0.0, 0.205), (0.1, 0.19), (0.16, 0.205), (0.25, 0.2), (0.315, 0.12), (0.345, -0.02), (0.4, -0.04)]
    )
    below = np.array([(0.5, 0.3), (0.4, 0.7), (-0.4, 0.7), (-0.5, 0.3)])
    grown = canvas.mask(np.concatenate([head.turned(smooth(edge)), below]), blur=0.02) * head.face
    grown *= 1 - canvas.mask(head.turned(ellipse((0.0, 0.282), (0.115, 0.035))), blur=0.012)
    frame = [(-0.6, -0.2), (0.6, -0.2), (0.6, 0.6), (-0.6, 0.6)]
    shadow = 0.45 * head.skin_color + 0.28 * head.hair_color
    canvas.fill(frame, color=shadow, alpha=0.5 * attributes.stubble, inside=grown)
    canvas.fill(frame, color=head.hair * np.float32(0.8), alpha=0.92 * attributes.beard, inside=grown)
