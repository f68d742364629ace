"""Boxes and labels drawn onto a copy of a photo."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from edgegender.entities import FaceBox, FacePrediction, UInt8Array
from edgegender.runtime.tracked import TrackedFace

_COLOR_SURE = (30, 136, 229)
_COLOR_UNSURE = (158, 158, 158)
_DASH_PX = 6  # in a picture of 640 pixels, as all lengths below
_LINE_PX = 2
_FOLLOWED_LINE_PX = 1


def annotate_faces(image_rgb: UInt8Array, faces: Sequence[FacePrediction]) -> UInt8Array:
    """Returns a copy of a photo with a box, the label and the score of each face.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB.
        faces: The answers; one without a box is written into the corner.
    """
    drawn: UInt8Array = image_rgb.copy()
    for face in faces:
        text = f"{'unsure' if face.is_unsure else face.predicted_label} {100 * face.score:.0f}%"
        _draw(drawn, face, text)
    return drawn


def annotate_tracked(image_rgb: UInt8Array, faces: Sequence[TrackedFace]) -> UInt8Array:
    """Returns a copy of a frame with a box, the track's number and the answer of each face: ``#3 female 97%``.

    An unsure answer is ``#3 unsure``. The box of a face that the detector did not see in this frame, so that it was
    followed from earlier ones, is thin and dashed.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB.
        faces: The answers; one without a box is written into the corner.
    """
    drawn: UInt8Array = image_rgb.copy()
    for face in faces:
        answer = face.prediction
        said = "unsure" if answer.is_unsure else f"{answer.predicted_label} {100 * answer.score:.0f}%"
        _draw(drawn, answer, f"#{face.track_id} {said}", is_followed=not face.is_detected)
    return drawn


def _draw(drawn: UInt8Array, face: FacePrediction, text: str, *, is_followed: bool = False) -> None:
    height, width = drawn.shape[:2]
    unit = max(height, width) / 640
    thickness = max(1, round(_LINE_PX * unit))
    font_scale = max(0.35, 0.6 * unit)
    color = _COLOR_UNSURE if face.is_unsure else _COLOR_SURE
    left, top = 0, 0
    if face.box is not None:
        left, top, right, bottom = (round(value) for value in face.box.box_xyxy)
        if is_followed:
            _dash_box(drawn, face.box, color, unit)
        else:
            cv2.rectangle(drawn, (left, top), (right, bottom), color, thickness)
    (text_width, text_height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, font_scale, thickness)
    x = min(max(0, left), max(0, width - text_width))
    y = max(text_height + base, top)  # above the box, or inside of the photo where there is no room
    cv2.rectangle(drawn, (x, y - text_height - base), (x + text_width, y), color, cv2.FILLED)
    cv2.putText(
        drawn,
        text,
        (x, y - base // 2),
        cv2.FONT_HERSHEY_SIMPLEX,
        font_scale,
        (255, 255, 255),
        thickness,
        cv2.LINE_AA,
    )


def _dash_box(drawn: UInt8Array, box: FaceBox, color: tuple[int, int, int], unit: float) -> None:
    """Draws a thin, dashed box; only what lies in the picture takes time."""
    height, width = drawn.shape[:2]
    thickness = max(1, round(_FOLLOWED_LINE_PX * unit))
    dash = max(2, round(_DASH_PX * unit))
    left, top, right, bottom = (round(value) for value in box.box_xyxy)
    for x in (left, right):
        if 0 <= x < width:
            for y in range(max(0, top), min(height, bottom), 2 * dash):
                cv2.line(drawn, (x, y), (x, min(y + dash, bottom)), color, thickness)
    for y in (top, bottom):
        if 0 <= y < height:
            for x in range(max(0, left), min(width, right), 2 * dash):
                cv2.line(drawn, (x, y), (min(x + dash, right), y), color, thickness)
