"""The parent's end of frames in shared memory: a slot is held while its pixels are read, and nothing is copied."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from dataclasses import dataclass

import numpy as np

from edgegender.entities import UInt8Array
from edgegender.runtime.capture.children.frame_writer import (
    FIRST_SLOT_BYTES,
    HEADER,
    HEADER_STRIDE_BYTES,
    NO_MEDIA_TIME,
    NUM_SLOTS,
)


class SlotError(Exception):
    """What a child wrote about its memory does not fit the memory."""


@dataclass(frozen=True)
class SharedFrame:
    """A frame as it lies in a slot; valid until the slot is let go.

    Args:
        image_rgb: Shape (height, width, 3), read-only.
        sequence: Its number in the child, from 0.
        captured_ns: Monotonic time at which it left the camera.
        media_ns: When it is shown, from the start of a file; ``None`` of a camera's.
        small: The small picture, RGB of shape (height, width, 3) or YUV420 of shape (rows, bytes a row).
        small_size_wh: Its size without padding, pixels.
    """

    image_rgb: UInt8Array
    sequence: int
    captured_ns: int
    media_ns: int | None = None
    small: UInt8Array | None = None
    small_size_wh: tuple[int, int] = (0, 0)


class SharedFrames:
    """The memory of one child.

    Args:
        descriptor: The memfd, which becomes this object's own.
        slot_bytes: Size of a slot.

    Raises:
        SlotError: The memory is smaller than its slots.
    """

    def __init__(self, descriptor: int, slot_bytes: int) -> None:
        self._descriptor = descriptor
        self._slot_bytes = slot_bytes
        self._held = -1
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes < FIRST_SLOT_BYTES + NUM_SLOTS * slot_bytes:
            self.close()
            raise SlotError("its memory is too small")
        # Arrays on it keep it alive, so that a frame outlives the source; it is never unmapped by hand.
        self._memory = mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ)

    def hold(self, slot: int) -> SharedFrame | None:
        """Returns the frame in a slot and holds the slot; ``None`` where the child is writing a newer one into it.

        Raises:
            SlotError: The slot's header does not fit the memory.
        """
        self.release()
        if slot >= NUM_SLOTS:
            raise SlotError("it named a slot that is not there")
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, slot)
        except OSError:
            return None
        self._held = slot
        return self._read(slot)

    def _read(self, slot: int) -> SharedFrame:
        header = HEADER.unpack_from(self._memory, slot * HEADER_STRIDE_BYTES)
        sequence, captured_ns, media_ns, height, width, *small_header = header
        rows, row_bytes, small_height, small_width, is_rgb = small_header
        main_bytes, small_bytes = 3 * height * width, rows * row_bytes
        if not main_bytes or main_bytes + small_bytes > self._slot_bytes:
            raise SlotError("a frame does not fit its slot")
        start = FIRST_SLOT_BYTES + slot * self._slot_bytes
        image = np.frombuffer(self._memory, np.uint8, main_bytes, start).reshape(height, width, 3)
        shown_ns = None if media_ns == NO_MEDIA_TIME else media_ns
        if not small_bytes:
            return SharedFrame(image, sequence, captured_ns, shown_ns)
        small = np.frombuffer(self._memory, np.uint8, small_bytes, start + main_bytes)
        needed = (small_height, 3 * small_width) if is_rgb else (small_height * 3 // 2, small_width)
        if rows != needed[0] or row_bytes < needed[1]:
            raise SlotError("a small picture does not fit its rows")
        small = small.reshape(rows, row_bytes)
        if is_rgb:
            small = small[:, : 3 * small_width].reshape(small_height, small_width, 3)
        return SharedFrame(image, sequence, captured_ns, shown_ns, small, (small_width, small_height))

    def release(self) -> None:
        """Lets the child have the slot that is held."""
        if self._held >= 0:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._held)
            self._held = -1

    def close(self) -> None:
        """Lets go of the memory; arrays that lie in it stay as they are. May be called twice."""
        with contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.close(self._descriptor)  # and with it all locks
        self._descriptor = self._held = -1
