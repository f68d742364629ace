"""Counting people, not frames: since the start and by window of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from edgegender.errors import UsageError

UNSURE = "unsure"
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class PeopleWindow:
    """The people of one window of time.

    Args:
        window_s: Its length, seconds.
        people: People who were first counted in it, by their answer at its end or when they left.
        people_in_all: People since the start, by their answer now or when they left.
    """

    window_s: float
    people: dict[str, int]
    people_in_all: dict[str, int]


class PeopleCounter:
    """How many people were seen, by label.

    A person is counted once, under the latest answer, which may change while the person is there. Who left is kept as
    a number only: memory does not grow with the people. The sum of all windows is the number of people since the
    start; by label it may differ, when an answer changed after its window had ended.

    Args:
        labels: The model's labels; every one is in the answers, zero or not.
        window_s: Length of a window, seconds; ``None`` for no windows.

    Raises:
        UsageError: The window is not longer than zero.
    """

    def __init__(self, labels: Sequence[str], *, window_s: float | None = None) -> None:
        if window_s is not None and not 0 < window_s < float("inf"):
            raise UsageError(f"Expected a window of more than 0 seconds, got {window_s:g}.")
        self._keys = (*labels, UNSURE)
        self._window_ns = None if window_s is None else max(1, round(window_s * _NS_PER_S))
        self._start_ns: int | None = None
        self._present: dict[int, str] = {}
        self._left: Counter[str] = Counter()
        self._new: set[int] = set()  # of those present, the ones whom no window counted yet
        self._new_left: Counter[str] = Counter()

    def see(self, track_id: int, label: str) -> None:
        """Counts a person, or changes the answer of one who is still there.

        Args:
            track_id: The person's number; one that left must not come back.
            label: One of the labels, or ``UNSURE``.
        """
        if track_id not in self._present and self._window_ns is not None:
            self._new.add(track_id)
        self._present[track_id] = label

    def leave(self, track_id: int) -> None:
        """Keeps the answer of a person for good. Numbers that were never counted are passed over."""
        label = self._present.pop(track_id, None)
        if label is None:
            return
        self._left[label] += 1
        if track_id in self._new:
            self._new.remove(track_id)
            self._new_left[label] += 1

    def people(self) -> dict[str, int]:
        """Returns the number of people since the start, by label and ``UNSURE``."""
        return self._by_key(self._left + Counter(self._present.values()))

    def take_window(self, moment_ns: int, *, is_last: bool = False) -> PeopleWindow | None:
        """Returns the window that has ended, ``None`` while it lasts. The first window begins with the first call.

        When it is called late, after several windows' time, one window of that length holds them all.

        Args:
            moment_ns: Now, nanoseconds.
            is_last: Whether to end the window before its time; ``None`` then means that nothing is left to count.
        """
        if self._window_ns is None:
            return None
        if self._start_ns is None:
            self._start_ns = moment_ns
        passed_ns = max(0, moment_ns - self._start_ns)
        length_ns = passed_ns if is_last else passed_ns - passed_ns % self._window_ns
        if not length_ns and not (is_last and (self._new or self._new_left)):
            return None
        people = self._by_key(self._new_left + Counter(self._present[track_id] for track_id in self._new))
        self._start_ns += length_ns
        self._new.clear()
        self._new_left.clear()
        return PeopleWindow(length_ns / _NS_PER_S, people, self.people())

    def _by_key(self, counts: Counter[str]) -> dict[str, int]:
        return {key: counts[key] for key in self._keys}
