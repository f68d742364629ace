"""``edgegender runs``: the training runs below a folder, and what differs between them."""

from __future__ import annotations

import math
import os
import statistics
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, print_json, print_table, warn, warn_each
from edgegender.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from edgegender.training.run_folder import EpochRecord, Run

MAX_DEPTH = 4
NOT_KNOWN = "–"
_MISSING_LAST = math.inf


def best_record(run: Run) -> EpochRecord | None:
    """Returns the epoch whose weights were kept; ``None`` before the first one ended."""
    return run.history[run.best_epoch - 1] if run.best_epoch else None


def total_seconds(run: Run) -> float:
    """Returns how long all epochs took together, with validation."""
    return sum(record.seconds for record in run.history)


def images_per_second(run: Run) -> float | None:
    """Returns the median epoch's training speed: the first one compiles, and a shared machine has slow moments."""
    return statistics.median(record.images_per_second for record in run.history) if run.history else None


def format_seconds(seconds: float) -> str:
    """Returns a duration in hours, minutes and seconds.

    Example:
        >>> format_seconds(8.4), format_seconds(754), format_seconds(90_061)
        ('8 s', '12:34', '25:01:01')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def name_run(run: Run) -> str:
    """Returns a run's path as it was found; a name that is no UTF-8 can still be printed."""
    from edgegender.reporting.tables import clean_text

    return clean_text(os.fsencode(run.folder).decode("utf-8", "replace"))


def run_figures(run: Run) -> dict[str, object]:
    """Returns a run's line of the list as plain values; ``None`` where nothing is known yet."""
    from edgegender.cli.recipe_list import describe_network
    from edgegender.training.run_folder import current_status

    best = best_record(run)
    return {
        "folder": name_run(run),
        "recipe": run.recipe.name,
        "network": describe_network(run.recipe),
        "data_sha256": run.data_sha256,
        "num_train_photos": run.num_train_photos or None,
        "num_val_photos": run.num_val_photos or None,
        "epochs": len(run.history),
        "epochs_wanted": run.recipe.epochs,
        "status": current_status(run),
        "best_epoch": run.best_epoch,
        "val_loss": best.val_loss if best else None,
        "val_accuracy": best.val_accuracy if best else None,
        "val_f1": best.val_f1 if best else None,
        "positive_label": run.positive_label,
        "threshold": run.threshold,
        "images_per_second": images_per_second(run),
        "seconds": total_seconds(run),
        "started": run.started,
    }


# name of --sort → what is compared; where more is better the best run comes first
_ORDERS: Mapping[str, Callable[[Run], tuple[float | str, ...]]] = {
    "started": lambda run: (run.started, str(run.folder)),
    "name": lambda run: (str(run.folder),),
    "accuracy": lambda run: (-best.val_accuracy if (best := best_record(run)) else _MISSING_LAST,),
    "f1": lambda run: (-best.val_f1 if (best := best_record(run)) else _MISSING_LAST,),
    "speed": lambda run: (-(images_per_second(run) or 0.0),),
    "time": lambda run: (total_seconds(run) or _MISSING_LAST,),
}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, a folder that is closed to us: its neighbours are still looked at
        return False


def _walk(top: Path, seen: set[tuple[int, int]], problems: list[str]) -> Iterator[Path]:
    """Gives the folders with a run's record, ``top`` and those at most four levels below it.

    Folders are known by device and inode: a link that leads back, and a folder that two paths lead to, is seen once.
    """
    from edgegender.training.run_folder import RUN_NAME

    waiting = deque([(top, 0)])
    while waiting:
        folder, depth = waiting.popleft()
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as entries:
                inner = {entry.name: _is_folder(entry) for entry in entries if not entry.name.startswith(".")}
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}, left out")
            continue
        if inner.get(RUN_NAME) is False:
            yield folder
        if depth < MAX_DEPTH:
            waiting.extend((folder / name, depth + 1) for name in sorted(inner) if inner[name])


