"""One result to many outputs: drawn once, hidden first, and nobody's failure is another's."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender.data.drawn_attributes import FaceAttributes
from edgegender.data.drawn_faces import draw_scene
from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import OutputError
from edgegender.outputs import fan_out
from edgegender.outputs.aggregate_only import AggregateOnly
from edgegender.outputs.fan_out import FanOut
from edgegender.runtime.detector_cascade import CascadeDetector
from edgegender.runtime.outputs import CameraOutput, Event
from edgegender.runtime.tracked import FrameResult
from tests.outputs.results import SECOND_NS, counts_event, end_event, frame_result, picture, source_event, tracked_face

BOX = FaceBox(40, 40, 80, 80)


class Recorder:
    """An output that remembers what it got, and fails when it is told to."""

    def __init__(self, name: str = "recorder", *, wants_picture: bool = False, error: Exception | None = None) -> None:
        self.name, self.wants_picture, self.error = name, wants_picture, error
        self.results: list[FrameResult] = []
        self.events: list[Event] = []
        self.pictures: list[UInt8Array | None] = []
        self.told: list[Event] = []
        self.problems: list[str] = []
        self.close_error: Exception | None = None
        self.num_closed = 0

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:
        if self.error:
            raise self.error
        self.results.append(result)
        self.events.append(event)
        self.pictures.append(picture_rgb)

    def tell(self, event: Event) -> None:
        if self.error:
            raise self.error
        self.told.append(event)

    def take_problems(self) -> list[str]:
        problems, self.problems = self.problems, []
        return problems

    def close(self) -> None:
        self.num_closed += 1
        if self.close_error:
            raise self.close_error


def noise() -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)


def test_the_recorder_is_an_output() -> None:
    output: CameraOutput = Recorder()
    assert output.name == "recorder"


# Hand-over


def test_every_output_gets_the_result_and_its_event() -> None:
    first, second = Recorder(), Recorder()
    FanOut([first, second]).write(frame_result(tracked_face(), index=4), picture())
    for output in (first, second):
        assert output.results[0].faces[0].track_id == 1
        assert (output.events[0]["type"], output.events[0]["frame"]) == ("faces", 4)


def test_a_picture_is_drawn_once_and_goes_to_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    draw = fan_out.annotate_tracked
    monkeypatch.setattr(fan_out, "annotate_tracked", lambda *given: drawn.append(1) or draw(*given))
    outputs = [Recorder(), Recorder(wants_picture=True), Recorder(wants_picture=True)]
    sender = FanOut(outputs)
    sender.write(frame_result(tracked_face(BOX)), picture())
    assert [output.pictures[0] is None for output in outputs] == [True, False, False]
    assert outputs[1].pictures[0] is outputs[2].pictures[0]
    assert len(drawn) == 1
    outputs[1].wants_picture = outputs[2].wants_picture = False
    sender.write(frame_result(tracked_face(BOX)), picture())
    assert len(drawn) == 1


def test_the_picture_shows_boxes_and_is_no_part_of_the_frame() -> None:
    output, frame = Recorder(wants_picture=True), picture(120)
    FanOut([output]).write(frame_result(tracked_face(BOX)), frame)
    shown = output.pictures[0]
    assert shown is not None
    assert (frame == 120).all()
    frame[:] = 0
    assert (shown[60, 40] != 120).any()
    assert (shown[100:, 120:] == 120).all()
    with pytest.raises(ValueError, match="read-only"):
        shown[0, 0] = 1


def test_other_events_go_to_all() -> None:
    outputs = [Recorder(), Recorder()]
    sender = FanOut(outputs)
    sender.tell(counts_event(female=1))
    sender.tell(end_event())
    assert [[event["type"] for event in output.told] for output in outputs] == [["counts", "end"]] * 2


def test_without_outputs_nothing_happens() -> None:
    sender = FanOut([])
    sender.write(frame_result(), picture())
    sender.tell(end_event())
    sender.close()
    assert sender.num_open == 0
    assert sender.take_problems() == []


# Failures


@pytest.mark.parametrize(
    "error",
    [
        OutputError("the disk is gone"),
        OSError(5, "Input/output error"),
        RuntimeError("no"),
        ValueError(),
        cv2.error("x"),
    ],
)
def test_an_output_that_raises_is_closed_and_told_to_the_others(error: Exception) -> None:
    broken, other = Recorder("broken", error=error), Recorder("other")
    sender = FanOut([broken, other])
    sender.write(frame_result(tracked_face()), picture())
    assert broken.num_closed == 1
    assert sender.num_open == 1
    assert len(other.results) == 1
    assert (other.told[0]["type"], other.told[0]["output"]) == ("output", "broken")
    assert str(other.told[0]["problem"]).startswith("closed: ")
    problem = sender.take_problems()
    assert len(problem) == 1
    assert problem[0] == f"broken: closed: {error or 'ValueError'}"
    sender.write(frame_result(), picture())
    assert len(other.results) == 2


def test_all_may_fail_at_once() -> None:
    sender = FanOut([Recorder(f"output {number}", error=RuntimeError(f"error {number}")) for number in range(3)])
    sender.tell(end_event())
    assert sender.num_open == 0
    assert {problem.split(":")[0] for problem in sender.take_problems()} == {"output 0", "output 1", "output 2"}


def test_a_reader_that_has_left_goes_through() -> None:
    gone = Recorder("lines", error=BrokenPipeError(32, "Broken pipe"))
    sender = FanOut([gone])
    with pytest.raises(BrokenPipeError):
        sender.write(frame_result(tracked_face()), picture())
    with pytest.raises(BrokenPipeError):
        sender.tell(end_event())
    gone.close_error = BrokenPipeError(32, "Broken pipe")
    sender.close()
    assert gone.num_closed == 1
    assert sender.take_problems() == []


def test_problems_of_an_output_are_events_for_the_others_only() -> None:
    troubled, other = Recorder("troubled"), Recorder("other")
    troubled.problems = ["the broker is away", "again"]
    sender = FanOut([troubled, other])
    sender.write(frame_result(), picture())
    assert troubled.told == []
    assert [event["problem"] for event in other.told] == ["the broker is away", "again"]
    assert sender.take_problems() == ["troubled: the broker is away", "troubled: again"]
    assert sender.take_problems() == []


def test_closing_closes_all_and_keeps_what_went_wrong() -> None:
    first, second, third = Recorder("first"), Recorder("second"), Recorder("third")
    first.close_error, second.problems = OSError(28, "No space left on device"), ["3 events were dropped"]
    sender = FanOut([first, second, third])
    sender.close()
    sender.close()
    assert [output.num_closed for output in (first, second, third)] == [1, 1, 1]
    assert sender.take_problems() == ["first: [Errno 28] No space left on device", "second: 3 events were dropped"]
    assert third.told == []


# Privacy


def test_faces_are_hidden_in_every_picture_when_asked() -> None:
    output, frame = Recorder(wants_picture=True), noise()
    FanOut([output], is_blurred=True).write(frame_result(tracked_face(BOX)), frame)
    shown = output.pictures[0]
    assert shown is not None
    inside = shown[45:75, 45:75].astype(int)
    assert np.abs(np.diff(inside, axis=1)).mean() < 10
    np.testing.assert_array_equal(shown[110:], frame[110:])


def test_a_face_that_is_only_followed_is_hidden_too() -> None:
    output = Recorder(wants_picture=True)
    FanOut([output], is_blurred=True).write(frame_result(tracked_face(BOX, is_detected=False)), noise())
    shown = output.pictures[0]
    assert shown is not None
    assert np.abs(np.diff(shown[45:75, 45:75].astype(int), axis=1)).mean() < 10


def test_the_place_of_a_lost_face_stays_hidden_for_a_second() -> None:
    output, frame, start_ns = Recorder(wants_picture=True), noise(), time.monotonic_ns()
    sender = FanOut([output], is_blurred=True)
    sender.write(frame_result(tracked_face(BOX), captured_ns=start_ns), frame)
    sender.write(frame_result(captured_ns=start_ns + SECOND_NS // 2), frame)
    sender.write(frame_result(captured_ns=start_ns + SECOND_NS + 1), frame)
    same = [bool((shown[45:75, 45:75] == frame[45:75, 45:75]).all()) for shown in output.pictures if shown is not None]
    assert same == [False, False, True]


def test_a_frame_that_no_detector_looked_at_is_no_picture_when_faces_are_to_be_hidden() -> None:
    output = Recorder(wants_picture=True)
    result = FrameResult(0, time.monotonic_ns(), (160, 120), (tracked_face(BOX),), {"track": 0.1})
    FanOut([output], is_blurred=True).write(result, noise())
    FanOut([output]).write(result, noise())
    assert [shown is None for shown in output.pictures] == [True, False]


def test_a_picture_that_is_all_face_is_no_picture_when_faces_are_to_be_hidden() -> None:
    output = Recorder(wants_picture=True)
    FanOut([output], is_blurred=True).write(frame_result(tracked_face(None)), noise())
    assert output.pictures == [None]


def test_a_detector_finds_nobody_in_a_picture_that_left() -> None:
    people = [FaceAttributes(label="female", hair_length=0.8), FaceAttributes(label="male", hair_length=0.2)]
    scene = draw_scene(people, rng=np.random.default_rng(3))
    detector = CascadeDetector()
    faces = [tracked_face(box, track_id=number) for number, box in enumerate(detector.detect(scene.image_rgb), 1)]
    assert len(faces) == 2
    output = Recorder(wants_picture=True)
    FanOut([output], is_blurred=True).write(frame_result(*faces, size_wh=(640, 480)), scene.image_rgb)
    assert output.pictures[0] is not None
    assert detector.detect(output.pictures[0]) == []


def test_aggregates_only_means_no_face_no_picture_and_no_count_by_frame() -> None:
    output = Recorder(wants_picture=True)
    sender = FanOut([output], is_aggregate_only=True)
    sender.write(frame_result(tracked_face(BOX), tracked_face(BOX, track_id=2), index=9), noise())
    for event in (counts_event(female=2), source_event(), end_event()):
        sender.tell(event)
    assert output.pictures == [None]
    assert (output.results[0].faces, output.results[0].stage_ms, output.results[0].people) == ((), {}, {})
    assert (output.events[0]["faces"], output.events[0]["people"], output.events[0]["frame"]) == ([], {}, 9)
    assert [event["type"] for event in output.told] == ["counts", "source", "end"]


def test_an_event_about_faces_never_passes_the_filter() -> None:
    output = Recorder("inner")
    output.problems = ["one"]
    wrapped = AggregateOnly(output)
    FanOut([wrapped]).tell({"type": "faces", "faces": [{"track_id": 1}]})
    wrapped.tell({"type": "of tomorrow"})
    assert output.told == []
    assert (wrapped.name, wrapped.wants_picture, wrapped.take_problems()) == ("inner", False, [])
    wrapped.close()
    assert output.num_closed == 1


def test_the_library_writes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sender = FanOut([Recorder(wants_picture=True)], is_blurred=True)
    sender.write(frame_result(tracked_face(BOX)), noise())
    sender.close()
    assert list(tmp_path.iterdir()) == []
