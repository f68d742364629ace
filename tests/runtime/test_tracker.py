"""The face tracker: people are counted once, answers grow steady, and a small budget counts the same people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgegender.entities import FaceBox, ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.errors import UsageError
from edgegender.runtime.budget import BUDGET_NAMES, Budget, budget_named
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.frames import Frame
from edgegender.runtime.smoothing import SETTLED_AFTER
from edgegender.runtime.tracked import TrackedFace
from edgegender.runtime.tracker import FaceTracker
from tests.runtime.moving_scenes import MovingFrame, as_frame, draw_people, film, only_while, straight

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(32, 1.3),
    architecture="brightness",
    scheme=QuantizationScheme.FULL_INTEGER,
    unsure_below=0.6,
)
FULL, BALANCED, LOW = (budget_named(name) for name in BUDGET_NAMES)
MALE, FEMALE, UNSURE = (0.1, 0.9), (0.9, 0.1), (0.45, 0.55)
BLANK = np.zeros((480, 640, 3), np.uint8)


def square(x: float, y: float = 200.0, side: float = 100.0) -> FaceBox:
    return FaceBox(x - side / 2, y - side / 2, x + side / 2, y + side / 2, 0.9)


@dataclass
class Run:
    """A tracker at work: what it asked for and what it said, frame by frame."""

    tracker: FaceTracker
    searched: list[int] = field(default_factory=list)
    classified: list[tuple[int, int]] = field(default_factory=list)
    faces: list[tuple[TrackedFace, ...]] = field(default_factory=list)

    def frame(self, frame: Frame, boxes: Sequence[FaceBox], scores: Sequence[float] = MALE) -> tuple[TrackedFace, ...]:
        """One frame with these faces in it, all of which answer alike."""
        is_wanted = self.tracker.wants_detection(frame)
        if is_wanted:
            self.searched.append(frame.index)
        self.tracker.observe(frame, boxes if is_wanted else None)
        for track_id, _ in self.tracker.to_classify():
            self.tracker.answer(track_id, scores)
            self.classified.append((frame.index, track_id))
        self.faces.append(self.tracker.faces())
        return self.faces[-1]

    def still(self, num_frames: int, *boxes: FaceBox, scores: Sequence[float] = MALE, fps: float = 30.0) -> None:
        """Frames of a picture in which points can be followed and nothing moves."""
        picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        start = len(self.faces)
        for index in range(start, start + num_frames):
            self.frame(Frame(picture, index, round(1e9 * (10 + index / fps))), boxes, scores)


def run_of(budget: Budget = FULL, **options: object) -> Run:
    return Run(FaceTracker(METADATA, budget, **options))  # type: ignore[arg-type]


# When to search


def test_the_first_frame_is_searched_then_every_nth_when_it_is_clear_who_is_there() -> None:
    run = run_of(LOW)
    run.still(35, square(300))
    assert run.searched == [0, 3, 13, 23, 33]  # a face that was seen once is looked for again soon


def test_full_searches_each_frame_and_classifies_each_face() -> None:
    run = run_of(FULL)
    run.still(20, square(150), square(450))
    assert run.searched == list(range(20))
    assert len(run.classified) == 40


def test_while_nobody_is_there_it_searches_twice_as_often() -> None:
    run = run_of(LOW)
    run.still(16)
    assert run.searched == [0, 5, 10, 15]


def test_a_face_that_cannot_be_followed_is_searched_for_soon() -> None:
    run = run_of(LOW)
    run.still(14, square(300))
    for index in range(14, 18):
        run.frame(Frame(BLANK, index, round(1e9 * (10 + index / 30))), [square(300)])
    assert run.searched[-2:] == [13, 16]


# Answers


def test_the_answer_of_a_face_is_averaged_settles_and_is_then_asked_for_once_a_second() -> None:
    run = run_of(BALANCED)
    run.still(200, square(300))
    asked = [index for index, _ in run.classified]
    waits = np.diff(asked)
    assert list(waits[: SETTLED_AFTER - 1]) == [1] + [3] * (SETTLED_AFTER - 2)  # a new face is searched for twice
    assert set(waits[SETTLED_AFTER - 1 :]) == {30}
    last = run.faces[-1][0]
    assert last.is_settled
    assert not last.is_fresh
    assert last.num_classified == len(asked)
    assert run.faces[asked[-1]][0].is_fresh


def test_an_unsure_face_is_asked_for_whenever_it_is_detected_and_counts_as_unsure() -> None:
    run = run_of(BALANCED)
    run.still(60, square(300), scores=UNSURE)
    assert [index for index, _ in run.classified] == run.searched
    assert run.tracker.people() == {"female": 0, "male": 0, "unsure": 1}


def test_the_crop_is_the_detectors_own_box() -> None:
    run, rng = run_of(FULL), np.random.default_rng(0)
    for index in range(10):
        box = square(300 + rng.normal(0, 3))
        frame = Frame(BLANK, index, 10**9 + index * 33_000_000)
        run.tracker.observe(frame, [box])
        assert run.tracker.to_classify() == [(1, box)]


def test_new_faces_come_first_then_unsettled_ones_then_settled_ones() -> None:
    budget = Budget("test", detect_every=1, classify_settled_every_s=0.0, max_classified_per_frame=1)
    run = run_of(budget)
    run.still(SETTLED_AFTER, square(100))
    run.still(1 + SETTLED_AFTER - 1, square(100), square(300))
    assert [track_id for _, track_id in run.classified[-SETTLED_AFTER:]] == [2] * SETTLED_AFTER
    run.still(1, square(100), square(300))
    assert run.classified[-1][1] == 1  # it has waited longest
    run.still(1, square(100), square(300), square(500))
    assert run.classified[-1][1] == 3


def test_no_more_faces_are_classified_in_a_frame_than_allowed_and_the_rest_comes_next() -> None:
    run = run_of(LOW)
    boxes = [square(60 + 100 * column, y, 60) for column in range(6) for y in (120, 320)]
    run.still(3, *boxes)
    assert [index for index, _ in run.classified] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({track_id for _, track_id in run.classified}) == 12


def test_a_face_without_an_answer_is_shown_as_unsure_so_that_it_can_be_blurred() -> None:
    run = run_of(Budget("test", detect_every=1, classify_settled_every_s=0.0, max_classified_per_frame=1))
    run.still(1, square(200, side=120), square(450))
    unanswered = [face for face in run.faces[0] if not face.num_classified]
    assert len(unanswered) == 1
    assert unanswered[0].prediction.is_unsure
    assert unanswered[0].prediction.scores == {"female": 0.5, "male": 0.5}


def test_an_answer_for_nobody_is_refused() -> None:
    run = run_of()
    run.still(1, square(200))
    with pytest.raises(UsageError, match="Expected the number of a face that is there, got 7"):
        run.tracker.answer(7, MALE)
    with pytest.raises(UsageError, match="Expected 2 scores"):
        run.tracker.answer(1, (1.0,))


# Faces and people


def test_faces_are_told_the_largest_first() -> None:
    run = run_of()
    run.still(2, square(100, side=60), square(300, side=140), square(520, side=90))
    sides = [face.prediction.box.side_px for face in run.faces[-1] if face.prediction.box]
    assert sides == sorted(sides, reverse=True)


def test_people_are_counted_not_frames_and_a_false_detection_is_nobody() -> None:
    run = run_of()
    run.still(10, square(150))
    run.still(1, square(150), square(450))
    run.still(30, square(150))
    assert run.tracker.people() == {"female": 0, "male": 1, "unsure": 0}


def test_the_answer_of_a_person_may_change_until_they_leave() -> None:
    run = run_of()
    run.still(5, square(150), scores=FEMALE)
    assert run.tracker.people()["female"] == 1
    run.still(40, square(150), scores=MALE)
    run.still(45)
    assert run.tracker.people() == {"female": 0, "male": 1, "unsure": 0}
    assert run.faces[-1] == ()


def test_windows_count_the_people_of_their_time() -> None:
    run = run_of(window_s=1.0)
    run.still(1)
    assert run.tracker.take_window() is None
    run.still(30, square(150))
    first = run.tracker.take_window()
    assert first is not None
    assert (first.window_s, first.people["male"]) == (1.0, 1)
    run.still(15, square(150), square(450))
    last = run.tracker.take_window(is_last=True)
    assert last is not None
    assert (last.people["male"], last.people_in_all["male"]) == (1, 2)


def test_a_video_files_time_goes_with_its_frames() -> None:
    run = run_of(BALANCED)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for index in range(100):  # read ten times as fast as it plays
        shown_ns = round(index / 30 * 1e9)
        run.frame(Frame(picture, index, 10**9 + index * 3_300_000, media_ns=shown_ns), [square(300)])
    asked = [index for index, _ in run.classified]
    assert set(np.diff(asked)[SETTLED_AFTER - 1 :]) == {30}


def test_unrelated_photos_each_have_faces_of_their_own_that_count_at_once() -> None:
    run = run_of(LOW, is_tracking=False)
    run.still(4, square(150), square(450))
    assert run.searched == [0, 1, 2, 3]
    assert [face.track_id for faces in run.faces for face in faces] == list(range(1, 9))
    assert all(face.is_fresh and face.num_classified == 1 for faces in run.faces for face in faces)
    assert sum(run.tracker.people().values()) == 8


def test_another_size_of_the_frames_ends_all_tracks_and_is_searched() -> None:
    run = run_of(LOW)
    run.still(5, square(300))
    small = Frame(np.zeros((240, 320, 3), np.uint8), 5, round(1e9 * 10.2))
    faces = run.frame(small, [square(150, 100, 50)])
    assert run.searched[-1] == 5
    assert [face.track_id for face in faces] == [2]


def test_a_smaller_picture_of_the_camera_is_followed_in_its_place() -> None:
    run = run_of(LOW)
    scene = list(film(draw_people([straight((300, 200), (60, 0))]), num_frames=12))
    for index, moving in enumerate(scene):
        frame = as_frame(moving, index)
        lores = np.ascontiguousarray(frame.image_rgb[::2, ::2])
        box = moving.boxes[0]
        assert box is not None
        faces = run.frame(Frame(np.zeros_like(frame.image_rgb), index, frame.captured_ns, lores), [box])
        found = faces[0].prediction.box
        assert found is not None
        assert found.center_xy == pytest.approx(box.center_xy, abs=4)
    assert run.searched == [0, 3]


# With the real detector


@pytest.fixture(scope="module")
def scene() -> list[tuple[MovingFrame, list[FaceBox]]]:
    """Three people who move, one of whom leaves and comes back, four seconds long; with what the cascade finds."""
    stays = straight((50, 95), (9, 4), side=58)
    comes_close = straight((165, 110), (-4, 4), side=52, growth=4)
    comes_back = only_while(straight((275, 85), (-6, 3), side=55), (0.0, 1.2), (2.7, 9.0))
    people = draw_people([stays, comes_close, comes_back])
    detector = CascadeDetector()
    return [
        (moving, detector.detect(moving.image_rgb))
        for moving in film(people, num_frames=60, fps=15, size_wh=(320, 240))
    ]


def watch(scene: list[tuple[MovingFrame, list[FaceBox]]], budget: Budget) -> Run:
    run = run_of(budget)
    for index, (moving, boxes) in enumerate(scene):
        run.frame(as_frame(moving, index), boxes)
    return run


@pytest.mark.parametrize("name", BUDGET_NAMES)
def test_each_budget_counts_the_same_people(scene: list[tuple[MovingFrame, list[FaceBox]]], name: str) -> None:
    run = watch(scene, budget_named(name))
    assert sum(run.tracker.people().values()) == 4  # who comes back is somebody new
    assert len(run.faces[-1]) == 3


def test_low_searches_and_classifies_a_quarter_of_full_or_less(scene: list[tuple[MovingFrame, list[FaceBox]]]) -> None:
    full, low = watch(scene, FULL), watch(scene, LOW)
    assert 4 * len(low.searched) <= len(full.searched)
    assert 4 * len(low.classified) <= len(full.classified)


@pytest.mark.parametrize("name", BUDGET_NAMES)
def test_boxes_stand_on_the_faces_in_each_frame(scene: list[tuple[MovingFrame, list[FaceBox]]], name: str) -> None:
    run = watch(scene, budget_named(name))
    for (moving, _), faces in zip(scene[:18], run.faces, strict=False):  # before anybody leaves
        assert len(faces) == 3
        for true in moving.boxes:
            assert true is not None
            boxes = [face.prediction.box for face in faces if face.prediction.box]
            nearest = min(np.abs(np.subtract(box.center_xy, true.center_xy)).max() for box in boxes)
            assert nearest < 0.15 * true.side_px  # the cascade itself is off by up to a tenth on drawings
