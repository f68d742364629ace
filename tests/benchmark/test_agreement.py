"""Answers to golden inputs are held against the right reference, and flips are those of the model's own decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgegender.benchmark.agreement import compare_answers, find_references
from edgegender.benchmark.records import EngineRecord, ParityRecord
from edgegender.errors import UsageError
from tests.benchmark.examples import MODEL, example_result

GOLDEN = "ef" * 32


def parity(*positives):
    return ParityRecord(GOLDEN, tuple((1 - value, value) for value in positives))


def of(*, delegate="xnnpack", target="cpu", sha256=MODEL.sha256, golden=GOLDEN):
    result = example_result()
    return replace(
        result,
        target=target,
        model=replace(MODEL, sha256=sha256),
        engine=EngineRecord("ai-edge-litert", "2.3.0", delegate),
        parity=ParityRecord(golden, ((0.5, 0.5),)) if golden else None,
    )


def test_equal_answers_do_not_differ():
    agreement = compare_answers(parity(0.1, 0.9), parity(0.1, 0.9), MODEL)
    assert (agreement.max_score_difference, agreement.num_flips, agreement.num_inputs) == (0.0, 0, 2)


def test_a_flip_is_a_decision_that_changes_and_the_difference_is_the_largest_one():
    agreement = compare_answers(parity(0.49, 0.9, 0.2), parity(0.51, 0.8, 0.2), MODEL)
    assert agreement.max_score_difference == pytest.approx(0.1)
    assert (agreement.num_flips, agreement.num_inputs) == (1, 3)


def test_the_models_own_threshold_decides():
    answers = parity(0.49), parity(0.51)
    assert compare_answers(*answers, replace(MODEL, threshold=0.7)).num_flips == 0
    assert compare_answers(*answers, MODEL).num_flips == 1


@pytest.mark.parametrize(
    "other",
    [
        ParityRecord("00" * 32, ((0.5, 0.5),)),
        ParityRecord(GOLDEN, ((0.5, 0.5), (0.5, 0.5))),
        ParityRecord(GOLDEN, ((0.2, 0.3, 0.5),)),
    ],
)
def test_answers_to_other_inputs_or_of_other_labels_are_refused(other):
    with pytest.raises(UsageError, match="Expected answers to the same golden inputs"):
        compare_answers(parity(0.5), other, MODEL)


def test_the_reference_kernels_come_first_then_the_first_on_cpu_then_the_first():
    assert find_references([of(), of(target="browser"), of(delegate="reference")]) == [2, 2, 2]
    assert find_references([of(target="browser"), of(), of()]) == [1, 1, 1]
    assert find_references([of(target="browser"), of(target="adb")]) == [0, 0]


def test_a_file_that_nobody_else_answered_for_has_no_reference():
    results = [of(), of(sha256="00" * 32), of(golden="11" * 32), of(golden=None)]
    assert find_references(results) == [None] * 4
