"""From what a user writes behind ``--source`` to a source of frames."""

from __future__ import annotations

import os
import re
import stat
import sys
from functools import partial
from pathlib import Path

from edgegender.errors import SourceError, UsageError
from edgegender.images import IMAGE_SUFFIXES
from edgegender.runtime.capture import usb_device
from edgegender.runtime.capture.child_source import ChildSource, Launch
from edgegender.runtime.capture.folder_source import FolderSource
from edgegender.runtime.capture.masking import masked_address
from edgegender.runtime.capture.options import CaptureOptions
from edgegender.runtime.capture.raw_source import RawSource
from edgegender.runtime.frames import FrameSource

SCHEMES = ("rtsp", "rtsps", "http", "https")
_CHILDREN = Path(__file__).parent / "children"
_VIDEO_COMMAND = (sys.executable, str(_CHILDREN / "video.py"))
_RASPBERRY_PI_SIZE_WH = (1280, 720)
_STANDARD_INPUT = 0
_SUFFIXES = sorted(IMAGE_SUFFIXES)
_FORMS = (
    "Sources are 0, usb:0, picamera, rtsp://…, http://…, a video, a photo, a folder, fifo:PATH, or - for raw frames."
)


def open_source(spec: str, *, options: CaptureOptions | None = None) -> FrameSource:
    """Returns a source of frames. Nothing is waited for: the first frame comes with ``read``.

    ======================================  ==========================================================
    ``0``, ``usb:0``, ``/dev/video0``       a USB camera, or another V4L2 device
    ``picamera``, ``picamera:1``            a Raspberry Pi camera
    ``rtsp://``, ``rtsps://``,              a stream; one that ends has been lost, and is opened again
    ``http://``, ``https://``
    a video file                            frame by frame, or at its own speed (``is_realtime``)
    a photo, a folder of photos             in the order of their names
    ``fifo:PATH``, a FIFO, ``-``            raw frames of ``size_wh``; the writer waits for the reader
    ======================================  ==========================================================

    A video file that cannot be decoded finishes at its first ``read``, with a problem.

    Args:
        spec: What to read.
        options: How it is opened, watched and tried again.

    Raises:
        UsageError: It is none of these, a file or folder is not there or empty, or raw frames have no size.
        SourceError: A USB camera is not there or in use, and ``keep_trying`` is off.
    """
    options = options or CaptureOptions()
    if spec == "-":
        return RawSource("standard input", _STANDARD_INPUT, path=None, size_wh=_raw_size(options), options=options)
    if match := re.fullmatch(r"(?:usb:)?([0-9]{1,4})", spec, re.ASCII):
        return _open_device(f"/dev/video{int(match[1])}", options)
    if match := re.fullmatch(r"picamera(?::([0-9]{1,2}))?", spec, re.ASCII):
        return _open_raspberry_pi(int(match[1] or 0), options)
    scheme, separator, rest = spec.partition("://")
    if separator:
        if scheme.lower() not in SCHEMES or not rest or not spec.isprintable() or " " in spec:
            raise UsageError(f"Expected an address such as rtsp://192.0.2.7/live, got {masked_address(spec)!r}.")
        return _open_stream(spec, options)
    if spec.startswith("fifo:"):
        return _open_fifo(Path(spec.removeprefix("fifo:")), options)
    if not spec:
        raise UsageError("Expected a source of frames, got '', which is not there.", hint=_FORMS)
    return _open_path(Path(spec), options)


def _raw_size(options: CaptureOptions) -> tuple[int, int]:
    if options.size_wh is None:
        raise UsageError("Expected the size of raw frames, got none (size_wh).", hint="Say it, such as 640x480.")
    return options.size_wh


