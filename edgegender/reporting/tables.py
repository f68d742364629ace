"""Latency/accuracy tables: Markdown with footnotes for people, CSV with every figure for programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgegender.errors import UsageError
from edgegender.metrics import Interval
from edgegender.reporting.evaluation import format_interval

OTHER_DATA_MARK = "†"
_NOT_MEASURED = "–"
_EXPLANATION = (
    "Intervals are 95 %. Latency is that of one picture: writing the input and running the network. p50, p90 and p99 "
    "are nearest ranks of the raw values. Peak MB is the resident memory of a process that runs the model: Python, "
    "OpenCV, runtime and network. "
    "1 MB = 1,000,000 bytes."
)


@dataclass(frozen=True)
class LatencyFigure:
    """A percentile and its 95 % interval, nanoseconds; ``None`` where too few runs bound it."""

    value_ns: int
    low_ns: int | None = None
    high_ns: int | None = None


@dataclass(frozen=True)
class TableRow:
    """One model with one number of threads on one machine.

    Args:
        model: Its name.
        file_name: The model's file.
        model_sha256: Of the model's file.
        architecture: The network.
        scheme: Quantization scheme.
        input_size_px: Side of the input.
        size_bytes: Of the model's file.
        accuracy: ``None`` when it was not measured.
        f1: Of ``positive_label``; ``None`` when it was not measured.
        positive_label: The label that F1 speaks of.
        num_threads: Threads.
        latency: Percent → figure; 50, 90, 95 and 99.
        mean_ns: Mean latency.
        num_runs: Timed runs.
        load_time_ns: From the file to a network that can run.
        first_inference_ns: The first run.
        throughput_per_s: Runs a second.
        peak_memory_bytes: Of the measuring process.
        machine: A short name.
        machine_about: All that is known of it, and the versions.
        num_photos: Photos behind accuracy and F1; 0 when they were not measured.
        data_sha256: Of the photos and their labels; empty when they were not measured.
        data_about: Name, split, faces.
        created: UTC.
        edgegender_version: That measured.
        source: The result's file.
        warnings: What the measurement says against itself.
        is_valid: Whether the figures may be used.
    """

    model: str
    file_name: str
    model_sha256: str
    architecture: str
    scheme: str
    input_size_px: int
    size_bytes: int
    accuracy: Interval | None
    f1: Interval | None
    positive_label: str
    num_threads: int
    latency: Mapping[int, LatencyFigure]
    mean_ns: float
    num_runs: int
    load_time_ns: int
    first_inference_ns: int
    throughput_per_s: float
    peak_memory_bytes: int
    machine: str
    machine_about: str
    num_photos: int
    data_sha256: str
    data_about: str
    created: str
    edgegender_version: str
    source: str
    warnings: tuple[str, ...] = ()
    is_valid: bool = True


def format_ms(nanoseconds: float) -> str:
    """Returns a duration in milliseconds with three to four significant digits.

    Example:
        >>> format_ms(3_285), format_ms(870_400), format_ms(13_812_000), format_ms(2_345_678_000)
        ('0.00329', '0.870', '13.8', '2346')
    """
    value = nanoseconds / 1e6
    for limit, digits in ((0.01, 5), (0.1, 4), (1, 3), (10, 2), (100, 1)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


def format_megabytes(size_bytes: int) -> str:
    """Returns a size in millions of bytes.

    Example:
        >>> format_megabytes(2_712_345), format_megabytes(1_808), format_megabytes(152_000_000)
        ('2.71', '0.0018', '152.0')
    """
    value = size_bytes / 1e6
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"


def clean_text(text: str) -> str:
    """Returns text of a stranger's file on one line, without control characters.

    Example:
        >>> clean_text("a" + chr(10) + "b" + chr(27) + "[2J")
        'a b[2J'
    """
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", clean_text(text))


def is_other_data(row: TableRow, rows: Sequence[TableRow]) -> bool:
    """Returns whether a row's accuracy rests on other photos than that of the first row with any."""
    first = next((other.data_sha256 for other in rows if other.data_sha256), "")
    return bool(row.data_sha256) and row.data_sha256 != first


def _notes_of(row: TableRow) -> list[str]:
    notes = [
        f"Machine: {row.machine_about}",
        f"Model: {row.model}, file {row.file_name}, sha256 {row.model_sha256[:12]}, {row.architecture}",
    ]
    if row.data_sha256:
        about = f"Data: {row.data_about}, sha256 {row.data_sha256[:12]}; F1 is that of {row.positive_label}"
        notes.append(about)
    notes.append(f"Measured {row.created} by edgegender {row.edgegender_version}, recorded in {row.source}")
    notes += [f"Warning: {warning}" for warning in row.warnings]
    return [_markdown_cell(note) for note in notes]


def _latency_cell(row: TableRow, percent: int) -> str:
    text = format_ms(row.latency[percent].value_ns)
    return text if row.is_valid else f"{text} (invalid)"


