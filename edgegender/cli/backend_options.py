"""What a training command computes with: backend, device, determinism, other processes.

The environment is read and set here, before Keras and its backend are imported: they look at it only then.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from edgegender.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from edgegender.training.distribution import Processes

_BACKENDS = ("tensorflow", "jax", "torch")  # the first one that is installed is the default
_EXTRAS = {"tensorflow": "train", "jax": "jax", "torch": "torch"}
# Where these stand, JAX finds the other processes by itself. Source: jax/_src/clusters
_CLUSTERS = (
    ("SLURM_STEP_NODELIST", "SLURM_NTASKS"),  # srun
    ("OMPI_MCA_orte_hnp_uri", "OMPI_COMM_WORLD_SIZE"),  # mpirun of Open MPI
)
_KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")  # an indexed job


def _default_backend() -> str:
    """Returns what $KERAS_BACKEND names, else the first one that is installed; imports nothing."""
    if "keras" in sys.modules:
        return str(sys.modules["keras"].config.backend())
    named = os.environ.get("KERAS_BACKEND", "")
    if named and named not in _BACKENDS:
        raise UsageError(
            f"Expected KERAS_BACKEND to be one of {', '.join(_BACKENDS)}, got {named!r}.",
            hint="Unset it, or give --backend.",
        )
    installed = [name for name in _BACKENDS if importlib.util.find_spec(name) is not None]
    return named or next(iter(installed), "tensorflow")


def choose_backend(wanted: str | None) -> str:
    """Returns the backend to use; imports nothing.

    Args:
        wanted: ``tensorflow``, ``jax`` or ``torch``; ``None`` for the default.

    Raises:
        MissingDependencyError: It, or Keras, is not installed.
        UsageError: Keras was imported before with another one.
    """
    backend = wanted or _default_backend()
    if "keras" in sys.modules:
        in_use = sys.modules["keras"].config.backend()
        if in_use != backend:
            raise UsageError(
                f"Expected Keras with {backend}, got {in_use}, which this process already uses.",
                hint=f"Start a new process, or use --backend {in_use}.",
            )
        return backend
    missing = [module for module in ("keras", backend) if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingDependencyError(missing[-1], extra=_EXTRAS[backend])
    return backend


def _set_environment(backend: str, device: str, is_deterministic: bool | None) -> None:
    os.environ["KERAS_BACKEND"] = backend
    if device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        if backend == "jax":
            os.environ["JAX_PLATFORMS"] = "cpu"
    if is_deterministic and backend == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        if "--xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if is_deterministic and backend == "torch":
        # cuBLAS has several work areas otherwise, and no fixed order among them
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def use_backend(name: str) -> None:
    """Makes Keras compute with a backend, for commands that work with one only.

    Raises:
        MissingDependencyError: It, or Keras, is not installed.
        UsageError: Keras was imported before with another one.
    """
    _set_environment(choose_backend(name), "auto", None)


def _is_in_cluster() -> bool:
    """Returns whether a job scheduler started this process as one of several."""
    if all(name in os.environ for name in _KUBERNETES):
        return True
    return any(mark in os.environ and os.environ.get(size, "1") != "1" for mark, size in _CLUSTERS)


@dataclass(frozen=True)
class BackendOptions:
    """What the options of :func:`backend_options` say.

    Args:
        backend: ``None`` for the default.
        device: ``auto``, ``cpu`` or ``gpu``.
        is_deterministic: ``None``: on a CPU yes, on a GPU no.
        is_distributed: Share the work among devices and processes.
        coordinator: ``HOST:PORT`` of process 0.
        num_processes: How many there are.
        process_index: Which one this is, from 0.
    """

    backend: str | None = None
    device: str = "auto"
    is_deterministic: bool | None = None
    is_distributed: bool = False
    coordinator: str | None = None
    num_processes: int | None = None
    process_index: int | None = None

    def _check(self) -> None:
        addressing = (self.coordinator, self.num_processes, self.process_index)
        given = [value is not None for value in addressing]
        if any(given) and not self.is_distributed:
            raise UsageError(
                "Expected --distribute with --coordinator, --num-processes and --process-index, got none.",
                hint="Add --distribute.",
            )
        if any(given) and not all(given):
            raise UsageError(
                "Expected --coordinator, --num-processes and --process-index together, got only some of them.",
                hint="Give all three, or none: then SLURM, Open MPI or Kubernetes is asked, or all GPUs of this "
                "machine are used by one process.",
            )

    @contextlib.contextmanager
    def started(self) -> Iterator[tuple[Processes, dict[str, str]]]:
        """Chooses and starts the backend for the block, and joins the other processes.

        Yields:
            The processes, and what the run's record says of the devices.

        Raises:
            MissingDependencyError: The backend is not installed.
            UsageError: The options contradict each other.
            TrainingError: The device is not there, or another process is not.
        """
        self._check()
        backend = choose_backend(self.backend)
        _set_environment(backend, self.device, self.is_deterministic)
        from edgegender.cli.supervised import supervised
        from edgegender.training.backend import describe_devices, use_device
        from edgegender.training.distribution import distributed, single_process

        is_cluster = self.is_distributed and self.coordinator is None and _is_in_cluster()
        joined: contextlib.AbstractContextManager[Processes] = contextlib.nullcontext(single_process())
        if self.is_distributed:
            joined = distributed(
                coordinator=self.coordinator,
                num_processes=self.num_processes,
                process_index=self.process_index,
                is_cluster=is_cluster,
                device=self.device,
            )
        is_several = is_cluster or (self.num_processes or 1) > 1
        with (
            supervised() if is_several else contextlib.nullcontext(),
            joined as processes,
            use_device(self.device, is_deterministic=self.is_deterministic),
        ):
            environment = describe_devices(self.device)
            if self.is_distributed:
                environment |= {"num_processes": str(processes.count), "num_devices": str(processes.num_devices)}
            yield processes, environment


def backend_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --backend, --device, --deterministic and --distribute with its addresses, given as ``backend``."""

    @click.option(
        "--backend",
        "backend_wanted",
        type=click.Choice(_BACKENDS),
        help="What Keras computes with.  [default: $KERAS_BACKEND, else the first one that is installed]",
    )
    @click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "gpu"]),
        default="auto",
        show_default=True,
        help="auto: a GPU, if any.",
    )
    @click.option(
        "--deterministic/--no-deterministic",
        "is_deterministic",
        default=None,
        help="The same numbers in each run.  [default: on a CPU yes, on a GPU no]",
    )
    @click.option("--distribute", "is_distributed", is_flag=True, help="Several GPUs or hosts (needs --backend jax).")
    @click.option(
        "--coordinator", metavar="HOST:PORT", help="With --distribute: where process 0 runs, and a free port."
    )
    @click.option("--num-processes", type=click.IntRange(1), metavar="N", help="With --distribute: of all hosts.")
    @click.option("--process-index", type=click.IntRange(0), metavar="I", help="With --distribute: this one's, from 0.")
    @functools.wraps(command)
    def with_backend(
        *args: object,
        backend_wanted: str | None,
        device: str,
        is_deterministic: bool | None,
        is_distributed: bool,
        coordinator: str | None,
        num_processes: int | None,
        process_index: int | None,
        **options: object,
    ) -> object:
        backend = BackendOptions(
            backend_wanted, device, is_deterministic, is_distributed, coordinator, num_processes, process_index
        )
        return command(*args, backend=backend, **options)

    return with_backend
