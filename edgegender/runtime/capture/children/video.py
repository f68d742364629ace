"""Reads a USB camera, a stream or a video file with OpenCV and hands its frames to the parent.

The only module that touches ``cv2.VideoCapture``. Started by path; see the package's docstring.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING or __package__:
    from cv2.typing import MatLike

    from edgegender.runtime.capture.children.frame_writer import NO_MEDIA_TIME, Channel, FrameWriter, connect
else:  # started by path
    from frame_writer import NO_MEDIA_TIME, Channel, FrameWriter, connect

MAX_PIXELS = 50_000_000  # as edgegender.images has it
_MAX_DAMAGED_IN_A_ROW = 50
_LOOK_EVERY_S = 1.0
_DEFAULT_FPS = 25.0
_MAX_GAP_NS = 60_000_000_000
_MAX_FPS = 240.0  # what a file says above this is a clock rate (90,000), not a frame rate
# FFmpeg takes a text file for a film of a terminal, and a playlist for leave to open other files and addresses.
_FILE_FORMATS = "3gp,asf,av1,avi,dv,flv,gif,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg"
_STREAM_FORMATS = f"{_FILE_FORMATS},hls,mpjpeg,rtsp,rtp,sdp"
_STREAM_PROTOCOLS = "http,https,tls,tcp,udp,rtp,srtp,rtsp,rtsps,crypto,httpproxy"


class _UnreadableError(Exception):
    """The source was opened, and what it gives is of no use."""


def _check_size(width: float, height: float) -> None:
    if width * height > MAX_PIXELS:
        raise _UnreadableError(f"frames of {width:.0f}×{height:.0f} pixels are more than {MAX_PIXELS:,}")


def _ffmpeg_options(settings: dict[str, Any]) -> str:
    is_file = settings["kind"] == "file"
    options = {
        "format_whitelist": _FILE_FORMATS if is_file else _STREAM_FORMATS,
        "protocol_whitelist": "file" if is_file else _STREAM_PROTOCOLS,
    }
    if not is_file:
        # FFmpeg would look at 20 frames first to guess a rate that nobody asks for: 0.8 s at 25 frames a second
        options["fpsprobesize"] = "0"
    if settings["address"].lower().startswith("rtsp"):
        options["rtsp_transport"] = settings["rtsp_transport"]
    return "|".join(f"{name};{value}" for name, value in options.items())


def _open(settings: dict[str, Any]) -> cv2.VideoCapture:
    if settings["kind"] == "device":
        capture = cv2.VideoCapture(settings["address"], cv2.CAP_V4L2)
        if settings["size_wh"]:
            # uncompressed pictures of more than 640×480 do not fit USB 2 at full rate
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings["size_wh"][0])
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings["size_wh"][1])
        if settings["fps"]:
            capture.set(cv2.CAP_PROP_FPS, settings["fps"])
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        return capture
    limits = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * settings["open_timeout_s"])),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * settings["read_timeout_s"])),
    )
    return cv2.VideoCapture(settings["address"], cv2.CAP_FFMPEG, limits)


class _Pace:
    """Waits until a frame is due, for a file that plays as a camera would."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._due_s = time.monotonic()

    def wait(self) -> None:
        now_s = time.monotonic()
        if self._due_s > now_s:
            time.sleep(self._due_s - now_s)
        self._due_s = max(self._due_s, now_s - self._period_s) + self._period_s


class _FilmClock:
    """When each frame of a file is shown: the file's own times where they rise, one frame on where they do not.

    It goes on when the file begins again.
    """

    def __init__(self) -> None:
        self._period_ns = round(1e9 / _DEFAULT_FPS)
        self._begin_ns = 0
        self._last_ns = -1

    def begin(self, fps: float) -> None:
        """Begins the file, once more where it has ended before."""
        self._period_ns = round(1e9 / fps)
        self._begin_ns = 0 if self._last_ns < 0 else self._last_ns + self._period_ns

    def next_ns(self, said_ms: float) -> int:
        """Returns the time of the next frame, whose file says ``said_ms``, nanoseconds."""
        said_ns = self._begin_ns + round(1e6 * said_ms)
        if not self._last_ns < said_ns < self._last_ns + _MAX_GAP_NS:
            said_ns = 0 if self._last_ns < 0 else self._last_ns + self._period_ns
        self._last_ns = said_ns
        return said_ns