def _markdown_columns(rows: Sequence[TableRow]) -> list[tuple[str, Callable[[TableRow], str]]]:
    def photos(row: TableRow) -> str:
        if not row.data_sha256:
            return _NOT_MEASURED
        return f"{row.num_photos:,}{' ' + OTHER_DATA_MARK if is_other_data(row, rows) else ''}"

    def interval(value: Interval | None) -> str:
        return _NOT_MEASURED if value is None else format_interval(value)

    return [
        ("model", lambda row: _markdown_cell(row.model)),
        ("scheme", lambda row: _markdown_cell(row.scheme)),
        ("input px", lambda row: str(row.input_size_px)),
        ("size MB", lambda row: format_megabytes(row.size_bytes)),
        ("accuracy %", lambda row: interval(row.accuracy)),
        ("F1 %", lambda row: interval(row.f1)),
        ("threads", lambda row: str(row.num_threads)),
        ("p50 ms", lambda row: _latency_cell(row, 50)),
        ("p90 ms", lambda row: _latency_cell(row, 90)),
        ("p99 ms", lambda row: _latency_cell(row, 99)),
        (
            "runs/s",
            lambda row: f"{row.throughput_per_s:,.0f}" if row.throughput_per_s >= 10 else f"{row.throughput_per_s:.2f}",
        ),
        ("peak MB", lambda row: format_megabytes(row.peak_memory_bytes)),
        ("machine", lambda row: _markdown_cell(row.machine)),
        ("photos", photos),
    ]


def _require_rows(rows: Sequence[TableRow]) -> None:
    if not rows:
        raise UsageError("Expected results for a table, got none.")


def render_markdown(rows: Sequence[TableRow]) -> str:
    """Returns a Markdown table and, below it, numbered notes: machine, model, data, date and warnings of each row.

    Rows measured on other photos than the first one carry a dagger: their accuracies are no comparison.

    Args:
        rows: At least one.

    Raises:
        UsageError: There is no row.
    """
    _require_rows(rows)
    columns = _markdown_columns(rows)
    numbers: dict[str, int] = {}
    table = [[name for name, _ in columns] + ["notes"]]
    for row in rows:
        cited = sorted(numbers.setdefault(note, len(numbers) + 1) for note in _notes_of(row))
        table.append([make(row) for _, make in columns] + [", ".join(map(str, cited))])
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    lines += ["", _EXPLANATION]
    if any(is_other_data(row, rows) for row in rows):
        lines += ["", f"{OTHER_DATA_MARK} Measured on other photos than the first row: accuracy and F1 do not compare."]
    lines += ["", *(f"{number}. {note}." for note, number in numbers.items())]
    return "\n".join(lines) + "\n"


def _csv_text(text: str) -> str:
    """A spreadsheet takes a cell that starts with one of these for a formula."""
    cleaned = clean_text(text)
    return f"'{cleaned}" if cleaned.startswith(("=", "+", "-", "@")) else cleaned


def _csv_values(row: TableRow, rows: Sequence[TableRow]) -> dict[str, object]:
    values: dict[str, object] = {
        "model": _csv_text(row.model),
        "architecture": _csv_text(row.architecture),
        "scheme": _csv_text(row.scheme),
        "input_size_px": row.input_size_px,
        "size_bytes": row.size_bytes,
        "num_threads": row.num_threads,
        "num_runs": row.num_runs,
    }
    for name, interval in (("accuracy", row.accuracy), ("f1", row.f1)):
        for suffix, part in (("", "value"), ("_low", "low"), ("_high", "high")):
            values[name + suffix] = "" if interval is None else round(getattr(interval, part), 6)
    for percent, figure in row.latency.items():
        for suffix, nanoseconds in (("", figure.value_ns), ("_low", figure.low_ns), ("_high", figure.high_ns)):
            values[f"p{percent}{suffix}_ms"] = "" if nanoseconds is None else nanoseconds / 1e6
    return {
        **values,
        "mean_ms": round(row.mean_ns / 1e6, 6),
        "load_time_ms": row.load_time_ns / 1e6,
        "first_inference_ms": row.first_inference_ns / 1e6,
        "throughput_per_s": round(row.throughput_per_s, 3),
        "peak_memory_bytes": row.peak_memory_bytes,
        "machine": _csv_text(row.machine),
        "machine_about": _csv_text(row.machine_about),
        "num_photos": row.num_photos or "",
        "positive_label": _csv_text(row.positive_label) if row.data_sha256 else "",
        "data_about": _csv_text(row.data_about),
        "is_other_data": int(is_other_data(row, rows)),
        "data_sha256": row.data_sha256,
        "model_file": _csv_text(row.file_name),
        "model_sha256": row.model_sha256,
        "created": row.created,
        "edgegender": row.edgegender_version,
        "source": _csv_text(row.source),
        "is_valid": int(row.is_valid),
        "warnings": _csv_text("; ".join(row.warnings)),
    }


def render_csv(rows: Sequence[TableRow]) -> str:
    """Returns the table as CSV: plain units, intervals in columns of their own, empty where nothing was measured.

    Args:
        rows: At least one, all with the same percentiles.

    Raises:
        UsageError: There is no row.
    """
    _require_rows(rows)
    records = [_csv_values(row, rows) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()
