"""The twin with simulated rounding, and the ``.tflite`` that it becomes. For the worker's process only.

tensorflow-model-optimization decides where a network is quantized. Three of its habits are replaced here:

- Ranges of activations start at [-6, 6] there and move by a thousandth a step, too slowly for a few hundred steps. Here
  they start at the first batch's and are the mean of the batches' ranges, and later their moving average.
- A depthwise kernel has one scale there, and one a channel in the converted file. Here it has one a channel, too, and
  so have dense layers.
- The gradient of its rounding is not defined on a GPU in deterministic mode. Here it is plain: one inside of the range.

Source: Jacob et al. 2018, arXiv 1712.05877, section 3, for the simulated rounding and the moving averages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgegender.conversion.float_network import INPUT_NAME, OUTPUT_NAME
from edgegender.conversion.twin import NetworkSpec, build_twin, import_or_explain
from edgegender.conversion.twin_folding import FRONT_NAME
from edgegender.errors import CheckFailedError, UsageError
from edgegender.preprocess import CAFFE_MEAN_BGR

if TYPE_CHECKING:
    import tensorflow as tf

_TFMOT = ("tensorflow_model_optimization", "tensorflow-model-optimization")
_CORE = "tensorflow_model_optimization.python.core.quantization.keras"
# The zero point of (x - 127.5) / 127.5 would be 127.5, which no integer is: as in a converted file, it is 127.
_TF_ZERO_POINT = 127
_RANGE_MOMENTUM = 0.99
_LARGEST_INT8 = 127  # of a weight: the range is symmetric, -128 is not used
# A channel or an activation of zeros has no range, and a division by it would give NaN
_SMALLEST_RANGE = 1e-6


def input_range(scaling: str) -> tuple[float, float]:
    """Returns the numbers that the bytes 0 and 255 stand for, with a zero point that is a whole number.

    Example:
        >>> input_range("unit"), input_range("raw")
        ((0.0, 1.0), (0.0, 255.0))
    """
    if scaling == "tf":
        return -_TF_ZERO_POINT / 127.5, (255 - _TF_ZERO_POINT) / 127.5
    return (0.0, 1.0) if scaling == "unit" else (0.0, 255.0)


def to_device_input(batch: tf.Tensor, scaling: str) -> tf.Tensor:
    """Returns a scaled batch as the device reads the same bytes: through its input's scale and zero point.

    Args:
        batch: Tensor of shape (batch, height, width, 3), as :func:`edgegender.preprocess.to_float` scales it.
        scaling: One of :data:`edgegender.preprocess.SCALINGS`. With ``caffe`` the raw RGB bytes come back.
    """
    if scaling == "tf":  # the device reads each byte half a step of 1/127.5 higher
        return batch + np.float32(0.5 / 127.5)
    if scaling == "caffe":
        return (batch + np.asarray(CAFFE_MEAN_BGR, np.float32))[..., ::-1]
    return batch


@dataclass
class Phase:
    """What the simulated rounding does at the moment.

    Args:
        num_steps: A tf.Variable that counts training steps; ranges of activations depend on it.
        is_exporting: Whether weights are left as they are, for the converter to round: it does the same.
    """

    num_steps: tf.Variable
    is_exporting: bool = False


class ActivationRounding:
    """Rounds an activation to one of 256 steps of a range that follows the batches. A tfmot quantizer by its calls.

    Args:
        phase: Shared by all of a network.
        fixed_range: A range that is known and does not move.
    """

    def __init__(self, phase: Phase, fixed_range: tuple[float, float] | None = None) -> None:
        self._phase = phase
        self._fixed_range = fixed_range

    def __call__(
        self,
        inputs: tf.Tensor,
        training: bool,  # noqa: FBT001 - tfmot calls it in this order
        weights: Mapping[str, tf.Variable] | None,
        **_: object,
    ) -> tf.Tensor:
        """Returns the rounded tensor; in training the range moves first."""
        import tensorflow as tf

        if self._fixed_range is not None or weights is None:
            low, high = self._fixed_range or (0.0, 0.0)
            return _round_straight_through(inputs, tf.constant(low), tf.constant(high))
        low, high = weights["min_var"], weights["max_var"]
        if training:
            rate = tf.maximum(1.0 / (tf.cast(self._phase.num_steps, tf.float32) + 1.0), 1.0 - _RANGE_MOMENTUM)
            values = tf.stop_gradient(inputs)
            # zero must be a step of its own, or padding could not be told from numbers beside it
            low.assign_add(rate * (tf.minimum(tf.reduce_min(values), 0.0) - low))
            high.assign_add(rate * (tf.maximum(tf.reduce_max(values), _SMALLEST_RANGE) - high))
        return _round_straight_through(inputs, tf.identity(low), tf.identity(high))


class WeightRounding:
    """Rounds a kernel to -127 … 127 steps, with one scale an output channel. A tfmot quantizer by its calls.

    Args:
        phase: Shared by all of a network.
        num_channel_axes: How many of the last axes count output channels: two in a depthwise kernel, else one.
    """

    def __init__(self, phase: Phase, num_channel_axes: int) -> None:
        self._phase = phase
        self._num_channel_axes = num_channel_axes

    def __call__(
        self,
        inputs: tf.Tensor,
        training: bool,  # noqa: FBT001 - tfmot calls it in this order
        weights: Mapping[str, tf.Variable] | None,
        **_: object,
    ) -> tf.Tensor:
        """Returns the rounded kernel, through which a gradient passes as if it had not been rounded."""
        import tensorflow as tf

        del training, weights
        if self._phase.is_exporting:
            return tf.identity(inputs)
        axes = list(range(len(inputs.shape) - self._num_channel_axes))
        largest = tf.reduce_max(tf.abs(tf.stop_gradient(inputs)), axis=axes, keepdims=True)
        scale = tf.maximum(largest, _SMALLEST_RANGE) / _LARGEST_INT8
        rounded = tf.round(inputs / scale) * scale
        return inputs + tf.stop_gradient(rounded - inputs)


def _round_straight_through(inputs: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
    """Rounds with TensorFlow's own operator, which the converter reads the range from."""
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def rounded(values: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tuple[tf.Tensor, object]:
        answer = tf.quantization.fake_quant_with_min_max_vars(values, low, high, num_bits=8)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            is_inside = tf.logical_and(values >= low, values <= high)
            return tf.where(is_inside, upstream, tf.zeros_like(upstream)), tf.zeros_like(low), tf.zeros_like(high)

        return answer, gradient

    return rounded(inputs, low, high)


def _create_scheme() -> object:
    """Returns tfmot's 8-bit scheme, which here also takes products of two tensors."""
    schemes = import_or_explain(f"{_CORE}.default_8bit.default_8bit_quantize_scheme", _TFMOT[1])
    registries = import_or_explain(f"{_CORE}.default_8bit.default_8bit_quantize_registry", _TFMOT[1])
    multiply = import_or_explain("tf_keras", "tf_keras").layers.Multiply
    scheme = schemes.Default8BitQuantizeScheme()
    registry = scheme.get_quantize_registry()
    registry._layer_quantize_map[multiply] = registries._QuantizeInfo(multiply, [], [], quantize_output=True)
    scheme.get_quantize_registry = lambda: registry
    return scheme


def _replace_rounding(layer: tf.keras.layers.Layer, phase: Phase, scaling: str) -> None:
    """Gives a layer that tfmot made the rounding of this module."""
    kind = type(layer).__name__
    if kind == "QuantizeLayer":
        layer.quantizer = ActivationRounding(phase, input_range(scaling))
    elif kind == "QuantizeWrapperV2":
        fixed = None
        if layer.layer.name == FRONT_NAME:
            mean_bgr = np.asarray(CAFFE_MEAN_BGR)
            fixed = float((0 - mean_bgr).min()), float((255 - mean_bgr).max())
        moving = ActivationRounding(phase, fixed)
        layer._output_quantizers = [moving for _ in layer._output_quantizers]
        for activation in layer._quantize_activations:
            activation.quantizer = moving
        axes = 2 if type(layer.layer).__name__ == "DepthwiseConv2D" else 1
        layer._weight_vars = [(weight, WeightRounding(phase, axes), owned) for weight, _, owned in layer._weight_vars]


def build_quantized(network: NetworkSpec, *, scaling: str) -> tuple[tf.keras.Model, Phase]:
    """Returns the network with simulated rounding, and what steers it.

    Args:
        network: From :func:`edgegender.conversion.twin_folding.to_quantizable`.
        scaling: One of :data:`edgegender.preprocess.SCALINGS`.

    Raises:
        MissingDependencyError: tf_keras or tensorflow-model-optimization is not installed.
        UsageError: tfmot has no rounding for one of the layers.
    """
    import tensorflow as tf

    quantize = import_or_explain(*_TFMOT).quantization.keras
    phase = Phase(tf.Variable(0, dtype=tf.int64, trainable=False))
    try:
        annotated = quantize.quantize_annotate_model(build_twin(network))
        student = quantize.quantize_apply(annotated, scheme=_create_scheme(), quantized_layer_name_prefix="")
    except (RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise UsageError(
            f"Expected layers that quantization-aware training can treat, got: {first}",
            hint="Convert it without training: edgegender convert --scheme full_integer",
        ) from error
    for layer in student.layers:
        _replace_rounding(layer, phase, scaling)
        if layer.name == FRONT_NAME:
            layer.trainable = False
    return student, phase


def convert_quantized(student: tf.keras.Model, phase: Phase, network: NetworkSpec, *, io_type: str) -> bytes:
    """Returns the ``.tflite`` of a trained network: int8 inside, ``io_type`` in and out, no number of another kind.

    Args:
        student: From :func:`build_quantized`, trained.
        phase: Likewise.
        network: What it was built from.
        io_type: ``uint8`` or ``int8``.

    Raises:
        CheckFailedError: The converter fails.
    """
    import tensorflow as tf

    phase.is_exporting = True

    class _Frozen(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = list(student.variables)

        @tf.function(input_signature=[tf.TensorSpec((1, *network.input_shape), tf.float32, name=INPUT_NAME)])  # type: ignore[untyped-decorator]
        def serve(self, image: object) -> dict[str, object]:
            return {OUTPUT_NAME: student(image, training=False)}

    try:
        frozen = _Frozen()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen.serve.get_concrete_function()], frozen)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        # TFLITE_BUILTINS_INT8 would ask for a representative dataset before the graph with its ranges has been read;
        # that no float number is left is checked in the file
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io_type)
        return bytes(converter.convert())
    except Exception as error:  # the converter's own exceptions share no base class
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckFailedError(f"Expected TensorFlow to convert the trained network, got: {first}") from error
