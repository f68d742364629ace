"""Videos of drawn people who move, as arrays: a few milliseconds a frame, and it is known where each face is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.data.drawn_attributes import FaceAttributes, draw_attributes
from edgegender.data.drawn_canvas import Canvas, paint_background
from edgegender.data.drawn_person import paint_person
from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.frames import Frame

_SPRITE_SIDE_PX = 120  # of the face in the sprite
_LEFT, _ABOVE = 1.2, 1.1  # units of the face's side from the sprite's edge to the face's centre
_WIDE, _HIGH = 2.4, 4.6  # the body reaches well below the frame
_MIN_PX = 2

Path = Callable[[float], "tuple[float, float, float] | None"]


@dataclass(frozen=True)
class Person:
    """Somebody in a video.

    Args:
        attributes: What is drawn.
        path: Centre x, centre y and side of the face at a moment in seconds, pixels; ``None`` while not there.
    """

    attributes: FaceAttributes
    path: Path

    def box(self, moment_s: float) -> FaceBox | None:
        """The true square from hairline to chin."""
        place = self.path(moment_s)
        if place is None:
            return None
        x, y, side = place
        return FaceBox(x - side / 2, y - side / 2, x + side / 2, y + side / 2)


@dataclass(frozen=True)
class MovingFrame:
    """One frame of a video.

    Args:
        image_rgb: Shape (height, width, 3), uint8.
        boxes: True square of each person, ``None`` for who is not there.
        moment_s: Seconds since the video's start.
    """

    image_rgb: UInt8Array
    boxes: tuple[FaceBox | None, ...]
    moment_s: float


def straight(
    start: tuple[float, float], velocity: tuple[float, float] = (0.0, 0.0), *, side: float = 110.0, growth: float = 0.0
) -> Path:
    """Returns a path along a line: pixels, pixels a second, and growth of the side in pixels a second."""
    return lambda t: (start[0] + velocity[0] * t, start[1] + velocity[1] * t, side + growth * t)


def only_while(path: Path, *spans_s: tuple[float, float]) -> Path:
    """Returns a path of somebody who is there in some spans of time only."""
    return lambda t: path(t) if any(begin <= t < end for begin, end in spans_s) else None


def draw_people(paths: Sequence[Path], *, seed: int = 3, labels: Sequence[str] = ("female", "male")) -> list[Person]:
    """Returns one person a path, upright and without a hat, labels by turns."""
    rng = np.random.default_rng(seed)
    return [Person(draw_attributes(labels[index % len(labels)], rng), path) for index, path in enumerate(paths)]


@lru_cache(maxsize=32)
def _sprite(attributes: FaceAttributes) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Returns a person's colours, times what they cover, and what they let through, (height, width, 3)."""
    size = round(_HIGH * _SPRITE_SIDE_PX), round(_WIDE * _SPRITE_SIDE_PX)
    center = _LEFT * _SPRITE_SIDE_PX, _ABOVE * _SPRITE_SIDE_PX
    pictures = []
    for ground in (0.0, 255.0):  # the same person before black and before white tells how much shines through
        image = np.full((3, *size), ground, np.float32)
        canvas = Canvas(image, center_xy=center, unit_px=_SPRITE_SIDE_PX, tilt_deg=attributes.tilt_deg)
        paint_person(canvas, attributes, np.random.default_rng(0))
        pictures.append(np.ascontiguousarray(image.transpose(1, 2, 0)))
    through = np.clip((pictures[1] - pictures[0]) / 255, 0, 1)
    return pictures[0], through


def _paste(image: npt.NDArray[np.float32], attributes: FaceAttributes, box: FaceBox) -> None:
    color, through = _sprite(attributes)
    scale = box.side_px / _SPRITE_SIDE_PX
    (x, y), (height, width) = box.center_xy, image.shape[:2]
    origin_x, origin_y = x - _LEFT * box.side_px, y - _ABOVE * box.side_px
    left, top = max(0, int(origin_x)), max(0, int(origin_y))
    right = min(width, int(np.ceil(origin_x + _WIDE * box.side_px)))
    bottom = min(height, int(np.ceil(origin_y + _HIGH * box.side_px)))
    if right - left < _MIN_PX or bottom - top < _MIN_PX:
        return
    matrix = np.array([[scale, 0, origin_x - left], [0, scale, origin_y - top]])
    size_wh = (right - left, bottom - top)
    color = cv2.warpAffine(color, matrix, size_wh, flags=cv2.INTER_LINEAR)
    through = cv2.warpAffine(through, matrix, size_wh, flags=cv2.INTER_LINEAR, borderValue=(1.0, 1.0, 1.0))
    part = image[top:bottom, left:right]
    part *= through
    part += color


def film(
    people: Sequence[Person],
    *,
    num_frames: int,
    fps: float = 30.0,
    size_wh: tuple[int, int] = (640, 480),
    seed: int = 1,
    noise: float = 2.0,
) -> Iterator[MovingFrame]:
    """Draws a video.

    Args:
        people: The later ones stand in front.
        num_frames: How many frames.
        fps: Frames a second.
        size_wh: Width and height, pixels.
        seed: Of background and noise.
        noise: Of the sensor, levels of 255.
    """
    rng = np.random.default_rng(seed)
    width, height = size_wh
    ground = np.ascontiguousarray(
        paint_background((height, width), rng, hue=rng.random(), clutter=0.4).transpose(1, 2, 0)
    )
    grain = rng.standard_normal((2 * height, 2 * width, 1)).astype(np.float32) * np.float32(noise)
    for number in range(num_frames):
        moment_s = number / fps
        boxes = tuple(person.box(moment_s) for person in people)
        image = ground.copy()
        for person, box in zip(people, boxes, strict=True):
            if box is not None:
                _paste(image, person.attributes, box)
        y, x = rng.integers(0, height), rng.integers(0, width)
        image += grain[y : y + height, x : x + width]
        yield MovingFrame(np.clip(image, 0, 255).astype(np.uint8), boxes, moment_s)


def as_frame(moving: MovingFrame, index: int, *, start_ns: int = 10**9) -> Frame:
    """Returns a frame as a source would hand it out, by the video's own time."""
    return Frame(moving.image_rgb, index, start_ns + round(moving.moment_s * 1e9))
