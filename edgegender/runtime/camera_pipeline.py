"""From a frame to its faces, with as much work as the budget allows."""

from __future__ import annotations

import time
from dataclasses import replace

from edgegender.entities import FaceBox
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.counting import PeopleWindow
from edgegender.runtime.detector import FaceDetector, WholeImageDetector
from edgegender.runtime.frames import Frame
from edgegender.runtime.tracked import FrameResult
from edgegender.runtime.tracker import FaceTracker


def _scaled(box: FaceBox, scale: float) -> FaceBox:
    return replace(box, x1=box.x1 * scale, y1=box.y1 * scale, x2=box.x2 * scale, y2=box.y2 * scale, landmarks=None)


class CameraPipeline:
    """Detector, tracker and classifier, each asked only when the budget says so.

    Args:
        classifier: The model.
        detector: Finds the faces; :class:`WholeImageDetector` takes each frame's central square as one face crop.
        tracker: Keeps faces apart, decides what is due, averages the answers. It belongs to this pipeline alone.
    """

    def __init__(self, classifier: Classifier, detector: FaceDetector, tracker: FaceTracker) -> None:
        self._classifier = classifier
        self._detector = detector
        self._tracker = tracker

    def process(self, frame: Frame) -> FrameResult:
        """Returns the faces of the next frame."""
        clock, tracker, stage_ms = time.perf_counter, self._tracker, {}
        started = clock()
        boxes = None
        if tracker.wants_detection(frame):
            boxes = self._detect(frame)
            ended = clock()
            stage_ms["detect"], started = 1000 * (ended - started), ended
        tracker.observe(frame, boxes)
        due = tracker.to_classify()
        ended = clock()
        stage_ms["track"], started = 1000 * (ended - started), ended
        if due:
            answers = self._classifier.classify_faces(frame.image_rgb, [box for _, box in due])
            for (track_id, _), answer in zip(due, answers, strict=True):
                tracker.answer(track_id, answer.scores.values())
            stage_ms["classify"] = 1000 * (clock() - started)
        height, width = frame.image_rgb.shape[:2]
        return FrameResult(
            index=frame.index,
            captured_ns=frame.captured_ns,
            size_wh=(width, height),
            faces=tracker.faces(),
            stage_ms=stage_ms,
            people=tracker.people(),
            moment_ns=frame.moment_ns,
        )

    def people(self) -> dict[str, int]:
        """Returns how many people were seen since the start, by label and ``unsure``."""
        return self._tracker.people()

    def take_window(self, moment_ns: int | None = None, *, is_last: bool = False) -> PeopleWindow | None:
        """Returns the window of time that has ended, if one has. See :meth:`FaceTracker.take_window`."""
        return self._tracker.take_window(moment_ns, is_last=is_last)

    def _detect(self, frame: Frame) -> list[FaceBox]:
        height, width = frame.image_rgb.shape[:2]
        if isinstance(self._detector, WholeImageDetector):
            half = min(height, width) / self._classifier.metadata.preprocessing.crop_margin / 2
            return [FaceBox(width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)]
        if frame.detection_rgb is None:
            return self._detector.detect(frame.image_rgb)
        scale = width / frame.detection_rgb.shape[1]
        return [_scaled(box, scale) for box in self._detector.detect(frame.detection_rgb)]
