"""Following boxes: they go where the faces go, grow as they grow, and failing is told."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.follow import BoxFollower
from tests.runtime.moving_scenes import MovingFrame, draw_people, film, straight

SIZES = [(640, 480), (320, 240), (1280, 720)]


def follow_through(frames: list[MovingFrame], *, shrink: float = 1.0) -> list[FaceBox]:
    """Follows all faces from the first frame to the last; none may be lost."""
    follower = BoxFollower()
    boxes = [box for box in frames[0].boxes if box is not None]
    for number, frame in enumerate(frames):
        image, width = frame.image_rgb, frame.image_rgb.shape[1]
        seen = image if shrink == 1.0 else np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink), np.uint8)
        follower.see(seen, width_px=width)
        if number:
            followed = follower.follow(boxes)
            assert None not in followed, number
            boxes = [box for box in followed if box is not None]
    return boxes


def require_close(found: FaceBox, true: FaceBox | None, *, share: float) -> None:
    assert true is not None
    error = np.abs(np.subtract(found.box_xyxy, true.box_xyxy)).max()
    assert error < share * true.side_px, (found, true)


@pytest.mark.parametrize("size_wh", SIZES, ids=str)
def test_boxes_follow_three_faces_that_move_and_grow(size_wh: tuple[int, int]) -> None:
    unit = size_wh[1] / 480
    lines = [((100, 170), (50, 30), 110, 0), ((320, 200), (-20, 30), 120, -15), ((520, 180), (20, -20), 95, 20)]
    paths = [
        straight((x * unit, y * unit), (vx * unit, vy * unit), side=side * unit, growth=growth * unit)
        for (x, y), (vx, vy), side, growth in lines
    ]
    frames = list(film(draw_people(paths), num_frames=30, size_wh=size_wh))
    for found, true in zip(follow_through(frames), frames[-1].boxes, strict=True):
        require_close(found, true, share=0.08)  # 29 steps, each off by a tenth of a pixel of the work picture


def test_a_smaller_copy_of_the_frame_will_do() -> None:
    frames = list(film(draw_people([straight((300, 200), (60, 0))]), num_frames=20))
    require_close(follow_through(frames, shrink=0.5)[0], frames[-1].boxes[0], share=0.08)


@pytest.mark.parametrize("jump_px", [10, 30, 50])
def test_a_large_step_is_found(jump_px: int) -> None:
    frames = list(film(draw_people([straight((250, 220), (jump_px * 30, 0), side=120)]), num_frames=2))
    require_close(follow_through(frames)[0], frames[-1].boxes[0], share=0.1)


def test_no_answer_is_wrong_when_the_camera_is_cut() -> None:
    """Another scene, another person elsewhere: nothing is to be followed."""
    lost = 0
    for seed in range(6):
        people = draw_people([straight((200, 200)), straight((450, 200))], seed=seed)
        first = next(film(people, num_frames=1, seed=seed))
        second = next(film(draw_people([straight((320, 330), side=90)], seed=seed + 50), num_frames=1, seed=seed + 50))
        follower = BoxFollower()
        follower.see(first.image_rgb)
        follower.see(second.image_rgb)
        lost += follower.follow([box for box in first.boxes if box is not None]).count(None)
    assert lost >= 11  # of 12: chance may agree with itself once


def test_a_face_that_leaves_the_picture_is_lost() -> None:
    frames = film(draw_people([straight((500, 200), (400, 0))]), num_frames=30)
    follower, box, is_lost = BoxFollower(), None, False
    for frame in frames:
        follower.see(frame.image_rgb)
        if box is None:
            box = frame.boxes[0]
            continue
        followed = follower.follow([box])[0]
        is_lost = is_lost or followed is None
        box = followed or box
    assert is_lost


def test_a_blank_picture_holds_nothing_to_follow() -> None:
    follower = BoxFollower()
    blank: UInt8Array = np.full((240, 320, 3), 128, np.uint8)
    follower.see(blank)
    follower.see(blank)
    assert follower.follow([FaceBox(100, 100, 160, 160)]) == [None]


def test_a_still_picture_leaves_a_box_where_it_is() -> None:
    frame = next(film(draw_people([straight((300, 200))]), num_frames=1))
    follower = BoxFollower()
    follower.see(frame.image_rgb)
    follower.see(frame.image_rgb)
    box = FaceBox(245, 145, 355, 255, 0.7)
    followed = follower.follow([box])[0]
    assert followed is not None
    assert followed.score == 0.7
    np.testing.assert_allclose(followed.box_xyxy, box.box_xyxy, atol=0.1)  # float32 of the flow


def test_without_an_earlier_frame_of_the_same_shape_every_box_is_lost() -> None:
    follower, box = BoxFollower(), FaceBox(50, 50, 90, 90)
    assert follower.follow([box]) == [None]
    assert follower.follow([]) == []
    for shape in [(240, 320, 3), (200, 320, 3)]:
        follower.see(np.zeros(shape, np.uint8))
        assert follower.follow([box, box]) == [None, None]


@pytest.mark.parametrize("corner", [(-500.0, -500.0), (310.0, 230.0), (-40.0, 100.0)])
@pytest.mark.parametrize("side", [1.0, 60.0, 1000.0])
def test_a_box_anywhere_gets_an_answer(corner: tuple[float, float], side: float) -> None:
    rng = np.random.default_rng(0)
    follower = BoxFollower()
    for image in itertools.repeat(rng.integers(0, 256, (240, 320, 3), dtype=np.uint8), 2):
        follower.see(image)
    x, y = corner
    assert len(follower.follow([FaceBox(x, y, x + side, y + side)])) == 1
