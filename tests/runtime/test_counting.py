"""Counting people: each once, under the latest answer, in memory that does not grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.errors import UsageError
from edgegender.runtime.counting import UNSURE, PeopleCounter

LABELS = ("female", "male")
SECOND = 10**9


def test_every_label_is_named_from_the_start() -> None:
    assert PeopleCounter(LABELS).people() == {"female": 0, "male": 0, "unsure": 0}


def test_a_person_counts_once_in_however_many_frames() -> None:
    counter = PeopleCounter(LABELS)
    for _ in range(100):
        counter.see(1, "male")
    assert counter.people() == {"female": 0, "male": 1, "unsure": 0}


def test_an_answer_may_change_while_the_person_is_there_and_stays_when_they_left() -> None:
    counter = PeopleCounter(LABELS)
    counter.see(1, UNSURE)
    counter.see(1, "female")
    counter.leave(1)
    counter.see(2, "male")
    assert counter.people() == {"female": 1, "male": 1, "unsure": 0}


def test_a_number_that_never_counted_may_leave() -> None:
    counter = PeopleCounter(LABELS)
    counter.leave(7)
    assert sum(counter.people().values()) == 0


def test_a_window_holds_those_first_seen_in_it() -> None:
    counter = PeopleCounter(LABELS, window_s=10)
    assert counter.take_window(0) is None
    counter.see(1, "male")
    counter.see(2, UNSURE)
    counter.leave(1)
    counter.see(2, "female")
    assert counter.take_window(9 * SECOND) is None
    window = counter.take_window(10 * SECOND)
    assert window is not None
    assert window.window_s == 10
    assert window.people == window.people_in_all == {"female": 1, "male": 1, "unsure": 0}
    counter.see(3, "male")
    second = counter.take_window(20 * SECOND)
    assert second is not None
    assert second.people == {"female": 0, "male": 1, "unsure": 0}  # 2 is still there, and was counted before
    assert second.people_in_all == {"female": 1, "male": 2, "unsure": 0}


def test_windows_keep_their_rhythm_and_a_late_call_gets_one_long_window() -> None:
    counter = PeopleCounter(LABELS, window_s=10)
    counter.take_window(0)
    ends = [counter.take_window(round(moment_s * SECOND)) for moment_s in (10.4, 19.9, 20.1, 55)]
    assert [window and window.window_s for window in ends] == [10, None, 10, 30]


def test_the_last_window_may_be_short_and_comes_once() -> None:
    counter = PeopleCounter(LABELS, window_s=10)
    counter.take_window(0)
    counter.see(1, "male")
    window = counter.take_window(3 * SECOND, is_last=True)
    assert window is not None
    assert window.window_s == 3
    assert window.people["male"] == 1
    assert counter.take_window(3 * SECOND, is_last=True) is None


def test_without_a_length_there_is_no_window() -> None:
    assert PeopleCounter(LABELS).take_window(100 * SECOND, is_last=True) is None


@pytest.mark.parametrize("window_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_window_is_longer_than_zero(window_s: float) -> None:
    with pytest.raises(UsageError, match="Expected a window of more than 0 seconds"):
        PeopleCounter(LABELS, window_s=window_s)


steps = st.lists(
    st.tuples(
        st.sampled_from(["see", "leave"]), st.integers(1, 6), st.sampled_from([*LABELS, UNSURE]), st.integers(0, 5)
    )
)


@given(steps)
def test_the_windows_add_up_to_the_total_and_nothing_is_negative(events: list[tuple[str, int, str, int]]) -> None:
    counter = PeopleCounter(LABELS, window_s=7)
    moment_s, offset, in_windows = 0, [0] * 7, 0
    for kind, slot, label, pause_s in events:
        moment_s += pause_s
        if kind == "see":
            counter.see(slot + 10 * offset[slot], label)
        else:  # who comes back has a new number
            counter.leave(slot + 10 * offset[slot])
            offset[slot] += 1
        window = counter.take_window(moment_s * SECOND)
        if window:
            assert min(window.people.values()) >= 0
            in_windows += sum(window.people.values())
    last = counter.take_window((moment_s + 1) * SECOND, is_last=True)
    in_windows += sum(last.people.values()) if last else 0
    assert in_windows == sum(counter.people().values())


def test_a_hundred_thousand_visitors_take_no_more_memory_than_one() -> None:
    counter = PeopleCounter(LABELS, window_s=1000)
    for number in range(100_000):
        counter.see(number, "male")
        counter.leave(number)
    assert counter.people()["male"] == 100_000
    held = [value for value in vars(counter).values() if isinstance(value, (dict, set))]
    assert sum(len(value) for value in held) <= 2 * (len(LABELS) + 1)
