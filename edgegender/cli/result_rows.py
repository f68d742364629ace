"""Recorded results as the rows of a table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgegender.benchmark.machine import Machine
    from edgegender.benchmark.records import BenchmarkResult, LatencyRecord
    from edgegender.reporting.tables import ParityFigure, TableRow

PARTIAL_WARNING = "partial"  # the kind of warning that a measurement which was cut short carries


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
        f"{result.engine.name} {result.engine.version}".strip(),
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
    from edgegender.reporting.histograms import count_latencies
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
        target=result.target,
        engine=result.engine.label,
        engine_version=result.engine.version,
        batch_size=record.batch_size,
        joules_per_run=record.joules_per_run,
        is_partial=any(warning.kind == PARTIAL_WARNING for warning in warnings),
        histogram=count_latencies(record.latencies_ns),
        command_line=shlex.join(result.command_line),
    )


def table_rows(result: BenchmarkResult, *, source: str) -> list[TableRow]:
    """Returns a row for each configuration of a recorded result; without parity, which needs other results.

    Args:
        result: The result.
        source: What its file is called.
    """
    return [_table_row(result, record, source) for record in result.latencies]


@dataclass(frozen=True)
class _ReadResult:
    """What is kept of a result: the raw values would be too much of many."""

    slim: BenchmarkResult
    rows: list[TableRow]
    source: str


def _parity_figure(read: _ReadResult, reference: _ReadResult) -> ParityFigure | None:
    from edgegender.benchmark.agreement import compare_answers
    from edgegender.errors import ResultFileError, UsageError
    from edgegender.reporting.tables import ParityFigure

    own, other = read.slim.parity, reference.slim.parity
    if own is None or other is None:
        return None
    try:
        agreement = compare_answers(own, other, read.slim.model)
    except UsageError as error:
        raise ResultFileError(f"{error} ({read.source}, {reference.source})") from error
    engine, machine = reference.slim.engine.label, name_machine(reference.slim.machine)
    return ParityFigure(
        agreement.max_score_difference,
        agreement.num_flips,
        agreement.num_inputs,
        reference=f"{engine} on {machine}",
        reference_source=reference.source,
        is_reference=read is reference,
    )


def _with_parity(reads: Sequence[_ReadResult]) -> list[TableRow]:
    from edgegender.benchmark.agreement import find_references

    rows = []
    for read, place in zip(reads, find_references([read.slim for read in reads]), strict=True):
        parity = None if place is None else _parity_figure(read, reads[place])
        rows += [replace(row, parity=parity) for row in read.rows]
    return rows


def read_rows(paths: Sequence[Path]) -> tuple[list[TableRow], list[str]]:
    """Returns the rows of recorded results, with parity, and what to tell the user.

    A result that was given twice, under whatever name, stands in the table once.

    Args:
        paths: Files of results.

    Raises:
        ResultFileError: A file is missing, damaged, edited or of another schema.
    """
    from edgegender.benchmark.result import read_result

    reads: list[_ReadResult] = []
    remarks: list[str] = []
    seen: dict[object, str] = {}
    for path in paths:
        result = read_result(path)
        # the raw values would be too much to keep of many results, and these cannot agree by chance
        means = tuple(record.mean_ns for record in result.latencies)
        key = (result.created, result.model, result.machine, result.engine, means)
        if key in seen:
            remarks.append(f"{path.name} is the same result as {seen[key]}: it stands in the table once")
            continue
        seen[key] = path.name
        reads.append(_ReadResult(replace(result, latencies=()), table_rows(result, source=path.name), path.name))
    return _with_parity(reads), remarks
