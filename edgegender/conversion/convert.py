"""The conversion: make a file, calibrate its scores, measure it, and only then write."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from edgegender import files
from edgegender.conversion.gate import GateBars, GateReport, judge
from edgegender.conversion.measured import MeasuredPhotos, score_inputs
from edgegender.conversion.metadata import add_metadata
from edgegender.entities import FloatArray, ModelMetadata, QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, UsageError
from edgegender.metrics import (
    Evaluation,
    apply_temperature,
    evaluate_scores,
    fit_temperature,
    interval_to_json,
    unsure_band,
)
from edgegender.runtime.model_file import METADATA_SCHEMA, metadata_to_json, parse_model

_NUM_CHECKED = 8  # photos that the finished file answers once more
LICENSE = "Apache-2.0"
INTENDED_USE = (
    "Estimates gender as perceived by annotators of face photos (a label of the data, not an identity), for measuring "
    "and for applications whose users know and agree. Not for identifying, verifying or excluding a person, not for "
    "decisions about one, not for inferring gender identity."
)


@dataclass(frozen=True)
class Candidate:
    """A converted file that nobody has judged yet.

    Args:
        content: The ``.tflite`` without metadata.
        scheme: How it is quantized.
        how: What was done, for the record: ranges, bias correction, float layers, training steps.
    """

    content: bytes
    scheme: QuantizationScheme
    how: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Conversion:
    """What a conversion gave.

    Args:
        content: The finished ``.tflite``; empty when the gate refused.
        metadata: What stands inside.
        gate: Float and quantized answers side by side, on the evaluation photos.
        calibrated: The finished file's figures on the same: temperature and threshold applied.
        candidate: The file as it was judged.
    """

    content: bytes
    metadata: ModelMetadata
    gate: GateReport
    calibrated: Evaluation
    candidate: Candidate


def _calibrated(threshold: float, temperature: float) -> float:
    """Returns the calibrated score that a score equal to the threshold becomes, so that answers stay as they were.

    Rounded down: a quantized score is often equal to the threshold, and has to reach it afterwards, too. To twelve
    digits: at the lowest temperature, scores of 1/256 and of 255/256 are still apart from 0 and 1.
    """
    scores = apply_temperature(np.asarray([[1 - threshold, threshold]]), temperature)
    return math.floor(1e12 * float(scores[0, 1])) / 1e12


def metrics_to_json(gate: GateReport, calibrated: Evaluation, split: str) -> dict[str, object]:
    """Returns the measured figures as they stand in the file."""
    worst = gate.worst_group
    return {
        "split": split,
        "num_photos": calibrated.num_photos,
        "accuracy": interval_to_json(calibrated.accuracy),
        "f1": interval_to_json(calibrated.f1),
        "recall": {label: interval_to_json(report.recall) for label, report in calibrated.by_label.items()},
        "expected_calibration_error": round(calibrated.expected_calibration_error, 6),
        "float_accuracy": interval_to_json(gate.float_evaluation.accuracy),
        "accuracy_difference": interval_to_json(gate.difference.difference),
        "f1_difference": interval_to_json(gate.f1_difference),
        "flip_rate": interval_to_json(gate.difference.flip_interval),
        "p_value": round(gate.difference.p_value, 6),
        "worst_group": None
        if worst is None
        else {
            "group": f"{worst.column} {worst.value}",
            "num_photos": worst.num_photos,
            "accuracy_difference": interval_to_json(worst.difference.difference),
        },
    }


def judge_candidate(
    candidate: Candidate,
    photos: MeasuredPhotos,
    template: ModelMetadata,
    bars: GateBars,
) -> tuple[FloatArray, GateReport]:
    """Returns a candidate's scores for photos, and how they compare with the float network's.

    Raises:
        DataError: The photos have fewer than two labels.
        CheckFailedError: A score is not finite.
    """
    scores = score_inputs(candidate.content, photos.inputs(), scaling=template.preprocessing.scaling)
    report = judge(
        photos.float_scores,
        scores,
        photos.annotated,
        labels=template.labels,
        positive_label=template.positive_label,
        bars=bars,
        threshold=template.threshold,
        groups=photos.groups,
    )
    return scores, report


def finish(
    candidate: Candidate,
    template: ModelMetadata,
    *,
    validation: MeasuredPhotos,
    evaluation: MeasuredPhotos,
    evaluation_split: str,
    bars: GateBars,
    validation_scores: FloatArray | None = None,
) -> Conversion:
    """Returns a candidate with calibrated scores and all that a file says of itself, judged on the evaluation photos.

    Temperature and "unsure" band are fitted on the candidate's own validation answers; every reported figure is of the
    evaluation photos.

    Args:
        candidate: The converted network.
        template: Labels, preprocessing of the file, architecture, provenance, and the threshold for scores as the
            network gives them; the rest is filled in here.
        validation: To fit temperature and band on.
        evaluation: To judge on.
        evaluation_split: The name of the evaluation split, for the record.
        bars: What may be lost.
        validation_scores: The candidate's scores for the validation photos, where they are known already.

    Raises:
        CheckFailedError: The network answers NaN.
        DataError: The evaluation photos have one label only.
    """
    scaling, labels, positive = template.preprocessing.scaling, template.labels, template.positive_label
    if validation_scores is None:
        validation_scores = score_inputs(candidate.content, validation.inputs(), scaling=scaling)
    scores, gate = judge_candidate(candidate, evaluation, template, bars)
    # as it stands in the file: every figure is of the finished file
    temperature = round(fit_temperature(validation_scores, validation.annotated), 4)
    band = unsure_band(apply_temperature(validation_scores, temperature), validation.annotated)
    threshold = _calibrated(template.threshold, temperature)
    calibrated = evaluate_scores(
        apply_temperature(scores, temperature),
        evaluation.annotated,
        labels=labels,
        positive_label=positive,
        threshold=threshold,
    )
    metadata = dataclasses.replace(
        template,
        scheme=candidate.scheme,
        threshold=threshold,
        temperature=temperature,
        unsure_below=round(band, 4),
        metrics=metrics_to_json(gate, calibrated, evaluation_split),
        provenance={**template.provenance, "conversion": dict(candidate.how)},
        license=template.license or LICENSE,
        intended_use=template.intended_use or INTENDED_USE,
    )
    content = add_metadata(candidate.content, metadata) if gate.is_passed else b""
    if content:
        _require_same_answers(content, list(islice(validation.inputs(), _NUM_CHECKED)), validation_scores, scaling)
    return Conversion(content, metadata, gate, calibrated, candidate)


def _require_same_answers(content: bytes, images: list[UInt8Array], scores: FloatArray, scaling: str) -> None:
    """Makes sure that the finished file, metadata and all, answers as the candidate did that was judged.

    Raises:
        CheckFailedError: It does not.
        ModelFileError: The runtime refuses it.
    """
    finished = score_inputs(content, images, scaling=scaling)
    if not np.array_equal(finished, scores[: len(images)]):
        raise CheckFailedError(
            "Expected the finished file to answer as the one that was judged, got other scores.",
            hint="Report this with your versions (edgegender doctor).",
        )


def with_metadata(conversion: Conversion) -> bytes:
    """Returns a refused conversion's file with its metadata, for measuring what it would have cost; never to ship."""
    return conversion.content or add_metadata(conversion.candidate.content, conversion.metadata)


