"""``edgegender camera``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.camera_options import OutputChoice, is_still, make_source, parse_size, read_secret
from edgegender.cli.console import FOLDER, detector_options, note, warn
from edgegender.errors import ImageError, SourceError, UsageError
from edgegender.runtime.budget import BUDGET_NAMES, DEFAULT_BUDGET

if TYPE_CHECKING:
    from edgegender.cli.camera_outputs import OpenOutputs
    from edgegender.runtime.camera_loop import CameraLimits, CameraSummary
    from edgegender.runtime.camera_pipeline import CameraPipeline
    from edgegender.runtime.frames import FrameSource

_POSITIVE = click.FloatRange(0, min_open=True)


@dataclass(frozen=True)
class _ServiceChoice:
    """Whether to install a service instead of running, and which."""

    is_wanted: bool
    name: str
    user: str | None
    is_user_service: bool
    is_dry_run: bool

    def install(self) -> None:
        """Writes the unit; the camera's own arguments are those of this command line."""
        from edgegender.cli.service import install_service

        install_service(
            _camera_arguments(sys.argv),
            name=self.name,
            user=self.user,
            is_user_service=self.is_user_service,
            is_dry_run=self.is_dry_run,
        )


_SERVICE_FLAGS = ("--install-service", "--user-service", "--dry-run")
_SERVICE_VALUES = ("--service-name", "--service-user")


def _camera_arguments(words: list[str]) -> list[str]:
    """Returns what stands behind ``camera`` on a command line, without what is about the service itself."""
    arguments: list[str] = []
    waiting = iter(words[words.index("camera") + 1 :])
    for word in waiting:
        if word in _SERVICE_VALUES:
            next(waiting, None)
        elif word not in _SERVICE_FLAGS and word.partition("=")[0] not in _SERVICE_VALUES:
            arguments.append(word)
    # a camera that starts later than the service is waited for; nobody reads a service's standard output
    return [*arguments, *(option for option in ("--wait", "--quiet") if option not in arguments)]


def _explain_no_frame(source: FrameSource) -> None:
    """Raises where a source gave no frame at all."""
    problem = source.problem or "no frame"
    if source.is_live:
        raise SourceError(
            f"Expected frames, got none: {problem} ({source.name}).",
            hint="edgegender doctor --camera looks for cameras; --wait waits for this one.",
        )
    raise ImageError(f"Expected frames, got none: {problem} ({source.name}).", kind="damaged")


def _run(source: FrameSource, pipeline: CameraPipeline, outputs: OpenOutputs, limits: CameraLimits) -> CameraSummary:
    from edgegender.cli.service import connect_heartbeat
    from edgegender.cli.stop_request import StopRequest
    from edgegender.runtime.camera_loop import CameraLoop

    request = StopRequest()
    with connect_heartbeat(os.environ) as heartbeat, request.listening():
        request.arm()

        def tell(num_frames: int) -> None:
            # ready without a frame, too: a service whose camera is away waits for it, and is watched while it does
            heartbeat.ready(f"{source.name}: {source.state}")
            heartbeat.beat(f"{source.name}: {source.state}, {num_frames} frames")
            for problem in outputs.fan_out.take_problems():
                warn(problem)

        summary = CameraLoop(source, pipeline, outputs.fan_out, limits=limits).run(
            is_stop_asked=lambda: request.is_asked() or outputs.is_window_closed(), on_round=tell
        )
        heartbeat.stopping()
    return summary


