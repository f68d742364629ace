"""One frame's result to all outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2

from edgegender.entities import FaceBox, UInt8Array
from edgegender.errors import EdgeGenderError
from edgegender.outputs.aggregate_only import AggregateOnly, without_people
from edgegender.runtime.annotate import annotate_tracked
from edgegender.runtime.blur import blur_faces
from edgegender.runtime.camera_events import faces_event, output_event
from edgegender.runtime.outputs import CameraOutput, Event
from edgegender.runtime.tracked import FrameResult

# What an output may raise without a fault of the camera: it is closed, and the others go on.
_FAILURES = (EdgeGenderError, OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError, cv2.error)
_STILL_HIDDEN_NS = 1_000_000_000


class FanOut:
    """Hands each frame's result to several outputs, and makes sure that a face leaves only as it may.

    The annotated picture is drawn once, and only for who wants it. Under ``is_blurred`` every face in it is hidden
    first: those that the tracker follows without having seen them, and for a second the place where one was lost. A
    frame that the detector did not look at (no ``detect`` in ``stage_ms``) is then sent as no picture at all, for
    somebody may have come into it.

    An output that raises is closed and told to the others as an ``output`` event; a :class:`BrokenPipeError` goes
    through, for who asked for the lines has left.

    Args:
        outputs: Where results go, told in this order.
        is_blurred: Hide faces in all pictures.
        is_aggregate_only: Let counts through and never a face; see :class:`AggregateOnly`.
    """

    def __init__(
        self, outputs: Sequence[CameraOutput], *, is_blurred: bool = False, is_aggregate_only: bool = False
    ) -> None:
        self._outputs = [AggregateOnly(output) if is_aggregate_only else output for output in outputs]
        self._is_blurred = is_blurred
        self._is_aggregate_only = is_aggregate_only
        self._problems: list[str] = []
        self._boxes_by_track: dict[int, tuple[int, FaceBox]] = {}  # when it was last seen, and where

    @property
    def num_open(self) -> int:
        """Outputs that still take results."""
        return len(self._outputs)

    def write(self, result: FrameResult, image_rgb: UInt8Array) -> None:
        """Sends the result of one frame.

        Args:
            result: What was found.
            image_rgb: The frame, shape (height, width, 3), uint8, RGB; not altered, not kept.

        Raises:
            BrokenPipeError: Who reads the lines has left.
        """
        if self._is_aggregate_only:
            result = without_people(result)
        event = faces_event(result)
        if self._is_blurred:
            self._remember(result)
        wanting = {id(output) for output in self._outputs if output.wants_picture}
        picture = self._draw(result, image_rgb) if wanting else None
        for output in list(self._outputs):
            own = picture if id(output) in wanting else None
            self._attempt(output, lambda output=output, own=own: output.write(result, event, own))  # type: ignore[misc]
        self._tell_problems()

    def tell(self, event: Event) -> None:
        """Sends an event of another type.

        Raises:
            BrokenPipeError: Who reads the lines has left.
        """
        self._tell(event)
        self._tell_problems()

    def take_problems(self) -> list[str]:
        """Returns what went wrong with outputs since the last call, one line each: ``NAME: problem``."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Closes all outputs, even if one fails. What goes wrong is left for :meth:`take_problems`.

        Nothing is sent any more, so that the event ``end`` stays the last one. May be called twice.
        """
        outputs, self._outputs = self._outputs, []
        for output in outputs:
            self._close(output)

    def _draw(self, result: FrameResult, image_rgb: UInt8Array) -> UInt8Array | None:
        if not self._is_blurred:
            picture = annotate_tracked(image_rgb, result.faces)
        elif "detect" not in result.stage_ms or any(face.prediction.box is None for face in result.faces):
            return None  # nobody looked, or the whole picture is a face
        else:
            hidden = blur_faces(image_rgb, [box for _, box in self._boxes_by_track.values()])
            picture = annotate_tracked(hidden, result.faces)
        picture.flags.writeable = False
        return picture

    def _remember(self, result: FrameResult) -> None:
        for face in result.faces:
            if face.prediction.box is not None:
                self._boxes_by_track[face.track_id] = (result.captured_ns, face.prediction.box)
        oldest_ns = result.captured_ns - _STILL_HIDDEN_NS
        self._boxes_by_track = {
            track: (seen_ns, box) for track, (seen_ns, box) in self._boxes_by_track.items() if seen_ns >= oldest_ns
        }

    def _tell(self, event: Event, *, besides: CameraOutput | None = None) -> None:
        for output in list(self._outputs):
            if output is not besides:
                self._attempt(output, lambda output=output: output.tell(event))  # type: ignore[misc]

    def _tell_problems(self) -> None:
        for output in list(self._outputs):
            for problem in output.take_problems():
                self._report(output, problem)

    def _report(self, output: CameraOutput, problem: str) -> None:
        self._problems.append(f"{output.name}: {problem}")
        self._tell(output_event(output.name, problem), besides=output)

    def _attempt(self, output: CameraOutput, action: Callable[[], None]) -> None:
        if output not in self._outputs:  # closed since, for it could not even be told of another's failure
            return
        try:
            action()
        except BrokenPipeError:
            raise
        except _FAILURES as error:
            self._outputs.remove(output)
            self._close(output)
            self._report(output, f"closed: {error or type(error).__name__}")

    def _close(self, output: CameraOutput) -> None:
        try:
            output.close()
        except _FAILURES as error:  # a reader that has left is no matter any more
            if not isinstance(error, BrokenPipeError):
                self._problems.append(f"{output.name}: {error or type(error).__name__}")
        self._problems += [f"{output.name}: {problem}" for problem in output.take_problems()]