def _kind_of(path: Path) -> int:
    """Returns the kind bits of a path's mode; 0 where nothing is there."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):  # not there, behind a file, a name with a null byte
        return 0


def _open_path(path: Path, options: CaptureOptions) -> FrameSource:
    kind = _kind_of(path)
    if kind == stat.S_IFCHR or (not kind and path.is_relative_to("/dev")):
        return _open_device(str(path), options)
    if kind == stat.S_IFIFO:
        return _open_fifo(path, options)
    if kind == stat.S_IFDIR:
        return _open_folder(path, options)
    if kind != stat.S_IFREG:
        raise UsageError(f"Expected a source of frames, got {str(path)!r}, which is not there.", hint=_FORMS)
    if not os.access(path, os.R_OK) or not path.stat().st_size:
        raise UsageError(f"Expected a video that can be read, got one that is empty or not yours ({path}).")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return FolderSource(path.name, [path], is_looped=options.is_looped)
    return _open_file(path, options)


def _open_folder(path: Path, options: CaptureOptions) -> FolderSource:
    try:
        found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
    except OSError as error:
        raise UsageError(f"Expected a folder that can be read, got: {error.strerror} ({path}).") from error
    if not found:
        raise UsageError(f"Expected photos in the folder, got none ({path}).", hint=f"{', '.join(_SUFFIXES)} are read.")
    return FolderSource(path.name or str(path), found, is_looped=options.is_looped)


def _open_fifo(path: Path, options: CaptureOptions) -> RawSource:
    size_wh = _raw_size(options)
    if _kind_of(path) != stat.S_IFIFO:
        raise UsageError(f"Expected a FIFO, got another file or none ({path}).", hint=f"Make it: mkfifo {path}")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"Expected a FIFO that can be read, got: {error.strerror} ({path}).") from error
    return RawSource(f"fifo:{path}", descriptor, path=path, size_wh=size_wh, options=options)


def _video_settings(kind: str, address: str, options: CaptureOptions) -> dict[str, object]:
    return {
        "kind": kind,
        "address": address,
        "size_wh": options.size_wh,
        "fps": options.fps,
        "open_timeout_s": options.open_timeout_s,
        # the watchdog of this process comes first: it counts
        "read_timeout_s": 2 * options.watchdog_s,
        "rtsp_transport": options.rtsp_transport,
        "is_asked": kind == "file" and not options.is_realtime,
        "is_realtime": kind == "file" and options.is_realtime,
        "is_looped": kind == "file" and options.is_looped,
    }


def _open_device(path: str, options: CaptureOptions) -> ChildSource:
    fault = usb_device.find_fault(path)
    if fault and not options.keep_trying:
        raise SourceError(f"Expected a camera, got none: {fault}.", hint=usb_device.devices_hint())
    launch = Launch(
        address=path,
        name=path,
        noun="a camera",
        command=_VIDEO_COMMAND,
        settings=_video_settings("device", path, options),
        is_live=True,
        is_retried=True,
        find_fault=partial(usb_device.find_fault, path),
        explain=partial(usb_device.explain_failure, path),
    )
    return ChildSource(launch, options)


def _open_stream(address: str, options: CaptureOptions) -> ChildSource:
    launch = Launch(
        address=address,
        name=masked_address(address),
        noun="a stream",
        command=_VIDEO_COMMAND,
        settings=_video_settings("stream", address, options),
        is_live=True,
        is_retried=True,
    )
    return ChildSource(launch, options)


def _open_file(path: Path, options: CaptureOptions) -> ChildSource:
    launch = Launch(
        address=str(path),
        name=path.name,
        noun="a video",
        command=_VIDEO_COMMAND,
        settings=_video_settings("file", str(path.absolute()), options),
        is_live=options.is_realtime,
        is_retried=False,
    )
    return ChildSource(launch, options)


def _open_raspberry_pi(index: int, options: CaptureOptions) -> ChildSource:
    size_wh = options.size_wh or _RASPBERRY_PI_SIZE_WH
    settings = {"index": index, "size_wh": size_wh, "fps": options.fps, "small_wh": _small_size(size_wh, options)}
    launch = Launch(
        address=f"picamera:{index}",
        name=f"picamera:{index}",
        noun="a Raspberry Pi camera",
        # -s: no packages of the user's own, where a numpy 2 of pip would meet the numpy 1 that apt's picamera2 is for
        command=(str(options.camera_python), "-s", str(_CHILDREN / "raspberry_pi.py")),
        settings=settings,
        is_live=True,
        is_retried=True,
    )
    return ChildSource(launch, options)


def _small_size(size_wh: tuple[int, int], options: CaptureOptions) -> tuple[int, int] | None:
    """Returns the size of the pictures for detection, even numbers as YUV420 wants them; ``None`` for small frames."""
    longer = max(size_wh)
    if longer <= options.lores_px:
        return None
    width, height = (max(2, 2 * round(side * options.lores_px / longer / 2)) for side in size_wh)
    return width, height
