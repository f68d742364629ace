"""Figures as PNG and SVG: training curves (Hamza's figure 7, Tareq's 3, 5, 7, 9) and confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgegender import files
from edgegender.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _SECOND = "#1b4f72", "#c0392b"  # dark blue and red: told apart in grey print too


def _new_figure(columns: int, width_inches: float, height_inches: float) -> tuple[Figure, Sequence[object]]:
    try:
        from matplotlib.figure import Figure  # the object interface: no window system, no global state
    except ImportError as error:
        raise MissingDependencyError("matplotlib", extra="report") from error
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def _save(figure: Figure, path: Path) -> list[Path]:
    written = []
    for suffix in (".png", ".svg"):
        target = path.with_suffix(suffix)
        with files.replacing(target) as temporary:
            # Without a date the same figure gives the same bytes
            figure.savefig(temporary, format=suffix[1:], dpi=120, metadata={"Date": None} if suffix == ".svg" else {})
        written.append(target)
    return written


def draw_curves(history: Sequence[Mapping[str, float]], path: Path, *, title: str = "") -> list[Path]:
    """Draws loss, accuracy, F1 and learning rate over the epochs, and returns the files written.

    Args:
        history: One mapping an epoch, with the fields of ``history.csv``.
        path: Where; the ending is replaced by ``.png`` and ``.svg``.
        title: Above the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    figure, axes = _new_figure(4, 15, 3.4)
    epochs = [int(record["epoch"]) for record in history]
    panels = (
        ("loss", ("train_loss", "val_loss")),
        ("accuracy", ("train_accuracy", "val_accuracy")),
        ("F1", ("val_f1",)),
        ("learning rate", ("learning_rate",)),
    )
    for axis, (name, columns) in zip(axes, panels, strict=True):
        for column in columns:
            is_train = column.startswith("train")
            axis.plot(  # type: ignore[attr-defined] # matplotlib is untyped here
                epochs,
                [record[column] for record in history],
                color=_INK if is_train else _SECOND,
                marker="o",
                markersize=3,
                linestyle="--" if is_train else "-",
                label="train" if is_train else "validation",
            )
        axis.set(title=name, xlabel="epoch")  # type: ignore[attr-defined]
        axis.grid(alpha=0.3)  # type: ignore[attr-defined]
        if len(columns) > 1:
            axis.legend(frameon=False)  # type: ignore[attr-defined]
    if title:
        figure.suptitle(title)
    return _save(figure, path)


def draw_confusion(
    confusion: Sequence[Sequence[int]], labels: Sequence[str], path: Path, *, title: str = ""
) -> list[Path]:
    """Draws a confusion matrix with counts and row percentages, and returns the files written.

    Args:
        confusion: Rows annotated, columns predicted.
        labels: Names in the same order.
        path: Where; the ending is replaced by ``.png`` and ``.svg``.
        title: Above the figure.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    figure, axes = _new_figure(1, 1.6 + 1.1 * len(labels), 1.5 + 1.0 * len(labels))
    axis = axes[0]
    counts = np.asarray(confusion, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)  # type: ignore[attr-defined]
    for row in range(len(labels)):
        for column in range(len(labels)):
            axis.text(  # type: ignore[attr-defined]
                column,
                row,
                f"{int(counts[row, column])}\n{100 * shares[row, column]:.1f} %",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    axis.set(  # type: ignore[attr-defined]
        xticks=range(len(labels)),
        yticks=range(len(labels)),
        xticklabels=labels,
        yticklabels=labels,
        xlabel="predicted",
        ylabel="annotated",
        title=title,
    )
    return _save(figure, path)
