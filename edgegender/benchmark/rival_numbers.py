"""From pictures to the numbers that a network takes, and from the numbers that it gives to one score a label.

All that differs between the networks of different people stands here, so that an engine only runs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import ModelFileError, UsageError
from edgegender.preprocess import to_float

LAYOUTS = ("NHWC", "NCHW")
CHANNELS = ("RGB", "BGR", "GRAY")
KINDS = ("probabilities", "scores", "logits", "sigmoid", "sigmoid_logit")
Tensor = npt.NDArray[np.generic]


@dataclass(frozen=True)
class InputSpec:
    """How raw bytes become a network's input.

    Args:
        size_px: Side of the square input.
        layout: ``NHWC`` or ``NCHW``.
        channels: ``RGB``, ``BGR``, or ``GRAY`` (one channel, by ITU-R BT.601's weights).
        scaling: One of :data:`edgegender.preprocess.SCALINGS`; empty where ``mean`` and ``std`` say it.
        mean: Subtracted from the bytes (0 to 255), one a channel, in the order of ``channels``.
        std: What they are divided by then, likewise.
    """

    size_px: int
    layout: str = "NHWC"
    channels: str = "RGB"
    scaling: str = "tf"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def num_channels(self) -> int:
        """1 or 3."""
        return 1 if self.channels == "GRAY" else 3

    def shape(self, batch_size: int) -> tuple[int, int, int, int]:
        """Returns the shape of the input tensor."""
        size = self.size_px
        is_first = self.layout == "NCHW"
        return (batch_size, self.num_channels, size, size) if is_first else (batch_size, size, size, self.num_channels)


@dataclass(frozen=True)
class OutputSpec:
    """How a network's answer becomes one score a label.

    Args:
        tensor: Which output, from 0, in the order of the file.
        kind: ``probabilities`` (taken as they are), ``scores`` (divided by their sum), ``logits`` (softmax over the
            columns), ``sigmoid`` (one number, the score of one label), ``sigmoid_logit`` (the same before its sigmoid).
        columns: Which numbers of a picture's answer, flattened, one a label in their order; one for a sigmoid.
        label_index: The label that a sigmoid's number is the score of; -1 for other kinds.
    """

    tensor: int = 0
    kind: str = "probabilities"
    columns: tuple[int, ...] = (0, 1)
    label_index: int = -1


@dataclass(frozen=True)
class Quantization:
    """real = (stored - zero point) * scale; a scale of 0 stands for none.

    Args:
        scale: Of the whole tensor.
        zero_point: Likewise.
    """

    scale: float = 0.0
    zero_point: int = 0


def to_numbers(images: UInt8Array, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Returns raw bytes as the real numbers that a network takes.

    Args:
        images: Shape (batch, S, S, 3), uint8, RGB.
        spec: How.

    Returns:
        float32, in the network's own layout.
    """
    if spec.scaling == "caffe":
        values = to_float(images, "caffe")
    else:
        ordered = images[..., ::-1] if spec.channels == "BGR" else images
        if spec.channels == "GRAY":
            grey = [cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY) for image in images]
            ordered = np.asarray(grey, np.uint8)[..., np.newaxis]
        if spec.scaling:
            values = to_float(ordered, spec.scaling)
        else:
            mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)
            values = (ordered.astype(np.float32) - mean) / std
    if spec.layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(values, np.float32)


def to_stored(
    values: npt.NDArray[np.float32], dtype: npt.DTypeLike, quantization: Quantization | None = None
) -> Tensor:
    """Returns real numbers as a tensor of the network's own type.

    Args:
        values: Real numbers.
        dtype: Of the input tensor.
        quantization: Its scale and zero point, for a type of whole numbers; without one, numbers must be whole already.

    Raises:
        UsageError: The numbers do not fit the type: bytes go in, and the scaling makes others of them.
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.asarray(values, kind)
    limits = np.iinfo(kind)
    if quantization is not None and quantization.scale > 0:
        stored = np.rint(values / np.float32(quantization.scale)) + quantization.zero_point
        return np.asarray(np.clip(stored, limits.min, limits.max), kind)
    if values.min() < limits.min or values.max() > limits.max or not np.array_equal(values, np.rint(values)):
        raise UsageError(
            f"Expected numbers that {kind} holds, got others from the description's input.scaling.",
            hint="A network that takes bytes wants the scaling raw.",
        )
    return values.astype(kind)


def to_real(stored: Tensor, quantization: Quantization | None = None) -> FloatArray:
    """Returns a tensor's real numbers."""
    values = np.asarray(stored, np.float64)
    if quantization is not None and quantization.scale > 0:
        values = (values - quantization.zero_point) * quantization.scale
    return values


def _sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float64)  # no overflow at either end


def _softmax(logits: FloatArray) -> FloatArray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float64)


def to_scores(answer: FloatArray, spec: OutputSpec, *, batch_size: int) -> FloatArray:
    """Returns one score a label.

    Args:
        answer: The real numbers of the chosen output, batch first, of any shape.
        spec: What they mean.
        batch_size: Pictures that went in.

    Returns:
        Shape (batch_size, labels).

    Raises:
        ModelFileError: The answer has too few numbers a picture.
    """
    if answer.size % batch_size or answer.size // batch_size <= max(spec.columns):
        raise ModelFileError(
            f"Expected at least {max(spec.columns) + 1} numbers a picture, got shape {answer.shape} for {batch_size}.",
            hint="Look at output.tensor and output.columns of the description.",
        )
    chosen = answer.reshape(batch_size, -1)[:, list(spec.columns)]
    if spec.label_index >= 0:
        score = _sigmoid(chosen[:, 0]) if spec.kind == "sigmoid_logit" else chosen[:, 0]
        pair = (1 - score, score) if spec.label_index == 1 else (score, 1 - score)
        return np.stack(pair, axis=1)
    if spec.kind == "logits":
        return _softmax(chosen)
    if spec.kind == "scores":
        return np.asarray(chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1e-12), np.float64)
    return chosen
