"""The child's end: frames into shared memory, one message a frame to the parent. Standard library only.

Memory is a memfd of ``NUM_SLOTS`` slots behind a page of headers. It is made when the first frame's size is known, and
made anew when a larger frame comes; its descriptor travels to the parent in a message. Each slot has a lock (a byte
range of the memfd, ``fcntl``): locks are barriers made by the kernel, and a process that dies lets go of its own. The
child writes into a slot that is neither the newest nor held by the parent; of three slots one is always free, so that
it never waits.

Messages of the child, told apart by their first byte: ``M`` new memory, with its descriptor; ``F`` a frame; ``E`` the
end, with a JSON object. Of the parent: first its settings, one JSON object; then ``n`` for each frame that it asks
for, where frames are asked for. Its hanging up ends the child.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import socket
import struct
import sys
import threading
import time
from typing import Any

NUM_SLOTS = 3
# sequence, captured_ns, media_ns; main: height, width; small: rows, bytes a row, height, width, whether it is RGB
# (else YUV420)
HEADER = struct.Struct("<QQq7I")
HEADER_STRIDE_BYTES = 64
FIRST_SLOT_BYTES = mmap.PAGESIZE
MEMORY_MESSAGE = struct.Struct("<cQ")  # kind, bytes of a slot
FRAME_MESSAGE = struct.Struct("<cBQI")  # kind, slot, sequence, damaged frames so far
MAX_MESSAGE_BYTES = 16384
NO_MEDIA_TIME = -1

_GRACE_S = 0.5  # for the reading loop to let go of its device, once the parent has hung up
_NO_SMALL = (0, 0, 0, 0, 0)


class Channel:
    """The socket to the parent.

    Args:
        connection: One end of a pair of sockets of kind SOCK_SEQPACKET.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.settings: dict[str, Any] = json.loads(connection.recv(MAX_MESSAGE_BYTES))
        self.is_stopping = threading.Event()
        self._asked_for = threading.Semaphore(0)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        # Native code that hangs in a read leaves this thread running: a child never outlives its parent.
        try:
            while message := self.connection.recv(16):
                for _ in message:
                    self._asked_for.release()
        except OSError:  # the parent died
            pass
        self.is_stopping.set()
        self._asked_for.release()
        time.sleep(_GRACE_S)
        os._exit(0)

    def wait_until_asked(self) -> bool:
        """Waits until the parent asks for the next frame; returns whether it did, instead of hanging up."""
        self._asked_for.acquire()
        return not self.is_stopping.is_set()

    def ask_again(self) -> None:
        """Keeps a question that was taken and not answered."""
        self._asked_for.release()

    def end(self, reason: str, detail: str = "", *, is_final: bool = False, num_damaged: int = 0) -> None:
        """Says why no frame will come any more.

        Args:
            reason: ``finished`` (a file's end), ``cannot_open`` or ``lost``.
            detail: One sentence for people.
            is_final: Whether trying again is useless.
            num_damaged: Frames that could not be decoded.
        """
        said = {"reason": reason, "detail": detail, "is_final": is_final, "num_damaged": num_damaged}
        self.connection.send(b"E" + json.dumps(said).encode())


def connect() -> Channel:
    """Returns the channel whose descriptor is the last argument of the command line."""
    return Channel(socket.socket(fileno=int(sys.argv[-1])))


class FrameWriter:
    """Puts frames into slots.

    Args:
        channel: Where they are announced.
    """

    def __init__(self, channel: Channel) -> None:
        self.num_damaged = 0
        self.num_frames = 0
        self._connection = channel.connection
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # no slots yet
        self._descriptor = -1
        self._slot_bytes = 0
        self._newest = -1
        self._slot = -1

    def _make_memory(self, num_bytes: int) -> None:
        pages = -(-num_bytes // mmap.PAGESIZE)
        descriptor = os.memfd_create("edgegender-frames", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._slot_bytes = pages * mmap.PAGESIZE
        size_bytes = FIRST_SLOT_BYTES + NUM_SLOTS * self._slot_bytes
        os.ftruncate(descriptor, size_bytes)
        # memory that shrank under the parent's feet would kill it with SIGBUS
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(descriptor, size_bytes)
        message = MEMORY_MESSAGE.pack(b"M", self._slot_bytes)
        socket.send_fds(self._connection, [message], [descriptor])
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._newest = descriptor, -1

    def _lock_free_slot(self) -> int:
        while True:
            for slot in range(NUM_SLOTS):
                if slot == self._newest:
                    continue
                try:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                except OSError:  # the parent reads it
                    continue
                return slot

    def room(self, num_bytes: int) -> memoryview:
        """Returns so many bytes of a free slot, to be filled and then announced."""
        if num_bytes > self._slot_bytes:
            self._make_memory(num_bytes)
        self._slot = self._lock_free_slot()
        start = FIRST_SLOT_BYTES + self._slot * self._slot_bytes
        return memoryview(self._memory)[start : start + num_bytes]

    def announce(
        self,
        height: int,
        width: int,
        *,
        captured_ns: int,
        media_ns: int = NO_MEDIA_TIME,
        small: tuple[int, int, int, int, int] = _NO_SMALL,
    ) -> None:
        """Lets go of the slot and tells the parent.

        Args:
            height: Of the main picture, pixels.
            width: Of the main picture, pixels.
            captured_ns: ``time.monotonic_ns()`` when it left the camera.
            media_ns: When it is shown, from the start of a file; ``NO_MEDIA_TIME`` of a camera's.
            small: Rows, bytes a row, height, width, and whether it is RGB, of the picture behind the main one.
        """
        header = (self.num_frames, captured_ns, media_ns, height, width, *small)
        HEADER.pack_into(self._memory, self._slot * HEADER_STRIDE_BYTES, *header)
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._slot)
        self._newest = self._slot
        message = FRAME_MESSAGE.pack(b"F", self._slot, self.num_frames, self.num_damaged)
        self.num_frames += 1
        # Refused where the parent has been busy for hundreds of frames (it finds the newest by itself), or has died.
        with contextlib.suppress(OSError):
            self._connection.send(message, socket.MSG_DONTWAIT)
