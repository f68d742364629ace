"""Writes the README's table anew from the recorded result that the README names.

Run: python tools/update_readme_table.py
"""

from __future__ import annotations

import re
from pathlib import Path

from edgegender.benchmark.result import read_result
from edgegender.cli.report import table_rows
from edgegender.files import write_text
from edgegender.reporting.tables import render_markdown

README = Path(__file__).parent.parent / "README.md"
TABLE = re.compile(r"(<!-- table: made by `edgegender report (\S+)` -->\n).*?(\n<!-- /table -->)", re.DOTALL)


def main() -> None:
    """Replaces what stands between the table's two comments."""
    text = README.read_text("utf-8")
    found = TABLE.search(text)
    if found is None:
        raise SystemExit(f"error: Expected the table's comments, got none ({README.name}).")
    record = README.parent / found[2]
    table = render_markdown(table_rows(read_result(record), source=record.name)).strip()
    write_text(README, text[: found.start()] + found[1] + table + found[3] + text[found.end() :])
    print(f"{README.name}: table of {found[2]}")


if __name__ == "__main__":
    main()
