"""``edgegender train``."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.backend_options import BackendOptions, backend_options
from edgegender.cli.console import FOLDER, json_option, note, print_json, warn
from edgegender.cli.stop_request import StopRequest
from edgegender.errors import EdgeGenderError, MissingDependencyError, OutputError, StoppedError, UsageError

if TYPE_CHECKING:
    from edgegender.data.manifest import Manifest
    from edgegender.training.hooks import Hooks, StepReport
    from edgegender.training.run_folder import EpochRecord, Run

_NEW_RUN_ONLY = {
    "recipe_name": "--recipe",
    "overrides": "--set",
    "weights": "--weights",
    "output": "--output",
    "positive_label": "--positive-label",
    "split_column": "--split-column",
}


def _show_step(report: StepReport) -> None:
    if sys.stderr.isatty() and (report.step % 10 == 0 or report.step == report.steps_per_epoch):
        left = (report.steps_per_epoch - report.step) + report.steps_per_epoch * (report.num_epochs - report.epoch)
        per_step = report.images_done / report.step / max(report.images_per_second, 1e-9)
        sys.stderr.write(
            f"\repoch {report.epoch}/{report.num_epochs}  step {report.step}/{report.steps_per_epoch}  "
            f"loss {report.loss:.4f}  accuracy {report.accuracy:.4f}  F1 {report.f1:.4f}  "
            f"{report.images_per_second:.0f} images/s  {left * per_step / 60:.0f} min left \x1b[K"
        )
        sys.stderr.flush()


def _show_epoch(record: EpochRecord) -> None:
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    note(
        f"{start}epoch {record.epoch}: loss {record.train_loss:.4f}, validation loss {record.val_loss:.4f}, "
        f"accuracy {100 * record.val_accuracy:.2f} %, F1 {record.val_f1:.4f}, "
        f"{record.images_per_second:.0f} images/s, {record.seconds:.0f} s"
    )


def _draw(folder: Path) -> None:
    """Draws what the run folder's record says, as far as it goes."""
    from edgegender.reporting.figures import draw_curves, draw_thresholds
    from edgegender.training.run_folder import read_run
    from edgegender.training.thresholds import read_sweep

    run = read_run(folder)
    if not run.history:
        return
    try:
        draw_curves(
            [dataclasses.asdict(record) for record in run.history],
            folder / "curves",
            title=run.recipe.name,
            unfrozen_after=run.recipe.frozen_epochs,
            best_epoch=run.best_epoch,
        )
        sweep = read_sweep(folder)
        if sweep is not None:
            draw_thresholds(sweep, folder / "threshold", chosen=run.threshold, title=run.recipe.name)
    except MissingDependencyError as error:
        warn(f"no curves: {error} {error.hint}")


@contextlib.contextmanager
def _board(folder: Path, *, is_wanted: bool) -> Iterator[Callable[[EpochRecord], None]]:
    """Gives what writes TensorBoard's file, or nothing."""
    if not is_wanted:
        yield lambda _: None
        return
    from edgegender.training.tensorboard import TensorBoardWriter

    with contextlib.closing(TensorBoardWriter(folder / "tensorboard")) as writer:

        def write(record: EpochRecord) -> None:
            try:
                writer.epoch(record)
            except OutputError as error:  # no reason to lose an epoch
                warn(f"not in TensorBoard: {error}")

        yield write


def _print_run(run: Run, *, as_json: bool) -> None:
    best = run.history[run.best_epoch - 1]
    if as_json:
        print_json(
            {
                "run": str(run.folder),
                "best_epoch": run.best_epoch,
                "val_accuracy": best.val_accuracy,
                "val_f1": best.val_f1,
                "val_loss": best.val_loss,
                "threshold": run.threshold,
            }
        )
        return
    threshold = f", threshold {run.threshold:.3f}" if run.recipe.threshold == "best_f1" else ""
    click.echo(
        f"best epoch {run.best_epoch}: validation accuracy {100 * best.val_accuracy:.2f} %, F1 {best.val_f1:.4f}"
        f"{threshold} → {run.folder}"
    )
    if run.recipe.validation_split == "test":
        warn("the photos that chose the epoch and the threshold are the test photos: these figures flatter")


def _read_data(path: Path, split_column: str | None) -> Manifest:
    from edgegender.data.manifest import SPLITS
    from edgegender.data.manifest_file import read_manifest

    manifest = read_manifest(path)
    if split_column is None:
        return manifest
    if split_column not in manifest.column_names:
        raise UsageError(
            f"Expected --split-column to name a column of the manifest, got {split_column!r}.",
            hint=f"Columns there: {', '.join(manifest.column_names)}",
        )
    cells = manifest.column(split_column)
    unknown = sorted(set(cells) - {*SPLITS, ""})
    if unknown:
        raise UsageError(f"Expected splits of {', '.join(SPLITS)} in {split_column}, got {unknown[0]!r} ({path}).")
    return manifest.with_columns({"split": cells})


