"""The conversion: quantize, calibrate the scores, measure, and only then write."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgegender import files
from edgegender.conversion.calibration import RepresentativeDataset
from edgegender.conversion.converter import convert_to_uint8
from edgegender.conversion.gate import GateReport, judge
from edgegender.conversion.metadata import add_metadata
from edgegender.entities import FloatArray, IntArray, ModelMetadata, UInt8Array
from edgegender.errors import UsageError
from edgegender.memory import memory_bytes
from edgegender.metrics import (
    Evaluation,
    apply_temperature,
    evaluate_scores,
    fit_temperature,
    interval_to_json,
    unsure_band,
)
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import METADATA_SCHEMA, metadata_to_json, parse_model

if TYPE_CHECKING:
    import keras

LICENSE = "Apache-2.0"
INTENDED_USE = (
    "Estimates gender as perceived by annotators of face photos (a label of the data, not an identity), for measuring "
    "and for applications whose users know and agree. Not for identifying, verifying or excluding a person, not for "
    "decisions about one, not for inferring gender identity."
)


@dataclass(frozen=True)
class MeasuredPhotos:
    """Photos as network inputs, and the float network's answers to them.

    Args:
        inputs: Gives each input, (size, size, 3) uint8, in order, each time it is called.
        annotated: Label indices, shape (photos,).
        float_scores: The float network's scores, shape (photos, labels).
    """

    inputs: Callable[[], Iterable[UInt8Array]]
    annotated: IntArray
    float_scores: FloatArray


@dataclass(frozen=True)
class Conversion:
    """What a conversion gave.

    Args:
        content: The finished ``.tflite``; empty when the gate refused.
        metadata: What stands inside.
        gate: Float and quantized answers side by side.
        calibrated: The finished file's figures on the evaluation photos: temperature and threshold applied.
        seconds: Of the quantization itself, without TensorFlow's import and without the gate.
        peak_memory_bytes: Of this process up to the end of the quantization.
    """

    content: bytes
    metadata: ModelMetadata
    gate: GateReport
    calibrated: Evaluation
    seconds: float
    peak_memory_bytes: int


def _quantized_scores(content: bytes, photos: MeasuredPhotos) -> FloatArray:
    interpreter = Interpreter(content)
    return np.stack([interpreter.run(image) for image in photos.inputs()])


def _calibrated(threshold: float, temperature: float) -> float:
    """Returns the calibrated score that a score equal to the threshold becomes, so that answers stay as they were."""
    scores = apply_temperature(np.asarray([[1 - threshold, threshold]]), round(temperature, 4))
    return round(float(scores[0, 1]), 6)


def _metrics_json(gate: GateReport, calibrated: Evaluation, evaluation_split: str) -> dict[str, object]:
    return {
        "split": evaluation_split,
        "num_photos": calibrated.num_photos,
        "accuracy": interval_to_json(calibrated.accuracy),
        "f1": interval_to_json(calibrated.f1),
        "recall": {label: interval_to_json(report.recall) for label, report in calibrated.by_label.items()},
        "expected_calibration_error": round(calibrated.expected_calibration_error, 6),
        "float_accuracy": interval_to_json(gate.float_evaluation.accuracy),
        "accuracy_difference": interval_to_json(gate.difference.difference),
        "flip_rate": round(gate.difference.flip_rate, 6),
    }


def convert(
    model: keras.Model,
    template: ModelMetadata,
    representative: RepresentativeDataset,
    *,
    validation: MeasuredPhotos,
    evaluation: MeasuredPhotos,
    evaluation_split: str,
    max_drop: float,
    is_dated: bool = True,
) -> Conversion:
    """Quantizes a network to uint8 in and out and measures the result against the float network.

    Temperature and "unsure" band are fitted on the quantized network's validation answers; every reported figure is
    of the evaluation photos.

    Args:
        model: The float network, from inputs scaled as ``template`` says to scores.
        template: Labels, preprocessing, architecture, provenance, and the threshold for scores as the network gives
            them; the rest is filled in here.
        representative: Calibration inputs.
        validation: To fit temperature and band on.
        evaluation: To judge on.
        evaluation_split: The name of the evaluation split, for the record.
        max_drop: Largest accepted fall of accuracy, percentage points.
        is_dated: Whether the time stands in the metadata; without it the same inputs give the same bytes.

    Raises:
        UsageError: ``max_drop`` is not in [0, 100].
        CheckFailedError: The converter fails or its network answers NaN.
        DataError: The evaluation photos have one label only.
    """
    if not 0 <= max_drop <= 100:
        raise UsageError(f"Expected max-drop in [0, 100] percentage points, got {max_drop:g}.")
    started = time.perf_counter()
    quantized = convert_to_uint8(model, representative.inputs, scaling=template.preprocessing.scaling)
    seconds = time.perf_counter() - started
    peak_memory_bytes = memory_bytes("VmHWM")

    labels, positive = template.labels, template.positive_label
    validation_scores = _quantized_scores(quantized, validation)
    temperature = fit_temperature(validation_scores, validation.annotated)
    band = unsure_band(apply_temperature(validation_scores, temperature), validation.annotated)
    scores = _quantized_scores(quantized, evaluation)
    gate = judge(
        evaluation.float_scores,
        scores,
        evaluation.annotated,
        labels=labels,
        positive_label=positive,
        max_drop=max_drop,
        threshold=template.threshold,
    )
    threshold = _calibrated(template.threshold, temperature)
    calibrated = evaluate_scores(
        apply_temperature(scores, temperature),
        evaluation.annotated,
        labels=labels,
        positive_label=positive,
        threshold=threshold,
    )
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds") if is_dated else ""
    provenance: Mapping[str, object] = {
        **template.provenance,
        "representative_sha256": representative.sha256,
        "representative_counts": representative.counts,
    }
    metadata = dataclasses.replace(
        template,
        threshold=threshold,
        temperature=round(temperature, 4),
        unsure_below=round(band, 4),
        created=now,
        metrics=_metrics_json(gate, calibrated, evaluation_split),
        provenance=provenance,
        license=LICENSE,
        intended_use=INTENDED_USE,
    )
    content = add_metadata(quantized, metadata) if gate.is_passed else b""
    return Conversion(content, metadata, gate, calibrated, seconds, peak_memory_bytes)


def write_model(conversion: Conversion, path: Path) -> str:
    """Writes a model and the ``.json`` with its sha256 beside it, and returns the sha256.

    The ``.json`` of an earlier model goes first and the new one comes last: a kill in between leaves a model that is
    still verified by its own digest.

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
    with files.replacing(path) as temporary:
        temporary.write_bytes(conversion.content)
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
