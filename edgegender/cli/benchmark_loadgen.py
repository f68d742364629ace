"""``edgegender benchmark --loadgen``: the same model under MLPerf's own load generator."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.cli.console import note

if TYPE_CHECKING:
    from edgegender.benchmark.engines import EngineEntry
    from edgegender.benchmark.records import BenchmarkResult


def run_scenarios(model: Path, entry: EngineEntry, result: BenchmarkResult, folder: Path) -> None:
    """Runs SingleStream and Offline on the golden inputs; MLPerf's log files are left in a folder for each.

    Args:
        model: The file.
        entry: What runs it.
        result: What was measured: its first number of threads, its durations and its throughput are taken.
        folder: Gets ``SingleStream`` and ``Offline``.

    Raises:
        MissingDependencyError: mlcommons-loadgen is not installed.
        MeasurementError: A run did not end.
        OutputError: The folder cannot be made.
    """
    from edgegender.benchmark.engines import create_engine
    from edgegender.benchmark.golden import golden_images
    from edgegender.benchmark.loadgen import SCENARIOS, run_loadgen

    first = result.latencies[0]
    engine = create_engine(entry, model, num_threads=first.num_threads)
    tensors = [engine.to_tensor(image[None]) for image in golden_images(engine.input_size_px)]
    for scenario in SCENARIOS:
        summary = run_loadgen(
            engine,
            tensors,
            scenario=scenario,
            durations=result.durations,
            expected_runs_per_s=first.throughput_per_s,
            folder=folder / scenario,
        )
        word = "valid" if summary.is_valid else "INVALID"
        figure = f"p90 {summary.percentiles_ns[90] / 1e6:.3g} ms"
        if summary.samples_per_s is not None:
            figure = f"{summary.samples_per_s:,.0f} pictures/s"
        note(f"MLPerf LoadGen {scenario}, {first.num_threads} thread(s): {figure}, {word} → {folder / scenario}")
