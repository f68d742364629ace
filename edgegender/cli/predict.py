"""``edgegender predict``."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, detector_options, progress, require_writable, warn
from edgegender.errors import CheckFailedError, ImageError, UsageError

if TYPE_CHECKING:
    from edgegender.runtime.photos import PhotoResult


def _expand(arguments: tuple[str, ...]) -> list[Path]:
    """Files stay as they are, folders give their photos, what is neither is tried as a glob."""
    from edgegender.data.readers import find_photos

    found: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found += find_photos(path)
        elif path.exists() or not glob.has_magic(argument):
            found.append(path)
        else:
            matches = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - absolute too
            matches = [match for match in matches if match.is_file()]
            if not matches:
                raise UsageError(f"Expected photos, got none for the pattern {argument}.")
            found += matches
    return list(dict.fromkeys(found))


def _format(result: PhotoResult, width: int) -> str:
    if not result.faces:
        return f"{str(result.path).ljust(width)}  {result.status}"
    answers = [
        f"{'unsure' if face.is_unsure else face.predicted_label} {100 * face.score:.1f}%"
        + (f" ({face.predicted_label}?)" if face.is_unsure else "")
        for face in result.faces
    ]
    return f"{str(result.path).ljust(width)}  {', '.join(answers)}"


def _save_annotated(result: PhotoResult, folder: Path, used: set[str]) -> None:
    from edgegender import files, images
    from edgegender.runtime.annotate import annotate_faces

    name, number = f"{result.path.stem[:100]}.jpg", 1
    while name in used:
        number += 1
        name = f"{result.path.stem[:100]}-{number}.jpg"
    used.add(name)
    drawn = annotate_faces(images.read_image(result.path), result.faces)
    files.write_bytes(folder / name, images.encode_image(drawn, jpeg_quality=90))


def _run(paths: list[Path], results: Iterator[PhotoResult], *, as_json: bool, annotate: Path | None) -> list[str]:
    """Prints each result and returns the statuses."""
    width = min(60, max(len(str(path)) for path in paths))
    used: set[str] = set()
    statuses = []
    with progress("predicting") as update:
        for done, result in enumerate(results, start=1):
            statuses.append(result.status)
            click.echo(json.dumps(result.to_json(), ensure_ascii=False) if as_json else _format(result, width))
            if result.status != "ok" and len(paths) > 1:
                warn(f"{result.path}: {result.problem}")
            if annotate is not None and result.faces:
                _save_annotated(result, annotate, used)
            update(done, len(paths))
    return statuses


@click.command(name="predict")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--model", type=FOLDER, help="A .tflite made by edgegender.  [default: the embedded model]")
@detector_options("cascade")
@click.option("--assume-face", is_flag=True, help="Where no face is found, take the whole photo as the face crop.")
@click.option("--json", "as_json", is_flag=True, help="Print NDJSON: one JSON object a photo and line.")
@click.option("--annotate", type=FOLDER, help="Write pictures with boxes and labels into this folder.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the network.  [default: cores, at most 4]")
def command(
    paths: tuple[str, ...],
    model: Path | None,
    detector: str,
    detector_path: Path | None,
    assume_face: bool,
    as_json: bool,
    annotate: Path | None,
    threads: int | None,
) -> None:
    """Classify the faces in photos, folders and globs. The label is gender as perceived, never an identity.

    A photo that cannot be read is reported and skipped. Exit 1 when no photo could be answered.
    """
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import create_detector
    from edgegender.runtime.photos import PhotoPredictor

    found = _expand(paths)
    if annotate is not None:
        require_writable(annotate / "photo.jpg")
    predictor = PhotoPredictor(
        Classifier(model, num_threads=threads),
        create_detector(detector, detector_path),
        is_whole_photo_fallback=assume_face,
    )
    statuses = _run(found, (predictor.predict_file(path) for path in found), as_json=as_json, annotate=annotate)
    if "ok" in statuses:
        return
    if len(found) == 1 and statuses[0] == "error":
        from edgegender import images

        images.read_image(found[0])  # raises the photo's own error, with its hint
    if len(found) == 1:
        raise ImageError(
            f"Expected a face, found none ({found[0]}).",
            kind="no_face",
            hint="When the photo is a face crop already, add --detector none; yunet finds more faces than cascade.",
        )
    raise CheckFailedError(
        f"Expected at least one photo with a face, got none of {len(found)}.",
        hint="When the photos are face crops already, add --detector none.",
    )
