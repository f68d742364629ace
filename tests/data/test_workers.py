"""Work in several processes: in order, little ahead, and a clean end whatever happens to whom."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from edgegender.data import workers
from edgegender.data.workers import choose_workers, map_in_processes
from edgegender.errors import ImageError, WorkerError

TIMEOUT_S = 60  # a busy machine starts two interpreters in some seconds
BOTH = pytest.mark.parametrize("num_workers", [1, 2])

started_with = ""


def square(number: int) -> int:
    return number * number


def wait_and_return(number: int) -> int:
    time.sleep(0.02 * (number % 3))  # later items are done earlier
    return number


def own_process(_: int) -> int:
    return os.getpid()


def refuse_three(number: int) -> int:
    if number == 3:
        raise ImageError("Expected a photo, got 3.", kind="damaged", hint="Take another.")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def remember(word: str) -> None:
    global started_with  # noqa: PLW0603 - what a worker keeps between its items
    started_with = word


def remembered(_: int) -> str:
    return started_with


def fail_to_start() -> None:
    raise ValueError("no network")


class Counted:
    """Numbers, and how many of them were asked for."""

    def __init__(self, size: int) -> None:
        self.num_read = 0
        self._size = size

    def __iter__(self) -> Iterator[int]:
        for number in range(self._size):
            self.num_read += 1
            yield number


@BOTH
@pytest.mark.parametrize("count", [0, 1, 25])
def test_results_come_in_the_order_of_their_items(num_workers: int, count: int) -> None:
    results = map_in_processes(wait_and_return, range(count), workers=num_workers, chunk_items=2)
    assert list(results) == list(range(count))


def test_several_workers_are_other_processes_and_no_more_than_asked_for() -> None:
    processes = set(map_in_processes(own_process, range(40), workers=2, chunk_items=1))
    assert os.getpid() not in processes
    assert len(processes) <= 2


def test_one_worker_is_this_process() -> None:
    assert set(map_in_processes(own_process, range(3), workers=1, chunk_items=1)) == {os.getpid()}


def test_items_are_read_a_few_chunks_ahead_and_not_all_at_once() -> None:
    items = Counted(10_000)
    with contextlib.closing(map_in_processes(square, items, workers=2, chunk_items=3)) as results:
        for done, result in enumerate(results, start=1):
            assert result == (done - 1) ** 2
            assert items.num_read <= done + 2 * 4 * 3 + 3  # two processes' four chunks, and the one handed out
            if done == 30:
                break
    assert items.num_read < 100


def test_one_worker_reads_an_item_when_its_result_is_asked_for() -> None:
    items = Counted(10)
    results = map_in_processes(square, items, workers=1, chunk_items=5)
    assert (next(results), items.num_read) == (0, 1)
    results.close()


@BOTH
def test_an_error_reaches_the_caller_as_itself_after_the_results_before_it(num_workers: int) -> None:
    results = map_in_processes(refuse_three, range(10), workers=num_workers, chunk_items=1)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ImageError, match=r"Expected a photo, got 3\.") as caught:
        next(results)
    assert (caught.value.kind, caught.value.hint) == ("damaged", "Take another.")
    assert multiprocessing.active_children() == []


def test_a_worker_that_is_killed_is_told_with_the_likely_cause() -> None:
    message = "Expected 2 processes to work to the end, got one that was killed, crashed or could not start"
    with pytest.raises(WorkerError, match=message) as caught:
        list(map_in_processes(die_at_three, range(50), workers=2, chunk_items=1))
    assert caught.value.hint == "Memory may have run out: try again with fewer workers."
    assert multiprocessing.active_children() == []


def test_a_worker_that_cannot_start_ends_the_run() -> None:
    with pytest.raises(WorkerError, match="could not start"):
        list(map_in_processes(square, range(4), workers=2, chunk_items=1, start_worker=fail_to_start))


@BOTH
def test_each_process_is_prepared_before_its_first_item(num_workers: int) -> None:
    start = partial(remember, f"prepared {num_workers}")
    results = map_in_processes(remembered, range(8), workers=num_workers, chunk_items=1, start_worker=start)
    assert set(results) == {f"prepared {num_workers}"}


def test_a_generator_that_is_closed_early_leaves_no_process_behind() -> None:
    results = map_in_processes(wait_and_return, range(10_000), workers=2, chunk_items=1)
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


def test_work_can_be_started_from_a_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.extend(map_in_processes(square, range(6), workers=2, chunk_items=1)))
    thread.start()
    thread.join(TIMEOUT_S)
    assert found == [0, 1, 4, 9, 16, 25]


def test_ctrl_c_waits_for_the_end_of_a_block_that_must_not_be_cut() -> None:
    reached = []

    def interrupt_within() -> None:
        with workers._interrupts_deferred():
            signal.raise_signal(signal.SIGINT)
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        interrupt_within()
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("wanted", "num_items", "chosen"), [(4, 10_000, 4), (4, 1_000, 2), (4, 999, 1), (4, 0, 1), (0, 9_999, 1)]
)
def test_a_process_is_started_only_for_work_enough(wanted: int, num_items: int, chosen: int) -> None:
    assert choose_workers(wanted, num_items, items_per_worker=500) == chosen


SCRIPT = """
import os, signal, sys, time
from edgegender.data.workers import map_in_processes

def work(number):
    time.sleep(0.01)
    return number

if __name__ == "__main__":
    try:
        for number in map_in_processes(work, range(100_000), workers=2, chunk_items=2):
            if number == 6:
                print("working", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(130)
"""


@pytest.fixture
def working(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of its own group whose two workers have begun."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    repository = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": repository},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=TIMEOUT_S)


def test_ctrl_c_ends_all_processes_and_one_tells_of_it(working: subprocess.Popen[str]) -> None:
    os.killpg(working.pid, signal.SIGINT)  # as a terminal does: to all of them at once
    # the answer is whole when the last process that holds the pipes has ended
    out, err = working.communicate(timeout=TIMEOUT_S)
    assert (working.returncode, out, err) == (130, "interrupted\n", "")


def test_workers_end_when_the_process_that_started_them_is_killed(working: subprocess.Popen[str]) -> None:
    working.kill()
    working.communicate(timeout=TIMEOUT_S)  # they hold the pipes: it would wait for ever
    assert working.returncode == -signal.SIGKILL
