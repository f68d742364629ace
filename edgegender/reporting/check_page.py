"""What ``data check`` found, as one HTML page with the pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgegender.errors import UsageError
from edgegender.reporting.counting import Counts, simplify
from edgegender.reporting.drawing import OTHERS_COLOR, Look, look_of_labels
from edgegender.reporting.pages import write_page

THUMBNAIL_PX = 160
MAX_GROUPS = 200
MAX_PHOTOS_PER_GROUP = 12
# kind → heading, what spoils a measured figure first; any other kind comes behind them, under its own name
HEADINGS = {
    "leak": "Leaks between splits",
    "conflict": "The same picture under two labels",
    "changed": "Files that changed",
    "unreadable": "Unreadable photos",
    "exact_duplicate": "Exact duplicates",
    "near_duplicate": "Near duplicates",
    "tiny": "Tiny photos",
}
Status = Literal["ok", "note", "problem"]
_VERDICTS: Mapping[Status, str] = {"ok": "✓ fine", "note": "– to look at", "problem": "✗ problem"}


@dataclass(frozen=True)
class CheckedPhoto:
    """One picture of a finding.

    Args:
        path: As the manifest has it.
        file: Where the photo stands.
        label: The annotated label.
        split: Empty when there is none.
        note: What else to say of it, such as a distance or a reason. May be empty.
    """

    path: str
    file: Path
    label: str
    split: str = ""
    note: str = ""


@dataclass(frozen=True)
class FindingGroup:
    """Photos that belong together: copies of one picture, or one photo with a fault.

    Args:
        kind: One of ``HEADINGS``, or a new one.
        title: What stands above the pictures.
        explanation: What it means and what to do; the same text is shown once for all groups of a kind.
        photos: At least one.
    """

    kind: str
    title: str
    explanation: str
    photos: tuple[CheckedPhoto, ...]


@dataclass(frozen=True)
class CheckPage:
    """All that the page shows. Nothing in it names the machine or the time: equal findings give equal pages.

    Args:
        title: Such as the manifest's name.
        summary: Name, count and status of each check.
        counts: Split → label → number of photos.
        groups: Column → value → label → number of photos.
        findings: In the order in which to show them.
    """

    title: str
    summary: tuple[tuple[str, int, Status], ...]
    counts: Counts
    groups: Mapping[str, Counts]
    findings: tuple[FindingGroup, ...]


@dataclass(frozen=True)
class _Label:
    name: str
    color: str


@dataclass(frozen=True)
class _Part:
    label: str
    color: str
    count: int
    percent: float


@dataclass(frozen=True)
class _BalanceRow:
    name: str
    parts: tuple[_Part, ...]
    total: int


@dataclass(frozen=True)
class _Balance:
    labels: tuple[_Label, ...]
    rows: tuple[_BalanceRow, ...]


@dataclass(frozen=True)
class _Section:
    heading: str
    explanation: str
    groups: tuple[FindingGroup, ...]
    num_groups: int


def _balance(counts: Counts) -> _Balance:
    drawn = simplify(counts)
    names = list(next(iter(drawn.values()), {}))
    looks = look_of_labels([name for name in names if any(name in row for row in counts.values())])
    labels = tuple(_Label(name, looks.get(name, Look(OTHERS_COLOR)).color) for name in names)
    rows = []
    for value, row in drawn.items():
        total = sum(row.values())
        parts = (_Part(one.name, one.color, row[one.name], 100 * row[one.name] / max(1, total)) for one in labels)
        rows.append(_BalanceRow(value, tuple(parts), total))
    return _Balance(labels, tuple(rows))


def _sections(findings: tuple[FindingGroup, ...], max_groups: int) -> list[_Section]:
    by_kind: dict[str, list[FindingGroup]] = {kind: [] for kind in HEADINGS}
    for group in findings:
        by_kind.setdefault(group.kind, []).append(group)
    return [
        _Section(
            heading=HEADINGS.get(kind, kind.replace("_", " ").capitalize()),
            explanation=groups[0].explanation,
            groups=tuple(groups[:max_groups]),
            num_groups=len(groups),
        )
        for kind, groups in by_kind.items()
        if groups
    ]


def write_check_page(path: Path, page: CheckPage, *, max_groups: int = MAX_GROUPS) -> None:
    """Writes the page as one file: pictures of at most 160 pixels are inside, no script runs, nothing is loaded.

    Of each group at most 12 photos are shown, and the page says how many are not. A photo that cannot be read is an
    empty cell with the reason.

    Args:
        path: Where.
        page: What to show.
        max_groups: Groups of a kind that are shown, at least 1.

    Raises:
        UsageError: ``max_groups`` is out of its range.
        MissingDependencyError: Jinja2 is not installed.
        OutputError: The file cannot be written.
    """
    if max_groups < 1:
        raise UsageError(f"Expected at least 1 group of a kind, got {max_groups}.")
    balances = [("split", page.counts), *page.groups.items()]
    values = {
        "title": page.title,
        "summary": page.summary,
        "verdicts": _VERDICTS,
        "balances": [(name, _balance(counts)) for name, counts in balances if counts],
        "sections": _sections(page.findings, max_groups),
        "max_photos": MAX_PHOTOS_PER_GROUP,
        "thumbnail_px": THUMBNAIL_PX,
    }
    write_page(path, "check_page.html", values)
