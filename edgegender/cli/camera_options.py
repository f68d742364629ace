"""What ``edgegender camera`` may be told, and the objects that it makes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.errors import UsageError

if TYPE_CHECKING:
    from edgegender.runtime.capture.options import CaptureOptions
    from edgegender.runtime.frames import FrameSource

_MAX_SECRET_BYTES = 4096


@dataclass(frozen=True)
class OutputChoice:
    """Where results go, as it was typed.

    Args:
        preview: Address of the browser preview; empty for none.
        token: What a browser must know; empty lets the preview make one where others reach it.
        window: Whether to open a window.
        record: Video file to write.
        mqtt: Address of a broker; empty for none.
        mqtt_prefix: What its topics begin with.
        quiet: Whether to leave out the events on standard output.
        every_frame: Whether frames without a face are events, too.
        blur: Whether to hide faces in every picture.
        aggregate_only: Whether only counts may leave.
    """

    preview: str
    token: str
    window: bool
    record: Path | None
    mqtt: str
    mqtt_prefix: str
    quiet: bool
    every_frame: bool
    blur: bool
    aggregate_only: bool

    def __post_init__(self) -> None:
        if self.aggregate_only and (self.window or self.record is not None):
            raise UsageError(
                "Expected counts only, got a picture that is to be shown or recorded (--aggregate-only).",
                hint="Leave out --window and --record, or hide the faces with --blur instead.",
            )


def read_secret(path: Path, *, option: str) -> str:
    """Returns the first line of a file that holds a token or an address with a password.

    Raises:
        UsageError: It cannot be read, is empty, or holds more than 4 kB.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_SECRET_BYTES + 1)
        lines = content.decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text"
        raise UsageError(f"Expected a file with one line, got {reason} ({option} {path}).") from error
    if len(content) > _MAX_SECRET_BYTES or not lines or not lines[0].strip():
        raise UsageError(f"Expected a file with one line, got none of use ({option} {path}).")
    return lines[0].strip()


def read_address(value: str, *, option: str) -> str:
    """Returns an address; one that begins with @ names the file that it stands in, for it may hold a password."""
    return read_secret(Path(value[1:]), option=option) if value.startswith("@") else value


def parse_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Returns (width, height) of a size such as 640x480, pixels."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", value)
    if match is None:
        raise click.BadParameter(f"Expected a size such as 640x480, got {value}.", ctx, param)
    return int(match[1]), int(match[2])


def make_source(spec: str, options: CaptureOptions) -> FrameSource:
    """Returns the source of frames that ``--source`` names; ``@FILE`` holds an address with a password."""
    from edgegender.runtime.capture.sources import open_source

    return open_source(read_address(spec, option="--source"), options=options)


def is_still(source_spec: str) -> bool:
    """Returns whether the frames of a source are photos that have nothing to do with each other."""
    from edgegender.images import IMAGE_SUFFIXES

    path = Path(source_spec)
    return path.is_dir() or (path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
