"""Events as lines of JSON (NDJSON), for standard output."""

from __future__ import annotations

import json
import os
import select
import time
from typing import IO, cast

from edgegender.entities import UInt8Array
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult

_MAX_PIECE_BYTES = 4096  # PIPE_BUF of Linux: what fits is written whole; a pipe that can be written to has that room
_MAX_PENDING_BYTES = 1 << 16
_CLOSE_S = 1.5


class EventLines:
    """Writes each event as one line of JSON.

    A reader that has left raises :class:`BrokenPipeError`: whoever asked for the lines is gone. A reader that is slow
    does not hold up the camera: an event of a frame that finds the pipe full is dropped whole and counted; the other
    events wait in memory, up to 64 kB of them. A line that was begun is finished before another one begins, so that a
    reader never sees half of one.

    Args:
        stream: Text (UTF-8) or bytes; stays open. A real file is written past its buffer, which is flushed before.
        is_every_frame: Write frames without a face too.
        patience_s: Longest time that a full pipe may hold up a frame, seconds. 0 for a live source; for a file, which
            waits for whoever reads it, long enough for a reader that works. Used up once, it begins anew when the
            reader has taken something.
        name: What to call it.
    """

    wants_picture = False

    def __init__(
        self, stream: IO[str] | IO[bytes], *, is_every_frame: bool = False, patience_s: float = 0.0, name: str = "lines"
    ) -> None:
        self.name = name
        self.num_dropped = 0
        self._stream: IO[str] | IO[bytes] = stream
        self._is_every_frame = is_every_frame
        self._patience_s = patience_s
        self._pending = bytearray()
        self._num_missing = 0  # dropped since the reader last kept up
        self._is_slow = False
        self._problems: list[str] = []
        self._is_closed = False
        stream.flush()
        self._descriptor = _find_descriptor(stream)

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:  # noqa: ARG002
        """Writes the event of a frame, where there is a face in it.

        Raises:
            BrokenPipeError: The reader has left.
        """
        if result.faces or self._is_every_frame:
            self._put(event, can_wait=False)

    def tell(self, event: Event) -> None:
        """Writes an event of another type.

        Raises:
            BrokenPipeError: The reader has left.
        """
        self._put(event, can_wait=True)

    def take_problems(self) -> list[str]:
        """Returns when the reader began to be too slow, and how much it missed in all when it kept up again."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Waits up to 1.5 seconds for the reader to take what is left.

        Raises:
            BrokenPipeError: The reader has left.
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._flush(_CLOSE_S)
        if self._num_missing or self._pending:
            self._problems.append(f"{self._num_missing} events were dropped, for the reader is slow")

    def _put(self, event: Event, *, can_wait: bool) -> None:
        if self._is_closed:
            return
        # A file name that is no UTF-8 becomes \udc80: valid in JSON.
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        content = line.encode("utf-8", "backslashreplace")
        if self._descriptor is None:
            self._write_to_stream(line, content)
            return
        self._flush(0.0 if self._is_slow else self._patience_s)
        if self._pending and not (can_wait and len(self._pending) + len(content) <= _MAX_PENDING_BYTES):
            self._drop()
            return
        self._pending += content
        self._flush(0.0 if self._is_slow else self._patience_s)
        if not self._pending:
            self._recover()

    def _write_to_stream(self, line: str, content: bytes) -> None:
        if hasattr(self._stream, "encoding"):
            cast("IO[str]", self._stream).write(line)
        else:
            cast("IO[bytes]", self._stream).write(content)
        self._stream.flush()

    def _drop(self) -> None:
        self.num_dropped += 1
        self._num_missing += 1
        if not self._is_slow:
            self._is_slow = True
            self._problems.append("the reader is slow: events are dropped until it keeps up")

    def _recover(self) -> None:
        if self._is_slow:
            self._problems.append(f"the reader keeps up again; {self._num_missing} events were dropped")
        self._is_slow, self._num_missing = False, 0

    def _flush(self, timeout_s: float) -> None:
        """Writes what is pending, as far as the reader takes it in time."""
        if self._descriptor is None or not self._pending:
            return
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        end = time.monotonic() + timeout_s
        while self._pending:
            left_ms = max(0.0, end - time.monotonic()) * 1000
            if not poll.poll(left_ms):
                return
            try:
                written = os.write(self._descriptor, self._pending[:_MAX_PIECE_BYTES])
            except BlockingIOError:  # somebody else has made it non-blocking, and was quicker
                return
            del self._pending[:written]


def _find_descriptor(stream: IO[str] | IO[bytes]) -> int | None:
    """Returns the file's number; ``None`` for a stream in memory."""
    try:
        return stream.fileno()
    except OSError:  # io.UnsupportedOperation
        return None
