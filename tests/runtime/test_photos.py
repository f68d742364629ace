"""From a photo to its answers: every photo has exactly one result, whatever is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_attributes, draw_face, draw_scene
from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import WholeImageDetector
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.photos import PREDICTION_SCHEMA, PhotoPredictor, PhotoResult
from tests.pictures import write_photo
from tests.tiny_model import build_tiny_model, grey_picture


class FixedDetector:
    """Finds what it was told to, whatever it is shown."""

    name = "fixed"

    def __init__(self, *boxes: FaceBox) -> None:
        self._boxes = list(boxes)

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        del image_rgb
        return self._boxes


LEFT, RIGHT = FaceBox(0, 0, 40, 40), FaceBox(60, 0, 100, 40)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    path = build_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.tflite", crop_margin=1.0, unsure_below=0.9)
    return Classifier(path, num_threads=1)


@pytest.fixture
def half_and_half() -> UInt8Array:
    """Black on the left, white on the right."""
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 50:] = 255
    return image


def test_each_face_gets_its_own_answer_in_the_detectors_order(
    classifier: Classifier, half_and_half: UInt8Array
) -> None:
    answers = PhotoPredictor(classifier, FixedDetector(RIGHT, LEFT)).predict_image(half_and_half)
    assert [(answer.predicted_label, answer.box) for answer in answers] == [("male", RIGHT), ("female", LEFT)]


def test_a_photo_without_a_face_has_no_answer(classifier: Classifier, tmp_path: Path) -> None:
    file = write_photo(tmp_path / "empty.png", grey_picture(255, 100))
    result = PhotoPredictor(classifier, FixedDetector()).predict_file(file)
    assert (result.status, result.faces, result.problem) == ("no_face", (), "no face found")


def test_the_cascade_finds_no_face_in_a_plain_wall(classifier: Classifier) -> None:
    assert PhotoPredictor(classifier, CascadeDetector()).predict_image(grey_picture(200, 320)) == ()


def test_the_whole_photo_stands_in_when_it_is_asked_to(classifier: Classifier) -> None:
    (answer,) = PhotoPredictor(classifier, FixedDetector(), is_whole_photo_fallback=True).predict_image(
        grey_picture(255)
    )
    assert (answer.predicted_label, answer.box) == ("male", None)


def test_the_whole_photo_does_not_stand_in_where_a_face_is_found(
    classifier: Classifier, half_and_half: UInt8Array
) -> None:
    predictor = PhotoPredictor(classifier, FixedDetector(LEFT), is_whole_photo_fallback=True)
    (answer,) = predictor.predict_image(half_and_half)
    assert (answer.predicted_label, answer.box) == ("female", LEFT)


def test_without_a_detector_each_photo_is_one_face_crop(classifier: Classifier) -> None:
    (answer,) = PhotoPredictor(classifier, WholeImageDetector()).predict_image(grey_picture(0, 77))
    assert (answer.predicted_label, answer.box) == ("female", None)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("text.jpg", b"hello", "Expected a JPEG, PNG, BMP or WebP photo"),
        ("empty.jpg", b"", "got 0 bytes"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "truncated"),
    ],
)
def test_a_photo_that_cannot_be_read_is_a_result(
    classifier: Classifier, tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    result = PhotoPredictor(classifier, WholeImageDetector()).predict_file(tmp_path / name)
    assert (result.status, result.faces) == ("error", ())
    assert problem in result.problem
    assert name in result.problem


def test_a_missing_photo_is_a_result(classifier: Classifier, tmp_path: Path) -> None:
    result = PhotoPredictor(classifier, WholeImageDetector()).predict_file(tmp_path / "none.jpg")
    assert result.status == "error"
    assert "No such file" in result.problem


def test_drawn_people_are_found_and_answered() -> None:
    rng = np.random.default_rng(3)
    drawn = draw_face(draw_attributes("male", rng), size_px=240, rng=rng)
    answers = PhotoPredictor(Classifier(num_threads=1), CascadeDetector()).predict_image(drawn.image_rgb)
    assert len(answers) == 1
    assert answers[0].box is not None
    middle_x, middle_y = answers[0].box.center_xy
    true_x, true_y = drawn.box.center_xy
    # the cascade's square agrees with the drawn one to a quarter of its side
    assert max(abs(middle_x - true_x), abs(middle_y - true_y)) < 0.25 * drawn.box.side_px


def test_several_drawn_people_get_an_answer_each() -> None:
    rng = np.random.default_rng(5)
    faces = [draw_attributes(label, rng) for label in ("female", "male")]
    scene = draw_scene(faces, size_wh=(640, 480), rng=rng)
    answers = PhotoPredictor(Classifier(num_threads=1), CascadeDetector()).predict_image(scene.image_rgb)
    assert len(answers) == 2


# The event


def test_the_event_has_the_first_face_on_top_and_all_below(
    classifier: Classifier, half_and_half: UInt8Array, tmp_path: Path
) -> None:
    file = write_photo(tmp_path / "ü.png", half_and_half)
    event = PhotoPredictor(classifier, FixedDetector(RIGHT, LEFT)).predict_file(file).to_json()
    assert event["schema"] == PREDICTION_SCHEMA
    assert (event["path"], event["status"], event["problem"]) == (str(file), "ok", None)
    assert (event["predicted_label"], event["is_unsure"]) == ("male", False)
    faces = event["faces"]
    assert isinstance(faces, list)
    assert [face["predicted_label"] for face in faces] == ["male", "female"]
    assert faces[0]["box_xyxy"] == [60, 0, 100, 40]
    assert faces[0]["score"] == event["score"] == faces[0]["scores"]["male"]
    assert json.loads(json.dumps(event, allow_nan=False)) == event


def test_the_event_of_a_photo_without_an_answer_has_nulls_and_the_reason() -> None:
    event = PhotoResult(Path("a.jpg"), "no_face", problem="no face found").to_json()
    assert (event["predicted_label"], event["score"], event["is_unsure"], event["faces"]) == (None, None, None, [])
    assert event["problem"] == "no face found"


def test_a_whole_photo_has_no_box_in_its_event(classifier: Classifier, tmp_path: Path) -> None:
    file = write_photo(tmp_path / "a.png", grey_picture(255))
    faces = PhotoPredictor(classifier, WholeImageDetector()).predict_file(file).to_json()["faces"]
    assert isinstance(faces, list)
    assert faces[0]["box_xyxy"] is None


def test_an_unsure_answer_says_so(classifier: Classifier, tmp_path: Path) -> None:
    file = write_photo(tmp_path / "grey.png", grey_picture(128))
    assert PhotoPredictor(classifier, WholeImageDetector()).predict_file(file).to_json()["is_unsure"] is True
