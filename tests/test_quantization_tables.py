"""The tables of the quantization page say what the records say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from edgegender.errors import ResultFileError
from edgegender.reporting.scheme_table import rows_from_json

ROOT = Path(__file__).parent.parent
MAKER = runpy.run_path(str(ROOT / "benchmarks" / "quantization" / "make_tables.py"))
RECORDS = sorted((ROOT / "benchmarks" / "quantization").glob("*.json"))


def test_the_page_is_what_the_records_give() -> None:
    page = (ROOT / "docs" / "quantization.md").read_text("utf-8")
    # to renew it: python benchmarks/quantization/make_tables.py
    assert MAKER["render"](page) == page


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_record_names_no_place_of_the_machine_that_made_it(record: Path) -> None:
    assert ': "/' not in record.read_text("utf-8")


def test_another_record_is_refused() -> None:
    with pytest.raises(ResultFileError, match=r"Expected a record of schema edgegender.schemes/1, got None"):
        rows_from_json(json.loads("{}"))
