"""Does the choice of calibration photos decide the result? Two halves of them, two files, the same questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegender.conversion.measured import MeasuredPhotos, score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.errors import DataError
from edgegender.metrics import predict_labels
from edgegender.paired import PairedDifference, compare_predictions

_MIN_HALF = 10


@dataclass(frozen=True)
class Stability:
    """Two files of the same network, calibrated on disjoint photos, on the same validation photos.

    Args:
        num_photos: Calibration photos of each half.
        difference: Accuracy of the second half's file less that of the first's, and flips between them.
        max_score_change: Largest difference of a score between the two.
        mean_score_change: Mean difference of the positive label's score.
    """

    num_photos: int
    difference: PairedDifference
    max_score_change: float
    mean_score_change: float


def check_stability(
    quantizer: Quantizer,
    plan: IntegerPlan,
    photos: MeasuredPhotos,
    *,
    positive_index: int,
    threshold: float = 0.5,
) -> Stability:
    """Returns how far two files differ that are calibrated on two disjoint halves of the representative dataset.

    Args:
        quantizer: The network and its representative dataset, whose two halves are mixed alike.
        plan: How to quantize.
        photos: What to compare on: validation photos.
        positive_index: The positive label's column.
        threshold: From which score on it is answered.

    Raises:
        DataError: The halves have fewer than ten photos each.
    """
    half = len(quantizer.representative) // 2
    if half < _MIN_HALF:
        raise DataError(
            f"Expected at least {2 * _MIN_HALF} representative photos for two halves, got "
            f"{len(quantizer.representative)}.",
            hint="Raise --representative.",
        )
    scores = []
    for part in (quantizer.representative[:half], quantizer.representative[half : 2 * half]):
        content = Quantizer(quantizer.network, part).integer(plan)
        scores.append(score_inputs(content, photos.inputs(), scaling=quantizer.network.scaling))
    first, second = (predict_labels(own, positive_index=positive_index, threshold=threshold) for own in scores)
    change = np.abs(scores[1] - scores[0])
    return Stability(
        half,
        compare_predictions(first, second, photos.annotated),
        float(change.max()),
        float(change[:, positive_index].mean()),
    )
