"""A camera's frames: the same answers as for photos, and only as much work as the budget allows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.budget import budget_named
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import FaceDetector, WholeImageDetector
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.frames import Frame
from edgegender.runtime.photos import PhotoPredictor
from edgegender.runtime.tracker import FaceTracker
from tests.runtime.moving_scenes import as_frame, draw_people, film, straight

PEOPLE = draw_people([straight((110, 110), (10, 0), side=90), straight((220, 120), (-5, 4), side=80)])
FRAMES = [as_frame(moving, index) for index, moving in enumerate(film(PEOPLE, num_frames=12, size_wh=(320, 240)))]
BOXES = [FaceBox(65, 65, 155, 155, 0.9), FaceBox(180, 80, 260, 160, 0.8)]


class GivenBoxes:
    """Finds the boxes that it was given, and remembers what it was shown."""

    name = "given"

    def __init__(self, boxes: list[FaceBox]) -> None:
        self.boxes, self.seen = boxes, list[UInt8Array]()

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        self.seen.append(image_rgb)
        return self.boxes


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(num_threads=1)


def pipeline(classifier: Classifier, detector: FaceDetector, budget: str = "full", **options: bool) -> CameraPipeline:
    return CameraPipeline(classifier, detector, FaceTracker(classifier.metadata, budget_named(budget), **options))


def test_the_first_frame_is_answered_as_a_photo_is(classifier: Classifier) -> None:
    detector = CascadeDetector()
    faces = pipeline(classifier, detector).process(FRAMES[0]).faces
    photo = PhotoPredictor(classifier, detector).predict_image(FRAMES[0].image_rgb)
    assert len(faces) == 2
    for face in faces:
        expected = next(answer for answer in photo if answer.box == face.prediction.box)
        assert face.prediction.predicted_label == expected.predicted_label
        assert face.prediction.scores == pytest.approx(expected.scores, abs=1e-9)  # through a logarithm and back
        assert face.prediction.is_unsure == expected.is_unsure
        assert (face.is_fresh, face.is_detected, face.num_classified) == (True, True, 1)


def test_photos_that_have_nothing_to_do_with_each_other_are_each_answered_alone(classifier: Classifier) -> None:
    photos = pipeline(classifier, GivenBoxes(BOXES), is_tracking=False)
    numbers = [face.track_id for frame in FRAMES[:3] for face in photos.process(frame).faces]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert sum(photos.people().values()) == 6


def test_a_full_budget_searches_and_classifies_every_frame(classifier: Classifier) -> None:
    detector = GivenBoxes(BOXES)
    full = pipeline(classifier, detector)
    results = [full.process(frame) for frame in FRAMES]
    assert len(detector.seen) == len(FRAMES)
    assert all(face.is_fresh for result in results for face in result.faces)
    assert all(set(result.stage_ms) == {"detect", "track", "classify"} for result in results)


def test_a_low_budget_leaves_out_stages_and_sees_the_same_people(classifier: Classifier) -> None:
    detector = GivenBoxes(BOXES)
    low = pipeline(classifier, detector, "low")
    results = [low.process(frame) for frame in FRAMES]
    searched = [result for result in results if "detect" in result.stage_ms]
    assert len(searched) == len(detector.seen) < len(FRAMES) / 2
    assert [len(result.faces) for result in results] == [2] * len(FRAMES)
    assert sum(low.people().values()) == 2
    followed = [face for result in results if "detect" not in result.stage_ms for face in result.faces]
    assert followed
    assert not any(face.is_detected or face.is_fresh for face in followed)


def test_a_small_picture_of_the_camera_is_searched_and_the_large_one_cropped(classifier: Classifier) -> None:
    small = np.asarray(cv2.resize(FRAMES[0].image_rgb, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)
    detector = GivenBoxes([FaceBox(box.x1 / 2, box.y1 / 2, box.x2 / 2, box.y2 / 2, box.score) for box in BOXES])
    frame = Frame(FRAMES[0].image_rgb, 0, 1, detection_rgb=small)
    faces = pipeline(classifier, detector).process(frame).faces
    assert detector.seen[0] is small
    assert sorted(face.prediction.box.box_xyxy for face in faces if face.prediction.box) == sorted(
        box.box_xyxy for box in BOXES
    )
    expected = classifier.classify(FRAMES[0].image_rgb, BOXES[0])
    assert faces[0].prediction.scores == pytest.approx(expected.scores, abs=1e-9)


def test_without_a_detector_the_central_square_is_the_face_crop(classifier: Classifier) -> None:
    (face,) = pipeline(classifier, WholeImageDetector()).process(FRAMES[0]).faces
    expected = classifier.classify(FRAMES[0].image_rgb, None)
    assert face.prediction.scores == pytest.approx(expected.scores, abs=1e-9)


def test_a_window_of_time_counts_the_people_that_were_first_seen_in_it(classifier: Classifier) -> None:
    tracker = FaceTracker(classifier.metadata, budget_named("full"), window_s=0.2)
    counted = CameraPipeline(classifier, GivenBoxes(BOXES), tracker)
    windows = []
    for frame in FRAMES:
        counted.process(frame)
        windows.append(counted.take_window())
    windows.append(counted.take_window(is_last=True))
    found = [window for window in windows if window is not None]
    assert [sum(window.people.values()) for window in found] == [2, 0]
    assert found[-1].people_in_all == counted.people()
