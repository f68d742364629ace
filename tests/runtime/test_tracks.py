"""Tracks: who is who by place and size, whatever the frame rate, and what is not a person does not live on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.entities import FaceBox
from edgegender.errors import UsageError
from edgegender.runtime.tracks import Track, Tracker

SIZE_WH = (640, 480)


def square(x: float, y: float = 200.0, side: float = 100.0) -> FaceBox:
    return FaceBox(x - side / 2, y - side / 2, x + side / 2, y + side / 2, 0.9)


def lose(boxes: Sequence[FaceBox]) -> list[FaceBox | None]:
    return [None] * len(boxes)


def keep(boxes: Sequence[FaceBox]) -> list[FaceBox | None]:
    return list(boxes)


class Clock:
    """A tracker fed with boxes at a frame rate."""

    def __init__(self, tracker: Tracker | None = None, *, fps: float = 30.0) -> None:
        self.tracker = tracker or Tracker()
        self.fps = fps
        self.moment_s = 10.0

    def step(
        self,
        *boxes: FaceBox,
        is_searched: bool = True,
        follow: Callable[[Sequence[FaceBox]], list[FaceBox | None]] = lose,
        pause_s: float | None = None,
    ) -> list[Track]:
        self.moment_s += 1 / self.fps if pause_s is None else pause_s
        found = list(boxes) if is_searched else None
        moment_ns = round(self.moment_s * 1e9)
        return self.tracker.update(found, moment_ns=moment_ns, size_wh=SIZE_WH, follow=follow)

    @property
    def ids(self) -> list[int]:
        return [track.track_id for track in self.tracker.tracks]

    @property
    def visible(self) -> list[int]:
        return [track.track_id for track in self.tracker.tracks if track.is_visible]


def nearest_id(clock: Clock, x: float) -> int:
    return min(clock.tracker.tracks, key=lambda track: abs(track.box.center_xy[0] - x)).track_id


# Numbers


def test_three_faces_keep_their_numbers_in_whatever_order_they_are_found() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    for step in range(40):
        places = [100 + 4 * step, 320, 560 - 4 * step + 120]
        order = rng.permutation(3)
        clock.step(*[square(places[index], 100 + 130 * index, 90) for index in order])
        if step == 0:
            first = [nearest_id(clock, place) for place in places]
        assert [nearest_id(clock, place) for place in places] == first
    assert sorted(clock.ids) == [1, 2, 3]


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
def test_faces_that_pass_each_other_with_distance_do_not_swap(fps: float) -> None:
    clock = Clock(fps=fps)
    num_frames = round(4 * fps)
    for step in range(num_frames):
        moved = 480 * step / num_frames
        clock.step(square(80 + moved, 150, 80), square(560 - moved, 270, 80))
    by_id = {track.track_id: track.box.center_xy for track in clock.tracker.tracks}
    assert sorted(by_id) == [1, 2]
    assert by_id[1] == pytest.approx((560, 150), abs=30)
    assert by_id[2] == pytest.approx((80, 270), abs=30)


def test_a_face_that_hides_another_leaves_both_their_numbers() -> None:
    """While they overlap, the one behind is not detected: it goes on as it went."""
    clock = Clock()
    for step in range(80):
        front, behind = 120 + 5 * step, 520 - 5 * step
        boxes = [square(front)] + ([] if abs(front - behind) < 70 else [square(behind)])
        clock.step(*boxes, follow=keep)
    assert sorted(clock.ids) == [1, 2]
    assert nearest_id(clock, 515) == 1
    assert nearest_id(clock, 125) == 2


def test_a_person_who_comes_back_has_a_new_number() -> None:
    clock = Clock()
    for _ in range(5):
        clock.step(square(200))
    ended = [track for _ in range(40) for track in clock.step()]
    assert [track.track_id for track in ended] == [1]
    clock.step(square(200))
    assert clock.ids == [2]


def test_a_face_of_half_the_size_is_another_one() -> None:
    clock = Clock()
    clock.step(square(200, side=120))
    clock.step(square(200, side=50))
    assert clock.ids == [2]


def test_everybody_is_new_after_a_cut() -> None:
    clock = Clock()
    for _ in range(5):
        clock.step(square(100), square(300))
    clock.step(square(200, 400), square(500, 400))
    assert {3, 4} <= set(clock.ids)
    assert clock.visible == [3, 4]


def test_everybody_is_new_after_a_long_time_without_a_frame() -> None:
    clock = Clock()
    clock.step(square(200))
    clock.step(square(200))
    ended = clock.step(square(200), pause_s=6.0)
    assert [track.track_id for track in ended] == [1]
    assert clock.ids == [2]


def test_one_frame_in_two_seconds_is_enough_to_know_who_stays() -> None:
    clock = Clock(fps=0.5)
    for _ in range(10):
        clock.step(square(200))
    assert clock.ids == [1]


# People and false detections


def test_a_face_is_a_person_when_it_was_detected_twice() -> None:
    clock = Clock()
    clock.step(square(200))
    assert clock.tracker.is_unclear
    assert not clock.tracker.tracks[0].is_confirmed
    clock.step(square(200))
    assert clock.tracker.tracks[0].is_confirmed
    assert not clock.tracker.is_unclear


def test_a_false_detection_ends_with_the_next_search_even_if_it_can_be_followed() -> None:
    clock = Clock()
    clock.step(square(400))
    assert clock.step(is_searched=False, follow=keep) == []
    assert clock.visible == [1]
    ended = clock.step(follow=keep)
    assert [(track.track_id, track.is_confirmed) for track in ended] == [(1, False)]


def test_one_detection_may_be_enough() -> None:
    clock = Clock(Tracker(confirm_after=1))
    clock.step(square(200))
    assert clock.tracker.tracks[0].is_confirmed


# Out of sight


@pytest.mark.parametrize("fps", [4.0, 15.0, 30.0, 60.0])
def test_a_face_is_given_up_after_a_time_not_a_number_of_frames(fps: float) -> None:
    clock = Clock(fps=fps)
    for _ in range(3):
        clock.step(square(300))
    seen_s = clock.moment_s
    while clock.ids:
        clock.step(follow=keep)
    assert 1.0 < clock.moment_s - seen_s <= 1.0 + 1.01 / fps


def test_a_face_at_the_edge_is_given_up_sooner() -> None:
    clock = Clock()
    for _ in range(3):
        clock.step(square(20))
    seen_s = clock.moment_s
    while clock.ids:
        clock.step(follow=keep)
    assert clock.moment_s - seen_s < 0.3


def test_a_box_that_was_followed_out_of_the_frame_ends_at_once() -> None:
    clock = Clock()
    for _ in range(3):
        clock.step(square(600))
    ended = clock.step(is_searched=False, follow=lambda _: [square(650)])
    assert len(ended) == 1


def test_a_face_that_a_search_missed_is_visible_as_long_as_it_can_be_followed() -> None:
    clock = Clock()
    clock.step(square(200))
    clock.step(square(200))
    clock.step(follow=lambda _: [square(203)])
    assert clock.visible == [1]
    assert clock.tracker.tracks[0].box.center_xy[0] == 203
    assert not clock.tracker.tracks[0].is_detected
    clock.step(follow=lose)
    assert clock.visible == []
    assert clock.ids == [1]
    clock.step(square(210))
    assert clock.visible == [1]


def test_a_face_lost_from_sight_stays_where_it_was_until_a_search_and_asks_for_one() -> None:
    clock = Clock()
    clock.step(square(200))
    clock.step(square(200))
    clock.step(is_searched=False, follow=lose)
    assert clock.visible == [1]
    assert clock.tracker.is_unclear
    clock.step(square(205))
    assert not clock.tracker.is_unclear


# Boxes


def test_jitter_of_the_detector_is_damped_and_its_own_box_is_kept_for_the_crop() -> None:
    clock, rng, shown, given_boxes = Clock(), np.random.default_rng(0), [], []
    for _ in range(200):
        box = square(300 + rng.normal(0, 3), 200 + rng.normal(0, 3), 100 + rng.normal(0, 3))
        clock.step(box)
        track = clock.tracker.tracks[0]
        assert track.detected_box is box
        shown.append(track.box.box_xyxy)
        given_boxes.append(box.box_xyxy)
    steps = [np.abs(np.diff(np.array(boxes), axis=0)).mean() for boxes in (shown, given_boxes)]
    assert steps[0] < 0.75 * steps[1]


@pytest.mark.parametrize("speed_px_s", [50, 300, 900])
@pytest.mark.parametrize("fps", [10, 30])
def test_a_box_does_not_lag_behind_a_moving_face(speed_px_s: float, fps: float) -> None:
    clock = Clock(fps=fps)
    for step in itertools.count():
        x = 60 + speed_px_s * step / fps
        if x > 580 or step > 60:
            break
        clock.step(square(x))
        if step > 8:
            assert clock.tracker.tracks[-1].box.center_xy[0] == pytest.approx(x, abs=3)
    assert clock.ids == [1]


# Whatever comes


boxes_of_frames = st.lists(
    st.tuples(
        st.lists(st.builds(square, st.floats(-50, 700), st.floats(-50, 500), st.floats(10, 300)), max_size=4),
        st.booleans(),
        st.sampled_from([keep, lose]),
        st.floats(0, 3),
    ),
    max_size=25,
)


@given(boxes_of_frames)
def test_numbers_are_unique_and_never_used_again(frames: list[tuple[list[FaceBox], bool, object, float]]) -> None:
    clock, over = Clock(), set[int]()
    for boxes, is_searched, follow, pause_s in frames:
        ended = clock.step(*boxes, is_searched=is_searched, follow=follow, pause_s=pause_s)  # type: ignore[arg-type]
        over |= {track.track_id for track in ended}
        assert len(set(clock.ids)) == len(clock.ids)
        assert not over & set(clock.ids)
        detected = [track.detected_box for track in clock.tracker.tracks if track.is_detected]
        assert len(detected) == (len(boxes) if is_searched else 0)  # each detection is one face


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lost_after_s": 0.0}, "got 0 s"),
        ({"lost_after_s": float("nan")}, "got nan s"),
        ({"confirm_after": 0}, "and 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=f"Expected a time above 0 s and at least 1 detection.*{said}"):
        Tracker(**options)  # type: ignore[arg-type]
