"""Frozen records that cross the border between two packages of edgegender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class QuantizationScheme(str, Enum):
    """How weights and activations of a ``.tflite`` file are stored.

    - ``float32``: nothing is quantized;
    - ``float16``: weights in 16 bits, which are unpacked when the file is loaded;
    - ``weight_only``: int8 weights, which are unpacked when the file is loaded; activations stay float32;
    - ``dynamic_range``: int8 weights, activations quantized while the network runs, by the numbers that come;
    - ``full_integer``: int8 weights and activations, no float left; uint8 or int8 in and out;
    - ``mixed_integer``: as ``full_integer``, but for some layers that stay float32;
    - ``int16x8``: int8 weights, int16 activations; float32 in and out.

    Source: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/post_training_quantization
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    WEIGHT_ONLY = "weight_only"
    DYNAMIC_RANGE = "dynamic_range"
    FULL_INTEGER = "full_integer"
    MIXED_INTEGER = "mixed_integer"
    INT16X8 = "int16x8"


@dataclass(frozen=True)
class FaceLandmarks:
    """Four points of a face that every detector with landmarks gives. Pixels (x, y) of the photo; may lie outside.

    Left and right are those of the picture, not of the person.

    Args:
        left_eye: Centre of the eye on the left of the picture.
        right_eye: Centre of the other eye.
        nose: Tip of the nose.
        mouth: Centre of the mouth.
    """

    left_eye: tuple[float, float]
    right_eye: tuple[float, float]
    nose: tuple[float, float]
    mouth: tuple[float, float]


@dataclass(frozen=True)
class FaceBox:
    """A square around a face: from the hairline to the chin, wherever the head is turned.

    Every detector's answer is mapped to this one square, so that a crop does not depend on the detector.

    Args:
        x1: Left edge, pixels; may lie outside of the image.
        y1: Top edge, pixels.
        x2: Right edge, pixels.
        y2: Bottom edge, pixels.
        score: The detector's confidence in [0, 1].
        landmarks: Eyes, nose and mouth; ``None`` from a detector that does not look for them.
    """

    x1: float
    y1: float
    x2: float
    y2: float
    score: float = 1.0
    landmarks: FaceLandmarks | None = None

    @property
    def side_px(self) -> float:
        """The larger of width and height, pixels."""
        return max(self.x2 - self.x1, self.y2 - self.y1)

    @property
    def center_xy(self) -> tuple[float, float]:
        """The centre (x, y), pixels."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    @property
    def box_xyxy(self) -> tuple[float, float, float, float]:
        """The corners (x1, y1, x2, y2), pixels."""
        return self.x1, self.y1, self.x2, self.y2


@dataclass(frozen=True)
class Preprocessing:
    """All that turns a photo and a face box into a network's input.

    Args:
        input_size_px: Side of the square input, pixels.
        crop_margin: Side of the crop divided by the side of the face box; 1.0 is the box itself.
        scaling: How raw bytes become the numbers of a float network, one of :data:`edgegender.preprocess.SCALINGS`. A
            quantized network says the same in its input's scale and zero point.
    """

    input_size_px: int = 96
    crop_margin: float = 1.3
    scaling: str = "tf"


@dataclass(frozen=True)
class ModelMetadata:
    """What a model file says about itself. Stored as JSON inside of the ``.tflite``.

    Args:
        labels: Names of the outputs, in their order.
        positive_label: The label that ``threshold`` and F1 speak of.
        preprocessing: How a photo becomes the input tensor.
        architecture: Name of the network, such as ``mobilenetv2``.
        scheme: Quantization scheme.
        threshold: The positive label is answered from this calibrated score on, in (0, 1).
        temperature: Divides the log scores before the softmax; above 1 makes answers less certain.
        unsure_below: An answer whose calibrated score is lower than this is called unsure, in [0, 1).
        name: Short name of the model.
        created: ISO 8601 time of the conversion (UTC), empty in reproducible builds.
        metrics: Measured figures with their intervals.
        provenance: Hashes of data, calibration set and weights; versions; recipe.
        license: Licence of the weights.
        intended_use: What the model is for, and what not.
    """

    labels: tuple[str, ...]
    positive_label: str
    preprocessing: Preprocessing
    architecture: str
    scheme: QuantizationScheme
    threshold: float = 0.5
    temperature: float = 1.0
    unsure_below: float = 0.0
    name: str = ""
    created: str = ""
    metrics: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    license: str = ""
    intended_use: str = ""


@dataclass(frozen=True)
class FacePrediction:
    """The answer for one face.

    Args:
        box: Where the face stands in the photo; ``None`` when the whole photo was taken as the face.
        predicted_label: The label with the calibrated score past the threshold.
        score: Calibrated score of ``predicted_label`` in [0, 1].
        scores: Calibrated score by label; they sum to one.
        is_unsure: Whether the model abstains from this answer.
    """

    box: FaceBox | None
    predicted_label: str
    score: float
    scores: Mapping[str, float]
    is_unsure: bool
