"""Keras as an engine of the benchmark: a run's network or a ``.keras`` file, on TensorFlow, JAX or PyTorch.

It stands above :mod:`edgegender.benchmark`, which a device runs and which therefore never reaches Keras; the command
line names this module to whoever wants the engine. Files come through the project's own loaders, which run nothing
that stands in them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.engines import EngineEntry, register_engine
from edgegender.benchmark.measure import Subject
from edgegender.benchmark.records import EngineRecord, ModelRecord
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec, to_numbers, to_scores
from edgegender.benchmark.rival_source import parse_variant
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import ModelFileError, UsageError
from edgegender.files import hash_file
from edgegender.native_log import held_back_stderr
from edgegender.training import backend as backends

if TYPE_CHECKING:
    import keras

NAME = "keras"
PRECISIONS = ("float32", "bfloat16")
DEVICES = ("cpu", "gpu")
Run = Callable[[npt.NDArray[np.generic]], list[Any]]


def _jax_run(model: keras.Model, device: str) -> Run:
    import jax

    (target, *_) = jax.local_devices(backend=device)
    weights = tuple(
        [jax.device_put(variable.value, target) for variable in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    )

    def answer(trainable: object, fixed: object, pictures: object) -> object:
        return model.stateless_call(trainable, fixed, pictures, training=False)[0]

    compiled = jax.jit(answer)

    def run(tensor: npt.NDArray[np.generic]) -> list[Any]:
        found = compiled(*weights, jax.device_put(tensor, target))
        return list(jax.tree_util.tree_leaves(jax.block_until_ready(found)))

    return run


def _tensorflow_run(model: keras.Model, device: str) -> Run:
    import tensorflow as tf

    place = f"/{device.upper()}:0"
    answer = tf.function(lambda pictures: model(pictures, training=False))

    def run(tensor: npt.NDArray[np.generic]) -> list[Any]:
        with tf.device(place):
            return [found.numpy() for found in tf.nest.flatten(answer(tf.constant(tensor)))]  # numpy() waits for it

    return run


def _torch_run(model: keras.Model, device: str) -> Run:
    import torch

    place = torch.device("cuda" if device == "gpu" else "cpu")
    model.to(place)

    def run(tensor: npt.NDArray[np.generic]) -> list[Any]:
        with torch.inference_mode():
            found = model(torch.from_numpy(np.asarray(tensor)).to(place), training=False)
            answers = list(found) if isinstance(found, (list, tuple)) else [found]
            return [answer.float().cpu() for answer in answers]  # cpu() waits for it

    return run


_RUNS = {"jax": _jax_run, "tensorflow": _tensorflow_run, "torch": _torch_run}


class KerasEngine:
    """One Keras network, loaded and ready to run. See :class:`edgegender.benchmark.engine.Engine`.

    Args:
        model: From scaled float32 pictures to scores.
        record: What it is.
        spec: How a picture goes in.
        output: How scores come out.
        batch_size: Pictures of one run.
        device: ``cpu`` or ``gpu``.
    """

    def __init__(
        self,
        model: keras.Model,
        record: EngineRecord,
        spec: InputSpec,
        output: OutputSpec,
        *,
        batch_size: int,
        device: str,
    ) -> None:
        self.record = record
        self.batch_size = batch_size
        self.input_size_px = spec.size_px
        self._spec, self._output = spec, output
        self._run = _RUNS[record.delegate](model, device)
        self._answers: list[Any] = []

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (batch, S, S, 3) as this network's input."""
        return to_numbers(images, self._spec)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Brings the input to the device, runs the network, and returns when its answer is there."""
        self._answers = self._run(tensor)

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, shape (batch_size, labels)."""
        if self._output.tensor >= len(self._answers):
            raise ModelFileError(f"Expected output {self._output.tensor}, got a network with {len(self._answers)}.")
        answer = np.asarray(self._answers[self._output.tensor]).astype(np.float64)
        return to_scores(answer, self._output, batch_size=self.batch_size)


