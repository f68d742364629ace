"""Sheets show photos of each group with their labels, and an empty cell where a photo cannot be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import FaceBox
from edgegender.errors import UsageError
from edgegender.images import read_image
from edgegender.reporting import contact_sheets
from edgegender.reporting.contact_sheets import (
    MAX_PHOTOS,
    THUMBNAIL_PX,
    choose_photos,
    draw_contact_sheet,
    draw_labels_and_distribution,
    read_photos,
)
from edgegender.reporting.drawing import figure_style, look_of_labels
from tests.pictures import quarters, write_photo

COUNTS = {"a": 70, "b": 20, "c": 2}
TITLE_PX, CELL_WIDTH_PX, CELL_HEIGHT_PX, MARGIN_PX = 44, 158, 178, 14  # as a reader measures them on the sheet


def manifest_of(counts=None, **columns):
    labels = [label for label, count in (counts or COUNTS).items() for _ in range(count)]
    rows = [
        ManifestRow(f"{index}.jpg", label, extra={name: cells[index] for name, cells in columns.items()})
        for index, label in enumerate(labels)
    ]
    return Manifest.from_rows(Path(), rows)


def labels_of(rows):
    return dict(Counter(row.label for row in rows))


def test_each_label_gets_as_many_photos_as_it_has_up_to_its_share():
    assert labels_of(choose_photos(manifest_of(), num_photos=12)) == {"a": 5, "b": 5, "c": 2}
    assert labels_of(choose_photos(manifest_of(), num_photos=80)) == {"a": 58, "b": 20, "c": 2}


def test_photos_stand_group_by_group():
    labels = [row.label for row in choose_photos(manifest_of(), num_photos=30)]
    assert labels == sorted(labels)


def test_a_seed_gives_one_choice_and_another_seed_another():
    manifest = manifest_of()
    first = choose_photos(manifest, num_photos=12, seed=3)
    assert first == choose_photos(manifest, num_photos=12, seed=3)
    assert first != choose_photos(manifest, num_photos=12, seed=4)


def test_fewer_photos_are_a_part_of_more():
    manifest = manifest_of()
    for num_photos in (1, 2, 7, 40):
        few = {row.path for row in choose_photos(manifest, num_photos=num_photos)}
        assert few <= {row.path for row in choose_photos(manifest, num_photos=num_photos + 5)}
        assert len(few) == num_photos


def test_without_a_seed_the_first_of_each_group_are_taken():
    paths = [row.path for row in choose_photos(manifest_of(), num_photos=5, seed=None)]
    assert paths == ["0.jpg", "1.jpg", "70.jpg", "71.jpg", "90.jpg"]


def test_without_a_column_and_a_seed_the_first_photos_are_taken():
    rows = choose_photos(manifest_of(), num_photos=4, by=None, seed=None)
    assert [row.path for row in rows] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]


def test_photos_are_shared_out_by_any_column_and_ages_by_their_decade():
    manifest = manifest_of({"a": 100}, age=[str(index) for index in range(100)])
    chosen = choose_photos(manifest, num_photos=20, by="age")
    assert Counter(int(row.extra["age"]) // 10 for row in chosen) == dict.fromkeys(range(10), 2)


def test_of_more_groups_than_photos_chance_shows_some():
    manifest = manifest_of({"a": 50}, person=[f"p{index:02d}" for index in range(50)])
    persons = [row.extra["person"] for row in choose_photos(manifest, num_photos=5, by="person")]
    assert persons == sorted(persons)
    assert persons != [f"p{index:02d}" for index in range(5)]


def test_excluded_photos_are_not_shown_and_all_are_when_there_are_few():
    manifest = manifest_of({"a": 3, "b": 2})
    excluded = manifest.with_columns({"exclude": ["", "no_face", "", "", ""]})
    assert [row.path for row in choose_photos(excluded, num_photos=99, seed=None)] == [
        "0.jpg",
        "2.jpg",
        "3.jpg",
        "4.jpg",
    ]


@pytest.mark.parametrize("num_photos", [0, -1, MAX_PHOTOS + 1])
def test_a_number_of_photos_out_of_range_is_refused(num_photos):
    with pytest.raises(UsageError, match=rf"Expected 1 to 300 photos, got {num_photos}\."):
        choose_photos(manifest_of(), num_photos=num_photos)


def test_a_negative_seed_and_an_unknown_column_are_refused():
    with pytest.raises(UsageError, match="Expected a seed of zero or more, got -1"):
        choose_photos(manifest_of(), num_photos=3, seed=-1)
    with pytest.raises(UsageError, match="got 'age'"):
        choose_photos(manifest_of(), num_photos=3, by="age")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, to look into."""
    saved = []
    save = contact_sheets.save_figure

    def remember(figure, path, *, title):
        saved.append(figure)
        return save(figure, path, title=title)

    monkeypatch.setattr(contact_sheets, "save_figure", remember)
    return saved


@pytest.fixture
def faces(tmp_path):
    rows = write_drawn_faces(tmp_path / "photos", num_faces=6, seed=1, size_px=64)
    (tmp_path / "photos" / rows[3].path).write_bytes(b"")
    return Manifest.from_rows(tmp_path / "photos", rows)


