"""LiteRT on a ``.tflite`` of somebody else: any type and layout of input, any shape of output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.records import EngineRecord
from edgegender.benchmark.rival_numbers import (
    InputSpec,
    OutputSpec,
    Quantization,
    to_numbers,
    to_real,
    to_scores,
    to_stored,
)
from edgegender.benchmark.rival_source import read_source
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import ModelFileError
from edgegender.runtime.interpreter import Network, TensorInfo, import_runtime

_IDENTIFIER = b"TFL3"
_HINT = "Look at input and output of the description; docs/rivals.md has an example."


def _quantization(info: TensorInfo) -> Quantization:
    return Quantization(info.scales[0], info.zero_points[0]) if info.scales else Quantization()


class TfliteRivalEngine:
    """One ``.tflite``, loaded and ready to run. See :class:`edgegender.benchmark.engine.Engine`.

    A run also copies every output, some microseconds for a classifier.

    Args:
        network: LiteRT's.
        spec: How a picture goes in.
        output: How scores come out.
        is_reference: Whether it runs the reference kernels.
    """

    def __init__(self, network: Network, spec: InputSpec, output: OutputSpec, *, is_reference: bool) -> None:
        tensors = network.tensors()
        self.record = EngineRecord(
            network.runtime_name, network.runtime_version, "reference" if is_reference else "xnnpack"
        )
        self.batch_size = network.inputs[0][0][0]
        self.input_size_px = spec.size_px
        self._network, self._spec, self._output = network, spec, output
        self._dtype = network.inputs[0][1]
        self._input_quantization = _quantization(tensors[network.input_indices[0]])
        self._output_quantization = _quantization(tensors[network.output_indices[output.tensor]])
        self._answers: list[npt.NDArray[np.generic]] = []

    def to_tensor(self, images: UInt8Array) -> npt.NDArray[np.generic]:
        """Returns raw bytes (batch, S, S, 3) as this network's input."""
        return to_stored(to_numbers(images, self._spec), self._dtype, self._input_quantization)

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Writes the input, runs the network, and returns when its answer is there."""
        self._answers = self._network.infer(tensor)

    def read_scores(self) -> FloatArray:
        """Returns the scores of the last run, shape (batch_size, labels)."""
        answer = to_real(self._answers[self._output.tensor], self._output_quantization)
        return to_scores(answer, self._output, batch_size=self.batch_size)


def load(
    content: bytes,
    *,
    spec: InputSpec,
    output: OutputSpec,
    num_threads: int = 1,
    batch_size: int = 1,
    is_reference: bool = False,
) -> TfliteRivalEngine:
    """Returns an engine that runs any ``.tflite`` classifier.

    Args:
        content: The file, whose hash was checked before.
        spec: How a picture goes in.
        output: How scores come out.
        num_threads: 1 to 256.
        batch_size: Pictures of one run.
        is_reference: Whether to use the reference kernels.

    Raises:
        ModelFileError: It is no ``.tflite``, the runtime refuses it, or it takes or gives something else.
        MissingDependencyError: No runtime is installed.
    """
    if content[4:8] != _IDENTIFIER:
        raise ModelFileError("Expected a .tflite, got another file.", hint="The description's key model names it.")
    network = Network(content, num_threads=num_threads, is_reference=is_reference, batch_size=batch_size)
    wanted = spec.shape(batch_size)
    if len(network.inputs) != 1 or network.inputs[0][0] != wanted:
        found = ", ".join(str(shape) for shape, _ in network.inputs)
        raise ModelFileError(f"Expected one input of shape {wanted}, got {found}.", hint=_HINT)
    if output.tensor >= len(network.outputs):
        raise ModelFileError(f"Expected output {output.tensor}, got a network with {len(network.outputs)}.", hint=_HINT)
    return TfliteRivalEngine(network, spec, output, is_reference=is_reference)


def prepare(variant: str) -> None:
    """Imports the runtime.

    Raises:
        MissingDependencyError: It is not installed.
    """
    del variant
    import_runtime()


def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> TfliteRivalEngine:
    """Returns the network of a rival. See :mod:`edgegender.benchmark.engines`.

    The engine's own variant is ``reference`` for the reference kernels, anything else for XNNPACK.

    Raises:
        ModelFileError: The file is missing, damaged or altered, or the runtime refuses the network.
        UsageError: It is another kind of file.
    """
    source, option = read_source(model, variant, "tflite")
    return load(
        source.content,
        spec=source.input,
        output=source.output,
        num_threads=num_threads,
        batch_size=batch_size,
        is_reference=option == "reference",
    )
