"""LiteRT's GPU accelerator (WebGPU on Vulkan, OpenCL or Metal) on a ``.tflite`` of edgegender."""

from __future__ import annotations

import ctypes.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MeasurementError, MissingDependencyError, ModelFileError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.runtime.interpreter import Network, import_runtime, to_stored_input
from edgegender.runtime.model_file import read_model

# the accelerator computes in float16 unless it is told otherwise
VARIANTS = {"": "float16", "float16": "float16", "float32": "float32"}
_ROOT = Path("/")
_DEVICES = ("dev/dri/renderD*", "dev/nvidia[0-9]*", "dev/kgsl-3d0", "dev/mali[0-9]*")
_DRIVERS = ("usr/share/vulkan/icd.d/*.json", "etc/vulkan/icd.d/*.json")


def find_missing(root: Path = _ROOT) -> tuple[str, ...]:
    """Returns what LiteRT's GPU accelerator needs and this machine lacks, by name, with the way to get it.

    Args:
        root: Where ``/dev``, ``/usr`` and ``/etc`` are looked at.
    """
    missing = []
    if not any(list(root.glob(pattern)) for pattern in _DEVICES):
        missing.append("a GPU with its kernel driver (/dev/dri/renderD128 or /dev/nvidia0)")
    if ctypes.util.find_library("vulkan") is None:
        missing.append("libvulkan (sudo apt-get install libvulkan1)")
    if not any(list(root.glob(pattern)) for pattern in _DRIVERS):
        missing.append("a Vulkan driver (sudo apt-get install mesa-vulkan-drivers, or NVIDIA's own)")
    return tuple(missing)


def _import_compiled_model() -> Any:  # noqa: ANN401 - no type information is shipped
    try:
        from ai_edge_litert import compiled_model
    except ImportError as error:  # tflite-runtime has none, LiteRT before 2.0 neither
        raise MissingDependencyError("ai-edge-litert", extra="train") from error
    return compiled_model


class GpuEngine:
    """One network on an accelerator of LiteRT. See :class:`edgegender.benchmark.engine.Engine`.

    Args:
        model: LiteRT's ``CompiledModel``, of one picture in and one row of scores out.
        record: What it is.
        scaling: What a float network was trained with.
        output_quantization: Scale and zero point of its scores.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - no type information is shipped
        record: EngineRecord,
        *,
        scaling: str,
        output_quantization: tuple[float, int],
    ) -> None:
        self.record = record
        self._model, self._scaling = model, scaling
        signature = next(iter(model.get_signature_list()))
        (picture,) = model.get_input_tensor_details(signature).values()
        (row,) = model.get_output_tensor_details(signature).values()
        self._input_dtype, self._output_dtype = np.dtype(picture["dtype"]), np.dtype(row["dtype"])
        self.batch_size, self.input_size_px = int(picture["shape"][0]), int(picture["shape"][1])
        self._output_shape = tuple(int(side) for side in row["shape"])
        self._inputs, self._outputs = model.create_input_buffers(0), model.create_output_buffers(0)
        self._output_scale, self._output_zero_point = output_quantization
        self._answer: npt.NDArray[np.generic] = np.zeros(self._output_shape, self._output_dtype)

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (batch, S, S, 3) as this network's input."""
        return to_stored_input(images, self._input_dtype, self._scaling)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input, runs the network, and reads the answer back, which waits for the GPU."""
        self._inputs[0].write(tensor)
        self._model.run_by_index(0, self._inputs, self._outputs)
        self._answer = self._outputs[0].read(int(np.prod(self._output_shape)), self._output_dtype.type)

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, dequantized, shape (batch_size, labels)."""
        rows = np.asarray(self._answer, np.float64).reshape(self._output_shape)
        return (rows - self._output_zero_point) * self._output_scale if self._output_scale else rows


def _output_quantization(content: bytes) -> tuple[float, int]:
    """Returns scale and zero point of the scores, which ``CompiledModel`` does not tell; (0, 0) of a float network."""
    network = Network(content, num_threads=1)
    info = network.tensors()[network.output_indices[0]]
    return (info.scales[0], info.zero_points[0]) if info.scales else (0.0, 0)


