"""What the commands share: progress on a terminal's stderr, JSON, tables, model and detector options."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from edgegender.errors import OutputError, UsageError

_MAX_WARNINGS = 10
FOLDER = click.Path(path_type=Path)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
workers_option = click.option(
    "--workers", type=click.IntRange(min=0), default=0, help="Processes; 0 takes all cores.", show_default=True
)
data_option = click.option("--data", "data_path", type=FOLDER, required=True, help="Manifest (CSV) of the photos.")


def count_workers(workers: int) -> int:
    """Returns the number of processes that --workers asks for; 0 stands for all cores that this process may use."""
    return workers or len(os.sched_getaffinity(0))


def models_folder() -> Path:
    """Returns the user's folder for pulled models: $XDG_CACHE_HOME/edgegender/models, ~/.cache without it.

    Raises:
        UsageError: There is no home folder.

    Source: XDG Base Directory Specification 0.8 (a relative path is ignored).
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (cache if cache.is_absolute() else Path.home() / ".cache") / "edgegender" / "models"
    except RuntimeError as error:
        raise UsageError(
            "Expected a home folder, got none.", hint="Set XDG_CACHE_HOME, or name the folder or file."
        ) from error


def pulled_model(name: str) -> Path | None:
    """Returns the file that ``edgegender models pull`` left in the user's folder, ``None`` where there is none.

    Raises:
        DownloadError: The file was altered.
    """
    from edgegender.downloads import DOWNLOADABLE, find

    return find(DOWNLOADABLE[name], models_folder()) if name in DOWNLOADABLE else None


def detector_options(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --detector and --detector-path to a command; a file that was pulled need not be named."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        from edgegender.runtime.detector import DETECTOR_NAMES

        @functools.wraps(function)
        def with_file(*, detector: str, detector_path: Path | None, **options: object) -> object:
            return function(detector=detector, detector_path=detector_path or pulled_model(detector), **options)

        with_path = click.option(
            "--detector-path", type=FOLDER, help="File of yunet or blazeface.  [default: the pulled one]"
        )(with_file)
        return click.option(
            "--detector",
            type=click.Choice(DETECTOR_NAMES),
            default=default,
            show_default=True,
            help="cascade: bundled, offline. yunet, blazeface: edgegender models pull NAME. none: the photos are face "
            "crops.",
        )(with_path)

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


def warn_each(lines: Sequence[str], rest: str) -> None:
    """Prints the first ten lines as warnings, and how many more there are.

    Args:
        lines: All of them.
        rest: What stands behind "and 12 more".
    """
    for line in lines[:_MAX_WARNINGS]:
        warn(line)
    if len(lines) > _MAX_WARNINGS:
        warn(f"and {len(lines) - _MAX_WARNINGS} more{rest}")


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


def print_counts(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Prints the number of photos by split and label."""
    labels = list(next(iter(counts.values()))) if counts else []
    rows = [[split, *(str(by_label[label]) for label in labels)] for split, by_label in counts.items()]
    print_table(["split", *labels], rows)


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
        folder = path.parent  # not absolute: a folder around this one may be closed to us, and that is no matter
        while not folder.exists() and folder != folder.parent:
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
