"""Whether a model file answers the golden inputs alike on every target and by every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.benchmark.records import BenchmarkResult, ModelRecord, ParityRecord
from edgegender.entities import IntArray
from edgegender.errors import UsageError
from edgegender.metrics import apply_temperature, predict_labels

REFERENCE_DELEGATE = "reference"


@dataclass(frozen=True)
class Agreement:
    """How far the answers of one target lie from those of another.

    Args:
        max_score_difference: Largest difference of a score, before the temperature.
        num_flips: Inputs whose predicted label differs, by the model's own temperature and threshold.
        num_inputs: Golden inputs.
    """

    max_score_difference: float
    num_flips: int
    num_inputs: int


def _predict(parity: ParityRecord, model: ModelRecord) -> IntArray:
    scores = apply_temperature(np.asarray(parity.scores, np.float64), model.temperature)
    return predict_labels(scores, positive_index=model.labels.index(model.positive_label), threshold=model.threshold)


def compare_answers(parity: ParityRecord, reference: ParityRecord, model: ModelRecord) -> Agreement:
    """Returns how far one set of answers lies from another one to the same inputs.

    Args:
        parity: The answers.
        reference: What they are held against.
        model: Its labels, temperature and threshold decide.

    Raises:
        UsageError: The inputs are not the same.
    """
    shapes = {(len(one.scores), *{len(row) for row in one.scores}) for one in (parity, reference)}
    if parity.golden_sha256 != reference.golden_sha256 or shapes != {(len(parity.scores), len(model.labels))}:
        raise UsageError("Expected answers to the same golden inputs, one score a label, got others.")
    gaps = np.abs(np.asarray(parity.scores) - np.asarray(reference.scores))
    flips = int((_predict(parity, model) != _predict(reference, model)).sum())
    return Agreement(float(gaps.max()), flips, len(parity.scores))


def find_references(results: Sequence[BenchmarkResult]) -> list[int | None]:
    """Returns, for each result, the place of the result that its answers are held against.

    Of the results of the same file and golden inputs: the first by the engine's reference kernels, else the first on
    ``cpu``, else the first. ``None`` where no other result has answers to the same inputs.

    Args:
        results: In the order of the table; of each only model, engine, target and parity are read.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for place, result in enumerate(results):
        if result.parity is not None:
            groups.setdefault((result.model.sha256, result.parity.golden_sha256), []).append(place)
    found: list[int | None] = [None] * len(results)
    for places in groups.values():
        if len(places) < 2:
            continue
        by_kernels = [place for place in places if results[place].engine.delegate == REFERENCE_DELEGATE]
        on_cpu = [place for place in places if results[place].target == "cpu"]
        for place in places:
            found[place] = (by_kernels or on_cpu or places)[0]
    return found
