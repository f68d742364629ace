"""A review sheet asks about each picture, keeps the answers, and reads them back; no name becomes markup."""

from __future__ import annotations

import csv
import io
import json
import sys
from html import unescape
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.errors import ManifestError, MissingDependencyError, OutputError, UsageError
from edgegender.reporting.review_sheet import DECISIONS, ReviewedRow, read_decisions, write_review_sheet
from tests.reporting.browser import open_page
from tests.reporting.html import Page

EVIL_PATH = "<img src=x onerror=\"document.title='taken'\">.jpg"
EVIL_LABEL = "</script><script>document.title='taken'</script>\"'=1+1"


@pytest.fixture
def rows(tmp_path):
    drawn = write_drawn_faces(tmp_path / "photos", num_faces=4, seed=5, size_px=64)
    listed = [
        ReviewedRow(rank, row.path, tmp_path / "photos" / row.path, row.label, "other", 0.1 * rank)
        for rank, row in enumerate(drawn, start=1)
    ]
    (tmp_path / "photos" / EVIL_PATH.replace("/", "")).write_bytes(listed[0].file.read_bytes())
    evil = ReviewedRow(5, EVIL_PATH, tmp_path / "photos" / EVIL_PATH, EVIL_LABEL, EVIL_LABEL, 0.5)
    gone = ReviewedRow(6, '=gone, \r\n"it".jpg', tmp_path / "gone.jpg", "-1", "@x", 0.6)
    return [*listed, evil, gone]


@pytest.fixture
def sheet(tmp_path, rows):
    write_review_sheet(tmp_path / "audit.html", rows, title="Labels in doubt", score_name="label quality")
    return tmp_path / "audit.html"


def test_each_row_has_its_picture_labels_score_and_choices(sheet, rows):
    page = Page(sheet)
    assert len(page.all("article")) == len(rows)
    assert [image["alt"] for image in page.all("img")] == [f"Photo {row.path}" for row in rows[:5]]
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    radios = page.all("input")
    assert [radio["value"] for radio in radios] == list(DECISIONS) * len(rows)
    assert len({radio["name"] for radio in radios}) == len(rows)
    text = sheet.read_text()
    assert "no picture: cannot be opened" in text
    assert "<dt>label quality</dt><dd>0.100</dd>" in text


def test_the_script_gets_paths_and_labels_letter_by_letter(sheet, rows):
    data = [json.loads(article["data-row"]) for article in Page(sheet).all("article")]
    assert data == [{"path": row.path, "label": row.label} for row in rows]


def test_names_and_labels_stay_text(sheet):
    page = Page(sheet)
    assert len(page.all("script")) == 1
    assert page.handlers == []


def test_the_page_names_no_address_and_no_place_of_this_machine(sheet, tmp_path):
    text = sheet.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert str(tmp_path) not in text
    assert Page(sheet).policy.startswith("default-src 'none'; img-src data:;")


def test_the_same_rows_give_the_same_bytes(sheet, rows, tmp_path):
    write_review_sheet(tmp_path / "b" / "audit.html", iter(rows), title="Labels in doubt", score_name="label quality")
    assert (tmp_path / "b" / "audit.html").read_bytes() == sheet.read_bytes()


def test_other_questions_are_kept_under_another_name(sheet, rows, tmp_path):
    write_review_sheet(tmp_path / "fewer.html", rows[:3], title="Labels in doubt")
    (one,), (other,) = Page(sheet).all("main"), Page(tmp_path / "fewer.html").all("main")
    assert one["data-sheet"] != other["data-sheet"]


def test_a_path_that_stands_twice_is_refused(rows, tmp_path):
    with pytest.raises(UsageError, match=r"Expected each path once, got '.*00001\.jpg' twice \(audit\.html\)"):
        write_review_sheet(tmp_path / "audit.html", [rows[0], rows[0]], title="x")


def test_without_jinja2_the_extra_is_named(rows, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingDependencyError, match="Expected the package Jinja2") as caught:
        write_review_sheet(tmp_path / "audit.html", rows, title="x")
    assert "edgegender[report]" in caught.value.hint
    assert not (tmp_path / "audit.html").exists()


def test_a_sheet_that_cannot_be_written_is_an_output_error(rows, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="Expected to write"):
        write_review_sheet(tmp_path / "file" / "audit.html", rows, title="x")


