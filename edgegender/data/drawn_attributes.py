"""What a drawn face looks like: its attributes, their ranges, and how they are drawn by lot for a label.

The labels are a *drawing convention*: a handful of attributes (hair length, jaw, brows, lips, beard, earrings) are more
frequent in one label than in the other, and overlap. A classifier that learns them proves that the way from photos to a
device works. It says nothing about people, and nothing about accuracy on photos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from edgegender.errors import UsageError

LABELS = ("female", "male")
HAIR_COLORS = {
    "black": (34, 30, 32),
    "dark_brown": (62, 42, 32),
    "brown": (104, 70, 46),
    "auburn": (128, 62, 38),
    "blond": (196, 158, 98),
    "grey": (150, 148, 146),
}
HAIR_STYLES = ("side_part", "center_part", "fringe", "swept", "curly", "bun")

_RANGES = {
    "skin_tone": (0.0, 1.0),
    "face_aspect": (0.66, 0.86),
    "jaw_width": (0.0, 1.0),
    "hair_length": (0.0, 1.0),
    "brow_thickness": (0.0, 1.0),
    "eye_size": (0.0, 1.0),
    "iris_tone": (0.0, 1.0),
    "lashes": (0.0, 1.0),
    "lip_fullness": (0.0, 1.0),
    "lip_color": (0.0, 1.0),
    "smile": (-0.5, 1.0),
    "beard": (0.0, 1.0),
    "stubble": (0.0, 1.0),
    "wrinkles": (0.0, 1.0),
    "turn_deg": (-25.0, 25.0),
    "tilt_deg": (-30.0, 30.0),
    "brightness": (0.3, 1.6),
    "light_direction": (-1.0, 1.0),
    "background_hue": (0.0, 1.0),
    "clutter": (0.0, 1.0),
    "clothing_hue": (0.0, 1.0),
    "face_fraction": (0.45, 0.70),
    "offset_x": (-0.15, 0.15),
    "offset_y": (-0.15, 0.15),
    "blur": (0.0, 4.0),
    "noise": (0.0, 30.0),
}
_CHOICES = {"label": LABELS, "hair_color": tuple(HAIR_COLORS), "hair_style": HAIR_STYLES}


@dataclass(frozen=True)
class FaceAttributes:
    """How one face of nobody is drawn; the defaults are an ordinary frontal face.

    Args:
        label: ``female`` or ``male``, as *drawn*: a convention of this package, not a statement about people.
        skin_tone: 0 lightest to 1 darkest.
        face_aspect: Width at the cheekbones divided by the height from hairline to chin, 0.66 to 0.86.
        jaw_width: 0 pointed to 1 square; the neck widens with it.
        hair_length: 0 bald, 0.1 shaved, 0.3 short, 0.5 to the chin, 1 below the shoulders.
        hair_color: A key of ``HAIR_COLORS``.
        hair_style: One of ``HAIR_STYLES``; ``bun`` ties long hair up.
        brow_thickness: 0 thin to 1 thick.
        eye_size: 0 small to 1 large.
        iris_tone: 0 dark brown to 1 light blue.
        lashes: 0 bare to 1 long and dark.
        lip_fullness: 0 thin to 1 full.
        lip_color: 0 the skin's own to 1 strong red.
        smile: -0.5 corners down to 1 corners up.
        beard: Opacity of a full beard, 0 none to 1.
        stubble: Opacity of a shadow where a beard grows, 0 none to 1.
        wrinkles: 0 smooth to 1 old.
        has_glasses: Whether the face wears glasses.
        has_hat: Whether the head wears a knitted hat.
        has_earrings: Whether the ears wear rings.
        turn_deg: Turn of the head about the vertical, degrees, -25 to 25; positive looks to the picture's right.
        tilt_deg: Turn in the picture's plane about the face's centre, degrees, -30 to 30; positive is clockwise.
        brightness: Factor on the whole picture, 0.3 to 1.6.
        light_direction: Where the light comes from: -1 left, 0 front, 1 right.
        background_hue: Hue of the background, 0 to 1 once around the colour circle.
        clutter: How much stands in the background, 0 plain to 1.
        clothing_hue: Hue of the clothes, 0 to 1 once around the colour circle.
        face_fraction: Side of the face box divided by the picture's height, 0.45 to 0.70.
        offset_x: Centre of the face right of the picture's centre, in picture widths, -0.15 to 0.15.
        offset_y: Centre of the face below the picture's centre, in picture heights, -0.15 to 0.15.
        blur: Sigma of the lens blur, pixels of a 160-pixel picture, 0 to 4.
        noise: Standard deviation of the sensor's noise, grey levels, 0 to 30.

    Raises:
        UsageError: A number is out of its range, or a name is none of the known ones.
    """

    label: str = "female"
    skin_tone: float = 0.3
    face_aspect: float = 0.76
    jaw_width: float = 0.5
    hair_length: float = 0.3
    hair_color: str = "dark_brown"
    hair_style: str = "side_part"
    brow_thickness: float = 0.5
    eye_size: float = 0.5
    iris_tone: float = 0.2
    lashes: float = 0.4
    lip_fullness: float = 0.5
    lip_color: float = 0.3
    smile: float = 0.3
    beard: float = 0.0
    stubble: float = 0.0
    wrinkles: float = 0.0
    has_glasses: bool = False
    has_hat: bool = False
    has_earrings: bool = False
    turn_deg: float = 0.0
    tilt_deg: float = 0.0
    brightness: float = 1.0
    light_direction: float = 0.0
    background_hue: float = 0.55
    clutter: float = 0.3
    clothing_hue: float = 0.6
    face_fraction: float = 0.56
    offset_x: float = 0.0
    offset_y: float = 0.05
    blur: float = 0.5
    noise: float = 2.5

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _RANGES:
                low, high = _RANGES[field.name]
                if not (math.isfinite(value) and low <= value <= high):
                    raise UsageError(f"Expected {field.name} from {low:g} to {high:g}, got {value}.")
            elif field.name in _CHOICES and value not in _CHOICES[field.name]:
                raise UsageError(
                    f"Expected {field.name} to be one of {', '.join(_CHOICES[field.name])}, got {value!r}."
                )


def _near(rng: np.random.Generator, name: str, mean: float, spread: float) -> float:
    """Draws from a normal distribution, clipped to the attribute's range."""
    low, high = _RANGES[name]
    return float(min(max(rng.normal(mean, spread), low), high))


