"""``edgegender data split``: sides that no person, block or duplicate stands on twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, percent, print_counts, print_json, print_table, require_writable
from edgegender.cli.data_index import parse_ratios

if TYPE_CHECKING:
    from edgegender.data.manifest import Manifest
    from edgegender.data.split import SplitReport


def _parse_columns(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _with_groups(manifest: Manifest, names: tuple[str, ...]) -> Manifest:
    """Adds the columns that need no network, where the manifest has none of that name."""
    from edgegender.data.grouping import name_blocks, name_duplicates

    made: dict[str, Callable[[Manifest], list[str]]] = {"block": name_blocks, "duplicates": name_duplicates}
    columns = {name: made[name](manifest) for name in names if name in made and name not in manifest.column_names}
    return manifest.with_columns(columns)


def _print_report(report: SplitReport) -> None:
    rows = [
        [split, str(report.num_photos[split]), percent(report.asked[split]), percent(report.got[split])]
        for split in report.asked
    ]
    print_table(["split", "photos", "asked %", "got %"], rows)
    click.echo(
        f"{report.num_groups} groups of two or more photos, the largest of {report.largest_group}; furthest from its "
        f"share: {report.worst_stratum}, by {percent(report.worst_difference)} points"
    )


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option(
    "--group-by",
    default="duplicates",
    show_default=True,
    metavar="A,B,…",
    help="Columns whose equal values stay together: person, block, duplicates, or any other.",
)
@click.option("--ratios", default="70,10,20", show_default=True, help="Train, val, test; two numbers: train, test.")
@click.option("--seed", default=0, show_default=True, help="Another seed gives another split.")
@click.option("--stratify", default="label", show_default=True, metavar="A,B,…", help="Columns to keep in balance.")
@json_option
def split(
    manifest_path: Path, output: Path, group_by: str, ratios: str, seed: int, stratify: str, as_json: bool
) -> None:
    """Split the photos so that no group stands on two sides, and say how far the ratios had to give.

    The same bytes always stay together. The columns block (250 neighbours in the order of the paths) and duplicates
    (the same bytes or nearly the same picture) are made where the manifest has none; person comes from
    'edgegender data group --by person'.
    """
    from edgegender.data.manifest_file import read_manifest, write_manifest
    from edgegender.data.split import split_groups

    require_writable(output)
    names = _parse_columns(group_by)
    manifest = _with_groups(read_manifest(manifest_path), names)
    done, report = split_groups(
        manifest, group_by=names, ratios=parse_ratios(ratios), seed=seed, stratify=_parse_columns(stratify)
    )
    write_manifest(output, done)
    if as_json:
        print_json({"manifest": str(output), "group_by": names, **asdict(report), "counts": done.counts()})
        return
    _print_report(report)
    click.echo("")
    print_counts(done.counts())
    click.echo(f"{sum(report.num_photos.values())} photos split → {output}")
