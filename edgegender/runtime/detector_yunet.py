"""YuNet: a small network that finds faces, eyes, nose and mouth, through OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detection_image import MIN_FACE_FRACTION, by_prominence, prepare


class YuNetDetector:
    """YuNet through ``cv2.FaceDetectorYN``.

    Args:
        model_path: ``yunet_n_320_320.onnx`` or ``yunet_n_640_640.onnx``.
        min_score: Faces below this confidence are left out, in [0, 1].

    Raises:
        UsageError: The file is missing or no YuNet network.

    Source: Wu, Peng and Yu 2023, doi 10.1007/s11633-023-1423-y; https://github.com/ShiqiYu/libfacedetection.train
    """

    name = "yunet"

    def __init__(self, model_path: Path, *, min_score: float = 0.5) -> None:
        if not model_path.is_file():
            raise UsageError(
                f"Expected a YuNet .onnx file, got nothing at {model_path}.",
                hint="Give the detector's file with --detector-path.",
            )
        try:
            self._network = cv2.FaceDetectorYN.create(str(model_path), "", (320, 320), min_score, 0.3, 50)
            self.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise UsageError(
                f"Expected a YuNet network, got another file ({model_path}).", hint="Use yunet_n_640_640.onnx."
            ) from error

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first.

        The square has the side of YuNet's box height (forehead to chin) around the box's centre.
        """
        work = prepare(image_rgb)
        height, width = work.image.shape[:2]
        self._network.setInputSize((width, height))
        _, found = self._network.detect(cv2.cvtColor(work.image, cv2.COLOR_RGB2BGR))
        rows = np.zeros((0, 15)) if found is None else np.asarray(found, np.float64)
        boxes = []
        for x, y, w, h, *points, score in rows.tolist():
            if h < MIN_FACE_FRACTION * work.longest_px:
                continue
            # the eye and the mouth corner of the person's right side stand first, on the left of an upright picture
            left_eye, right_eye, nose, left_corner, right_corner = (
                work.point_to_photo(*points[start : start + 2]) for start in range(0, 10, 2)
            )
            mouth = ((left_corner[0] + right_corner[0]) / 2, (left_corner[1] + right_corner[1]) / 2)
            landmarks = FaceLandmarks(left_eye, right_eye, nose, mouth)
            boxes.append(work.to_photo(x + w / 2, y + h / 2, h, score, landmarks))
        return by_prominence(boxes, image_rgb)