def _require_fresh(context: click.Context) -> None:
    """Refuses options that a run which goes on has long decided."""
    given = [
        option
        for name, option in _NEW_RUN_ONLY.items()
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        raise UsageError(
            f"Expected --resume without {', '.join(given)}, which the run decided when it began.",
            hint="Leave them out, or train anew.",
        )


@click.command(name="train")
@click.option("--data", "data_path", type=FOLDER, help="Manifest with train and val splits.")
@click.option("--recipe", "recipe_name", default="edge", show_default=True, help="See --list-recipes.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe.")
@click.option("--weights", type=FOLDER, help="Local start weights (.h5, .keras) or a run, instead of the download.")
@click.option("--teacher", type=FOLDER, metavar="RUN", help="Distil: this run's answers become a part of the targets.")
@click.option("-o", "--output", type=FOLDER, default=Path("run"), show_default=True, help="The run folder.")
@click.option("--resume", "resumed", type=FOLDER, metavar="RUN", help="Go on with a run that was stopped or killed.")
@click.option("--positive-label", help="The label that F1 speaks of.")
@click.option("--split-column", metavar="NAME", help="Take the splits from another column of the manifest.")
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    default=0,
    show_default=True,
    help="Processes that decode and augment; 0 takes threads, which is best on few cores.",
)
@click.option(
    "--checkpoint-every",
    "checkpoint_seconds",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="Within an epoch; each epoch's end has one, too.",
)
@click.option("--tensorboard", is_flag=True, help="Write RUN/tensorboard, too.")
@backend_options
@click.option("--list-recipes", is_flag=True, help="Explain all recipes, or the one that --recipe names.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    data_path: Path | None,
    recipe_name: str,
    overrides: tuple[str, ...],
    weights: Path | None,
    teacher: Path | None,
    output: Path,
    resumed: Path | None,
    positive_label: str | None,
    split_column: str | None,
    workers: int,
    checkpoint_seconds: float,
    tensorboard: bool,
    backend: BackendOptions,
    list_recipes: bool,
    as_json: bool,
) -> None:
    """Fine-tune a network and keep the weights of the epoch that validates best.

    The run folder gets the recipe, the environment, the history, the weights, the curves, and checkpoints. Ctrl-C and
    SIGTERM save and leave with exit code 130 and 143; --resume RUN goes on from there, and after a kill.
    """
    if list_recipes:
        from edgegender.cli.recipe_list import list_recipes as explain

        is_named = context.get_parameter_source("recipe_name") is click.core.ParameterSource.COMMANDLINE
        explain(as_json=as_json, name=recipe_name if is_named else None, overrides=overrides if is_named else ())
        return
    if resumed is not None:
        _require_fresh(context)
    elif data_path is None:
        raise UsageError("Expected a manifest, got none.", hint="Add --data faces.csv.")
    from edgegender.training.recipes import load_recipe

    recipe = None if resumed is not None else load_recipe(recipe_name, overrides)
    folder = resumed or output
    request = StopRequest()
    with request.listening(), backend.started() as (processes, _):
        from edgegender.training.hooks import Machinery
        from edgegender.training.loop import resume, train

        manifest = None if data_path is None else _read_data(data_path, split_column)
        machinery = Machinery(workers, checkpoint_seconds, processes, backend.device)
        with _hooks(folder, request, is_shown=processes.is_main, is_on_board=tensorboard) as hooks:
            if recipe is None or manifest is None:
                run = resume(folder, manifest=manifest, teacher=teacher, hooks=hooks, machinery=machinery)
            else:
                run = train(
                    manifest,
                    recipe,
                    folder,
                    start_weights=weights,
                    teacher=teacher,
                    positive_label=positive_label,
                    hooks=hooks,
                    machinery=machinery,
                )
        if processes.is_main:
            _draw(run.folder)
            _print_run(run, as_json=as_json)


@contextlib.contextmanager
def _hooks(folder: Path, request: StopRequest, *, is_shown: bool, is_on_board: bool) -> Iterator[Hooks]:
    """Gives what a run tells the terminal and TensorBoard; a run that was asked to stop gets its curves."""
    from edgegender.training.hooks import Hooks

    def hear_step(report: StepReport) -> None:
        request.arm()
        if is_shown:
            _show_step(report)

    with _board(folder, is_wanted=is_on_board and is_shown) as write_board:

        def hear_epoch(record: EpochRecord) -> None:
            if is_shown:
                _show_epoch(record)
                write_board(record)

        try:
            yield Hooks(hear_step, hear_epoch, lambda file: warn(f"{file}: unreadable, left out"), request.is_asked)
        except StoppedError as error:
            error.exit_code = request.exit_code
            if is_shown:
                with contextlib.suppress(EdgeGenderError):  # curves are no reason to say anything else
                    _draw(folder)
            raise
