"""LiteRT, or tflite-runtime where LiteRT has no wheel, behind one small class."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.preprocess import to_float

# (module, distribution), the first that is installed is used
_RUNTIMES = (("ai_edge_litert.interpreter", "ai-edge-litert"), ("tflite_runtime.interpreter", "tflite-runtime"))
MAX_THREADS = 256  # LiteRT takes any number and crashes the process where the system has no more threads
_HINT = "Convert the run with edgegender convert, or update the runtime: edgegender doctor names it."
Signature = tuple[tuple[tuple[int, ...], np.dtype[np.generic]], ...]  # (shape, type) of each tensor
_MAX_DEFAULT_THREADS = 4  # a small network gains nothing beyond; a Pi has four cores
# Below, a second thread costs a core and saves hardly anything: benchmarks/camera/classifier_overhead.json
_ONE_THREAD_MULTIPLY_ADDS = 20_000_000
_DELEGATE = "DELEGATE"  # XNNPACK's own node, which stands beside the operators it takes over
_INPUT_TYPES = ("uint8", "int8", "float32")
_SIGN_BIT = np.uint8(0x80)


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a network.

    Args:
        name: As the converter called it.
        shape: Its sides; a side that may change is 1 until it is set.
        dtype: numpy's name of its type, such as ``int8``.
        scales: One for the whole tensor, one a channel, or none: real = (stored - zero point) * scale.
        zero_points: As many as scales.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True)
class OperatorNode:
    """One operator of a network, by the indices of its tensors.

    Args:
        index: Its place in the order of execution.
        name: As TensorFlow Lite calls it, such as ``CONV_2D``.
        inputs: Tensors it reads, weights among them; an optional one that is not there is left out.
        outputs: Tensors it writes.
    """

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def default_num_threads() -> int:
    """Returns how many threads a network gets when nobody says: the cores that this process may use, four at most.

    A network of less than 20 million multiply-adds gets one, whatever this says.
    """
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


def to_stored_input(images: UInt8Array, dtype: np.dtype[Any], scaling: str) -> npt.NDArray[np.generic]:
    """Returns raw bytes as the values that a network's input tensor holds, of the same shape.

    Args:
        images: Shape (..., 3), uint8, RGB.
        dtype: Of the input tensor: uint8, int8 or float32.
        scaling: What a float network was trained with; see :func:`edgegender.preprocess.to_float`.

    Raises:
        UsageError: The scaling of a float network is unknown.
    """
    if dtype == np.uint8:
        return images
    if dtype == np.int8:  # 128 less: the zero point of such an input is 128 lower, too
        flipped: UInt8Array = images ^ _SIGN_BIT
        return flipped.view(np.int8)
    return to_float(images, scaling)


def _signature(details: list[dict[str, Any]]) -> Signature:
    return tuple((tuple(int(side) for side in tensor["shape"]), np.dtype(tensor["dtype"])) for tensor in details)


def _tensor_info(details: dict[str, Any]) -> TensorInfo:
    quantization = details["quantization_parameters"]
    return TensorInfo(
        str(details["name"]),
        tuple(int(side) for side in details["shape"]),
        str(np.dtype(details["dtype"])),
        tuple(float(scale) for scale in quantization["scales"]),
        tuple(int(zero_point) for zero_point in quantization["zero_points"]),
    )


class Network:
    """A ``.tflite`` that the runtime has loaded, whatever goes in and comes out.

    Args:
        content: The file's bytes, verified before: native code trusts them.
        num_threads: 1 to ``MAX_THREADS``; ``None`` chooses by :func:`default_num_threads` and the network's size.
        is_reference: Whether to use the slow reference kernels, which answer the same on every machine.
        batch_size: Pictures that go in at once; ``None`` leaves what the file says, which is 1 as a rule.

    Raises:
        UsageError: ``num_threads`` is out of its range.
        ModelFileError: The runtime refuses the network, or the batch.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(
        self,
        content: bytes,
        *,
        num_threads: int | None = None,
        is_reference: bool = False,
        batch_size: int | None = None,
    ) -> None:
        if num_threads is not None and not 1 <= num_threads <= MAX_THREADS:
            raise UsageError(f"Expected 1 to {MAX_THREADS} threads, got {num_threads}.")
        self.num_threads = num_threads or default_num_threads()
        self._load(content, is_reference=is_reference, batch_size=batch_size)
        if num_threads is None and self.num_threads > 1 and self._is_small():
            self.num_threads = 1
            self._load(content, is_reference=is_reference, batch_size=batch_size)

    def _is_small(self) -> bool:
        from edgegender.runtime.operators import describe_operators, sum_operators

        return sum_operators(describe_operators(self)).multiply_adds < _ONE_THREAD_MULTIPLY_ADDS

    def _load(self, content: bytes, *, is_reference: bool, batch_size: int | None) -> None:
        module, self.runtime_name, self.runtime_version = import_runtime()
        options = {}
        if is_reference:
            options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_REF
        try:
            with held_back_stderr():  # "Created TensorFlow Lite XNNPACK delegate for CPU."
                self._native = module.Interpreter(model_content=content, num_threads=self.num_threads, **options)
                if batch_size is not None:
                    (picture, *_) = self._native.get_input_details()
                    self._native.resize_tensor_input(picture["index"], [batch_size, *picture["shape"][1:]])
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

    @property
    def input_indices(self) -> tuple[int, ...]:
        """Which tensors go in, by their index in :meth:`tensors`."""
        return tuple(self._input_indices)

    @property
    def output_indices(self) -> tuple[int, ...]:
        """Which tensors come out, by their index in :meth:`tensors`."""
        return tuple(self._output_indices)

    def tensors(self) -> dict[int, TensorInfo]:
        """Returns every tensor by its index."""
        return {int(tensor["index"]): _tensor_info(tensor) for tensor in self._native.get_tensor_details()}

    def operator_nodes(self) -> tuple[OperatorNode, ...]:
        """Returns the operators in their order, as they stand in the file: before a delegate takes some over."""
        return tuple(
            OperatorNode(
                int(node["index"]),
                str(node["op_name"]),
                tuple(int(index) for index in node["inputs"] if index >= 0),
                tuple(int(index) for index in node["outputs"] if index >= 0),
            )
            for node in self._native._get_ops_details()
            if str(node["op_name"]) != _DELEGATE
        )

    def count_operators(self) -> dict[str, int]:
        """Returns how often each operator stands in the network, as the runtime sees it before delegation."""
        counts = Counter(node.name for node in self.operator_nodes())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def signatures(self) -> dict[str, dict[str, list[str]]]:
        """Returns the names of inputs and outputs by signature (SignatureDef); empty where the file has none."""
        return {
            str(key): {side: [str(name) for name in names] for side, names in signature.items()}
            for key, signature in self._native.get_signature_list().items()
        }


