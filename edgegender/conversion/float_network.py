"""A Keras network becomes a float ``.tflite`` that is held to its word: all later steps start from that file.

Silent traps of the converter that are caught here: variables that were left out (the file answers NaN and the
converter exits cleanly), operators of TensorFlow that no device has, a file without names for its input and output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegender.conversion import flatbuffer
from edgegender.entities import QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.preprocess import CAFFE_MEAN_BGR, SCALINGS, to_float
from edgegender.runtime.interpreter import Interpreter

if TYPE_CHECKING:
    import keras

INPUT_NAME, OUTPUT_NAME = "image", "scores"
SIGNATURE_KEY = "serving_default"
# float32 sums in another order, over a hundred layers; an unfrozen or half-loaded network differs by far more
_MAX_DIFFERENCE = 2e-3
_STATEFUL = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE")
_FOREIGN_OPERATORS = re.compile(r"^(?:TF Select|Custom) ops: (.+?)\s*$", re.MULTILINE)  # in the converter's message
_HINT_REPORT = "Report this with your versions (edgegender doctor)."


@dataclass(frozen=True)
class FloatNetwork:
    """A float network as a ``.tflite``, and how to write it in other schemes of the converter.

    Args:
        content: float32 in (1, size, size, 3), float32 scores out (1, labels).
        scaling: How raw bytes become what the file takes, one of :data:`edgegender.preprocess.SCALINGS`; ``raw`` where
            the graph scales by itself.
        size_px: Side of the square input.
        num_outputs: Scores.
        convert: Gives the file in ``float16`` or ``dynamic_range``, which need no representative dataset.
    """

    content: bytes
    scaling: str
    size_px: int
    num_outputs: int
    convert: Callable[[QuantizationScheme], bytes]

    def inputs(self, images: UInt8Array) -> Iterator[npt.NDArray[np.float32]]:
        """Yields what the file takes for each of the raw pictures: shape (1, size, size, 3)."""
        for image in images:
            yield to_float(image, self.scaling)[np.newaxis]

    @property
    def input_range(self) -> tuple[float, float]:
        """What a black and a white byte become, which the scale of a quantized input is made from."""
        low, high = to_float(np.asarray([[0] * 3, [255] * 3], np.uint8), self.scaling)[:, 0]
        return float(low), float(high)


def import_tensorflow() -> Any:  # noqa: ANN401 - TensorFlow ships no types
    """Returns TensorFlow.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependencyError("tensorflow", extra="train") from error
    return tf


def _converter(model: keras.Model, size_px: int, scaling: str) -> Any:  # noqa: ANN401
    """Returns a TFLiteConverter of a frozen copy of the network, with names for its input and output."""
    tf = import_tensorflow()

    class _Frozen(tf.Module):  # type: ignore[name-defined]
        """Holds every variable: without them the converter writes an unfrozen model with NaN answers and exits 0."""

        def __init__(self) -> None:
            super().__init__()
            self.kept = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec((1, size_px, size_px, 3), tf.float32, name=INPUT_NAME)])  # type: ignore[untyped-decorator]
        def serve(self, image: object) -> dict[str, object]:
            if scaling == "caffe":
                # No scale can turn channels round or take another mean from each. A convolution of 1 × 1 does both and
                # answers as if the scaled numbers themselves were quantized (measured on a small network: mean
                # |Δ score| .0018 in both); tf.reverse and a subtraction, which quantizes the means too, .0604
                turn_round = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
                image = tf.nn.conv2d(image, turn_round, 1, "VALID") - np.asarray(CAFFE_MEAN_BGR, np.float32)
            return {OUTPUT_NAME: model(image, training=False)}

    frozen = _Frozen()
    return tf.lite.TFLiteConverter.from_concrete_functions([frozen.serve.get_concrete_function()], frozen)


def run_converter(convert: Callable[[], bytes]) -> bytes:
    """Returns what a step of TensorFlow's converter gives; its prints are kept for the error.

    Raises:
        CheckFailedError: It fails, or meets an operator that no device has.
    """
    with held_back_stderr() as log:
        try:
            return bytes(convert())
        except Exception as error:  # noqa: BLE001 - the converter's own exceptions share no base class
            failed = error
    message = str(failed).strip()
    foreign = sorted({name for names in _FOREIGN_OPERATORS.findall(message) for name in names.split(", ")})
    if foreign:
        raise CheckFailedError(
            f"Expected operators that every device has, got {', '.join(foreign)} of TensorFlow.",
            hint="Replace that layer by convolutions, dense layers, pooling and plain activations.",
        ) from failed
    first = message.splitlines()[0] if message else type(failed).__name__
    raise CheckFailedError(
        f"Expected TensorFlow to convert the network, got: {first}", hint=log.getvalue().strip()[-500:]
    ) from failed


