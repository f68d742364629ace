"""``edgegender data index``: a folder of photos becomes a manifest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from edgegender.cli.console import (
    FOLDER,
    json_option,
    note,
    print_counts,
    print_json,
    progress,
    require_writable,
    warn,
    workers_option,
)
from edgegender.errors import UsageError

_MAX_WARNINGS = 10


def _parse_rename(pairs: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UsageError(f"Expected --rename OLD=NEW, got {pair!r}.")
        renamed[old] = new
    return renamed


def parse_ratios(text: str) -> tuple[float, ...]:
    """Returns the numbers of ``70,10,20``.

    Raises:
        UsageError: One is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"Expected ratios such as 70,10,20, got {text!r}.") from error


def _warn_all(lines: Sequence[str], rest: str) -> None:
    for line in lines[:_MAX_WARNINGS]:
        warn(line)
    if len(lines) > _MAX_WARNINGS:
        warn(f"and {len(lines) - _MAX_WARNINGS} more {rest}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option("--layout", help="folders, csv, utkface, fairface, celeba or all_age_faces.  [default: found out]")
@click.option("--labels", type=FOLDER, help="A CSV or Parquet table with path and label, or a known set's lists.")
@click.option("--path-column", default="path", show_default=True, help="The table's column with the paths.")
@click.option("--label-column", default="label", show_default=True, help="Column or attribute with the labels.")
@click.option("--split-column", default="split", show_default=True, help="Column with train, val and test.")
@click.option("--levels", metavar="A,B,…", help="What the folders' levels mean, such as split,label or label,race.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a label; may be repeated.")
@click.option("--ratios", default="70,10,20", show_default=True, help="Train, val, test where no split is given.")
@click.option("--seed", default=0, show_default=True, help="Of the drawn splits.")
@click.option("--no-phash", is_flag=True, help="Read headers only: no perceptual hashes, five times as fast.")
@workers_option
@json_option
def index(
    folder: Path,
    output: Path,
    layout: str | None,
    labels: Path | None,
    path_column: str,
    label_column: str,
    split_column: str,
    levels: str | None,
    rename: tuple[str, ...],
    ratios: str,
    seed: int,
    no_phash: bool,
    workers: int,
    as_json: bool,
) -> None:
    """Make a manifest of the photos in FOLDER.

    Class folders, with or without split folders, a table, or the layout of UTKFace, FairFace, CelebA or
    All-Age-Faces. A run that was stopped goes on where it was.
    """
    from edgegender.data.index import index_folder
    from edgegender.data.manifest_file import write_manifest

    require_writable(output)
    journal_path = output.with_name(f".{output.name}.journal")
    with progress("indexing") as update:
        done = index_folder(
            folder,
            output_folder=output.parent,
            layout=layout,
            labels=labels,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            levels=levels.split(",") if levels else None,
            rename=_parse_rename(rename),
            ratios=parse_ratios(ratios),
            seed=seed,
            with_phash=not no_phash,
            workers=workers or os.cpu_count() or 1,
            journal_path=journal_path,
            on_progress=update,
        )
    manifest = done.manifest
    write_manifest(output, manifest)
    journal_path.unlink(missing_ok=True)
    excluded = manifest.column("exclude")
    unreadable = [
        f"{path}: {reason}"
        for path, reason in zip(manifest.column("path"), excluded, strict=True)
        if reason.startswith("unreadable")
    ]
    _warn_all(unreadable, "unreadable photos; all are marked in the manifest's exclude column")
    skipped = [f"{path}: left out, {reason}" for path, reason in done.skipped]
    _warn_all(skipped, "files that the layout has no place for")
    if done.num_unlisted:
        warn(f"{done.num_unlisted} photos in the folder stand in no list and were left out")
    if as_json:
        print_json(
            {
                "manifest": str(output),
                "layout": done.layout,
                "num_photos": len(manifest),
                "unreadable": len(unreadable),
                "skipped": skipped,
                "num_unlisted": done.num_unlisted,
                "num_resumed": done.num_resumed,
                "counts": manifest.counts(),
            }
        )
        return
    print_counts(manifest.counts())
    if done.num_resumed:
        note(f"note: {done.num_resumed} photos were measured by a run that was stopped")
    marked = f"{sum(map(bool, excluded))} excluded ({len(unreadable)} unreadable)"
    click.echo(f"{len(manifest)} photos (layout {done.layout}), {marked} → {output}")
