"""The camera's newest result and picture, for all who watch: nobody who watches ever holds up the camera."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from edgegender.entities import UInt8Array
from edgegender.runtime.frames import FrameSource
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult
from edgegender.serving.pictures import EncodedPicture, PictureBoard, Viewer

_FPS_WINDOW_S = 3.0
_MAX_MOMENTS = 1024
_MAX_NOTICES = 64
_SMOOTHING = 0.1  # weight of the newest frame in the stage times that are shown


@dataclass
class StageTotal:
    """What one stage took so far.

    Args:
        seconds: In all.
        frames: Frames that needed it.
        recent_ms: Mean of late frames, milliseconds.
    """

    seconds: float = 0.0
    frames: int = 0
    recent_ms: float = 0.0

    def add(self, value_ms: float) -> None:
        """Takes one frame's time."""
        self.seconds += value_ms / 1000
        self.recent_ms += (value_ms - self.recent_ms) * (_SMOOTHING if self.frames else 1)
        self.frames += 1


class PreviewHub:
    """An output of the camera that keeps the newest result, and pictures only while somebody watches.

    The camera's thread leaves a reference and goes on. Another thread encodes the newest picture once for all
    viewers; those that are slow miss pictures, for none is ever queued.

    Args:
        source: Where the frames come from; its state and counters are shown.
        is_aggregate_only: Whether only counts may be shown: then there is never a picture.
        jpeg_quality: 1 to 100.
        max_width_px: Wider pictures are made smaller before they are encoded; ``None`` keeps them.
        silence_s: After so many seconds without a frame the camera is no longer healthy.
    """

    def __init__(
        self,
        *,
        source: FrameSource | None = None,
        is_aggregate_only: bool = False,
        jpeg_quality: int = 80,
        max_width_px: int | None = 1280,
        silence_s: float = 10.0,
    ) -> None:
        self.source = source
        self.is_aggregate_only = is_aggregate_only
        self._silence_s = silence_s
        self._lock = threading.Lock()
        self._board = PictureBoard(jpeg_quality=jpeg_quality, max_width_px=max_width_px, on_problem=self.report)
        self._result: FrameResult | None = None
        self._event: Event | None = None
        self._num_events = 0
        self._notices: deque[tuple[int, Event]] = deque(maxlen=_MAX_NOTICES)
        self._num_notices = 0
        self._moments_s: deque[float] = deque(maxlen=_MAX_MOMENTS)
        self._last_s = time.monotonic()
        self._stages: dict[str, StageTotal] = {}
        self._problems: list[str] = []

    # The camera's side: edgegender.runtime.outputs.CameraOutput

    @property
    def name(self) -> str:
        """What to call it."""
        return "preview"

    @property
    def wants_picture(self) -> bool:
        """Whether somebody watches who can take a picture now."""
        return not self.is_aggregate_only and self._board.is_wanted

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:
        """Takes one frame's result; see :meth:`edgegender.runtime.outputs.CameraOutput.write`."""
        now_s = time.monotonic()
        if self.is_aggregate_only and event.get("faces"):
            event = {**event, "faces": []}  # whoever forgot it before: no face leaves from here
        with self._lock:
            self._result, self._event = result, event
            self._num_events += 1
            self._last_s = now_s
            self._moments_s.append(now_s)
            for stage, value_ms in result.stage_ms.items():
                self._stages.setdefault(stage, StageTotal()).add(value_ms)
        if picture_rgb is not None and not self.is_aggregate_only:
            self._board.put(picture_rgb)

    def tell(self, event: Event) -> None:
        """Takes an event of another type."""
        with self._lock:
            self._num_notices += 1
            self._notices.append((self._num_notices, event))

    def report(self, problem: str) -> None:
        """Takes what went wrong with the preview, one line, for :meth:`take_problems`."""
        with self._lock:
            self._problems.append(problem)

    def take_problems(self) -> list[str]:
        """Returns what went wrong since the last call."""
        with self._lock:
            problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Ends the encoder and lets the viewers go. May be called twice."""
        self._board.close()

    # The viewers' side

    @property
    def is_closed(self) -> bool:
        """Whether nothing will come any more."""
        return self._board.is_closed

    @property
    def num_viewers(self) -> int:
        """How many watch the picture."""
        return self._board.num_viewers

    @property
    def picture(self) -> EncodedPicture | None:
        """The newest picture; ``None`` before the first one, and while nobody watches."""
        return self._board.picture

    def watching(self, wake: Callable[[], None]) -> AbstractContextManager[Viewer]:
        """Keeps pictures coming for a block; see :meth:`edgegender.serving.pictures.PictureBoard.watching`."""
        return self._board.watching(wake)

    def latest_event(self) -> tuple[int, Event | None]:
        """Returns the newest event of type ``faces`` and its number, which grows with each."""
        with self._lock:
            return self._num_events, self._event

    def notices_after(self, number: int) -> list[tuple[int, Event]]:
        """Returns the events of other types with a higher number, at most the last 64."""
        with self._lock:
            return [notice for notice in self._notices if notice[0] > number]

    @property
    def num_notices(self) -> int:
        """Number of the newest event of another type."""
        return self._num_notices

    # The state

    @property
    def fps(self) -> float:
        """Frames a second over the last three seconds."""
        with self._lock:
            first_s = time.monotonic() - _FPS_WINDOW_S
            moments_s = [moment_s for moment_s in self._moments_s if moment_s >= first_s]
        span_s = moments_s[-1] - moments_s[0] if moments_s else 0.0
        return (len(moments_s) - 1) / span_s if span_s > 0 else 0.0

    @property
    def people(self) -> dict[str, int]:
        """People seen since the start, by label."""
        with self._lock:
            return dict(self._result.people) if self._result else {}

    def stage_totals(self) -> dict[str, StageTotal]:
        """Returns what each stage took so far."""
        with self._lock:
            return {stage: StageTotal(**vars(total)) for stage, total in self._stages.items()}

    def find_trouble(self) -> str:
        """Returns why the camera is not healthy; empty where it is."""
        state = self.source.state if self.source is not None else "running"
        if state == "lost":
            return "the source is lost"
        if state == "finished":
            return "the source has finished"
        silent_s = time.monotonic() - self._last_s
        return f"no frame for {silent_s:.0f} s" if silent_s > self._silence_s else ""

    def state(self) -> dict[str, object]:
        """Returns source, speed and counts as a JSON object."""
        trouble = self.find_trouble()
        with self._lock:
            result, event = self._result, self._event
        return {
            "source": None if self.source is None else _describe_source(self.source),
            "is_healthy": not trouble,
            "trouble": trouble or None,
            "is_aggregate_only": self.is_aggregate_only,
            "fps": round(self.fps, 2),
            "stage_ms": {stage: round(total.recent_ms, 2) for stage, total in self.stage_totals().items()},
            "latency_ms": event.get("latency_ms") if event else None,
            "frame": result.index if result else None,
            "size_wh": list(result.size_wh) if result else None,
            "seconds_since_frame": round(time.monotonic() - self._last_s, 1) if result else None,
            "people": self.people,
            "viewers": self.num_viewers,
        }


def _describe_source(source: FrameSource) -> dict[str, object]:
    return {
        "name": source.name,
        "is_live": source.is_live,
        "state": source.state,
        "problem": source.problem or None,
        "counters": source.counters.to_json(),
    }
