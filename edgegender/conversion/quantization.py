"""A float ``.tflite`` becomes an integer one, through TensorFlow's own quantizer, with ranges that are chosen here.

TensorFlow's converter does three things in one call: it converts, runs the representative dataset, and quantizes. Here
they are three steps, so that a network is converted once (seconds) and quantized as often as it takes (a tenth of a
second each). With ranges by ``min_max`` the result has the weights and scales of the converter's own file, which a test
holds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.conversion.float_network import FloatNetwork, import_tensorflow, run_converter
from edgegender.conversion.ranges import (
    RANGE_METHODS,
    ActivationHistogram,
    choose_range,
    collect_histograms,
    with_ranges,
)
from edgegender.conversion.tensors import TensorReader
from edgegender.entities import QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError

IO_TYPES = ("uint8", "int8")


@dataclass(frozen=True)
class IntegerPlan:
    """How to make an integer file.

    Args:
        ranges: One of :data:`edgegender.conversion.ranges.RANGE_METHODS`.
        is_bias_corrected: Whether biases make up for the mean error of each output channel.
        is_per_channel: Whether each output channel has a scale of its own; old accelerators know one a tensor.
        io_type: ``uint8`` or ``int8``, of input and output. LiteRT.js refuses int8.
        float_layers: Names of output tensors whose operators stay float32.
    """

    ranges: str = "min_max"
    is_bias_corrected: bool = False
    is_per_channel: bool = True
    io_type: str = "uint8"
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.ranges not in RANGE_METHODS:
            raise UsageError(f"Expected ranges of {', '.join(RANGE_METHODS)}, got {self.ranges!r}.")
        if self.io_type not in IO_TYPES:
            raise UsageError(f"Expected input and output of {', '.join(IO_TYPES)}, got {self.io_type!r}.")

    @property
    def scheme(self) -> QuantizationScheme:
        """What the file is to be called: one with float layers is no full integer."""
        return QuantizationScheme.MIXED_INTEGER if self.float_layers else QuantizationScheme.FULL_INTEGER


class _Inputs(Sequence[npt.NDArray[np.float32]]):
    """The representative dataset as a network takes it, made anew each time: float32 is four times as large."""

    def __init__(self, network: FloatNetwork, images: UInt8Array) -> None:
        self._network, self._images = network, images

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> npt.NDArray[np.float32]:  # type: ignore[override]
        return next(self._network.inputs(self._images[index : index + 1]))

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return self._network.inputs(self._images)


class Quantizer:
    """Makes quantized files of one float network and one representative dataset.

    Args:
        network: The float network.
        representative: Inputs as raw bytes, shape (photos, size, size, 3), uint8.
    """

    def __init__(self, network: FloatNetwork, representative: UInt8Array) -> None:
        self.network = network
        self.representative = representative
        self.inputs: Sequence[npt.NDArray[np.float32]] = _Inputs(network, representative)

    @functools.cached_property
    def _seen(self) -> dict[int, ActivationHistogram]:
        return collect_histograms(self.network.content, self.inputs, has_counts=False)

    @functools.cached_property
    def _counted(self) -> dict[int, ActivationHistogram]:
        return collect_histograms(self.network.content, self.inputs, has_counts=True)

    def _calibrated(self, method: str) -> bytes:
        histograms = self._seen if method == "min_max" else self._counted
        ranges = {index: choose_range(histogram, method) for index, histogram in histograms.items()}
        return set_input_range(with_ranges(self.network.content, ranges), self.network.input_range)

    def _check_names(self, float_layers: Collection[str]) -> None:
        """Makes sure that the layers exist: TensorFlow ignores a name that it does not know."""
        known = {name for _, name, _ in TensorReader(self.network.content).outputs()} if float_layers else set()
        unknown = sorted(set(float_layers) - known)
        if unknown:
            raise UsageError(
                f"Expected names of output tensors of the network, got {', '.join(unknown)}.",
                hint="rank_layers and compare_layers give them.",
            )

    def integer(self, plan: IntegerPlan) -> bytes:
        """Returns the network with int8 weights and activations as planned.

        Raises:
            CheckFailedError: An operator cannot be quantized.
            UsageError: A float layer is not in the network.
            MissingDependencyError: TensorFlow is not installed.
        """
        self._check_names(plan.float_layers)
        content = quantize_calibrated(
            self._calibrated(plan.ranges),
            is_per_channel=plan.is_per_channel,
            io_type=plan.io_type,
            float_layers=plan.float_layers,
        )
        if plan.is_bias_corrected:
            from edgegender.conversion.bias_correction import correct_biases

            content = correct_biases(self.network.content, content, self.inputs, self.representative)
        if not plan.float_layers:
            require_integer(content)
        return content

    def int16x8(self) -> bytes:
        """Returns the network with int8 weights and int16 activations; float32 in and out.

        Raises:
            CheckFailedError: An operator cannot be quantized.
            MissingDependencyError: TensorFlow is not installed.
        """
        tf = import_tensorflow()
        from tensorflow.lite.python.optimize.calibrator import Calibrator

        def dataset() -> Iterator[list[npt.NDArray[np.float32]]]:
            for tensor in self.inputs:
                yield [tensor]

        def quantize() -> bytes:
            return bytes(
                Calibrator(self.network.content).calibrate_and_quantize(
                    dataset,
                    tf.float32,
                    tf.float32,
                    allow_float=False,
                    activations_type=tf.int16,
                    bias_type=tf.int64,
                    resize_input=False,
                )
            )

        return run_converter(quantize)

    def weight_only(self) -> bytes:
        """Returns the network with int8 weights that are unpacked when the file is loaded; all else float32.

        Raises:
            CheckFailedError: The quantizer fails.
            MissingDependencyError: ai-edge-quantizer is not installed.
        """
        try:
            from ai_edge_quantizer import quantizer, recipe
        except ImportError as error:
            raise MissingDependencyError("ai-edge-quantizer", extra="train") from error

        def quantize() -> bytes:
            job = quantizer.Quantizer(self.network.content, recipe.weight_only_wi8_afp32())
            return bytes(job.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)

        return run_converter(quantize)

    def make(self, scheme: QuantizationScheme, plan: IntegerPlan | None = None) -> bytes:
        """Returns the network in a scheme; the plan is for ``full_integer`` and ``mixed_integer``.

        Raises:
            CheckFailedError: An operator cannot be quantized, or the converter fails.
            MissingDependencyError: A package of the extra ``train`` is not installed.
        """
        if scheme in (QuantizationScheme.FULL_INTEGER, QuantizationScheme.MIXED_INTEGER):
            return self.integer(plan or IntegerPlan())
        if scheme is QuantizationScheme.INT16X8:
            return self.int16x8()
        if scheme is QuantizationScheme.WEIGHT_ONLY:
            return self.weight_only()
        if scheme is QuantizationScheme.FLOAT32:
            return self.network.content
        return self.network.convert(scheme)


def set_input_range(content: bytes, input_range: tuple[float, float]) -> bytes:
    """Returns a file with ranges whose input's is replaced: that of all bytes, whatever pictures were seen."""
    from edgegender.conversion import flatbuffer

    graph = flatbuffer.graph_of(flatbuffer.unpack(content))
    return with_ranges(content, {int(graph.inputs[0]): input_range})


