"""Photo-like drawings of faces of nobody, for the demo and the tests: no photo of a real person is needed.

What ``female`` and ``male`` look like here is a drawing convention (see :mod:`edgegender.data.drawn_attributes`): a
model that learns it shows that the way from photos to a device works, and nothing about its accuracy on photos.

The same seed gives the same bytes on one machine; another version of OpenCV or numpy may round another pixel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgegender import files, images
from edgegender.data.drawn_attributes import (
    HAIR_COLORS,
    HAIR_STYLES,
    LABELS,
    FaceAttributes,
    draw_attributes,
)
from edgegender.data.drawn_canvas import Canvas, Float32Array, paint_background
from edgegender.data.drawn_person import paint_person
from edgegender.data.manifest import ManifestRow
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError
from edgegender.progress import Progress, no_progress

__all__ = [
    "DEFAULT_SIZE_PX",
    "HAIR_COLORS",
    "HAIR_STYLES",
    "LABELS",
    "DrawnFace",
    "DrawnScene",
    "FaceAttributes",
    "draw_attributes",
    "draw_background",
    "draw_face",
    "draw_scene",
    "write_drawn_faces",
]

DEFAULT_SIZE_PX = 160
MIN_SIZE_PX = 32  # below, eyes are less than a pixel high
MAX_SIZE_PX = 2048
MIN_FACE_PX = 8
_REFERENCE_SIZE_PX = 160  # the picture that the blur's pixels speak of


@dataclass(frozen=True)
class DrawnFace:
    """A drawing and what is true about it.

    Args:
        image_rgb: Shape (size_px, size_px, 3), uint8, RGB.
        box: The square from hairline to chin, pixels, inside of the picture.
        attributes: What was drawn.
    """

    image_rgb: UInt8Array
    box: FaceBox
    attributes: FaceAttributes


@dataclass(frozen=True)
class DrawnScene:
    """A drawing of several people and what is true about it.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB.
        boxes: The square from hairline to chin of each face, in the order of ``faces``.
        faces: What was drawn.
    """

    image_rgb: UInt8Array
    boxes: tuple[FaceBox, ...]
    faces: tuple[FaceAttributes, ...]


def _check_size(*sides_px: int) -> None:
    if not all(MIN_SIZE_PX <= side_px <= MAX_SIZE_PX for side_px in sides_px):
        raise UsageError(
            f"Expected sides from {MIN_SIZE_PX} to {MAX_SIZE_PX} pixels, got {' × '.join(map(str, sides_px))}."
        )


def _expose(
    image: Float32Array,
    rng: np.random.Generator,
    *,
    brightness: float,
    light_direction: float = 0.0,
    blur: float,
    noise: float,
) -> UInt8Array:
    """What the camera does to the scene: light, lens and sensor."""
    _, height, width = image.shape
    across = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(0.15 * light_direction)
    exposed = np.ascontiguousarray((image * (np.float32(brightness) * (1 + across))).transpose(1, 2, 0))
    sigma = blur * min(height, width) / _REFERENCE_SIZE_PX
    if sigma > 0.1:
        exposed = np.asarray(cv2.GaussianBlur(exposed, (0, 0), sigma), np.float32)
    exposed += rng.standard_normal((height, width, 1), np.float32) * np.float32(noise)
    return np.asarray(np.clip(exposed, 0, 255), np.uint8)


def draw_background(size_px: int, rng: np.random.Generator) -> UInt8Array:
    """Draws a picture without a face.

    Args:
        size_px: Side of the picture, 32 to 2048 pixels.
        rng: Where the chance comes from.

    Returns:
        Array of shape (size_px, size_px, 3), uint8, RGB.

    Raises:
        UsageError: The size is out of its range.
    """
    _check_size(size_px)
    image = paint_background((size_px, size_px), rng, hue=rng.random(), clutter=rng.random())
    return _expose(image, rng, brightness=rng.uniform(0.8, 1.15), blur=0.6, noise=rng.uniform(1, 4))


def draw_face(attributes: FaceAttributes, *, size_px: int = DEFAULT_SIZE_PX, rng: np.random.Generator) -> DrawnFace:
    """Draws one face with hair, neck, shoulders and background.

    Args:
        attributes: How it looks and where it stands.
        size_px: Side of the picture, 32 to 2048 pixels.
        rng: Where background, strands and noise come from.

    Returns:
        The picture and the true face box.

    Raises:
        UsageError: The size is out of its range.
    """
    _check_size(size_px)
    image = paint_background((size_px, size_px), rng, hue=attributes.background_hue, clutter=attributes.clutter)
    side = attributes.face_fraction * size_px
    x, y = (0.5 + attributes.offset_x) * size_px, (0.5 + attributes.offset_y) * size_px
    paint_person(Canvas(image, center_xy=(x, y), unit_px=side, tilt_deg=attributes.tilt_deg), attributes, rng)
    exposed = _expose(
        image,
        rng,
        brightness=attributes.brightness,
        light_direction=attributes.light_direction,
        blur=attributes.blur,
        noise=attributes.noise,
    )
    return DrawnFace(exposed, FaceBox(x - side / 2, y - side / 2, x + side / 2, y + side / 2), attributes)


def _place_faces(num_faces: int, size_wh: tuple[int, int], rng: np.random.Generator) -> list[FaceBox]:
    """Returns one square a column, so that nobody stands in front of another's face."""
    width, height = size_wh
    column = width / max(num_faces, 1)
    boxes = []
    for number in range(num_faces):
        side = min(column * rng.uniform(0.42, 0.58), height * rng.uniform(0.34, 0.46))
        x = (number + 0.5) * column + rng.uniform(-0.15, 0.15) * (column - side)
        y = rng.uniform(0.42, 0.55) * height
        boxes.append(FaceBox(x - side / 2, y - side / 2, x + side / 2, y + side / 2))
    return boxes


