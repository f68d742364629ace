"""The figures of docs/camera.md are those of the records."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "camera" / "make_table.py"


def test_the_page_holds_the_recorded_figures() -> None:
    specification = importlib.util.spec_from_file_location("make_table", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    page = module.PAGE.read_text("utf-8")
    assert "| `full` |" in page
    assert module.fill(page) == page