def write_model(conversion: Conversion, path: Path, *, is_dated: bool = True) -> str:
    """Writes a model and the ``.json`` with its sha256 beside it, and returns the sha256.

    The time of the conversion stands in the ``.json`` only: the same inputs, seed and versions give the same
    ``.tflite``. The ``.json`` of an earlier model goes first and the new one comes last: a kill in between leaves a
    model that is still verified by its own digest.

    Args:
        conversion: One that passed its gate.
        path: The ``.tflite`` to write.
        is_dated: Whether the time stands in the ``.json``.

    Raises:
        UsageError: The gate refused the conversion, so that there is nothing to write.
        OutputError: A file cannot be written.
    """
    if not conversion.content:
        raise UsageError("Expected a conversion that passed its gate, got a refused one.")
    sidecar = path.with_suffix(".json")
    sha256 = hashlib.sha256(conversion.content).hexdigest()
    metadata = parse_model(conversion.content, where=str(path))
    values = {name: value for name, value in metadata_to_json(metadata, digest="").items() if name != "digest"}
    if is_dated:
        values["created"] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    with files.replacing(path) as temporary:
        temporary.write_bytes(conversion.content)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())  # whole on the disk before the earlier model's witness goes
        sidecar.unlink(missing_ok=True)
    files.write_json(
        sidecar,
        {
            "schema": METADATA_SCHEMA,
            "file": path.name,
            "sha256": sha256,
            "size_bytes": len(conversion.content),
            **values,
        },
    )
    return sha256
