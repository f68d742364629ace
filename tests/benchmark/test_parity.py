"""The same file must answer the same everywhere; where it does not, the table says by how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgegender.benchmark.parity import compare_parity, find_reference, group_by_model
from edgegender.benchmark.records import Durations, EngineRecord, ParityRecord
from edgegender.benchmark.run import benchmark_model
from edgegender.errors import DataError
from tests.benchmark.examples import example_result
from tests.tiny_model import build_tiny_model

SHORT = Durations(min_seconds=0.0, min_runs=2, max_seconds=20, warmup_seconds=0.0, warmup_runs=1)
BASE = example_result()
REFERENCE = replace(BASE, engine=EngineRecord("ai-edge-litert", "2.3.0", "reference"))


def with_scores(*rows, golden_sha256="ef" * 32, **changes):
    return replace(BASE, parity=ParityRecord(golden_sha256, rows), **changes)


def test_equal_answers_have_no_difference_and_no_flip():
    first, second = compare_parity([BASE, BASE])
    assert (second.max_difference, second.num_flips, second.num_inputs) == (0.0, 0, 2)
    assert first.is_reference


def test_differences_and_flips_are_counted_against_the_reference_kernels():
    other = with_scores((0.55, 0.45), (0.9, 0.1), target="browser")
    figures = compare_parity([other, REFERENCE])
    assert [figure.is_reference for figure in figures] == [False, True]
    assert figures[0].max_difference == pytest.approx(0.3)
    assert (figures[0].num_flips, figures[0].target, figures[0].architecture) == (1, "browser", "aarch64")


def test_decisions_are_those_of_the_models_threshold():
    strict = replace(BASE.model, threshold=0.9)
    other = replace(with_scores((0.55, 0.45), (0.9, 0.1)), model=strict)
    assert compare_parity([replace(BASE, model=strict), other])[1].num_flips == 0


def test_the_reference_is_the_reference_kernels_or_the_first_or_the_given_one():
    assert find_reference([BASE, REFERENCE]) is REFERENCE
    assert find_reference([BASE, with_scores((0.1, 0.9))]) is BASE
    other = with_scores((0.2, 0.8), (0.9, 0.1))
    assert compare_parity([BASE, other], other)[1].is_reference


def test_no_result_and_one_without_golden_answers_are_refused():
    with pytest.raises(DataError, match="Expected results with golden answers, got none"):
        compare_parity([])
    with pytest.raises(DataError, match="got a result without them"):
        compare_parity([BASE, replace(BASE, parity=None)])


def test_another_file_or_other_inputs_are_refused():
    with pytest.raises(DataError, match="Expected results of one file"):
        compare_parity([BASE, replace(BASE, model=replace(BASE.model, sha256="00" * 32))])
    with pytest.raises(DataError, match="Expected answers for the same golden inputs"):
        compare_parity([BASE, with_scores((0.2, 0.8), (0.9, 0.1), golden_sha256="00" * 32)])
    with pytest.raises(DataError, match="Expected answers for the same golden inputs"):
        compare_parity([BASE, with_scores((0.2, 0.8))])


def test_results_are_grouped_by_their_file_and_those_without_answers_left_out():
    other = replace(BASE, model=replace(BASE.model, sha256="00" * 32))
    groups = group_by_model([BASE, other, replace(BASE, parity=None), REFERENCE])
    assert groups == ((BASE, REFERENCE), (other,))


def test_two_engines_are_compared_on_a_real_file(tmp_path):
    model = build_tiny_model(tmp_path / "tiny.tflite")
    results = [
        benchmark_model(model, None, threads=[1], durations=SHORT, engine=engine)
        for engine in ("litert", "litert-no-xnnpack")
    ]
    (_, second) = compare_parity(results)
    assert second.engine.delegate == "none"
    assert second.num_inputs == 64
    assert second.max_difference <= 1 / 256  # one step of the quantized score