class Interpreter(Network):
    """One network with one input and one output, ready to run.

    Pictures are written straight into the input tensor (:meth:`picture`), and after the first run nothing is allocated
    but the returned scores. A quantized network takes the picture's bytes: as they are (uint8), or less 128 (int8),
    which is the same picture, for the zero point of such an input is 128 lower, too. One of int16 would need a
    conversion that no zero point describes.

    Args:
        content: A ``.tflite`` that was verified by :mod:`edgegender.runtime.model_file`.
        num_threads: 1 to ``MAX_THREADS``; ``None`` chooses by :func:`default_num_threads` and the network's size.
        is_reference: Whether to use the slow reference kernels, which answer the same on every machine.
        scaling: What a float network was trained with, one of :data:`edgegender.preprocess.SCALINGS`; a quantized one
            says it in its input's scale and zero point.
        batch_size: Pictures that go in at once; ``None`` leaves what the file says.

    Raises:
        UsageError: ``num_threads`` is out of its range.
        ModelFileError: The runtime refuses the network, or it has another number of inputs or outputs, or an input of
            another type.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(
        self,
        content: bytes,
        *,
        num_threads: int | None = None,
        is_reference: bool = False,
        scaling: str = "tf",
        batch_size: int | None = None,
    ) -> None:
        super().__init__(content, num_threads=num_threads, is_reference=is_reference, batch_size=batch_size)
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
        self.input_scale, self.input_zero_point = inputs[0]["quantization"]  # (0.0, 0) in a float network
        self.output_scale, self.output_zero_point = outputs[0]["quantization"]
        if self.input_dtype.name not in _INPUT_TYPES:
            raise ModelFileError(f"Expected uint8, int8 or float32 input, got {self.input_dtype}.", hint=_HINT)
        self._input_view, self._output_view = (
            self._native.tensor(index) for index in (self._input_index, self._output_index)
        )
        # bytes that are not the input tensor's own wait here until the network runs
        self._waiting = None if self.input_dtype == np.uint8 else np.zeros(self.input_shape, np.uint8)

    def picture(self, position: int = 0) -> UInt8Array:
        """Returns where the bytes of a picture go, shape (height, width, 3), uint8, RGB: a view, to be written to.

        Of a uint8 network it is the input tensor itself. It must be let go of before :meth:`invoke`.

        Args:
            position: Which picture of the batch, from 0.
        """
        pictures = self._input_view() if self._waiting is None else self._waiting
        return pictures[position]  # type: ignore[no-any-return]

    def invoke(self) -> None:
        """Runs the network on what was written to :meth:`picture`."""
        if self._waiting is not None:
            if self.input_dtype == np.int8:  # turning the highest bit round takes 128 away
                np.bitwise_xor(self._waiting, _SIGN_BIT, out=self._input_view().view(np.uint8))
            else:
                to_float(self._waiting, self._scaling, out=self._input_view())
        self._native.invoke()

    def read_rows(self) -> list[list[float]]:
        """Returns the scores of the last run, dequantized: (value - zero_point) * scale. One row a picture."""
        rows = self._output_view().tolist()
        if self.output_dtype == np.float32:
            return rows  # type: ignore[no-any-return]
        scale, zero_point = self.output_scale, self.output_zero_point
        return [[(value - zero_point) * scale for value in row] for row in rows]

    def read_scores(self) -> npt.NDArray[np.float64]:
        """Returns :meth:`read_rows` of the first picture. Shape (labels,)."""
        return np.asarray(self.read_rows()[0], np.float64)

    def run(self, image: UInt8Array) -> npt.NDArray[np.float64]:
        """Returns the scores of one input.

        Args:
            image: Raw bytes, shape (height, width, 3), uint8, RGB, of the network's size.

        Returns:
            Scores, shape (labels,).
        """
        self.invoke_raw(self.to_tensor(image))
        return self.read_scores()

    def invoke_raw(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input tensor and runs the network; nothing else. For measuring."""
        self._native.set_tensor(self._input_index, tensor)
        self._native.invoke()

    def to_tensor(self, image: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (height, width, 3) as the input tensor (1, height, width, 3) of this network."""
        return to_stored_input(image, np.dtype(self.input_dtype), self._scaling)[np.newaxis]
