"""The table of schemes: one line a file, empty cells for what failed, reasons below; the record keeps all of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgegender.metrics import Interval, interval_to_json, wilson_interval
from edgegender.reporting.scheme_table import SCHEMES_SCHEMA, SchemeRow, format_schemes, schemes_to_json

ABOUT: dict[str, object] = {
    "network": "mobilenetv2 1.0",
    "input_size_px": 96,
    "num_photos": 2000,
    "split": "test",
    "num_representative": 400,
    "num_threads": 1,
}
PASSED = SchemeRow(
    name="full_integer",
    mark="✅",
    size_bytes=2_734_999,
    compressed_bytes=2_215_000,
    accuracy=Interval(0.9712, 0.9629, 0.9777),
    difference=Interval(-0.00125, -0.0041, 0.0016),
    flips=11,
    flip_rate=wilson_interval(11, 2000),
    max_score_change=0.1234,
    p50_ms=0.8751,
    p90_ms=1.02,
)
REFUSED = replace(PASSED, name="int16x8", mark="❎", problem="accuracy falls by 0.60 points, more than 0.5")
FAILED = SchemeRow(name="mixed_integer", mark="❌", problem="Expected integer operators alone, got float32 in ADD.")


def table_of(text: str) -> list[list[str]]:
    """Returns the cells of each line of the one table."""
    return [
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]


def test_each_file_is_a_line_with_its_figures() -> None:
    header, _, line = table_of(format_schemes([PASSED], ABOUT))
    assert dict(zip(header, line, strict=True)) == {
        "": "✅",
        "scheme": "full_integer",
        "size MB": "2.73",
        "gzip MB": "2.21",
        "accuracy %": "97.12 [96.29, 97.77]",
        "change, points": "-0.12 [-0.41, +0.16]",
        "flips %": "0.55",
        "largest score change": "0.123",
        "p50 ms": "0.875",
        "p90 ms": "1.020",
    }


def test_no_change_has_no_minus_sign() -> None:
    row = replace(PASSED, difference=Interval(-0.0, -0.001, 0.001))
    assert table_of(format_schemes([row], ABOUT))[2][5] == "+0.00 [-0.10, +0.10]"


def test_lines_come_in_the_order_given_and_all_have_as_many_cells() -> None:
    text = format_schemes([REFUSED, FAILED, PASSED], ABOUT)
    # counted by hand: an empty cell between two bars is a cell, too
    bars = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert bars == {11}
    assert [line[1] for line in table_of(text)[2:]] == ["int16x8", "mixed_integer", "full_integer"]
    assert [line[0] for line in table_of(text)[2:]] == ["❎", "❌", "✅"]
    assert text.splitlines()[3] == "|" + "---|" * 10


def test_what_failed_has_empty_cells() -> None:
    line = format_schemes([FAILED], ABOUT).splitlines()[4]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == ["❌", "mixed_integer", *[""] * 8]


@pytest.mark.parametrize(
    "name",
    ["size_bytes", "compressed_bytes", "accuracy", "difference", "flip_rate", "max_score_change", "p50_ms", "p90_ms"],
)
def test_a_figure_that_is_missing_empties_its_own_cell_only(name: str) -> None:
    full, part = (table_of(format_schemes([row], ABOUT))[2] for row in (PASSED, replace(PASSED, **{name: None})))
    changed = [(before, after) for before, after in zip(full, part, strict=True) if before != after]
    assert len(changed) == 1
    assert changed[0][1] == ""


def test_reasons_stand_below_and_end_with_one_full_stop() -> None:
    lines = format_schemes([PASSED, REFUSED, FAILED], ABOUT).splitlines()
    assert lines[-2:] == [
        "- ❎ int16x8: accuracy falls by 0.60 points, more than 0.5.",
        "- ❌ mixed_integer: Expected integer operators alone, got float32 in ADD.",
    ]
    assert not any(line.startswith("- ") for line in format_schemes([PASSED], ABOUT).splitlines())


def test_the_head_says_what_was_measured_and_the_foot_what_the_marks_mean() -> None:
    text = format_schemes([PASSED], ABOUT)
    assert text.startswith("mobilenetv2 1.0 at 96 px, 2000 photos of split test, calibrated on 400; 95 % intervals")
    assert "latency on 1 thread, by turns.\n\n|" in text  # Markdown needs the empty line before a table
    assert text.endswith("\n\n✅ passed the gate · ❎ converted but refused · ❌ failed. 1 MB = 1,000,000 bytes.\n")


def test_a_table_without_files_is_a_head() -> None:
    assert len(table_of(format_schemes([], ABOUT))) == 2


def test_the_record_holds_every_field_of_every_row_and_the_whole_reports() -> None:
    gates: dict[str, object] = {"full_integer": {"is_passed": True}}
    record = json.loads(json.dumps(schemes_to_json([PASSED, FAILED], ABOUT, gates), allow_nan=False))
    assert record["schema"] == SCHEMES_SCHEMA == "edgegender.schemes/1"
    assert {name: record[name] for name in ABOUT} == ABOUT
    assert record["gates"] == gates
    passed, failed = record["rows"]
    assert passed == {
        "name": "full_integer",
        "mark": "✅",
        "size_bytes": 2_734_999,
        "compressed_bytes": 2_215_000,
        "accuracy": {"value": 0.9712, "low": 0.9629, "high": 0.9777},
        "difference": {"value": -0.00125, "low": -0.0041, "high": 0.0016},
        "flips": 11,
        "flip_rate": interval_to_json(wilson_interval(11, 2000)),
        "max_score_change": 0.1234,
        "p50_ms": 0.8751,
        "p90_ms": 1.02,
        "problem": "",
    }
    assert {name for name, value in failed.items() if value is not None} == {"name", "mark", "problem"}
    assert list(failed) == list(passed)
