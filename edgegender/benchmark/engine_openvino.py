"""OpenVINO on the CPU: the same ``.onnx`` as ONNX Runtime, in OpenVINO's own choice of precision or in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec, to_numbers, to_real, to_scores, to_stored
from edgegender.benchmark.rival_source import read_source
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.native_log import held_back_stderr

NAME = "openvino"
# "" leaves it to OpenVINO, which takes bfloat16 where the processor multiplies it (AMX, AVX512-BF16)
PRECISIONS = {"as_stored": "", "float32": "f32"}
_PRECISION_NAMES = {"f32": "as_stored", "bf16": "bfloat16", "f16": "float16"}
_HINT = "Look at input and output of the description; docs/rivals.md has an example."


class OpenvinoEngine:
    """One network, compiled and ready to run. See :class:`edgegender.benchmark.engine.Engine`.

    Args:
        compiled: OpenVINO's own.
        record: What it is.
        spec: How a picture goes in.
        output: How scores come out.
        batch_size: Pictures of one run.
    """

    def __init__(
        self,
        compiled: Any,  # noqa: ANN401 - no type information is shipped
        record: EngineRecord,
        spec: InputSpec,
        output: OutputSpec,
        batch_size: int,
    ) -> None:
        self.record = record
        self.batch_size = batch_size
        self.input_size_px = spec.size_px
        self._spec, self._output = spec, output
        self._dtype = np.dtype(compiled.input(0).get_element_type().to_dtype())
        self._request = compiled.create_infer_request()

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (batch, S, S, 3) as this network's input."""
        return to_stored(to_numbers(images, self._spec), self._dtype)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input, runs the network, and returns when its answer is there."""
        np.copyto(self._request.get_input_tensor(0).data, tensor)
        self._request.infer()

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, shape (batch_size, labels)."""
        answer = np.array(self._request.get_output_tensor(self._output.tensor).data)
        return to_scores(to_real(answer), self._output, batch_size=self.batch_size)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else type(error).__name__


def _import_openvino() -> Any:  # noqa: ANN401 - heavy; typed only in part
    try:
        import openvino  # type: ignore[import-untyped] # no type information is shipped
    except ImportError as error:
        raise MissingDependencyError(NAME, extra="openvino") from error
    return openvino


def prepare(variant: str) -> None:
    """Imports OpenVINO.

    Raises:
        MissingDependencyError: It is not installed.
    """
    del variant
    _import_openvino()


def _read(core: Any, content: bytes, spec: InputSpec, output: OutputSpec, batch_size: int) -> Any:  # noqa: ANN401
    model = core.read_model(model=content)
    if len(model.inputs) != 1 or output.tensor >= len(model.outputs):
        raise ModelFileError(
            f"Expected one input and output {output.tensor}, got {len(model.inputs)} and {len(model.outputs)}.",
            hint=_HINT,
        )
    wanted, found = spec.shape(batch_size), model.input(0).get_partial_shape()
    if found.rank.is_dynamic or len(found) != 4:
        raise ModelFileError(f"Expected an input of shape {wanted}, got {found}.", hint=_HINT)
    sides = [None if side.is_dynamic else int(side.get_length()) for side in found]
    if any(side not in (None, want) for side, want in zip(sides[1:], wanted[1:], strict=True)):
        raise ModelFileError(f"Expected an input of shape {wanted}, got {found}.", hint=_HINT)
    if sides != list(wanted):
        model.reshape(list(wanted))
    return model


def load(
    content: bytes,
    *,
    spec: InputSpec,
    output: OutputSpec,
    num_threads: int = 1,
    batch_size: int = 1,
    precision: str = "as_stored",
) -> OpenvinoEngine:
    """Returns an engine that runs a network in OpenVINO on the CPU.

    Args:
        content: The ``.onnx``, whose hash was checked before.
        spec: How a picture goes in.
        output: How scores come out.
        num_threads: Threads of its one stream.
        batch_size: Pictures of one run.
        precision: ``as_stored`` leaves the choice to OpenVINO; the record names what it chose. ``float32`` forbids
            bfloat16.

    Raises:
        UsageError: The precision is unknown.
        MissingDependencyError: openvino is not installed.
        ModelFileError: It refuses the network, or the network takes or gives something else.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"Expected a precision of {', '.join(PRECISIONS)} for openvino, got {precision!r}.")
    openvino = _import_openvino()
    options: dict[str, object] = {"INFERENCE_NUM_THREADS": num_threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if PRECISIONS[precision]:
        options["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
    core = openvino.Core()
    try:
        with held_back_stderr():
            compiled = core.compile_model(_read(core, content, spec, output, batch_size), "CPU", options)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"Expected a network for OpenVINO, got: {_first_line(error)}", hint=_HINT) from error
    chosen = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    named = precision if precision != "as_stored" else _PRECISION_NAMES.get(chosen, "as_stored")
    version = str(openvino.__version__).split("-")[0]
    return OpenvinoEngine(compiled, EngineRecord(NAME, version, "", named), spec, output, batch_size)


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> OpenvinoEngine:
    """Returns the network of a rival, or of the ``.onnx`` beside a ``.tflite`` made by edgegender.

    See :mod:`edgegender.benchmark.engines`. The engine's own variant is the precision, ``as_stored`` where it is empty.

    Raises:
        MissingDependencyError: openvino is not installed.
        ModelFileError: A file is missing, damaged or altered, or OpenVINO refuses the network.
        UsageError: The precision is unknown, or it is another kind of file.
    """
    source, option = read_source(model, variant, "onnx")
    return load(
        source.content,
        spec=source.input,
        output=source.output,
        num_threads=num_threads,
        batch_size=batch_size,
        precision=option or "as_stored",
    )
