"""Results of frames as a pipeline would make them, for outputs under test."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edgegender.entities import FaceBox, FacePrediction, UInt8Array
from edgegender.runtime import camera_events
from edgegender.runtime.frames import Frame, SourceCounters
from edgegender.runtime.outputs import CameraOutput
from edgegender.runtime.tracked import FrameResult, TrackedFace

SECOND_NS = 1_000_000_000
BOX = FaceBox(20, 20, 60, 60)


def tracked_face(box: FaceBox | None = BOX, *, track_id: int = 1, is_detected: bool = True) -> TrackedFace:
    prediction = FacePrediction(box, "female", 0.97, {"female": 0.97, "male": 0.03}, is_unsure=False)
    return TrackedFace(track_id, prediction, is_fresh=True, is_detected=is_detected, num_classified=3, is_settled=False)


def frame_result(
    *faces: TrackedFace, index: int = 0, captured_ns: int | None = None, size_wh: tuple[int, int] = (160, 120)
) -> FrameResult:
    moment = time.monotonic_ns() if captured_ns is None else captured_ns
    return FrameResult(index, moment, size_wh, faces, {"detect": 5.0, "track": 0.1}, {"female": len(faces)})


def picture(value: int = 120, *, size_wh: tuple[int, int] = (160, 120)) -> UInt8Array:
    return np.full((size_wh[1], size_wh[0], 3), value, np.uint8)


def send(output: CameraOutput, result: FrameResult, picture_rgb: UInt8Array | None = None) -> None:
    output.write(result, camera_events.faces_event(result), picture_rgb)


def wait_until(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Returns when the condition is true; fails when that takes too long."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


class Source:
    """A source in any state; there is none that can be told to lose its camera."""

    name = "camera 0"
    is_live = True

    def __init__(self, *, state: str = "running", problem: str = "") -> None:
        self.state, self.problem = state, problem
        self.counters = SourceCounters()

    def read(self, timeout_s: float) -> Frame | None:
        raise NotImplementedError(timeout_s)

    def close(self) -> None:
        raise NotImplementedError


def counts_event(**people: int) -> dict[str, object]:
    return camera_events.counts_event(window_s=10, people=people, people_in_all=people)


def source_event(*, state: str = "running") -> dict[str, object]:
    return camera_events.source_event(Source(state=state))


def end_event() -> dict[str, object]:
    return camera_events.end_event(Source(), people={"female": 2}, reason="stopped")
