"""``edgegender data show``: contact sheets and distributions of a manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import (
    FOLDER,
    json_option,
    note,
    print_json,
    print_table,
    progress,
    require_writable,
    warn,
)
from edgegender.errors import DataError

if TYPE_CHECKING:
    from edgegender.data.manifest import Manifest
    from edgegender.reporting.contact_sheets import SheetPhoto

_SUFFIXES = (".png", ".svg")
_BESIDE_BARS = 12  # photos of the figure that shows labels and distribution


@dataclass(frozen=True)
class _Shown:
    """What the figures rest on."""

    manifest: Manifest
    photos: list[SheetPhoto]
    by_split: Mapping[str, Mapping[str, int]]
    by_column: Mapping[str, Mapping[str, Mapping[str, int]]]


def _stems(columns: tuple[str, ...]) -> dict[str, str]:
    """Returns a file name for each column's figure; a column's name may hold what no file's name may."""
    stems: dict[str, str] = {}
    for column in dict.fromkeys(columns):
        stem = "distribution_" + re.sub(r"[^\w-]+", "_", column)
        while stem in stems.values():
            stem += "_"
        stems[column] = stem
    return stems


def _require_split(manifest: Manifest, split: str | None, manifest_path: Path) -> Manifest:
    kept = manifest.select(split=split)
    if not len(kept):
        known = ", ".join(manifest.counts()) or "none: all photos are excluded"
        raise DataError(
            f"Expected photos, got none ({f'split {split} of ' if split else ''}{manifest_path}).",
            hint=f"Splits with photos: {known}.",
        )
    return kept


def _read(manifest: Manifest, *, num_photos: int, seed: int, columns: list[str]) -> _Shown:
    from edgegender.reporting.contact_sheets import choose_photos, read_photos
    from edgegender.reporting.counting import count_groups

    by_column = {column: count_groups(manifest, column) for column in columns}
    chosen = choose_photos(manifest, num_photos=num_photos, seed=seed)
    with progress("reading") as update:
        photos = read_photos(manifest, chosen, on_progress=update)
    return _Shown(manifest, photos, manifest.counts(), by_column)


def _draw(
    shown: _Shown, folder: Path, *, name: str, seed: int, sheet_columns: int, stems: dict[str, str]
) -> list[Path]:
    from edgegender.reporting.contact_sheets import choose_photos, draw_contact_sheet, draw_labels_and_distribution
    from edgegender.reporting.counting import count_labels
    from edgegender.reporting.distributions import draw_class_distribution, draw_distribution

    labels = count_labels(shown.manifest)
    few = {
        row.path for row in choose_photos(shown.manifest, num_photos=min(_BESIDE_BARS, len(shown.photos)), seed=seed)
    }
    written = draw_contact_sheet(
        shown.photos,
        folder / "sample_grid",
        labels=list(labels),
        columns=sheet_columns,
        title=f"{name}: {len(shown.photos):,} of {len(shown.manifest):,} photos",
    )
    written += draw_class_distribution(
        labels, folder / "class_distribution", title=f"{name}: {len(shown.manifest):,} photos by label"
    )
    written += draw_distribution(
        shown.by_split, folder / "split_distribution", group_name="split", title=f"{name}: photos by split and label"
    )
    written += draw_labels_and_distribution(
        [photo for photo in shown.photos if photo.row.path in few],
        labels,
        folder / "labels_and_distribution",
        title=f"{name}: annotated labels and their distribution",
    )
    for column, stem in stems.items():
        title = f"{name}: photos by {column} and label"
        written += draw_distribution(shown.by_column[column], folder / stem, group_name=column, title=title)
    return written


def _print_counts(name: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    from edgegender.reporting.counting import simplify

    drawn = simplify(counts)  # a column of persons has thousands of values
    labels = list(next(iter(drawn.values()), {}))
    print_table([name, *labels], [[value, *(str(row[label]) for label in labels)] for value, row in drawn.items()])
    click.echo("")


@click.command(name="show", short_help="Contact sheets and distributions, as PNG and SVG.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the figures.")
@click.option("--photos", "num_photos", default=32, show_default=True, help="Photos on the contact sheet, at most 300.")
@click.option("--seed", default=0, show_default=True, help="Of the choice of photos.")
@click.option("--split", type=click.Choice(("train", "val", "test")), help="Show one split only.")
@click.option("--by", "columns", multiple=True, metavar="COLUMN", help="Also count by a column; may be repeated.")
@click.option("--columns", "sheet_columns", default=8, show_default=True, help="Photos a line of the contact sheet.")
@json_option
def show(
    manifest_path: Path,
    output: Path,
    num_photos: int,
    seed: int,
    split: str | None,
    columns: tuple[str, ...],
    sheet_columns: int,
    as_json: bool,
) -> None:
    """Draw contact sheets and distributions of a MANIFEST's photos as PNG and SVG.

    sample_grid: as many photos of one label as of another, with their annotated labels. class_distribution: photos by
    label. split_distribution: by split and label. labels_and_distribution: a few photos beside the distribution.
    distribution_COLUMN: one figure for each --by.

    The sheets hold photos, which may be of real people: they stay in the folder that you name, nothing is sent
    anywhere, and whom you show them to is for you to decide.
    """
    from edgegender.data.manifest_file import read_manifest

    stems = _stems(columns)
    for stem in ("sample_grid", "class_distribution", "split_distribution", "labels_and_distribution", *stems.values()):
        for suffix in _SUFFIXES:
            require_writable(output / f"{stem}{suffix}")
    kept = _require_split(read_manifest(manifest_path), split, manifest_path)
    shown = _read(kept, num_photos=num_photos, seed=seed, columns=list(stems))
    name = manifest_path.name + (f", {split}" if split else "")
    written = _draw(shown, output, name=name, seed=seed, sheet_columns=sheet_columns, stems=stems)
    unreadable = {photo.row.path: photo.thumbnail.problem for photo in shown.photos if photo.thumbnail.problem}
    if as_json:
        print_json(
            {
                "files": [str(file) for file in written],
                "num_photos": len(kept),
                "num_shown": len(shown.photos),
                "unreadable": unreadable,
                "counts": shown.by_split,
                "by": shown.by_column,
            }
        )
        return
    for path, problem in unreadable.items():
        warn(f"{path}: {problem}, an empty cell on the sheet")
    _print_counts("split", shown.by_split)
    for column, counts in shown.by_column.items():
        _print_counts(column, counts)
    click.echo(f"{len(kept)} photos, {len(shown.photos)} on the sheet; {len(written)} figures → {output}")
    note("The sheets hold photos: keep them where the photos may be kept.")
