"""``edgegender report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, warn

if TYPE_CHECKING:
    from edgegender.benchmark.machine import Machine
    from edgegender.benchmark.records import BenchmarkResult, LatencyRecord
    from edgegender.reporting.tables import TableRow


def name_machine(machine: Machine) -> str:
    """Returns a machine's short name: its board, or its processor and cores."""
    cores = f"{machine.num_available_cores} core{'s' if machine.num_available_cores != 1 else ''}"
    return machine.board or f"{machine.cpu_model or machine.architecture}, {cores}"


def describe_machine_and_versions(result: BenchmarkResult) -> str:
    """Returns one line with all that is known of the machine and the software."""
    machine, versions = result.machine, result.versions
    memory = f"{machine.memory_bytes / 1e9:.1f} GB" if machine.memory_bytes else ""
    parts = [
        machine.board,
        machine.cpu_model,
        machine.architecture,
        f"{machine.num_available_cores} of {machine.num_cores} cores",
        memory,
        machine.operating_system,
        f"Linux {machine.kernel}" if machine.kernel else "",
        "virtual machine" if machine.is_virtual_machine else "",
        f"Python {versions.python}",
        f"{versions.runtime_name} {versions.runtime_version}",
        f"OpenCV {versions.opencv}" if versions.opencv else "",
        f"numpy {versions.numpy}" if versions.numpy else "",
    ]
    return ", ".join(part for part in parts if part)


def _describe_data(result: BenchmarkResult) -> str:
    data = result.data
    if data is None:
        return ""
    parts = [data.name, f"split {data.split}" if data.split else "", f"{data.num_photos:,} photos"]
    parts.append(f"face boxes from {data.detector}" if data.detector != "none" else "face crops")
    return ", ".join(part for part in parts if part)


def _table_row(result: BenchmarkResult, record: LatencyRecord, source: str) -> TableRow:
    from edgegender.reporting.tables import LatencyFigure, TableRow

    model, evaluation, data = result.model, result.evaluation, result.data
    warnings = result.warnings_for(record.num_threads)
    return TableRow(
        model=model.name,
        file_name=model.file_name,
        model_sha256=model.sha256,
        architecture=model.architecture,
        scheme=model.scheme,
        input_size_px=model.input_size_px,
        size_bytes=model.size_bytes,
        accuracy=evaluation.accuracy if evaluation else None,
        f1=evaluation.f1 if evaluation else None,
        positive_label=model.positive_label,
        num_threads=record.num_threads,
        latency={
            entry.percent: LatencyFigure(entry.value_ns, entry.low_ns, entry.high_ns) for entry in record.percentiles
        },
        mean_ns=record.mean_ns,
        num_runs=record.num_runs,
        load_time_ns=record.load_time_ns,
        first_inference_ns=record.first_inference_ns,
        throughput_per_s=record.throughput_per_s,
        peak_memory_bytes=record.peak_memory_bytes,
        machine=name_machine(result.machine),
        machine_about=describe_machine_and_versions(result),
        num_photos=data.num_photos if data else 0,
        data_sha256=data.sha256 if data else "",
        data_about=_describe_data(result),
        created=result.created,
        edgegender_version=result.versions.edgegender,
        source=source,
        warnings=tuple(warning.text for warning in warnings),
        is_valid=not any(warning.is_invalidating for warning in warnings),
    )


def table_rows(result: BenchmarkResult, *, source: str) -> list[TableRow]:
    """Returns a row for each number of threads of a recorded result.

    Args:
        result: The result.
        source: What its file is called.
    """
    return [_table_row(result, record, source) for record in result.latencies]


def _read_once(paths: tuple[Path, ...]) -> list[TableRow]:
    """Reads the results; one that was given twice, under whatever name, stands in the table once."""
    from edgegender.benchmark.result import read_result

    rows: list[TableRow] = []
    seen: dict[object, str] = {}
    for path in paths:
        result = read_result(path)
        # the raw values would be too much to keep of many results, and these cannot agree by chance
        key = (result.created, result.model, result.machine, tuple(record.mean_ns for record in result.latencies))
        if key in seen:
            warn(f"{path.name} is the same result as {seen[key]}: it stands in the table once")
            continue
        seen[key] = path.name
        rows += table_rows(result, source=path.name)
    return rows


@click.command(name="report")
@click.argument("results", nargs=-1, required=True, type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="File to write instead of standard output.")
@click.option("--format", "table_format", type=click.Choice(("markdown", "csv")), default="markdown", show_default=True)
def command(results: tuple[Path, ...], output: Path | None, table_format: str) -> None:
    """Make one table from recorded benchmark RESULTS: accuracy, F1 and latency with intervals, and what to know.

    Results that were measured on different photos are marked: their accuracies do not compare.
    """
    from edgegender import files
    from edgegender.reporting.tables import is_other_data, render_csv, render_markdown

    rows = _read_once(results)
    if any(is_other_data(row, rows) for row in rows):
        warn("the results rest on different photos: their accuracies do not compare, and are marked")
    text = render_csv(rows) if table_format == "csv" else render_markdown(rows)
    if output is None:
        click.echo(text, nl=False)
    else:
        files.write_text(output, text)