def draw_attributes(label: str, rng: np.random.Generator) -> FaceAttributes:
    """Draws a face's attributes by lot.

    Every attribute that depends on the label overlaps between the labels: one in twelve of the faces drawn as
    ``female`` has short hair, one in twelve of those drawn as ``male`` has long hair, most of those have no beard. All
    other attributes have the same distribution in both.

    Args:
        label: ``female`` or ``male``, as drawn.
        rng: Where the chance comes from.

    Raises:
        UsageError: The label is another one.
    """
    if label not in LABELS:
        raise UsageError(f"Expected label to be one of {', '.join(LABELS)}, got {label!r}.")
    is_female = label == "female"

    def pick(female: float, male: float) -> float:
        return female if is_female else male

    has_long_hair = rng.random() < pick(0.92, 0.08)
    skin_tone = float(rng.random())
    colors, styles = tuple(HAIR_COLORS), HAIR_STYLES
    shares = (0.24, 0.26, 0.2, 0.08, 0.14, 0.08) if skin_tone < 0.6 else (0.55, 0.3, 0.03, 0.02, 0.01, 0.09)
    return FaceAttributes(
        label=label,
        skin_tone=skin_tone,
        face_aspect=_near(rng, "face_aspect", pick(0.755, 0.77), 0.025),
        jaw_width=_near(rng, "jaw_width", pick(0.26, 0.74), 0.16),
        hair_length=float(rng.uniform(0.45, 1.0) if has_long_hair else rng.uniform(0.0, 0.42)),
        hair_color=colors[int(rng.choice(len(colors), p=shares))],
        hair_style=styles[int(rng.choice(len(styles), p=(0.27, 0.17, 0.13, 0.2, 0.13, 0.1)))],
        brow_thickness=_near(rng, "brow_thickness", pick(0.25, 0.75), 0.15),
        eye_size=_near(rng, "eye_size", pick(0.62, 0.40), 0.18),
        iris_tone=float(rng.random() ** 2),
        lashes=_near(rng, "lashes", pick(0.68, 0.25), 0.2),
        lip_fullness=_near(rng, "lip_fullness", pick(0.66, 0.32), 0.16),
        lip_color=_near(rng, "lip_color", pick(0.58, 0.16), 0.2),
        smile=_near(rng, "smile", 0.4, 0.35),
        beard=float(rng.uniform(0.5, 1.0)) if rng.random() < pick(0.0, 0.38) else 0.0,
        stubble=float(rng.uniform(0.0, 1.0)) if rng.random() < pick(0.03, 0.6) else 0.0,
        wrinkles=float(rng.random() ** 2),
        has_glasses=bool(rng.random() < 0.15),
        has_hat=bool(rng.random() < 0.06),
        has_earrings=bool(rng.random() < pick(0.35, 0.04)),
        turn_deg=_near(rng, "turn_deg", 0.0, 8.0),
        tilt_deg=_near(rng, "tilt_deg", 0.0, 4.5),
        brightness=float(rng.uniform(0.8, 1.15)),
        light_direction=float(rng.uniform(-0.8, 0.8)),
        background_hue=float(rng.random()),
        clutter=float(rng.random()),
        clothing_hue=float(rng.random()),
        face_fraction=float(rng.uniform(0.47, 0.66)),
        offset_x=_near(rng, "offset_x", 0.0, 0.035),
        offset_y=_near(rng, "offset_y", 0.05, 0.025),
        blur=float(rng.uniform(0.3, 0.9)),
        noise=float(rng.uniform(1.0, 4.0)),
    )