def require_gpu() -> None:
    """Makes sure that Keras's backend has a GPU.

    Raises:
        TrainingError: It has none; the hint names the driver and the package.
        MissingDependencyError: Keras or its backend is not installed.
    """
    with backends.use_device("gpu", is_deterministic=False):
        pass


def _set_threads(backend: str, num_threads: int) -> None:
    """Limits the backend's threads, where it has such a limit; JAX takes the cores that the process may use."""
    if backend == "torch":
        import torch

        torch.set_num_threads(num_threads)
    elif backend == "tensorflow":
        import tensorflow as tf

        threading = tf.config.threading
        if threading.get_intra_op_parallelism_threads() == num_threads:
            return
        try:
            threading.set_intra_op_parallelism_threads(num_threads)
            threading.set_inter_op_parallelism_threads(1)
        except RuntimeError as error:  # TensorFlow has started already
            raise UsageError(
                f"Expected a fresh process for {num_threads} thread(s) of TensorFlow, got one where it has started."
            ) from error


def _load(path: Path, sha256: str) -> keras.Model:
    if path.is_dir():
        from edgegender.training.run_folder import load_model, load_run

        return load_model(load_run(path))
    if sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ModelFileError(f"Expected sha256 {sha256[:12]}…, got another ({path}).", hint="The network was altered.")
    from edgegender.training.network_file import load_network

    return load_network(path)


def _in_precision(model: keras.Model, precision: str) -> keras.Model:
    """Returns a copy of a network that computes in bfloat16 and answers in float32."""
    if precision == "float32":
        return model
    import keras

    def renew(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        config["dtype"] = "mixed_bfloat16"
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=renew)
    copied.set_weights(model.get_weights())
    return copied


def load(
    path: Path,
    *,
    spec: InputSpec,
    output: OutputSpec,
    sha256: str = "",
    num_threads: int | None = None,
    batch_size: int = 1,
    precision: str = "float32",
    device: str = "cpu",
) -> KerasEngine:
    """Returns an engine that runs a Keras network on the backend of this process.

    Args:
        path: A run folder, or a ``.keras`` file.
        spec: How a picture goes in.
        output: How scores come out.
        sha256: Of the ``.keras`` file; empty where nobody said.
        num_threads: ``None`` leaves it to the backend. JAX passes it over: it takes the cores that the process may use.
        batch_size: Pictures of one run.
        precision: ``float32`` or ``bfloat16``.
        device: ``cpu`` or ``gpu``.

    Raises:
        UsageError: An option makes no sense, or the file holds no network.
        ModelFileError: The file has another sha256, or the network takes another picture.
        TrainingError: A GPU was asked for, and there is none.
        MissingDependencyError: Keras or its backend is not installed.
    """
    if precision not in PRECISIONS or device not in DEVICES:
        raise UsageError(
            f"Expected a precision of {', '.join(PRECISIONS)} on {' or '.join(DEVICES)}, got {precision!r} on "
            f"{device!r}."
        )
    backend = backends.backend_name()
    if num_threads is not None:
        _set_threads(backend, num_threads)
    if device == "gpu":
        require_gpu()
    with held_back_stderr(), backends.use_device(device, is_deterministic=False):
        model = _in_precision(_load(path, sha256), precision)
        shape = tuple(model.inputs[0].shape[1:])
        if len(model.inputs) != 1 or shape != spec.shape(batch_size)[1:]:
            raise ModelFileError(f"Expected an input of shape {spec.shape(batch_size)[1:]}, got {shape} ({path}).")
        import keras

        record = EngineRecord(NAME, str(keras.__version__), backend, precision)
        return KerasEngine(model, record, spec, output, batch_size=batch_size, device=device)


def _parse_variant(variant: str) -> tuple[str, str, str]:
    """Returns (backend, precision, device) of ``jax``, ``jax bfloat16``, ``jax float32 gpu``."""
    rival = parse_variant(variant)
    words = (variant if rival is None else rival.option).split()
    backend, precision, device = (*words, *("", "float32", "cpu")[len(words) :])[:3]
    if backend not in backends.BACKENDS or len(words) > 3:
        raise UsageError(f"Expected a backend of {', '.join(backends.BACKENDS)}, got {variant!r}.")
    return backend, precision, device


