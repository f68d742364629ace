"""``edgegender data index``: a folder of photos becomes a manifest."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import (
    FOLDER,
    count_workers,
    json_option,
    note,
    print_counts,
    print_json,
    progress,
    warn,
    warn_each,
    workers_option,
)
from edgegender.cli.data_options import (
    parse_ratios,
    parse_rename,
    require_manifest_target,
    require_module,
    require_other_file,
)

if TYPE_CHECKING:
    from edgegender.data.index import IndexedFolder


def _as_records(pairs: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "reason": reason} for path, reason in pairs]


def _tell(done: IndexedFolder, output: Path, *, as_json: bool) -> None:
    manifest = done.manifest
    reasons = list(zip(manifest.column("path"), manifest.column("exclude"), strict=True))
    unreadable = [(path, reason) for path, reason in reasons if reason.startswith("unreadable")]
    num_excluded = sum(bool(reason) for _, reason in reasons)
    warn_each(
        [f"{path}: {reason}" for path, reason in unreadable],
        " unreadable photos; all are marked in the manifest's exclude column",
    )
    warn_each([f"{path}: left out, {reason}" for path, reason in done.skipped], " left out; --json lists them all")
    if done.num_unlisted:
        warn(f"{done.num_unlisted} photos in the folder stand in no list and were left out")
    if as_json:
        print_json(
            {
                "manifest": str(output),
                "layout": done.layout,
                "num_photos": len(manifest),
                "num_excluded": num_excluded,
                "num_unreadable": len(unreadable),
                "num_unlisted": done.num_unlisted,
                "num_resumed": done.num_resumed,
                "counts": manifest.counts(),
                "unreadable": _as_records(unreadable),
                "skipped": _as_records(done.skipped),
            }
        )
        return
    print_counts(manifest.counts())
    if done.num_resumed:
        note(f"note: {done.num_resumed} photos were measured by a run that was stopped")
    marked = f"{num_excluded} of them excluded ({len(unreadable)} unreadable)"
    click.echo(f"{len(manifest)} photos (layout {done.layout}), {marked} → {output}")


@click.command(short_help="A folder of photos becomes a manifest.")
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option("--layout", help="folders, csv, utkface, fairface, celeba or all_age_faces.  [default: found out]")
@click.option(
    "--labels", type=FOLDER, help="A CSV or Parquet table of labels, its paths starting from FOLDER; or a set's lists."
)
@click.option("--path-column", default="path", show_default=True, help="The table's column with the paths.")
@click.option("--label-column", default="label", show_default=True, help="Column or attribute with the labels.")
@click.option("--split-column", default="split", show_default=True, help="Column with train, val and test.")
@click.option("--levels", metavar="A,B,…", help="What the folders' levels mean, such as split,label or label,race.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a label; may be repeated.")
@click.option(
    "--ratios", default="70,10,20", show_default=True, metavar="A,B,C", help="Train, val, test where no split is given."
)
@click.option("--seed", default=0, show_default=True, help="Of the drawn splits.")
@click.option("--no-phash", is_flag=True, help="Read headers only: five times as fast, but no perceptual hashes.")
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
    """Make a manifest of the photos in FOLDER: path, label, split, size, hashes.

    Class folders, with or without split folders, a table, or the layout of UTKFace, FairFace, CelebA or
    All-Age-Faces. Photos that cannot be read stay in, marked in the column exclude. A run that was stopped goes on
    where it was.
    """
    from edgegender.data.index import index_folder
    from edgegender.data.manifest_file import write_manifest

    require_manifest_target(output)
    if labels is not None:
        require_other_file(output, labels, what="the table of labels")
    if not no_phash:
        require_module("imagehash", "ImageHash", extra="data", instead="index without perceptual hashes: --no-phash")
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
            levels=None if levels is None else [level.strip() for level in levels.split(",")],
            rename=parse_rename(rename),
            ratios=parse_ratios(ratios),
            seed=seed,
            with_phash=not no_phash,
            workers=count_workers(workers),
            journal_path=journal_path,
            on_progress=update,
        )
    write_manifest(output, done.manifest)
    journal_path.unlink(missing_ok=True)
    _tell(done, output, as_json=as_json)
