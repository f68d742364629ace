"""A Keras network becomes the bytes of a ``.tflite``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError
from edgegender.native_log import held_back_stderr
from edgegender.preprocess import CAFFE_MEAN_BGR, to_float

if TYPE_CHECKING:
    import keras

INPUT_NAME, OUTPUT_NAME = "image", "scores"


def _to_graph_input(image: UInt8Array, scaling: str) -> npt.NDArray[np.float32]:
    """Returns what the converted graph takes for a picture: scaled numbers, or with ``caffe`` the bytes themselves."""
    values = image.astype(np.float32) if scaling == "caffe" else to_float(image, scaling)
    return values[np.newaxis]


def convert_to_uint8(model: keras.Model, representative: UInt8Array, *, scaling: str = "tf") -> bytes:
    """Returns a fully integer ``.tflite``: int8 weights per channel, int8 activations, uint8 in and out.

    Raw RGB bytes go straight in: the input's scale and zero point say what :func:`edgegender.preprocess.to_float`
    says. Hence the representative dataset is widened by one picture that holds both 0 and 255. No scale can turn
    channels round or take another mean from each: with ``caffe`` the input is (1.0, 0) and a convolution of 1 × 1
    in front of the network does both.

    Args:
        model: From float32 (batch, size, size, 3), scaled, to scores (batch, labels).
        representative: Inputs as raw bytes, shape (photos, size, size, 3), uint8.
        scaling: What the network was trained with, one of :data:`edgegender.preprocess.SCALINGS`.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
        CheckFailedError: The converter fails.
        UsageError: The scaling is unknown.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependencyError("tensorflow", extra="train") from error

    size_px = representative.shape[1]
    full_range = np.zeros((size_px, size_px, 3), np.uint8)
    full_range[: size_px // 2] = 255
    _to_graph_input(full_range, scaling)  # an unknown scaling is no fault of the converter

    class _Frozen(tf.Module):
        """Holds every variable: without them the converter writes an unfrozen model with NaN answers and exits 0."""

        def __init__(self) -> None:
            super().__init__()
            self.kept = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec((1, size_px, size_px, 3), tf.float32, name=INPUT_NAME)])  # type: ignore[untyped-decorator]
        def serve(self, image: object) -> dict[str, object]:
            if scaling == "caffe":
                # A convolution answers as if the scaled numbers themselves were quantized (measured on a small network:
                # mean |Δ score| .0018 in both); tf.reverse and a subtraction, which quantizes the means too, .0604
                turn_round = np.eye(3, dtype=np.float32)[::-1].reshape(1, 1, 3, 3)
                image = tf.nn.conv2d(image, turn_round, 1, "VALID") - np.asarray(CAFFE_MEAN_BGR, np.float32)
            return {OUTPUT_NAME: model(image, training=False)}

    def representative_dataset() -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [_to_graph_input(full_range, scaling)]
        for image in representative:
            yield [_to_graph_input(image, scaling)]

    with held_back_stderr() as log:
        try:
            frozen = _Frozen()
            converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.serve.get_concrete_function()], frozen)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = representative_dataset
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = tf.uint8
            converter.inference_output_type = tf.uint8
            content = bytes(converter.convert())
        except Exception as error:  # the converter's own exceptions share no base class
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise CheckFailedError(
                f"Expected TensorFlow to convert the network, got: {first}", hint=log.getvalue().strip()[-500:]
            ) from error
    return content
