"""Several GPUs and several hosts: each process trains on its slice of a batch, and all hold the same weights.

Keras's data parallelism on JAX: weights are copied to all devices, the rows of a batch are shared among them, and
gradients, losses and the statistics of batch normalization are those of the whole batch.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from edgegender.errors import DataError, EdgeGenderError, TrainingError, UsageError
from edgegender.training.backend import backend_name
from edgegender.training.rendezvous import meet

_Scalar = TypeVar("_Scalar", bound=np.generic)

MEETING_TIMEOUT_S = 300.0
_HEARTBEAT_TIMEOUT_S = 60  # a process that was silent for so long is dead: JAX then ends the others
_SHUTDOWN_TIMEOUT_S = 600  # process 0 draws the curves while the others wait
# What gloo (CPUs), NCCL (GPUs) and JAX's coordination service say when a process has gone
_LOST_WORDS = re.compile(
    r"gloo|nccl|connection (reset|closed|refused)|socket closed|broken pipe|heartbeat|barrier|coordination",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Processes:
    """The processes that train one network together, as one of them sees them.

    :meth:`gather`, :meth:`any` and :meth:`check_same` wait for all processes: each must call them, in the same order.

    Args:
        index: Which one this is, from 0.
        count: How many there are.
        num_devices: Devices of all processes together; a batch is shared among them.
    """

    index: int = 0
    count: int = 1
    num_devices: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and speaks to the user."""
        return self.index == 0

    def gather(self, array: npt.NDArray[_Scalar]) -> npt.NDArray[_Scalar]:
        """Returns the rows of all processes in the order of their indices.

        Args:
            array: (rows, …); each process may have another number of rows, of the same shape and dtype.

        Raises:
            TrainingError: Another process has gone.
        """
        if self.count == 1:
            return array
        from jax.experimental import multihost_utils

        # JAX would make float32 of float64: what travels is bytes, padded to the longest
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        with _told_lost_process():
            sizes = multihost_utils.process_allgather(np.asarray([raw.size], np.int32)).reshape(-1)
            padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
            padded[: raw.size] = raw
            parts = np.asarray(multihost_utils.process_allgather(padded)).reshape(self.count, -1)
        whole = b"".join(part[:size].tobytes() for part, size in zip(parts, sizes, strict=True))
        rows: npt.NDArray[_Scalar] = np.frombuffer(whole, array.dtype).reshape(-1, *array.shape[1:])
        return np.array(rows)

    def any(self, flag: bool) -> bool:  # noqa: FBT001 - any(is_stopping) reads as Python's own
        """Returns whether the flag is set in one process at least.

        Raises:
            TrainingError: Another process has gone.
        """
        return bool(self.gather(np.asarray([flag])).any())

    def check_same(self, what: str, text: str) -> None:
        """Compares what must be the same in all processes.

        Args:
            what: To name in the error, such as "the manifest".
            text: Of any length: a hash of it is what travels.

        Raises:
            DataError: It is another in some process; raised in all of them.
            TrainingError: Another process has gone.
        """
        own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)[None]
        digests = self.gather(own)
        others = np.flatnonzero((digests != digests[0]).any(axis=1))
        if others.size:
            raise DataError(
                f"Expected {what} to be the same in all {self.count} processes, got another in process "
                f"{', '.join(map(str, others))} than in process 0.",
                hint="Start all of them with the same files and options.",
            )

    def check_batch_size(self, batch_size: int) -> None:
        """Raises for a batch that cannot be shared evenly among the devices.

        Raises:
            UsageError: ``batch_size`` is no multiple of ``num_devices``.
        """
        if batch_size % self.num_devices:
            fitting = max(1, round(batch_size / self.num_devices)) * self.num_devices
            raise UsageError(
                f"Expected a batch size that {self.num_devices} devices can share evenly, got {batch_size}.",
                hint=f"Use --set batch_size={fitting}.",
            )