def draw_scene(
    faces: Sequence[FaceAttributes],
    *,
    size_wh: tuple[int, int] = (640, 480),
    boxes: Sequence[FaceBox] | None = None,
    rng: np.random.Generator,
) -> DrawnScene:
    """Draws several people side by side in one picture, as a camera would see them.

    Equal generators give equal backgrounds, so that frames of a film differ in ``boxes`` only.

    Args:
        faces: The people; the light and the lens are those of an ordinary room. May be empty.
        size_wh: Width and height of the picture, 32 to 2048 pixels each.
        boxes: The square of each face, from hairline to chin, at least 8 pixels; drawn by lot, one a column, when
            ``None``. It may lie across the picture's edge.
        rng: Where places, background, strands and noise come from.

    Returns:
        The picture and the true face boxes.

    Raises:
        UsageError: The size is out of its range, a box is too small, or there are not as many boxes as faces.
    """
    _check_size(*size_wh)
    width, height = size_wh
    image = paint_background((height, width), rng, hue=rng.random(), clutter=rng.uniform(0.2, 0.7))
    seeds = rng.integers(0, 2**32, len(faces)).tolist()
    placed = list(_place_faces(len(faces), size_wh, rng) if boxes is None else boxes)
    if len(placed) != len(faces):
        raise UsageError(f"Expected one box a face, got {len(placed)} boxes for {len(faces)} faces.")
    for box in placed:
        if not box.side_px >= MIN_FACE_PX:
            raise UsageError(f"Expected faces of at least {MIN_FACE_PX} pixels, got a side of {box.side_px:g}.")
    for number in sorted(range(len(faces)), key=lambda index: placed[index].y2):  # shoulders cover no lower face
        box, face = placed[number], faces[number]
        canvas = Canvas(image, center_xy=box.center_xy, unit_px=box.side_px, tilt_deg=face.tilt_deg)
        paint_person(canvas, face, np.random.default_rng(seeds[number]))
    exposed = _expose(image, rng, brightness=1.0, blur=0.3, noise=2.0)
    return DrawnScene(exposed, tuple(placed), tuple(faces))


def write_drawn_faces(
    folder: Path,
    *,
    num_faces: int,
    seed: int,
    size_px: int = DEFAULT_SIZE_PX,
    on_progress: Progress = no_progress,
) -> list[ManifestRow]:
    """Writes drawings as ``folder/<label>/<label>_00001.jpg`` …, as many of one label as of the other.

    Each file depends on ``seed``, ``size_px`` and its own name alone: a larger set begins with the smaller one.

    Args:
        folder: Made when it is missing; files of the same name are replaced.
        num_faces: Even number of files of both labels together, at least 2.
        seed: Zero or more; the same seed gives the same bytes.
        size_px: Side of the pictures, 32 to 2048 pixels.
        on_progress: Called with (done, total).

    Returns:
        One row a file, female and male by turns: path relative to ``folder``, label, sha256, true face box and size.
        The split is empty.

    Raises:
        UsageError: A number is out of its range.
        OutputError: A file cannot be written.
    """
    if num_faces < 2 or num_faces % 2 or seed < 0:
        raise UsageError(f"Expected an even number of faces ≥ 2 and a seed ≥ 0, got {num_faces} and {seed}.")
    _check_size(size_px)
    rows = []
    for index in range(num_faces):
        label = LABELS[index % len(LABELS)]
        rng = np.random.default_rng([seed, index])
        drawn = draw_face(draw_attributes(label, rng), size_px=size_px, rng=rng)
        content = images.encode_image(drawn.image_rgb)
        path = f"{label}/{label}_{index // len(LABELS) + 1:05d}.jpg"
        files.write_bytes(folder / path, content)
        size = {"width": str(size_px), "height": str(size_px)}
        rows.append(
            ManifestRow(path, label, sha256=hashlib.sha256(content).hexdigest(), face_box=drawn.box, extra=size)
        )
        on_progress(index + 1, num_faces)
    return rows
