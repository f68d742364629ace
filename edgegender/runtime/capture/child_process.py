"""One life of a child process that reads a source."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, cast

from edgegender.runtime.capture.children.frame_writer import FRAME_MESSAGE, MAX_MESSAGE_BYTES, MEMORY_MESSAGE
from edgegender.runtime.capture.shared_frames import SharedFrame, SharedFrames, SlotError

_MAX_SAID_CHARS = 2000
_MAX_TAIL_CHARS = 400
_STOP_GRACE_S = 1.0  # the child itself gives its reading loop half a second
_KILL_WAIT_S = 0.5  # longer only where the kernel hangs in a driver
# What FFmpeg's decoders say about a frame: "[mjpeg @ 0x55…] overread 8"; their containers' words are not counted.
_DECODER_COMPLAINT = re.compile(
    r"^\[(?!in#|out#|rtsp|tcp|udp|tls|https?|hls|rtp|swscaler)[a-z0-9_]+ @ 0x", re.MULTILINE
)
_NO_NEWS = "backend is generally available"  # OpenCV's words for "it did not open"
_ADDRESS_IN_MEMORY = re.compile(r" @ 0x[0-9a-f]+")


@dataclass(frozen=True)
class ChildEnd:
    """Why no frame comes any more.

    Args:
        reason: ``finished`` (a file's end), ``cannot_open``, ``lost``, or ``died``.
        detail: One sentence, may be empty.
        is_final: Whether trying again is useless.
    """

    reason: str
    detail: str = ""
    is_final: bool = False


class CaptureChild:
    """Starts a child and takes its messages. Nothing here waits but :meth:`wait` and :meth:`stop`.

    Args:
        command: Program and arguments; the channel's descriptor is added.
        settings: What the child is told, as JSON: not on the command line, where everyone could read a password.

    Raises:
        OSError: The program cannot be started.
    """

    def __init__(self, command: Sequence[str], settings: Mapping[str, object]) -> None:
        self.end: ChildEnd | None = None
        self.num_damaged = 0
        self.newest_sequence = -1
        self._newest_slot = -1
        self._taken_sequence = -1
        self._frames: SharedFrames | None = None
        self._said = ""
        self._num_complaints = 0
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program, under an interpreter that was named
                    [*command, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C in the terminal is the parent's to handle
                )
            except OSError:
                self._channel.close()
                raise
        self._stderr = cast(IO[bytes], self._process.stderr)  # a pipe, as asked for
        os.set_blocking(self._stderr.fileno(), False)
        self._channel.settimeout(0)
        self._poll = select.poll()
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        self._send(json.dumps(dict(settings)).encode())

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    @property
    def tail(self) -> str:
        """The last that it said on standard error, on one line."""
        lines = [line.strip() for line in _ADDRESS_IN_MEMORY.sub("", self._said).splitlines()]
        return "; ".join(line for line in lines if line and _NO_NEWS not in line)[-_MAX_TAIL_CHARS:]

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it died: its end of the channel says so
            self._channel.send(message)

    def ask(self) -> None:
        """Asks for the next frame, of a source that waits to be asked."""
        self._send(b"n")

    def wait(self, timeout_s: float) -> None:
        """Waits until the child says anything, at most so long."""
        self._poll.poll(max(0.0, timeout_s) * 1000)

    def drain(self) -> bool:
        """Takes all messages; returns whether there were any."""
        self._drain_stderr()
        has_news = False
        while self.end is None:
            try:
                message, descriptors, _, _ = socket.recv_fds(
                    self._channel, MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except OSError:
                message, descriptors = b"", []
            if not message:
                self._drain_stderr()
                self.end = ChildEnd("died", self._how_it_died())
                break
            has_news = True
            self._handle(message, descriptors)
        return has_news

    def _handle(self, message: bytes, descriptors: list[int]) -> None:
        kind = message[:1]
        if kind == b"F":
            _, self._newest_slot, self.newest_sequence, num_damaged = FRAME_MESSAGE.unpack(message)
            self.num_damaged = max(num_damaged, self._num_complaints)
        elif kind == b"M":
            if self._frames is not None:
                self._frames.close()
            self._newest_slot = -1
            try:
                self._frames = SharedFrames(descriptors[0], MEMORY_MESSAGE.unpack(message)[1])
            except SlotError as error:
                self.end = ChildEnd("lost", str(error))
        else:
            said = json.loads(message[1:])
            self._drain_stderr()
            self.num_damaged = max(said["num_damaged"], self._num_complaints)
            self.end = ChildEnd(said["reason"], said["detail"], said["is_final"])

    def _drain_stderr(self) -> None:
        try:
            chunk = os.read(self._stderr.fileno(), 65536)
        except BlockingIOError:
            return
        if not chunk:
            with contextlib.suppress(KeyError):  # at its end poll() would report it for ever
                self._poll.unregister(self._stderr)
            return
        text = chunk.decode(errors="replace")
        if _DECODER_COMPLAINT.search(text):
            self._num_complaints += 1  # a frame brings forth several lines, at about the same time
        self._said = (self._said + text)[-_MAX_SAID_CHARS:]

    def _how_it_died(self) -> str:
        try:
            code = self._process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            return "its reader hung up"
        if code >= 0:
            last_line = self.tail.rpartition("; ")[2]
            return f"its reader ended with exit code {code}" + (f": {last_line}" if last_line else "")
        try:
            return f"its reader was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"its reader was ended by signal {-code}"

    def release(self) -> None:
        """Lets the child write into the slot of the frame that was taken last."""
        if self._frames is not None:
            self._frames.release()

    def take(self) -> SharedFrame | None:
        """Returns the newest frame that was not taken yet; it stays as it is until :meth:`release`."""
        if self._frames is None or self._newest_slot < 0 or self.newest_sequence <= self._taken_sequence:
            return None
        try:
            frame = self._frames.hold(self._newest_slot)
        except SlotError as error:
            self._newest_slot = -1
            self.end = ChildEnd("lost", str(error))
            return None
        if frame is None or frame.sequence <= self._taken_sequence:
            return None  # a newer one has been announced, or is about to be
        self._taken_sequence = frame.sequence
        self.newest_sequence = max(self.newest_sequence, frame.sequence)
        return frame

    def stop(self, *, grace_s: float = _STOP_GRACE_S) -> subprocess.Popen[bytes] | None:
        """Ends the child; returns its process where not even the kernel could end it in time.

        Args:
            grace_s: How long it may take to let go of its device; 0 kills it at once.
        """
        self._channel.close()
        self._stderr.close()
        if grace_s > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        if self._process.poll() is None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_WAIT_S)
        if self._frames is not None:
            self._frames.close()  # last: a frame that is still looked at is not written over
        return None if self._process.returncode is not None else self._process
