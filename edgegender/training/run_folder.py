"""The run folder: what a training run leaves, and reading it back."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegender import files
from edgegender.entities import Preprocessing
from edgegender.errors import UsageError
from edgegender.training.architectures import build_model, choose_scaling, to_serving_model
from edgegender.training.distribution import alone
from edgegender.training.recipes import Recipe, recipe_from_json
from edgegender.training.run_lock import is_locked
from edgegender.training.start_weights import WEIGHTS_NAME
from edgegender.training.weights_file import load_weights_into

if TYPE_CHECKING:
    import keras

RUN_SCHEMA = "edgegender.run/2"
_FIRST_SCHEMA = "edgegender.run/1"
RUN_NAME = "run.json"
CHECKPOINT_NAME = "checkpoint.npz"
DATA_NAME = "faces.csv"
LOCK_NAME = ".lock"
_PACKAGES = (
    "edgegender",
    "keras",
    "tensorflow",
    "jax",
    "torch",
    "numpy",
    "opencv-python-headless",
    "ai-edge-litert",
)
STATUSES = ("running", "finished", "stopped", "failed")


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history.

    Args:
        epoch: From 1.
        train_loss: Mean loss of the training batches, with label smoothing and weights, nats.
        train_accuracy: Of the augmented training photos, while the weights change.
        train_f1: Of the positive label on the same; ``None`` in runs of the first versions.
        val_loss: Log loss on validation, nats.
        val_accuracy: On validation.
        val_f1: Of the positive label on validation.
        learning_rate: At the epoch's end.
        images_per_second: Training only.
        seconds: The whole epoch with validation.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    train_f1: float | None
    val_loss: float
    val_accuracy: float
    val_f1: float
    learning_rate: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """What a run folder holds.

    Args:
        folder: The run folder.
        recipe: As resolved.
        labels: The network's outputs in their order.
        positive_label: The label that F1 speaks of.
        data_sha256: Of the manifest's rows that are learnt from.
        history: One record an epoch.
        best_epoch: The epoch whose weights were kept: the lowest validation loss; 0 before the first one ended.
        environment: Python, packages, processor, backend, device, revision.
        status: One of ``STATUSES``; what a killed process leaves still says ``running``.
        started: ISO 8601 time (UTC).
        threshold: The positive label is answered from this score on, in (0, 1); chosen on validation.
        weights_sha256: Of the kept weights; empty in runs of the first versions.
        num_train_photos: Photos that are learnt from.
        num_val_photos: Photos that choose the epoch.
        teacher: The run folder that is distilled from; empty without one.
    """

    folder: Path
    recipe: Recipe
    labels: tuple[str, ...]
    positive_label: str
    data_sha256: str
    history: tuple[EpochRecord, ...]
    best_epoch: int
    environment: dict[str, str]
    status: str = "finished"
    started: str = ""
    threshold: float = 0.5
    weights_sha256: str = ""
    num_train_photos: int = 0
    num_val_photos: int = 0
    teacher: str = ""

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size, margin and scaling of the network."""
        return Preprocessing(self.recipe.input_size_px, self.recipe.crop_margin, choose_scaling(self.recipe))

    @property
    def weights_file(self) -> Path:
        """The best epoch's weights."""
        return self.folder / WEIGHTS_NAME


def describe_environment() -> dict[str, str]:
    """Returns versions of Python, the platform and the packages that decide a run, and the revision of a checkout."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    revision = _git_revision(Path(__file__).resolve().parents[2])
    return {**found, "git_revision": revision} if revision else found


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603 - our own words
    return done.stdout.strip()


def _git_revision(checkout: Path) -> str:
    """Returns the commit of a checkout, with a plus sign where files were changed; empty where there is none."""
    if not (checkout / ".git").exists():
        return ""
    try:
        is_changed = bool(_git(checkout, "status", "--porcelain", "--untracked-files=no"))
        return _git(checkout, "rev-parse", "HEAD")[:12] + ("+" if is_changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _history_csv(history: Sequence[EpochRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in history:
        cells = dataclasses.asdict(record).items()
        writer.writerow({name: "" if value is None else f"{value:.6g}" for name, value in cells})
    return text.getvalue()


def save_weights(folder: Path, model: keras.Model) -> str:
    """Writes a network's weights as the best of a run, whole or not at all, and returns their sha256.

    Raises:
        OutputError: The file cannot be written.
    """
    with files.replacing(folder / WEIGHTS_NAME) as temporary:
        named = temporary.with_suffix(".weights.h5")  # Keras insists on this ending
        try:
            with alone():  # only one of several processes writes
                model.save_weights(named)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)
        return files.hash_file(temporary)


def save_record(run: Run) -> None:
    """Writes a run's history and record, each whole or not at all.

    Raises:
        OutputError: A file cannot be written.
    """
    files.write_text(run.folder / "history.csv", _history_csv(run.history))
    files.write_json(run.folder / RUN_NAME, run_to_json(run))


def run_to_json(run: Run) -> dict[str, object]:
    """Returns a run's record as it is stored."""
    values = dataclasses.asdict(run)
    del values["folder"]
    return {"schema": RUN_SCHEMA, **values}


