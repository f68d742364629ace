"""The library that computes below Keras: TensorFlow, JAX or PyTorch, its devices, precision and memory errors.

Which of the three it is, Keras reads from the environment when it is imported: that is set by who imports it, such as
the command line. Nothing here imports one that is not in use.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from importlib import import_module

from edgegender.errors import EdgeGenderError, MissingDependencyError, TrainingError, UsageError
from edgegender.native_log import held_back_stderr

BACKENDS = ("tensorflow", "jax", "torch")
DEVICES = ("auto", "cpu", "gpu")
# The first generation (Ampere) that multiplies bfloat16. Source: CUDA C++ Programming Guide, compute capabilities 8.x
_BFLOAT16_CAPABILITY = 8.0
_INSTALL_FOR_GPU = {
    "tensorflow": "pip install 'tensorflow[and-cuda]'",
    "jax": "pip install 'jax[cuda13]'",
    "torch": "install the build of PyTorch for your driver, see pytorch.org/get-started",
}
# What TensorFlow, JAX, PyTorch, cuBLAS and C++ say when memory ran out. Each has its own class, and none of them may
# be imported here to ask for it: the words do.
_MEMORY_WORDS = re.compile(
    r"RESOURCE_EXHAUSTED|OOM when allocating|out of memory|can't allocate memory|not enough memory|failed to allocate"
    r"|std::bad_alloc|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
_MEMORY_CLASSES = ("ResourceExhaustedError", "OutOfMemoryError")


def import_keras() -> None:
    """Imports Keras 3 and the backend that it is set to, or says how to install what is missing.

    Raises:
        MissingDependencyError: Keras or its backend is not installed.
    """
    try:
        with held_back_stderr():  # TensorFlow's banner about missing GPUs is no message of ours
            import keras  # noqa: F401
    except ImportError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("jax", "torch"):
            raise MissingDependencyError(name, extra=name) from error
        raise MissingDependencyError("keras with tensorflow", extra="train") from error


def backend_name() -> str:
    """Returns ``tensorflow``, ``jax`` or ``torch``: what Keras computes with in this process.

    Raises:
        MissingDependencyError: Keras or its backend is not installed.
    """
    import_keras()
    import keras

    return str(keras.config.backend())


def set_seed(seed: int) -> None:
    """Makes initial weights repeatable, and random operations of the backend that were given no seed of their own.

    Keras's own function for it imports TensorFlow, whatever the backend is.
    """
    backend = backend_name()
    if backend == "tensorflow":
        import keras

        keras.utils.set_random_seed(seed)
        return
    random.seed(seed)  # Keras draws the seeds of initializers from here
    if backend == "torch":
        import torch

        torch.manual_seed(seed)


def _gpus_of_tensorflow() -> list[tuple[str, float]]:
    import tensorflow as tf

    found = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        major, minor = details.get("compute_capability", (0, 0))
        found.append((str(details.get("device_name", "GPU")), float(f"{major}.{minor}")))
    return found


def _gpus_of_jax() -> list[tuple[str, float]]:
    import jax

    with held_back_stderr():  # of a driver that is too old
        try:
            gpus = jax.local_devices(backend="gpu")
        except RuntimeError:  # JAX was built without
            return []
    capability = re.compile(r"\d+(\.\d+)?")  # AMD's are words such as gfx90a
    found = [(gpu.device_kind, str(getattr(gpu, "compute_capability", ""))) for gpu in gpus]
    return [(kind, float(text) if capability.fullmatch(text) else 0.0) for kind, text in found]


def _gpus_of_torch() -> list[tuple[str, float]]:
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        found.append((str(torch.cuda.get_device_name(index)), float(f"{major}.{minor}")))
    return found


def list_gpus() -> list[tuple[str, float]]:
    """Returns (name, compute capability) of each GPU that the backend can use in this process.

    The capability is 0 where there is none of NVIDIA's. On JAX this starts the devices: among several processes, look
    inside of :func:`edgegender.training.distribution.distributed` only.
    """
    lists = {"tensorflow": _gpus_of_tensorflow, "jax": _gpus_of_jax, "torch": _gpus_of_torch}
    return lists[backend_name()]()


def _make_deterministic(backend: str) -> None:
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        torch.use_deterministic_algorithms(mode=True)
    # JAX reads a flag of the environment when it starts; on a CPU it is deterministic without


@contextlib.contextmanager
def _on_cpu(backend: str) -> Iterator[None]:
    if backend == "jax":
        import jax

        # Keras would take the first one of all processes, which may be another one's
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            yield
        return
    import keras

    with keras.device("cpu"):
        yield


@contextlib.contextmanager
def use_device(device: str = "auto", *, is_deterministic: bool | None = None) -> Iterator[None]:
    """Computes on the CPU or on a GPU while the block runs.

    Args:
        device: ``auto`` (a GPU where the backend has one), ``cpu`` or ``gpu``.
        is_deterministic: The same numbers in each run, at some cost in speed; ``None``: on a CPU yes, on a GPU no.
            It lasts beyond the block: no backend can take it back. JAX on a GPU wants
            ``XLA_FLAGS=--xla_gpu_deterministic_ops=true`` in the environment instead, before it is imported.

    Raises:
        TrainingError: A GPU was asked for, and the backend finds none.
        UsageError: The device is none of these.
        MissingDependencyError: Keras or its backend is not installed.
    """
    if device not in DEVICES:
        raise UsageError(f"Expected a device of {', '.join(DEVICES)}, got {device!r}.")
    backend = backend_name()
    gpus = [] if device == "cpu" else list_gpus()
    if device == "gpu" and not gpus:
        raise TrainingError(
            f"Expected a GPU, got none that {backend} can use.",
            hint=f"Use --device cpu. Does nvidia-smi show the GPU and its driver? Then: {_INSTALL_FOR_GPU[backend]}",
        )
    if not gpus if is_deterministic is None else is_deterministic:
        _make_deterministic(backend)
    with _on_cpu(backend) if device == "cpu" else contextlib.nullcontext():
        yield


def describe_devices(device: str = "auto") -> dict[str, str]:
    """Returns what a run computes with, for its record: ``backend``, its version, Keras's, ``device``, ``num_devices``.

    Args:
        device: As given to :func:`use_device`.
    """
    backend = backend_name()
    gpus = [] if device == "cpu" else list_gpus()
    names = sorted({name for name, _ in gpus})
    return {
        "backend": backend,
        "backend_version": str(import_module(backend).__version__),
        "keras": str(import_module("keras").__version__),
        "device": f"gpu: {', '.join(names)}" if gpus else "cpu",
        "num_devices": str(len(gpus) or 1),
    }


def choose_precision(wanted: str, *, device: str = "auto") -> str:
    """Returns Keras's dtype policy for a recipe's precision.

    Args:
        wanted: ``auto``, or a policy, which is returned as it is. ``auto`` is ``float32`` on a CPU; on a GPU it is
            ``mixed_bfloat16``, which needs no loss scaling, or ``mixed_float16`` where the GPU is older than that.
        device: As given to :func:`use_device`.
    """
    if wanted != "auto":
        return wanted
    gpus = [] if device == "cpu" else list_gpus()
    if not gpus:
        return "float32"
    return "mixed_bfloat16" if min(capability for _, capability in gpus) >= _BFLOAT16_CAPABILITY else "mixed_float16"


@contextlib.contextmanager
def precision_scope(policy: str) -> Iterator[None]:
    """Gives the layers that are built in the block a dtype policy, such as ``float32`` or ``mixed_bfloat16``."""
    import_keras()
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _is_about_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in _MEMORY_CLASSES:
        return True
    return not isinstance(error, (EdgeGenderError, OSError)) and bool(_MEMORY_WORDS.search(str(error)))


@contextlib.contextmanager
def told_memory(batch_size: int) -> Iterator[None]:
    """Names the batch size to try when memory runs out in the block, whatever the backend calls that.

    Args:
        batch_size: Photos a step, at least 1.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except Exception as error:
        if not _is_about_memory(error):
            raise
        smaller = "Try --set input_size_px= with a smaller size"
        if batch_size > 1:
            smaller = f"Try --set batch_size={batch_size // 2}, or a smaller --set input_size_px="
        raise TrainingError(
            f"Expected enough memory for batches of {batch_size}, got too little.", hint=f"{smaller}."
        ) from error
