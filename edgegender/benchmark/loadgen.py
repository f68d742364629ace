"""The same network under MLPerf's own load generator, for those who need MLPerf's figures.

MLPerf's rules decide how long it runs and what is valid; its log files are the record. It runs in this process, so its
latencies hold what Python and the load generator add.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegender import files
from edgegender.benchmark.engine import Engine
from edgegender.benchmark.records import Durations
from edgegender.errors import MeasurementError, MissingDependencyError, UsageError

SCENARIOS = ("SingleStream", "Offline")
SUMMARY_FILE = "mlperf_log_summary.txt"
_NANOSECONDS = re.compile(r"^(\d+)\.\d+ percentile latency \(ns\)\s*:\s*(\d+)$", re.MULTILINE)
_SAMPLES = re.compile(r"^Samples per second:\s*([\d.e+]+)$", re.MULTILINE)
_RESULT = re.compile(r"^Result is : (VALID|INVALID)$", re.MULTILINE)


@dataclass(frozen=True)
class LoadgenSummary:
    """What MLPerf's load generator says.

    Args:
        scenario: ``SingleStream`` or ``Offline``.
        is_valid: Whether it calls the run valid.
        percentiles_ns: Percent → latency, nanoseconds; of Offline they are times since the start.
        samples_per_s: Throughput; ``None`` in SingleStream.
    """

    scenario: str
    is_valid: bool
    percentiles_ns: dict[int, int]
    samples_per_s: float | None


def parse_summary(text: str, *, scenario: str) -> LoadgenSummary:
    """Returns what stands in ``mlperf_log_summary.txt``.

    Raises:
        MeasurementError: It says neither VALID nor INVALID: the run did not end.
    """
    result = _RESULT.search(text)
    if result is None:
        raise MeasurementError("Expected a summary of MLPerf's load generator, got none.", hint="Run it again.")
    samples = _SAMPLES.search(text)
    return LoadgenSummary(
        scenario,
        result[1] == "VALID",
        {int(percent): int(value) for percent, value in _NANOSECONDS.findall(text)},
        float(samples[1]) if samples else None,
    )


def _import_loadgen() -> Any:  # noqa: ANN401 - a native module without types
    try:
        return import_module("mlperf_loadgen")
    except ImportError as error:
        raise MissingDependencyError("mlcommons-loadgen", extra="loadgen") from error


def _settings(loadgen: Any, scenario: str, durations: Durations, expected_runs_per_s: float) -> Any:  # noqa: ANN401
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1000 * durations.min_seconds)
    settings.max_duration_ms = int(1000 * durations.max_seconds)
    settings.min_query_count = durations.min_runs if scenario == "SingleStream" else 1
    # Offline sends all samples at once: as many as fill the time, and a tenth more
    settings.offline_expected_qps = 1.1 * max(expected_runs_per_s, durations.min_runs / max(durations.min_seconds, 0.1))
    # it makes as many queries as fill the time at this latency, and a run that ends too soon is invalid: twice as many
    settings.single_stream_expected_latency_ns = max(1, int(0.5e9 / expected_runs_per_s))
    return settings


def run_loadgen(
    engine: Engine,
    tensors: Sequence[npt.NDArray[np.generic]],
    *,
    scenario: str,
    durations: Durations,
    expected_runs_per_s: float,
    folder: Path,
) -> LoadgenSummary:
    """Runs a network under MLPerf's load generator, which leaves its log files in ``folder``.

    Args:
        engine: One picture a run.
        tensors: Inputs that the generator chooses from.
        scenario: ``SingleStream`` (one query after another) or ``Offline`` (all at once).
        durations: Least seconds and queries.
        expected_runs_per_s: What was measured before.
        folder: Made when it is missing.

    Raises:
        UsageError: The scenario is unknown.
        MissingDependencyError: mlcommons-loadgen is not installed.
        MeasurementError: The run did not end.
        OutputError: The folder cannot be made.
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"Expected a scenario of {', '.join(SCENARIOS)}, got {scenario!r}.")
    loadgen = _import_loadgen()
    files.make_folder(folder)

    def answer(queries: Any) -> None:  # noqa: ANN401
        for query in queries:
            engine.run(tensors[query.index])
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(query.id, 0, 0)])

    def nothing(*_: object) -> None:
        pass

    log = loadgen.LogSettings()
    log.log_output = loadgen.LogOutputSettings()
    log.log_output.outdir, log.log_output.copy_summary_to_stdout = str(folder), False
    log.enable_trace = False
    system = loadgen.ConstructSUT(answer, nothing)
    library = loadgen.ConstructQSL(len(tensors), len(tensors), nothing, nothing)
    try:
        settings = _settings(loadgen, scenario, durations, expected_runs_per_s)
        loadgen.StartTestWithLogSettings(system, library, settings, log)
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
    summary = folder / SUMMARY_FILE
    return parse_summary(summary.read_text("utf-8") if summary.is_file() else "", scenario=scenario)
