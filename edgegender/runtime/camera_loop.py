"""The loop of a camera: frame after frame, until the source has no more or somebody wants it to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edgegender.entities import UInt8Array
from edgegender.runtime.camera_events import counts_event, end_event, source_event
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.counting import PeopleWindow
from edgegender.runtime.frames import FrameSource
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult

READ_TIMEOUT_S = 0.2  # so often a wish to stop is looked at, and a sign of life given, while no frame comes


class ResultTaker(Protocol):
    """Who takes the results, such as :class:`edgegender.outputs.fan_out.FanOut`."""

    def write(self, result: FrameResult, image_rgb: UInt8Array) -> None:
        """Takes the result of a frame and the frame itself, which is not to be kept."""

    def tell(self, event: Event) -> None:
        """Takes an event that is not about one frame."""


@dataclass(frozen=True)
class CameraLimits:
    """When to stop by itself.

    Args:
        max_frames: After so many frames; ``None``: never.
        max_seconds: After so long; ``None``: never.
    """

    max_frames: int | None = None
    max_seconds: float | None = None


@dataclass(frozen=True)
class CameraSummary:
    """How a camera run ended.

    Args:
        reason: ``finished``, ``stopped``, ``max_frames`` or ``max_seconds``.
        num_frames: Frames that were worked on.
        seconds: From the first read to the end.
        people: People seen, by label and ``unsure``.
    """

    reason: str
    num_frames: int
    seconds: float
    people: dict[str, int]


class CameraLoop:
    """Reads a source, works on its frames and hands on what is found.

    Whatever becomes of the source is an event of type ``source``: it never ends the loop, but for a source that is
    finished. The newest frame is worked on; a live source drops the others.

    Args:
        source: Read here only; closed by whoever made it.
        pipeline: What is done with a frame.
        outputs: Who takes the results.
        limits: When to stop by itself.
    """

    def __init__(
        self,
        source: FrameSource,
        pipeline: CameraPipeline,
        outputs: ResultTaker,
        *,
        limits: CameraLimits | None = None,
    ) -> None:
        self._source = source
        self._pipeline = pipeline
        self._outputs = outputs
        self._limits = limits or CameraLimits()
        self._told: tuple[object, ...] = ()
        self._num_frames = 0
        self._started_s = 0.0

    def run(
        self,
        *,
        is_stop_asked: Callable[[], bool] = lambda: False,
        on_round: Callable[[int], None] = lambda num_frames: None,  # noqa: ARG005
    ) -> CameraSummary:
        """Runs until the end, and tells it with an event of type ``end``.

        Args:
            is_stop_asked: Looked at before each frame and five times a second.
            on_round: Called as often with the number of frames so far: a sign of life.

        Raises:
            BrokenPipeError: Who reads the events has left.
        """
        self._started_s = time.monotonic()
        reason = ""
        while not reason:
            on_round(self._num_frames)
            reason = "stopped" if is_stop_asked() else self._round()
        self._tell_source()
        self._tell_window(self._pipeline.take_window(is_last=True))
        people = self._pipeline.people()
        self._outputs.tell(end_event(self._source, people=people, reason=reason))
        return CameraSummary(reason, self._num_frames, time.monotonic() - self._started_s, people)

    def _round(self) -> str:
        """Works on one frame, if one comes, and returns why to stop; empty to go on."""
        limits = self._limits
        if limits.max_seconds is not None and time.monotonic() - self._started_s >= limits.max_seconds:
            return "max_seconds"
        frame = self._source.read(READ_TIMEOUT_S)
        self._tell_source()
        if frame is None:
            if self._source.state == "finished":
                return "finished"
            if self._source.is_live:  # time goes on without frames, too
                self._tell_window(self._pipeline.take_window(time.monotonic_ns()))
            return ""
        self._outputs.write(self._pipeline.process(frame), frame.image_rgb)
        self._tell_window(self._pipeline.take_window())
        self._num_frames += 1
        return "max_frames" if self._num_frames == limits.max_frames else ""

    def _tell_source(self) -> None:
        source = self._source
        now = (source.state, source.problem, source.counters.losses, source.counters.reconnects)
        if now != self._told:
            self._told = now
            self._outputs.tell(source_event(source))

    def _tell_window(self, window: PeopleWindow | None) -> None:
        if window is not None:
            self._outputs.tell(
                counts_event(window_s=window.window_s, people=window.people, people_in_all=window.people_in_all)
            )
