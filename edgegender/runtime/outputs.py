"""What every output of the camera promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from edgegender.entities import UInt8Array
from edgegender.runtime.tracked import FrameResult

Event = Mapping[str, object]


class CameraOutput(Protocol):
    """Where results go.

    Each is called from the camera's own thread and returns at once: what is slow, a broker that is away or a disk that
    is full, is dropped, counted and tried again behind it, and never holds up a frame.
    """

    @property
    def name(self) -> str:
        """What to call it, without a password."""

    @property
    def wants_picture(self) -> bool:
        """Whether the next frame's picture is needed; drawing one costs time, so it is asked before each frame."""

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:
        """Takes one frame's result.

        Args:
            result: The faces of the frame. Empty of faces under ``--aggregate-only``.
            event: The same as an event of type ``faces`` (see ``docs/camera.md``).
            picture_rgb: The annotated frame, with faces blurred where that was asked for, shape (height, width, 3),
                uint8; ``None`` where ``wants_picture`` was false, and under ``--aggregate-only``. Not to be altered;
                its pixels stay as they are.
        """

    def tell(self, event: Event) -> None:
        """Takes an event of another type: ``counts``, ``source``, ``output`` or ``end``."""

    def take_problems(self) -> list[str]:
        """Returns what went wrong since the last call, one line each, for a person to read."""

    def close(self) -> None:
        """Finishes what was begun, in at most two seconds. May be called twice."""
