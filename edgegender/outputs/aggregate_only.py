"""A filter that lets counts through and never a face."""

from __future__ import annotations

from dataclasses import replace

from edgegender.entities import UInt8Array
from edgegender.runtime.camera_events import faces_event
from edgegender.runtime.outputs import CameraOutput, Event
from edgegender.runtime.tracked import FrameResult

_LET_THROUGH = frozenset({"counts", "source", "output", "end"})


def without_people(result: FrameResult) -> FrameResult:
    """Returns a frame's result with nothing about anybody: its number, its time and its size.

    How long the stages took goes too, for a face that was classified shows in it.
    """
    return replace(result, faces=(), stage_ms={}, people={})


class AggregateOnly:
    """An output behind which nobody can be seen: no boxes, scores or pictures, and no count by frame.

    It gets the events of type ``counts``, ``source``, ``output`` and ``end``. Of a frame it learns only that there was
    one, so that it can tell how fast the camera runs.

    Args:
        output: Where the rest goes.
    """

    wants_picture = False

    def __init__(self, output: CameraOutput) -> None:
        self._output = output

    @property
    def name(self) -> str:
        """The name of the output."""
        return self._output.name

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:  # noqa: ARG002
        """Hands on that there was a frame."""
        bare = without_people(result)
        self._output.write(bare, faces_event(bare), None)

    def tell(self, event: Event) -> None:
        """Hands on an event that is about no single person."""
        if event.get("type") in _LET_THROUGH:
            self._output.tell(event)

    def take_problems(self) -> list[str]:
        """Returns the output's problems."""
        return self._output.take_problems()

    def close(self) -> None:
        """Closes the output."""
        self._output.close()
