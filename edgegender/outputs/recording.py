"""The annotated picture as a video file."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.errors import OutputError, UsageError
from edgegender.files import make_folder, replacing
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult

DEFAULT_FPS = 15.0
DEFAULT_MIN_FREE_BYTES = 64_000_000
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_MAX_QUEUED = 2
_MIN_FPS, _MAX_FPS = 1.0, 120.0
_MAX_GAP_S = 10.0
_CLOSE_S = 1.9
_MAX_PATIENCE_S = 10.0
_MAX_REPEAT_S = 1.0  # an encoder that is slower than the rate would fall behind for ever with repeating frames


class _NothingRecordedError(Exception):
    """Not a frame came: no file is left."""


def _free_bytes(path: Path) -> int:
    figures = os.statvfs(path.parent)
    return figures.f_bavail * figures.f_frsize


class Recording:
    """Writes a video file, in a thread of its own.

    A video has a fixed rate, a camera has not: frames are repeated or left out by the times at which they were
    captured, so that a minute stays a minute. A gap of more than 10 seconds, in which the source was away, becomes one
    of 10 seconds. All frames have the size of the first one. A frame that finds two others waiting takes the place of
    the older one, which is counted. Where the encoder is too slow for the rate even so, the recording plays faster
    than life, which is told.

    The file has a temporary name until it is finished, beside its own. A ``.mp4`` that is cut off by a power failure
    cannot be read; a ``.avi`` can. When the disk is nearly full, the recording is finished and kept, and the camera
    goes on.

    Args:
        path: ``.mp4`` (MPEG-4) or ``.avi`` (motion JPEG, larger). Takes the place of a file of that name.
        fps: Frames per second of the file.
        is_every_frame: Write each frame once, whenever it came: for a source that is a file itself and is read faster
            or slower than it was filmed. Its rate is then that of the first two frames, and a frame waits for the
            encoder.
        min_free_bytes: The recording ends when the disk has less room than this.

    Raises:
        UsageError: The file's ending or the rate make no sense.
        OutputError: The file cannot be written, or the disk has too little room from the start.
    """

    def __init__(
        self,
        path: Path,
        *,
        fps: float = DEFAULT_FPS,
        is_every_frame: bool = False,
        min_free_bytes: int = DEFAULT_MIN_FREE_BYTES,
    ) -> None:
        if path.suffix.lower() not in _CODECS:
            raise UsageError(f"Expected a file that ends in .mp4 or .avi, got {path}.")
        if not _MIN_FPS <= fps <= _MAX_FPS:
            raise UsageError(f"Expected 1 to 120 frames per second, got {fps:g} ({path}).")
        self.name = str(path)
        self.num_dropped = 0
        self._path = path
        self._fps = fps
        self._is_every_frame = is_every_frame
        self._min_free_bytes = min_free_bytes
        make_folder(path.parent)
        free_bytes = _free_bytes(path)
        if free_bytes < min_free_bytes:
            raise OutputError(
                f"Expected {min_free_bytes / 1e6:.0f} MB of room, got {free_bytes / 1e6:.0f} MB ({path}).",
                hint="Free some room, or record to another disk.",
            )
        self._finish = ExitStack()
        self._temporary = self._finish.enter_context(replacing(path))
        self._first_ns: int | None = None
        self._next_slot = 0
        self._queue: deque[tuple[int, UInt8Array]] = deque()
        self._changed = threading.Condition()
        self._is_slow = False
        self._is_closed = False
        self._is_ending = False  # no frame is taken any more
        self._problems: list[str] = []
        # Not a daemon: a process that ends waits until the file is whole.
        self._thread = threading.Thread(target=self._run, name="recording", daemon=False)
        self._thread.start()

    @property
    def wants_picture(self) -> bool:
        """Whether a frame that is captured now would be another one in the file."""
        if self._is_ending:
            return False
        return self._is_every_frame or self._slot(time.monotonic_ns()) >= self._next_slot

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:  # noqa: ARG002
        """Takes the picture of one frame."""
        if picture_rgb is None or self._is_ending:
            return
        if self._is_every_frame:
            slot = self._next_slot
            self._learn_fps(result)
        else:
            if self._first_ns is None:
                self._first_ns = result.captured_ns
            slot = self._slot(result.captured_ns)
            if slot < self._next_slot:
                return
            surplus = slot - self._next_slot - round(_MAX_GAP_S * self._fps)
            if surplus > 0:
                self._first_ns += round(surplus * 1e9 / self._fps)
                slot -= surplus
        self._next_slot = slot + 1
        self._enqueue(slot, picture_rgb)

    def tell(self, event: Event) -> None:
        """Events of other types are no part of a video."""

    def take_problems(self) -> list[str]:
        """Returns why the recording ended early, or failed."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Finishes the file; waits for it for up to two seconds, and a process that ends then waits for the rest."""
        if self._is_closed:
            return
        self._is_closed = True
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join(_CLOSE_S)
        if self.num_dropped:
            self._problems.append(f"{self.num_dropped} frames were left out, for the encoder is slow")

    def _learn_fps(self, result: FrameResult) -> None:
        """Takes the rate from the times of the first two frames, before the second one is handed over."""
        if self._next_slot > 1 or result.moment_ns is None:
            return
        if self._next_slot == 0:
            self._first_ns = result.moment_ns
        elif self._first_ns is not None and result.moment_ns > self._first_ns:
            self._fps = min(max(1e9 / (result.moment_ns - self._first_ns), _MIN_FPS), _MAX_FPS)

    def _slot(self, moment_ns: int) -> int:
        """Returns the number of the frame in the file that is nearest to a moment."""
        if self._first_ns is None:
            return 0
        return int((moment_ns - self._first_ns) * self._fps / 1e9 + 0.5)

    def _enqueue(self, slot: int, picture_rgb: UInt8Array) -> None:
        with self._changed:
            if self._is_every_frame:
                self._changed.wait_for(lambda: len(self._queue) < _MAX_QUEUED or self._is_ending, _MAX_PATIENCE_S)
            if len(self._queue) == _MAX_QUEUED:
                self._queue.popleft()
                self.num_dropped += 1
            self._queue.append((slot, picture_rgb))
            self._changed.notify_all()

    def _dequeue(self) -> tuple[int, UInt8Array] | None:
        """Returns the next picture and its place in the file, ``None`` after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_ending)
            item = self._queue.popleft() if self._queue else None
            self._changed.notify_all()
            return item

    def _run(self) -> None:
        try:
            with self._finish:
                self._encode()
        except _NothingRecordedError:
            pass
        except (OutputError, OSError, cv2.error, MemoryError) as error:
            self._problems.append(f"the recording failed: {error or type(error).__name__}")
        self._is_ending = True

    def _encode(self) -> None:
        item = self._dequeue()
        if item is None:
            raise _NothingRecordedError
        waiting = [item]
        if self._is_every_frame and (second := self._dequeue()) is not None:  # it brings the rate
            waiting.append(second)
        height, width = item[1].shape[:2]
        codec = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._temporary), codec, self._fps, (width, height))
        try:
            if not writer.isOpened():
                raise OutputError(f"Expected OpenCV to write {self._path.suffix}, got no encoder for it.")
            self._encode_frames(writer, waiting, (width, height))
        finally:
            writer.release()

    def _encode_frames(
        self, writer: cv2.VideoWriter, waiting: list[tuple[int, UInt8Array]], size_wh: tuple[int, int]
    ) -> None:
        item: tuple[int, UInt8Array] | None = waiting[0]
        num_written, num_lost = 0, waiting.pop(0)[0]
        last_bgr: UInt8Array | None = None
        while item is not None:
            slot, picture_rgb = item[0] - num_lost, item[1]
            if (picture_rgb.shape[1], picture_rgb.shape[0]) != size_wh:
                picture_rgb = np.asarray(cv2.resize(picture_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
            picture_bgr = np.asarray(cv2.cvtColor(picture_rgb, cv2.COLOR_RGB2BGR), np.uint8)
            end = time.monotonic() + _MAX_REPEAT_S
            while last_bgr is not None and num_written < slot and time.monotonic() < end:
                if self._is_full():
                    return
                writer.write(last_bgr)
                num_written += 1
            if self._is_full():  # OpenCV does not say when a write fails, so the room is looked at before each
                return
            writer.write(picture_bgr)
            if num_written < slot:
                num_lost += slot - num_written
                self._tell_slow()
            num_written, last_bgr = num_written + 1, picture_bgr
            item = waiting.pop(0) if waiting else self._dequeue()

    def _tell_slow(self) -> None:
        if not self._is_slow:
            self._is_slow = True
            self._problems.append(
                f"the encoder is too slow for {self._fps:g} FPS: the recording plays faster than life"
            )

    def _is_full(self) -> bool:
        free_bytes = _free_bytes(self._path)
        if free_bytes >= self._min_free_bytes:
            return False
        self._is_ending = True
        self._problems.append(
            f"the recording was finished and kept: the disk has {free_bytes / 1e6:.0f} MB left, and less than "
            f"{self._min_free_bytes / 1e6:.0f} MB is not touched"
        )
        return True
