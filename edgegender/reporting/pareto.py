"""Accuracy against latency: which configurations are beaten by no other, and where everything stands in the plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgegender.metrics import Interval
from edgegender.reporting.plot_labels import Placed, place_labels
from edgegender.reporting.tables import TableRow, clean_text, format_ms

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 52, 628, 14, 352
_LARGEST_RADIUS, _SMALLEST_RADIUS = 15.0, 2.5
_LOG_FROM = 4.0  # slowest by fastest from which on the axis is logarithmic
_PADDING = 0.07


@dataclass(frozen=True)
class Tick:
    """A mark of an axis."""

    place: float
    text: str


@dataclass(frozen=True)
class Point:
    """A configuration in the plot; lengths in units of the drawing.

    Args:
        x: Of its latency.
        y: Of its accuracy.
        radius: Its disc's area is the file's size.
        x_low: Left end of the latency's interval.
        x_high: Right end.
        y_low: Lower end of the accuracy's interval: the greater number.
        y_high: Upper end.
        kind: ``front``, ``beaten``, ``other`` (measured on other photos) or ``invalid``.
        title: All of it in words.
        number: Of its row in the table, from 1.
    """

    x: float
    y: float
    radius: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    kind: str
    title: str
    number: int


@dataclass(frozen=True)
class Plot:
    """A plot of one machine, ready to be drawn.

    Args:
        title: Machine and target.
        percent: Of the latency: 50, 90, …
        is_log: Whether the latency's axis is logarithmic.
        x_ticks: Milliseconds.
        y_ticks: Percent.
        points: Front last, so that it lies on top.
        labels: Names of points, none on another; a point without room has none, but its title.
        front: Points of the front's line: "x,y x,y …".
        largest_bytes: The file with the largest disc.
        num_unlabelled: Points without a name.
    """

    title: str
    percent: int
    is_log: bool
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    labels: tuple[Placed, ...]
    front: str
    largest_bytes: int
    num_unlabelled: int


def pareto_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Returns, for each (latency, accuracy), whether no other is as fast and as accurate and better in one of both.

    Example:
        >>> pareto_front([(1.0, 0.90), (2.0, 0.95), (3.0, 0.94), (2.0, 0.95)])
        [True, True, False, True]
    """
    order = sorted(range(len(points)), key=lambda place: (points[place][0], -points[place][1]))
    is_front = [False] * len(points)
    best, best_latency = -math.inf, -math.inf
    for place in order:
        latency, accuracy = points[place]
        is_front[place] = accuracy > best or (accuracy == best and latency == best_latency)
        if accuracy > best:
            best, best_latency = accuracy, latency
    return is_front


def nice_ticks(low: float, high: float, *, about: int = 6) -> list[float]:
    """Returns round numbers within a range: steps of 1, 2 or 5 times a power of ten.

    Example:
        >>> nice_ticks(0.3, 2.2, about=4)
        [0.5, 1.0, 1.5, 2.0]
    """
    rough = max((high - low) / about, 1e-12)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Returns 1, 2 and 5 times the powers of ten within a range; the powers alone over more than three decades.

    Example:
        >>> log_ticks(0.4, 12)
        [0.5, 1.0, 2.0, 5.0, 10.0]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if high / low < 1000 else (1,)
    marks = [round(factor * 10.0**power, 12) for power in powers for factor in factors]
    return [mark for mark in marks if low <= mark <= high]


