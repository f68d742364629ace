"""Whether the same file answers the same everywhere: golden answers of several results against one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.benchmark.records import BenchmarkResult, EngineRecord, ModelRecord, ParityRecord
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError
from edgegender.metrics import apply_temperature, predict_labels

REFERENCE_DELEGATE = "reference"


@dataclass(frozen=True)
class ParityFigure:
    """One result's answers against the reference's.

    Args:
        model: The file.
        target: Where it ran: ``cpu``, ``ssh``, …
        architecture: Of that machine, such as ``aarch64``.
        engine: What ran it.
        is_reference: Whether it is what the others are compared with.
        num_inputs: Golden inputs.
        max_difference: Largest difference of a score, before the temperature.
        num_flips: Inputs whose answered label, by the model's temperature and threshold, is another one.
    """

    model: ModelRecord
    target: str
    architecture: str
    engine: EngineRecord
    is_reference: bool
    num_inputs: int
    max_difference: float
    num_flips: int


def decide(scores: FloatArray, model: ModelRecord) -> IntArray:
    """Returns the index of the label that a model answers for each row of its own scores.

    Args:
        scores: Before the temperature, shape (inputs, labels).
        model: With temperature and threshold.
    """
    calibrated = apply_temperature(scores, model.temperature)
    positive = model.labels.index(model.positive_label)
    return predict_labels(calibrated, positive_index=positive, threshold=model.threshold)


def find_reference(results: Sequence[BenchmarkResult]) -> BenchmarkResult:
    """Returns the result that others are compared with: the reference kernels', or else the first.

    Raises:
        DataError: There is no result.
    """
    if not results:
        raise DataError("Expected results with golden answers, got none.")
    return next((result for result in results if result.engine.delegate == REFERENCE_DELEGATE), results[0])


def _parity_of(result: BenchmarkResult) -> ParityRecord:
    if result.parity is None:
        raise DataError(
            f"Expected golden answers, got a result without them ({result.model.name}, {result.engine.label}).",
            hint="Measure again: edgegender benchmark records them.",
        )
    return result.parity


def compare_parity(
    results: Sequence[BenchmarkResult], reference: BenchmarkResult | None = None
) -> tuple[ParityFigure, ...]:
    """Returns how far the answers of one model file lie apart, one figure a result, in their order.

    Args:
        results: Of one model file.
        reference: What they are compared with; ``None`` takes :func:`find_reference`.

    Raises:
        DataError: There is none, one has no golden answers, or they are of other inputs or of another file.
    """
    chosen = reference or find_reference(results)
    wanted = _parity_of(chosen)
    reference_scores = np.asarray(wanted.scores, np.float64)
    decisions = decide(reference_scores, chosen.model)
    figures = []
    for result in results:
        own, model = _parity_of(result), result.model
        if model.sha256 != chosen.model.sha256:
            raise DataError(
                f"Expected results of one file, got sha256 {chosen.model.sha256[:12]}… and {model.sha256[:12]}….",
                hint="Compare each model by itself.",
            )
        scores = np.asarray(own.scores, np.float64)
        if own.golden_sha256 != wanted.golden_sha256 or scores.shape != reference_scores.shape:
            raise DataError(
                f"Expected answers for the same golden inputs, got others ({result.target}, {result.engine.label}).",
                hint="Measure both with the same version of edgegender.",
            )
        figures.append(
            ParityFigure(
                model=model,
                target=result.target,
                architecture=result.machine.architecture,
                engine=result.engine,
                is_reference=result is chosen,
                num_inputs=len(scores),
                max_difference=float(np.abs(scores - reference_scores).max()),
                num_flips=int((decide(scores, model) != decisions).sum()),
            )
        )
    return tuple(figures)


def group_by_model(results: Sequence[BenchmarkResult]) -> tuple[tuple[BenchmarkResult, ...], ...]:
    """Returns the results that have golden answers, together by model file, in the order of their first appearance."""
    groups: dict[str, list[BenchmarkResult]] = {}
    for result in results:
        if result.parity is not None:
            groups.setdefault(result.model.sha256, []).append(result)
    return tuple(tuple(group) for group in groups.values())
