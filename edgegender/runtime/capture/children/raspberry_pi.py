"""Reads a Raspberry Pi camera with picamera2 and hands its frames to the parent.

The only module that touches picamera2. Runs under the system's Python, which has picamera2, libcamera and their numpy
from apt: a virtual environment's numpy and OpenCV never meet them. Started by path; see the package's docstring.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from edgegender.runtime.capture.children.frame_writer import Channel, FrameWriter, connect
else:  # started by path
    from frame_writer import Channel, FrameWriter, connect

# libcamera names a format by its bits from the top of a little-endian word, so that in memory the first byte of a
# "BGR888" pixel is red. Source: picamera2 manual, 4.2.2.2; picamera2/request.py, make_image (mode_lookup)
_RGB_IN_MEMORY = "BGR888"
_INSTALL = "sudo apt install python3-picamera2 --no-install-recommends"
_SMALL_FORMATS = (_RGB_IN_MEMORY, "YUV420")  # boards before the Raspberry Pi 5 make small pictures in YUV only


def _start_camera(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - picamera2 has no types
    picamera2 = importlib.import_module("picamera2")  # it has no types, and is not there where types are checked
    camera = picamera2.Picamera2(settings["index"])
    controls = {"FrameRate": settings["fps"]} if settings["fps"] else {}
    main = {"size": tuple(settings["size_wh"]), "format": _RGB_IN_MEMORY}
    try:
        for small_format in _SMALL_FORMATS:
            small = settings["small_wh"]
            lores = {"size": tuple(small), "format": small_format} if small else None
            try:
                camera.configure(camera.create_video_configuration(main=main, lores=lores, controls=controls))
            except RuntimeError:
                if small_format == _SMALL_FORMATS[-1] or lores is None:
                    raise
            else:
                break
        camera.start()
    except BaseException:
        camera.close()
        raise
    return camera


def _small_header(small: dict[str, Any], shape: tuple[int, ...]) -> tuple[int, int, int, int, int]:
    width, height = small["size"]
    row_bytes = shape[1] * (shape[2] if len(shape) == 3 else 1)
    return shape[0], row_bytes, height, width, int(small["format"] == _RGB_IN_MEMORY)


def _run(channel: Channel, writer: FrameWriter, camera: Any) -> None:  # noqa: ANN401 - picamera2 has no types
    small = camera.camera_configuration().get("lores")
    while not channel.is_stopping.is_set():
        request = camera.capture_request()
        try:
            captured_ns = time.monotonic_ns()
            arrays = [request.make_array("main")]
            if small:
                arrays.append(request.make_array("lores"))
        finally:
            request.release()  # the camera has few buffers
        room = writer.room(sum(array.nbytes for array in arrays))
        position = 0
        for array in arrays:
            room[position : position + array.nbytes] = array.reshape(-1).data
            position += array.nbytes
        header = _small_header(small, arrays[1].shape) if small else (0, 0, 0, 0, 0)
        writer.announce(*arrays[0].shape[:2], captured_ns=captured_ns, small=header)


def main() -> None:
    """Reads until the camera fails or the parent hangs up."""
    channel = connect()
    try:
        camera = _start_camera(channel.settings)
    except ImportError as error:
        channel.end("cannot_open", f"{error.name} is missing ({_INSTALL})", is_final=True)
        return
    except (RuntimeError, OSError, IndexError, ValueError) as error:
        # picamera2 raises an IndexError for a camera that is not there, a RuntimeError for one in use
        num = channel.settings["index"]
        missing = f"there is no camera {num}" if isinstance(error, IndexError) else f"camera {num}: {error}"
        channel.end("cannot_open", missing)
        return
    try:
        _run(channel, FrameWriter(channel), camera)
    finally:
        camera.stop()
        camera.close()


if __name__ == "__main__":
    main()
