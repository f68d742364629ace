"""TensorFlow Lite networks in LiteRT or tflite-runtime: with XNNPACK, without it, or by the reference kernels."""

from __future__ import annotations

from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.runtime.interpreter import MAX_THREADS, import_runtime, to_stored_input
from edgegender.runtime.model_file import read_model

_TFLITE_RUNTIME = "tflite-runtime"
# tf.lite.experimental.OpResolverType; the default has XNNPACK
_RESOLVERS = {
    "xnnpack": "AUTO",
    _TFLITE_RUNTIME: "AUTO",
    "none": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
_INPUT_TYPES = ("uint8", "int8", "float32")


def _find_runtime(variant: str) -> tuple[ModuleType, str, str]:
    if variant != _TFLITE_RUNTIME:
        return import_runtime()
    try:
        return import_module("tflite_runtime.interpreter"), variant, metadata.version(variant)
    except ImportError as error:
        raise MissingDependencyError(variant, extra=variant) from error


def prepare(variant: str) -> None:
    """Imports the runtime.

    Raises:
        MissingDependencyError: It is not installed.
    """
    _find_runtime(variant)


class LitertEngine:
    """One network with one picture, or a batch of them, in, and a row of scores a picture out.

    Args:
        content: A ``.tflite``, verified before.
        variant: ``xnnpack``, ``none``, ``reference`` or ``tflite-runtime``.
        num_threads: 1 to 256.
        batch_size: Pictures of one run.
        scaling: What a float network was trained with, one of :data:`edgegender.preprocess.SCALINGS`.
        where: What to call the file in an error.

    Raises:
        UsageError: The number of threads or pictures makes no sense, or the variant is unknown.
        ModelFileError: The runtime refuses the network, or it has another signature.
        MissingDependencyError: The runtime is not installed.
    """

    def __init__(
        self, content: bytes, *, variant: str, num_threads: int, batch_size: int = 1, scaling: str, where: str = "model"
    ) -> None:
        if variant not in _RESOLVERS:
            raise UsageError(f"Expected a variant of {', '.join(_RESOLVERS)}, got {variant!r}.")
        if not 1 <= num_threads <= MAX_THREADS or batch_size < 1:
            raise UsageError(
                f"Expected 1 to {MAX_THREADS} threads and a picture at least, got {num_threads} and {batch_size}."
            )
        module, name, version = _find_runtime(variant)
        self._record = EngineRecord(name, version, "xnnpack" if variant == _TFLITE_RUNTIME else variant)
        self._scaling, self._batch_size = scaling, batch_size
        resolver = getattr(module.OpResolverType, _RESOLVERS[variant])
        try:
            with held_back_stderr():  # "Created TensorFlow Lite XNNPACK delegate for CPU."
                self._native = module.Interpreter(
                    model_content=content, num_threads=num_threads, experimental_op_resolver_type=resolver
                )
                (picture, *_) = self._native.get_input_details()
                if int(picture["shape"][0]) != batch_size:
                    self._native.resize_tensor_input(picture["index"], [batch_size, *picture["shape"][1:]])
                self._native.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelFileError(f"Expected a network that {name} {version} runs, got: {first} ({where}).") from error
        self._read_signature(where)

    def _read_signature(self, where: str) -> None:
        inputs, outputs = self._native.get_input_details(), self._native.get_output_details()
        is_sound = len(inputs) == len(outputs) == 1 and len(inputs[0]["shape"]) == 4 and len(outputs[0]["shape"]) == 2
        if not is_sound or np.dtype(inputs[0]["dtype"]).name not in _INPUT_TYPES:
            raise ModelFileError(
                f"Expected one uint8, int8 or float32 picture in and one row of scores out, got others ({where})."
            )
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self._input_shape = tuple(int(side) for side in inputs[0]["shape"])
        self._input_dtype = np.dtype(inputs[0]["dtype"])
        self._output_scale, self._output_zero_point = outputs[0]["quantization"]  # (0.0, 0) in a float network

    @property
    def record(self) -> EngineRecord:
        """What it is."""
        return self._record

    @property
    def batch_size(self) -> int:
        """Pictures of one run."""
        return self._batch_size

    @property
    def input_size_px(self) -> int:
        """Side of the square input, pixels."""
        return self._input_shape[1]

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes, shape (batch_size, S, S, 3), uint8, RGB, as the input tensor."""
        return to_stored_input(images, self._input_dtype, self._scaling)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input tensor and runs the network."""
        self._native.set_tensor(self._input_index, tensor)
        self._native.invoke()

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, dequantized, shape (batch_size, labels)."""
        rows = np.asarray(self._native.get_tensor(self._output_index), np.float64)
        return (rows - self._output_zero_point) * self._output_scale if self._output_scale else rows


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> LitertEngine:
    """Returns the network of a ``.tflite`` made by edgegender. See :mod:`edgegender.benchmark.engines`.

    Raises:
        ModelFileError: The file is damaged, altered or not ours, or the runtime refuses the network.
        MissingDependencyError: The runtime is not installed.
        UsageError: The number of threads or pictures makes no sense.
    """
    file = read_model(model)
    scaling = file.metadata.preprocessing.scaling
    return LitertEngine(
        file.content,
        variant=variant,
        num_threads=num_threads,
        batch_size=batch_size,
        scaling=scaling,
        where=model.name,
    )
