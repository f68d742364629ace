"""Colours that people and grey paper tell apart, texts that fit, and the same bytes each time."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest

from edgegender.errors import MissingDependencyError, OutputError
from edgegender.reporting.drawing import figure_style, look_of_labels, new_figure, save_figure, shorten


def luminance(rgb):
    """Relative luminance of sRGB in [0, 1] (WCAG 2.2)."""
    linear = [value / 255 / 12.92 if value <= 10 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_first_15_labels_look_different():
    looks = look_of_labels([f"label {index}" for index in range(15)])
    assert len(set(looks.values())) == 15


def test_neighbours_differ_on_grey_paper_in_shade_or_pattern():
    looks = list(look_of_labels([str(index) for index in range(15)]).values())
    for one, other in pairwise(looks):
        light, dark = sorted((luminance(one.rgb), luminance(other.rgb)), reverse=True)
        # 1.25: two plain greys side by side are told apart on paper
        assert one.hatch != other.hatch or (light + 0.05) / (dark + 0.05) > 1.25


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("female", 6, "female"),
        ("a long label", 7, "a long…"),
        ("perceived\nas\x1b[2J", 30, "perceived as[2J"),
        ("女性的脸", 8, "女性的脸"),
        ("女性的脸部", 8, "女性的…"),
    ],
)
def test_text_is_shortened_to_one_line(text, width, expected):
    assert shorten(text, width) == expected


def draw(path, *, text="a"):
    with figure_style():
        figure = new_figure(240, 120, layout_rect=(0, 0, 1, 1))
        axis = figure.subplots()
        axis.bar([text], [1], hatch="//")
        axis.set_title(text)
        return save_figure(figure, path, title=text)


def test_a_figure_is_saved_as_png_and_svg_of_the_same_bytes_each_time(tmp_path):
    first, second = draw(tmp_path / "a" / "v1.0 all"), draw(tmp_path / "b" / "v1.0 all")
    assert [file.name for file in first] == ["v1.0 all.png", "v1.0 all.svg"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
    assert b"<dc:date>" not in first[1].read_bytes()


def test_the_png_has_the_size_that_was_asked_for(tmp_path):
    content = draw(tmp_path / "figure")[0].read_bytes()
    assert (int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")) == (240, 120)


@pytest.mark.parametrize("text", ["a$b", "$\\frac{$", "\\alpha", "女", "x\u0300\U000f0000"])
def test_formulas_and_unknown_letters_are_drawn_without_a_complaint(tmp_path, text):
    assert len(draw(tmp_path / "figure", text=text)) == 2


def test_style_ends_with_its_block():
    import matplotlib as mpl

    before = mpl.rcParams["svg.hashsalt"], list(mpl.rcParams["font.family"])
    with figure_style():
        assert mpl.rcParams["text.parse_math"] is False
    assert (mpl.rcParams["svg.hashsalt"], list(mpl.rcParams["font.family"])) == before


def test_drawing_needs_no_window_system_and_leaves_no_global_figure(tmp_path):
    draw(tmp_path / "figure")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match="Expected the package matplotlib") as caught, figure_style():
        pass
    assert "edgegender[report]" in caught.value.hint


def test_a_figure_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "figure.svg").mkdir()
    with pytest.raises(OutputError, match="Expected a file or nothing"):
        draw(tmp_path / "figure")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".part")] == []
