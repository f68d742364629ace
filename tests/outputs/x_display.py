"""A display that nobody looks at: what stands on it, and the button that closes a window."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from edgegender.entities import UInt8Array

SCREEN_WH = (800, 600)
_CLIENT_MESSAGE = 33  # X.h


@contextlib.contextmanager
def x_display() -> Iterator[str]:
    """Runs Xvfb; gives the display's name, such as ``:99``."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no display: apt-get install xvfb")
    reader, writer = os.pipe()
    screen = f"{SCREEN_WH[0]}x{SCREEN_WH[1]}x24"
    with subprocess.Popen(
        ["Xvfb", "-displayfd", str(writer), "-screen", "0", screen, "-nolisten", "tcp"],
        pass_fds=(writer,),
        stderr=subprocess.DEVNULL,
    ) as server:
        os.close(writer)
        with os.fdopen(reader, "rb") as numbers:
            number = numbers.readline().decode().strip()
        try:
            yield f":{number}"
        finally:
            server.kill()


def screenshot(display: str) -> UInt8Array:
    """Returns what stands on a display, RGB."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no screenshots: apt-get install ffmpeg")
    width, height = SCREEN_WH
    grab = ["ffmpeg", "-v", "error", "-f", "x11grab", "-draw_mouse", "0", "-video_size", f"{width}x{height}"]
    image = ["-i", display, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    done = subprocess.run([*grab, *image], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


class _ClientMessage(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("serial", ctypes.c_ulong),
        ("send_event", ctypes.c_int),
        ("display", ctypes.c_void_p),
        ("window", ctypes.c_ulong),
        ("message_type", ctypes.c_ulong),
        ("format", ctypes.c_int),
        ("data", ctypes.c_long * 5),
        ("padding", ctypes.c_long * 24),  # an XEvent has room for 24 longs
    )


def press_close_button(display: str) -> None:
    """Does to all windows what a window manager does when its close button is pressed (ICCCM 4.2.8.1)."""
    x11 = ctypes.CDLL(ctypes.util.find_library("X11"))
    x11.XOpenDisplay.restype = ctypes.c_void_p
    x11.XInternAtom.restype = x11.XDefaultRootWindow.restype = ctypes.c_ulong
    connection = ctypes.c_void_p(x11.XOpenDisplay(display.encode()))
    assert connection
    protocols, delete = (x11.XInternAtom(connection, name, 0) for name in (b"WM_PROTOCOLS", b"WM_DELETE_WINDOW"))
    for window in _windows(x11, connection):
        event = _ClientMessage(_CLIENT_MESSAGE, 0, 1, None, window, protocols, 32, (ctypes.c_long * 5)(delete, 0))
        x11.XSendEvent(connection, ctypes.c_ulong(window), 0, ctypes.c_long(0), ctypes.byref(event))
    x11.XCloseDisplay(connection)


def _windows(x11: ctypes.CDLL, connection: ctypes.c_void_p) -> list[int]:
    """Returns the windows of the display and those inside of them, down to the third level."""
    level, found = [x11.XDefaultRootWindow(connection)], []
    for _ in range(3):
        inner: list[int] = []
        for window in level:
            root, parent, count = ctypes.c_ulong(), ctypes.c_ulong(), ctypes.c_uint()
            children = ctypes.POINTER(ctypes.c_ulong)()
            x11.XQueryTree(
                connection,
                ctypes.c_ulong(window),
                ctypes.byref(root),
                ctypes.byref(parent),
                ctypes.byref(children),
                ctypes.byref(count),
            )
            inner += [children[number] for number in range(count.value)]
        found += inner
        level = inner
    return found
