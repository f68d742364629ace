"""Several processes share the time of a measurement; engines, batches and energy in each of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgegender.benchmark import measure
from edgegender.benchmark.answers import answer_picture
from edgegender.benchmark.energy import PowerSampler
from edgegender.benchmark.engines import EngineEntry, create_engine
from edgegender.benchmark.golden import golden_images
from edgegender.benchmark.measure import (
    SpeedInputs,
    measure_latency,
    measure_repeatedly,
    merge_parts,
    output_tolerance,
)
from edgegender.benchmark.presets import MIN_UNTIL_RUNS
from edgegender.benchmark.records import Durations, EngineRecord
from edgegender.errors import MissingDependencyError
from edgegender.runtime.model_file import embedded_model_path, read_model
from tests.benchmark.examples import latency_record
from tests.benchmark.test_measure import SHORT, speed_inputs, tiny

__all__ = ["tiny"]  # a fixture


def test_the_time_is_shared_by_several_processes_whose_runs_stand_together(tiny):
    durations = replace(SHORT, min_runs=60)
    measured = measure_repeatedly(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=durations, repeats=3)
    assert len(measured.parts) == len(measured.conditions) == 3
    assert all(part.num_runs >= 20 for part in measured.parts)
    together = [value for part in measured.parts for value in part.latencies_ns]
    assert list(measured.record.latencies_ns) == together
    assert measured.record.mean_ns == pytest.approx(np.mean(together))
    assert measured.record.peak_memory_bytes == max(part.peak_memory_bytes for part in measured.parts)
    assert len(measured.record.warmup_latencies_ns) == 9
    assert all(0 <= conditions.other_cores < 1000 for conditions in measured.conditions)


def test_merged_parts_keep_what_speaks_against_them():
    parts = [
        replace(latency_record(), joules_per_run=1.0),
        replace(latency_record(num_runs=1500), is_output_equal=False, max_output_difference=0.5, joules_per_run=3.0),
    ]
    merged = merge_parts(parts)
    assert (merged.is_output_equal, merged.max_output_difference) == (False, 0.5)
    assert merged.joules_per_run == pytest.approx(2.5)
    assert merge_parts([parts[0], replace(parts[1], joules_per_run=None)]).joules_per_run is None
    assert merge_parts(parts[:1]) is parts[0]


def test_a_run_ends_early_when_p90_is_sure(tiny):
    endless = Durations(min_seconds=20, min_runs=10**9, max_seconds=20, warmup_seconds=0, warmup_runs=50)
    measured = measure_repeatedly(
        read_model(tiny), speed_inputs(tiny), num_threads=1, durations=endless, repeats=1, until_share=0.5
    )
    assert MIN_UNTIL_RUNS <= measured.record.num_runs < 10**6


def test_a_batch_is_measured_as_one_run():
    file = read_model(embedded_model_path())
    single, batch = (create_engine("litert", file.path, num_threads=1, batch_size=size) for size in (1, 3))
    images = golden_images(single.input_size_px)[:6]
    scores = np.stack([answer_picture(single, image) for image in images]).reshape(2, 3, -1)
    batches = SpeedInputs(np.stack([batch.to_tensor(images[:3]), batch.to_tensor(images[3:])]), scores)
    measured = measure_repeatedly(file, batches, num_threads=1, durations=SHORT)
    assert (measured.record.batch_size, measured.record.num_inputs, measured.record.is_output_equal) == (3, 2, True)


def test_an_engine_that_is_missing_in_the_measuring_process_is_named(tiny, tmp_path, monkeypatch):
    (tmp_path / "absent_engine.py").write_text(
        "from edgegender.errors import MissingDependencyError\n"
        "def prepare(variant):\n    raise MissingDependencyError(variant, extra='fast')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependencyError, match="Expected the package warp") as caught:
        measure_repeatedly(
            *(read_model(tiny), speed_inputs(tiny)), num_threads=1, entry=EngineEntry("absent_engine", "warp")
        )
    assert "edgegender[fast]" in caught.value.hint


@pytest.mark.parametrize(
    ("scheme", "engine", "tolerance"),
    [
        ("full_integer", None, 0.0),
        ("float32", None, 1e-5),
        ("dynamic_range", None, 0.05),
        ("full_integer", EngineRecord("ai-edge-litert", "2", "none"), 0.0),
        ("full_integer", EngineRecord("onnxruntime", "1", "", "float32"), 1e-4),
        ("float32", EngineRecord("keras", "3", "jax", "bfloat16"), 0.05),
    ],
)
def test_scores_may_differ_only_by_what_the_arithmetic_allows(scheme, engine, tolerance):
    assert output_tolerance(scheme, engine) == tolerance


def test_energy_is_that_of_the_timed_runs(tiny, monkeypatch):
    real = measure.run_worker

    def with_energy(*arguments, **options):
        values, arrays = real(*arguments, **options)
        return {**values, "joules": 2.0}, arrays

    monkeypatch.setattr(measure, "run_worker", with_energy)
    record = measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)
    assert record.joules_per_run == pytest.approx(2.0 / record.num_runs)


def test_power_of_a_board_becomes_energy_of_a_run(tiny, monkeypatch):
    monkeypatch.setattr(PowerSampler, "watts_between", lambda *_: 4.0)
    record = measure_latency(read_model(tiny), speed_inputs(tiny), num_threads=1, durations=SHORT)
    assert record.joules_per_run == pytest.approx(4.0 * record.mean_ns / 1e9)
