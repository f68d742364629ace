"""Hidden faces: nothing of them is left, whatever the box, and the rest of the picture stays as it was."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from edgegender.data.drawn_attributes import FaceAttributes
from edgegender.data.drawn_faces import draw_scene
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import UsageError
from edgegender.images import read_image
from edgegender.runtime.blur import MAX_BLOCKS, blur_faces
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.detector_yunet import YuNetDetector

BOX = FaceBox(200, 150, 360, 310)  # with the margin: 152 to 408, 102 to 358


def noise(height: int = 480, width: int = 640) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def detail(region: UInt8Array) -> float:
    """Mean difference of neighbouring pixels: what blocks of averages do not have."""
    return float(np.abs(np.diff(region.astype(np.float64), axis=1)).mean())


def test_the_picture_itself_is_not_touched() -> None:
    picture = noise()
    before = picture.copy()
    assert not np.shares_memory(blur_faces(picture, [BOX]), picture)
    np.testing.assert_array_equal(picture, before)


def test_a_picture_that_may_not_be_written_to_is_no_fault() -> None:
    picture = noise()
    picture.flags.writeable = False
    assert (blur_faces(picture, [BOX]) != picture).any()


def test_what_lies_beyond_the_margin_stays_as_it_was() -> None:
    picture = noise()
    hidden = blur_faces(picture, [BOX])
    hidden[101:360, 151:410] = picture[101:360, 151:410]
    np.testing.assert_array_equal(hidden, picture)


def test_the_margin_is_hidden_with_the_face() -> None:
    picture = noise()
    hidden = blur_faces(picture, [BOX])
    # noise has a difference of 85 between neighbours; averages of 32 × 32 pixels are alike
    assert detail(picture[102:358, 152:408]) > 80
    assert detail(hidden[102:358, 152:408]) < 1


def test_no_more_than_eight_blocks_a_side_are_left() -> None:
    picture = noise()
    region = blur_faces(picture, [BOX])[102:358, 152:408, 0].astype(np.float64)
    # smoothing 8 × 8 blocks makes no new rows of its own: the rank stays, but for rounding to whole numbers
    assert 1 < np.linalg.matrix_rank(region, tol=40) <= MAX_BLOCKS


def test_two_faces_with_the_same_averages_become_the_same_picture() -> None:
    first, second = noise(), noise()
    second[150:310:2, 200:360] = first[151:311:2, 200:360]
    second[151:311:2, 200:360] = first[150:310:2, 200:360]  # rows that swap places: the face is another one
    assert (first != second).mean() > 0.05
    left, right = (blur_faces(picture, [BOX]).astype(np.int64) for picture in (first, second))
    assert np.abs(left - right).max() <= 12  # only rows at a border of two blocks change an average


def test_half_a_face_at_the_edge_is_no_clearer_than_a_whole_one() -> None:
    picture = noise()
    cut = blur_faces(picture, [FaceBox(-80, 150, 80, 310)])[102:358, :128, 0].astype(np.float64)
    assert np.linalg.matrix_rank(cut, tol=40) <= MAX_BLOCKS / 2


@pytest.mark.parametrize(
    "box",
    [
        FaceBox(-500, -500, 5000, 5000),
        FaceBox(-1e9, -1e9, 1e9, 1e9),
        FaceBox(630, 470, 700, 540),
        FaceBox(-3, -3, 4, 4),
        FaceBox(100, 100, 101, 400),
        FaceBox(0, 0, 640, 480),
    ],
)
def test_boxes_across_the_edge_are_hidden_too(box: FaceBox) -> None:
    picture = noise()
    hidden = blur_faces(picture, [box])
    assert hidden.shape == picture.shape
    left, top = max(0, int(box.x1)), max(0, int(box.y1))
    right, bottom = min(640, int(box.x2) + 1), min(480, int(box.y2) + 1)
    inside = hidden[top:bottom, left:right]
    assert detail(inside) < 20


@pytest.mark.parametrize("box", [FaceBox(900, 900, 950, 950), FaceBox(-90, -90, -60, -60), FaceBox(50, 50, 40, 40)])
def test_boxes_outside_hide_nothing(box: FaceBox) -> None:
    np.testing.assert_array_equal(blur_faces(noise(), [box]), noise())


def test_without_a_face_the_copy_is_the_picture() -> None:
    np.testing.assert_array_equal(blur_faces(noise(), []), noise())


@pytest.mark.parametrize("margin", [0.29, 0.0, -1.0, float("nan")])
def test_a_margin_that_leaves_hair_and_ears_is_refused(margin: float) -> None:
    with pytest.raises(UsageError, match=r"Expected a margin of at least 0\.3, got .* \(blur_faces\)"):
        blur_faces(noise(), [BOX], margin=margin)


def test_a_wider_margin_hides_more() -> None:
    changed = [(blur_faces(noise(), [BOX], margin=margin) != noise()).sum() for margin in (0.3, 0.6)]
    assert changed[1] > 1.5 * changed[0]


def test_a_detector_no_longer_finds_drawn_faces() -> None:
    people = [FaceAttributes(label="female", hair_length=0.8), FaceAttributes(label="male", hair_length=0.2)]
    scene = draw_scene(people, rng=np.random.default_rng(3))
    detector = CascadeDetector()
    found = detector.detect(scene.image_rgb)
    assert len(found) == 2
    assert detector.detect(blur_faces(scene.image_rgb, found)) == []


def test_a_detector_no_longer_finds_real_faces(scene_files: list[Path], yunet_file: Path) -> None:
    detector = YuNetDetector(yunet_file)
    before = after = 0
    for file in scene_files[:12]:
        picture = read_image(file)
        found = detector.detect(picture)
        before += len(found)
        after += len(detector.detect(blur_faces(picture, found)))
    assert before >= 10
    assert after == 0


def test_hiding_a_face_of_a_camera_takes_less_than_a_millisecond() -> None:
    picture = noise()
    copy_s, hide_s = [], []
    for _ in range(15):
        start = time.perf_counter()
        blur_faces(picture, [])
        middle = time.perf_counter()
        blur_faces(picture, [BOX])
        copy_s.append(middle - start)
        hide_s.append(time.perf_counter() - middle)
    assert min(hide_s) - min(copy_s) < 1e-3  # the best of many: other work on the machine is not ours
