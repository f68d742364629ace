"""What the commands that look at faces as vectors share: their options, and the embedding of a manifest's photos."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegender.cli.console import FOLDER, count_workers, note, progress, pulled_model, warn_each, workers_option
from edgegender.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgegender.data.embedding import PhotoEmbeddings
    from edgegender.data.manifest import Manifest


@dataclass(frozen=True)
class VectorOptions:
    """How faces become vectors.

    Args:
        embedder: The network's file; ``None`` takes the pulled one.
        detector: Name of a detector that finds eyes, nose and mouth.
        detector_path: Its file; ``None`` takes the pulled one.
        cache: Where vectors are kept; ``None`` keeps none.
        workers: Processes, at least 1.
    """

    embedder: Path | None
    detector: str
    detector_path: Path | None
    cache: Path | None
    workers: int


def vector_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of :class:`VectorOptions` to a command, which gets them as ``vectors``."""

    @functools.wraps(function)
    def with_vectors(
        *,
        embedder: Path | None,
        detector: str,
        detector_path: Path | None,
        cache: Path | None,
        workers: int,
        **options: object,
    ) -> object:
        chosen = VectorOptions(embedder, detector, detector_path, cache, count_workers(workers))
        return function(vectors=chosen, **options)

    decorated = workers_option(with_vectors)
    for option in (
        click.option("--cache", type=FOLDER, help="Keep the vectors here for the next time. They tell people apart."),
        click.option("--detector-path", type=FOLDER, help="The detector's file.  [default: the pulled one]"),
        click.option(
            "--detector",
            type=click.Choice(["yunet", "blazeface"]),
            default="yunet",
            show_default=True,
            help="It finds the faces' eyes, nose and mouth.",
        ),
        click.option("--embedder", type=FOLDER, help="MobileFaceNet's .onnx file.  [default: the pulled one]"),
    ):
        decorated = option(decorated)
    return decorated


def embed_manifest(usable: Manifest, options: VectorOptions, *, resume_path: Path) -> PhotoEmbeddings:
    """Returns the vectors of a manifest's photos; those of a run that was stopped are not made again.

    Args:
        usable: Rows that are not excluded.
        options: How.
        resume_path: Keeps the vectors of an unfinished run when no cache is asked for; the caller removes it.

    Raises:
        UsageError: A file that was not pulled, or is another one.
        DataError: No photo has a face.
    """
    from edgegender.data.embedding import embed_photos
    from edgegender.runtime.detector import create_detector

    embedder = options.embedder or pulled_model("mobilefacenet")
    if embedder is None:
        raise UsageError(
            "Expected the file of a face embedding network, got none.", hint="edgegender models pull mobilefacenet"
        )
    detector_path = options.detector_path or pulled_model(options.detector)
    with progress("looking at faces") as update:
        found = embed_photos(
            [(path, usable.folder / path) for path in usable.column("path")],
            make_detector=functools.partial(create_detector, options.detector, detector_path),
            model_path=embedder,
            cache=options.cache or resume_path,
            workers=options.workers,
            on_progress=update,
        )
    missing = [f"{path}: {problem}" for path, problem in zip(found.paths, found.problems, strict=True) if problem]
    if len(missing) == len(found.paths):
        raise DataError(f"Expected faces, got none in {len(missing)} photos ({usable.folder}).")
    warn_each(missing, " photos without a face")
    if options.cache is not None:
        note(f"note: the vectors in {options.cache} tell people apart: delete them when they are no longer needed")
    return found
