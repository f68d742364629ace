"""Detectors: two of different kinds find the same squares, and no picture or file makes them fail in another way."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import images
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detector import (
    DETECTOR_NAMES,
    CascadeDetector,
    FaceDetector,
    WholeImageDetector,
    YuNetDetector,
    create_detector,
)
from tests import pictures


def overlap(first: FaceBox, second: FaceBox) -> float:
    """Returns the intersection over the union of two boxes."""
    width = max(0.0, min(first.x2, second.x2) - max(first.x1, second.x1))
    height = max(0.0, min(first.y2, second.y2) - max(first.y1, second.y1))
    shared = width * height
    areas = sum((box.x2 - box.x1) * (box.y2 - box.y1) for box in (first, second))
    return shared / (areas - shared)


@pytest.fixture(scope="module")
def scenes(scene_files: list[Path]) -> list[UInt8Array]:
    """Twelve real photos of 250 × 250 pixels with one prominent face each."""
    return [images.read_image(file) for file in random.Random(0).sample(scene_files, 12)]


@pytest.fixture(scope="module", params=["cascade", "yunet"])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    if request.param == "yunet":
        return YuNetDetector(request.getfixturevalue("yunet_file"))
    return CascadeDetector()


# On real photos


def test_yunet_and_the_cascade_mean_the_same_square(scene_files: list[Path], yunet_file: Path) -> None:
    cascade, yunet = CascadeDetector(), YuNetDetector(yunet_file)
    overlaps = []
    for file in scene_files[::2]:
        image = images.read_image(file)
        found = (cascade.detect(image), yunet.detect(image))
        assert all(found), file.name
        overlaps.append(overlap(found[0][0], found[1][0]))
    # measured over all 60: 0.68 at least, 0.84 on average; two squares of one side 10 % apart in x and y give 0.68
    assert min(overlaps) > 0.6
    assert np.mean(overlaps) > 0.8


def test_a_box_is_a_square_with_a_score(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    for image in scenes:
        for box in detector.detect(image):
            # float pixels: 1e-9 of a side is rounding
            assert box.x2 - box.x1 == pytest.approx(box.y2 - box.y1, rel=1e-9)
            assert 0 < box.score <= 1


def test_the_same_photo_gives_the_same_boxes(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    assert detector.detect(scenes[0]) == detector.detect(scenes[0])


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_a_box_grows_with_its_photo(detector: FaceDetector, scenes: list[UInt8Array], scale: float) -> None:
    same = 0
    for image in scenes:
        larger = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        (found, *_) = detector.detect(larger)
        back = FaceBox(*(value / scale for value in found.box_xyxy))
        same += overlap(back, detector.detect(image)[0]) > 0.75
    # eleven or twelve of twelve here: on more pixels the cascade takes another thing for the face in one photo
    assert same >= 10


def test_a_box_moves_with_its_photo(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    same = 0
    for image in scenes:
        wider = np.asarray(cv2.copyMakeBorder(image, 30, 0, 50, 0, cv2.BORDER_REPLICATE), np.uint8)
        (found, *_) = detector.detect(wider)
        back = FaceBox(found.x1 - 50, found.y1 - 30, found.x2 - 50, found.y2 - 30)
        same += overlap(back, detector.detect(image)[0]) > 0.75
    # eleven or twelve of twelve here: the border changes the scale that the detector works at
    assert same >= 10


def test_the_large_face_of_two_comes_first(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    large, small = scenes[0], np.asarray(cv2.resize(scenes[1], (125, 125), interpolation=cv2.INTER_AREA), np.uint8)
    beside = np.zeros((250, 375, 3), np.uint8)
    beside[:, :250] = large
    beside[60:185, 250:] = small
    found = detector.detect(beside)
    assert len(found) >= 2
    assert found[0].side_px > 1.3 * found[1].side_px
    assert overlap(found[0], detector.detect(large)[0]) > 0.65


def test_a_turned_face_is_found_where_it_is(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    matrix = cv2.getRotationMatrix2D((125, 125), 30, 1.0)
    found = 0
    for image in scenes:
        turned = cv2.warpAffine(image, matrix, (250, 250), borderMode=cv2.BORDER_REPLICATE)
        boxes = detector.detect(np.asarray(turned, np.uint8))
        expected = matrix @ np.array([*detector.detect(image)[0].center_xy, 1.0])
        # faces are about 110 pixels wide
        found += bool(boxes) and bool(np.linalg.norm(expected - boxes[0].center_xy) < 15)
    # ten of twelve by the cascade, all by YuNet; an upright cascade alone finds few faces at 30°
    assert found >= 9


def test_a_face_that_is_cut_tight_is_not_missed(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    """The edge that detection adds saves it: the cascade alone finds half of such pictures."""
    found = 0
    for image in scenes:
        box = detector.detect(image)[0]
        half = 0.35 * box.side_px
        left, top = (max(0, round(value - half)) for value in box.center_xy)
        right, bottom = (round(value + half) for value in box.center_xy)
        found += bool(detector.detect(np.ascontiguousarray(image[top:bottom, left:right])))
    # all of them here, on 20 others as well
    assert found >= 11


# On anything else


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3), (2000, 3), (700, 900)])
def test_a_picture_without_a_face_gives_no_box(detector: FaceDetector, shape: tuple[int, int]) -> None:
    assert detector.detect(np.full((*shape, 3), 127, np.uint8)) == []


def test_a_photo_is_not_changed_by_detection(detector: FaceDetector) -> None:
    image = pictures.gradient(100, 120)
    detector.detect(image)
    np.testing.assert_array_equal(image, pictures.gradient(100, 120))


def test_a_view_of_a_photo_gives_the_same_boxes_as_its_copy(detector: FaceDetector, scenes: list[UInt8Array]) -> None:
    view = scenes[0][:, ::-1]
    assert detector.detect(view) == detector.detect(np.ascontiguousarray(view))


# Choosing one


def test_each_name_makes_the_detector_that_carries_it(yunet_file: Path) -> None:
    assert [create_detector(name, yunet_file).name for name in DETECTOR_NAMES] == list(DETECTOR_NAMES)


def test_no_detector_means_that_the_photo_is_the_face() -> None:
    assert create_detector("none").detect(pictures.gradient(8, 8)) == []
    assert isinstance(create_detector("none"), WholeImageDetector)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Expected a detector of cascade, yunet, none, got 'retinaface'"):
        create_detector("retinaface")


def test_yunet_needs_its_file() -> None:
    with pytest.raises(UsageError, match="Expected the file of the YuNet network, got none") as caught:
        create_detector("yunet")
    assert caught.value.hint == "Add --detector-path yunet_n_640_640.onnx."


@pytest.mark.parametrize("name", ["none.onnx", "."], ids=["missing", "a folder"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"Expected a YuNet \.onnx file, got nothing at ") as caught:
        create_detector("yunet", tmp_path / name)
    assert caught.value.hint == "Give the detector's file with --detector-path."


@pytest.mark.parametrize("content", [b"", b"a text file", bytes(5000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "yunet.onnx"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"Expected a YuNet network, got another file \(.*yunet\.onnx\)") as caught:
        YuNetDetector(file)
    assert caught.value.hint == "Use yunet_n_640_640.onnx."


@pytest.mark.parametrize("name", ["MobileFaceNet.onnx", "face_detection_short_range.tflite"])
def test_another_network_is_refused(yunet_file: Path, name: str) -> None:
    other = yunet_file.parent / name
    if not other.is_file():
        pytest.skip(f"no {name} beside YuNet")
    with pytest.raises(UsageError, match="Expected a YuNet network, got another file"):
        YuNetDetector(other)


def test_a_cut_network_is_refused(tmp_path: Path, yunet_file: Path) -> None:
    cut = tmp_path / "yunet.onnx"
    cut.write_bytes(yunet_file.read_bytes()[:200_000])
    with pytest.raises(UsageError, match="Expected a YuNet network, got another file"):
        YuNetDetector(cut)


def test_the_network_may_lie_below_any_name(tmp_path: Path, yunet_file: Path) -> None:
    file = tmp_path / "síť 顔.onnx"
    shutil.copy(yunet_file, file)
    assert YuNetDetector(file).detect(pictures.gradient(64, 64)) == []


def test_a_higher_least_score_leaves_faces_out(yunet_file: Path, scenes: list[UInt8Array]) -> None:
    strict = YuNetDetector(yunet_file, min_score=0.99)
    assert all(not strict.detect(image) for image in scenes)
