"""Opens the outputs that ``edgegender camera`` was asked for, and closes what was opened when one cannot be."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgegender.cli.camera_options import OutputChoice, read_address
from edgegender.cli.console import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgegender.outputs.fan_out import FanOut
    from edgegender.outputs.window import Window
    from edgegender.runtime.frames import FrameSource
    from edgegender.runtime.model_file import ModelFile
    from edgegender.runtime.outputs import CameraOutput
    from edgegender.runtime.photos import PhotoPredictor

# A file waits for who reads its events; a camera does not.
_PATIENCE_S = 30.0
# A recording is written to all the time: a temporary file that rests so long belongs to a process that was killed.
_ABANDONED_AFTER_S = 600.0


@dataclass
class OpenOutputs:
    """What takes the results of a camera.

    Args:
        fan_out: All outputs together.
        window: The window among them, which a person can close.
    """

    fan_out: FanOut
    window: Window | None = field(default=None)

    def is_window_closed(self) -> bool:
        """Returns whether there was a window and a person closed it."""
        return self.window is not None and self.window.is_closed


def _open_lines(choice: OutputChoice, source: FrameSource) -> CameraOutput:
    from edgegender.outputs.event_lines import EventLines

    return EventLines(
        sys.stdout,
        is_every_frame=choice.every_frame and not choice.aggregate_only,
        patience_s=0.0 if source.is_live else _PATIENCE_S,
        name="standard output",
    )


def _open_recording(path: Path, source: FrameSource) -> CameraOutput:
    """Records under the name, or under one with a number where that is taken: a service that restarts loses nothing."""
    from edgegender.files import remove_leftovers
    from edgegender.outputs.recording import Recording

    chosen, number = path, 1
    while chosen.exists():
        number += 1
        chosen = path.with_stem(f"{path.stem}-{number}")
    if chosen != path:
        note(f"{path} is there already: recording into {chosen}")
    if path.parent.is_dir():
        remove_leftovers(path.parent, unchanged_for_s=_ABANDONED_AFTER_S)
    return Recording(chosen, is_every_frame=not source.is_live)


def _start_preview(
    choice: OutputChoice,
    source: FrameSource,
    file: ModelFile,
    create_predictor: Callable[[], PhotoPredictor],
    stack: contextlib.ExitStack,
) -> CameraOutput:
    from edgegender.serving.server import PhotoModel, start_preview

    hub, server = start_preview(
        choice.preview,
        source=source,
        photos=PhotoModel(file, create_predictor),
        token=choice.token,
        is_aggregate_only=choice.aggregate_only,
    )
    stack.callback(server.stop)
    # a token that was made is told, once; one that the user has must not get into a log
    note(f"preview on {server.url.partition('?')[0] if choice.token else server.url}")
    return hub


@contextlib.contextmanager
def open_outputs(
    choice: OutputChoice,
    *,
    source: FrameSource,
    file: ModelFile,
    create_predictor: Callable[[], PhotoPredictor],
) -> Iterator[OpenOutputs]:
    """Opens all outputs for the block.

    Args:
        choice: Which ones.
        source: Where the frames come from.
        file: The model.
        create_predictor: Makes what answers the photos that are sent to the preview.

    Raises:
        EdgeGenderError: One of them cannot be opened; those before it are closed.
    """
    from edgegender.outputs.fan_out import FanOut

    with contextlib.ExitStack() as stack:
        outputs: list[CameraOutput] = []

        def add(output: CameraOutput) -> None:
            stack.callback(output.close)
            outputs.append(output)

        if not choice.quiet:
            outputs.append(_open_lines(choice, source))
        if choice.record is not None:
            add(_open_recording(choice.record, source))
        if choice.mqtt:
            from edgegender.outputs.mqtt import Mqtt

            address = read_address(choice.mqtt, option="--mqtt")
            add(
                Mqtt(
                    address,
                    labels=file.metadata.labels,
                    prefix=choice.mqtt_prefix,
                    is_aggregate_only=choice.aggregate_only,
                )
            )
        if choice.preview:
            add(_start_preview(choice, source, file, create_predictor, stack))
        window = None
        if choice.window:
            from edgegender.outputs.window import Window

            window = Window()
            add(window)
        fan_out = FanOut(outputs, is_blurred=choice.blur, is_aggregate_only=choice.aggregate_only)
        stack.callback(fan_out.close)
        yield OpenOutputs(fan_out, window)
