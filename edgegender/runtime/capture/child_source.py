"""A source that is read by a child process: watched, killed and started again, without a thread and without waiting.

Everything happens inside of ``read``: it starts the child when its time has come, takes its messages, looks at the
watchdog, and returns by its deadline.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.runtime.capture.child_process import CaptureChild, ChildEnd
from edgegender.runtime.capture.masking import mask
from edgegender.runtime.capture.options import CaptureOptions
from edgegender.runtime.capture.shared_frames import SharedFrame
from edgegender.runtime.capture.source_status import SourceStatus
from edgegender.runtime.frames import Frame


def _nothing_known() -> str:
    """Returns no explanation."""
    return ""


@dataclass(frozen=True)
class Launch:
    """What to read, and by which child.

    Args:
        address: What the user named: a device, an address, a path.
        name: What to call it, without a password.
        noun: What is expected there, such as ``a stream``.
        command: Program and arguments of the child.
        settings: What the child is told.
        is_live: Whether frames come by themselves. A source that is not live is asked for each frame.
        is_retried: Whether it is opened again after a loss.
        find_fault: Says why it need not be tried, empty where nothing is known; called before every attempt.
        explain: Says why it could not be opened, empty where nothing is known; called after an attempt.
    """

    address: str
    name: str
    noun: str
    command: tuple[str, ...]
    settings: Mapping[str, object]
    is_live: bool
    is_retried: bool
    find_fault: Callable[[], str] = _nothing_known
    explain: Callable[[], str] = _nothing_known


class ChildSource(SourceStatus):
    """A camera, a stream or a video file, read by a child process.

    Args:
        launch: What to read.
        options: How it is watched and tried again.
    """

    def __init__(self, launch: Launch, options: CaptureOptions) -> None:
        super().__init__(launch.name, is_live=launch.is_live)
        self._launch = launch
        self._options = options
        self._child: CaptureChild | None = None
        self._leftovers: list[subprocess.Popen[bytes]] = []
        self._first_index = 0  # of the frames of this child
        self._last_sequence = -1  # of the frame of this child that was handed out last
        self._started_s = self._active_s = self._next_start_s = time.monotonic()
        self._delay_s = options.retry_first_s
        self._up_since_s: float | None = None
        self._is_known = False  # it was there once
        self._small_rgb: UInt8Array | None = None
        self._start()  # at once: the child loads its libraries while the caller loads a model

    @property
    def child_pid(self) -> int | None:
        """Process number of the child, ``None`` between two attempts."""
        return None if self._child is None else self._child.pid

    def read(self, timeout_s: float) -> Frame | None:
        """Returns the newest frame that was not handed out yet (of a file: the next one); ``None`` by the deadline."""
        deadline_s = time.monotonic() + timeout_s
        if self._child is not None:
            self._child.release()
        while self._state != "finished":
            self._supervise()
            frame = None if self._child is None else self._child.take()
            if frame is not None:
                return self._hand_out(frame)
            self._judge()
            if time.monotonic() >= deadline_s:
                break
            self._wait_until(deadline_s)
        return None

    def close(self) -> None:
        """Ends the child, in at most two seconds."""
        self._state = "finished"
        if self._child is not None:
            self._end_child(grace_s=1.0)
        self._leftovers = [process for process in self._leftovers if process.poll() is None]

    def _wait_until(self, deadline_s: float) -> None:
        now_s = time.monotonic()
        if self._child is None:
            time.sleep(max(0.0, min(deadline_s, self._next_start_s) - now_s))
        elif self._child.end is None:
            self._child.wait(min(deadline_s, self._active_s + self._limit_s) - now_s)

    @property
    def _limit_s(self) -> float:
        """How long no frame may come before the child is given up."""
        return self._options.open_timeout_s if self._up_since_s is None else self._options.watchdog_s

    def _supervise(self) -> None:
        child = self._child
        if child is None:
            if time.monotonic() >= self._next_start_s:
                self._start()
            return
        damaged_before = child.num_damaged
        if child.drain():
            self._active_s = time.monotonic()
        self._counters.damaged += child.num_damaged - damaged_before

    def _judge(self) -> None:
        """Looks at a child that has no frame: did it end, or stall?"""
        child = self._child
        if child is None:
            return
        if child.end is not None:
            self._handle_end(child, child.end)
        elif time.monotonic() - self._active_s >= self._limit_s:
            self._lose(f"no frame for {self._limit_s:g} s", is_stall=self._up_since_s is not None)

    def _start(self) -> None:
        self._leftovers = [process for process in self._leftovers if process.poll() is None]
        self._started_s = self._active_s = time.monotonic()
        self._first_index += self._last_sequence + 1
        self._last_sequence = -1
        fault = self._launch.find_fault()
        if fault:
            self._lose(fault)
            return
        try:
            self._child = CaptureChild(self._launch.command, self._launch.settings)
        except OSError as error:
            self._lose(f"{self._launch.command[0]} cannot be started: {error.strerror or error}")
            return
        if not self.is_live:
            self._child.ask()

    def _note_that_it_is_there(self) -> None:
        if self._is_known:
            self._counters.reconnects += 1
        self._is_known = True
        self._up_since_s = time.monotonic()
        self._state, self._problem = "running", ""

    def _hand_out(self, shared: SharedFrame) -> Frame:
        if self._up_since_s is None:
            self._note_that_it_is_there()
        self._counters.frames += 1
        self._counters.drops += shared.sequence - self._last_sequence - 1
        self._last_sequence = shared.sequence
        captured_ns = shared.captured_ns
        if self._child is not None and not self.is_live:
            self._child.ask()  # it decodes the next one while this one is worked on
            self._active_s = time.monotonic()
            captured_ns = time.monotonic_ns()  # a file's frame leaves its source when it is asked for
        index = self._first_index + shared.sequence
        return Frame(shared.image_rgb, index, captured_ns, self._to_small_rgb(shared), shared.media_ns)

    def _to_small_rgb(self, shared: SharedFrame) -> UInt8Array | None:
        small = shared.small
        if small is None or small.ndim == 3:
            return small
        rows, row_bytes = small.shape
        if self._small_rgb is None or self._small_rgb.shape[:2] != (rows * 2 // 3, row_bytes):
            self._small_rgb = np.empty((rows * 2 // 3, row_bytes, 3), np.uint8)
        cv2.cvtColor(small, cv2.COLOR_YUV2RGB_I420, dst=self._small_rgb)
        return self._small_rgb[:, : shared.small_size_wh[0]]

    def _handle_end(self, child: CaptureChild, end: ChildEnd) -> None:
        if end.reason != "finished":
            explained = self._launch.explain() if end.reason == "cannot_open" else ""
            # what the libraries said is shown only where there are no better words
            self._lose(end.detail or explained or child.tail, is_final=end.is_final)
            return
        num_damaged, tail = child.num_damaged, child.tail
        self._end_child(grace_s=1.0)
        self._state = "finished"
        if num_damaged:
            self._problem = self._masked(f"Expected a whole file, got at least {num_damaged} damaged frames ({tail}).")

    def _lose(self, reason: str, *, is_stall: bool = False, is_final: bool = False) -> None:
        launch, options = self._launch, self._options
        now_s = time.monotonic()
        self._end_child(grace_s=0)
        if self._up_since_s is not None:
            self._counters.losses += 1
            self._counters.stalls += is_stall
            reason = reason or "its frames ended"
            if now_s - self._up_since_s > options.retry_max_s:  # one that comes for a moment only is no good source
                self._delay_s = options.retry_first_s
        self._up_since_s = None
        where = "" if launch.name in reason else f" ({launch.name})"
        reason = reason or "it does not open"
        self._problem = self._masked(f"Expected {launch.noun}, got none: {reason}{where}.")
        is_given_up = is_final or not launch.is_retried or not (self._is_known or options.keep_trying)
        self._state = "finished" if is_given_up else "lost"
        # The pause counts from the attempt's start: one that hung until its timeout has waited long enough.
        self._next_start_s = max(now_s + options.retry_first_s, self._started_s + self._delay_s)
        self._delay_s = min(2 * self._delay_s, options.retry_max_s)

    def _masked(self, text: str) -> str:
        return mask(text, self._launch.address)

    def _end_child(self, *, grace_s: float) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if self.is_live:
            self._counters.drops += max(0, child.newest_sequence - self._last_sequence)
        self._last_sequence = max(self._last_sequence, child.newest_sequence)
        process = child.stop(grace_s=grace_s)
        if process is not None:
            self._leftovers.append(process)
