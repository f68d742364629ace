"""A real RTSP server (GStreamer's) that sends a test picture, or a photo, as JPEG over RTP.

As a program it runs under the system's Python, which has GStreamer's bindings:

    /usr/bin/python3 tests/rtsp_server.py PORT [--picture FILE.jpg] [--size 640x480] [--fps 25] [--path /live]
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType

SYSTEM_PYTHON = "/usr/bin/python3"
INSTALL = "apt-get install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
_BINDINGS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


def is_installed() -> bool:
    """Returns whether the server can run here."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", _BINDINGS], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """Returns a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class RtspServer:
    """A server process that can be killed and started again on the same port.

    Args:
        size_wh: Size of the picture, pixels.
        fps: Frames a second.
        picture: A JPEG file; a moving ball without one.
    """

    def __init__(self, *, size_wh: tuple[int, int] = (320, 240), fps: int = 25, picture: Path | None = None) -> None:
        self.size_wh = size_wh
        self.fps = fps
        self.picture = picture
        self.port = free_port()
        self.address = f"rtsp://127.0.0.1:{self.port}/live"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        width, height = self.size_wh
        command = [SYSTEM_PYTHON, __file__, str(self.port), "--size", f"{width}x{height}", "--fps", str(self.fps)]
        if self.picture is not None:
            command += ["--picture", str(self.picture)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            self.kill()
            raise RuntimeError("the RTSP server did not start")

    def kill(self) -> None:
        """Kills it without a word to its viewers."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def freeze(self) -> None:
        """Stops it in the middle of what it does: connections stay, and nothing comes."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def __enter__(self) -> RtspServer:
        """Starts it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kills it."""
        self.kill()


def _pipeline(arguments: argparse.Namespace) -> str:
    width, _, height = arguments.size.partition("x")
    # RTP has no JPEG of 4:4:4 (RFC 2435, 4.1)
    raw = f"video/x-raw,format=I420,width={width},height={height},framerate={arguments.fps}/1"
    source = "videotestsrc is-live=true pattern=ball ! videoconvert"
    if arguments.picture:
        source = (
            f"filesrc location={arguments.picture} ! jpegdec ! videoconvert ! videoscale ! imagefreeze is-live=true"
        )
    return f"( {source} ! {raw} ! jpegenc quality=85 ! rtpjpegpay name=pay0 pt=26 )"


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("--path", default="/live")
    parser.add_argument("--picture")
    parser.add_argument("--size", default="640x480")
    parser.add_argument("--fps", type=int, default=25)
    arguments = parser.parse_args()

    import gi

    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_pipeline(arguments))
    factory.set_shared(True)
    server.get_mount_points().add_factory(arguments.path, factory)
    if not server.attach(None):
        sys.exit("error: the port is in use")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
