"""The same network under MLPerf's own load generator."""

from __future__ import annotations

import sys

import pytest

from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.loadgen import SUMMARY_FILE, parse_summary, run_loadgen
from edgegender.benchmark.records import Durations
from edgegender.errors import MeasurementError, MissingDependencyError, UsageError
from tests.pictures import noise
from tests.tiny_model import build_tiny_model

BRIEF = Durations(min_seconds=0.2, min_runs=100, max_seconds=20)


@pytest.fixture
def engine(tmp_path):
    return create_engine("litert", build_tiny_model(tmp_path / "tiny.tflite"), num_threads=1)


def run(engine, folder, scenario):
    tensors = [engine.to_tensor(noise(32, 32, seed)[None]) for seed in range(8)]
    options = {"durations": BRIEF, "expected_runs_per_s": 200_000.0, "folder": folder}
    return run_loadgen(engine, tensors, scenario=scenario, **options)


def test_single_stream_gives_latencies_and_mlperfs_own_logs(engine, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="pip install 'edgegender[loadgen]'")
    summary = run(engine, tmp_path / "logs", "SingleStream")
    assert summary.is_valid
    assert 0 < summary.percentiles_ns[50] <= summary.percentiles_ns[90] <= summary.percentiles_ns[99]
    assert summary.samples_per_s is None
    assert "SingleStream" in (tmp_path / "logs" / SUMMARY_FILE).read_text()


def test_offline_gives_throughput(engine, tmp_path):
    pytest.importorskip("mlperf_loadgen", reason="pip install 'edgegender[loadgen]'")
    summary = run(engine, tmp_path / "logs", "Offline")
    assert summary.samples_per_s > 100


def test_another_scenario_is_refused(engine, tmp_path):
    with pytest.raises(UsageError, match="Expected a scenario of SingleStream, Offline, got 'Server'"):
        run(engine, tmp_path, "Server")


def test_a_missing_package_names_its_extra(engine, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(MissingDependencyError, match="Expected the package mlcommons-loadgen") as caught:
        run(engine, tmp_path, "Offline")
    assert "edgegender[loadgen]" in caught.value.hint


def test_a_run_that_did_not_end_is_an_error():
    with pytest.raises(MeasurementError, match="Expected a summary of MLPerf's load generator, got none"):
        parse_summary("", scenario="Offline")
    assert not parse_summary("Result is : INVALID\n", scenario="Offline").is_valid
