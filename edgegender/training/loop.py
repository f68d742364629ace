"""The training run: a recipe and a manifest in, a run folder out; stopped or killed at any step, it goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator
from pathlib import Path

from edgegender import files
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import write_manifest
from edgegender.errors import UsageError
from edgegender.training.backend import choose_precision, describe_devices, import_keras
from edgegender.training.distribution import Processes
from edgegender.training.hooks import Hooks, Machinery
from edgegender.training.preparation import choose_positive, prepare, prepare_again
from edgegender.training.recipes import Recipe
from edgegender.training.run_folder import (
    CHECKPOINT_NAME,
    DATA_NAME,
    LOCK_NAME,
    RUN_NAME,
    Run,
    describe_environment,
    read_run,
)
from edgegender.training.run_lock import locked
from edgegender.training.teacher import Teacher, load_teacher
from edgegender.training.trainer import Trainer


def _check_recipe(recipe: Recipe, labels: tuple[str, ...], teacher: Teacher | None) -> None:
    if len(labels) > 2 and (recipe.output == "sigmoid" or recipe.threshold == "best_f1"):
        raise UsageError(
            f"Expected two labels for output=sigmoid and threshold=best_f1, got {len(labels)}.",
            hint="Use --set output=softmax --set threshold=half.",
        )
    if teacher is not None:
        teacher.require_fit(recipe, labels)


def _require_no_run(folder: Path) -> None:
    if (folder / RUN_NAME).exists():
        raise UsageError(
            f"Expected a new run folder, got one with a run in it ({folder}).",
            hint=f"Choose another -o, or go on with: edgegender train --resume {folder}",
        )


@contextlib.contextmanager
def _new_folder(folder: Path, processes: Processes) -> Iterator[None]:
    """Locks a folder that no run stands in yet; an attempt that fails before there is a run leaves nothing."""
    if not processes.is_main:
        yield
        return
    is_made = not folder.exists()
    files.make_folder(folder)
    try:
        with locked(folder / LOCK_NAME):
            _require_no_run(folder)
            files.remove_leftovers(folder)
            yield
    except BaseException:
        if not (folder / RUN_NAME).exists():
            with contextlib.suppress(OSError):
                for name in (LOCK_NAME, CHECKPOINT_NAME, DATA_NAME):
                    (folder / name).unlink(missing_ok=True)
                if is_made:
                    folder.rmdir()
        raise


def train(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    *,
    start_weights: Path | None = None,
    teacher: Path | None = None,
    positive_label: str | None = None,
    hooks: Hooks | None = None,
    machinery: Machinery | None = None,
) -> Run:
    """Fine-tunes a network on the train split and keeps the weights of the epoch that validates best.

    Args:
        manifest: Photos with splits; train and val are used. A recipe may draw its own splits.
        recipe: What to do.
        folder: The run folder; made when missing.
        start_weights: A local file of start weights or a run folder, instead of the recipe's download.
        teacher: A run folder whose network's answers become a part of the targets.
        positive_label: The label that F1 speaks of.
        hooks: What to tell, and how to be asked to stop.
        machinery: How to carry it out.

    Raises:
        DataError: A split is empty or has one label only, or too many photos vanish.
        UsageError: The folder holds another run, the recipe does not fit the labels, or the weights do not fit.
        DownloadError: The start weights cannot be fetched.
        OutputError: The folder cannot be written, or the disk is full; the last checkpoint is whole.
        TrainingError: The loss is not finite, or memory ran out.
        StoppedError: It was asked to stop; all is saved.
    """
    hooks, machinery = hooks or Hooks(), machinery or Machinery()
    import_keras()
    loaded_teacher = None if teacher is None else load_teacher(teacher)
    with _new_folder(folder, machinery.processes):
        data = prepare(manifest, recipe, on_skip=hooks.on_skip)
        _check_recipe(recipe, data.labels, loaded_teacher)
        machinery.processes.check_batch_size(recipe.batch_size)
        machinery.processes.check_same("the manifest and the recipe", f"{data.sha256} {dataclasses.asdict(recipe)}")
        run = Run(
            folder,
            recipe,
            data.labels,
            choose_positive(data.labels, positive_label),
            data.sha256,
            (),
            0,
            {
                **describe_environment(),
                **describe_devices(machinery.device),
                "precision": choose_precision(recipe.precision, device=machinery.device),
                "processes": str(machinery.processes.count),
            },
            status="running",
            started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            num_train_photos=len(data.train),
            num_val_photos=len(data.val),
            teacher=str(teacher.resolve()) if teacher is not None else "",
        )
        trainer = Trainer(run, data, hooks, machinery, loaded_teacher)
        trainer.build(start_weights)
        if machinery.processes.is_main:
            write_manifest(folder / DATA_NAME, data.manifest)
        trainer.save()
        trainer.record("running")
        return trainer.go()


def resume(
    folder: Path,
    *,
    manifest: Manifest | None = None,
    teacher: Path | None = None,
    hooks: Hooks | None = None,
    machinery: Machinery | None = None,
) -> Run:
    """Goes on with a run from its last checkpoint; on a CPU, in deterministic mode, to the bit.

    Args:
        folder: The run folder.
        manifest: The same photos at another place; ``None`` for where they were.
        teacher: The teacher's run folder at another place; ``None`` for where it was.
        hooks: As in :func:`train`.
        machinery: As in :func:`train`; it may differ from that of the beginning.

    Returns:
        The run; one that is finished already is returned as it is.

    Raises:
        UsageError: There is no run or checkpoint, another process trains it, or the photos are others.
        DataError: Too many photos vanished.
        OutputError: The folder cannot be written, or the disk is full; the last checkpoint is whole.
        TrainingError: The loss is not finite, or memory ran out.
        StoppedError: It was asked to stop; all is saved.
    """
    hooks, machinery = hooks or Hooks(), machinery or Machinery()
    run = read_run(folder)
    if run.status == "finished":
        return run
    import_keras()
    with locked(folder / LOCK_NAME) if machinery.processes.is_main else contextlib.nullcontext():
        if machinery.processes.is_main:
            files.remove_leftovers(folder)
        data = prepare_again(run, manifest)
        machinery.processes.check_batch_size(run.recipe.batch_size)
        machinery.processes.check_same("the run", f"{data.sha256} {run.history}")
        teacher_folder = teacher or (Path(run.teacher) if run.teacher else None)
        loaded_teacher = None if teacher_folder is None else load_teacher(teacher_folder)
        if loaded_teacher is not None:
            loaded_teacher.require_fit(run.recipe, run.labels)
        trainer = Trainer(run, data, hooks, machinery, loaded_teacher)
        trainer.restore()
        trainer.record("running")
        return trainer.go()
