"""What the tests of sources share: reading with a deadline, films, and a stream of JPEG pictures over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.runtime.capture import CaptureOptions, open_source
from edgegender.runtime.capture.child_source import ChildSource
from edgegender.runtime.frames import Frame, FrameSource
from tests.file_server import Answer

DEADLINE_S = 20.0  # an idle machine needs a tenth of it
QUICK = CaptureOptions(watchdog_s=0.6, retry_first_s=0.05, retry_max_s=0.2)


def read_one(source: FrameSource) -> Frame:
    """Returns the next frame."""
    frame = source.read(DEADLINE_S)
    assert frame is not None, f"{source.state}: {source.problem}"
    return frame


def read_all(source: FrameSource) -> list[Frame]:
    """Returns all frames until the source has finished; their pixels are copies."""
    frames = []
    deadline_s = time.monotonic() + DEADLINE_S
    while source.state != "finished":
        frame = source.read(1.0)
        if frame is not None:
            frames.append(replace(frame, image_rgb=frame.image_rgb.copy()))
        assert time.monotonic() < deadline_s, f"{source.state}: {source.problem}"
    return frames


def read_until(source: FrameSource, is_done: Callable[[], bool]) -> None:
    """Reads until something is so."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_done():
        source.read(0.05)
        assert time.monotonic() < deadline_s, f"{source.state}: {source.problem}, {source.counters}"


@contextmanager
def opened(spec: str | Path, options: CaptureOptions | None = None) -> Iterator[FrameSource]:
    """Opens a source and closes it."""
    source = open_source(str(spec), options=options)
    try:
        yield source
    finally:
        source.close()


def pid_of(source: FrameSource) -> int:
    """Returns the process number of a source's child."""
    assert isinstance(source, ChildSource)
    assert source.child_pid is not None
    return source.child_pid


def flat(level: int, *, size_wh: tuple[int, int] = (64, 48)) -> UInt8Array:
    """Returns a picture whose red is ``level`` and whose blue is its opposite."""
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 2] = level, 255 - level
    return image


def write_film(path: Path, images: Sequence[UInt8Array], *, fps: float = 25, codec: str = "MJPG") -> Path:
    """Writes a video file."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (width, height))
    for image in images:
        writer.write(image[..., ::-1])
    writer.release()
    return path


def level_of(frame: Frame) -> int:
    """Returns the red of a picture of :func:`flat`, as it was drawn or nearly so."""
    return round(float(frame.image_rgb[..., 0].mean()))


def jpeg(image_rgb: UInt8Array) -> bytes:
    """Returns a picture as JPEG."""
    return cv2.imencode(".jpg", image_rgb[..., ::-1])[1].tobytes()


def mjpeg_stream(pictures: Sequence[bytes], *, is_over: threading.Event, then_s: float = 30.0) -> Answer:
    """Sends pictures one after the other, 50 a second, as IP cameras do; then says nothing, and hangs up.

    Args:
        pictures: JPEG files.
        is_over: Set when the test has ended: ends the silence.
        then_s: How long it stays silent behind the last picture.
    """

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        for picture in pictures:
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            handler.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(0.02)
        is_over.wait(then_s)

    return answer
