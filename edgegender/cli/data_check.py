"""``edgegender data check``: what is wrong with a set of photos, as text, JSON and a page with the pictures."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import (
    FOLDER,
    json_option,
    print_counts,
    print_json,
    progress,
    require_writable,
    workers_option,
)
from edgegender.errors import CheckFailedError

if TYPE_CHECKING:
    from edgegender.data.check import DataReport
    from edgegender.data.manifest import Manifest
    from edgegender.reporting.check_page import FindingGroup, Status
    from edgegender.reporting.counting import Counts

_MAX_LINES = 5
_MAX_GROUP_VALUES = 30  # a column of more values is a name, such as person, and no group


_PROBLEMS = frozenset({"leak", "conflict", "changed"})
_LEAK = "The network is tested on what it learned. Split anew: edgegender data split --group-by "
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
class _Finding:
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


def _findings(report: DataReport) -> list[_Finding]:
    findings = []
    for field, (kind, name, explanation) in _KINDS.items():
        found = getattr(report, field)
        if found is None:
            continue
        groups: tuple[tuple[tuple[str, str], ...], ...]
        if field in ("unreadable", "tiny"):
            groups = tuple(((photo.path, photo.reason),) for photo in found)
        elif field == "changed":
            groups = tuple(((path, ""),) for path in found)
        else:
            groups = tuple(tuple((path, "") for path in group) for group in found)
        is_group = field not in ("unreadable", "tiny", "changed")
        findings.append(_Finding(kind, name, explanation, groups, is_group))
    return findings


def _balance(manifest: Manifest) -> dict[str, Counts]:
    """Returns the counts by label of each column that tells groups, such as source, race and age."""
    from edgegender.reporting.counting import count_groups, group_columns

    usable = manifest.select()
    no_groups = {"label", "split", "width", "height", "original"}
    counted = {name: count_groups(usable, name) for name in group_columns(manifest) if name not in no_groups}
    return {name: counts for name, counts in counted.items() if 1 < len(counts) <= _MAX_GROUP_VALUES}


def _print_finding(finding: _Finding) -> None:
    click.echo(f"{len(finding.groups):6d}  {finding.name}{' (groups)' if finding.is_group else ''}")
    joined = " ≈ " if finding.name.endswith("near duplicates") else " = "
    for group in finding.groups[:_MAX_LINES]:
        click.echo("        " + joined.join(f"{path} ({note})" if note else path for path, note in group))
    if len(finding.groups) > _MAX_LINES:
        click.echo(f"        … {len(finding.groups) - _MAX_LINES} more (--json lists all, --html shows them)")


def _print_text(
    manifest: Manifest, report: DataReport, findings: list[_Finding], balance: Mapping[str, Counts]
) -> None:
    print_counts(report.counts)
    for name, counts in balance.items():
        values = ", ".join(f"{value} {sum(by_label.values())}" for value, by_label in counts.items())
        click.echo(f"{name}: {values}")
    click.echo("")
    for finding in findings:
        _print_finding(finding)
    if report.near_duplicates is None:
        click.echo("     –  near duplicates: not looked for")
    before = Counter(reason for reason in manifest.column("exclude") if reason)
    reasons = f" ({', '.join(f'{count} {reason}' for reason, count in sorted(before.items()))})" if before else ""
    click.echo(f"{report.num_photos} photos checked, {report.num_excluded} excluded before{reasons}")


def _shown(manifest: Manifest, finding: _Finding, rows: Mapping[str, tuple[str, str]]) -> list[FindingGroup]:
    from edgegender.reporting.check_page import CheckedPhoto, FindingGroup

    shown = []
    for group in finding.groups:
        photos = tuple(
            CheckedPhoto(path, manifest.folder / path, rows[path][0], rows[path][1], note) for path, note in group
        )
        title = f"{len(group)} photos" if len(group) > 1 else group[0][0]
        shown.append(FindingGroup(finding.kind, title, finding.explanation, photos))
    return shown


def _write_page(
    target: Path, manifest: Manifest, report: DataReport, findings: list[_Finding], balance: Mapping[str, Counts]
) -> None:
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


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="Write a manifest with the faults excluded.")
@click.option("--html", type=FOLDER, help="Write a page with the pictures side by side. It holds photos: keep it safe.")
@click.option("--near-distance", default=24, show_default=True, help="Most different bits of 256 in near duplicates.")
@click.option("--no-near", is_flag=True, help="Look for exact duplicates only.")
@click.option("--min-side", default=32, show_default=True, help="Photos with a shorter side are tiny, pixels.")
@workers_option
@json_option
def check(
    manifest_path: Path,
    output: Path | None,
    html: Path | None,
    near_distance: int,
    no_near: bool,
    min_side: int,
    workers: int,
    as_json: bool,
) -> None:
    """Find unreadable and tiny photos, duplicates, leaks between splits, conflicting labels.

    Exact and near duplicates are found; people stand on two sides where the manifest has a person column. Exit 1 when
    a leak, a conflict or a changed file is found.
    """
    from edgegender.data.check import check_manifest, exclude_faults
    from edgegender.data.manifest_file import read_manifest, write_manifest

    for target in (output, html):
        if target is not None:
            require_writable(target)
    manifest = read_manifest(manifest_path)
    with progress("checking") as update:
        report = check_manifest(
            manifest,
            with_near=not no_near,
            max_distance=near_distance,
            min_side_px=min_side,
            workers=workers or os.cpu_count() or 1,
            on_progress=update,
        )
    findings = _findings(report)
    balance = _balance(manifest)
    if output is not None:
        write_manifest(output, exclude_faults(manifest, report))
    if html is not None:
        _write_page(html, manifest, report, findings, balance)
    if as_json:
        print_json({"is_sound": report.is_sound, **dataclasses.asdict(report), "balance": balance})
    else:
        _print_text(manifest, report, findings, balance)
        for what, target in (("faults excluded", output), ("pictures", html)):
            if target is not None:
                click.echo(f"{what} → {target}")
    if not report.is_sound:
        num_leaks = len(report.leaks) + len(report.near_leaks) + len(report.person_leaks)
        num_conflicts = len(report.conflicts) + len(report.near_conflicts)
        raise CheckFailedError(
            f"Expected no leaks, conflicts or changed files, got {num_leaks}, {num_conflicts} and "
            f"{len(report.changed)} ({manifest_path}).",
            hint=f"Train with {output}." if output else "Write a clean manifest with --output clean.csv.",
        )