def quantize_calibrated(
    content: bytes, *, is_per_channel: bool, io_type: str, float_layers: Collection[str] = ()
) -> bytes:
    """Returns a float file whose activations have ranges as an integer file.

    Args:
        content: From :func:`edgegender.conversion.ranges.with_ranges`.
        is_per_channel: See :class:`IntegerPlan`.
        io_type: See :class:`IntegerPlan`.
        float_layers: See :class:`IntegerPlan`.

    Raises:
        CheckFailedError: An operator cannot be quantized.
        MissingDependencyError: TensorFlow is not installed.
    """
    tf = import_tensorflow()
    from tensorflow.lite.python.convert import mlir_quantize

    kind = tf.uint8 if io_type == "uint8" else tf.int8
    return run_converter(
        lambda: mlir_quantize(
            content,
            disable_per_channel=not is_per_channel,
            disable_per_channel_for_dense_layers=not is_per_channel,
            fully_quantize=False,  # true would mean int8 in and out, whatever is asked for; see require_integer
            input_data_type=kind,
            output_data_type=kind,
            denylisted_nodes=set(float_layers) or None,
        )
    )


def require_integer(content: bytes) -> None:
    """Makes sure that no operator computes in float.

    Raises:
        CheckFailedError: One does; the message names them.
    """
    from ai_edge_litert import schema_py_generated as schema

    from edgegender.conversion import flatbuffer

    model = flatbuffer.unpack(content)
    graph = flatbuffer.graph_of(model)
    floating = [
        name
        for name, operator in zip(flatbuffer.operator_names(model), graph.operators, strict=True)
        if any(graph.tensors[index].type == schema.TensorType.FLOAT32 for index in operator.outputs)
        # a quantized tensor's own conversion, which old networks put around operators without an integer form
        or any(graph.tensors[index].type == schema.TensorType.FLOAT32 for index in operator.inputs if index >= 0)
    ]
    if floating:
        raise CheckFailedError(
            f"Expected integer operators alone, got float32 in {', '.join(sorted(set(floating)))}.",
            hint="Replace that layer, or allow float layers with --scheme mixed_integer.",
        )


def without_layers(plan: IntegerPlan, float_layers: Sequence[str]) -> IntegerPlan:
    """Returns a plan in which these layers stay float32."""
    return dataclasses.replace(plan, float_layers=tuple(float_layers))
