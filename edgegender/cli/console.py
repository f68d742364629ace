"""What the commands share: progress on a terminal's stderr, JSON, tables, model and detector options."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from edgegender.errors import OutputError, UsageError

FOLDER = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
data_option = click.option("--data", "data_path", type=FOLDER, required=True, help="Manifest (CSV) of the photos.")


def detector_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --detector and --detector-path to a command."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        from edgegender.runtime.detector import DETECTOR_NAMES

        function = click.option("--detector-path", type=FOLDER, help="The .onnx file of the yunet detector.")(function)
        return click.option(
            "--detector",
            type=click.Choice(DETECTOR_NAMES),
            default=default,
            show_default=True,
            help="cascade: bundled, offline. none: the photos are face crops.",
        )(function)

    return decorate


def print_json(value: object) -> None:
    """Prints one indented JSON document on standard output."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def note(text: str) -> None:
    """Prints a line for a person on stderr, so that standard output holds results only."""
    click.echo(text, err=True)


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    note(f"warning: {text}")


@contextlib.contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function (done, total) that moves a bar on stderr; silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None  # noqa: ARG005
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield update


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints left-aligned columns on standard output, in any width, without colour."""
    widths = [max(len(str(row[column])) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def percent(value: float) -> str:
    """Returns a share as percent with two decimals."""
    return f"{100 * value:.2f}"


def require_choice(value: str, allowed: Sequence[str], name: str) -> str:
    """Returns ``value`` when it is allowed.

    Raises:
        UsageError: It is not.
    """
    if value not in allowed:
        raise UsageError(f"Expected {name} of {', '.join(allowed)}, got {value!r}.")
    return value


def require_writable(path: Path) -> None:
    """Finds out before the work, not after it, that a result cannot be written. Makes nothing.

    Raises:
        OutputError: ``path`` is a folder, or its folder cannot be made or written.
    """
    try:
        is_taken = path.is_dir()
        folder = path.absolute().parent
        while not folder.exists():
            folder = folder.parent
        is_writable = folder.is_dir() and os.access(
            folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids
        )
        path.exists()  # raises where the name itself is too long
    except OSError as error:
        raise OutputError(
            f"Expected a file that can be written, got {error.strerror or error} ({path}).", hint="Choose another name."
        ) from error
    if is_taken or not is_writable:
        raise OutputError(f"Expected a file that can be written, got {path}.", hint="Choose another name or folder.")
