"""Tables say what was measured, on what, and what speaks against it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from edgegender.errors import UsageError
from edgegender.metrics import Interval
from edgegender.reporting.csv_table import render_csv
from edgegender.reporting.tables import (
    LatencyFigure,
    ParityFigure,
    TableRow,
    clean_text,
    format_megabytes,
    format_ms,
    is_other_data,
    order_rows,
    render_markdown,
)

ROW = TableRow(
    model="edge",
    file_name="edge.tflite",
    model_sha256="ab" * 32,
    architecture="mobilenetv2",
    scheme="full_integer",
    input_size_px=96,
    size_bytes=2_712_345,
    accuracy=Interval(0.975, 0.9547, 0.9863),
    f1=Interval(0.9747, 0.958, 0.9895),
    positive_label="male",
    num_threads=1,
    latency={
        50: LatencyFigure(9_000_000, 8_990_000, 9_010_000),
        90: LatencyFigure(9_080_000, 9_070_000, 9_085_000),
        95: LatencyFigure(9_090_000, 9_085_000, 9_095_000),
        99: LatencyFigure(9_099_000, 9_095_000, None),
    },
    mean_ns=9_001_234.5,
    num_runs=500,
    load_time_ns=12_000_000,
    first_inference_ns=15_000_000,
    throughput_per_s=111.1,
    peak_memory_bytes=71_000_000,
    machine="Raspberry Pi 5",
    machine_about="Raspberry Pi 5, Cortex-A76, 4 of 4 cores",
    num_photos=5130,
    data_sha256="cd" * 32,
    data_about="faces.csv, split test, 5,130 photos",
    created="2026-05-04T10:11:12Z",
    edgegender_version="0.1.0",
    source="pi5.json",
    warnings=("p99 is 1.60 times p50",),
    engine="ai-edge-litert+xnnpack",
    engine_version="2.3.0",
)
PARITY = ParityFigure(0.00390625, 1, 64, "ai-edge-litert+reference on Raspberry Pi 5", "reference.json")
UNMEASURED = replace(ROW, accuracy=None, f1=None, num_photos=0, data_sha256="", data_about="", warnings=())


def cells(line):
    return [cell.strip() for cell in line.strip("|\n").split(" | ")]


def table(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header = cells(lines[0])
    return [dict(zip(header, cells(line), strict=True)) for line in lines[2:]]


def test_a_row_holds_every_figure_in_its_unit():
    (row,) = table(render_markdown([ROW]))
    assert row == {
        "model": "edge",
        "scheme": "full_integer",
        "input px": "96",
        "size MB": "2.71",
        "accuracy %": "97.50 [95.47, 98.63]",
        "F1 %": "97.47 [95.80, 98.95]",
        "target": "cpu",
        "engine": "ai-edge-litert+xnnpack",
        "threads": "1",
        "p50 ms": "9.00",
        "p90 ms": "9.08",
        "p99 ms": "9.10",
        "runs/s": "111",
        "peak MB": "71.0",
        "machine": "Raspberry Pi 5",
        "photos": "5,130",
        "notes": "1, 2, 3, 4, 5",
    }


def test_notes_name_machine_model_data_date_and_warnings():
    text = render_markdown([ROW])
    for note in (
        "1. Machine: Raspberry Pi 5, Cortex-A76, 4 of 4 cores.",
        "2. Model: edge, file edge.tflite, sha256 abababababab, mobilenetv2.",
        "3. Data: faces.csv, split test, 5,130 photos, sha256 cdcdcdcdcdcd; F1 is that of male.",
        "4. Measured 2026-05-04T10:11:12Z by edgegender 0.1.0, recorded in pi5.json.",
        "5. Warning: p99 is 1.60 times p50.",
    ):
        assert note in text.splitlines()


def test_rows_share_the_notes_that_they_have_in_common():
    first, second = table(render_markdown([ROW, replace(ROW, num_threads=4, warnings=())]))
    assert first["notes"] == "1, 2, 3, 4, 5"
    assert second["notes"] == "1, 2, 3, 4"


def test_what_was_not_measured_is_a_dash_and_no_zero():
    (row,) = table(render_markdown([UNMEASURED]))
    assert (row["accuracy %"], row["F1 %"], row["photos"]) == ("–", "–", "–")
    assert "Data:" not in render_markdown([UNMEASURED])


def test_rows_of_other_photos_carry_a_dagger_and_its_meaning():
    other = replace(ROW, data_sha256="ef" * 32, source="other.json")
    text = render_markdown([UNMEASURED, ROW, other])
    assert [row["photos"] for row in table(text)] == ["–", "5,130", "5,130 †"]
    assert "† Measured on other photos than the first row" in text
    assert not is_other_data(UNMEASURED, [ROW, other, UNMEASURED])


def test_rows_of_the_same_photos_carry_none():
    assert "†" not in render_markdown([ROW, replace(ROW, num_threads=2), UNMEASURED])


def test_invalid_latencies_are_called_so():
    (row,) = table(render_markdown([replace(ROW, is_valid=False)]))
    assert row["p50 ms"] == "9.00 (invalid)"


def test_strange_names_cannot_break_out_of_their_cell():
    strange = replace(ROW, model="a|b\n| c |<img src=x>[x](http://y)\x1b[2J\u202e`")
    text = render_markdown([strange])
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 3
    assert "\\|" in text
    assert "\\<img" in text
    assert "\\[x\\]" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert clean_text("\ud800 lone") == "lone"


def test_csv_holds_plain_numbers_and_intervals_in_columns_of_their_own():
    (row,) = csv.DictReader(io.StringIO(render_csv([ROW])))
    assert (float(row["accuracy"]), float(row["accuracy_low"])) == (0.975, 0.9547)
    assert (float(row["p50_ms"]), float(row["p99_low_ms"]), row["p99_high_ms"]) == (9.0, 9.095, "")
    assert (row["model_sha256"], row["data_sha256"]) == ("ab" * 32, "cd" * 32)
    assert (row["num_photos"], row["is_other_data"], row["is_valid"]) == ("5130", "0", "1")
    assert row["warnings"] == "p99 is 1.60 times p50"


def test_csv_leaves_empty_what_was_not_measured_and_marks_other_data():
    other = replace(ROW, data_sha256="ef" * 32)
    rows = list(csv.DictReader(io.StringIO(render_csv([ROW, UNMEASURED, other]))))
    assert [rows[1][name] for name in ("accuracy", "f1_high", "num_photos", "data_sha256")] == ["", "", "", ""]
    assert [row["is_other_data"] for row in rows] == ["0", "0", "1"]


def test_a_spreadsheet_finds_no_formula():
    (row,) = csv.DictReader(io.StringIO(render_csv([replace(ROW, model="=1+1", machine="@x")])))
    assert (row["model"], row["machine"]) == ("'=1+1", "'@x")


@pytest.mark.parametrize("render", [render_markdown, render_csv])
def test_no_row_is_refused(render):
    with pytest.raises(UsageError, match="Expected results for a table, got none"):
        render([])


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(999, "0.00100"), (50_000, "0.0500"), (99_999_000, "100.0"), (123_456_000, "123"), (2_300_000_000, "2300")],
)
def test_milliseconds_keep_three_digits_or_more(nanoseconds, text):
    assert format_ms(nanoseconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0.0000"), (429_708, "0.43"), (1_000_000, "1.00"), (10**9, "1000.0")])
def test_megabytes_are_millions(size, text):
    assert format_megabytes(size) == text


def test_a_slow_network_keeps_its_decimals():
    (row,) = table(render_markdown([replace(ROW, throughput_per_s=0.43)]))
    assert row["runs/s"] == "0.43"


def test_batch_energy_and_parity_have_columns_where_a_row_has_them_only():
    plain = table(render_markdown([ROW]))[0]
    assert {"batch", "mJ/run", "score difference", "flips"}.isdisjoint(plain)
    rows = table(render_markdown([replace(ROW, batch_size=8, joules_per_run=0.01234, parity=PARITY), ROW]))
    assert [rows[0][name] for name in ("batch", "mJ/run", "score difference", "flips")] == [
        "8",
        "12.3",
        "0.0039",
        "1 of 64",
    ]
    assert [rows[1][name] for name in ("batch", "mJ/run", "score difference", "flips")] == ["1", "–", "–", "–"]


def test_a_batch_changes_what_a_latency_is_of():
    assert "that of one picture:" in render_markdown([ROW])
    assert "that of one run over a batch of pictures:" in render_markdown([replace(ROW, batch_size=8)])


def test_the_reference_is_called_so_and_a_note_says_which_it_is():
    text = render_markdown([replace(ROW, parity=replace(PARITY, is_reference=True)), replace(ROW, parity=PARITY)])
    assert [row["score difference"] for row in table(text)] == ["reference", "0.0039"]
    assert (
        "Score difference and flips: on 64 golden inputs, against ai-edge-litert+reference on Raspberry Pi 5, "
        "recorded in reference.json."
    ) in text


def test_a_memory_that_the_target_does_not_tell_is_a_dash():
    row = replace(ROW, peak_memory_bytes=None)
    assert table(render_markdown([row]))[0]["peak MB"] == "–"
    assert next(csv.DictReader(io.StringIO(render_csv([row]))))["peak_memory_bytes"] == ""


def test_partial_latencies_are_called_so():
    (row,) = table(render_markdown([replace(ROW, is_partial=True, is_valid=False)]))
    assert row["p90 ms"] == "9.08 (invalid, partial)"


def test_csv_holds_target_engine_batch_energy_and_parity():
    rows = [replace(ROW, target="browser", batch_size=4, joules_per_run=0.5, parity=PARITY, is_partial=True), ROW]
    first, second = csv.DictReader(io.StringIO(render_csv(rows)))
    names = ("target", "engine", "engine_version", "batch_size", "joules_per_run", "num_flips", "num_golden_inputs")
    assert [first[name] for name in names] == ["browser", "ai-edge-litert+xnnpack", "2.3.0", "4", "0.5", "1", "64"]
    assert (first["max_score_difference"], first["parity_reference_source"]) == ("0.00390625", "reference.json")
    assert (first["is_partial"], second["is_partial"], second["num_flips"]) == ("1", "0", "")


def test_a_model_stands_side_by_side_on_several_machines_or_a_machine_with_all_its_models():
    rows = [replace(ROW, model=model, machine=machine) for machine in ("pi", "pc") for model in ("b", "a")]
    assert [(row.model, row.machine) for row in order_rows(rows, "model")] == [
        ("b", "pi"),
        ("b", "pc"),
        ("a", "pi"),
        ("a", "pc"),
    ]
    assert order_rows(rows, "machine") == rows
    assert order_rows(rows[::-1], "given") == rows[::-1]
    mixed = [rows[0], rows[2], rows[1], rows[3]]
    assert order_rows(mixed, "machine") == rows
