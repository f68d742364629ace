"""The training process as the caller holds it: started, spoken to, heard, and ended with it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from edgegender.conversion.twin_protocol import CutShortError, read_message, write_message
from edgegender.errors import (
    CheckFailedError,
    MissingDependencyError,
    TrainingError,
    UsageError,
    WorkerError,
)

# The parent's own module path, so that the child sees the same packages and no file of the current folder shadows one.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "from edgegender.conversion.twin_worker import main; main(int(sys.argv[1]))"
)

Message = tuple[dict[str, Any], list[npt.NDArray[np.float32]], bytes]


def _died(code: int, stderr: bytes) -> WorkerError:
    if code < 0:
        try:
            how = signal.Signals(-code).name
        except ValueError:
            how = f"signal {-code}"
        hint = "The system kills what takes too much memory: close other programs, or use smaller batches."
        if -code != signal.SIGKILL:
            hint = "TensorFlow crashed. Run: edgegender doctor"
        return WorkerError(f"Expected the training process to finish, got {how}.", hint=hint)
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else f"exit code {code}"
    return WorkerError(f"Expected the training process to finish, got: {last}.", hint="Run: edgegender doctor")


def _raise_reported(values: Mapping[str, Any]) -> None:
    """Raises again what the training process refused."""
    if values["error"] == MissingDependencyError.__name__:
        raise MissingDependencyError(values["message"], extra=values["hint"])
    kinds = {kind.__name__: kind for kind in (UsageError, CheckFailedError, TrainingError)}
    raise kinds.get(values["error"], WorkerError)(values["message"], hint=values["hint"])


class Child:
    """The training process, and a thread that hears it: the parent writes while the child answers."""

    def __init__(self) -> None:
        self._lifeline, self._held = os.pipe()
        # memory: nothing is written to disk, and a full pipe cannot stop the child
        self._log = os.fdopen(os.memfd_create("stderr"), "w+b")
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
                [sys.executable, "-c", _BOOT, str(self._lifeline), "\n".join(sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                pass_fds=(self._lifeline,),
                env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_FORCE_GPU_ALLOW_GROWTH": "true"},
                start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the child
            )
        except OSError as error:
            self._close_pipes()
            raise WorkerError(
                f"Expected to start a training process, got {error.strerror or error}.", hint="Close other programs."
            ) from error
        self._stdin = cast("BinaryIO", self._process.stdin)
        self._stdout = cast("BinaryIO", self._process.stdout)
        self._heard: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        try:
            while True:
                self._heard.put(read_message(self._stdout))
        except (CutShortError, OSError, ValueError):
            self._heard.put(None)

    def say(self, values: Mapping[str, object], arrays: Sequence[npt.NDArray[np.float32]] = ()) -> bool:
        """Writes a message; returns whether the child still listens."""
        try:
            write_message(self._stdin, values, arrays)
        except OSError:
            return False
        return True

    def hear(self, *, is_waiting: bool) -> Message | None:
        """Returns the next message; ``None`` where there is none yet and ``is_waiting`` is false.

        Raises:
            EdgeGenderError: The child reported an error, or died.
        """
        try:
            message = self._heard.get(block=is_waiting)
        except queue.Empty:
            return None
        if message is None:
            code = self._process.wait()
            self._log.seek(0)
            raise _died(code, self._log.read())
        if "error" in message[0]:
            _raise_reported(message[0])
        return message

    def hear_next(self) -> Message:
        """Waits for the next message.

        Raises:
            EdgeGenderError: The child reported an error, or died.
        """
        while (message := self.hear(is_waiting=True)) is None:
            continue
        return message

    def _close_pipes(self) -> None:
        os.close(self._lifeline)
        os.close(self._held)
        self._log.close()

    def end(self) -> None:
        """Ends the process, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._listener.join()
        for pipe in (self._stdin, self._stdout):
            try:
                pipe.close()
            except OSError:  # what was not flushed has no reader
                continue
        self._close_pipes()
