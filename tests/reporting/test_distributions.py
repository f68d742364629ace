"""Bars carry their counts, have room for them, and stay few enough to read."""

from __future__ import annotations

import re

import cv2
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from edgegender.errors import OutputError
from edgegender.reporting import distributions
from edgegender.reporting.counting import simplify
from edgegender.reporting.distributions import draw_class_distribution, draw_distribution, draw_label_bars
from edgegender.reporting.drawing import figure_style, look_of_labels, new_figure

HAMZA = {"female": 9489, "male": 17678}
SPLITS = {"train": {"a": 700, "b": 1300}, "val": {"a": 100, "b": 0}, "test": {"a": 200, "b": 400}}


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, to look into."""
    saved = []
    save = distributions.save_figure

    def remember(figure, path, *, title):
        saved.append(figure)
        return save(figure, path, title=title)

    monkeypatch.setattr(distributions, "save_figure", remember)
    return saved


def texts_of(axis):
    return [text.get_text() for text in axis.texts]


def lengths_of(axis):
    """The bars' lengths, whether they stand or lie, by series."""
    return [container.datavalues.tolist() for container in axis.containers]


def test_photos_by_label_have_count_and_share_on_their_bars(figures, tmp_path):
    written = draw_class_distribution(HAMZA, tmp_path / "class_distribution", title="Photos")
    assert [file.name for file in written] == ["class_distribution.png", "class_distribution.svg"]
    (axis,) = figures[0].axes
    assert texts_of(axis) == ["9,489\n34.9 %", "17,678\n65.1 %"]
    assert lengths_of(axis) == [[9489, 17678]]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["female", "male"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("annotated label", "photos")
    assert figures[0].get_suptitle() == "Photos"


def test_photos_by_split_and_label_stand_side_by_side(figures, tmp_path):
    draw_distribution(SPLITS, tmp_path / "split", group_name="split", title="Photos")
    (axis,) = figures[0].axes
    assert lengths_of(axis) == [[700, 100, 200], [1300, 0, 400]]
    assert texts_of(axis) == ["700", "100", "200", "1,300", "0", "400"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["train", "val", "test"]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["a", "b"]


def test_a_label_has_one_colour_in_all_figures(figures, tmp_path):
    draw_class_distribution({"a": 1, "b": 2}, tmp_path / "class", title="x")
    draw_distribution(SPLITS, tmp_path / "split", group_name="split", title="x")
    by_label = [bar.get_facecolor() for bar in figures[0].axes[0].patches]
    by_split = [container[0].get_facecolor() for container in figures[1].axes[0].containers]
    assert by_label == by_split


MANY = {f"a value with a long name {number}": {"a": 10**number, "b": number} for number in range(9)}
CASES = {
    "two labels": (lambda path: draw_class_distribution(HAMZA, path, title="x" * 200)),
    "thirty labels": (
        lambda path: draw_class_distribution({f"label {n}": 10**6 + n for n in range(30)}, path, title="")
    ),
    "wide names": (lambda path: draw_class_distribution({"女" * 30: 3, "男": 2}, path, title="t")),
    "splits": (lambda path: draw_distribution(SPLITS, path, group_name="split", title="t")),
    "many values": (lambda path: draw_distribution(MANY, path, group_name="$group$", title="t")),
    "many labels": (
        lambda path: draw_distribution(
            {"x": {f"label number {n}": 123456 for n in range(20)}}, path, group_name="g", title="t"
        )
    ),
    "one label": (
        lambda path: draw_distribution(
            {f"a value, {n:02d}": {"a": n} for n in range(14)}, path, group_name="g", title="t"
        )
    ),
    "no photo": (lambda path: draw_distribution({"x": {"a": 0}}, path, group_name="g", title="t")),
}


@pytest.mark.parametrize("draw", CASES.values(), ids=CASES.keys())
def test_no_two_texts_touch_and_none_leaves_the_figure(figures, tmp_path, draw):
    with figure_style():
        draw(tmp_path / "figure")
        (figure,) = figures
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        renderer = canvas.get_renderer()
        (axis,) = figure.axes
        texts = [*axis.texts, *figure.texts, axis.xaxis.label, axis.yaxis.label]
        for part, (low, high) in ((axis.xaxis, sorted(axis.get_xlim())), (axis.yaxis, sorted(axis.get_ylim()))):
            # matplotlib keeps marks beyond the ends of an axis, and draws none of them
            texts += [tick.label1 for tick in part.get_major_ticks() if low <= tick.get_loc() <= high]
        boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text()]
    width, height = canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= -1, text  # a pixel: letters are rounded to whole ones
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for index, (text, box) in enumerate(boxes):
        assert [other for other, more in boxes[index + 1 :] if box.overlaps(more)] == [], text


def test_rare_values_and_labels_are_grey_and_named(figures, tmp_path):
    counts = {f"v{value}": {f"l{label}": 1 + value * label for label in range(12)} for value in range(30)}
    draw_distribution(counts, tmp_path / "figure", group_name="g", title="t")
    (axis,) = figures[0].axes
    assert len(axis.containers) == 10
    assert axis.containers[-1][0].get_facecolor()[:3] == pytest.approx((0.6, 0.6, 0.6))
    assert axis.get_yticklabels()[-1].get_text() == "(7 other values)"
    assert list(simplify(counts))[-1] == "(7 other values)"


def test_bars_can_be_drawn_into_another_figure():
    with figure_style():
        axis = new_figure(500, 400).subplots()
        draw_label_bars(axis, {"a": 1, "b": 3}, look_of_labels(["a"]), width_px=500)
    assert texts_of(axis) == ["1\n25.0 %", "3\n75.0 %"]
    assert axis.patches[1].get_facecolor()[:3] == pytest.approx((0.6, 0.6, 0.6))


def test_figures_are_the_same_bytes_each_time(tmp_path):
    first = draw_distribution(SPLITS, tmp_path / "a", group_name="split", title="t")
    second = draw_distribution(SPLITS, tmp_path / "b", group_name="split", title="t")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_png_is_large_enough_for_a_page(tmp_path):
    png, svg = draw_distribution(SPLITS, tmp_path / "a", group_name="split", title="Photos by split")
    height, width = cv2.imread(str(png)).shape[:2]
    assert (height, width) == (460, 560)
    assert re.search(r"<dc:title>Photos by split</dc:title>", svg.read_text())


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Expected to write"):
        draw_class_distribution(HAMZA, tmp_path / "file" / "figure", title="t")
