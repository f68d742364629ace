"""Events are what their schema says, and the schema says it strictly."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from edgegender.entities import FaceBox, FacePrediction
from edgegender.runtime import camera_events
from edgegender.runtime.frames import Frame, SourceCounters
from edgegender.runtime.tracked import FrameResult, TrackedFace

SCHEMA = json.loads((Path(camera_events.__file__).with_name("camera_event.schema.json")).read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


class Source:
    """A source in any state; there is none that can be told to lose its camera."""

    name = "rtsp://user@host/stream"
    is_live = True

    def __init__(self, *, state: str = "running", problem: str = "") -> None:
        self.state, self.problem = state, problem
        self.counters = SourceCounters(frames=10, drops=3, stalls=1, losses=2, reconnects=1, damaged=4)

    def read(self, timeout_s: float) -> Frame | None:
        raise NotImplementedError(timeout_s)

    def close(self) -> None:
        raise NotImplementedError


def face(box: FaceBox | None) -> TrackedFace:
    prediction = FacePrediction(box, "female", 0.987654321, {"female": 0.987654321, "male": 0.012345679}, False)
    return TrackedFace(7, prediction, is_fresh=True, is_detected=False, num_classified=4, is_settled=True)


def faces_event() -> dict[str, object]:
    faces = (face(FaceBox(-3.04, 10, 120.26, 133)), face(None))
    return camera_events.faces_event(
        FrameResult(5, time.monotonic_ns(), (640, 480), faces, {"detect": 11.23456, "track": 0.1}, {"female": 2})
    )


def counts_event() -> dict[str, object]:
    return camera_events.counts_event(window_s=60, people={"female": 1, "unsure": 1}, people_in_all={"female": 9})


def source_event() -> dict[str, object]:
    return camera_events.source_event(Source(state="lost", problem="no frame for 20 s"))


def output_event() -> dict[str, object]:
    return camera_events.output_event("mqtt://host", "the broker is away")


def end_event() -> dict[str, object]:
    return camera_events.end_event(Source(state="finished"), people={}, reason="max_frames")


BUILDERS = [faces_event, counts_event, source_event, output_event, end_event]


def test_the_schema_itself_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == camera_events.CAMERA_SCHEMA


@pytest.mark.parametrize("build", BUILDERS)
def test_each_event_is_what_the_schema_says(build: Callable[[], dict[str, object]]) -> None:
    event = build()
    VALIDATOR.validate(event)
    VALIDATOR.validate(json.loads(json.dumps(event, allow_nan=False)))


def test_a_frame_without_faces_is_an_event_too() -> None:
    VALIDATOR.validate(camera_events.faces_event(FrameResult(0, time.monotonic_ns(), (2, 1))))


@pytest.mark.parametrize("state", ["opening", "running", "lost", "finished"])
def test_each_state_of_a_source_has_its_event(state: str) -> None:
    VALIDATOR.validate(camera_events.source_event(Source(state=state)))


@pytest.mark.parametrize("reason", ["finished", "stopped", "max_frames", "max_seconds"])
def test_each_reason_to_end_has_its_event(reason: str) -> None:
    VALIDATOR.validate(camera_events.end_event(Source(), people={"male": 1}, reason=reason))


@pytest.mark.parametrize("build", BUILDERS)
def test_a_field_more_or_less_is_refused(build: Callable[[], dict[str, object]]) -> None:
    event = build()
    assert not VALIDATOR.is_valid({**event, "picture": "…"})
    for name in event:
        assert not VALIDATOR.is_valid({other: value for other, value in event.items() if other != name}), name


def test_a_field_more_in_a_face_is_refused() -> None:
    event = copy.deepcopy(faces_event())
    event["faces"][0]["identity"] = "somebody"  # type: ignore[index]
    assert not VALIDATOR.is_valid(event)


@pytest.mark.parametrize(
    ("build", "change"),
    [
        (faces_event, {"schema": "edgegender.camera/2"}),
        (faces_event, {"type": "face"}),
        (faces_event, {"time": "2025-01-01 00:00:00"}),
        (faces_event, {"frame": -1}),
        (faces_event, {"size_wh": [640]}),
        (faces_event, {"latency_ms": "fast"}),
        (faces_event, {"people": {"female": 0.5}}),
        (counts_event, {"window_s": -1}),
        (counts_event, {"people": {"female": -1}}),
        (source_event, {"state": "asleep"}),
        (source_event, {"problem": ""}),
        (source_event, {"counters": {"frames": 1}}),
        (output_event, {"problem": None}),
        (end_event, {"reason": "bored"}),
    ],
)
def test_a_wrong_value_is_refused(build: Callable[[], dict[str, object]], change: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid({**build(), **change})


def test_every_field_says_what_it_is() -> None:
    for name, definition in SCHEMA["$defs"].items():
        assert definition["description"], name
        for field, content in definition.get("properties", {}).items():
            assert "const" in content or "description" in content or "$ref" in content, (name, field)


# Values


def test_a_moment_of_monotonic_time_becomes_utc_to_the_millisecond() -> None:
    moment = camera_events.timestamp(time.monotonic_ns() - 3_600_000_000_000)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", moment)
    assert moment < camera_events.timestamp()


def test_a_box_is_rounded_to_tenths_of_a_pixel_and_scores_to_four_digits() -> None:
    first = faces_event()["faces"][0]  # type: ignore[index]
    assert first["box_xyxy"] == [-3.0, 10, 120.3, 133]
    assert first["scores"] == {"female": 0.9877, "male": 0.0123}
    assert faces_event()["stage_ms"] == {"detect": 11.235, "track": 0.1}


def test_a_source_without_a_problem_has_none() -> None:
    assert camera_events.source_event(Source())["problem"] is None
    assert source_event()["problem"] == "no frame for 20 s"
