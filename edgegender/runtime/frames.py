"""Frames, and what every source of frames promises."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

from edgegender.entities import UInt8Array


@dataclass(frozen=True)
class Frame:
    """One picture of a source.

    Args:
        image_rgb: Shape (height, width, 3), uint8, RGB. Whoever reads it must not write to it.
        index: Its number in the source, from 0; a gap means frames that were dropped.
        captured_ns: ``time.monotonic_ns()`` when it left the source, nanoseconds; monotonic time is one for all
            processes of a machine.
        detection_rgb: The same picture, smaller, where the camera makes one itself (lores stream); same proportions.
        media_ns: When it is shown, from the start of a video file that is read as fast as it goes, nanoseconds by the
            file's own clock; ``None`` where frames come in their own time.
    """

    image_rgb: UInt8Array
    index: int
    captured_ns: int
    detection_rgb: UInt8Array | None = None
    media_ns: int | None = None

    @property
    def moment_ns(self) -> int:
        """Time as the scene has it, nanoseconds: a file that is read quickly does not make people quicker."""
        return self.captured_ns if self.media_ns is None else self.media_ns


@dataclass
class SourceCounters:
    """What happened to a source since it was made.

    Args:
        frames: Frames that were handed out.
        drops: Frames that came while another was worked on, and were left for a newer one.
        stalls: Times that no frame came for longer than the watchdog allows.
        losses: Times that a source which had been there went away (stalls among them).
        reconnects: Times that it came back.
        damaged: Frames that could not be decoded, or were cut off.
    """

    frames: int = 0
    drops: int = 0
    stalls: int = 0
    losses: int = 0
    reconnects: int = 0
    damaged: int = 0

    def to_json(self) -> dict[str, int]:
        """Returns the counters by name."""
        return asdict(self)


class FrameSource(Protocol):
    """Where frames come from: a camera, a stream, a file, a folder, standard input.

    A source never raises for a camera or stream that goes away: it says so (``state``, ``problem``), counts it and
    tries again. It is read by one thread.
    """

    @property
    def name(self) -> str:
        """What to call it, without the password of an address."""

    @property
    def is_live(self) -> bool:
        """Whether frames come by themselves: the newest wins, and old ones are dropped. A file waits for its reader."""

    @property
    def counters(self) -> SourceCounters:
        """What happened so far."""

    @property
    def state(self) -> str:
        """``opening``, ``running``, ``lost`` (it is tried again), or ``finished`` (no frame will come any more)."""

    @property
    def problem(self) -> str:
        """Why it is lost, or why it finished early; empty where all is well."""

    def read(self, timeout_s: float) -> Frame | None:
        """Returns the newest frame that was not handed out yet (of a file: the next one), ``None`` where none comes.

        The frame's pixels stay as they are until the next call.

        Args:
            timeout_s: Longest wait, seconds.
        """

    def close(self) -> None:
        """Lets go of the source, in at most two seconds, whatever it does. May be called twice."""
