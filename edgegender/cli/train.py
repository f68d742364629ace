"""``edgegender train``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, note, print_json, print_table, warn
from edgegender.errors import MissingDependencyError, UsageError

if TYPE_CHECKING:
    from edgegender.training.loop import StepReport
    from edgegender.training.run_folder import EpochRecord


def _show_step(report: StepReport) -> None:
    if sys.stderr.isatty() and (report.step % 10 == 0 or report.step == report.steps_per_epoch):
        left = (report.steps_per_epoch - report.step) + report.steps_per_epoch * (report.num_epochs - report.epoch)
        per_step = report.images_done / report.step / max(report.images_per_second, 1e-9)
        sys.stderr.write(
            f"\repoch {report.epoch}/{report.num_epochs}  step {report.step}/{report.steps_per_epoch}  "
            f"loss {report.loss:.4f}  accuracy {report.accuracy:.4f}  {report.images_per_second:.0f} images/s  "
            f"{left * per_step / 60:.0f} min left \x1b[K"
        )
        sys.stderr.flush()


def _show_epoch(record: EpochRecord) -> None:
    start = "\r\x1b[K" if sys.stderr.isatty() else ""
    note(
        f"{start}epoch {record.epoch}: loss {record.train_loss:.4f}, validation loss {record.val_loss:.4f}, "
        f"accuracy {100 * record.val_accuracy:.2f} %, F1 {record.val_f1:.4f}, "
        f"{record.images_per_second:.0f} images/s, {record.seconds:.0f} s"
    )


def _list_recipes() -> None:
    from edgegender.training.recipes import load_recipe, recipe_names

    print_table(["recipe", "source"], [[name, load_recipe(name).source] for name in recipe_names()])


@click.command(name="train")
@click.option("--data", "data_path", type=FOLDER, help="Manifest with train and val splits.")
@click.option("--recipe", "recipe_name", default="edge", show_default=True, help="See --list-recipes.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe.")
@click.option("--weights", type=FOLDER, help="Local start weights (.h5), instead of the download.")
@click.option("-o", "--output", type=FOLDER, default=Path("run"), show_default=True, help="The run folder.")
@click.option("--positive-label", help="The label that F1 speaks of.")
@click.option("--list-recipes", is_flag=True, help="Say what recipes there are.")
@json_option
def command(
    data_path: Path | None,
    recipe_name: str,
    overrides: tuple[str, ...],
    weights: Path | None,
    output: Path,
    positive_label: str | None,
    list_recipes: bool,
    as_json: bool,
) -> None:
    """Fine-tune a network and keep the weights of the epoch that validates best.

    The run folder gets the recipe, the environment, the history, the weights and the curves.
    """
    if list_recipes:
        _list_recipes()
        return
    if data_path is None:
        raise UsageError("Expected a manifest, got none.", hint="Add --data faces.csv.")
    from edgegender.data.manifest_file import read_manifest
    from edgegender.reporting.figures import draw_curves
    from edgegender.training.loop import train
    from edgegender.training.recipes import load_recipe

    recipe = load_recipe(recipe_name, overrides)
    run = train(
        read_manifest(data_path),
        recipe,
        output,
        start_weights=weights,
        positive_label=positive_label,
        on_step=_show_step,
        on_epoch=_show_epoch,
        on_skip=lambda file: warn(f"{file}: unreadable, left out"),
    )
    try:
        draw_curves([dataclasses.asdict(record) for record in run.history], output / "curves", title=recipe.name)
    except MissingDependencyError as error:
        warn(f"no curves: {error} {error.hint}")
    best = run.history[run.best_epoch - 1]
    if as_json:
        print_json(
            {
                "run": str(output),
                "best_epoch": run.best_epoch,
                "val_accuracy": best.val_accuracy,
                "val_f1": best.val_f1,
                "val_loss": best.val_loss,
            }
        )
        return
    click.echo(
        f"best epoch {run.best_epoch}: validation accuracy {100 * best.val_accuracy:.2f} %, F1 {best.val_f1:.4f} "
        f"→ {output}"
    )