@click.command(name="camera")
@click.option(
    "--source",
    default="0",
    show_default=True,
    help="A USB camera (0, /dev/video0), picamera, rtsp://…, http://…, a video, a folder of photos, fifo:PATH, or - "
    "for raw frames on standard input. @FILE: an address that stands in a file.",
)
@click.option("--model", type=FOLDER, help="A .tflite made by edgegender.  [default: the embedded model]")
@detector_options("cascade")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="Threads of the network.  [default: by its size and cores]"
)
@click.option(
    "--budget",
    type=click.Choice(BUDGET_NAMES),
    default=DEFAULT_BUDGET,
    show_default=True,
    help="How much work to make: full searches and classifies each frame, low every tenth and follows in between.",
)
@click.option(
    "--preview", default="", metavar="ADDRESS", help="Serve a page: :8080 (this machine), 0.0.0.0:8080 (all)."
)
@click.option(
    "--token", default="", envvar="EDGEGENDER_TOKEN", help="What a browser must know.  [default: one is made]"
)
@click.option("--token-file", type=FOLDER, help="File whose first line is the token.")
@click.option("--window", is_flag=True, help="Show a window.")
@click.option("--record", type=FOLDER, help="Write the annotated pictures into this .mp4 or .avi.")
@click.option(
    "--mqtt", default="", metavar="ADDRESS", help="Send events to mqtt://HOST, found by Home Assistant; or @FILE."
)
@click.option("--mqtt-prefix", default="edgegender", show_default=True, help="What its topics begin with.")
@click.option("--blur", is_flag=True, help="Hide the faces in every picture that leaves.")
@click.option("--aggregate-only", is_flag=True, help="Let out counts, and never a face, a score or a picture.")
@click.option("--every-frame", is_flag=True, help="Print an event for frames without a face, too.")
@click.option("--quiet", is_flag=True, help="Print no events.")
@click.option("--window-s", type=_POSITIVE, help="Count people by windows of so many seconds.")
@click.option(
    "--size", "size_wh", metavar="WxH", callback=parse_size, help="Size to ask a camera for, and that of raw frames."
)
@click.option("--fps", type=_POSITIVE, help="Frames a second to ask a camera for.")
@click.option("--pixel-format", type=click.Choice(["rgb24", "bgr24", "gray"]), default="rgb24", help="Of raw frames.")
@click.option("--realtime", is_flag=True, help="Play a video file at its own speed, as a camera would.")
@click.option("--loop", "is_looped", is_flag=True, help="Begin a file or folder again at its end.")
@click.option("--wait", "is_waiting", is_flag=True, help="Wait for a camera or stream that is not there yet.")
@click.option("--watchdog-s", type=_POSITIVE, default=5.0, show_default=True, help="Longest wait for a frame.")
@click.option("--max-frames", type=click.IntRange(min=1), help="Stop after so many frames.")
@click.option("--max-seconds", type=_POSITIVE, help="Stop after so long.")
@click.option("--install-service", is_flag=True, help="Write a systemd unit that runs this command, and do not run it.")
@click.option("--service-name", default="edgegender-camera", show_default=True, help="Its name.")
@click.option("--service-user", help="Who it runs as.  [default: nobody in particular]")
@click.option("--user-service", is_flag=True, help="A service of your own, without the superuser.")
@click.option("--dry-run", is_flag=True, help="Print the unit instead of writing it.")
def command(
    source: str,
    model: Path | None,
    detector: str,
    detector_path: Path | None,
    threads: int | None,
    budget: str,
    preview: str,
    token: str,
    token_file: Path | None,
    window: bool,
    record: Path | None,
    mqtt: str,
    mqtt_prefix: str,
    blur: bool,
    aggregate_only: bool,
    every_frame: bool,
    quiet: bool,
    window_s: float | None,
    size_wh: tuple[int, int] | None,
    fps: float | None,
    pixel_format: str,
    realtime: bool,
    is_looped: bool,
    is_waiting: bool,
    watchdog_s: float,
    max_frames: int | None,
    max_seconds: float | None,
    install_service: bool,
    service_name: str,
    service_user: str | None,
    user_service: bool,
    dry_run: bool,
) -> None:
    """Classify faces live. Events are lines of JSON on standard output; the label is gender as perceived.

    Nothing is stored or sent but what you name. A camera or stream that goes away is tried again for as long as this
    runs; Ctrl-C ends it, with exit code 0.
    """
    service = _ServiceChoice(install_service, service_name, service_user, user_service, dry_run)
    if token and token_file is not None:
        raise UsageError("Expected a token or a file with one, got both (--token, --token-file).")
    choice = OutputChoice(
        preview=preview,
        token=token if token_file is None or install_service else read_secret(token_file, option="--token-file"),
        window=window,
        record=record,
        mqtt=mqtt,
        mqtt_prefix=mqtt_prefix,
        quiet=quiet,
        every_frame=every_frame,
        blur=blur,
        aggregate_only=aggregate_only,
    )
    if service.is_wanted:
        service.install()
        return
    from edgegender.cli.camera_outputs import open_outputs
    from edgegender.runtime.budget import budget_named
    from edgegender.runtime.camera_loop import CameraLimits
    from edgegender.runtime.camera_pipeline import CameraPipeline
    from edgegender.runtime.capture.options import CaptureOptions

    opened = make_source(
        source,
        CaptureOptions(
            size_wh=size_wh,
            fps=fps,
            pixel_format=pixel_format,
            is_realtime=realtime,
            is_looped=is_looped,
            keep_trying=is_waiting,
            watchdog_s=watchdog_s,
        ),
    )
    try:
        from edgegender.runtime.classifier import Classifier
        from edgegender.runtime.detector import create_detector
        from edgegender.runtime.photos import PhotoPredictor
        from edgegender.runtime.tracker import FaceTracker

        classifier = Classifier(model, num_threads=threads)
        tracker = FaceTracker(
            classifier.metadata, budget_named(budget), is_tracking=not is_still(source), window_s=window_s
        )
        pipeline = CameraPipeline(classifier, create_detector(detector, detector_path), tracker)

        def create_predictor() -> PhotoPredictor:
            return PhotoPredictor(Classifier(model, num_threads=threads), create_detector(detector, detector_path))

        with open_outputs(choice, source=opened, file=classifier.file, create_predictor=create_predictor) as outputs:
            summary = _run(opened, pipeline, outputs, CameraLimits(max_frames, max_seconds))
            outputs.fan_out.close()
            for problem in outputs.fan_out.take_problems():
                warn(problem)
    finally:
        opened.close()
    if not summary.num_frames and summary.reason == "finished":
        _explain_no_frame(opened)
    _note_end(opened, summary)


def _note_end(source: FrameSource, summary: CameraSummary) -> None:
    people = ", ".join(f"{count} {label}" for label, count in summary.people.items())
    rate = summary.num_frames / max(summary.seconds, 1e-9)
    note(f"{summary.num_frames} frames in {summary.seconds:.1f} s ({rate:.1f} a second); people: {people}")
    counters = source.counters
    if counters.losses or counters.drops or counters.damaged:
        note(
            f"{counters.drops} dropped, {counters.damaged} damaged; lost {counters.losses}, back {counters.reconnects}"
        )
    if summary.reason == "finished" and source.problem:
        warn(f"{source.name}: {source.problem}")