DRIVER = """<!DOCTYPE html><meta charset="utf-8"><iframe src="audit.html" width="900" height="700"></iframe><pre></pre>
<script>
document.querySelector("iframe").onload = async (event) => {
  const view = event.target.contentWindow, page = view.document;
  const press = (key, more) => page.dispatchEvent(new view.KeyboardEvent("keydown", {key, bubbles: true, ...more}));
  const answer = {title: page.title, before: page.getElementById("progress").textContent};
  press("1"); press("2"); press("J"); press("3"); press("k"); press("2");
  press("1", {ctrlKey: true}); press("x");
  page.querySelectorAll("article")[5].querySelector("input[value=right]").click();
  page.querySelectorAll("article")[0].querySelector("input[value=unclear]").click();
  answer.after = page.getElementById("progress").textContent;
  answer.focused = page.activeElement.name;
  answer.isStored = page.getElementById("not-kept").hidden;
  view.URL.createObjectURL = (blob) => { answer.blob = blob; return "#saved"; };
  view.HTMLAnchorElement.prototype.click = function () { answer.name = this.download; };
  page.getElementById("save").click();
  answer.csv = await answer.blob.text();
  answer.type = answer.blob.type;
  document.querySelector("pre").textContent = JSON.stringify(answer);
};
</script>
"""


@pytest.mark.browser
def test_a_browser_collects_keeps_and_saves_decisions(sheet, rows, tmp_path):
    (tmp_path / "driver.html").write_text(DRIVER)
    document, complaints = open_page(tmp_path / "driver.html", profile=tmp_path / "profile")
    assert complaints == []
    answer = json.loads(unescape(document.split("<pre>")[1].split("</pre>")[0]))
    assert answer["title"] == "Labels in doubt"
    assert (answer["before"], answer["after"]) == ("0 of 6 decided", "4 of 6 decided")
    assert answer["focused"] == "decision-4"
    assert answer["isStored"] is True
    assert (answer["name"], answer["type"]) == ("audit-decisions.csv", "text/csv;charset=utf-8")
    expected = {0: "unclear", 1: "right", 2: None, 3: "right", 4: None, 5: "right"}
    # keys: 1 and 2 decide the first two; J skips the third; 3 decides the fourth; K goes back to it, 2 corrects it
    (tmp_path / "decisions.csv").write_bytes(answer["csv"].encode())
    decided = {rows[index].path: decision for index, decision in expected.items() if decision}
    assert read_decisions(tmp_path / "decisions.csv") == decided
    saved = list(csv.DictReader(io.StringIO(answer["csv"], newline="")))
    assert [(row["path"], row["label"]) for row in saved if row["path"] == rows[5].path] == [(rows[5].path, "-1")]

    document, complaints = open_page(sheet, profile=tmp_path / "profile")
    assert complaints == []
    assert ">4 of 6 decided</output>" in document
    assert document.count(' data-decision="right">') == 3
    assert "<title>Labels in doubt</title>" in document


def write_decisions(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "decisions.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_decisions_are_read_by_path_and_undecided_rows_left_out(tmp_path):
    file = write_decisions(
        tmp_path, 'path,label,decision\n" a.jpg",x,wrong\r\n"b,\n.jpg",y, right \nc.jpg,z,\nd.jpg,z,unclear\n'
    )
    assert read_decisions(file) == {" a.jpg": "wrong", "b,\n.jpg": "right", "d.jpg": "unclear"}


def test_decisions_need_no_label_and_may_come_from_a_spreadsheet(tmp_path):
    file = write_decisions(tmp_path, "\ufeffdecision,path,note\nwrong,a.jpg,because\n")
    assert read_decisions(file) == {"a.jpg": "wrong"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,decision\na.jpg,x,wrong\nb.jpg,x,maybe\n", r"wrong, right, unclear, got 'maybe' \(.*csv, row 3\)"),
        ("path,label,decision\na.jpg,x,wrong\n\na.jpg,x,\n", r"each path once, got a\.jpg in rows 2 and 4"),
        ("path,label\na.jpg,x\n", r"columns path, label, decision, got path, label \(.*decisions\.csv\)"),
        ("", r"columns path, label, decision, got none"),
        ("path,decision\na.jpg,x,wrong\n", r"as many cells as the header has"),
    ],
)
def test_wrong_decisions_name_file_and_row(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_decisions(write_decisions(tmp_path, text))


def test_missing_decisions_say_how_to_make_them(tmp_path):
    with pytest.raises(ManifestError, match="Expected a file of decisions, got none") as caught:
        read_decisions(tmp_path / "none.csv")
    assert "Save decisions" in caught.value.hint
