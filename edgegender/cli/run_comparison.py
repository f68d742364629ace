"""What differs between training runs, for a person at a terminal and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import print_json, print_table, warn
from edgegender.cli.runs import NOT_KNOWN, best_record, format_seconds, images_per_second, name_run, run_figures
from edgegender.cli.runs import total_seconds as seconds_of
from edgegender.errors import CheckFailedError
from edgegender.metrics import Interval, wilson_interval

if TYPE_CHECKING:
    from edgegender.training.run_folder import Run

Differences = Mapping[str, Sequence[object]]
"""Key → its value in each run; ``None`` where a run has none."""

_PROSE = ("about", "source")


def _differing(mappings: Sequence[Mapping[str, object]]) -> Differences:
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    rows = {key: [mapping.get(key) for mapping in mappings] for key in keys}
    return {key: values for key, values in rows.items() if any(value != values[0] for value in values)}


def recipe_differences(runs: Sequence[Run]) -> Differences:
    """Returns the recipe's keys that are not the same in all runs."""
    recipes = [dataclasses.asdict(run.recipe) for run in runs]
    return _differing([{key: recipe[key] for key in recipe if key not in _PROSE} for recipe in recipes])


def environment_differences(runs: Sequence[Run]) -> Differences:
    """Returns versions, backend, device and revision that are not the same in all runs."""
    return _differing([run.environment for run in runs])


def is_same_photos(runs: Sequence[Run]) -> bool:
    """Returns whether all runs learnt from, and were measured on, the same photos, as far as they tell."""
    told = {(run.data_sha256, run.recipe.split, run.recipe.validation_split) for run in runs}
    counts = {run.num_val_photos for run in runs if run.num_val_photos}
    return len(told) == 1 and len(counts) <= 1


def accuracy_interval(run: Run) -> Interval | None:
    """Returns the validation accuracy with its 95 % Wilson interval; ``None`` where epoch or count is not known."""
    best = best_record(run)
    if best is None or not run.num_val_photos:
        return None
    return wilson_interval(round(best.val_accuracy * run.num_val_photos), run.num_val_photos)


def _format_accuracy(run: Run) -> str:
    from edgegender.reporting.evaluation import format_interval

    best, interval = best_record(run), accuracy_interval(run)
    if interval is not None:
        return format_interval(interval)
    return f"{100 * best.val_accuracy:.2f}" if best else NOT_KNOWN


def _figure_rows(runs: Sequence[Run]) -> list[list[str]]:
    from edgegender.training.run_folder import current_status

    def row(name: str, make: Callable[[Run], str]) -> list[str]:
        return [name, *(make(run) for run in runs)]

    def of_best(name: str, column: str, *, scale: float, digits: int) -> list[str]:
        bests = [best_record(run) for run in runs]
        return [name, *(f"{scale * getattr(best, column):.{digits}f}" if best else NOT_KNOWN for best in bests)]

    positives = {run.positive_label for run in runs}
    of_label = f" of {positives.pop()}" if len(positives) == 1 else ""
    rows = [
        row("training photos", lambda run: f"{run.num_train_photos:,}" if run.num_train_photos else NOT_KNOWN),
        row("validation photos", lambda run: f"{run.num_val_photos:,}" if run.num_val_photos else NOT_KNOWN),
        row("status", current_status),
        row("epochs", lambda run: f"{len(run.history)} of {run.recipe.epochs}"),
        row("kept epoch", lambda run: str(run.best_epoch or NOT_KNOWN)),
        row("accuracy %", _format_accuracy),
        of_best(f"F1{of_label} %", "val_f1", scale=100, digits=2),
        of_best("log loss", "val_loss", scale=1, digits=4),
        row("threshold", lambda run: f"{run.threshold:.3f}"),
        row("images/s", lambda run: NOT_KNOWN if (speed := images_per_second(run)) is None else f"{speed:.0f}"),
        row("time", lambda run: format_seconds(seconds_of(run)) if run.history else NOT_KNOWN),
    ]
    if not of_label:
        rows.append(row("positive label", lambda run: run.positive_label))
    return rows


def _format_value(value: object) -> str:
    from edgegender.reporting.tables import clean_text

    if value is None:
        return NOT_KNOWN
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else clean_text(str(value))


def _difference_rows(differences: Differences) -> list[list[str]]:
    return [[key, *map(_format_value, values)] for key, values in differences.items()]


def _to_json(runs: Sequence[Run]) -> dict[str, object]:
    listed = []
    for run in runs:
        interval = accuracy_interval(run)
        bounds = {"low": interval.low, "high": interval.high} if interval else None
        listed.append({**run_figures(run), "val_accuracy_interval": bounds})
    return {
        "runs": listed,
        "is_same_photos": is_same_photos(runs),
        "recipe": recipe_differences(runs),
        "environment": environment_differences(runs),
    }


def print_comparison(runs: Sequence[Run], *, as_json: bool) -> None:
    """Prints what differs between runs, and their figures side by side.

    Args:
        runs: At least two.
        as_json: One JSON document instead of tables.

    Raises:
        CheckFailedError: There are fewer than two runs.
    """
    if len(runs) < 2:
        raise CheckFailedError(f"Expected two runs or more to compare, got {len(runs)}.", hint="Name their folders.")
    if not is_same_photos(runs):
        warn("the runs rest on different photos: their accuracies do not compare")
    if as_json:
        print_json(_to_json(runs))
        return
    blocks = [
        ("recipe", _difference_rows(recipe_differences(runs))),
        ("environment", _difference_rows(environment_differences(runs))),
    ]
    if len({run.data_sha256 for run in runs}) > 1:
        blocks.insert(1, ("photos", [["sha256", *(run.data_sha256[:12] for run in runs)]]))
    blocks.append(("validation", _figure_rows(runs)))
    names = [name_run(run) for run in runs]
    for name, rows in blocks:
        if rows:
            print_table([name, *names], rows)
        else:
            click.echo(f"{name}: the same in all runs")
        click.echo("")
    click.echo("95 % intervals in brackets; recipe and environment show only what differs.")