def check_structure(content: bytes, *, num_parameters: int, bytes_per_parameter: float) -> None:
    """Makes sure that a converted file is whole, whatever the converter's exit said.

    Args:
        content: The ``.tflite``.
        num_parameters: Of the network that it was made from.
        bytes_per_parameter: The least that a parameter takes on average in this scheme; constants that are folded away
            (batch normalization) are allowed for.

    Raises:
        CheckFailedError: It has variables that were not frozen, operators of TensorFlow, no signature with the names
            ``image`` and ``scores``, or less weights than the network.
    """
    model = flatbuffer.unpack(content)
    names = flatbuffer.operator_names(model)
    stateful = sorted({name for name in names if name in _STATEFUL})
    held = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    # a fifth: folding batch normalization leaves 1 of 5 numbers a channel, and small networks are mostly those
    if stateful or held < num_parameters * bytes_per_parameter / 5:
        raise CheckFailedError(
            f"Expected a file with all weights inside, got {held} bytes of them for {num_parameters} parameters"
            + (f" and {', '.join(stateful)}." if stateful else "."),
            hint=f"The converter left variables out. {_HINT_REPORT}",
        )
    custom = sorted({name for name in names if name.startswith(flatbuffer.CUSTOM_OPERATOR)})
    if custom:
        raise CheckFailedError(
            f"Expected operators that every device has, got {', '.join(custom)}.",
            hint="Replace that layer by convolutions, dense layers, pooling and plain activations.",
        )
    signatures = model.signatureDefs or []
    found = [
        (
            flatbuffer.text(signature.signatureKey),
            [flatbuffer.text(entry.name) for entry in signature.inputs],
            [flatbuffer.text(entry.name) for entry in signature.outputs],
        )
        for signature in signatures
    ]
    if found != [(SIGNATURE_KEY, [INPUT_NAME], [OUTPUT_NAME])]:
        raise CheckFailedError(
            f"Expected the signature {SIGNATURE_KEY} with {INPUT_NAME} and {OUTPUT_NAME}, got {found or 'none'}.",
            hint=_HINT_REPORT,
        )


def _check_pictures(size_px: int) -> UInt8Array:
    """Returns noise, a grey and patches of colour.

    A network that is sure of one kind of them, so that scores of 0 and 1 hide other sums, is not sure of all.
    """
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (2, size_px, size_px, 3), np.uint8)
    grey = np.full((1, size_px, size_px, 3), 96, np.uint8)
    patch = np.arange(size_px) * 4 // size_px
    patches = generator.integers(0, 256, (6, 4, 4, 3), np.uint8)[:, patch][:, :, patch]
    return np.concatenate([noise, grey, patches])


def _check_answers(model: keras.Model, network: FloatNetwork, scaling: str) -> None:
    """Makes sure that the float file answers as Keras does."""
    images = _check_pictures(network.size_px)
    expected = np.asarray(model(to_float(images, scaling), training=False), np.float64)
    interpreter = Interpreter(network.content, scaling=network.scaling)
    answers = np.stack([interpreter.run(image) for image in images])
    if not np.isfinite(answers).all() or not np.isfinite(expected).all():
        raise CheckFailedError(
            "Expected finite scores of the float network, got NaN or infinity.",
            hint="The weights are broken: train the network again.",
        )
    difference = float(np.abs(answers - expected).max())
    if difference > _MAX_DIFFERENCE:
        raise CheckFailedError(
            f"Expected the float file to answer as Keras does, got scores that differ by {difference:.3g}.",
            hint=_HINT_REPORT,
        )


def build_float_network(model: keras.Model, *, scaling: str = "tf") -> FloatNetwork:
    """Returns a network as a float ``.tflite`` that was checked: whole, no foreign operator, same answers as Keras.

    Args:
        model: From float32 (batch, size, size, 3), scaled, to float32 scores (batch, labels).
        scaling: What the network takes, one of :data:`edgegender.preprocess.SCALINGS`. With ``caffe`` a convolution of
            1 × 1 stands in front of the file's network, which takes raw bytes then.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
        CheckFailedError: The converter fails, or its file does not do what the network does.
        UsageError: The scaling is unknown.
    """
    if scaling not in SCALINGS:
        raise UsageError(f"Expected a scaling of {', '.join(SCALINGS)}, got {scaling!r}.")
    size_px, num_outputs = int(model.input_shape[1]), int(model.output_shape[-1])
    num_parameters = int(model.count_params())

    def convert(scheme: QuantizationScheme) -> bytes:
        tf = import_tensorflow()
        converter = _converter(model, size_px, scaling)
        if scheme is not QuantizationScheme.FLOAT32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if scheme is QuantizationScheme.FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        content = run_converter(converter.convert)
        width = {QuantizationScheme.FLOAT32: 4, QuantizationScheme.FLOAT16: 2}.get(scheme, 1)
        check_structure(content, num_parameters=num_parameters, bytes_per_parameter=width)
        return content

    network = FloatNetwork(
        content=convert(QuantizationScheme.FLOAT32),
        scaling="raw" if scaling == "caffe" else scaling,
        size_px=size_px,
        num_outputs=num_outputs,
        convert=convert,
    )
    _check_answers(model, network, scaling)
    return network