@dataclass(frozen=True)
class _Axis:
    """From values to places."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return round(self.start + (self.end - self.start) * (at - low) / (high - low), 1)


def _latency_axis(values: Sequence[float]) -> _Axis:
    low, high = min(values), max(values)
    if high / low >= _LOG_FROM:
        stretch = (high / low) ** _PADDING
        return _Axis(low / stretch, high * stretch, LEFT, RIGHT, is_log=True)
    span = max(high - low, 0.1 * high)
    return _Axis(max(0.0, low - _PADDING * span), high + _PADDING * span, LEFT, RIGHT)


def _accuracy_axis(intervals: Sequence[Interval]) -> _Axis:
    low, high = min(one.low for one in intervals), max(one.high for one in intervals)
    span = max(high - low, 0.005)
    return _Axis(low - _PADDING * span, min(1.0, high + _PADDING * span), BOTTOM, TOP)


def name_configurations(rows: Sequence[TableRow]) -> list[str]:
    """Returns the shortest names that tell the rows apart: the model, and what else differs among them."""
    several = {
        "scheme": len({row.scheme for row in rows}) > 1,
        "engine": len({row.engine for row in rows}) > 1,
        "threads": len({row.num_threads for row in rows}) > 1,
        "batch": len({row.batch_size for row in rows}) > 1,
    }
    names = []
    for row in rows:
        parts = [row.model]
        if several["scheme"] and row.scheme not in row.model:
            parts.append(row.scheme)
        if several["engine"]:
            parts.append(row.engine)
        if several["threads"]:
            parts.append(f"{row.num_threads} thread{'s' if row.num_threads != 1 else ''}")
        if several["batch"]:
            parts.append(f"batch {row.batch_size}")
        names.append(clean_text(", ".join(parts)))
    return names


def _classify(rows: Sequence[TableRow], percent: int, data_sha256: str) -> list[str]:
    kinds = ["invalid" if not row.is_valid else "other" if row.data_sha256 != data_sha256 else "" for row in rows]
    judged = [place for place, kind in enumerate(kinds) if not kind]
    figures = [(rows[place].latency[percent].value_ns, _accuracy(rows[place])) for place in judged]
    for place, is_front in zip(judged, pareto_front(figures), strict=True):
        kinds[place] = "front" if is_front else "beaten"
    return kinds


def _accuracy(row: TableRow) -> float:
    return row.accuracy.value if row.accuracy else math.nan


def _ends(row: TableRow, percent: int) -> tuple[float, float]:
    figure = row.latency[percent]
    low = figure.value_ns if figure.low_ns is None else figure.low_ns
    high = figure.value_ns if figure.high_ns is None else figure.high_ns
    return low / 1e6, high / 1e6


def make_plot(
    rows: Sequence[TableRow], numbers: Sequence[int], *, title: str, percent: int, data_sha256: str
) -> Plot | None:
    """Returns the plot of configurations with an accuracy; ``None`` where there is none.

    Args:
        rows: Of one machine.
        numbers: Of the rows in the table, from 1.
        title: Of the plot.
        percent: Of the latency to plot.
        data_sha256: The data that the table's accuracies are held against; others take no part in the front.
    """
    drawn = [(row, number, row.accuracy) for row, number in zip(rows, numbers, strict=True) if row.accuracy]
    if not drawn:
        return None
    kept = [row for row, _, _ in drawn]
    ends = [_ends(row, percent) for row in kept]
    x_axis = _latency_axis([value for pair in ends for value in pair])
    y_axis = _accuracy_axis([accuracy for _, _, accuracy in drawn])
    largest = max(row.size_bytes for row in kept)
    names = name_configurations(kept)
    kinds = _classify(kept, percent, data_sha256)
    points = []
    for (row, number, accuracy), name, kind, (low, high) in zip(drawn, names, kinds, ends, strict=True):
        latency_ns = row.latency[percent].value_ns
        points.append(
            Point(
                x=x_axis.place(latency_ns / 1e6),
                y=y_axis.place(accuracy.value),
                radius=round(max(_SMALLEST_RADIUS, _LARGEST_RADIUS * math.sqrt(row.size_bytes / largest)), 1),
                x_low=x_axis.place(low),
                x_high=x_axis.place(high),
                y_low=y_axis.place(accuracy.low),
                y_high=y_axis.place(accuracy.high),
                kind=kind,
                title=f"{name}: {100 * accuracy.value:.2f} %, p{percent} {format_ms(latency_ns)} ms",
                number=number,
            )
        )
    return _assemble(points, names, x_axis, y_axis, title=title, percent=percent, largest_bytes=largest)


def _assemble(
    points: list[Point], names: list[str], x_axis: _Axis, y_axis: _Axis, *, title: str, percent: int, largest_bytes: int
) -> Plot:
    order = sorted(range(len(points)), key=lambda place: (points[place].kind != "front", points[place].x))
    front = sorted((point.x, point.y) for point in points if point.kind == "front")
    labels = place_labels(
        [(points[place].x, points[place].y, points[place].radius, names[place]) for place in order],
        box=(LEFT, TOP, RIGHT, BOTTOM),
        lines=[front, *([(point.x, point.y_low), (point.x, point.y_high)] for point in points)],
    )
    x_values = log_ticks(x_axis.low, x_axis.high) if x_axis.is_log else nice_ticks(x_axis.low, x_axis.high)
    return Plot(
        title=title,
        percent=percent,
        is_log=x_axis.is_log,
        x_ticks=tuple(Tick(x_axis.place(value), f"{value:g}") for value in x_values),
        y_ticks=tuple(
            Tick(y_axis.place(value / 100), f"{value:g}") for value in nice_ticks(100 * y_axis.low, 100 * y_axis.high)
        ),
        points=tuple(points[place] for place in reversed(order)),
        labels=tuple(labels),
        front=" ".join(f"{x:g},{y:g}" for x, y in front),
        largest_bytes=largest_bytes,
        num_unlabelled=len(points) - len(labels),
    )
