"""Contact sheets: many photos at a glance, each with its annotated label (Hamza's figures 3 and 6).

A sheet shows the squares that a network would see. It holds photos of people: whoever draws one decides where it stays.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import UsageError
from edgegender.progress import Progress, no_progress
from edgegender.reporting.counting import group_values, simplify_labels
from edgegender.reporting.distributions import draw_label_bars
from edgegender.reporting.drawing import (
    DPI,
    OTHERS_COLOR,
    TITLE_PT,
    Look,
    figure_style,
    fit_text,
    look_of_labels,
    new_figure,
    save_figure,
)
from edgegender.reporting.thumbnails import Thumbnail, read_square

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PHOTOS = 300  # one below the other they still fit the 65,536 pixels that matplotlib can draw
THUMBNAIL_PX = 144
_STRIP_PX = 5
_GAP_PX = 14
_CAPTION_PX = 22
_CELL_WIDTH_PX = THUMBNAIL_PX + _GAP_PX
_CELL_HEIGHT_PX = THUMBNAIL_PX + _STRIP_PX + _CAPTION_PX + _GAP_PX // 2
_TITLE_PX = 44
_BARS_WIDTH_PX = 620
_MIN_WIDTH_PX = 480  # room for the title
_CAPTION_PT = 8.5
_INK = "#222222"
_NO_PHOTO_RGB = (224, 224, 224)


@dataclass(frozen=True)
class SheetPhoto:
    """One cell of a sheet.

    Args:
        row: The photo's row in the manifest.
        thumbnail: ``THUMBNAIL_PX`` × ``THUMBNAIL_PX`` pixels, or why the photo cannot be shown.
        caption: What stands below it.
    """

    row: ManifestRow
    thumbnail: Thumbnail
    caption: str


def choose_photos(
    manifest: Manifest, *, num_photos: int, by: str | None = "label", seed: int | None = 0
) -> list[ManifestRow]:
    """Returns photos for a sheet: as many of one group as of another, as far as there are, group by group.

    With the same seed, fewer photos are a part of more photos.

    Args:
        manifest: Rows with an ``exclude`` reason are passed over.
        num_photos: 1 to 300; all photos when there are fewer.
        by: The column that makes the groups (numbers are binned), or ``None`` to take the manifest as one group.
        seed: Of the choice, zero or more; ``None`` takes the first rows of each group.

    Raises:
        UsageError: A number is out of its range, or no row has the column.
    """
    if not 1 <= num_photos <= MAX_PHOTOS:
        raise UsageError(f"Expected 1 to {MAX_PHOTOS} photos, got {num_photos}.")
    if seed is not None and seed < 0:
        raise UsageError(f"Expected a seed of zero or more, got {seed}.")
    kept = manifest.select()
    values, ordered = ([""] * len(kept), ("",)) if by is None else group_values(kept, by)
    members: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        members[value].append(index)
    rank = {value: number for number, value in enumerate(ordered)}
    if seed is not None:
        rng = np.random.default_rng(seed)
        for value in ordered:
            members[value] = rng.permutation(members[value]).tolist()
        # where there are more groups than photos, chance decides which are shown
        rank = dict(zip(ordered, rng.permutation(len(ordered)).tolist(), strict=True))
    # The first of each group, then the second of each, …
    turns = ((turn, rank[value], index) for value in ordered for turn, index in enumerate(members[value][:num_photos]))
    chosen = {index for _, _, index in sorted(turns)[:num_photos]}
    return [kept.row(index) for value in ordered for index in members[value] if index in chosen]


def read_photos(
    manifest: Manifest,
    rows: Sequence[ManifestRow],
    *,
    caption: Callable[[ManifestRow], str] = lambda row: row.label,
    on_progress: Progress = no_progress,
) -> list[SheetPhoto]:
    """Returns the cells of a sheet. One photo is decoded at a time; 62 kB of each are kept.

    Args:
        manifest: Where the photos stand.
        rows: Which of them.
        caption: What stands below a photo.
        on_progress: Called with (done, total).
    """
    photos = []
    for done, row in enumerate(rows, start=1):
        thumbnail = read_square(manifest.file(row), box=row.face_box, side_px=THUMBNAIL_PX)
        photos.append(SheetPhoto(row, thumbnail, caption(row)))
        on_progress(done, len(rows))
    return photos


def _compose(photos: Sequence[SheetPhoto], columns: int, looks: Mapping[str, Look]) -> UInt8Array:
    """Returns all thumbnails on white, each above a strip in its label's colour."""
    num_rows = -(-len(photos) // columns)
    canvas = np.full((num_rows * _CELL_HEIGHT_PX, columns * _CELL_WIDTH_PX, 3), 255, np.uint8)
    for index, photo in enumerate(photos):
        top = index // columns * _CELL_HEIGHT_PX
        left = index % columns * _CELL_WIDTH_PX + _GAP_PX // 2
        square = photo.thumbnail.image_rgb
        canvas[top : top + THUMBNAIL_PX, left : left + THUMBNAIL_PX] = _NO_PHOTO_RGB if square is None else square
        strip = canvas[top + THUMBNAIL_PX : top + THUMBNAIL_PX + _STRIP_PX, left : left + THUMBNAIL_PX]
        strip[:] = looks.get(photo.row.label, Look(OTHERS_COLOR)).rgb
    return canvas


def _draw_grid(axis: Axes, photos: Sequence[SheetPhoto], columns: int, looks: Mapping[str, Look]) -> None:
    canvas = _compose(photos, columns, looks)
    height, width = canvas.shape[:2]
    axis.imshow(canvas, extent=(0, width, height, 0), interpolation="none", aspect="auto")
    axis.set_axis_off()
    captions = {text: fit_text(text, _CELL_WIDTH_PX - 4, size_pt=_CAPTION_PT) for text in {p.caption for p in photos}}
    for index, photo in enumerate(photos):
        x = index % columns * _CELL_WIDTH_PX + _CELL_WIDTH_PX / 2
        y = index // columns * _CELL_HEIGHT_PX + THUMBNAIL_PX + _STRIP_PX
        axis.text(x, y + 3, captions[photo.caption], ha="center", va="top", fontsize=_CAPTION_PT, color=_INK)
        if photo.thumbnail.problem:
            reason = textwrap.fill(f"no picture: {photo.thumbnail.problem}", 18)
            axis.text(x, y - THUMBNAIL_PX / 2, reason, ha="center", va="center", fontsize=8, color=_INK)


def _grid_size_px(num_photos: int, columns: int) -> tuple[int, int]:
    return columns * _CELL_WIDTH_PX, -(-num_photos // columns) * _CELL_HEIGHT_PX


def _add_axis(figure: Figure, box_px: tuple[float, float, float, float]) -> Axes:
    """Adds axes at left, top, width and height in pixels: a picture keeps its pixels."""
    width_px, height_px = (inches * DPI for inches in figure.get_size_inches())
    left, top, width, height = box_px
    return figure.add_axes((left / width_px, 1 - (top + height) / height_px, width / width_px, height / height_px))


def draw_contact_sheet(
    photos: Sequence[SheetPhoto], path: Path, *, labels: Sequence[str], columns: int = 8, title: str
) -> list[Path]:
    """Draws a grid of photos with their annotated labels (Hamza's figure 3), and returns the files written.

    Args:
        photos: The cells, at least one, from :func:`read_photos`.
        path: Where; ``.png`` and ``.svg`` are added.
        labels: All labels of the data, in the order that gives them their colours.
        columns: Photos a line, at least 1.
        title: Above the photos.

    Raises:
        UsageError: ``columns`` is out of its range.
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    if not 1 <= columns <= MAX_PHOTOS:
        raise UsageError(f"Expected 1 to {MAX_PHOTOS} columns, got {columns}.")
    columns = min(columns, len(photos))
    width, height = _grid_size_px(len(photos), columns)
    figure_width = max(width + _GAP_PX, _MIN_WIDTH_PX)
    with figure_style():
        figure = new_figure(figure_width, height + _TITLE_PX)
        _draw_grid(
            _add_axis(figure, ((figure_width - width) / 2, _TITLE_PX, width, height)),
            photos,
            columns,
            look_of_labels(labels),
        )
        _draw_title(figure, title, height + _TITLE_PX, width_px=figure_width)
        return save_figure(figure, path, title=title)


def _draw_title(figure: Figure, title: str, height_px: float, *, width_px: float) -> None:
    line = fit_text(title, 0.95 * width_px, size_pt=TITLE_PT)
    figure.text(0.5, 1 - _TITLE_PX / 2 / height_px, line, ha="center", va="center", fontsize=TITLE_PT)


def draw_labels_and_distribution(
    photos: Sequence[SheetPhoto], counts: Mapping[str, int], path: Path, *, columns: int = 4, title: str
) -> list[Path]:
    """Draws a few photos with their labels beside the number of photos by label (Hamza's figure 6).

    Args:
        photos: The cells, at least one, from :func:`read_photos`; 12 look best.
        counts: Label → number of photos of the whole set.
        path: Where; ``.png`` and ``.svg`` are added.
        columns: Photos a line, at least 1.
        title: Above all.

    Returns:
        The files written.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        OutputError: A file cannot be written.
    """
    drawn = simplify_labels(counts)
    looks = look_of_labels([label for label in drawn if label in counts])
    columns = min(columns, len(photos))
    width, height = _grid_size_px(len(photos), columns)
    inner_height = max(height, 360, 150 + 27 * len(drawn))
    figure_width = width + 2 * _GAP_PX + _BARS_WIDTH_PX
    with figure_style():
        share_x, share_y = _BARS_WIDTH_PX / figure_width, inner_height / (inner_height + _TITLE_PX)
        # the bars' names may be long: the layout finds their place, in the part that the photos leave
        figure = new_figure(figure_width, inner_height + _TITLE_PX, layout_rect=(1 - share_x, 0, share_x, share_y))
        draw_label_bars(figure.subplots(), drawn, looks, width_px=_BARS_WIDTH_PX)
        _draw_grid(_add_axis(figure, (_GAP_PX / 2, _TITLE_PX, width, height)), photos, columns, looks)
        _draw_title(figure, title, inner_height + _TITLE_PX, width_px=figure_width)
        return save_figure(figure, path, title=title)
