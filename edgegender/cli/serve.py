"""``edgegender serve``: answers for photos over HTTP, with a page to try it."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, detector_options, note

if TYPE_CHECKING:
    from edgegender.serving.server import PreviewServer

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BYTES_PER_MB = 1_000_000
_MAX_UPLOAD_MB = 100  # where edgegender.images refuses files anyway
_BURST_S = 2.0


@contextlib.contextmanager
def _stopped_by_signals(server: PreviewServer) -> Iterator[None]:
    """Ctrl-C and SIGTERM are the way to end a server: they are no failure."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        server.request_stop()

    previous = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@click.command(name="serve")
@click.argument("address", default=":8080")
@click.option("--model", type=FOLDER, help="A .tflite made by edgegender.  [default: the embedded model]")
@detector_options("cascade")
@click.option("--assume-face", is_flag=True, help="Where no face is found, take the whole photo as the face crop.")
@click.option("--threads", type=click.IntRange(1, 256), help="Threads of the network.  [default: cores, at most 4]")
@click.option(
    "--token",
    default="",
    envvar="EDGEGENDER_TOKEN",
    help="What clients must know; $EDGEGENDER_TOKEN is better, for others can read a command line.  "
    "[default: none on this machine, else one is made]",
)
@click.option(
    "--max-upload-mb",
    type=click.FloatRange(0, _MAX_UPLOAD_MB, min_open=True),
    default=10.0,
    show_default=True,
    help="Largest photo.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Photos a second for each client.",
)
def command(
    address: str,
    model: Path | None,
    detector: str,
    detector_path: Path | None,
    assume_face: bool,
    threads: int | None,
    token: str,
    max_upload_mb: float,
    rate: float,
) -> None:
    """Answer photos over HTTP until Ctrl-C: POST /v1/predict, and a page to try it.

    ADDRESS is :8080 (this machine only), or such as 0.0.0.0:8080 (the network, with a token). The label is gender as
    perceived, never an identity. Photos are not kept.
    """
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import create_detector
    from edgegender.runtime.photos import PhotoPredictor
    from edgegender.serving.server import PhotoModel, create_preview_server, require_packages

    require_packages()
    from edgegender.serving.app import ServingLimits

    classifier = Classifier(model, num_threads=threads)
    predictor = PhotoPredictor(
        classifier, create_detector(detector, detector_path), is_whole_photo_fallback=assume_face
    )
    limits = ServingLimits(
        max_upload_bytes=round(max_upload_mb * _BYTES_PER_MB),
        rate_per_s=rate,
        burst=max(1, round(rate * _BURST_S)),
    )
    photos = PhotoModel(classifier.file, lambda: predictor)
    server = create_preview_server(address, photos=photos, token=token, limits=limits)
    with _stopped_by_signals(server):
        note(f"serving on {server.url} (Ctrl-C ends it)")
        server.run_forever()
