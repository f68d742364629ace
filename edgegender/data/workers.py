"""The same work on many photos in several processes: results in order, little in memory, a clean end on Ctrl-C."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from edgegender.errors import WorkerError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_CHUNKS_AHEAD = 4  # for each process: enough that none waits, few enough that a million photos take no memory


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Defers Ctrl-C to the end of the block: a half-made pool or a half-started process would print a traceback."""
    if threading.current_thread() is not threading.main_thread():  # Python hands signals to the main thread only
        yield
        return
    heard: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
    if heard:
        signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _interrupts_masked() -> Iterator[None]:
    """Keeps Ctrl-C from the processes that start in the block, for as long as they live.

    A terminal sends it to all of them at once: each would print a traceback of its own. They inherit this mask, and
    the process that started them ends them.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def choose_workers(workers: int, num_items: int, *, items_per_worker: int) -> int:
    """Returns at most ``workers``, at least 1: a process that has little to do takes longer to start than to work."""
    return max(1, min(workers, num_items // items_per_worker))


def _apply(function: Callable[[_Item], _Result], items: list[_Item]) -> list[_Result]:
    return [function(item) for item in items]


def _nothing() -> None:
    return None


def _end_with_parent() -> None:
    """Ends this process when the one that started it is no more.

    Killed by SIGKILL, or for want of memory, that one cannot say so: its workers would wait for ever, memory in hand.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:  # pragma: no branch - a worker has one
        parent.join()
        os._exit(1)


def _start(start_worker: Callable[[], None]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start_worker()


def map_in_processes(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    *,
    workers: int,
    chunk_items: int,
    start_worker: Callable[[], None] = _nothing,
    is_one_apart: bool = False,
) -> Generator[_Result, None, None]:
    """Yields ``function(item)`` for each item, in order.

    Args:
        function: Picklable when ``workers`` is above one.
        items: Read as they are needed, a few chunks ahead of the results.
        workers: Processes; 1 works in this one, unless ``is_one_apart``.
        chunk_items: Items that a process gets at once. Ctrl-C waits for the chunks under way.
        start_worker: Called once in each process before its first item; picklable when ``workers`` is above one.
        is_one_apart: Whether a single worker is a process of its own, too, and this one free for something else.

    Raises:
        WorkerError: A process was killed, crashed or could not start.
    """
    if workers == 1 and not is_one_apart:
        start_worker()
        yield from map(function, items)
        return
    left = iter(items)
    pool: ProcessPoolExecutor | None = None
    ahead: deque[Future[list[_Result]]] = deque()
    try:
        with _interrupts_deferred():
            pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (start_worker,))
        while True:
            while len(ahead) < workers * _CHUNKS_AHEAD and (chunk := list(islice(left, chunk_items))):
                # a process may start in each submit; the mask comes after the pool is made, because Python's resource
                # tracker, which starts with the pool, takes it off
                with _interrupts_deferred(), _interrupts_masked():
                    ahead.append(pool.submit(_apply, function, chunk))
            if not ahead:
                return
            yield from ahead.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerError(
            f"Expected {workers} processes to work to the end, got one that was killed, crashed or could not start.",
            hint="Memory may have run out: try again with fewer workers.",
        ) from error
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
