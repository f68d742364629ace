"""Curves, threshold sweeps and confusion matrices show what they are given, and are the same bytes each time."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb

from edgegender.errors import DataError, MissingDependencyError, OutputError
from edgegender.metrics import sweep_thresholds
from edgegender.reporting import figures
from edgegender.reporting.drawing import figure_style
from edgegender.reporting.figures import draw_confusion, draw_curves, draw_thresholds
from tests.reporting.test_drawing import luminance

PANELS = ["loss", "accuracy", "F1", "learning rate"]


@pytest.fixture
def saved(monkeypatch):
    """The figures as they are drawn, to look into. Writing them takes half a second each, and has tests of its own."""
    kept = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, *_, **__: kept.append(figure))
    return kept


def record(epoch, **changes):
    """One epoch; each column has values of its own."""
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 0.4 / epoch,
        "train_f1": 1 - 0.3 / epoch,
        "val_loss": 1.1 / epoch,
        "val_accuracy": 0.95 - 0.4 / epoch,
        "val_f1": 0.96 - 0.3 / epoch,
        "learning_rate": 1e-4,
        "images_per_second": 100.0,
        "seconds": 10.0,
        **changes,
    }


def history(num_epochs, **changes):
    return [record(epoch, **changes) for epoch in range(1, num_epochs + 1)]


def lines_of(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def legend_of(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn_ticks(axis):
    low, high = sorted(axis.get_view_interval())
    return [tick for tick in axis.get_majorticklocs() if low <= tick <= high]


# Curves


def test_four_panels_show_the_columns_of_the_history(saved, tmp_path):
    draw_curves(history(3), tmp_path / "curves", title="edge")
    assert [axis.get_title() for axis in saved[0].axes] == PANELS
    for axis, name in zip(saved[0].axes[:3], ("loss", "accuracy", "f1"), strict=True):
        for label, prefix in (("train", "train"), ("validation", "val")):
            line = lines_of(axis)[label]
            assert line.get_xdata().tolist() == [1, 2, 3]
            assert line.get_ydata().tolist() == [row[f"{prefix}_{name}"] for row in history(3)]
    assert lines_of(saved[0].axes[3])["learning rate"].get_ydata().tolist() == [1e-4] * 3
    assert saved[0].get_suptitle() == "edge"
    assert legend_of(saved[0]) == ["train", "validation"]


def test_train_and_validation_differ_in_colour_and_pattern(saved, tmp_path):
    draw_curves(history(3), tmp_path / "curves")
    lines = lines_of(saved[0].axes[0])
    train, validation = lines["train"], lines["validation"]
    assert train.get_linestyle() != validation.get_linestyle()
    # blue and vermilion of Okabe and Ito: every kind of colour blindness tells them apart
    assert (train.get_color(), validation.get_color()) == ("#0072B2", "#D55E00")
    for line in (train, validation):
        shade = luminance([255 * part for part in to_rgb(line.get_color())])
        assert 1.05 / (shade + 0.05) > 3  # WCAG 2.2, 1.4.11: graphics against white


@pytest.mark.parametrize("missing", [{"train_f1": None}, {"train_f1": float("nan")}, {}], ids=["none", "nan", "absent"])
def test_a_history_of_an_old_run_has_no_line_for_what_it_lacks(saved, tmp_path, missing):
    rows = history(3, **missing)
    if not missing:
        for row in rows:
            del row["train_f1"]
    draw_curves(rows, tmp_path / "curves")
    assert list(lines_of(saved[0].axes[2])) == ["validation"]
    assert legend_of(saved[0]) == ["train", "validation"]


def test_the_epoch_at_which_the_base_was_unfrozen_is_a_line_between_two_epochs(saved, tmp_path):
    draw_curves(history(6), tmp_path / "curves", unfrozen_after=2)
    for axis in saved[0].axes:
        line = lines_of(axis)["base unfrozen"]
        assert list(line.get_xdata()) == [2.5, 2.5]
        assert line.get_linewidth() <= 1
    assert "base unfrozen" in legend_of(saved[0])


@pytest.mark.parametrize("unfrozen_after", [0, 6, 9])
def test_there_is_no_line_where_the_base_was_frozen_always_or_never(saved, tmp_path, unfrozen_after):
    draw_curves(history(6), tmp_path / "curves", unfrozen_after=unfrozen_after)
    assert legend_of(saved[0]) == ["train", "validation"]


def test_the_kept_epoch_is_marked_on_validation(saved, tmp_path):
    draw_curves(history(6), tmp_path / "curves", best_epoch=4)
    for axis, column in zip(saved[0].axes[:3], ("val_loss", "val_accuracy", "val_f1"), strict=True):
        mark = lines_of(axis)["kept epoch"]
        assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([4], [record(4)[column]])
    assert "kept epoch" not in lines_of(saved[0].axes[3])


@pytest.mark.parametrize("best_epoch", [0, 7])
def test_an_epoch_that_is_not_there_is_not_marked(saved, tmp_path, best_epoch):
    draw_curves(history(6), tmp_path / "curves", best_epoch=best_epoch)
    assert "kept epoch" not in legend_of(saved[0])


@pytest.mark.parametrize("num_epochs", [1, 2, 8, 20, 200])
def test_epochs_are_whole_numbers_and_few_enough_to_read(saved, tmp_path, num_epochs):
    draw_curves(history(num_epochs), tmp_path / "curves")
    for axis in saved[0].axes:
        ticks = drawn_ticks(axis.xaxis)
        assert 1 <= len(ticks) <= 11
        assert all(tick == int(tick) and 1 <= tick <= num_epochs for tick in ticks), ticks


def test_few_epochs_have_points_and_many_a_plain_line(saved, tmp_path):
    draw_curves(history(1), tmp_path / "one")
    draw_curves(history(200), tmp_path / "many")
    assert lines_of(saved[0].axes[0])["train"].get_marker() == "o"
    assert lines_of(saved[1].axes[0])["train"].get_marker() in ("", "None")


@pytest.mark.parametrize(
    ("rates", "scale"),
    [
        ([1e-3, 5e-4, 1e-4], "linear"),  # a decade, and no more
        ([1e-3, 5e-4, 9e-5], "log"),
        ([1e-3, 1e-5, 1e-7], "log"),
        ([1e-3, 1e-5, 0.0], "linear"),
        ([1e-3], "linear"),
        ([None, None], "linear"),
    ],
    ids=["one decade", "more", "four", "zero", "one epoch", "unknown"],
)
def test_the_learning_rate_is_logarithmic_where_it_spans_more_than_a_decade(saved, tmp_path, rates, scale):
    rows = [record(epoch, learning_rate=rate) for epoch, rate in enumerate(rates, start=1)]
    draw_curves(rows, tmp_path / "curves")
    axis = saved[0].axes[3]
    assert axis.get_yscale() == scale
    with figure_style():
        texts = [axis.yaxis.get_major_formatter()(tick) for tick in drawn_ticks(axis.yaxis)]
    assert texts
    assert not any("$" in text for text in texts)  # formulas are switched off


def test_a_history_without_an_epoch_is_refused(tmp_path):
    with pytest.raises(DataError, match="Expected a finished epoch to draw, got none"):
        draw_curves([], tmp_path / "curves")
    assert list(tmp_path.iterdir()) == []


# Thresholds


@pytest.fixture
def sweep():
    rng = np.random.default_rng(1)
    is_positive = rng.random(500) < 0.6
    scores = np.clip(0.5 + 0.25 * (is_positive - 0.5) + rng.normal(0, 0.15, 500), 0.05, 0.95)
    return sweep_thresholds(scores, is_positive)


def test_the_sweep_shows_f1_precision_and_recall_with_the_chosen_one_marked(saved, tmp_path, sweep):
    draw_thresholds(sweep, tmp_path / "threshold", chosen=0.549, title="F1 by threshold")
    (axis,) = saved[0].axes
    lines = lines_of(axis)
    assert lines["F1"].get_xdata().tolist() == sweep.threshold.tolist()
    assert lines["F1"].get_ydata().tolist() == sweep.f1.tolist()
    assert lines["recall"].get_ydata().tolist() == sweep.recall.tolist()
    mark = lines[f"chosen: 0.549, F1 {sweep.f1[549]:.4f}"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.549], [pytest.approx(sweep.f1[549])])
    assert (axis.get_xlabel(), saved[0].get_suptitle()) == ("threshold", "F1 by threshold")
    assert len({lines[name].get_linestyle() for name in ("F1", "precision", "recall")}) == 3


def test_precision_is_not_drawn_where_nothing_is_predicted(saved, tmp_path, sweep):
    draw_thresholds(sweep, tmp_path / "threshold", chosen=0.5)
    precision = lines_of(saved[0].axes[0])["precision"].get_ydata()
    assert np.isnan(precision).tolist() == (sweep.f1 == 0).tolist()
    assert 0 < np.isnan(precision).sum() < len(precision)


# Confusion


def test_a_confusion_matrix_has_counts_and_shares_of_its_rows(saved, tmp_path):
    draw_confusion([[1800, 200], [0, 0]], ["a", "b"], tmp_path / "confusion", title="model.tflite")
    (axis,) = saved[0].axes
    assert [text.get_text() for text in axis.texts] == ["1,800\n90.0 %", "200\n10.0 %", "0\n0.0 %", "0\n0.0 %"]
    assert [text.get_color() for text in axis.texts] == ["white", "black", "black", "black"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("predicted label", "annotated label")


# All of them

CASES = {
    "one epoch": lambda path, _: draw_curves(history(1), path, title="x", best_epoch=1),
    "200 epochs": lambda path, _: draw_curves(history(200), path, title="x" * 170, unfrozen_after=7, best_epoch=150),
    "decades": lambda path, _: draw_curves([record(e, learning_rate=10.0**-e) for e in range(1, 8)], path),
    "thresholds": lambda path, sweep: draw_thresholds(sweep, path, chosen=0.5, title="$x$ female"),
    "two labels": lambda path, _: draw_confusion([[9, 1], [1, 9]], ["female", "male"], path, title="y" * 80),
    "long labels": lambda path, _: draw_confusion(
        np.full((6, 6), 123456).tolist(), [f"a label with a long name {n}" for n in range(6)], path, title=""
    ),
}


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
def test_figures_are_the_same_bytes_each_time(tmp_path, sweep, draw):
    first, second = draw(tmp_path / "a" / "figure", sweep), draw(tmp_path / "b" / "figure", sweep)
    assert [file.name for file in first] == ["figure.png", "figure.svg"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
def test_no_two_texts_touch_and_none_leaves_the_figure(saved, tmp_path, sweep, draw):
    with figure_style():
        draw(tmp_path / "figure", sweep)
        canvas = FigureCanvasAgg(saved[0])
        canvas.draw()
        renderer = canvas.get_renderer()
        texts = list(saved[0].texts) + [text for legend in saved[0].legends for text in legend.get_texts()]
        for axis in saved[0].axes:
            texts += [*axis.texts, axis.xaxis.label, axis.yaxis.label, axis.title]
            for part in (axis.xaxis, axis.yaxis):
                low, high = sorted(part.get_view_interval())
                texts += [tick.label1 for tick in part.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    width, height = canvas.get_width_height()
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= -1, text  # a pixel: letters are rounded to whole ones
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
        assert [other for other, more in boxes[index + 1 :] if box.overlaps(more)] == [], text


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch, sweep, draw):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="Expected the package matplotlib"):
        draw(tmp_path / "figure", sweep)


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path, sweep, draw):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Expected to write"):
        draw(tmp_path / "file" / "figure", sweep)
