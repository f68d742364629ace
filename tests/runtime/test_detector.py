"""Detectors: two of different kinds find the same squares, and no picture or file makes them fail in another way."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import images
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detector import (
    DETECTOR_NAMES,
    FaceDetector,
    WholeImageDetector,
    create_detector,
)
from edgegender.runtime.detector_cascade import CascadeDetector
from tests import pictures


def overlap(first: FaceBox, second: FaceBox) -> float:
    """Returns the intersection over the union of two boxes."""
    width = max(0.0, min(first.x2, second.x2) - max(first.x1, second.x1))
    height = max(0.0, min(first.y2, second.y2) - max(first.y1, second.y1))
    shared = width * height
    areas = sum((box.x2 - box.x1) * (box.y2 - box.y1) for box in (first, second))
    return shared / (areas - shared)


@pytest.fixture(scope="module", params=["cascade", "yunet", "blazeface"])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    if request.param == "cascade":
        return CascadeDetector()
    return create_detector(request.param, request.getfixturevalue(f"{request.param}_file"))


# On real photos


@pytest.mark.parametrize(
    ("name", "mean"),
    # Measured over all 60: the cascade 0.68 at least, 0.84 on average; BlazeFace 0.69 and 0.88. Two squares of one side
    # that stand 10 % apart in x and in y have 0.68.
    [("cascade", 0.8), ("blazeface", 0.84)],
)
def test_yunet_and_another_detector_mean_the_same_square(
    scene_files: list[Path], yunet_file: Path, blazeface_file: Path, name: str, mean: float
) -> None:
    other, yunet = create_detector(name, blazeface_file), create_detector("yunet", yunet_file)
    overlaps = []
    for file in scene_files[::2]:
        image = images.read_image(file)
        found = (other.detect(image), yunet.detect(image))
        assert all(found), file.name
        overlaps.append(overlap(found[0][0], found[1][0]))
    assert min(overlaps) > 0.6
    assert np.mean(overlaps) > mean


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


def test_each_name_makes_the_detector_that_carries_it(yunet_file: Path, blazeface_file: Path) -> None:
    network_files = {"yunet": yunet_file, "blazeface": blazeface_file}
    assert [create_detector(name, network_files.get(name)).name for name in DETECTOR_NAMES] == list(DETECTOR_NAMES)


def test_no_detector_means_that_the_photo_is_the_face() -> None:
    assert create_detector("none").detect(pictures.gradient(8, 8)) == []
    assert isinstance(create_detector("none"), WholeImageDetector)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="Expected a detector of cascade, yunet, blazeface, none, got 'retinaface'"):
        create_detector("retinaface")


@pytest.mark.parametrize("name", ["yunet", "blazeface"])
def test_a_network_needs_its_file(name: str) -> None:
    with pytest.raises(UsageError, match=f"Expected the file of the {name} network, got none") as caught:
        create_detector(name)
    assert caught.value.hint == (f"Fetch it with: edgegender models pull {name}. Or give a file with --detector-path.")


@pytest.mark.parametrize("name", ["none.onnx", "."], ids=["missing", "a folder"])
@pytest.mark.parametrize("detector_name", ["yunet", "blazeface"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, detector_name: str, name: str) -> None:
    with pytest.raises(UsageError, match=r"Expected a (YuNet|BlazeFace) \.\w+ file, got nothing at ") as caught:
        create_detector(detector_name, tmp_path / name)
    assert "--detector-path" in caught.value.hint
