"""Latency/accuracy tables: rows, columns and notes for every form, and Markdown; CSV and LaTeX stand beside."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgegender.errors import UsageError
from edgegender.metrics import Interval
from edgegender.reporting.evaluation import format_interval
from edgegender.reporting.histograms import Histogram

OTHER_DATA_MARK = "†"
NOT_MEASURED = "–"
Grouping = Literal["given", "machine", "model"]
_OTHER_DATA = f"{OTHER_DATA_MARK} Measured on other photos than the first row: accuracy and F1 do not compare."


@dataclass(frozen=True)
class LatencyFigure:
    """A percentile and its 95 % interval, nanoseconds; ``None`` where too few runs bound it."""

    value_ns: int
    low_ns: int | None = None
    high_ns: int | None = None


@dataclass(frozen=True)
class ParityFigure:
    """How far the answers for the golden inputs lie from those of the reference.

    Args:
        max_score_difference: Largest difference of a score, before the temperature.
        num_flips: Golden inputs whose predicted label differs.
        num_inputs: Golden inputs.
        reference: The engine and the machine whose answers they are held against.
        reference_source: Their result's file.
        is_reference: Whether this row is the reference itself.
    """

    max_score_difference: float
    num_flips: int
    num_inputs: int
    reference: str
    reference_source: str
    is_reference: bool = False


@dataclass(frozen=True)
class TableRow:
    """One model with one number of threads by one engine on one machine.

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
        peak_memory_bytes: Of the measuring process; ``None`` where the target does not tell.
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
        target: ``cpu``, ``gpu``, ``ssh``, ``adb`` or ``browser``.
        engine: What ran the network, such as ``ai-edge-litert+xnnpack``.
        engine_version: Its version.
        batch_size: Pictures of one run.
        joules_per_run: Energy; ``None`` where the machine does not tell.
        parity: ``None`` where there is nothing to hold the answers against.
        is_partial: Whether the measurement was cut short.
        histogram: Of the raw latencies.
        command_line: That measured.
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
    peak_memory_bytes: int | None
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
    target: str = "cpu"
    engine: str = ""
    engine_version: str = ""
    batch_size: int = 1
    joules_per_run: float | None = None
    parity: ParityFigure | None = None
    is_partial: bool = False
    histogram: Histogram | None = None
    command_line: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table for people.

    Args:
        name: Its header, with the unit.
        cell: Row → plain text, not escaped.
        is_text: Whether it holds words rather than numbers.
    """

    name: str
    cell: Callable[[TableRow], str]
    is_text: bool = False


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
    if not text.isprintable():
        text = "".join(letter for letter in text if letter.isprintable() or letter.isspace())
    return " ".join(text.split())


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", clean_text(text))


def is_other_data(row: TableRow, rows: Sequence[TableRow]) -> bool:
    """Returns whether a row's accuracy rests on other photos than that of the first row with any."""
    return bool(row.data_sha256) and row.data_sha256 != first_data_sha256(rows)


def first_data_sha256(rows: Sequence[TableRow]) -> str:
    """Returns the data that a table's accuracies are held against: that of the first row with any; else empty."""
    return next((row.data_sha256 for row in rows if row.data_sha256), "")


def order_rows(rows: Sequence[TableRow], by: Grouping) -> list[TableRow]:
    """Returns the rows of a machine, or of a model on all its machines, one under another.

    Machines and models come in the order in which they are met first, a model by its file's hash.

    Args:
        rows: In the order of the results.
        by: ``given`` keeps it.
    """
    machines = {name: place for place, name in enumerate(dict.fromkeys(row.machine for row in rows))}
    models = {key: place for place, key in enumerate(dict.fromkeys(_model_key(row) for row in rows))}
    if by == "machine":
        return sorted(rows, key=lambda row: (machines[row.machine], models[_model_key(row)]))
    if by == "model":
        return sorted(rows, key=lambda row: (models[_model_key(row)], machines[row.machine]))
    return list(rows)


def _model_key(row: TableRow) -> tuple[str, str]:
    return row.model, row.model_sha256


def notes_of(row: TableRow) -> list[str]:
    """Returns all that a row's figures rest on, one sentence each without its full stop; plain text."""
    notes = [
        f"Machine: {row.machine_about}",
        f"Model: {row.model}, file {row.file_name}, sha256 {row.model_sha256[:12]}, {row.architecture}",
    ]
    if row.data_sha256:
        about = f"Data: {row.data_about}, sha256 {row.data_sha256[:12]}; F1 is that of {row.positive_label}"
        notes.append(about)
    notes.append(f"Measured {row.created} by edgegender {row.edgegender_version}, recorded in {row.source}")
    if row.parity:
        notes.append(
            f"Score difference and flips: on {row.parity.num_inputs} golden inputs, against {row.parity.reference}, "
            f"recorded in {row.parity.reference_source}"
        )
    notes += [f"Warning: {warning}" for warning in row.warnings]
    return [clean_text(note) for note in notes]


def number_notes(rows: Sequence[TableRow]) -> tuple[list[list[int]], list[str]]:
    """Returns the numbers, from 1, of each row's notes, and the notes; what rows have in common stands once."""
    numbers: dict[str, int] = {}
    cited = [sorted(numbers.setdefault(note, len(numbers) + 1) for note in notes_of(row)) for row in rows]
    return cited, list(numbers)


