"""A Keras network becomes the bytes of a ``.tflite``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError
from edgegender.native_log import held_back_stderr
from edgegender.preprocess import to_float

if TYPE_CHECKING:
    import keras

INPUT_NAME, OUTPUT_NAME = "image", "scores"


def convert_to_uint8(model: keras.Model, representative: UInt8Array) -> bytes:
    """Returns a fully integer ``.tflite``: int8 weights per channel, int8 activations, uint8 in and out.

    The input's scale and zero point are those of (x - 127.5) / 127.5, so that raw RGB bytes go straight in; hence the
    representative dataset is widened by one picture that holds both 0 and 255.

    Args:
        model: From float32 (batch, size, size, 3) in [-1, 1] to scores (batch, labels).
        representative: Inputs as raw bytes, shape (photos, size, size, 3), uint8.

    Raises:
        MissingDependencyError: TensorFlow is not installed.
        CheckFailedError: The converter fails.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise MissingDependencyError("tensorflow", extra="train") from error

    size_px = representative.shape[1]
    full_range = np.zeros((size_px, size_px, 3), np.uint8)
    full_range[: size_px // 2] = 255

    class _Frozen(tf.Module):
        """Holds every variable: without them the converter writes an unfrozen model with NaN answers and exits 0."""

        def __init__(self) -> None:
            super().__init__()
            self.kept = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec((1, size_px, size_px, 3), tf.float32, name=INPUT_NAME)])  # type: ignore[untyped-decorator]
        def serve(self, image: object) -> dict[str, object]:
            return {OUTPUT_NAME: model(image, training=False)}

    def representative_dataset() -> Iterator[list[npt.NDArray[np.float32]]]:
        yield [to_float(full_range)[np.newaxis]]
        for image in representative:
            yield [to_float(image)[np.newaxis]]

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
