"""What ``edgegender data check`` found, told as text and as a page with the pictures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import print_counts

if TYPE_CHECKING:
    from edgegender.data.check import DataReport
    from edgegender.data.manifest import Manifest
    from edgegender.reporting.check_page import FindingGroup, Status
    from edgegender.reporting.counting import Counts

_MAX_LINES = 5
_MAX_GROUP_VALUES = 30  # a column of more values is a name and no group
_NO_GROUPS = frozenset(
    {"label", "split", "width", "height", "original", "person", "block", "duplicates", "label_quality"}
)

_PROBLEMS = frozenset({"leak", "conflict", "changed"})
_LEAK = "The network is tested on what it learned. Split anew: edgegender data split MANIFEST --group-by "
_CONFLICT = "One of the labels is wrong, or the picture does not show it. Exclude both or correct the label."
# kind, name, what it means and what to do
_KINDS = {
    "leaks": ("leak", "leaks: the same bytes", f"{_LEAK}duplicates"),
    "near_leaks": ("leak", "leaks: near duplicates", f"{_LEAK}duplicates"),
    "person_leaks": ("leak", "leaks: the same person", f"{_LEAK}person"),
    "conflicts": ("conflict", "conflicting labels: the same bytes", _CONFLICT),
    "near_conflicts": ("conflict", "conflicting labels: near duplicates", _CONFLICT),
    "changed": ("changed", "changed since indexing", "It is not the file that was indexed. Index the folder anew."),
    "unreadable": ("unreadable", "unreadable photos", "Copy the file again or leave it out."),
    "duplicates": ("exact_duplicate", "exact duplicates", "The same bytes and the same label: one is enough."),
    "near_duplicates": ("near_duplicate", "near duplicates", "Encoded again, resized or changed a little."),
    "tiny": ("tiny", "tiny photos", "Too few pixels for a network: what is added by enlarging is no face."),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """One kind of fault: how many, and each as a group of (path, note)."""

    kind: str
    name: str
    explanation: str
    groups: tuple[tuple[tuple[str, str], ...], ...]
    is_group: bool

    @property
    def status(self) -> Status:
        """How the page marks it."""
        return "ok" if not self.groups else "problem" if self.kind in _PROBLEMS else "note"


def name_unseen(manifest: Manifest, report: DataReport) -> dict[str, str]:
    """Returns the fields of the report that are empty because nobody looked, and why."""
    unseen = {}
    if report.near_duplicates is None:
        unseen.update(dict.fromkeys(("near_leaks", "near_conflicts", "near_duplicates"), "--no-near"))
    if "person" not in manifest.column_names:
        unseen["person_leaks"] = "the manifest has no column person"
    return unseen


def find_faults(report: DataReport, unseen: Mapping[str, str]) -> list[Finding]:
    """Returns each kind of fault that was looked for, what spoils a measured figure first."""
    findings = []
    for field, (kind, name, explanation) in _KINDS.items():
        if field in unseen:
            continue
        found = getattr(report, field)
        groups: tuple[tuple[tuple[str, str], ...], ...]
        if field in ("unreadable", "tiny"):
            groups = tuple(((photo.path, photo.reason),) for photo in found)
        elif field == "changed":
            groups = tuple(((path, ""),) for path in found)
        else:
            groups = tuple(tuple((path, "") for path in group) for group in found)
        is_group = field not in ("unreadable", "tiny", "changed")
        findings.append(Finding(kind, name, explanation, groups, is_group))
    return findings


def count_balance(manifest: Manifest) -> dict[str, Counts]:
    """Returns the counts by label of each column that tells groups, such as source, race and age."""
    from edgegender.reporting.counting import count_groups, group_columns

    usable = manifest.select()
    counted = {name: count_groups(usable, name) for name in group_columns(manifest) if name not in _NO_GROUPS}
    return {name: counts for name, counts in counted.items() if 1 < len(counts) <= _MAX_GROUP_VALUES}


def _print_finding(finding: Finding) -> None:
    click.echo(f"{len(finding.groups):6d}  {finding.name}{' (groups)' if finding.is_group else ''}")
    joined = " ≈ " if finding.name.endswith("near duplicates") else " = "
    for group in finding.groups[:_MAX_LINES]:
        click.echo("        " + joined.join(f"{path} ({note})" if note else path for path, note in group))
    if len(finding.groups) > _MAX_LINES:
        click.echo(f"        … {len(finding.groups) - _MAX_LINES} more (--json lists all, --html shows them)")


def print_faults(
    manifest: Manifest,
    report: DataReport,
    findings: list[Finding],
    unseen: Mapping[str, str],
    balance: Mapping[str, Counts],
) -> None:
    """Prints the counts, how many faults of each kind there are with the first few, and what was not looked for."""
    print_counts(report.counts)
    for name, counts in balance.items():
        values = ", ".join(f"{value} {sum(by_label.values())}" for value, by_label in counts.items())
        click.echo(f"{name}: {values}")
    click.echo("")
    for finding in findings:
        _print_finding(finding)
    for field, reason in unseen.items():
        click.echo(f"     –  {_KINDS[field][1]}: not looked for ({reason})")
    before = Counter(reason for reason in manifest.column("exclude") if reason)
    reasons = f" ({', '.join(f'{count} {reason}' for reason, count in sorted(before.items()))})" if before else ""
    click.echo(f"{report.num_photos} photos checked, {report.num_excluded} excluded before{reasons}")


def _shown(manifest: Manifest, finding: Finding, rows: Mapping[str, tuple[str, str]]) -> list[FindingGroup]:
    from edgegender.reporting.check_page import CheckedPhoto, FindingGroup

    shown = []
    for group in finding.groups:
        photos = tuple(
            CheckedPhoto(path, manifest.folder / path, rows[path][0], rows[path][1], note) for path, note in group
        )
        title = f"{len(group)} photos: {finding.name.rpartition(': ')[2]}" if finding.is_group else group[0][0]
        shown.append(FindingGroup(finding.kind, title, finding.explanation, photos))
    return shown


def write_faults_page(
    target: Path, manifest: Manifest, report: DataReport, findings: list[Finding], balance: Mapping[str, Counts]
) -> None:
    """Writes all faults as one page with the pictures side by side."""
    from edgegender.reporting.check_page import CheckPage, write_check_page

    labels_and_splits = zip(manifest.column("label"), manifest.column("split"), strict=True)
    rows = dict(zip(manifest.column("path"), labels_and_splits, strict=True))
    page = CheckPage(
        title=f"Check of {manifest.folder.name}",
        summary=tuple((finding.name, len(finding.groups), finding.status) for finding in findings),
        counts=report.counts,
        groups=balance,
        findings=tuple(group for finding in findings for group in _shown(manifest, finding, rows)),
    )
    write_check_page(target, page)
