"""The table as a page of its own, with plots: one HTML file that asks no address for anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgegender.reporting import pareto
from edgegender.reporting.histograms import Histogram, histogram_path
from edgegender.reporting.pages import write_page
from edgegender.reporting.tables import (
    Column,
    TableRow,
    clean_text,
    explain,
    first_data_sha256,
    format_megabytes,
    format_ms,
    latency_cell,
    require_rows,
    table_columns,
)

HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 216, 44
_MARKED_PERCENTS = (50, 90)


@dataclass(frozen=True)
class _Cell:
    """A cell of the table; ``link`` is the place in the page that says more."""

    text: str
    link: str = ""


@dataclass(frozen=True)
class _Line:
    number: int
    cells: tuple[_Cell, ...]
    warnings: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class _Chart:
    """A histogram, ready to be drawn."""

    name: str
    number: int
    path: str
    marks: str
    low_ms: str
    high_ms: str
    about: str


@dataclass(frozen=True)
class _Fact:
    """What several rows rest on.

    Args:
        place: Its anchor.
        name: Short.
        about: All of it.
    """

    place: str
    name: str
    about: str


def _facts(
    rows: Sequence[TableRow], letter: str, key: Callable[[TableRow], tuple[str, str]]
) -> tuple[dict[tuple[str, str], str], list[_Fact]]:
    places: dict[tuple[str, str], str] = {}
    for row in rows:
        places.setdefault(key(row), f"{letter}{len(places) + 1}")
    return places, [_Fact(place, clean_text(name), clean_text(about)) for (name, about), place in places.items()]


def _machine_key(row: TableRow) -> tuple[str, str]:
    return row.machine, row.machine_about


def _model_key(row: TableRow) -> tuple[str, str]:
    about = f"{row.architecture}, {row.scheme}, {row.input_size_px} px, {format_megabytes(row.size_bytes)} MB"
    return row.model, f"{about}; file {row.file_name}, sha256 {row.model_sha256}"


def _data_key(row: TableRow) -> tuple[str, str]:
    if not row.data_sha256:
        return "", ""
    return row.data_about, f"sha256 {row.data_sha256}; F1 is that of {row.positive_label}"


def _record_key(row: TableRow) -> tuple[str, str]:
    command = f"; {row.command_line}" if row.command_line else ""
    return row.source, f"measured {row.created} by edgegender {row.edgegender_version}{command}"


_RECORD = Column("record", lambda row: row.source, is_text=True)
_LINKED = {"model": ("o", _model_key), "machine": ("m", _machine_key), "photos": ("d", _data_key)}


def _lines(
    rows: Sequence[TableRow], columns: Sequence[Column], places: dict[str, dict[tuple[str, str], str]]
) -> list[_Line]:
    lines = []
    for number, row in enumerate(rows, start=1):
        cells = []
        for column in columns:
            link = places[column.name].get(_LINKED[column.name][1](row), "") if column.name in _LINKED else ""
            is_empty = column.name == "photos" and not row.data_sha256
            cells.append(_Cell(clean_text(column.cell(row)), "" if is_empty else link))
        cells.append(_Cell(clean_text(row.source), places["record"][_record_key(row)]))
        kind = "invalid" if not row.is_valid else "partial" if row.is_partial else ""
        lines.append(_Line(number, tuple(cells), tuple(map(clean_text, row.warnings)), kind))
    return lines


def _chart(row: TableRow, histogram: Histogram, name: str, number: int) -> _Chart:
    span = max(1, histogram.high_ns - histogram.low_ns)
    marks = []
    for percent in _MARKED_PERCENTS:
        share = (row.latency[percent].value_ns - histogram.low_ns) / span
        marks.append(f"M{round(HISTOGRAM_WIDTH * min(1.0, max(0.0, share)))} 0V{HISTOGRAM_HEIGHT}")
    beyond = f", {histogram.num_beyond:,} not drawn" if histogram.num_beyond else ""
    return _Chart(
        name=name,
        number=number,
        path=histogram_path(histogram, width=HISTOGRAM_WIDTH, height=HISTOGRAM_HEIGHT),
        marks="".join(marks),
        low_ms=format_ms(histogram.low_ns),
        high_ms=format_ms(histogram.high_ns),
        about=f"{row.num_runs:,} runs{beyond}",
    )


@dataclass(frozen=True)
class _Matrix:
    """Latencies of models side by side.

    Args:
        places: Machine, target and engine: the columns.
        lines: Model and configuration → for each place the numbers of the rows and their latencies.
    """

    places: tuple[str, ...]
    lines: tuple[tuple[str, tuple[tuple[tuple[int, str], ...], ...]], ...]


def _matrix(rows: Sequence[TableRow], percent: int) -> _Matrix | None:
    """Returns ``None`` where everything was measured in one place."""
    places = list(dict.fromkeys((row.machine, row.target, row.engine) for row in rows))
    if len(places) < 2:
        return None
    keys = [(row.model, row.scheme, row.num_threads, row.batch_size) for row in rows]
    names = dict(zip(keys, pareto.name_configurations([replace(row, engine="") for row in rows]), strict=True))
    cells: dict[object, list[tuple[int, str]]] = {}
    for number, (row, key) in enumerate(zip(rows, keys, strict=True), start=1):
        cells.setdefault((key, (row.machine, row.target, row.engine)), []).append((number, latency_cell(row, percent)))
    lines = [(name, tuple(tuple(cells.get((key, place), ())) for place in places)) for key, name in names.items()]
    differs = [len({place[part] for place in places}) > 1 for part in range(3)]
    heads = [", ".join(word for word, shown in zip(place, differs, strict=True) if shown) for place in places]
    return _Matrix(tuple(map(clean_text, heads)), tuple(lines))


def _by_place(rows: Sequence[TableRow]) -> dict[str, list[int]]:
    """Returns machine and target → places of their rows."""
    targets = len({row.target for row in rows}) > 1
    groups: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault(clean_text(f"{row.machine}, {row.target}" if targets else row.machine), []).append(place)
    return groups


def _draw(rows: Sequence[TableRow], percent: int) -> tuple[list[pareto.Plot], list[tuple[str, list[_Chart]]]]:
    first = first_data_sha256(rows)
    plots, charts = [], []
    for title, places in _by_place(rows).items():
        chosen, numbers = [rows[place] for place in places], [place + 1 for place in places]
        plot = pareto.make_plot(chosen, numbers, title=title, percent=percent, data_sha256=first)
        if plot is not None:
            plots.append(plot)
        names = pareto.name_configurations(chosen)
        drawn = [
            _chart(row, row.histogram, name, number)
            for row, name, number in zip(chosen, names, numbers, strict=True)
            if row.histogram is not None
        ]
        if drawn:
            charts.append((title, drawn))
    return plots, charts


def write_result_page(path: Path, rows: Sequence[TableRow], *, title: str, percent: int = 90) -> None:
    """Writes the page: a table that sorts by a click, a plot a machine, histograms, and what the figures rest on.

    Args:
        path: Where.
        rows: At least one.
        title: Plain text.
        percent: Of the latency that is plotted against the accuracy: 50, 90, 95 or 99.

    Raises:
        UsageError: There is no row.
        MissingDependencyError: Jinja2 is not installed.
        OutputError: The file cannot be written.
    """
    require_rows(rows)
    columns = table_columns(rows)
    places: dict[str, dict[tuple[str, str], str]] = {}
    facts: dict[str, list[_Fact]] = {}
    for name, (letter, key) in {**_LINKED, "record": ("f", _record_key)}.items():
        places[name], facts[name] = _facts(rows, letter, key)
    plots, charts = _draw(rows, percent)
    values = {
        "title": clean_text(title),
        "counts": [
            (len(facts["record"]), "result"),
            (len(rows), "configuration"),
            (len(facts["model"]), "model"),
            (len({row.machine for row in rows}), "machine"),
        ],
        "num_invalid": sum(not row.is_valid for row in rows),
        "num_partial": sum(row.is_partial for row in rows),
        "references": sorted({clean_text(row.parity.reference) for row in rows if row.parity}),
        "paragraphs": explain(rows),
        "columns": columns,
        "text_columns": [2 + place for place, column in enumerate([*columns, _RECORD]) if column.is_text],
        "lines": _lines(rows, columns, places),
        "plots": plots,
        "matrix": _matrix(rows, percent),
        "percent": percent,
        "plot_box": (pareto.LEFT, pareto.TOP, pareto.RIGHT, pareto.BOTTOM, pareto.WIDTH, pareto.HEIGHT),
        "megabytes": format_megabytes,
        "charts": charts,
        "chart_size": (HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT),
        "sections": [
            ("Machines", facts["machine"]),
            ("Models", facts["model"]),
            ("Photos", [fact for fact in facts["photos"] if fact.name]),
            ("Records", facts["record"]),
        ],
    }
    write_page(path, "result_page.html", values, script="result_page.js")
