"""Writes the tables of the README and of docs/results anew, by the commands that stand beside them.

Run: python tools/update_readme_table.py
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from edgegender.files import write_text

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "results" / "README.md")
TABLE = re.compile(r"(<!-- table: made by `edgegender (report [^`]+)` -->\n).*?(\n<!-- /table -->)", re.DOTALL)


def expand(words: list[str]) -> list[str]:
    """Returns the words of a command with patterns of files as a shell puts them in, from the repository's root."""
    expanded = []
    for word in words:
        found = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(word)) if "*" in word else []
        expanded += found or [word]
    return expanded


def make_table(command: str) -> str:
    """Returns what a command such as ``report a.json b.json`` prints."""
    words = [sys.executable, "-m", "edgegender", *expand(shlex.split(command))]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    return done.stdout.strip()


def renew(text: str) -> str:
    """Returns a page with its tables made anew."""
    return TABLE.sub(lambda found: found[1] + make_table(found[2]) + found[3], text)


def main() -> None:
    """Replaces what stands between the comments of each table."""
    for page in PAGES:
        text = page.read_text("utf-8")
        if not TABLE.search(text):
            raise SystemExit(f"error: Expected the table's comments, got none ({page.name}).")
        write_text(page, renew(text))
        print(f"{page.relative_to(ROOT)}: tables are those of the records")


if __name__ == "__main__":
    main()
