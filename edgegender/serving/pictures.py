"""The newest picture as a JPEG file, for all who watch: encoded once, in a thread of its own, and never queued."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from edgegender import images
from edgegender.entities import UInt8Array

_STUCK_S = 1.0  # a viewer that takes longer over one picture does not keep pictures coming
_CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class EncodedPicture:
    """One picture as a JPEG file.

    Args:
        number: Grows with each picture, from 1.
        jpeg: The file.
    """

    number: int
    jpeg: bytes


@dataclass(eq=False)
class Viewer:
    """Somebody who watches.

    Args:
        wake: Called from another thread when there is a newer picture, and when there will be none any more.
        sending_since_s: ``time.monotonic()`` when a picture began to be sent; ``None`` while waiting for one.
    """

    wake: Callable[[], None]
    sending_since_s: float | None = None

    def is_waiting(self) -> bool:
        """Returns whether a new picture would be of use soon."""
        since_s = self.sending_since_s
        return since_s is None or time.monotonic() - since_s < _STUCK_S

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Tells how long a picture takes to be sent."""
        self.sending_since_s = time.monotonic()
        try:
            yield
        finally:
            self.sending_since_s = None


class PictureBoard:
    """Keeps the newest picture while somebody watches.

    Args:
        jpeg_quality: 1 to 100.
        max_width_px: Wider pictures are made smaller before they are encoded; ``None`` keeps them.
        on_problem: Called with one line, in the encoder's thread, where a picture cannot be encoded.
    """

    def __init__(self, *, jpeg_quality: int, max_width_px: int | None, on_problem: Callable[[str], None]) -> None:
        self._jpeg_quality = jpeg_quality
        self._max_width_px = max_width_px
        self._on_problem = on_problem
        self._changed = threading.Condition()
        self._viewers: list[Viewer] = []
        self._encoder: threading.Thread | None = None
        self._raw_rgb: UInt8Array | None = None
        self._picture: EncodedPicture | None = None
        self._num_pictures = 0
        self._is_closed = False

    @property
    def is_wanted(self) -> bool:
        """Whether somebody watches who can take a picture now."""
        with self._changed:
            return any(viewer.is_waiting() for viewer in self._viewers)

    @property
    def is_closed(self) -> bool:
        """Whether no picture will come any more."""
        return self._is_closed

    @property
    def num_viewers(self) -> int:
        """How many watch."""
        return len(self._viewers)

    @property
    def picture(self) -> EncodedPicture | None:
        """The newest picture; ``None`` before the first one, and while nobody watches."""
        return self._picture

    def put(self, picture_rgb: UInt8Array) -> None:
        """Takes a picture of shape (height, width, 3), uint8, and returns at once; one that still waits is dropped."""
        with self._changed:
            if self._viewers and not self._is_closed:
                self._raw_rgb = picture_rgb
                self._changed.notify_all()

    @contextmanager
    def watching(self, wake: Callable[[], None]) -> Iterator[Viewer]:
        """Keeps pictures coming for the block.

        Args:
            wake: Called from another thread for each new picture, and when the board closes. It returns at once.
        """
        viewer = Viewer(wake)
        with self._changed:
            self._viewers.append(viewer)
            if self._encoder is None and not self._is_closed:
                self._encoder = threading.Thread(target=self._encode_forever, name="preview-encoder", daemon=True)
                self._encoder.start()
        try:
            yield viewer
        finally:
            with self._changed:
                self._viewers.remove(viewer)
                if not self._viewers:  # nobody is shown an old picture later
                    self._raw_rgb = self._picture = None

    def close(self) -> None:
        """Ends the encoder and wakes the viewers. May be called twice."""
        with self._changed:
            self._is_closed = True
            self._raw_rgb = self._picture = None
            self._changed.notify_all()
            viewers, encoder = list(self._viewers), self._encoder
        for viewer in viewers:
            viewer.wake()
        if encoder is not None:
            encoder.join(_CLOSE_TIMEOUT_S)

    def _take_raw(self) -> UInt8Array | None:
        """Waits for a picture; ``None`` when there will be none any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._raw_rgb is not None)
            raw_rgb, self._raw_rgb = self._raw_rgb, None
        return raw_rgb

    def _encode_forever(self) -> None:
        while (raw_rgb := self._take_raw()) is not None:
            try:
                jpeg = images.encode_image(_fit(raw_rgb, self._max_width_px), jpeg_quality=self._jpeg_quality)
            except cv2.error as error:
                self._on_problem(f"Expected a picture to encode, got {error.err} (shape {raw_rgb.shape}).")
                continue
            with self._changed:
                viewers = list(self._viewers)
                if viewers and not self._is_closed:
                    self._num_pictures += 1
                    self._picture = EncodedPicture(self._num_pictures, jpeg)
            for viewer in viewers:
                viewer.wake()


def _fit(picture_rgb: UInt8Array, max_width_px: int | None) -> UInt8Array:
    height, width = picture_rgb.shape[:2]
    if max_width_px is None or width <= max_width_px:
        return picture_rgb
    size_wh = (max_width_px, max(1, round(height * max_width_px / width)))
    return np.asarray(cv2.resize(picture_rgb, size_wh, interpolation=cv2.INTER_AREA), np.uint8)
