"""The check page shows what was found, side by side, says what it leaves out, and lets no name become markup."""

from __future__ import annotations

import base64
from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.errors import UsageError
from edgegender.reporting.check_page import (
    MAX_PHOTOS_PER_GROUP,
    CheckedPhoto,
    CheckPage,
    FindingGroup,
    write_check_page,
)
from tests.pictures import gradient, write_photo
from tests.reporting.browser import open_page
from tests.reporting.html import Page

EVIL_PATH = "<img src=x onerror=\"document.title='taken'\">.jpg"
EVIL_LABEL = "</title><script>document.title='taken'</script>\"'"


@pytest.fixture
def photos(tmp_path):
    drawn = write_drawn_faces(tmp_path / "photos", num_faces=4, seed=5, size_px=200)
    return [CheckedPhoto(row.path, tmp_path / "photos" / row.path, row.label, "train") for row in drawn]


@pytest.fixture
def page(photos, tmp_path):
    evil = tmp_path / "photos" / EVIL_PATH
    evil.write_bytes(photos[0].file.read_bytes())
    groups = (
        FindingGroup("near_duplicate", "distance 3", "Nearly the same picture.", (photos[0], photos[1])),
        FindingGroup("leak", "2 copies", "On both sides.", (photos[0], replace(photos[2], split="test", note="copy"))),
        FindingGroup("leak", "2 more copies", "Another reason.", (photos[1], photos[3])),
        FindingGroup("conflict", EVIL_LABEL, EVIL_LABEL, (CheckedPhoto(EVIL_PATH, evil, EVIL_LABEL, "", EVIL_LABEL),)),
        FindingGroup("unreadable", "gone.jpg", "", (CheckedPhoto("gone.jpg", tmp_path / "gone.jpg", "male", "val"),)),
        FindingGroup("odd_size", "odd", "", (photos[3],)),
    )
    return CheckPage(
        title="faces.csv",
        summary=(("photos", 1234, "ok"), ("leaks between splits", 2, "problem"), ("unreadable photos", 1, "note")),
        counts={"train": {"female": 300, "male": 900}, "test": {"female": 0, "male": 34}},
        groups={"age": {"0–9": {"female": 1, "male": 3}}, "nothing": {}},
        findings=groups,
    )


@pytest.fixture
def file(page, tmp_path):
    write_check_page(tmp_path / "check.html", page)
    return tmp_path / "check.html"


def headings(file):
    return [text for text in Page(file).texts if text.endswith(")") and "(" in text]


def test_what_spoils_a_figure_stands_first_and_new_kinds_last(file):
    assert headings(file) == [
        "Leaks between splits (2)",
        "The same picture under two labels (1)",
        "Unreadable photos (1)",
        "Near duplicates (1)",
        "Odd size (1)",
    ]


def test_a_picture_stands_with_path_label_split_and_note(file):
    texts = Page(file).texts
    path = texts.index("male/male_00001.jpg")
    assert texts[path + 1] == "· male · train"
    assert any(text == "· female · test · copy" for text in texts)
    assert Page(file).all("img")[0]["alt"] == "Photo female/female_00001.jpg, label female"


def test_pictures_are_whole_and_at_most_160_pixels(tmp_path, page):
    wide = write_photo(tmp_path / "wide.png", gradient(100, 400))
    small = write_photo(tmp_path / "small.png", gradient(9, 7))
    found = FindingGroup("tiny", "x", "", (CheckedPhoto("w", wide, "a"), CheckedPhoto("s", small, "a")))
    write_check_page(tmp_path / "check.html", replace(page, findings=(found,)))
    images = Page(tmp_path / "check.html").all("img")
    assert [(image["width"], image["height"]) for image in images] == [("160", "40"), ("7", "9")]
    content = base64.b64decode(images[0]["src"].removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert decoded.shape == (40, 160, 3)
    # JPEG of quality 80 moves a smooth gradient by a few levels; a swap of red and blue would move it by a hundred
    assert (
        np.abs(decoded.astype(int) - cv2.resize(gradient(100, 400), (160, 40), interpolation=cv2.INTER_AREA)).max() < 20
    )


def test_an_explanation_stands_once_for_a_kind(file):
    texts = Page(file).texts
    assert texts.count("On both sides.") == 1
    assert texts.index("On both sides.") < texts.index("2 copies")
    assert texts.index("Another reason.") > texts.index("2 more copies")


def test_an_unreadable_photo_is_a_cell_with_the_reason(file):
    assert "no picture: cannot be opened" in Page(file).texts


def test_the_balance_has_a_bar_of_shares_in_words_too(file):
    bars = [element["aria-label"] for element in Page(file).all("div") if element.get("role") == "img"]
    assert bars == ["female 25.0 %, male 75.0 %", "female 0.0 %, male 100.0 %", "female 25.0 %, male 75.0 %"]
    assert "1,200" in Page(file).texts
    assert "Photos by nothing and annotated label" not in Page(file).texts


def test_the_verdict_does_not_rest_on_colour(file):
    texts = Page(file).texts
    assert texts[texts.index("leaks between splits") + 2] == "✗ problem"
    assert texts[texts.index("unreadable photos") + 2] == "– to look at"
    assert texts[texts.index("photos") + 1 : texts.index("photos") + 3] == ["1,234", "✓ fine"]


def test_groups_and_photos_beyond_the_limits_are_counted(page, photos, tmp_path):
    many = [FindingGroup("leak", f"group {number}", "", tuple(photos[:1])) for number in range(1203)]
    big = FindingGroup("tiny", "all", "", tuple(photos[:1]) * (MAX_PHOTOS_PER_GROUP + 5))
    write_check_page(tmp_path / "check.html", replace(page, findings=(*many, big)), max_groups=3)
    shown = Page(tmp_path / "check.html")
    assert len(shown.all("img")) == 3 + MAX_PHOTOS_PER_GROUP
    assert "1,200 more are not shown." in shown.texts
    assert "5 more photos of this group are not shown." in shown.texts
    assert "Leaks between splits (1,203)" in shown.texts


def test_no_finding_is_said(page, tmp_path):
    write_check_page(tmp_path / "check.html", replace(page, findings=()))
    assert "Nothing was found that needs a picture." in Page(tmp_path / "check.html").texts


def test_names_labels_and_titles_stay_text(file):
    page = Page(file)
    assert page.all("script") == []
    assert page.handlers == []
    assert EVIL_PATH in page.texts
    assert "script-src 'none'" in page.policy


def test_the_page_names_no_address_and_no_place_of_this_machine(file, tmp_path):
    text = file.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert str(tmp_path) not in text


def test_equal_findings_give_equal_bytes(file, page, tmp_path):
    write_check_page(tmp_path / "again.html", page)
    assert (tmp_path / "again.html").read_bytes() == file.read_bytes()


def test_a_limit_below_one_is_refused(page, tmp_path):
    with pytest.raises(UsageError, match="Expected at least 1 group of a kind, got 0"):
        write_check_page(tmp_path / "check.html", page, max_groups=0)
    assert not (tmp_path / "check.html").exists()


@pytest.mark.browser
def test_a_browser_finds_nothing_to_complain_of(file, tmp_path):
    document, complaints = open_page(file, profile=tmp_path / "profile")
    assert complaints == []
    assert "<title>faces.csv</title>" in document
