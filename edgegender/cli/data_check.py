"""``edgegender data check``: what is wrong with a set of photos, as text, JSON and a page with the pictures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import (
    FOLDER,
    count_workers,
    json_option,
    print_json,
    progress,
    require_writable,
    workers_option,
)
from edgegender.cli.data_findings import count_balance, find_faults, name_unseen, print_faults, write_faults_page
from edgegender.cli.data_options import require_manifest_target, require_module, require_other_file
from edgegender.errors import CheckFailedError, DataError

if TYPE_CHECKING:
    from edgegender.data.check import DataReport
    from edgegender.data.manifest import Manifest

_MAX_NEAR_DISTANCE = 24  # edgegender.data.near_duplicates.MAX_DISTANCE: numpy is not loaded for --help


def _require_sound(manifest: Manifest, report: DataReport, manifest_path: Path, output: Path | None) -> None:
    """Raises what ends the command with another exit code than 0."""
    if len(report.unreadable) == report.num_photos:
        first = report.unreadable[0]
        raise DataError(
            f"Expected photos that can be read, got {report.num_photos} that cannot ({manifest_path}).",
            hint=f"The first: {manifest.folder / first.path} is {first.reason}. Paths start from the manifest.",
        )
    if report.is_sound:
        return
    num_leaks = len(report.leaks) + len(report.near_leaks) + len(report.person_leaks)
    num_conflicts = len(report.conflicts) + len(report.near_conflicts)
    hint = f"Train with {output}." if output else "Write a clean manifest with --output clean.csv."
    if report.person_leaks:  # leaving photos out does not mend them
        hint = f"Split anew: edgegender data split {output or manifest_path} --group-by person -o split.csv"
    raise CheckFailedError(
        f"Expected no leaks, conflicts or changed files, got {num_leaks}, {num_conflicts} and "
        f"{len(report.changed)} ({manifest_path}).",
        hint=hint,
    )


def _require_targets(output: Path | None, html: Path | None, manifest_path: Path) -> None:
    if output is not None:
        require_manifest_target(output)
    if html is not None:
        require_writable(html)
        require_other_file(html, manifest_path, what="the manifest")
        if output is not None:
            require_other_file(html, output, what="the manifest of --output")
        require_module("jinja2", "Jinja2", extra="data")


@click.command(short_help="Damaged photos, duplicates, leaks, conflicting labels.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="Write a manifest with the faults excluded.")
@click.option("--html", type=FOLDER, help="Write a page with the pictures side by side. It holds photos: keep it safe.")
@click.option(
    "--near-distance",
    type=click.IntRange(0, _MAX_NEAR_DISTANCE),
    default=_MAX_NEAR_DISTANCE,
    show_default=True,
    help="Most different bits, of 256, between near duplicates.",
)
@click.option("--no-near", is_flag=True, help="Look for exact duplicates only.")
@click.option(
    "--min-side",
    type=click.IntRange(min=0),
    default=32,
    show_default=True,
    help="Photos with a side below so many pixels are tiny.",
)
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
    """Find unreadable and tiny photos, duplicates, conflicting labels, leaks between splits.

    A leak is a photo, a near duplicate of it or, where the manifest has the column person, a person in more than one
    split. Every photo is read. Exit 1 when a leak, a conflict or a changed file is found.
    """
    from edgegender.data.check import check_manifest, exclude_faults
    from edgegender.data.manifest_file import read_manifest, write_manifest

    _require_targets(output, html, manifest_path)
    if not no_near:
        require_module("imagehash", "ImageHash", extra="data", instead="look for exact duplicates only: --no-near")
    manifest = read_manifest(manifest_path)
    if not any(not reason for reason in manifest.column("exclude")):
        raise DataError(f"Expected photos to check, got none ({manifest_path}).", hint="All rows are excluded.")
    with progress("checking") as update:
        report = check_manifest(
            manifest,
            with_near=not no_near,
            max_distance=near_distance,
            min_side_px=min_side,
            workers=count_workers(workers),
            on_progress=update,
        )
    unseen = name_unseen(manifest, report)
    findings = find_faults(report, unseen)
    balance = count_balance(manifest)
    if output is not None:
        write_manifest(output, exclude_faults(manifest, report))
    if html is not None:
        write_faults_page(html, manifest, report, findings, balance)
    if as_json:
        found = {**dataclasses.asdict(report), **dict.fromkeys(unseen)}
        print_json({"is_sound": report.is_sound, **found, "balance": balance})
    else:
        print_faults(manifest, report, findings, unseen, balance)
        for what, target in (("faults excluded", output), ("pictures", html)):
            if target is not None:
                click.echo(f"{what} → {target}")
    _require_sound(manifest, report, manifest_path, output)
