"""The table as CSV: every figure in a plain unit, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from edgegender.reporting.tables import TableRow, clean_text, first_data_sha256, require_rows


def _csv_text(text: str) -> str:
    """A spreadsheet takes a cell that starts with one of these for a formula."""
    cleaned = clean_text(text)
    return f"'{cleaned}" if cleaned.startswith(("=", "+", "-", "@")) else cleaned


def _figures(row: TableRow) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, interval in (("accuracy", row.accuracy), ("f1", row.f1)):
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            values[name + suffix] = "" if interval is None else round(getattr(interval, part), 6)
    for percent, figure in row.latency.items():
        for suffix, nanoseconds in (("", figure.value_ns), ("_low", figure.low_ns), ("_high", figure.high_ns)):
            values[f"p{percent}{suffix}_ms"] = "" if nanoseconds is None else nanoseconds / 1e6
    parity = row.parity
    return {
        **values,
        "mean_ms": round(row.mean_ns / 1e6, 6),
        "load_time_ms": row.load_time_ns / 1e6,
        "first_inference_ms": row.first_inference_ns / 1e6,
        "throughput_per_s": round(row.throughput_per_s, 3),
        "peak_memory_bytes": "" if row.peak_memory_bytes is None else row.peak_memory_bytes,
        "joules_per_run": "" if row.joules_per_run is None else row.joules_per_run,
        "max_score_difference": "" if parity is None else round(parity.max_score_difference, 9),
        "num_flips": "" if parity is None else parity.num_flips,
        "num_golden_inputs": "" if parity is None else parity.num_inputs,
        "parity_reference": "" if parity is None else _csv_text(parity.reference),
        "parity_reference_source": "" if parity is None else _csv_text(parity.reference_source),
    }


def _csv_values(row: TableRow, first_data: str) -> dict[str, object]:
    return {
        "model": _csv_text(row.model),
        "architecture": _csv_text(row.architecture),
        "scheme": _csv_text(row.scheme),
        "input_size_px": row.input_size_px,
        "size_bytes": row.size_bytes,
        "target": _csv_text(row.target),
        "engine": _csv_text(row.engine),
        "engine_version": _csv_text(row.engine_version),
        "num_threads": row.num_threads,
        "batch_size": row.batch_size,
        "num_runs": row.num_runs,
        **_figures(row),
        "machine": _csv_text(row.machine),
        "machine_about": _csv_text(row.machine_about),
        "num_photos": row.num_photos or "",
        "positive_label": _csv_text(row.positive_label) if row.data_sha256 else "",
        "data_about": _csv_text(row.data_about),
        "is_other_data": int(row.data_sha256 not in ("", first_data)),
        "data_sha256": row.data_sha256,
        "model_file": _csv_text(row.file_name),
        "model_sha256": row.model_sha256,
        "created": _csv_text(row.created),
        "edgegender": _csv_text(row.edgegender_version),
        "source": _csv_text(row.source),
        "is_valid": int(row.is_valid),
        "is_partial": int(row.is_partial),
        "warnings": _csv_text("; ".join(row.warnings)),
    }


def render_csv(rows: Sequence[TableRow]) -> str:
    """Returns the table as CSV: plain units, intervals in columns of their own, empty where nothing was measured.

    Args:
        rows: At least one, all with the same percentiles.

    Raises:
        UsageError: There is no row.
    """
    require_rows(rows)
    first_data = first_data_sha256(rows)
    records = [_csv_values(row, first_data) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
