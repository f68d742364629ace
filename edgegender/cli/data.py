"""``edgegender data``: index, check, crop."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from pathlib import Path

import click

from edgegender.cli.console import (
    FOLDER,
    detector_options,
    json_option,
    note,
    print_json,
    print_table,
    progress,
    require_writable,
    warn,
)
from edgegender.errors import CheckFailedError, UsageError


@click.group(name="data")
def command() -> None:
    """Index, check and crop photos."""


def _parse_rename(pairs: tuple[str, ...]) -> dict[str, str]:
    renamed = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise UsageError(f"Expected --rename OLD=NEW, got {pair!r}.")
        renamed[old] = new
    return renamed


def _parse_ratios(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"Expected three ratios such as 70,10,20, got {text!r}.") from error


def _print_counts(counts: dict[str, dict[str, int]]) -> None:
    labels = list(next(iter(counts.values()))) if counts else []
    rows = [[split, *(str(by_label[label]) for label in labels)] for split, by_label in counts.items()]
    print_table(["split", *labels], rows)


@command.command()
@click.argument("folder", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write.")
@click.option("--labels", "labels_csv", type=FOLDER, help="A CSV with path and label, for photos not in class folders.")
@click.option("--split-column", default="split", show_default=True, help="The CSV's column with train, val and test.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="Rename a label; may be repeated.")
@click.option("--ratios", default="70,10,20", show_default=True, help="Train, val, test where no split is given.")
@click.option("--seed", default=0, show_default=True, help="Of the drawn splits.")
@json_option
def index(
    folder: Path,
    output: Path,
    labels_csv: Path | None,
    split_column: str,
    rename: tuple[str, ...],
    ratios: str,
    seed: int,
    as_json: bool,
) -> None:
    """Make a manifest of the photos in FOLDER: class folders, with or without split folders, or a CSV."""
    from edgegender.data.index import index_folder
    from edgegender.data.manifest import read_manifest, write_manifest

    require_writable(output)
    with progress("indexing") as update:
        rows = index_folder(
            folder,
            output_folder=output.parent,
            labels_csv=labels_csv,
            split_column=split_column,
            rename=_parse_rename(rename),
            ratios=_parse_ratios(ratios),
            seed=seed,
            on_progress=update,
        )
    write_manifest(output, rows)
    unreadable = [row for row in rows if row.exclude.startswith("unreadable")]
    for row in unreadable[:10]:
        warn(f"{row.path}: {row.exclude}")
    if len(unreadable) > 10:
        warn(f"and {len(unreadable) - 10} more unreadable photos; all are marked in the manifest's exclude column")
    manifest = read_manifest(output)
    counts = manifest.counts()
    if as_json:
        print_json({"manifest": str(output), "num_photos": len(rows), "unreadable": len(unreadable), "counts": counts})
        return
    _print_counts(counts)
    excluded = sum(1 for row in rows if row.exclude)
    click.echo(f"{len(rows)} photos, {excluded} excluded ({len(unreadable)} unreadable) → {output}")


@command.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, help="Write a manifest with the faults excluded.")
@json_option
def check(manifest_path: Path, output: Path | None, as_json: bool) -> None:
    """Find unreadable photos, exact duplicates, leaks between splits and conflicting labels.

    Exit 1 when a leak, a conflict or a changed file is found.
    """
    from edgegender.data.check import check_manifest, exclude_faults
    from edgegender.data.manifest import read_manifest, write_manifest

    if output is not None:
        require_writable(output)
    manifest = read_manifest(manifest_path)
    with progress("checking") as update:
        report = check_manifest(manifest, on_progress=update)
    if output is not None:
        write_manifest(output, exclude_faults(manifest, report))
    if as_json:
        print_json({"is_sound": report.is_sound, **dataclasses.asdict(report)})
    else:
        _print_counts(report.counts)
        click.echo("")
        findings = (
            ("unreadable photos", [f"{photo.path} ({photo.reason})" for photo in report.unreadable]),
            ("exact duplicates (groups)", [" = ".join(group) for group in report.duplicates]),
            ("leaks between splits (groups)", [" = ".join(group) for group in report.leaks]),
            ("conflicting labels (groups)", [" = ".join(group) for group in report.conflicts]),
            ("changed since indexing", list(report.changed)),
        )
        for name, found in findings:
            click.echo(f"{len(found):6d}  {name}")
            for line in found[:5]:
                click.echo(f"        {line}")
            if len(found) > 5:
                click.echo(f"        … {len(found) - 5} more (--json lists all)")
        before = Counter(row.exclude for row in manifest if row.exclude)
        reasons = f" ({', '.join(f'{count} {reason}' for reason, count in sorted(before.items()))})" if before else ""
        click.echo(f"{report.num_photos} photos checked, {report.num_excluded} excluded before{reasons}")
        if output is not None:
            click.echo(f"faults excluded → {output}")
    if not report.is_sound:
        raise CheckFailedError(
            f"Expected no leaks, conflicts or changed files, got {len(report.leaks)}, {len(report.conflicts)} and "
            f"{len(report.changed)} ({manifest_path}).",
            hint=f"Train with {output}." if output else "Write a clean manifest with --output clean.csv.",
        )


@command.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the crops and their faces.csv.")
@detector_options("cascade")
@click.option("--context", default=1.8, show_default=True, help="Side of the crop by side of the face box.")
@click.option("--size", default=176, show_default=True, help="Largest side of a crop, pixels.")
@click.option("--format", "suffix", type=click.Choice(["jpg", "png"]), default="jpg", show_default=True)
@click.option("--workers", default=0, help="Processes; 0 takes all cores.  [default: 0]")
@json_option
def crop(
    manifest_path: Path,
    output: Path,
    detector: str,
    detector_path: Path | None,
    context: float,
    size: int,
    suffix: str,
    workers: int,
    as_json: bool,
) -> None:
    """Cut the most prominent face out of each photo; the photos stay as they are.

    A photo without a face stays in the new manifest with the reason in its exclude column.
    """
    from edgegender.data.crop import CropSettings, crop_faces
    from edgegender.data.manifest import read_manifest, write_manifest
    from edgegender.runtime.detector import create_detector

    if detector == "none":
        raise UsageError("Expected a detector that finds faces, got none.", hint="Train on face crops as they are.")
    require_writable(output / "faces.csv")
    manifest = read_manifest(manifest_path)
    create_detector(detector, detector_path)  # a wrong file is told here, once, and not by each process
    with progress("cropping") as update:
        rows, summary = crop_faces(
            manifest,
            output,
            make_detector=functools.partial(create_detector, detector, detector_path),
            settings=CropSettings(context, size, f".{suffix}"),
            workers=workers or os.cpu_count() or 1,
            on_progress=update,
        )
    target = output / "faces.csv"
    write_manifest(target, rows)
    for path in summary.unreadable[:10]:
        warn(f"{path}: unreadable, left out")
    values = {
        "manifest": str(target),
        "num_cropped": summary.num_cropped,
        "num_no_face": len(summary.no_face),
        "num_several_faces": len(summary.several_faces),
        "num_unreadable": len(summary.unreadable),
    }
    if as_json:
        print_json({**values, "no_face": list(summary.no_face), "several_faces": list(summary.several_faces)})
        return
    click.echo(
        f"{summary.num_cropped} faces; {len(summary.no_face)} photos without a face, "
        f"{len(summary.several_faces)} with several (the most prominent was taken), "
        f"{len(summary.unreadable)} unreadable → {target}"
    )
    if summary.no_face:
        note(f"hint: photos without a face are marked no_face in {target}")
