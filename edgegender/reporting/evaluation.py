"""Measuring a model file on a manifest's photos, and writing the figures down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgegender import images
from edgegender.data.manifest import Manifest
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, ImageError
from edgegender.metrics import Evaluation, Interval, interval_to_json, predict_labels
from edgegender.progress import Progress, no_progress
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import FaceDetector, WholeImageDetector

EVALUATION_SCHEMA = "edgegender.evaluation/1"


@dataclass(frozen=True)
class ScoredPhotos:
    """A model's answers for photos with annotated labels.

    Args:
        scores: Calibrated, shape (photos, labels).
        annotated: Label indices, shape (photos,).
        paths: The photos answered.
        no_face: Photos in which the detector found no face; they have no answer.
        unreadable: Photos that could not be decoded.
    """

    scores: FloatArray
    annotated: IntArray
    paths: tuple[str, ...]
    no_face: tuple[str, ...]
    unreadable: tuple[str, ...]


def score_photos(
    classifier: Classifier,
    manifest: Manifest,
    *,
    detector: FaceDetector | None = None,
    on_progress: Progress = no_progress,
) -> ScoredPhotos:
    """Returns a model file's answers for the rows of a manifest.

    A row's own ``face_box`` comes first; without one the detector looks for the most prominent face; without a
    detector the photo is taken as a face crop.

    Args:
        classifier: The model file.
        manifest: Rows whose labels are among the model's.
        detector: For rows without a face box.
        on_progress: Called with (done, total).

    Raises:
        DataError: No photo could be answered, or a label is unknown to the model.
    """
    labels = classifier.metadata.labels
    unknown = sorted(set(manifest.labels) - set(labels))
    if unknown:
        raise DataError(f"Expected labels of {', '.join(labels)}, got {', '.join(unknown)} ({manifest.folder}).")
    scores, annotated, paths, no_face, unreadable = [], [], [], [], []
    kept = manifest.select()
    for done, row in enumerate(kept, start=1):
        on_progress(done, len(kept))
        try:
            image = images.read_image(manifest.file(row))
        except ImageError:
            unreadable.append(row.path)
            continue
        box = row.face_box
        if box is None and detector is not None and not isinstance(detector, WholeImageDetector):
            boxes = detector.detect(image)
            if not boxes:
                no_face.append(row.path)
                continue
            box = boxes[0]
        scores.append(classifier.calibrate(classifier.forward(classifier.pre_process(image, box))))
        annotated.append(labels.index(row.label))
        paths.append(row.path)
    if not scores:
        raise DataError(
            f"Expected photos to answer, got {len(no_face)} without a face and {len(unreadable)} unreadable "
            f"({manifest.folder})."
        )
    return ScoredPhotos(
        np.stack(scores), np.asarray(annotated, np.int64), tuple(paths), tuple(no_face), tuple(unreadable)
    )


def evaluation_to_json(evaluation: Evaluation, **about: object) -> dict[str, object]:
    """Returns an evaluation as it is recorded, with what it is about (model, data, split) in front.

    Args:
        evaluation: The figures.
        about: Further fields, such as ``model_sha256`` or ``split``.
    """
    return {
        "schema": EVALUATION_SCHEMA,
        **about,
        "num_photos": evaluation.num_photos,
        "labels": list(evaluation.labels),
        "positive_label": evaluation.positive_label,
        "threshold": evaluation.threshold,
        "accuracy": interval_to_json(evaluation.accuracy),
        "f1": interval_to_json(evaluation.f1),
        "macro_f1": round(evaluation.macro_f1, 6),
        "by_label": {
            label: {
                "precision": interval_to_json(report.precision),
                "recall": interval_to_json(report.recall),
                "f1": interval_to_json(report.f1),
                "num_photos": report.num_photos,
            }
            for label, report in evaluation.by_label.items()
        },
        "confusion": [list(row) for row in evaluation.confusion],
        "log_loss": round(evaluation.log_loss, 6),
        "expected_calibration_error": round(evaluation.expected_calibration_error, 6),
    }


def format_interval(interval: Interval, *, scale: float = 100, digits: int = 2) -> str:
    """Returns a value with its 95 % interval.

    Example:
        >>> format_interval(Interval(0.97, 0.96, 0.98))
        '97.00 [96.00, 98.00]'
    """
    value, low, high = (scale * number for number in (interval.value, interval.low, interval.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def format_change(interval: Interval) -> str:
    """Returns a difference in points with its interval and its sign.

    Example:
        >>> format_change(Interval(-0.0012, -0.003, 0.0006))
        '-0.12 [-0.30, +0.06]'
    """
    value, low, high = (100 * number + 0.0 for number in (interval.value, interval.low, interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def summarize_coverage(scored: ScoredPhotos, unsure_below: float, evaluation: Evaluation) -> Mapping[str, object]:
    """Returns how many photos get an answer when the unsure ones are left open, and how right those answers are.

    Args:
        scored: Answers.
        unsure_below: The model's band.
        evaluation: Of the same answers, for its threshold.
    """
    positive = evaluation.labels.index(evaluation.positive_label)
    chosen = predict_labels(scored.scores, positive_index=positive, threshold=evaluation.threshold)
    confidence = scored.scores[np.arange(len(chosen)), chosen]
    is_sure = confidence >= unsure_below
    right = (chosen == scored.annotated) & is_sure
    return {
        "unsure_below": unsure_below,
        "coverage": round(float(is_sure.mean()), 6),
        "accuracy_when_sure": round(float(right.sum() / max(1, is_sure.sum())), 6),
    }
