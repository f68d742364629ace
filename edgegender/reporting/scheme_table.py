"""The table of one network in every scheme: size, accuracy, flips and latency side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgegender.errors import ResultFileError
from edgegender.metrics import Interval, interval_to_json
from edgegender.reporting.evaluation import format_change, format_interval

SCHEMES_SCHEMA = "edgegender.schemes/1"
_INTERVALS = ("accuracy", "difference", "flip_rate")
_HEADER = (
    "",
    "scheme",
    "size MB",
    "gzip MB",
    "accuracy %",
    "change, points",
    "flips %",
    "largest score change",
    "p50 ms",
    "p90 ms",
)


@dataclass(frozen=True)
class SchemeRow:
    """One file of the table. Fields without a meaning for what failed are ``None``.

    Args:
        name: Scheme and variant.
        mark: ✅ passed, ❎ converted but refused, ❌ failed.
        size_bytes: Of the file without metadata.
        compressed_bytes: After gzip -9.
        accuracy: On the evaluation photos.
        difference: Accuracy less that of the float network, paired.
        flips: Photos whose answer changed.
        flip_rate: Their share.
        max_score_change: Largest change of a score.
        p50_ms: Median latency.
        p90_ms: Latency that nine of ten runs stay below.
        problem: Why it was refused or failed.
    """

    name: str
    mark: str
    size_bytes: int | None = None
    compressed_bytes: int | None = None
    accuracy: Interval | None = None
    difference: Interval | None = None
    flips: int | None = None
    flip_rate: Interval | None = None
    max_score_change: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    problem: str = ""


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _megabytes(size_bytes: int | None) -> str:
    return _number(None if size_bytes is None else size_bytes / 1e6, 2)


def _cells(row: SchemeRow) -> list[str]:
    return [
        row.mark,
        row.name,
        _megabytes(row.size_bytes),
        _megabytes(row.compressed_bytes),
        "" if row.accuracy is None else format_interval(row.accuracy),
        "" if row.difference is None else format_change(row.difference),
        "" if row.flip_rate is None else f"{100 * row.flip_rate.value:.2f}",
        _number(row.max_score_change, 3),
        _number(row.p50_ms, 3),
        _number(row.p90_ms, 3),
    ]


def format_schemes(rows: Sequence[SchemeRow], about: Mapping[str, object]) -> str:
    """Returns the table in Markdown, with what the marks mean and why something was refused.

    Args:
        rows: One a file.
        about: ``network``, ``input_size_px``, ``num_photos``, ``split``, ``num_representative``, ``num_threads``.
    """
    lines = [
        f"{about['network']} at {about['input_size_px']} px, {about['num_photos']} photos of split {about['split']}, "
        f"calibrated on {about['num_representative']}; 95 % intervals in brackets, changes paired with the float "
        f"network; latency on {about['num_threads']} thread, by turns.",
        "",
        "| " + " | ".join(_HEADER) + " |",
        "|" + "---|" * len(_HEADER),
    ]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    lines += ["", "✅ passed the gate · ❎ converted but refused · ❌ failed. 1 MB = 1,000,000 bytes.", ""]
    lines += [f"- {row.mark} {row.name}: {row.problem.rstrip('.')}." for row in rows if row.problem]
    return "\n".join(lines).rstrip() + "\n"


def schemes_to_json(
    rows: Sequence[SchemeRow], about: Mapping[str, object], gates: Mapping[str, object]
) -> dict[str, object]:
    """Returns the table as it is recorded.

    Args:
        rows: One a file.
        about: What it is about: network, data, machine, versions.
        gates: Each file's whole report, by name.
    """

    def values(row: SchemeRow) -> dict[str, object]:
        found = dict(vars(row))
        for name in _INTERVALS:
            interval = getattr(row, name)
            found[name] = interval_to_json(interval) if interval is not None else None
        return found

    return {"schema": SCHEMES_SCHEMA, **about, "rows": [values(row) for row in rows], "gates": dict(gates)}


def rows_from_json(record: Mapping[str, object]) -> list[SchemeRow]:
    """Returns the rows of a recorded table.

    Args:
        record: From :func:`schemes_to_json`, as it was read from a file.

    Raises:
        ResultFileError: It is no such record.
    """
    rows = record.get("rows")
    if record.get("schema") != SCHEMES_SCHEMA or not isinstance(rows, list):
        raise ResultFileError(
            f"Expected a record of schema {SCHEMES_SCHEMA}, got {record.get('schema')!r}.",
            hint="Make one with: edgegender convert RUN --scheme all",
        )

    def row(values: Mapping[str, object]) -> SchemeRow:
        intervals = {
            name: None if values[name] is None else Interval(**values[name])  # type: ignore[arg-type]
            for name in _INTERVALS
        }
        return SchemeRow(**{**values, **intervals})  # type: ignore[arg-type]

    return [row(values) for values in rows]
