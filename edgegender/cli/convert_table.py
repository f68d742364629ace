"""``edgegender convert --scheme all``: every scheme of one network, side by side, in one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import note, print_json, require_writable
from edgegender.entities import QuantizationScheme
from edgegender.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from edgegender.cli.convert_outcome import Job
    from edgegender.conversion.convert import Conversion
    from edgegender.conversion.ladder import Rung
    from edgegender.reporting.scheme_table import SchemeRow

TABLE_NAME, RECORD_NAME = "schemes.md", "schemes.json"


def table_folder(output: Path | None, source: Path) -> Path:
    """Returns the folder for the files of all schemes.

    Raises:
        UsageError: ``-o`` names a file.
        OutputError: It cannot be written.
    """
    folder = output or (source if source.is_dir() else source.parent) / "schemes"
    if folder.suffix == ".tflite" or folder.is_file():
        raise UsageError(f"Expected a folder for the files of all schemes, got {folder}.", hint="Such as -o schemes.")
    require_writable(folder / RECORD_NAME)
    return folder


def _rungs(job: Job) -> Iterator[tuple[str, Rung]]:
    """Yields (name of the row and file, how to make it)."""
    from edgegender.cli.convert_rungs import qat_rung, scheme_rung

    plan = job.request.plan
    plain = replace(plan, ranges="min_max", is_bias_corrected=False)
    for scheme in (
        QuantizationScheme.FLOAT32,
        QuantizationScheme.FLOAT16,
        QuantizationScheme.WEIGHT_ONLY,
        QuantizationScheme.DYNAMIC_RANGE,
        QuantizationScheme.INT16X8,
    ):
        yield scheme.value, scheme_rung(scheme, job.quantizer, plan)
    full, mixed = QuantizationScheme.FULL_INTEGER, QuantizationScheme.MIXED_INTEGER
    yield "full_integer-plain", scheme_rung(full, job.quantizer, plain)
    yield "full_integer", scheme_rung(full, job.quantizer, plan)
    yield "full_integer-per_tensor", scheme_rung(full, job.quantizer, replace(plan, is_per_channel=False))
    yield "mixed_integer", scheme_rung(mixed, job.quantizer, plan, float_layers=job.request.float_layers)
    if job.request.qat_steps is not None:
        yield "full_integer-qat", qat_rung(job.source, job.training, plan)


def _convert_all(job: Job, folder: Path) -> tuple[dict[str, Conversion], dict[str, str]]:
    """Writes each file that passes; returns what was made, and why something was not."""
    from edgegender.conversion.convert import write_model
    from edgegender.conversion.ladder import climb

    made: dict[str, Conversion] = {}
    failed: dict[str, str] = {}
    for name, rung in _rungs(job):
        note(f"{name} …")
        try:
            ladder = climb(
                [rung],
                replace(job.template, name=name),
                validation=job.validation,
                evaluation=job.evaluation,
                evaluation_split=job.request.evaluation_split,
                bars=job.request.bars,
                is_validated_first=False,
            )
        except CheckFailedError as error:
            failed[name] = str(error)
            continue
        made[name] = ladder.conversion
        if ladder.conversion.gate.is_passed:
            write_model(ladder.conversion, folder / f"{name}.tflite", is_dated=not job.request.undated)
    return made, failed


def run_all(job: Job, folder: Path) -> None:
    """Converts to every scheme, measures each, writes those that pass, and prints the table.

    Raises:
        CheckFailedError: No scheme passed.
        OutputError: A file cannot be written.
    """
    from edgegender import files
    from edgegender.benchmark.machine import describe_machine
    from edgegender.cli.convert_speed import measure_by_turns
    from edgegender.cli.convert_text import gate_to_json
    from edgegender.conversion.convert import with_metadata
    from edgegender.reporting.scheme_table import format_schemes, schemes_to_json

    made, failed = _convert_all(job, folder)
    note("measuring latency …")
    contents = {name: with_metadata(conversion) for name, conversion in made.items()}
    latency = measure_by_turns(contents, job.representative.inputs)
    rows = _rows(made, failed, latency)
    about = {
        "network": job.source.architecture,
        "input_size_px": job.source.preprocessing.input_size_px,
        "split": job.request.evaluation_split,
        "num_photos": len(job.evaluation.annotated),
        "num_representative": len(job.representative.inputs),
        "num_threads": 1,
        "compression": dict(job.compression),
        "bars": {"max_drop": job.request.max_drop, "max_flips": job.request.max_flips},
        "provenance": dict(job.template.provenance),
        "machine": asdict(describe_machine()),
    }
    record = schemes_to_json(rows, about, {name: gate_to_json(conversion.gate) for name, conversion in made.items()})
    table = format_schemes(rows, about)
    files.write_json(folder / RECORD_NAME, record)
    files.write_text(folder / TABLE_NAME, table)
    if job.request.as_json:
        print_json(record)
    else:
        click.echo(table)
        click.echo(f"→ {folder}")
    if not any(row.mark == "✅" for row in rows):
        raise CheckFailedError(
            "Expected at least one scheme to pass the gate, got none.", hint="Look at schemes.json for the reasons."
        )


def _rows(
    made: dict[str, Conversion], failed: dict[str, str], latency: dict[str, dict[str, float]]
) -> Sequence[SchemeRow]:
    from edgegender.cli.convert_text import compressed_bytes
    from edgegender.reporting.scheme_table import SchemeRow

    rows = []
    for name, conversion in made.items():
        gate = conversion.gate
        rows.append(
            SchemeRow(
                name=name,
                mark="✅" if gate.is_passed else "❎",
                size_bytes=len(conversion.candidate.content),
                compressed_bytes=compressed_bytes(conversion.candidate.content),
                accuracy=gate.quantized_evaluation.accuracy,
                difference=gate.difference.difference,
                flips=gate.difference.flips,
                flip_rate=gate.difference.flip_interval,
                max_score_change=gate.max_score_change,
                p50_ms=latency[name]["p50_ms"],
                p90_ms=latency[name]["p90_ms"],
                problem="; ".join(gate.problems),
            )
        )
    rows += [SchemeRow(name=name, mark="❌", problem=error) for name, error in failed.items()]
    return rows
