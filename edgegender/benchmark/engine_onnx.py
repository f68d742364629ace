"""ONNX Runtime on the CPU, for comparison with LiteRT on the same network, and for rivals that come as ``.onnx``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec, to_numbers, to_real, to_scores, to_stored
from edgegender.benchmark.rival_source import read_source
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError
from edgegender.native_log import held_back_stderr

NAME = "onnxruntime"
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
}
_HINT = "Check the file with: python -m onnx.checker, and the description with docs/rivals.md."


class OnnxEngine:
    """One ONNX network, loaded and ready to run. See :class:`edgegender.benchmark.engine.Engine`.

    Args:
        session: ONNX Runtime's own.
        record: What it is.
        spec: How a picture goes in.
        output: How scores come out.
        batch_size: Pictures of one run.
    """

    def __init__(
        self,
        session: Any,  # noqa: ANN401 - no type information is shipped
        record: EngineRecord,
        spec: InputSpec,
        output: OutputSpec,
        batch_size: int,
    ) -> None:
        self.record = record
        self.batch_size = batch_size
        self.input_size_px = spec.size_px
        self._session, self._spec, self._output = session, spec, output
        (entry,) = session.get_inputs()
        self._input_name, self._dtype = entry.name, np.dtype(_TYPES[entry.type])
        self._output_names = [session.get_outputs()[output.tensor].name]
        self._answer: npt.NDArray[np.generic] = np.zeros(0, np.float32)

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (batch, S, S, 3) as this network's input."""
        return to_stored(to_numbers(images, self._spec), self._dtype)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Runs the network and returns when its answer is there."""
        (self._answer,) = self._session.run(self._output_names, {self._input_name: tensor})

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, shape (batch_size, labels)."""
        return to_scores(to_real(self._answer), self._output, batch_size=self.batch_size)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _import_onnxruntime() -> Any:  # noqa: ANN401 - no type information is shipped
    try:
        with held_back_stderr():  # warnings about the machine's graphics card
            import onnxruntime  # type: ignore[import-untyped] # no type information is shipped
    except ImportError as error:
        raise MissingDependencyError(NAME, extra="onnxruntime") from error
    return onnxruntime


def prepare(variant: str) -> None:
    """Imports ONNX Runtime.

    Raises:
        MissingDependencyError: It is not installed.
    """
    del variant
    _import_onnxruntime()


def _load(content: bytes, num_threads: int) -> Any:  # noqa: ANN401
    onnxruntime = _import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = 4  # what it cannot load it says in the exception
    # its threads would spin between two runs and take time from whatever else the machine does
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if num_threads > 1 else "0")
    try:
        with held_back_stderr():
            return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise ModelFileError(f"Expected an ONNX network, got: {_first_line(error)}", hint=_HINT) from error


def _check(session: Any, spec: InputSpec, output: OutputSpec, batch_size: int) -> None:  # noqa: ANN401
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or inputs[0].type not in _TYPES:
        found = ", ".join(f"{entry.name} {entry.type}" for entry in inputs) or "none"
        raise ModelFileError(f"Expected one picture as input, got {found:.200}.", hint=_HINT)
    wanted, sides = spec.shape(batch_size), list(inputs[0].shape)
    # a side that may change stands as a name or None
    fits = [not isinstance(side, int) or side == want for side, want in zip(sides, wanted, strict=False)]
    if len(sides) != 4 or not all(fits):
        raise ModelFileError(f"Expected an input of shape {wanted}, got {sides}.", hint=_HINT)
    if output.tensor >= len(outputs):
        raise ModelFileError(f"Expected output {output.tensor}, got a network with {len(outputs)}.", hint=_HINT)


def load(
    content: bytes, *, spec: InputSpec, output: OutputSpec, num_threads: int = 1, batch_size: int = 1
) -> OnnxEngine:
    """Returns an engine that runs an ONNX network on the CPU.

    Args:
        content: The ``.onnx``, whose hash was checked before.
        spec: How a picture goes in.
        output: How scores come out.
        num_threads: Threads within an operator; operators run one after another.
        batch_size: Pictures of one run.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelFileError: It refuses the network, or the network takes or gives something else.
    """
    session = _load(content, num_threads)
    _check(session, spec, output, batch_size)
    record = EngineRecord(NAME, str(_import_onnxruntime().__version__), "")
    return OnnxEngine(session, record, spec, output, batch_size)


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> OnnxEngine:
    """Returns the network of a rival, or of the ``.onnx`` beside a ``.tflite`` made by edgegender.

    See :mod:`edgegender.benchmark.engines`.

    Raises:
        MissingDependencyError: onnxruntime is not installed.
        ModelFileError: A file is missing, damaged or altered, or ONNX Runtime refuses the network.
        UsageError: It is another kind of file.
    """
    source, _ = read_source(model, variant, "onnx")
    return load(source.content, spec=source.input, output=source.output, num_threads=num_threads, batch_size=batch_size)
