"""What a user may say about a source of frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edgegender.errors import UsageError

PIXEL_FORMATS = {"rgb24": 3, "bgr24": 3, "gray": 1}  # bytes a pixel; the names are FFmpeg's
RTSP_TRANSPORTS = ("tcp", "udp")
_MAX_SIDE_PX = 16384
_MAX_PIXELS = 50_000_000  # as edgegender.images has it
_MAX_FPS = 1000.0


@dataclass(frozen=True)
class CaptureOptions:
    """How a source is opened, watched and tried again.

    Args:
        size_wh: Width and height that a USB or Raspberry Pi camera is asked for (it may give another), and that raw
            frames have, pixels. Files and streams have their own.
        fps: Frames a second that a camera is asked for, and that a file plays with where ``is_realtime``.
        pixel_format: Of raw frames: ``rgb24``, ``bgr24`` or ``gray``.
        is_realtime: Whether a video file plays at its own speed, as a camera would: a slow reader misses frames.
        is_looped: Whether a video file or a folder starts again at its end.
        keep_trying: Whether a camera or stream that is not there at first is waited for. Without it the source is
            refused (a USB camera), or finishes with a problem. One that was there once is always tried again.
        watchdog_s: A source from which no frame came for so long has stalled: its reader is killed and started again.
        open_timeout_s: Longest wait for the first frame of one attempt to open.
        retry_first_s: Pause before the first attempt to open it again; it doubles with each attempt.
        retry_max_s: Longest time from one attempt to the next. Three seconds and the second or so that opening takes
            bring a stream back within five seconds of its return.
        rtsp_transport: ``tcp``, or ``udp`` for a camera that knows nothing else (frames may then be damaged).
        lores_px: Longer side of the small pictures that a Raspberry Pi camera makes for detection, pixels.
        camera_python: The system's Python, which has picamera2 from apt.

    Raises:
        UsageError: A value is out of range.
    """

    size_wh: tuple[int, int] | None = None
    fps: float | None = None
    pixel_format: str = "rgb24"
    is_realtime: bool = False
    is_looped: bool = False
    keep_trying: bool = True
    watchdog_s: float = 5.0
    open_timeout_s: float = 10.0
    retry_first_s: float = 0.5
    retry_max_s: float = 3.0
    rtsp_transport: str = "tcp"
    lores_px: int = 320
    camera_python: Path = Path("/usr/bin/python3")

    def __post_init__(self) -> None:
        size = self.size_wh
        if size is not None and (
            len(size) != 2 or min(size) < 1 or max(size) > _MAX_SIDE_PX or math.prod(size) > _MAX_PIXELS
        ):
            shown = "×".join(map(str, size))
            raise UsageError(f"Expected a size of 1 to {_MAX_SIDE_PX} pixels a side, got {shown} (size_wh).")
        if self.fps is not None and not 0 < self.fps <= _MAX_FPS:
            raise UsageError(f"Expected 0 < fps <= {_MAX_FPS:.0f}, got {self.fps} (fps).")
        if self.pixel_format not in PIXEL_FORMATS:
            raise UsageError(f"Expected one of {', '.join(PIXEL_FORMATS)}, got {self.pixel_format!r} (pixel_format).")
        if self.rtsp_transport not in RTSP_TRANSPORTS:
            raise UsageError(f"Expected one of tcp, udp, got {self.rtsp_transport!r} (rtsp_transport).")
        for name in ("watchdog_s", "open_timeout_s", "retry_first_s", "retry_max_s"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise UsageError(f"Expected a time above 0 s, got {value} ({name}).")
        if not 32 <= self.lores_px <= _MAX_SIDE_PX:
            raise UsageError(f"Expected 32 <= lores_px <= {_MAX_SIDE_PX}, got {self.lores_px} (lores_px).")
