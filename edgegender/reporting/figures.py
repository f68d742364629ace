"""Figures of a run: training curves (Hamza's figure 7, Tareq's 3, 5, 7, 9), threshold sweep (Hamza's 8), confusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgegender.entities import FloatArray
from edgegender.errors import DataError
from edgegender.metrics import ThresholdSweep
from edgegender.reporting.drawing import TITLE_PT, figure_style, fit_text, new_figure, save_figure, shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito; the line's pattern tells them apart on grey paper. Source: https://jfly.uni-koeln.de/color/
_BLUE, _VERMILION, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#555555"
_COLORS = {"train": _BLUE, "validation": _VERMILION, "learning rate": _GREY}
_MARK: Mapping[str, Any] = {
    "linestyle": "",
    "marker": "D",
    "markersize": 9,
    "markerfacecolor": "white",
    "markeredgewidth": 2,
}
_CURVES_PX = (1200, 800)
_THRESHOLDS_PX = (840, 520)
_MOST_MARKERS = 30  # epochs; more of them would hide the line
_PANELS = (
    ("loss", ("train_loss", "val_loss")),
    ("accuracy", ("train_accuracy", "val_accuracy")),
    ("F1", ("train_f1", "val_f1")),
    ("learning rate", ("learning_rate",)),
)
_LABEL_WIDTH = 16
_CELL_PX = 130


def _values(history: Sequence[Mapping[str, float | None]], column: str) -> FloatArray:
    """Returns a column with NaN, which matplotlib leaves out, where a record has no value."""
    found = [record.get(column) for record in history]
    return np.array([math.nan if value is None else value for value in found], np.float64)


def _draw_line(axis: Axes, epochs: FloatArray, values: FloatArray, *, look: str, name: str) -> None:
    if not np.isfinite(values).any():
        return
    marker = "o" if len(epochs) <= _MOST_MARKERS else ""
    axis.plot(epochs, values, look, color=_COLORS[name], linewidth=1.6, marker=marker, markersize=4, label=name)


def _number_epochs(axis: Axes, epochs: FloatArray) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
    axis.set_xlabel("epoch")


def _scale_rate(axis: Axes, rates: FloatArray) -> None:
    """Makes the axis of the learning rate logarithmic where it spans more than a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    known = rates[np.isfinite(rates)]
    if len(known) and known.min() > 0 and known.max() > 10 * known.min():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if known.max() < 100 * known.min() else (1,)))
        axis.yaxis.set_minor_formatter(NullFormatter())
    else:
        axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.3g}"))


def _mark_kept(axis: Axes, epochs: FloatArray, values: FloatArray, best_epoch: int) -> None:
    kept = (epochs == best_epoch) & np.isfinite(values)
    if kept.any():
        axis.plot(epochs[kept], values[kept], **_MARK, markeredgecolor=_COLORS["validation"], label="kept epoch")


def _draw_panel(
    axis: Axes, history: Sequence[Mapping[str, float | None]], name: str, columns: Sequence[str], *, best_epoch: int
) -> None:
    epochs = _values(history, "epoch")
    if len(columns) == 1:
        rates = _values(history, columns[0])
        _draw_line(axis, epochs, rates, look="-", name="learning rate")
        _scale_rate(axis, rates)
    else:
        train, validation = (_values(history, column) for column in columns)
        _draw_line(axis, epochs, train, look="--", name="train")
        _draw_line(axis, epochs, validation, look="-", name="validation")
        _mark_kept(axis, epochs, validation, best_epoch)
    _number_epochs(axis, epochs)
    axis.set_title(name)
    axis.grid(alpha=0.3)


def _add_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    named: dict[str, Artist] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            if name != "learning rate":  # it has a panel of its own, with its name above
                named.setdefault(name, handle)
    figure.legend(list(named.values()), list(named), loc="outside lower center", ncols=4, frameon=False)


def _add_title(figure: Figure, title: str, width_px: float) -> None:
    if title:
        figure.suptitle(fit_text(title, 0.95 * width_px, size_pt=TITLE_PT), fontsize=TITLE_PT)