def _require_numbers(run: Run) -> None:
    """A record of another program may have text where a figure belongs."""
    for record in run.history:
        values = [value for name, value in vars(record).items() if not (name == "train_f1" and value is None)]
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
            raise UsageError(f"Expected figures in the history, got others ({run.folder}).")


def find_runs(folders: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Returns the runs in and below some folders, and a line for each that cannot be read.

    Raises:
        UsageError: A folder is not there.
    """
    from edgegender.training.run_folder import read_run

    runs: list[Run] = []
    problems: list[str] = []
    seen: set[tuple[int, int]] = set()
    for top in folders:
        if not top.is_dir():
            raise UsageError(
                f"Expected a folder, got none ({top}).", hint="Name a run folder, or a folder with runs below it."
            )
        for folder in _walk(top, seen, problems):
            try:
                run = read_run(folder)
                _require_numbers(run)
                runs.append(run)
            except UsageError as error:
                problems.append(f"{error} Left out.")
    return runs, problems


def _is_run(folder: Path) -> bool:
    from edgegender.training.run_folder import RUN_NAME

    return (folder / RUN_NAME).is_file()


def _cells(run: Run) -> list[str]:
    best, speed = best_record(run), images_per_second(run)
    figures = run_figures(run)
    return [
        *(str(figures[name]) for name in ("folder", "recipe", "network")),
        run.data_sha256[:8],
        f"{len(run.history)}/{run.recipe.epochs}",
        str(figures["status"]),
        str(run.best_epoch) if best else NOT_KNOWN,
        f"{100 * best.val_accuracy:.2f}" if best else NOT_KNOWN,
        f"{100 * best.val_f1:.2f}" if best else NOT_KNOWN,
        f"{speed:.0f}" if speed is not None else NOT_KNOWN,
        format_seconds(total_seconds(run)) if best else NOT_KNOWN,
        run.started[:16].replace("T", " ") or NOT_KNOWN,
    ]


def _print_list(runs: Sequence[Run]) -> None:
    header = [
        "run",
        "recipe",
        "network",
        "photos",
        "epochs",
        "status",
        "best",
        "accuracy %",
        "F1 %",
        "images/s",
        "time",
    ]
    print_table([*header, "started (UTC)"], [_cells(run) for run in runs])


@click.command(name="runs")
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=FOLDER)
@click.option(
    "--sort", type=click.Choice(tuple(_ORDERS)), default="started", show_default=True, help="Order of the list."
)
@click.option("--compare", "is_compared", is_flag=True, help="Show what differs instead of the list.")
@json_option
def command(folders: tuple[Path, ...], sort: str, is_compared: bool, as_json: bool) -> None:
    """List the training runs in each FOLDER and four levels below it, by default the current one.

    Accuracy and F1 are those of the kept epoch on its validation photos. Runs with another value under "photos" learnt
    from other photos. A run that was stopped, killed or failed goes on with: edgegender train --resume RUN

    Two or more run folders, or --compare: only the recipe's keys, versions and devices that differ, and the figures
    side by side.
    """
    named = folders or (Path(),)
    runs, problems = find_runs(named)
    warn_each(problems, " folders and runs that cannot be read")
    is_compared = is_compared or (len(folders) > 1 and all(_is_run(folder) for folder in folders))
    if not runs:
        places = ", ".join(map(str, named))
        raise CheckFailedError(
            f"Expected training runs, got none in {places} and {MAX_DEPTH} levels below.",
            hint="Name the folder that they are in, or make one: edgegender train --data faces.csv",
        )
    runs.sort(key=_ORDERS[sort])
    if is_compared:
        from edgegender.cli.run_comparison import print_comparison

        print_comparison(runs, as_json=as_json)
    elif as_json:
        print_json({"runs": [run_figures(run) for run in runs]})
    else:
        for folder in folders:
            if not any(run.folder == folder or folder in run.folder.parents for run in runs):
                warn(f"{folder}: no run of its own is in or below it")
        _print_list(runs)
