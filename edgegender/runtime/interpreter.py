"""LiteRT, or tflite-runtime where LiteRT has no wheel, behind one small class."""

from __future__ import annotations

import os
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.native_log import held_back_stderr

# (module, distribution), the first that is installed is used
_RUNTIMES = (("ai_edge_litert.interpreter", "ai-edge-litert"), ("tflite_runtime.interpreter", "tflite-runtime"))
MAX_THREADS = 256  # LiteRT takes any number and crashes the process where the system has no more threads
_HINT = "Convert the run with edgegender convert, or update the runtime: edgegender doctor names it."
Signature = tuple[tuple[tuple[int, ...], np.dtype[np.generic]], ...]  # (shape, type) of each tensor
_MAX_DEFAULT_THREADS = 4  # a small network gains nothing beyond; a Pi has four cores


def default_num_threads() -> int:
    """Returns how many threads to use when nobody says: the cores that this process may use, four at most."""
    return min(_MAX_DEFAULT_THREADS, available_cores())


def available_cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def import_runtime() -> tuple[ModuleType, str, str]:
    """Returns (module, distribution, version) of the installed TensorFlow Lite runtime.

    Raises:
        MissingDependencyError: Neither is installed.
    """
    for module, distribution in _RUNTIMES:
        try:
            return import_module(module), distribution, metadata.version(distribution)
        except ImportError:
            continue
    raise MissingDependencyError("ai-edge-litert", extra="tflite-runtime")


def _signature(details: list[dict[str, Any]]) -> Signature:
    return tuple((tuple(int(side) for side in tensor["shape"]), np.dtype(tensor["dtype"])) for tensor in details)


class Network:
    """A ``.tflite`` that the runtime has loaded, whatever goes in and comes out.

    Args:
        content: The file's bytes, verified before: native code trusts them.
        num_threads: 1 to ``MAX_THREADS``; ``None`` chooses by :func:`default_num_threads`.
        is_reference: Whether to use the slow reference kernels, which answer the same on every machine.

    Raises:
        UsageError: ``num_threads`` is out of its range.
        ModelFileError: The runtime refuses the network.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(self, content: bytes, *, num_threads: int | None = None, is_reference: bool = False) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise UsageError(f"Expected 1 to {MAX_THREADS} threads, got {num_threads}.")
        module, self.runtime_name, self.runtime_version = import_runtime()
        self.num_threads = num_threads or default_num_threads()
        options = {}
        if is_reference:
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_REF
        try:
            with held_back_stderr():  # "Created TensorFlow Lite XNNPACK delegate for CPU."
                self._native = module.Interpreter(model_content=content, num_threads=self.num_threads, **options)
                self._native.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ModelFileError(
                f"Expected a network that {self.runtime_name} {self.runtime_version} runs, got: {first}", hint=_HINT
            ) from error
        inputs, outputs = self._native.get_input_details(), self._native.get_output_details()
        self._input_indices = [int(tensor["index"]) for tensor in inputs]
        self._output_indices = [int(tensor["index"]) for tensor in outputs]
        self.inputs: Signature = _signature(inputs)
        self.outputs: Signature = _signature(outputs)

    def infer(self, tensor: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
        """Returns a copy of every output for one input tensor."""
        self._native.set_tensor(self._input_indices[0], tensor)
        self._native.invoke()
        return [np.asarray(self._native.get_tensor(index)) for index in self._output_indices]

    def count_operators(self) -> dict[str, int]:
        """Returns how often each operator stands in the network, as the runtime sees it before delegation."""
        counts: dict[str, int] = {}
        for operator in self._native._get_ops_details():
            name = str(operator["op_name"])
            if name != "DELEGATE":  # XNNPACK's own node, which stands beside the operators it takes over
                counts[name] = counts.get(name, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


class Interpreter(Network):
    """One network with one input and one output, ready to run.

    The input tensor is written in place; after the first call nothing is allocated but the returned scores.

    Args:
        content: A ``.tflite`` that was verified by :mod:`edgegender.runtime.model_file`.
        num_threads: 1 to ``MAX_THREADS``; ``None`` chooses by :func:`default_num_threads`.
        is_reference: Whether to use the slow reference kernels, which answer the same on every machine.
        scaling: What a float network was trained with, one of :data:`edgegender.preprocess.SCALINGS`; a quantized one
            says it in its input's scale and zero point.

    Raises:
        UsageError: ``num_threads`` is out of its range.
        ModelFileError: The runtime refuses the network, or it has another number of inputs or outputs.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(
        self, content: bytes, *, num_threads: int | None = None, is_reference: bool = False, scaling: str = "tf"
    ) -> None:
        super().__init__(content, num_threads=num_threads, is_reference=is_reference)
        self._scaling = scaling
        inputs, outputs = self._native.get_input_details(), self._native.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4 or len(outputs[0]["shape"]) != 2:
            raise ModelFileError(
                "Expected one picture in and one row of scores out, got another signature.", hint=_HINT
            )
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self.input_shape = tuple(int(side) for side in inputs[0]["shape"])
        self.num_outputs = int(outputs[0]["shape"][1])
        self.input_dtype, self.output_dtype = np.dtype(inputs[0]["dtype"]), np.dtype(outputs[0]["dtype"])
        self.output_scale, self.output_zero_point = outputs[0]["quantization"]
        if self.input_dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
            raise ModelFileError(f"Expected uint8 or float32 input, got {self.input_dtype}.", hint=_HINT)

    def invoke_raw(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input tensor and runs the network; nothing else. For measuring."""
        self._native.set_tensor(self._input_index, tensor)
        self._native.invoke()

    def to_tensor(self, image: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (height, width, 3) as the input tensor (1, height, width, 3) of this network."""
        if self.input_dtype == np.uint8:
            return image[np.newaxis]
        from edgegender.preprocess import to_float

        return to_float(image, self._scaling)[np.newaxis]

    def read_scores(self) -> npt.NDArray[np.float64]:
        """Returns the scores of the last run, dequantized: (value - zero_point) * scale. Shape (labels,)."""
        raw = self._native.get_tensor(self._output_index)[0]
        if self.output_dtype == np.float32:
            return np.asarray(raw, np.float64)
        return np.asarray((raw.astype(np.float64) - self.output_zero_point) * self.output_scale, np.float64)

    def run(self, image: UInt8Array) -> npt.NDArray[np.float64]:
        """Returns the scores of one input.

        Args:
            image: Raw bytes, shape (height, width, 3), uint8, RGB, of the network's size.

        Returns:
            Scores, shape (labels,).
        """
        self.invoke_raw(self.to_tensor(image))
        return self.read_scores()
