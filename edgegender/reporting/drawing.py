"""What figures of photos and counts share: colours, style, and PNG and SVG files that are the same each time."""

from __future__ import annotations

import contextlib
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender import files
from edgegender.errors import MissingDependencyError
from edgegender.reporting.tables import clean_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 120
TITLE_PT = 11
# Okabe and Ito, in an order in which neighbours differ in grey print, too. Source: https://jfly.uni-koeln.de/color/
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#F0E442", "#D55E00", "#56B4E9", "#CC79A7")
_HATCHES = ("", "", "///", "...", "xx")  # two labels need none
OTHERS_COLOR = "#999999"
# matplotlib's own font has no Chinese, Japanese, Korean or Devanagari letters; these are used where they are installed
_MORE_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Devanagari", "Lohit Devanagari")


@dataclass(frozen=True)
class Look:
    """How the bars and frames of one label look.

    Args:
        color: ``#RRGGBB``.
        hatch: matplotlib's pattern; empty for a plain face.
    """

    color: str
    hatch: str = ""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The colour as red, green and blue in [0, 255]."""
        red, green, blue = bytes.fromhex(self.color[1:])
        return red, green, blue


def look_of_labels(labels: Sequence[str]) -> dict[str, Look]:
    """Returns a look for each label: told apart by people who are colour-blind, and on grey paper.

    The first 15 differ in colour or in pattern; a figure has a name beside each, too.

    Example:
        >>> look_of_labels(["a", "b"])["b"].rgb
        (230, 159, 0)
    """
    return {
        label: Look(_COLORS[index % len(_COLORS)], _HATCHES[index % len(_HATCHES)])
        for index, label in enumerate(labels)
    }


def count_letters(text: str) -> int:
    """Returns how many letters wide a text is; East Asian wide letters count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(text: str, width: int) -> str:
    """Returns text on one line of at most ``width`` letters, with an ellipsis where letters are left out.

    Args:
        text: Whatever stands in a manifest.
        width: At least 2, as :func:`count_letters` counts.

    Example:
        >>> shorten("perceived as female", 12)
        'perceived a…'
    """
    cleaned = clean_text(text)
    if count_letters(cleaned) <= width:
        return cleaned
    cleaned = cleaned[:width]
    while count_letters(cleaned) >= width:
        cleaned = cleaned[:-1]
    return cleaned.rstrip() + "…"


@contextlib.contextmanager
def figure_style() -> Iterator[None]:
    """Sets matplotlib for the block in which a figure is drawn and saved.

    A label with a dollar sign is no formula, ids in SVG files are no random ones, and letters that no font has are
    drawn as boxes without a warning for each.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib import font_manager
    except ImportError as error:
        raise MissingDependencyError("matplotlib", extra="report") from error
    installed = set(font_manager.get_font_names())
    style = {
        "svg.hashsalt": "edgegender",
        "text.parse_math": False,
        "text.usetex": False,
        "font.family": ["DejaVu Sans", *(name for name in _MORE_FONTS if name in installed)],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "hatch.linewidth": 0.6,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def fit_text(text: str, width_px: float, *, size_pt: float) -> str:
    """Returns text on one line that is at most so wide when it is drawn, with an ellipsis where letters are left out.

    Args:
        text: Whatever stands in a manifest.
        width_px: Pixels of the PNG file.
        size_pt: Of the letters, points.
    """
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.font_manager import FontProperties

    renderer, font = RendererAgg(1, 1, DPI), FontProperties(size=size_pt)

    def is_too_wide(line: str) -> bool:
        return bool(renderer.get_text_width_height_descent(line, font, ismath=False)[0] > width_px)

    line = shorten(text, max(2, int(width_px / 2)))  # no letter is narrower than two pixels
    while len(line) > 1 and is_too_wide(line):
        line = line.rstrip("…")[:-1].rstrip() + "…"
    return line


def new_figure(
    width_px: float, height_px: float, *, layout_rect: tuple[float, float, float, float] | None = None
) -> Figure:
    """Returns an empty figure of matplotlib's object interface: no window system, no global state.

    Args:
        width_px: Pixels of the PNG file.
        height_px: Pixels of the PNG file.
        layout_rect: Left, bottom, width and height, shares of the figure, where subplots get as much room as their
            texts leave; ``None`` leaves all axes where they are put.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = None if layout_rect is None else ConstrainedLayoutEngine(rect=layout_rect, w_pad=0.08, h_pad=0.08)
    return Figure(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, layout=layout, facecolor="white")


def save_figure(figure: Figure, path: Path, *, title: str) -> list[Path]:
    """Writes a figure as PNG and SVG, each whole or not at all, and returns the files.

    Args:
        figure: Made and saved inside of :func:`figure_style`.
        path: Where; ``.png`` and ``.svg`` are added.
        title: What the files say that they show.

    Raises:
        OutputError: A file cannot be written.
    """
    written = []
    for suffix in (".png", ".svg"):
        target = path.with_name(path.name + suffix)
        # Without a date and a version the same figure gives the same bytes
        metadata = {"Title": title, "Date": None, "Creator": None}
        if suffix == ".png":
            metadata = {"Title": title, "Software": None}
        with files.replacing(target) as temporary:
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)
        written.append(target)
    return written