def _parse_run(folder: Path, values: dict[str, Any]) -> Run:
    named = {name: value for name, value in values.items() if name not in ("schema", "history", "recipe")}
    history = tuple(EpochRecord(**{"train_f1": None, **record}) for record in values["history"])
    run = Run(folder=folder, recipe=recipe_from_json(values["recipe"]), history=history, **named)
    run = dataclasses.replace(run, labels=tuple(run.labels), environment=dict(run.environment))
    texts = (*run.labels, run.status, run.started, run.data_sha256, run.weights_sha256, run.teacher)
    is_sound = (
        isinstance(values["labels"], list)
        and all(isinstance(text, str) for text in texts)
        and len(set(run.labels)) == len(run.labels) >= 2
        and run.positive_label in run.labels
        and run.status in STATUSES
        and 0 <= run.best_epoch <= len(run.history)
        and 0 < run.threshold < 1
        and min(run.num_train_photos, run.num_val_photos) >= 0
    )
    if not is_sound:
        raise ValueError("a value is out of its range")
    return run


def read_run(folder: Path) -> Run:
    """Returns what a run folder says about itself, also before its first epoch ended; the weights are not read.

    Raises:
        UsageError: The folder holds no run, or a damaged one.
    """
    file = folder / RUN_NAME
    try:
        values = json.loads(file.read_text("utf-8"))
        if values["schema"] not in (RUN_SCHEMA, _FIRST_SCHEMA):
            raise UsageError(f"Expected {RUN_SCHEMA}, got {values['schema']} ({file}).", hint="Update edgegender.")
        return _parse_run(folder, values)
    except OSError as error:
        raise UsageError(
            f"Expected a run folder, got none at {folder}.",
            hint="Make one with: edgegender train --data faces.csv",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"Expected the record of a run, got a damaged one ({file}).", hint="Train it again."
        ) from error


def current_status(run: Run) -> str:
    """Returns a run's status; ``killed`` when its record says running and no process of this machine trains it."""
    if run.status == "running" and not is_locked(run.folder / LOCK_NAME):
        return "killed"
    return run.status


def load_run(folder: Path) -> Run:
    """Returns what a run folder with at least one finished epoch says about itself; the weights are not read.

    Raises:
        UsageError: The folder holds no run, a damaged one, or no finished epoch.
    """
    run = read_run(folder)
    if not run.best_epoch:
        raise UsageError(
            f"Expected a run with a finished epoch, got one that stopped before ({folder}).",
            hint=f"Go on with: edgegender train --resume {folder}",
        )
    if not run.weights_file.is_file():
        raise UsageError(f"Expected the weights of a run, got none ({run.weights_file}).", hint="Train it again.")
    return run


def load_model(run: Run) -> keras.Model:
    """Returns the run's network, built from code, with the best epoch's weights.

    Returns:
        A Keras model from scaled inputs to (batch, labels) scores that sum to one, whatever it was trained with.

    Raises:
        UsageError: The weights belong to another network, were altered, or are damaged.
    """
    recipe = dataclasses.replace(run.recipe, start_weights="none")
    if run.weights_sha256 and files.hash_file(run.weights_file) != run.weights_sha256:
        raise UsageError(
            f"Expected the weights that the run recorded, got others ({run.weights_file}).",
            hint=f"Where training was killed, go on with: edgegender train --resume {run.folder}",
        )
    model = build_model(recipe, len(run.labels))
    load_weights_into(model, run.weights_file, expected="the weights of this run", hint="Train it again.")
    return to_serving_model(model, len(run.labels))
