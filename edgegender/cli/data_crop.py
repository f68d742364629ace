"""``edgegender data crop``: one face crop for every set of photos."""

from __future__ import annotations

import functools
import os
from pathlib import Path

import click

from edgegender.cli.console import (
    FOLDER,
    detector_options,
    json_option,
    note,
    print_json,
    progress,
    require_writable,
    warn,
    workers_option,
)
from edgegender.errors import UsageError

_MAX_LINES = 10


def _tell(paths: tuple[str, ...], what: str) -> None:
    for path in paths[:_MAX_LINES]:
        warn(f"{path}: {what}")
    if len(paths) > _MAX_LINES:
        warn(f"and {len(paths) - _MAX_LINES} more: {what}; the new manifest names them all")


@click.command()
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the crops and their faces.csv.")
@detector_options("cascade")
@click.option("--context", default=1.8, show_default=True, help="Side of the crop by side of the face box.")
@click.option("--size", default=176, show_default=True, help="Largest side of a crop, pixels.")
@click.option("--align", type=click.Choice(["none", "eyes"]), default="none", show_default=True, help="Level the eyes.")
@click.option("--format", "suffix", type=click.Choice(["jpg", "png"]), default="jpg", show_default=True)
@workers_option
@json_option
def crop(
    manifest_path: Path,
    output: Path,
    detector: str,
    detector_path: Path | None,
    context: float,
    size: int,
    align: str,
    suffix: str,
    workers: int,
    as_json: bool,
) -> None:
    """Cut the most prominent face out of each photo; the photos stay as they are.

    A photo without a face stays in the new manifest with the reason in its exclude column; the column num_faces says
    how many were found. A run that was stopped goes on where it was.
    """
    from edgegender.data.crop import CropSettings, crop_faces
    from edgegender.data.manifest_file import read_manifest, write_manifest
    from edgegender.files import hash_file
    from edgegender.runtime.detector import create_detector

    if detector == "none":
        raise UsageError("Expected a detector that finds faces, got none.", hint="Train on face crops as they are.")
    if detector == "cascade" and align == "eyes":
        raise UsageError("Expected a detector that finds eyes, got cascade.", hint="Use --detector yunet or blazeface.")
    target = output / "faces.csv"
    require_writable(target)
    manifest = read_manifest(manifest_path)
    create_detector(detector, detector_path)  # a wrong file is told here, once, and not by each process
    journal_path = output / ".faces.csv.journal"
    with progress("cropping") as update:
        rows, summary = crop_faces(
            manifest,
            output,
            make_detector=functools.partial(create_detector, detector, detector_path),
            settings=CropSettings(context, size, f".{suffix}", align == "eyes"),
            workers=workers or os.cpu_count() or 1,
            journal_path=journal_path,
            detector_name=f"{detector} {hash_file(detector_path) if detector_path else ''}",
            on_progress=update,
        )
    write_manifest(target, rows)
    journal_path.unlink(missing_ok=True)
    values = {
        "manifest": str(target),
        "num_cropped": summary.num_cropped,
        "num_no_face": len(summary.no_face),
        "num_several_faces": len(summary.several_faces),
        "num_unreadable": len(summary.unreadable),
        "num_resumed": summary.num_resumed,
    }
    _tell(summary.unreadable, "unreadable, left out")
    if as_json:
        lists = {"no_face": summary.no_face, "several_faces": summary.several_faces, "unreadable": summary.unreadable}
        print_json({**values, **lists})
        return
    _tell(summary.no_face, "no face found")
    if summary.num_resumed:
        note(f"note: {summary.num_resumed} photos were done by a run that was stopped")
    click.echo(
        f"{summary.num_cropped} faces; {len(summary.no_face)} photos without a face, "
        f"{len(summary.several_faces)} with several (the most prominent was taken), "
        f"{len(summary.unreadable)} unreadable → {target}"
    )
    if summary.no_face or summary.several_faces:
        note(f"hint: {target} names them all: exclude is no_face, num_faces is above 1")
