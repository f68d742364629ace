"""The annotated picture in a window."""

from __future__ import annotations

import contextlib
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.errors import OutputError
from edgegender.outputs import window_child
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult

_PROGRAM = Path(window_child.__file__)
_START_S = 15.0  # a board of one gigabyte reads Tk from a slow card
_GOODBYE_S = 1.0
_MAX_SCREEN_PART = 0.9


class Window:
    """Shows the newest picture in a window, from a process of its own.

    OpenCV's headless package has no windows, so Tk (of Python's standard library) draws this one. In a process of its
    own, it can neither hold up the camera nor take it along when the display goes away: a new picture is asked for
    when the last one stands on the screen, and a picture that is larger than the screen is made smaller.

    Escape, ``q`` or the window's own button closes it; see :attr:`is_closed`.

    Args:
        title: What stands above the picture.
        interpreter: The Python that draws; another one where this one lacks Tk.

    Raises:
        OutputError: There is no display, or no Tk.
    """

    name = "window"

    def __init__(self, *, title: str = "edgegender", interpreter: str = sys.executable) -> None:
        self._title = " ".join(title.split())
        self._problems: list[str] = []
        self._next: UInt8Array | None = None
        self._is_ready = False
        self._is_ending = False
        self._is_closed = False
        self._changed = threading.Condition()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - Python itself
                [interpreter, "-I", str(_PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for the camera, which then closes the window
            )
        except OSError as error:
            raise OutputError(f"Expected to start {interpreter}, got {error.strerror or error} (window).") from error
        self._max_wh = self._wait_for_start()
        self._thread = threading.Thread(target=self._run, name="window", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether somebody has closed the window: time for the camera to stop."""
        return self._is_closed

    @property
    def wants_picture(self) -> bool:
        """Whether the last picture stands on the screen."""
        return self._is_ready and not self._is_ending

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:  # noqa: ARG002
        """Takes the picture of one frame."""
        if picture_rgb is None or not self.wants_picture:
            return
        with self._changed:
            self._is_ready = False
            self._next = picture_rgb
            self._changed.notify_all()

    def tell(self, event: Event) -> None:
        """Events of other types are not shown."""

    def take_problems(self) -> list[str]:
        """Returns why the window went away, unless somebody closed it."""
        problems, self._problems = self._problems, []
        return problems

    def close(self) -> None:
        """Closes the window, in at most two seconds."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._thread.join(_GOODBYE_S)
        if self._thread.is_alive():  # the process does not take the picture that it asked for
            self._process.kill()
            self._thread.join(_GOODBYE_S / 2)
        self._end_process()

    def _wait_for_start(self) -> tuple[int, int]:
        """Returns the largest picture that fits the screen, width and height."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - a pipe was asked for
        is_answered, _, _ = select.select([output], [], [], _START_S)
        words = output.readline().split() if is_answered else []
        if len(words) == 3 and words[0] == b"ready":
            self._is_ready = True
            return int(int(words[1]) * _MAX_SCREEN_PART), int(int(words[2]) * _MAX_SCREEN_PART)
        if not is_answered:
            self._process.kill()
        code, reason = self._end_process()
        if code == window_child.NO_TKINTER:
            raise OutputError(
                "Expected Python with Tk to show a window, got none.",
                hint="sudo apt install python3-tk, or look at it in a browser: --preview.",
            )
        raise OutputError(
            f"Expected a display to show a window, got {reason or f'no answer in {_START_S:.0f} s'}.",
            hint="Run it on a desktop, or look at it in a browser: --preview.",
        )

    def _end_process(self) -> tuple[int, str]:
        """Lets the process end; returns its exit code and the last line of what it complained about."""
        process = self._process
        try:
            _, complaint = process.communicate(timeout=_GOODBYE_S / 2)
        except (subprocess.TimeoutExpired, ValueError):  # ValueError: its pipes are closed already
            process.kill()
            process.wait()
            complaint = b""
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        lines = complaint.decode(errors="replace").strip().splitlines() if complaint else []
        return process.returncode, lines[-1] if lines else ""

    def _run(self) -> None:
        """Hands pictures to the process, one at a time, until there is an end on either side."""
        output = self._process.stdout
        assert output is not None  # noqa: S101 - a pipe was asked for
        with contextlib.suppress(OSError):
            while not self._is_ending:
                with self._changed:
                    self._changed.wait_for(lambda: self._next is not None or self._is_ending, 0.1)
                    picture, self._next = self._next, None
                if picture is not None:
                    self._send(picture)
                    if not output.readline():
                        break
                    self._is_ready = not self._is_ending
                elif self._process.poll() is not None:
                    break
        self._is_ready = False
        if not self._is_ending:
            self._note_end()

    def _send(self, picture_rgb: UInt8Array) -> None:
        fitted = _fit(picture_rgb, self._max_wh)
        pipe = self._process.stdin
        assert pipe is not None  # noqa: S101 - a pipe was asked for
        pipe.write(f"{fitted.shape[1]} {fitted.shape[0]} {self._title}\n".encode())
        pipe.write(np.ascontiguousarray(fitted).data)
        pipe.flush()

    def _note_end(self) -> None:
        deadline = time.monotonic() + _GOODBYE_S
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        code = self._process.poll()
        if code == 0:
            self._is_closed = True
        else:
            self._problems.append(f"the window is gone: its process ended with {code}")


def _fit(picture_rgb: UInt8Array, max_wh: tuple[int, int]) -> UInt8Array:
    """Returns the picture, smaller where it is larger than that."""
    height, width = picture_rgb.shape[:2]
    scale = min(max_wh[0] / width, max_wh[1] / height)
    if scale >= 1:
        return picture_rgb
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
