"""A network's answers to photos, read from the bytes that would be shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgegender.entities import FloatArray, IntArray, UInt8Array
from edgegender.runtime.interpreter import Interpreter


@dataclass(frozen=True)
class MeasuredPhotos:
    """Photos as network inputs, and the float network's answers to them.

    Args:
        inputs: Gives each input, (size, size, 3) uint8, in order, each time it is called.
        annotated: Label indices, shape (photos,).
        float_scores: The float network's scores, shape (photos, labels).
        groups: Sensitive feature → its value for each photo.
    """

    inputs: Callable[[], Iterable[UInt8Array]]
    annotated: IntArray
    float_scores: FloatArray
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def score_inputs(content: bytes, inputs: Iterable[UInt8Array], *, scaling: str) -> FloatArray:
    """Returns a file's scores for raw pictures, shape (photos, labels).

    Args:
        content: The ``.tflite``.
        inputs: Raw bytes, (size, size, 3) each.
        scaling: What a file with float32 input takes.
    """
    interpreter = Interpreter(content, scaling=scaling)
    return np.stack([interpreter.run(image) for image in inputs])
