"""One of several training processes, watched by a process of its own.

When another one dies, JAX ends this one with an abort in native code: no Python runs any more that could say so. The
process that the user started therefore only waits, and a child of it works.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

from edgegender.errors import TrainingError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_REQUEST_S = 1.0  # a terminal and a job scheduler signal the child, too, which then hears of it twice
_PR_SET_PDEATHSIG = 1  # Source: prctl(2)


def _wait(child: int) -> NoReturn:
    """Waits for the child, hands signals on to it, and leaves as it left.

    Raises:
        TrainingError: It was killed, or ended itself because another process had gone.
    """

    def hand_on(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in _SIGNALS:
        signal.signal(number, hand_on)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code >= 0:
        sys.exit(code)
    name = signal.Signals(-code).name
    if -code == signal.SIGABRT:
        raise TrainingError(
            "Expected all processes to go on, got one that has gone.",
            hint="See what that one said last; then go on from the last checkpoint with --resume, in all processes.",
        )
    raise TrainingError(
        f"Expected the training process to end by itself, got {name}.",
        hint="SIGKILL without a person behind it means too little memory: see dmesg, use a smaller batch_size.",
    )


def _heard_once(handler: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
    heard = dict.fromkeys(_SIGNALS, -_SAME_REQUEST_S)

    def hear(number: int, frame: FrameType | None) -> None:
        is_again = time.monotonic() - heard[signal.Signals(number)] < _SAME_REQUEST_S
        heard[signal.Signals(number)] = time.monotonic()
        if not is_again:
            handler(number, frame)

    return hear


def _begin_child(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a kill of the parent must not leave us behind
    if os.getppid() != parent:
        os._exit(1)
    for number in _SIGNALS:
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, _heard_once(handler))
    # gloo, which connects CPUs, writes to standard output, which is for results: it gets standard error instead
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, buffering=1)
    os.dup2(2, 1)


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    return int(getattr(error, "exit_code", 3))


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextlib.contextmanager
def supervised() -> Iterator[None]:
    """Runs the block, and all that comes after it, in a child process.

    When the block raises, the child leaves without the tidying of native libraries: JAX would wait there for the other
    processes, and then abort.

    Raises:
        TrainingError: In the process that was there before: the child was killed or aborted.
        SystemExit: There, too: the child has left with this exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    with warnings.catch_warnings():
        # Python warns of other threads; those of BLAS and OpenCV are idle here, and both are made for a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        _wait(child)
    _begin_child(parent)
    try:
        yield
    except BaseException as error:
        atexit.register(_leave, _exit_code_of(error))  # registered last, called first
        raise
