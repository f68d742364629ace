"""Bars of how many photos there are: by label (Hamza's figure 4), by split and label (Tareq's figure 1), by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.reporting.counting import Counts, simplify, simplify_labels
from edgegender.reporting.drawing import (
    OTHERS_COLOR,
    TITLE_PT,
    Look,
    count_letters,
    figure_style,
    fit_text,
    look_of_labels,
    new_figure,
    save_figure,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

_NAME_WIDTH = 24
# Bars stand while their names and counts have room beside each other; else they lie, one below the other
_STANDING_PX = 1100
_LYING_BAR_PX = 27
_LYING_BARS_PX = 430  # what long names leave of the figure's width, at least
_COUNT_LETTER_PX = 9
_NAME_LETTER_PX = 10
_AXIS_PX = 120  # left of standing bars: numbers and a name
_GAP_BARS = 0.4  # between two groups of bars, in bars
_MARGIN = 0.15  # beside the outer groups, in groups


@dataclass(frozen=True)
class _Series:
    """Bars of one colour key: a name for the legend, and a count, a text and a look for each place on the axis."""

    name: str
    counts: Sequence[int]
    texts: Sequence[str]
    looks: Sequence[Look]


def _longest_line(series: Sequence[_Series]) -> int:
    return max(len(line) for one in series for text in one.texts for line in text.split("\n"))


def _draw_series(axis: Axes, names: Sequence[str], series: Sequence[_Series], *, stands: bool, axis_name: str) -> None:
    thickness = 1 / (len(series) + _GAP_BARS)
    for number, one in enumerate(series):
        offset = (number - (len(series) - 1) / 2) * thickness
        container = (axis.bar if stands else axis.barh)(
            [place + offset for place in range(len(names))],
            one.counts,
            thickness,
            color=[look.color for look in one.looks],
            hatch=[look.hatch for look in one.looks],
            edgecolor="black",
            linewidth=0.6,
            label=one.name,
        )
        axis.bar_label(container, labels=one.texts, padding=3, fontsize=8)
    value_axis, count_axis = (axis.xaxis, axis.yaxis) if stands else (axis.yaxis, axis.xaxis)
    value_axis.set_ticks(range(len(names)), labels=[shorten(name, _NAME_WIDTH) for name in names])
    value_axis.set_label_text(shorten(axis_name, _NAME_WIDTH))
    highest = max(1, *(count for one in series for count in one.counts))
    low, high = -0.5 - _MARGIN, len(names) - 0.5 + _MARGIN
    if stands:
        axis.set(xlim=(low, high), ylim=(0, 1.15 * highest))  # room for the counts at the bars' ends
    else:
        text_share = min(0.5, _COUNT_LETTER_PX * _longest_line(series) / _LYING_BARS_PX)
        axis.set(ylim=(high, low), xlim=(0, 1.05 * highest / (1 - text_share)))
    _count_photos(axis, count_axis, num_ticks=6 if stands else 3)


def _count_photos(axis: Axes, count_axis: Axis, *, num_ticks: int) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    count_axis.set_label_text("photos")
    count_axis.set_major_locator(MaxNLocator(nbins=num_ticks, integer=True))
    count_axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    count_axis.grid(alpha=0.3)
    axis.set_axisbelow(True)


def _standing_px(names: Sequence[str], series: Sequence[_Series]) -> float:
    """Returns the width with which neither the counts nor the names of standing bars touch each other."""
    counts_px = (len(series) + _GAP_BARS) * (_COUNT_LETTER_PX * _longest_line(series) + 8)
    name_px = 12 + _NAME_LETTER_PX * max(count_letters(shorten(name, _NAME_WIDTH)) for name in names)
    return _AXIS_PX + max(counts_px, name_px) * (len(names) + 2 * _MARGIN)


def _size_px(names: Sequence[str], series: Sequence[_Series]) -> tuple[float, float]:
    width = _standing_px(names, series)
    if width <= _STANDING_PX:
        return max(560, width), 460
    return 840, 170 + _LYING_BAR_PX * (len(series) + _GAP_BARS) * (len(names) + 2 * _MARGIN)


def _label_series(counts: Mapping[str, int], looks: Mapping[str, Look], *, between: str) -> _Series:
    total = max(1, sum(counts.values()))
    texts = [f"{count:,}{between}{100 * count / total:.1f} %" for count in counts.values()]
    return _Series("", list(counts.values()), texts, [looks.get(label, Look(OTHERS_COLOR)) for label in counts])


def draw_label_bars(axis: Axes, counts: Mapping[str, int], looks: Mapping[str, Look], *, width_px: float) -> None:
    """Draws one bar a label, with its count and its share of all photos.

    Args:
        axis: matplotlib's axes, inside of ``drawing.figure_style()``.
        counts: Label → number of photos, as :func:`~edgegender.reporting.counting.simplify_labels` gives them.
        looks: Of the labels; any other name is grey.
        width_px: Room for the axes with their names: the bars lie when it is too little for standing ones.
    """
    series = _label_series(counts, looks, between="\n")
    stands = _standing_px(list(counts), [series]) <= width_px
    if not stands:
        series = _label_series(counts, looks, between="  ")
    _draw_series(axis, list(counts), [series], stands=stands, axis_name="annotated label")


def draw_class_distribution(counts: Mapping[str, int], path: Path, *, title: str) -> list[Path]:
    """Draws the number of photos by label (Hamza's figure 4), and returns the files written.

    Args:
        counts: Label → number of photos.
        path: Where; ``.png`` and ``.svg`` are added.
        title: Above the bars.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    drawn = simplify_labels(counts)
    looks = look_of_labels([label for label in drawn if label in counts])
    size_px = _size_px(list(drawn), [_label_series(drawn, looks, between="\n")])
    with figure_style():
        figure = new_figure(*size_px, layout_rect=(0, 0, 1, 1))
        draw_label_bars(figure.subplots(), drawn, looks, width_px=_STANDING_PX)
        figure.suptitle(fit_text(title, 0.95 * size_px[0], size_pt=TITLE_PT), fontsize=TITLE_PT)
        return save_figure(figure, path, title=title)


def draw_distribution(counts: Counts, path: Path, *, group_name: str, title: str) -> list[Path]:
    """Draws the number of photos by group and label (Tareq's figure 1, by split), and returns the files written.

    Args:
        counts: Value of the group → label → number of photos, in the order of the axis. Rare values and labels are
            put together: see :func:`~edgegender.reporting.counting.simplify`.
        path: Where; ``.png`` and ``.svg`` are added.
        group_name: What the values are, such as ``split``.
        title: Above the bars.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    drawn = simplify(counts)
    labels = list(next(iter(drawn.values()), {}))
    looks = look_of_labels([label for label in labels if any(label in row for row in counts.values())])
    series = [
        _Series(
            name=shorten(label, _NAME_WIDTH),
            counts=[row[label] for row in drawn.values()],
            texts=[f"{row[label]:,}" for row in drawn.values()],
            looks=[looks.get(label, Look(OTHERS_COLOR))] * len(drawn),
        )
        for label in labels
    ]
    names = list(drawn)
    size_px = _size_px(names, series)
    with figure_style():
        figure = new_figure(*size_px, layout_rect=(0, 0, 1, 1))
        stands = _standing_px(names, series) <= _STANDING_PX
        _draw_series(figure.subplots(), names, series, stands=stands, axis_name=group_name)
        figure.suptitle(fit_text(title, 0.95 * size_px[0], size_pt=TITLE_PT), fontsize=TITLE_PT)
        figure.legend(
            loc="outside lower center", ncols=min(4, len(labels)), frameon=False, title="annotated label", fontsize=9
        )
        return save_figure(figure, path, title=title)
