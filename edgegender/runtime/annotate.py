"""Boxes and labels drawn onto a copy of a photo."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from edgegender.entities import FacePrediction, UInt8Array

_COLOR_SURE = (30, 136, 229)
_COLOR_UNSURE = (158, 158, 158)


def annotate_faces(image_rgb: UInt8Array, faces: Sequence[FacePrediction]) -> UInt8Array:
    """Returns a copy of a photo with a box, the label and the score of each face.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB.
        faces: The answers; one without a box is written into the corner.
    """
    drawn: UInt8Array = image_rgb.copy()
    height, width = drawn.shape[:2]
    unit = max(height, width) / 640
    thickness = max(1, round(2 * unit))
    font_scale = max(0.35, 0.6 * unit)
    for face in faces:
        color = _COLOR_UNSURE if face.is_unsure else _COLOR_SURE
        text = f"{'unsure' if face.is_unsure else face.predicted_label} {100 * face.score:.0f}%"
        left, top = 0, 0
        if face.box is not None:
            left, top, right, bottom = (round(value) for value in face.box.box_xyxy)
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
    return drawn