def draw_curves(
    history: Sequence[Mapping[str, float | None]],
    path: Path,
    *,
    title: str = "",
    unfrozen_after: int = 0,
    best_epoch: int = 0,
) -> list[Path]:
    """Draws loss, accuracy, F1 and learning rate over the epochs, and returns the files written.

    Args:
        history: One mapping an epoch, with the fields of ``history.csv``; what is missing, ``None`` or NaN is left
            out.
        path: Where; ``.png`` and ``.svg`` are added.
        title: Above the figure.
        unfrozen_after: Epochs with a frozen base; a line is drawn behind them. 0 draws none.
        best_epoch: The epoch whose weights were kept; it is marked. 0 marks none.

    Raises:
        DataError: There is no epoch.
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.

    Source: Hamza 2025, figure 7; Tareq 2025, figures 3, 5, 7, 9.
    """
    if not history:
        raise DataError("Expected a finished epoch to draw, got none.", hint="Wait until the first epoch ends.")
    with figure_style():
        figure = new_figure(*_CURVES_PX, layout_rect=(0, 0, 1, 1))
        axes = list(figure.subplots(2, 2).flat)
        is_line_needed = 0 < unfrozen_after < _values(history, "epoch").max()
        for axis, (name, columns) in zip(axes, _PANELS, strict=True):
            _draw_panel(axis, history, name, columns, best_epoch=best_epoch)
            if is_line_needed:
                axis.axvline(unfrozen_after + 0.5, color=_GREY, linewidth=1, linestyle=":", label="base unfrozen")
        _add_legend(figure, axes)
        _add_title(figure, title, _CURVES_PX[0])
        return save_figure(figure, path, title=title)


def draw_thresholds(sweep: ThresholdSweep, path: Path, *, chosen: float, title: str = "") -> list[Path]:
    """Draws F1, precision and recall of the positive label against the threshold, and returns the files written.

    Args:
        sweep: As :func:`edgegender.metrics.sweep_thresholds` gives it.
        path: Where; ``.png`` and ``.svg`` are added.
        chosen: The threshold in use, which is marked.
        title: Above the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.

    Source: Hamza 2025, figure 8.
    """
    f1 = float(np.interp(chosen, sweep.threshold, sweep.f1))
    with figure_style():
        figure = new_figure(*_THRESHOLDS_PX, layout_rect=(0, 0, 1, 1))
        axis = figure.subplots()
        # above the highest score nothing is positive: precision has no meaning, which is no fall to zero
        precision = np.where(sweep.f1 > 0, sweep.precision, math.nan)
        axis.plot(sweep.threshold, precision, color=_VERMILION, linestyle="--", label="precision")
        axis.plot(sweep.threshold, sweep.recall, color=_GREEN, linestyle=":", linewidth=2, label="recall")
        axis.plot(sweep.threshold, sweep.f1, color=_BLUE, linewidth=2, label="F1")
        axis.axvline(chosen, color=_GREY, linewidth=1)
        name = f"chosen: {chosen:.3f}, F1 {f1:.4f}"
        axis.plot([chosen], [f1], **_MARK, markeredgecolor=_BLUE, label=name)
        axis.set(xlabel="threshold", xlim=(0, 1), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        _add_title(figure, title, _THRESHOLDS_PX[0])
        return save_figure(figure, path, title=title)


def _name_cells(axis: Axis, name: str, labels: Sequence[str]) -> None:
    axis.set_ticks(range(len(labels)), labels=[shorten(label, _LABEL_WIDTH) for label in labels])
    axis.set_label_text(name)


def draw_confusion(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path, *, title: str = ""
) -> list[Path]:
    """Draws a confusion matrix with counts and row percentages, and returns the files written.

    Args:
        confusion: Rows annotated, columns predicted.
        labels: Names in the same order.
        path: Where; ``.png`` and ``.svg`` are added.
        title: Above the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.

    Source: Tareq 2025, figures 4, 6, 8, 10.
    """
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    width_px = 220 + _CELL_PX * len(labels)
    with figure_style():
        figure = new_figure(width_px, width_px - 60, layout_rect=(0, 0, 1, 1))
        axis = figure.subplots()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            text = f"{counts[row, column]:,.0f}\n{100 * share:.1f} %"
            axis.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
        _name_cells(axis.xaxis, "predicted label", labels)
        _name_cells(axis.yaxis, "annotated label", labels)
        axis.spines[:].set_visible(True)
        _add_title(figure, title, width_px)
        return save_figure(figure, path, title=title)
