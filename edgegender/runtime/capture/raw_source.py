"""Raw frames on standard input or from a FIFO: ``ffmpeg … -f rawvideo -pix_fmt rgb24 -`` and the like.

Both wait for their reader (the pipe fills up, and the writer waits): no frame is dropped. A FIFO outlives its writers:
one that goes away is a loss, and the next one starts at a frame's border. Standard input ends with its writer.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import time
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.runtime.capture.options import PIXEL_FORMATS, CaptureOptions
from edgegender.runtime.capture.source_status import SourceStatus
from edgegender.runtime.frames import Frame

_PIPE_BYTES = 1 << 20  # what Linux gives without being root; fewer and larger reads
_CONVERSIONS = {"bgr24": cv2.COLOR_BGR2RGB, "gray": cv2.COLOR_GRAY2RGB}


class RawSource(SourceStatus):
    """Frames of one size, one after the other, without anything between them.

    Args:
        name: What to call it.
        descriptor: Where they are read; it becomes this object's own where there is a ``path``.
        path: The FIFO, ``None`` for standard input.
        size_wh: Size of every frame, pixels.
        options: Pixel format and watchdog.
    """

    def __init__(
        self, name: str, descriptor: int, *, path: Path | None, size_wh: tuple[int, int], options: CaptureOptions
    ) -> None:
        super().__init__(name, is_live=False)
        width, height = size_wh
        self._path = path
        self._options = options
        channels = PIXEL_FORMATS[options.pixel_format]
        self._raw: UInt8Array = np.empty((height, width, 3) if channels == 3 else (height, width), np.uint8)
        self._image_rgb = self._raw if options.pixel_format == "rgb24" else np.empty((height, width, 3), np.uint8)
        self._bytes = memoryview(self._raw.reshape(-1).data)
        self._num_filled = 0
        self._is_known = False
        self._active_s = time.monotonic()
        self._use(descriptor)

    def _use(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        with contextlib.suppress(OSError):  # no pipe, or more than this user may have
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def read(self, timeout_s: float) -> Frame | None:
        """Returns the next frame, ``None`` where it is not whole by the deadline."""
        deadline_s = time.monotonic() + timeout_s
        while self._state != "finished":
            now_s = time.monotonic()
            if self._poll.poll(max(0.0, min(deadline_s, self._stall_s) - now_s) * 1000):
                if self._receive():
                    return self._hand_out()
            elif self._state == "running" and time.monotonic() >= self._stall_s:
                self._counters.stalls += 1
                self._lose(f"Expected frames, got none for {self._options.watchdog_s:g} s ({self._name}).")
            if time.monotonic() >= deadline_s:
                break
        return None

    @property
    def _stall_s(self) -> float:
        return self._active_s + self._options.watchdog_s if self._state == "running" else float("inf")

    def _receive(self) -> bool:
        """Reads what is there; returns whether the frame is whole."""
        try:
            num_bytes = os.readv(self._descriptor, [self._bytes[self._num_filled :]])
        except BlockingIOError:
            return False
        except OSError as error:
            self._end(f"Expected frames, got: {error.strerror or error} ({self._name}).")
            return False
        if not num_bytes:
            self._handle_end()
            return False
        self._active_s = time.monotonic()
        self._num_filled += num_bytes
        return self._num_filled == len(self._bytes)

    def _hand_out(self) -> Frame:
        self._num_filled = 0
        if self._image_rgb is not self._raw:
            cv2.cvtColor(self._raw, _CONVERSIONS[self._options.pixel_format], dst=self._image_rgb)
        if self._state == "lost" and self._is_known:
            self._counters.reconnects += 1
        self._is_known = True
        self._state, self._problem = "running", ""
        self._counters.frames += 1
        return Frame(self._image_rgb, self._counters.frames - 1, time.monotonic_ns())

    def _handle_end(self) -> None:
        num_missing = len(self._bytes) - self._num_filled if self._num_filled else 0
        self._counters.damaged += bool(num_missing)
        self._num_filled = 0
        cut_off = f"the last frame lacks {num_missing:,} of {len(self._bytes):,} bytes"
        if self._path is None:
            never = "" if self._is_known else f"Expected frames of {len(self._bytes):,} bytes, got none ({self._name})."
            self._end(f"Expected whole frames: {cut_off} ({self._name})." if num_missing else never)
            return
        self._reopen(self._path)
        if self._state == "running":
            self._lose(f"Expected a writer, got none{': ' + cut_off if num_missing else ''} ({self._name}).")

    def _reopen(self, path: Path) -> None:
        # Only a descriptor of before has seen a writer go and says "hung up" for ever. The new one is opened first: a
        # writer that comes just now must find a reader, or it dies of SIGPIPE.
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self._end(f"Expected a FIFO, got: {error.strerror or error} ({self._name}).")
            return
        os.close(self._descriptor)
        self._use(descriptor)

    def _lose(self, problem: str) -> None:
        self._counters.losses += 1
        self._state, self._problem = "lost", problem

    def _end(self, problem: str) -> None:
        self._state, self._problem = "finished", problem

    def close(self) -> None:
        """Lets go of the FIFO; standard input stays open. May be called twice."""
        self._state = "finished"
        if self._path is not None and self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1
