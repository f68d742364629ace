"""The camera's loop: what it tells, and that nothing but its end ends it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgegender.entities import UInt8Array
from edgegender.runtime.budget import budget_named
from edgegender.runtime.camera_loop import CameraLimits, CameraLoop, CameraSummary
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.frames import Frame, SourceCounters
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult
from edgegender.runtime.tracker import FaceTracker
from tests.pictures import noise
from tests.runtime.test_camera_pipeline import BOXES, GivenBoxes

SECOND_NS = 1_000_000_000
FRAME = noise(240, 320, seed=1)


class ScriptedSource:
    """A source that does what a test wrote down: each step changes it and returns a frame or none."""

    name = "script"

    def __init__(self, *steps: Callable[[ScriptedSource], Frame | None], is_live: bool = True) -> None:
        self.state, self.problem, self.is_live = "opening", "", is_live
        self.counters = SourceCounters()
        self._steps = list(steps)

    def read(self, timeout_s: float) -> Frame | None:
        del timeout_s
        if not self._steps:
            self.state = "finished"
            return None
        return self._steps.pop(0)(self)

    def close(self) -> None:
        """Has nothing to let go of."""


def frame(index: int = 0, *, second: float = 0.0) -> Callable[[ScriptedSource], Frame]:
    def step(source: ScriptedSource) -> Frame:
        source.counters.reconnects += source.state == "lost"
        source.state, source.problem = "running", ""
        source.counters.frames += 1
        return Frame(FRAME, index, SECOND_NS + round(second * SECOND_NS))

    return step


def lose(problem: str) -> Callable[[ScriptedSource], None]:
    def step(source: ScriptedSource) -> None:
        source.state, source.problem = "lost", problem
        source.counters.losses += 1

    return step


class Taken:
    """Keeps what it is told."""

    def __init__(self, *, leaves_after: int | None = None) -> None:
        self.results: list[FrameResult] = []
        self.events: list[Event] = []
        self._leaves_after = leaves_after

    def write(self, result: FrameResult, image_rgb: UInt8Array) -> None:
        assert image_rgb is FRAME
        self.results.append(result)
        if len(self.results) == self._leaves_after:
            raise BrokenPipeError

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def of_type(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(num_threads=1)


@pytest.fixture
def run(classifier: Classifier) -> Callable[..., tuple[CameraSummary, Taken]]:
    def start(
        source: ScriptedSource,
        *,
        limits: CameraLimits | None = None,
        window_s: float | None = None,
        taken: Taken | None = None,
        **options: Callable[..., object],
    ) -> tuple[CameraSummary, Taken]:
        taken = taken or Taken()
        tracker = FaceTracker(classifier.metadata, budget_named("full"), window_s=window_s)
        loop = CameraLoop(source, CameraPipeline(classifier, GivenBoxes(BOXES), tracker), taken, limits=limits)
        return loop.run(**options), taken  # type: ignore[arg-type]

    return start


Run = Callable[..., "tuple[CameraSummary, Taken]"]


def test_every_frame_is_worked_on_and_the_end_is_told_last(run: Run) -> None:
    summary, taken = run(ScriptedSource(frame(0), frame(1, second=0.1), frame(2, second=0.2)))
    assert (summary.reason, summary.num_frames) == ("finished", 3)
    assert [result.index for result in taken.results] == [0, 1, 2]
    assert taken.events[-1]["type"] == "end"
    assert taken.events[-1]["reason"] == "finished"
    assert taken.events[-1]["people"] == summary.people
    assert sum(summary.people.values()) == 2


def test_a_loss_and_a_return_are_told_and_do_not_end_the_loop(run: Run) -> None:
    source = ScriptedSource(frame(0), lose("gone"), lambda _: None, frame(1, second=0.5), lose("again"), frame(2))
    summary, taken = run(source)
    assert summary.num_frames == 3
    told = [(event["state"], event["problem"]) for event in taken.of_type("source")]
    expected = [("running", None), ("lost", "gone"), ("running", None), ("lost", "again"), ("running", None)]
    assert told == [*expected, ("finished", None)]
    assert taken.events[-1]["counters"] == {**SourceCounters().to_json(), "frames": 3, "losses": 2, "reconnects": 2}


def test_a_loss_between_two_frames_that_was_never_waited_for_is_told_too(run: Run) -> None:
    def blink(source: ScriptedSource) -> Frame:
        source.counters.losses += 1
        source.counters.reconnects += 1
        return frame(1)(source)

    _, taken = run(ScriptedSource(frame(0), blink))
    assert [event["counters"]["losses"] for event in taken.of_type("source")] == [0, 1, 1]  # type: ignore[index]


def test_it_stops_after_so_many_frames(run: Run) -> None:
    summary, taken = run(ScriptedSource(*[frame(index) for index in range(9)]), limits=CameraLimits(max_frames=4))
    assert (summary.reason, summary.num_frames, len(taken.results)) == ("max_frames", 4, 4)


def test_it_stops_after_so_long_also_without_a_frame(run: Run) -> None:
    endless = ScriptedSource(*[lambda _: None] * 10_000_000)
    summary, _ = run(endless, limits=CameraLimits(max_seconds=0.05))
    assert (summary.reason, summary.num_frames) == ("max_seconds", 0)
    assert summary.seconds >= 0.05


def test_it_stops_when_it_is_asked_to(run: Run) -> None:
    asked: list[int] = []
    summary, taken = run(
        ScriptedSource(*[frame(index) for index in range(9)]),
        on_round=asked.append,
        is_stop_asked=lambda: len(asked) > 3,
    )
    assert (summary.reason, summary.num_frames) == ("stopped", 3)
    assert taken.events[-1]["reason"] == "stopped"


def test_signs_of_life_go_on_while_the_source_is_away(run: Run) -> None:
    rounds: list[int] = []
    run(ScriptedSource(frame(0), lose("gone"), *[lambda _: None] * 5, frame(1)), on_round=rounds.append)
    assert rounds == [0, *[1] * 7, 2]


def test_windows_are_told_and_the_last_one_holds_what_is_left(run: Run) -> None:
    steps = [frame(index, second=index / 10) for index in range(8)]
    _, taken = run(ScriptedSource(*steps, is_live=False), window_s=0.3)
    counted = [sum(event["people"].values()) for event in taken.of_type("counts")]  # type: ignore[attr-defined]
    assert sum(counted) == 2
    assert len(counted) == 3
    assert taken.events[-1]["type"] == "end"


def test_windows_of_a_live_source_end_while_it_is_away(run: Run) -> None:
    import time

    start = time.monotonic_ns()

    def live(source: ScriptedSource) -> Frame:
        source.state = "running"
        return Frame(FRAME, 0, start)

    _, taken = run(
        ScriptedSource(live, lose("gone"), *[lambda _: time.sleep(0.001)] * 60),
        window_s=0.02,  # type: ignore[list-item]
    )
    assert len(taken.of_type("counts")) >= 2


def test_a_reader_that_leaves_ends_the_loop(run: Run) -> None:
    with pytest.raises(BrokenPipeError):
        run(ScriptedSource(frame(0), frame(1), frame(2)), taken=Taken(leaves_after=2))