def _last_words(log: str, error: RuntimeError) -> str:
    """Returns the native log's own reason, which the exception leaves out."""
    lines = [line.partition("] ")[2] for line in log.splitlines() if line.startswith("ERROR:")]
    return (next((line for line in lines if line), "") or (str(error).strip().splitlines() or ["no reason"])[0])[:200]


def explain_no_gpu(reason: str) -> MeasurementError:
    """Returns the error of a machine whose GPU LiteRT cannot use; the hint names what is missing.

    Args:
        reason: LiteRT's own.
    """
    missing = find_missing()
    hint = f"Missing: {', '.join(missing)}" if missing else "Does vulkaninfo --summary name the GPU and a driver?"
    return MeasurementError(f"Expected a GPU that LiteRT can use, got: {reason}", hint=hint)


def load(content: bytes, *, scaling: str, precision: str = "float16", is_gpu: bool = True) -> GpuEngine:
    """Returns an engine on LiteRT's GPU accelerator, whole: operators that it cannot run are no silent matter.

    Args:
        content: A ``.tflite`` that was verified before: read from memory, for the native reader of files crashes on
            damaged ones.
        scaling: What a float network was trained with.
        precision: ``float16`` or ``float32``.
        is_gpu: Whether to take the GPU; the CPU behind the same interface is for tests.

    Raises:
        MeasurementError: There is no GPU that LiteRT can use; the hint names what is missing.
        ModelFileError: The GPU does not run the whole network.
        MissingDependencyError: LiteRT 2 is not installed.
    """
    module = _import_compiled_model()
    kinds = module.HardwareAccelerator
    options = module.Options(
        hardware_accelerators=kinds.GPU if is_gpu else kinds.CPU,
        cpu_options=module.CpuOptions(num_threads=1),
        gpu_options=module.GpuOptions(enforce_f32=precision == "float32") if is_gpu else None,
    )
    failed: RuntimeError | None = None
    with held_back_stderr() as log:
        try:
            model = module.CompiledModel.from_buffer(content, options=options)
        except RuntimeError as error:
            failed = error
    if failed is not None:
        raise explain_no_gpu(_last_words(log.getvalue(), failed)) from failed
    if not model.is_fully_accelerated():
        raise ModelFileError(
            "Expected a network that the GPU runs whole, got one with operators left to the CPU.",
            hint="Measure it on the CPU: --target cpu",
        )
    _, name, version = import_runtime()
    record = EngineRecord(name, version, "gpu" if is_gpu else "", precision)
    return GpuEngine(model, record, scaling=scaling, output_quantization=_output_quantization(content))


def prepare(variant: str) -> None:
    """Imports LiteRT.

    Raises:
        MissingDependencyError: It is not installed.
        UsageError: The precision is unknown.
    """
    if variant not in VARIANTS:
        raise UsageError(f"Expected a precision of float16, float32 for the GPU, got {variant!r}.")
    _import_compiled_model()


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> GpuEngine:
    """Returns the network of a ``.tflite`` made by edgegender on the GPU. See :mod:`edgegender.benchmark.engines`.

    Args:
        model: The file.
        variant: The precision; empty for ``float16``, the accelerator's own choice.
        num_threads: Passed over: what waits for the GPU is one thread.
        batch_size: 1, as the file has it.

    Raises:
        UsageError: The precision is unknown, or the batch is another one.
        ModelFileError: The file is damaged, altered or not ours, or the GPU does not run the whole network.
        MeasurementError: There is no GPU that LiteRT can use.
        MissingDependencyError: LiteRT 2 is not installed.
    """
    del num_threads
    prepare(variant)
    if batch_size != 1:
        raise UsageError(f"Expected one picture a run on LiteRT's GPU accelerator, got {batch_size}.")
    file = read_model(model)
    return load(file.content, scaling=file.metadata.preprocessing.scaling, precision=VARIANTS[variant])