def prepare(variant: str) -> None:
    """Imports Keras on the backend that a variant names. For a process that has not imported Keras yet.

    Raises:
        UsageError: The backend is unknown, or Keras runs on another one here.
        MissingDependencyError: Keras or its backend is not installed.
    """
    backend, _, _ = _parse_variant(variant)
    if "keras" not in sys.modules:
        # Keras takes its backend from nowhere else; the measuring process has no other use for the variable
        os.environ["KERAS_BACKEND"] = backend
    if backends.backend_name() != backend:
        raise UsageError(
            f"Expected a process without Keras for {backend}, got one with Keras on {backends.backend_name()}.",
            hint="Measure one backend with one command.",
        )


def run_subject(folder: Path) -> Subject:
    """Returns a run as what :func:`edgegender.benchmark.run.benchmark_model` measures: its weights' file.

    Raises:
        UsageError: The folder holds no run with a finished epoch.
    """
    from edgegender.training.run_folder import load_run

    run = load_run(folder)
    preprocessing = run.preprocessing
    record = ModelRecord(
        name=folder.resolve().name,
        file_name=run.weights_file.name,
        sha256=hash_file(run.weights_file),
        size_bytes=run.weights_file.stat().st_size,
        scheme="float32",
        architecture=f"{run.recipe.architecture} {run.recipe.alpha:g}",
        input_size_px=preprocessing.input_size_px,
        crop_margin=preprocessing.crop_margin,
        labels=run.labels,
        positive_label=run.positive_label,
        threshold=run.threshold,
        temperature=1.0,
    )
    return Subject(run.weights_file, record)


def _run_specs(folder: Path) -> tuple[InputSpec, OutputSpec]:
    from edgegender.training.run_folder import load_run

    run = load_run(folder)
    preprocessing = run.preprocessing
    channels = "BGR" if preprocessing.scaling == "caffe" else "RGB"
    spec = InputSpec(preprocessing.input_size_px, channels=channels, scaling=preprocessing.scaling)
    return spec, OutputSpec(columns=tuple(range(len(run.labels))))


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> KerasEngine:
    """Returns the network of a run, or of a rival. See :mod:`edgegender.benchmark.engines`.

    Args:
        model: The weights' file of a run (or its folder), or a rival's ``.keras``.
        variant: Backend, precision and device: ``jax``, ``jax bfloat16``, ``torch float32 gpu``; or from
            :func:`edgegender.benchmark.rival_source.rival_entry`.
        num_threads: JAX passes it over.
        batch_size: Pictures of one run.

    Raises:
        UsageError: See :func:`load` and :func:`prepare`; or it is another kind of file.
        ModelFileError: See :func:`load`.
        TrainingError: See :func:`load`.
        MissingDependencyError: See :func:`load`.
    """
    prepare(variant)
    _, precision, device = _parse_variant(variant)
    rival = parse_variant(variant)
    folder = model if model.is_dir() else model.parent
    if rival is not None:
        path, sha256 = model, rival.description.sha256
        spec, output = rival.description.input, rival.description.output
    elif model.is_dir() or model.suffix == ".h5":
        path, sha256 = folder, ""
        spec, output = _run_specs(folder)
    else:
        raise UsageError(
            f"Expected the weights of a run or a described .keras for Keras, got {model}.", hint="See docs/rivals.md."
        )
    return load(
        path,
        spec=spec,
        output=output,
        sha256=sha256,
        num_threads=num_threads,
        batch_size=batch_size,
        precision=precision,
        device=device,
    )


def register() -> None:
    """Makes the Keras engines known to :mod:`edgegender.benchmark.engines`, which may not name them itself."""
    for backend in backends.BACKENDS:
        for precision in PRECISIONS:
            name = f"keras-{backend}" if precision == "float32" else f"keras-{backend}-{precision}"
            register_engine(name, EngineEntry("edgegender.keras_engine", f"{backend} {precision}"))
