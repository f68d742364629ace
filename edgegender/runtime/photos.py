"""From a photo to the answers for its faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgegender import images
from edgegender.entities import FacePrediction, UInt8Array
from edgegender.errors import ImageError
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import FaceDetector, WholeImageDetector

PREDICTION_SCHEMA = "edgegender.prediction/1"


@dataclass(frozen=True)
class PhotoResult:
    """What was found in one photo.

    Args:
        path: The photo.
        status: ``ok``, ``no_face`` or ``error``.
        faces: The answers, the most prominent face first.
        problem: Why there is no answer.
    """

    path: Path
    status: str
    faces: tuple[FacePrediction, ...] = ()
    problem: str = ""

    def to_json(self) -> dict[str, object]:
        """Returns the NDJSON event: the first face's answer on top, all faces below."""
        faces = [
            {
                "box_xyxy": None if face.box is None else [round(value, 1) for value in face.box.box_xyxy],
                "predicted_label": face.predicted_label,
                "score": round(face.score, 4),
                "scores": {label: round(score, 4) for label, score in face.scores.items()},
                "is_unsure": face.is_unsure,
            }
            for face in self.faces
        ]
        first = self.faces[0] if self.faces else None
        return {
            "schema": PREDICTION_SCHEMA,
            "path": str(self.path),
            "status": self.status,
            "predicted_label": first.predicted_label if first else None,
            "score": round(first.score, 4) if first else None,
            "is_unsure": first.is_unsure if first else None,
            "faces": faces,
            "problem": self.problem or None,
        }


class PhotoPredictor:
    """A detector and a classifier, one after the other.

    Args:
        classifier: The model.
        detector: Finds the faces; :class:`WholeImageDetector` takes each photo as one face crop.
        is_whole_photo_fallback: Whether a photo in which no face is found is taken as a face crop too.
    """

    def __init__(
        self, classifier: Classifier, detector: FaceDetector, *, is_whole_photo_fallback: bool = False
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._is_whole_photo_fallback = is_whole_photo_fallback or isinstance(detector, WholeImageDetector)

    def predict_image(self, image_rgb: UInt8Array) -> tuple[FacePrediction, ...]:
        """Returns the answers for an upright photo of shape (height, width, 3), uint8; empty without a face."""
        boxes = self._detector.detect(image_rgb)
        if not boxes and self._is_whole_photo_fallback:
            return (self._classifier.classify(image_rgb, None),)
        return self._classifier.classify_faces(image_rgb, boxes)

    def predict_file(self, path: Path) -> PhotoResult:
        """Returns the answers for a photo file; a photo that cannot be read is a result, not an exception."""
        try:
            image = images.read_image(path)
        except ImageError as error:
            return PhotoResult(path, "error", problem=str(error))
        faces = self.predict_image(image)
        if not faces:
            return PhotoResult(path, "no_face", problem="no face found")
        return PhotoResult(path, "ok", faces)