def explain(rows: Sequence[TableRow]) -> list[str]:
    """Returns what a reader of any form of the table must know: what the columns mean, and whether data differs."""
    is_batched = any(row.batch_size != 1 for row in rows)
    words = [
        "Intervals are 95 %.",
        f"Latency is that of one {'run over a batch of pictures' if is_batched else 'picture'}: "
        "writing the input and running the network.",
        "p50, p90 and p99 are nearest ranks of the raw values.",
        "Peak MB is the resident memory of a process that runs the model: Python, OpenCV, runtime and network.",
        "1 MB = 1,000,000 bytes.",
    ]
    first = first_data_sha256(rows)
    is_mixed = any(row.data_sha256 not in ("", first) for row in rows)
    return [" ".join(words), *([_OTHER_DATA] if is_mixed else [])]


def latency_cell(row: TableRow, percent: int) -> str:
    """Returns a percentile in milliseconds, and whether it is invalid or partial."""
    marks = [*([] if row.is_valid else ["invalid"]), *(["partial"] if row.is_partial else [])]
    text = format_ms(row.latency[percent].value_ns)
    return f"{text} ({', '.join(marks)})" if marks else text


def _interval_cell(value: Interval | None) -> str:
    return NOT_MEASURED if value is None else format_interval(value)


def _throughput_cell(row: TableRow) -> str:
    return f"{row.throughput_per_s:,.0f}" if row.throughput_per_s >= 10 else f"{row.throughput_per_s:.2f}"


def _energy_cell(row: TableRow) -> str:
    return NOT_MEASURED if row.joules_per_run is None else f"{1e3 * row.joules_per_run:.3g}"


def _difference_cell(row: TableRow) -> str:
    if row.parity is None:
        return NOT_MEASURED
    return "reference" if row.parity.is_reference else f"{row.parity.max_score_difference:.2g}"


def _flips_cell(row: TableRow) -> str:
    return NOT_MEASURED if row.parity is None else f"{row.parity.num_flips} of {row.parity.num_inputs}"


def _optional_columns(rows: Sequence[TableRow]) -> tuple[list[Column], list[Column]]:
    """Returns the columns behind the threads and those behind the memory: each where at least one row fills it."""
    batch = [Column("batch", lambda row: str(row.batch_size))] if any(row.batch_size != 1 for row in rows) else []
    others = []
    if any(row.joules_per_run is not None for row in rows):
        others.append(Column("mJ/run", _energy_cell))
    if any(row.parity for row in rows):
        others += [Column("score difference", _difference_cell), Column("flips", _flips_cell)]
    return batch, others


def table_columns(rows: Sequence[TableRow]) -> list[Column]:
    """Returns the columns of a table for people; batch, energy and parity where at least one row has them.

    Args:
        rows: All rows of the table.
    """
    first = first_data_sha256(rows)
    batch, others = _optional_columns(rows)

    def photos(row: TableRow) -> str:
        if not row.data_sha256:
            return NOT_MEASURED
        return f"{row.num_photos:,}{' ' + OTHER_DATA_MARK if row.data_sha256 != first else ''}"

    return [
        Column("model", lambda row: row.model, is_text=True),
        Column("scheme", lambda row: row.scheme, is_text=True),
        Column("input px", lambda row: str(row.input_size_px)),
        Column("size MB", lambda row: format_megabytes(row.size_bytes)),
        Column("accuracy %", lambda row: _interval_cell(row.accuracy)),
        Column("F1 %", lambda row: _interval_cell(row.f1)),
        Column("target", lambda row: row.target, is_text=True),
        Column("engine", lambda row: row.engine or NOT_MEASURED, is_text=True),
        Column("threads", lambda row: str(row.num_threads)),
        *batch,
        Column("p50 ms", lambda row: latency_cell(row, 50)),
        Column("p90 ms", lambda row: latency_cell(row, 90)),
        Column("p99 ms", lambda row: latency_cell(row, 99)),
        Column("runs/s", _throughput_cell),
        Column(
            "peak MB",
            lambda row: NOT_MEASURED if row.peak_memory_bytes is None else format_megabytes(row.peak_memory_bytes),
        ),
        *others,
        Column("machine", lambda row: row.machine, is_text=True),
        Column("photos", photos),
    ]


def require_rows(rows: Sequence[TableRow]) -> None:
    """Makes sure that there is a table to make.

    Raises:
        UsageError: There is no row.
    """
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
    require_rows(rows)
    columns = table_columns(rows)
    cited, notes = number_notes(rows)
    table = [[column.name for column in columns] + ["notes"]]
    for row, numbers in zip(rows, cited, strict=True):
        cells = [_markdown_cell(column.cell(row)) if column.is_text else column.cell(row) for column in columns]
        table.append([*cells, ", ".join(map(str, numbers))])
    lines = [f"| {' | '.join(cells)} |" for cells in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    for paragraph in explain(rows):
        lines += ["", paragraph]
    lines += ["", *(f"{number}. {_markdown_cell(note)}." for number, note in enumerate(notes, start=1))]
    return "\n".join(lines) + "\n"
