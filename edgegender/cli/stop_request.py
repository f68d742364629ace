"""Ctrl-C and SIGTERM as a wish: the work saves what it has and then leaves. Asked twice, it leaves at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from edgegender.cli.console import note

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether the user, a job scheduler or a shutting-down machine asked to stop.

    Until :meth:`arm` there is nothing to save, and a signal ends the process as it always does.
    """

    def __init__(self) -> None:
        self._is_armed = False
        self._number: int | None = None
        self._previous: dict[int, object] = {}

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self._number or signal.SIGINT)

    def arm(self) -> None:
        """From now on there is something to save first."""
        self._is_armed = True

    def is_asked(self) -> bool:
        """Returns whether to stop."""
        return self._number is not None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._is_armed and self._number is None:
            self._number = number
            note("\nstopping after this step; once more leaves at once")
            return
        self._number = number
        self._leave(number, frame)

    def _leave(self, number: int, frame: FrameType | None) -> NoReturn:
        previous = self._previous[number]
        if callable(previous):
            previous(number, frame)
        raise KeyboardInterrupt

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Hears the signals for the block; afterwards they do what they did before."""
        self._previous = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        try:
            yield
        finally:
            for number in _SIGNALS:
                signal.signal(number, self._previous[number])  # type: ignore[arg-type] # as it was given
