"""A benchmark's result for a person at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgegender.cli.console import print_table, warn

if TYPE_CHECKING:
    from edgegender.benchmark.records import BenchmarkResult


def _print_accuracy(result: BenchmarkResult) -> None:
    from edgegender.reporting.evaluation import format_interval

    evaluation, data = result.evaluation, result.data
    if evaluation is None or data is None:
        click.echo("accuracy not measured: add --data faces.csv\n")
        return
    split = f", split {data.split}" if data.split else ""
    click.echo(f"{data.num_photos:,} photos of {data.name}{split}; 95 % intervals in brackets\n")
    rows = [["accuracy %", format_interval(evaluation.accuracy)]]
    rows.append([f"F1 of {evaluation.positive_label} %", format_interval(evaluation.f1)])
    for label, report in evaluation.by_label.items():
        rows.append([f"precision {label} %", format_interval(report.precision)])
        rows.append([f"recall {label} %", format_interval(report.recall)])
    print_table(["figure", "value"], rows)
    click.echo("")


def _print_latencies(result: BenchmarkResult) -> None:
    from edgegender.reporting.tables import format_megabytes, format_ms

    percents = (50, 90, 95, 99)
    has_energy = any(record.joules_per_run is not None for record in result.latencies)
    header = ["threads", *(f"p{percent} ms" for percent in percents), "mean ms", "runs/s", "load ms", "first ms"]
    rows = []
    for record in result.latencies:
        cells = [format_ms(record.percentile(percent).value_ns) for percent in percents]
        cells += [format_ms(record.mean_ns), f"{record.throughput_per_s:,.0f}"]
        cells += [format_ms(record.load_time_ns), format_ms(record.first_inference_ns)]
        rows.append(
            [
                str(record.num_threads),
                *cells,
                "" if record.peak_memory_bytes is None else format_megabytes(record.peak_memory_bytes),
                f"{record.num_runs:,}",
                *([_format_millijoules(record.joules_per_run)] if has_energy else []),
            ]
        )
    print_table([*header, "peak MB", "runs", *(["mJ/run"] if has_energy else [])], rows)
    if has_energy:
        click.echo("energy is that of the whole processor or board, idle power included")
    staged = [record for record in result.latencies if record.stages]
    if not staged:
        return
    click.echo(f"\nfrom the photo's file to the answer, p50 / p90 ms over {staged[0].num_stage_photos} photos")
    names = [stage.name for stage in staged[0].stages]
    print_table(
        ["threads", *names],
        [
            [
                str(record.num_threads),
                *(" / ".join(format_ms(entry.value_ns) for entry in stage.percentiles) for stage in record.stages),
            ]
            for record in staged
        ],
    )


def _format_millijoules(joules: float | None) -> str:
    return "" if joules is None else f"{1000 * joules:.3g}"


def print_result(result: BenchmarkResult) -> None:
    """Prints the model, the machine, accuracy and latencies on standard output."""
    from edgegender.cli.result_rows import describe_machine_and_versions
    from edgegender.reporting.tables import format_megabytes

    model = result.model
    size = format_megabytes(model.size_bytes)
    click.echo(f"{model.name} ({model.scheme}, {model.input_size_px} px, {size} MB, sha256 {model.sha256[:12]})")
    click.echo(describe_machine_and_versions(result))
    click.echo(f"run by {result.engine.label}")
    _print_accuracy(result)
    _print_latencies(result)


def warn_of_result(result: BenchmarkResult) -> None:
    """Prints on stderr what the result says against itself."""
    for warning in result.warnings:
        where = "" if warning.num_threads is None else f"{warning.num_threads} thread(s): "
        warn(f"{where}{warning.text}")
