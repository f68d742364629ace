"""A sheet on which a person says which labels are wrong, as one HTML page, and the decisions that it gives back."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgegender.data.manifest_file import read_table
from edgegender.errors import ManifestError, UsageError
from edgegender.reporting.pages import write_page

DECISIONS = ("wrong", "right", "unclear")
COLUMNS = ("path", "label", "decision")
THUMBNAIL_PX = 224
_SAVE_HINT = "Open the review sheet in a browser, decide, and press “Save decisions”."


@dataclass(frozen=True)
class ReviewedRow:
    """One photo whose label is in doubt.

    Args:
        rank: 1 for the most doubtful.
        path: As the manifest has it.
        file: Where the photo stands.
        label: The annotated label.
        suggested_label: What the audit takes for more likely.
        score: What the audit measured, to three decimals on the sheet.
    """

    rank: int
    path: str
    file: Path
    label: str
    suggested_label: str
    score: float


@dataclass(frozen=True)
class _Card:
    index: int
    rank: int
    path: str
    file: Path
    label: str
    suggested_label: str
    score: str
    data: str  # JSON for the script: control characters and lone surrogates survive HTML only in this form


def _card(index: int, row: ReviewedRow) -> _Card:
    data = json.dumps({"path": row.path, "label": row.label})
    return _Card(index, row.rank, row.path, row.file, row.label, row.suggested_label, f"{row.score:.3f}", data)


def _sheet_id(rows: list[ReviewedRow]) -> str:
    """Names the decisions in the browser: the same questions find their answers again, others do not."""
    questions = json.dumps([(row.path, row.label, row.suggested_label) for row in rows])
    return hashlib.sha256(questions.encode()).hexdigest()[:16]


def write_review_sheet(
    path: Path, rows: Iterable[ReviewedRow], *, title: str, explanation: str = "", score_name: str = "score"
) -> None:
    """Writes a page with each picture, its annotated and its suggested label, and a choice: wrong, right or unclear.

    The page is one file and loads nothing. Its script keeps the decisions in the browser, so that a closed tab loses
    none, and saves them as a CSV for :func:`read_decisions`. Keys: 1, 2, 3 decide, J and K move.

    Args:
        path: Where; the decisions' file is proposed with the same stem.
        rows: In the order in which to ask.
        title: What is reviewed.
        explanation: What the ranking and the score mean. May be empty.
        score_name: What the score is called on the sheet.

    Raises:
        UsageError: A path stands there twice.
        MissingDependencyError: Jinja2 is not installed.
        OutputError: The file cannot be written.
    """
    listed = list(rows)
    repeated = [name for name, times in Counter(row.path for row in listed).items() if times > 1]
    if repeated:
        raise UsageError(f"Expected each path once, got {repeated[0]!r} twice ({path.name}).")
    values = {
        "title": title,
        "explanation": explanation,
        "score_name": score_name,
        "rows": [_card(index, row) for index, row in enumerate(listed)],
        "decisions": DECISIONS,
        "sheet_id": _sheet_id(listed),
        "file_name": f"{path.stem}-decisions.csv",
        "thumbnail_px": THUMBNAIL_PX,
    }
    write_page(path, "review_sheet.html", values, script="review_sheet.js")


def read_decisions(path: Path) -> dict[str, str]:
    """Returns the decision, ``wrong``, ``right`` or ``unclear``, for each path; undecided rows are left out.

    Args:
        path: The CSV that the sheet saved, or one with the columns path and decision.

    Raises:
        ManifestError: The file is missing or no CSV, lacks a column, repeats a path, or holds another decision; the
            message names file and row.
    """
    if not path.is_file():
        raise ManifestError(f"Expected a file of decisions, got none ({path}).", hint=_SAVE_HINT)
    names, table = read_table(path)
    missing = [name for name in ("path", "decision") if name not in names]
    if missing:
        raise ManifestError(
            f"Expected the columns {', '.join(COLUMNS)}, got {', '.join(names) or 'none'} ({path}).", hint=_SAVE_HINT
        )
    decisions: dict[str, str] = {}
    rows: dict[str, int] = {}
    for number, cells in table.items():
        name, decision = cells["path"], cells["decision"].strip()
        if name in rows:
            raise ManifestError(f"Expected each path once, got {name} in rows {rows[name]} and {number} ({path}).")
        rows[name] = number
        if decision and decision not in DECISIONS:
            raise ManifestError(
                f"Expected a decision of {', '.join(DECISIONS)}, got {decision!r} ({path}, row {number}).",
                hint="Leave the cell empty where nobody has decided.",
            )
        if decision:
            decisions[name] = decision
    return decisions