class _Reading:
    """One opened source."""

    def __init__(
        self, channel: Channel, writer: FrameWriter, capture: cv2.VideoCapture, film_clock: _FilmClock
    ) -> None:
        settings = channel.settings
        self._channel = channel
        self._writer = writer
        self._capture = capture
        self._device = Path(settings["address"]) if settings["kind"] == "device" else None
        self._looked_s = time.monotonic()
        self._is_asked = bool(settings["is_asked"])
        self._bgr: MatLike | None = None
        self._num_damaged_in_a_row = 0
        said_fps = capture.get(cv2.CAP_PROP_FPS)
        fps = settings["fps"] or (said_fps if 0 < said_fps <= _MAX_FPS else _DEFAULT_FPS)
        self._pace = _Pace(fps) if settings["is_realtime"] else None
        self._film_clock = film_clock
        self._has_own_times = not settings["fps"]
        film_clock.begin(fps)

    def run(self) -> None:
        """Hands out frames until the source's own end."""
        is_due = False
        while not self._channel.is_stopping.is_set():
            if self._is_asked and not is_due and not self._channel.wait_until_asked():
                return
            if self._pace is not None:
                self._pace.wait()
            if self._is_gone() or not self._grab():
                if self._is_asked:
                    self._channel.ask_again()  # a film that starts anew owes a frame
                return
            is_due = not self._hand_out(time.monotonic_ns())  # a damaged frame does not count as the one asked for

    def _is_gone(self) -> bool:
        """Whether the device was unplugged: OpenCV may go on to hand out its last frame (opencv issue 14044)."""
        now_s = time.monotonic()
        if self._device is None or now_s - self._looked_s < _LOOK_EVERY_S:
            return False
        self._looked_s = now_s
        return not self._device.exists()

    def _grab(self) -> bool:
        # OpenCV says the same of a damaged packet and of the end; behind a damaged one, the next try finds the next.
        for attempt in range(_MAX_DAMAGED_IN_A_ROW):
            if self._capture.grab():
                self._writer.num_damaged += attempt
                return True
        return False

    def _media_ns(self) -> int:
        """Returns when the frame is shown, of a file that waits to be asked."""
        if not self._is_asked:
            return NO_MEDIA_TIME
        return self._film_clock.next_ns(self._capture.get(cv2.CAP_PROP_POS_MSEC) if self._has_own_times else -1.0)

    def _hand_out(self, captured_ns: int) -> bool:
        """Puts the frame that was grabbed into a slot, as RGB; returns whether it could be decoded."""
        is_decoded, decoded = self._capture.retrieve(self._bgr)
        if not is_decoded or decoded is None:
            self._writer.num_damaged += 1
            self._num_damaged_in_a_row += 1
            if self._num_damaged_in_a_row == _MAX_DAMAGED_IN_A_ROW:
                raise _UnreadableError(f"{_MAX_DAMAGED_IN_A_ROW} frames in a row could not be decoded")
            return False
        # A stream that changes its size goes on in the size that it had when it was opened: OpenCV scales it.
        self._bgr, self._num_damaged_in_a_row = decoded, 0
        height, width = decoded.shape[:2]
        _check_size(width, height)
        room = np.frombuffer(self._writer.room(3 * height * width), np.uint8).reshape(height, width, 3)
        cv2.cvtColor(decoded, cv2.COLOR_GRAY2RGB if decoded.ndim == 2 else cv2.COLOR_BGR2RGB, dst=room)
        self._writer.announce(height, width, captured_ns=captured_ns, media_ns=self._media_ns())
        return True


def _read_once(channel: Channel, writer: FrameWriter, film_clock: _FilmClock) -> bool:
    """Reads until the source's own end; returns whether it could be opened."""
    capture = _open(channel.settings)
    try:
        if not capture.isOpened():
            return False
        # before anything of that size is decoded
        _check_size(capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        _Reading(channel, writer, capture, film_clock).run()
    finally:
        capture.release()
    return True


def _read(channel: Channel, writer: FrameWriter) -> str:
    """Reads, again and again where that was asked for; returns the reason of the end."""
    is_file = channel.settings["kind"] == "file"
    film_clock = _FilmClock()
    while True:
        num_before = writer.num_frames
        if not _read_once(channel, writer, film_clock):
            return "cannot_open"
        is_worth_repeating = channel.settings["is_looped"] and writer.num_frames > num_before
        if not is_worth_repeating or channel.is_stopping.is_set():
            return "finished" if is_file and writer.num_frames else "lost"


def main() -> None:
    """Reads until the source ends or the parent hangs up."""
    cv2.setNumThreads(1)  # one colour conversion a frame: waking more threads costs more than it saves
    channel = connect()
    # OpenCV takes them from here only, when it opens an address
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _ffmpeg_options(channel.settings)
    writer = FrameWriter(channel)
    detail = ""
    try:
        reason = _read(channel, writer)
    except _UnreadableError as error:
        reason, detail = "lost", str(error)
    if not channel.is_stopping.is_set():
        channel.end(reason, detail, num_damaged=writer.num_damaged)


if __name__ == "__main__":
    main()
