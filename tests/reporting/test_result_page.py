"""The page shows table, plots and histograms, sorts by a click, needs no address, and lets no name become markup."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgegender.errors import UsageError
from edgegender.reporting.histograms import count_latencies
from edgegender.reporting.result_page import write_result_page
from tests.reporting.browser import open_page
from tests.reporting.html import Page
from tests.reporting.test_pareto import row
from tests.reporting.test_tables import PARITY, ROW, UNMEASURED

EVIL = "</title></svg><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
HISTOGRAM = count_latencies([9_000_000 + 1000 * number for number in range(500)])


def rows():
    full = {50: ROW.latency[50], 90: ROW.latency[90], 95: ROW.latency[95], 99: ROW.latency[99]}
    drawn = [
        row("slow", 0.97, 12.0, warnings=("p99 is 1.60 times p50",), source="slow.json"),
        row("fast", 0.95, 1.5, warnings=(), source="fast.json", command_line="edgegender benchmark fast.tflite"),
        row("hot", 0.99, 100.0, warnings=("the machine slowed itself down",), is_valid=False, source="hot.json"),
    ]
    named = [replace(one, latency={**full, **one.latency}, histogram=HISTOGRAM) for one in drawn]
    phone = replace(UNMEASURED, model="phone", target="browser", machine="Phone", is_partial=True, parity=PARITY)
    return [*named, replace(phone, source="phone.json")]


@pytest.fixture
def file(tmp_path):
    write_result_page(tmp_path / "results.html", rows(), title="Table of 2026")
    return tmp_path / "results.html"


def test_the_table_has_the_columns_of_the_other_forms_and_the_record(file):
    texts = Page(file).texts
    header = texts[texts.index("#") : texts.index("record") + 1]
    assert header[:4] == ["#", "model", "scheme", "input px"]
    assert header[-5:] == ["score difference", "flips", "machine", "photos", "record"]


def test_a_warning_stands_with_its_row_and_invalid_and_partial_rows_are_counted(file):
    page = Page(file)
    texts = page.texts
    row_text = texts[texts.index("fast.json") + 1 : texts.index("hot.json")]
    assert "the machine slowed itself down" in row_text
    assert "100 (invalid)" in row_text
    assert any(text.startswith("Invalid: 1 of 4 configurations") for text in texts)
    assert any(text.startswith("Partial: 1 of 4 configurations") for text in texts)
    assert [tag.get("class") for tag in page.all("tr") if tag.get("id")] == [None, None, "invalid", "partial"]


def test_links_lead_to_machine_model_photos_record_and_row(file):
    page = Page(file)
    places = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    targets = {str(link["href"]) for link in page.all("a")}
    assert all(target.startswith("#") and target[1:] in places for target in targets)
    assert {"#r1", "#m1", "#m2", "#o1", "#d1", "#f1"} <= targets
    assert "measured 2026-05-04T10:11:12Z by edgegender 0.1.0; edgegender benchmark fast.tflite" in page.texts


def test_each_machine_and_target_has_a_plot_and_each_configuration_a_histogram(file):
    labels = [svg.get("aria-label") for svg in Page(file).all("svg") if svg.get("aria-label")]
    assert labels == ["Accuracy against p90 latency on Raspberry Pi 5, cpu"]  # no accuracy was measured on the phone
    assert sum(svg.get("viewbox") == "0 0 216 44" for svg in Page(file).all("svg")) == 3
    assert any(text == "500 runs, 5 not drawn" for text in Page(file).texts)


def test_the_plot_takes_another_percentile(tmp_path):
    write_result_page(tmp_path / "p50.html", rows(), title="x", percent=50)
    assert "p50 latency, ms, logarithmic" in Page(tmp_path / "p50.html").texts


def test_a_page_without_accuracy_has_no_plot(tmp_path):
    write_result_page(tmp_path / "x.html", [UNMEASURED], title="x")
    assert "Accuracy against latency" not in Page(tmp_path / "x.html").texts


def test_a_model_stands_side_by_side_on_all_machines(tmp_path):
    pair = [row("a", 0.9, 1.0), row("a", 0.9, 2.0, machine="PC", is_valid=False), row("b", 0.9, 4.0, machine="PC")]
    latency = {**ROW.latency}
    pair = [replace(one, latency={**latency, **one.latency}) for one in pair]
    write_result_page(tmp_path / "x.html", pair, title="x")
    texts = Page(tmp_path / "x.html").texts
    start = texts.index("Side by side: p90 latency, ms")
    assert texts[start + 1 : start + 10] == [
        "model",
        "Raspberry Pi 5",
        "PC",
        "a",
        "1.00",
        "2.00 (invalid)",
        "b",
        "–",
        "4.00",
    ]
    write_result_page(tmp_path / "x.html", pair[:1], title="x")
    assert "Side by side: p90 latency, ms" not in Page(tmp_path / "x.html").texts


def test_the_reference_of_the_parity_is_named(file):
    assert any("with those of: ai-edge-litert+reference on Raspberry Pi 5." in text for text in Page(file).texts)


def test_names_stay_text_and_the_page_runs_its_own_script_only(tmp_path):
    evil = replace(rows()[0], model=EVIL, machine=EVIL, warnings=(EVIL,), source=EVIL, engine=EVIL, data_about=EVIL)
    write_result_page(tmp_path / "x.html", [evil, *rows()], title=EVIL)
    page = Page(tmp_path / "x.html")
    assert len(page.all("script")) == 1
    assert page.handlers == []
    assert page.all("img") == []
    assert "script-src 'sha256-" in page.policy


def test_the_page_names_no_address(file):
    text = file.read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in Page(file).policy


def test_equal_rows_give_equal_bytes(file, tmp_path):
    write_result_page(tmp_path / "again.html", rows(), title="Table of 2026")
    assert (tmp_path / "again.html").read_bytes() == file.read_bytes()


def test_no_row_is_refused(tmp_path):
    with pytest.raises(UsageError, match="Expected results for a table, got none"):
        write_result_page(tmp_path / "x.html", [], title="x")
    assert not (tmp_path / "x.html").exists()


@pytest.mark.browser
def test_a_click_sorts_the_table_and_a_second_one_turns_it(file, tmp_path):
    driver = tmp_path / "driver.html"
    driver.write_text(
        f"""<!DOCTYPE html><iframe id="frame" src="{file.name}"></iframe><script>
        document.getElementById("frame").addEventListener("load", (event) => {{
          const inner = event.target.contentDocument;
          const all = (selector) => [...inner.querySelectorAll(selector)];
          const models = () => all("#results tbody tr td:nth-child(2) a").map((link) => link.textContent);
          const click = (name) => all("#results th button").find((button) => button.textContent === name).click();
          const seen = [models()];
          for (const name of ["p90 ms", "p90 ms", "accuracy %", "model"]) {{ click(name); seen.push(models()); }}
          document.body.dataset.seen = JSON.stringify(seen);
        }});
        </script>""",
        encoding="utf-8",
    )
    document, complaints = open_page(driver, profile=tmp_path / "profile")
    assert complaints == []
    text = document.split('data-seen="')[1].split('"')[0].replace("&quot;", '"')
    given, by_latency, turned, by_accuracy, by_name = json.loads(text)
    assert given == ["slow", "fast", "hot", "phone"]
    assert by_latency == ["fast", "phone", "slow", "hot"]
    assert turned == ["hot", "slow", "phone", "fast"]
    assert by_accuracy == ["fast", "slow", "hot", "phone"]  # what was not measured comes last
    assert by_name == ["fast", "hot", "phone", "slow"]
