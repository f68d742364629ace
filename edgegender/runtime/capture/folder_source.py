"""Photos of a folder as frames, in the order of their names."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from edgegender.errors import ImageError
from edgegender.images import read_image
from edgegender.runtime.capture.source_status import SourceStatus
from edgegender.runtime.frames import Frame


class FolderSource(SourceStatus):
    """Photos, one after the other. One that cannot be read is counted and left out.

    Args:
        name: What to call it.
        paths: The photos, at least one.
        is_looped: Whether to start again behind the last one.
    """

    def __init__(self, name: str, paths: Sequence[Path], *, is_looped: bool = False) -> None:
        super().__init__(name, is_live=False)
        self._paths = tuple(paths)
        self._is_looped = is_looped
        self._next = 0
        self._num_good = 0  # of this round
        self._first_fault = ""

    def read(self, timeout_s: float) -> Frame | None:
        """Returns the next photo that can be read; ``None`` at the end, or where none was found by the deadline."""
        deadline_s = time.monotonic() + timeout_s
        while self._state != "finished":
            if self._next == len(self._paths):
                self._end_round()
                continue
            path = self._paths[self._next]
            self._next += 1
            try:
                image = read_image(path)
            except ImageError as error:
                self._counters.damaged += 1
                self._first_fault = self._first_fault or str(error)
                if time.monotonic() >= deadline_s:
                    break
                continue
            self._num_good += 1
            self._state = "running"
            self._counters.frames += 1
            return Frame(image, self._counters.frames - 1, time.monotonic_ns())
        return None

    def _end_round(self) -> None:
        if self._is_looped and self._num_good:
            self._next = self._num_good = 0
            return
        self._state = "finished"
        if not self._counters.frames:
            self._problem = f"Expected photos, got {len(self._paths)} that cannot be read: {self._first_fault}"

    def close(self) -> None:
        """Hands out nothing more. May be called twice."""
        self._state = "finished"
