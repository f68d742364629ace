"""The table of one network in every scheme: size, accuracy, flips and latency side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgegender.metrics import Interval, interval_to_json
from edgegender.reporting.evaluation import format_interval

SCHEMES_SCHEMA = "edgegender.schemes/1"
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


def _signed(interval: Interval) -> str:
    value, low, high = (100 * number + 0.0 for number in (interval.value, interval.low, interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _cells(row: SchemeRow) -> list[str]:
    if (
        row.size_bytes is None
        or row.compressed_bytes is None
        or row.accuracy is None
        or row.difference is None
        or row.flip_rate is None
    ):
        return [row.mark, row.name, *[""] * (len(_HEADER) - 2)]
    return [
        row.mark,
        row.name,
        f"{row.size_bytes / 1e6:.2f}",
        f"{row.compressed_bytes / 1e6:.2f}",
        format_interval(row.accuracy),
        _signed(row.difference),
        f"{100 * row.flip_rate.value:.2f}",
        f"{row.max_score_change:.3f}",
        f"{row.p50_ms:.3f}",
        f"{row.p90_ms:.3f}",
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
    lines += [f"- {row.mark} {row.name}: {row.problem}." for row in rows if row.problem]
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
        for name in ("accuracy", "difference", "flip_rate"):
            interval = getattr(row, name)
            found[name] = interval_to_json(interval) if interval is not None else None
        return found

    return {"schema": SCHEMES_SCHEMA, **about, "rows": [values(row) for row in rows], "gates": dict(gates)}
