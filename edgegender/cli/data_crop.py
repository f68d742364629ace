"""``edgegender data crop``: one face crop for every set of photos."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import (
    FOLDER,
    count_workers,
    detector_options,
    json_option,
    note,
    print_json,
    progress,
    require_writable,
    warn_each,
    workers_option,
)
from edgegender.cli.data_options import require_other_file
from edgegender.errors import UsageError

if TYPE_CHECKING:
    from edgegender.data.crop import CropSummary


def _warn_all(paths: tuple[str, ...], what: str) -> None:
    warn_each([f"{path}: {what}" for path in paths], f": {what}; the new manifest names them all")


def _tell(summary: CropSummary, target: Path, *, as_json: bool) -> None:
    _warn_all(summary.unreadable, "unreadable, left out")
    if as_json:
        print_json(
            {
                "manifest": str(target),
                "num_cropped": summary.num_cropped,
                "num_no_face": len(summary.no_face),
                "num_several_faces": len(summary.several_faces),
                "num_unreadable": len(summary.unreadable),
                "num_resumed": summary.num_resumed,
                "no_face": summary.no_face,
                "several_faces": summary.several_faces,
                "unreadable": summary.unreadable,
            }
        )
        return
    _warn_all(summary.no_face, "no face found")
    if summary.num_resumed:
        note(f"note: {summary.num_resumed} photos were done by a run that was stopped")
    click.echo(
        f"{summary.num_cropped} faces; {len(summary.no_face)} photos without a face, "
        f"{len(summary.several_faces)} with several (the most prominent was taken), "
        f"{len(summary.unreadable)} unreadable → {target}"
    )
    if summary.several_faces:
        note(f"hint: the column num_faces of {target} tells photos with several faces")


def _require_detector(detector: str, detector_path: Path | None, align: str) -> None:
    if detector == "none":
        raise UsageError("Expected a detector that finds faces, got none.", hint="Train on face crops as they are.")
    if detector == "cascade" and align == "eyes":
        raise UsageError("Expected a detector that finds eyes, got cascade.", hint="Use --detector yunet or blazeface.")
    if detector == "cascade" and detector_path is not None:
        raise UsageError(
            f"Expected no --detector-path with the detector cascade, got {detector_path}.",
            hint="Add --detector yunet or blazeface.",
        )


@click.command(short_help="Cut one face out of each photo, the same way for every set.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="Folder for the crops and their faces.csv.")
@detector_options("cascade")
@click.option(
    "--context",
    type=click.FloatRange(1, 10),
    default=1.8,
    show_default=True,
    help="Side of the crop divided by the side of the face box.",
)
@click.option(
    "--size", type=click.IntRange(16, 4096), default=176, show_default=True, help="Largest side of a crop, pixels."
)
@click.option(
    "--align",
    type=click.Choice(["none", "eyes"]),
    default="none",
    show_default=True,
    help="eyes: turn each face until they are level; needs yunet or blazeface.",
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["jpg", "png"]),
    default="jpg",
    show_default=True,
    help="jpg: quality 95. png: lossless.",
)
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

    _require_detector(detector, detector_path, align)
    target = output / "faces.csv"
    require_writable(target)
    require_other_file(target, manifest_path, what="the manifest of the photos")
    manifest = read_manifest(manifest_path)
    create_detector(detector, detector_path)  # a wrong file is told here, once, and not by each process
    journal_path = output / ".faces.csv.journal"
    with progress("cropping") as update:
        rows, summary = crop_faces(
            manifest,
            output,
            make_detector=functools.partial(create_detector, detector, detector_path),
            settings=CropSettings(context, size, f".{suffix}", align == "eyes"),
            workers=count_workers(workers),
            journal_path=journal_path,
            detector_name=f"{detector} {hash_file(detector_path) if detector_path else ''}",
            on_progress=update,
        )
    write_manifest(target, rows)
    journal_path.unlink(missing_ok=True)
    _tell(summary, target, as_json=as_json)
