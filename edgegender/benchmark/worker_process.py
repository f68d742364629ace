"""Starts a measuring process, sleeps while it measures, and takes its answer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgegender.errors import MeasurementError, MissingDependencyError, ModelFileError, TrainingError, UsageError

# The parent's own module path, so that the child sees the same packages and no file of the current folder shadows one.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "from edgegender.benchmark.worker import main; main(int(sys.argv[1]))"
)

Numbers = npt.NDArray[np.int64]


class WorkerDiedError(MeasurementError):
    """A signal ended the measuring process.

    Args:
        signal_name: Such as ``SIGSEGV``.
        what: What to call the measurement.
        hint: What to try.
    """

    def __init__(self, signal_name: str, what: str, *, hint: str) -> None:
        super().__init__(f"Expected the measuring process to finish, got {signal_name} ({what}).", hint=hint)
        self.signal_name = signal_name


def _raise_reported(values: Mapping[str, object]) -> None:
    """Raises again what the measuring process refused."""
    if values["error"] == MissingDependencyError.__name__:
        raise MissingDependencyError(str(values["package"]), extra=str(values["extra"]))
    known = {kind.__name__: kind for kind in (ModelFileError, TrainingError, UsageError)}
    kind = known.get(str(values["error"]), MeasurementError)
    raise kind(str(values["message"]), hint=str(values["hint"]))


def _died(code: int, stderr: bytes, what: str) -> MeasurementError:
    lines = stderr.decode(errors="replace").strip().splitlines()
    if code < 0:
        try:
            how = signal.Signals(-code).name
        except ValueError:
            how = f"signal {-code}"
        hint = "Close other programs or measure a smaller model: the system kills what takes too much memory."
        if -code != signal.SIGKILL:
            hint = "The runtime crashed. Check the model with: edgegender inspect MODEL"
        return WorkerDiedError(how, what, hint=hint)
    last = lines[-1] if lines else f"exit code {code}"
    return MeasurementError(
        f"Expected the measuring process to finish, got: {last} ({what}).", hint="Run: edgegender doctor"
    )


def run_worker(
    job: Mapping[str, object], payload: Sequence[npt.NDArray[np.generic]] = (), *, what: str
) -> tuple[dict[str, object], dict[str, Numbers]]:
    """Starts a measuring process, sleeps until it has answered, and returns (values, arrays).

    The process ends with this one, whatever ends it.

    Args:
        job: See :mod:`edgegender.benchmark.worker`.
        payload: Contiguous arrays that are handed over as raw bytes.
        what: What to call the measurement in an error.

    Raises:
        MeasurementError: The process died; :class:`WorkerDiedError` where a signal ended it.
        ModelFileError: It refused the model.
        UsageError: It refused an argument.
    """
    head = json.dumps({**job, "payload_bytes": sum(part.nbytes for part in payload)}).encode() + b"\n"
    message = b"".join([head, *(part.data for part in payload)])
    lifeline, held = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _BOOT, str(lifeline), "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline,),
            start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the child
        )
        try:
            answer, stderr = process.communicate(message)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    except OSError as error:
        raise MeasurementError(
            f"Expected to start a measuring process, got {error.strerror or error} ({what}).",
            hint="Close other programs.",
        ) from error
    finally:
        os.close(lifeline)
        os.close(held)
    head, found, raw = answer.partition(b"\n")
    if process.returncode or not found:
        raise _died(process.returncode, stderr, what)
    values: dict[str, object] = json.loads(head)
    if "error" in values:
        _raise_reported(values)
    arrays, start = {}, 0
    counts = values.pop("arrays")
    if isinstance(counts, dict):
        for name, count in counts.items():
            arrays[name] = np.frombuffer(raw, np.int64, count, start)
            start += 8 * count
    return values, arrays
