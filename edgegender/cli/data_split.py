"""``edgegender data split``: sides that no person, block or duplicate stands on twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, percent, print_counts, print_json, print_table, warn
from edgegender.cli.data_options import parse_names, parse_ratios, require_manifest_target

if TYPE_CHECKING:
    from edgegender.data.manifest import Manifest
    from edgegender.data.split import SplitReport


def _with_groups(manifest: Manifest, names: tuple[str, ...]) -> Manifest:
    """Adds the columns that need no network, where the manifest has none of that name."""
    from edgegender.data.grouping import name_blocks, name_duplicates

    made: dict[str, Callable[[Manifest], list[str]]] = {"block": name_blocks, "duplicates": name_duplicates}
    missing = [name for name in names if name in made and name not in manifest.column_names]
    if "duplicates" in missing:
        num_unhashed = sum(not phash for phash in manifest.select().column("phash"))
        if num_unhashed:
            warn(
                f"{num_unhashed} photos have no perceptual hash: near duplicates of theirs may stand on two sides; "
                "index the folder anew without --no-phash"
            )
    return manifest.with_columns({name: made[name](manifest) for name in missing})


def _print_report(report: SplitReport) -> None:
    rows = [
        [split, str(report.num_photos[split]), percent(report.asked[split]), percent(report.got[split])]
        for split in report.asked
    ]
    print_table(["split", "photos", "asked %", "got %"], rows)
    if report.num_groups:
        groups = "1 group" if report.num_groups == 1 else f"{report.num_groups} groups"
        click.echo(f"{groups} of two or more photos, the largest of {report.largest_group}")
    else:
        click.echo("no group of two or more photos")
    furthest = report.worst_stratum or "all photos"
    click.echo(f"furthest from its share: {furthest}, by {percent(report.worst_difference)} points")


@click.command(short_help="No person, block or duplicate stands on two sides.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option(
    "--group-by",
    default="duplicates",
    show_default=True,
    metavar="A,B,…",
    help="Columns whose equal values stay together: person, block, duplicates, or any other.",
)
@click.option(
    "--ratios",
    default="70,10,20",
    show_default=True,
    metavar="A,B,C",
    help="Train, val, test; two numbers: train, test.",
)
@click.option("--seed", default=0, show_default=True, help="Another seed gives another split.")
@click.option(
    "--stratify", default="label", show_default=True, metavar="A,B,…", help="Columns to keep in balance; may be ''."
)
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

    require_manifest_target(output)
    names = parse_names(group_by, option="--group-by")
    strata = parse_names(stratify, option="--stratify", is_needed=False)
    shares = parse_ratios(ratios)
    manifest = _with_groups(read_manifest(manifest_path), names)
    done, report = split_groups(manifest, group_by=names, ratios=shares, seed=seed, stratify=strata)
    write_manifest(output, done)
    if as_json:
        print_json(
            {
                "manifest": str(output),
                "group_by": names,
                "stratify": strata,
                "seed": seed,
                **asdict(report),
                "counts": done.counts(),
            }
        )
        return
    _print_report(report)
    click.echo("")
    print_counts(done.counts())
    click.echo(f"{sum(report.num_photos.values())} photos split → {output}")