def texts_of(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_a_sheet_is_the_photos_pixel_by_pixel_above_their_labels(tmp_path, figures):
    row = ManifestRow("photo.png", "x", face_box=FaceBox(72, 0, 216, 144))
    write_photo(tmp_path / "photo.png", quarters(144, 288))
    manifest = Manifest.from_rows(tmp_path, [row, replace(row, path="./photo.png", label="y", face_box=None)])
    photos = read_photos(manifest, manifest.rows)
    png, svg = draw_contact_sheet(photos, tmp_path / "sheet", labels=["x", "y"], columns=2, title="Two photos")
    assert (png.name, svg.name) == ("sheet.png", "sheet.svg")
    image = read_image(png)
    assert image.shape == (TITLE_PX + CELL_HEIGHT_PX, 480, 3)
    left = (480 - 2 * CELL_WIDTH_PX) // 2 + MARGIN_PX // 2
    for index, photo in enumerate(photos):
        x = left + index * CELL_WIDTH_PX
        cell = image[TITLE_PX : TITLE_PX + THUMBNAIL_PX, x : x + THUMBNAIL_PX]
        # matplotlib may place the picture half a pixel beside: only the edges between the quarters then differ
        assert (cell == photo.thumbnail.image_rgb).all(axis=2).mean() > 0.97
        strip = image[TITLE_PX + THUMBNAIL_PX + 2, x + 20]
        assert tuple(strip) == look_of_labels(["x", "y"])[photo.row.label].rgb
    assert texts_of(figures[0]) == ["x", "y"]
    assert figures[0].texts[0].get_text() == "Two photos"


def test_a_photo_that_cannot_be_read_is_an_empty_cell_with_the_reason(faces, tmp_path, figures):
    photos = read_photos(faces, faces.rows)
    assert [photo.thumbnail.problem for photo in photos] == ["", "", "", "0 bytes", "", ""]
    png, _ = draw_contact_sheet(photos, tmp_path / "sheet", labels=faces.labels, columns=4, title="t")
    assert "no picture: 0\nbytes" in texts_of(figures[0])
    corner = read_image(png)[TITLE_PX + 10, MARGIN_PX + 3 * CELL_WIDTH_PX + 10]
    assert tuple(corner) == (224, 224, 224)


def test_captions_are_free_and_shortened(faces, tmp_path, figures):
    photos = read_photos(faces, faces.rows[:2], caption=lambda row: f"{row.label} $5 " + "x" * 50)
    draw_contact_sheet(photos, tmp_path / "sheet", labels=faces.labels, title="t")
    first, second = texts_of(figures[0])
    assert first.startswith("female $5 xxxx")
    assert second.startswith("male $5 xxxx")
    assert first[-1] == second[-1] == "…"


@pytest.mark.parametrize("caption", ["W" * 40, "女" * 40, "perceived as female or so"])
def test_captions_stay_in_their_cells_and_titles_in_the_figure(faces, tmp_path, figures, caption):
    photos = read_photos(faces, faces.rows[:2], caption=lambda _: caption)
    with figure_style():
        draw_contact_sheet(photos, tmp_path / "sheet", labels=faces.labels, columns=1, title="A long title " * 20)
        canvas = FigureCanvasAgg(figures[0])
        renderer = canvas.get_renderer()
        widths = [text.get_window_extent(renderer).width for text in figures[0].axes[0].texts]
        title = figures[0].texts[0].get_window_extent(renderer)
    assert max(widths) <= CELL_WIDTH_PX
    assert title.x0 >= 0
    assert title.x1 <= 480


def test_one_photo_is_decoded_once_and_told_of(faces):
    told = []
    read_photos(faces, faces.rows[:3], on_progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_longest_and_the_widest_sheet_fit_what_matplotlib_can_draw():
    assert MAX_PHOTOS * max(CELL_WIDTH_PX, CELL_HEIGHT_PX) + TITLE_PX < 2**16


@pytest.mark.parametrize("columns", [0, MAX_PHOTOS + 1])
def test_a_number_of_columns_out_of_range_is_refused(faces, tmp_path, columns):
    with pytest.raises(UsageError, match=rf"Expected 1 to 300 columns, got {columns}\."):
        draw_contact_sheet(read_photos(faces, faces.rows[:1]), tmp_path / "s", labels=["a"], columns=columns, title="t")


def test_a_sheet_is_the_same_bytes_each_time(faces, tmp_path):
    photos = read_photos(faces, faces.rows)
    first, second = (
        draw_contact_sheet(photos, tmp_path / name / "sheet", labels=faces.labels, title="t") for name in "ab"
    )
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_photos_stand_beside_the_distribution_of_the_whole_set(faces, tmp_path, figures):
    photos = read_photos(faces, faces.rows)
    counts = {"female": 9489, "male": 17678}
    written = draw_labels_and_distribution(photos, counts, tmp_path / "both", title="Labels")
    assert [file.suffix for file in written] == [".png", ".svg"]
    texts = texts_of(figures[0])
    assert "9,489\n34.9 %" in texts
    assert texts.count("female") == 3
    bars, sheet = figures[0].axes
    assert bars.get_position().x0 > sheet.get_position().x1
    assert bars.patches[1].get_facecolor()[:3] == pytest.approx(
        [value / 255 for value in look_of_labels(["female", "male"])["male"].rgb]
    )


def test_long_labels_leave_the_photos_their_place(faces, tmp_path, figures):
    photos = read_photos(faces, faces.rows[:1])
    counts = {f"a label with a long name {index}": 10**index for index in range(9)}
    png, _ = draw_labels_and_distribution(photos, counts, tmp_path / "both", title="Labels")
    with figure_style():
        canvas = FigureCanvasAgg(figures[0])
        canvas.draw()
        bars, sheet = figures[0].axes
        assert bars.get_tightbbox(canvas.get_renderer()).x0 > sheet.get_window_extent().x1
    assert np.ptp(cv2.imread(str(png))[:, -1]) == 0  # nothing is cut off at the right