def single_process() -> Processes:
    """Returns the only process of a training that is not distributed."""
    return Processes()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Lets one process make Keras objects that the others do not make, such as those that saving weights makes.

    A variable that is made among several processes is compared in all of them: the others would have to take part.
    """
    import keras

    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextlib.contextmanager
def _told_lost_process() -> Iterator[None]:
    try:
        yield
    except EdgeGenderError:
        raise
    except (RuntimeError, ValueError) as error:  # gloo's arrive as ValueError or as JaxRuntimeError
        if not _LOST_WORDS.search(str(error)):
            raise
        raise TrainingError(
            "Expected all processes to go on, got one that has gone.",
            hint="See what that one said last; then go on from the last checkpoint with --resume, in all processes.",
        ) from error


def _start_jax(coordinator: str | None, num_processes: int | None, process_index: int | None, timeout_s: float) -> None:
    """Connects this process to the others; with ``None`` throughout, JAX asks the cluster."""
    import jax

    options = {
        "coordinator_address": coordinator,
        "num_processes": num_processes,
        "process_id": process_index,
        "initialization_timeout": max(1, round(timeout_s)),
        "heartbeat_timeout_seconds": _HEARTBEAT_TIMEOUT_S,
        "shutdown_timeout_seconds": _SHUTDOWN_TIMEOUT_S,
        "cluster_detection_method": None if coordinator is None else "deactivate",
    }
    # JAX takes SIGTERM for itself otherwise, and who wants to save on it never hears
    if hasattr(jax.config, "jax_enable_preemption_service"):
        jax.config.update("jax_enable_preemption_service", False)  # noqa: FBT003 - JAX's signature
    known = inspect.signature(jax.distributed.initialize).parameters  # the last line for Python 3.10 has fewer
    try:
        jax.distributed.initialize(**{name: value for name, value in options.items() if name in known})
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"Expected JAX to find the other processes, got: {str(error).splitlines()[0]}",
            hint="Name them with --coordinator, --num-processes and --process-index.",
        ) from error


def _take_back_signals() -> None:
    """Gives SIGTERM back to Python's handler: the last JAX for Python 3.10 takes it and cannot be told not to."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _require_jax() -> None:
    backend = backend_name()
    if backend != "jax":
        raise UsageError(
            f"Expected the backend jax for --distribute, got {backend}.",
            hint="Add --backend jax (pip install 'edgegender[jax]').",
        )


@contextlib.contextmanager
def distributed(
    *,
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_index: int | None = None,
    is_cluster: bool = False,
    device: str = "auto",
    timeout_s: float = MEETING_TIMEOUT_S,
) -> Iterator[Processes]:
    """Shares the batches of the networks that are built and trained in the block among devices and processes.

    With ``coordinator``, ``num_processes`` and ``process_index``, the processes that were started with them. With
    ``is_cluster``, those that SLURM, Open MPI or Kubernetes started. With neither, all devices of this process.

    Nothing may have used JAX in this process before, where there are several. The network and its optimizer must be
    built inside of the block. When the block ends, all processes wait for each other; when it raises, they do not,
    and a caller should end the process at once with ``os._exit``: JAX aborts at the interpreter's end.

    Args:
        coordinator: ``HOST:PORT`` of process 0.
        num_processes: How many there are.
        process_index: Which one this is, from 0.
        is_cluster: Ask the cluster's environment.
        device: ``cpu`` leaves GPUs alone.
        timeout_s: How long to wait for the others at the start.

    Raises:
        UsageError: The backend is not JAX; an address or index is wrong; the port is taken.
        TrainingError: A process did not come, or has gone while the block ran.
        MissingDependencyError: JAX is not installed.
    """
    _require_jax()
    import jax
    import keras

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if coordinator is not None and num_processes is not None and process_index is not None:
        meet(coordinator, num_processes=num_processes, process_index=process_index, timeout_s=timeout_s)
    is_several = is_cluster or (num_processes or 1) > 1
    if is_several:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        _start_jax(coordinator, num_processes, process_index, timeout_s)
    before = keras.distribution.distribution()
    devices = keras.distribution.list_devices()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))
    try:
        with _told_lost_process():
            processes = Processes(jax.process_index(), jax.process_count(), len(devices))
            processes.any(flag=False)  # connects them while all are here: gloo waits for half a minute only
            _take_back_signals()
            yield processes
            if is_several:
                jax.distributed.shutdown()
    finally:
        keras.distribution.set_distribution(before)
