"""The run folder: what a training run leaves, and reading it back."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegender import files
from edgegender.entities import Preprocessing
from edgegender.errors import UsageError
from edgegender.training.architectures import build_model, whole_weights
from edgegender.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

RUN_SCHEMA = "edgegender.run/1"
RUN_NAME = "run.json"
WEIGHTS_NAME = "best.weights.h5"


@dataclass(frozen=True)
class EpochRecord:
    """One line of the history.

    Args:
        epoch: From 1.
        train_loss: Mean loss of the training batches, with label smoothing and weights, nats.
        train_accuracy: Of the augmented training photos, while the weights change.
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
    val_loss: float
    val_accuracy: float
    val_f1: float
    learning_rate: float
    images_per_second: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """What a finished run folder holds.

    Args:
        folder: The run folder.
        recipe: As resolved.
        labels: The network's outputs in their order.
        positive_label: The label that F1 speaks of.
        data_sha256: Of the manifest's rows that were learnt from.
        history: One record an epoch.
        best_epoch: The epoch whose weights were kept: the lowest validation loss.
        environment: Python, packages and processor.
    """

    folder: Path
    recipe: Recipe
    labels: tuple[str, ...]
    positive_label: str
    data_sha256: str
    history: tuple[EpochRecord, ...]
    best_epoch: int
    environment: dict[str, str]

    @property
    def preprocessing(self) -> Preprocessing:
        """Input size and margin of the network."""
        return Preprocessing(self.recipe.input_size_px, self.recipe.crop_margin)

    @property
    def weights_file(self) -> Path:
        """The best epoch's weights."""
        return self.folder / WEIGHTS_NAME


def describe_environment() -> dict[str, str]:
    """Returns versions of Python, the platform and the packages that decide a run."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in ("edgegender", "keras", "tensorflow", "numpy", "opencv-python-headless", "ai-edge-litert"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _history_csv(history: Sequence[EpochRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in history:
        writer.writerow({name: f"{value:.6g}" for name, value in dataclasses.asdict(record).items()})
    return text.getvalue()


def save_weights(run: Run, model: keras.Model) -> None:
    """Writes a network's weights as the best of a run, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    with files.replacing(run.weights_file) as temporary:
        named = temporary.with_suffix(".weights.h5")  # Keras insists on this ending
        try:
            model.save_weights(named)
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def save_record(run: Run) -> None:
    """Writes a run's history and record, each whole or not at all.

    Raises:
        OutputError: A file cannot be written.
    """
    files.write_text(run.folder / "history.csv", _history_csv(run.history))
    files.write_json(
        run.folder / RUN_NAME,
        {
            "schema": RUN_SCHEMA,
            "recipe": dataclasses.asdict(run.recipe),
            "labels": list(run.labels),
            "positive_label": run.positive_label,
            "data_sha256": run.data_sha256,
            "best_epoch": run.best_epoch,
            "environment": run.environment,
            "history": [dataclasses.asdict(record) for record in run.history],
        },
    )


def _parse_run(folder: Path, values: dict[str, Any]) -> Run:
    run = Run(
        folder,
        Recipe(**values["recipe"]),
        tuple(values["labels"]),
        values["positive_label"],
        values["data_sha256"],
        tuple(EpochRecord(**record) for record in values["history"]),
        values["best_epoch"],
        dict(values["environment"]),
    )
    is_sound = (
        isinstance(values["labels"], list)
        and all(isinstance(label, str) for label in run.labels)
        and len(set(run.labels)) == len(run.labels) >= 2
        and run.positive_label in run.labels
        and 1 <= run.best_epoch <= len(run.history)
    )
    if not is_sound:
        raise ValueError("a value is out of its range")
    return run


def load_run(folder: Path) -> Run:
    """Returns what a run folder says about itself; the weights are not read.

    Raises:
        UsageError: The folder holds no finished epoch.
    """
    file = folder / RUN_NAME
    try:
        values = json.loads(file.read_text("utf-8"))
        if values["schema"] != RUN_SCHEMA:
            raise UsageError(f"Expected {RUN_SCHEMA}, got {values['schema']} ({file}).", hint="Update edgegender.")
        run = _parse_run(folder, values)
    except OSError as error:
        raise UsageError(
            f"Expected a run folder, got none at {folder}.",
            hint="Make one with: edgegender train --data faces.csv",
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"Expected the record of a run, got a damaged one ({file}).", hint="Train it again."
        ) from error
    if not run.weights_file.is_file():
        raise UsageError(f"Expected the weights of a run, got none ({run.weights_file}).", hint="Train it again.")
    return run


def load_model(run: Run) -> keras.Model:
    """Returns the run's network, built from code, with the best epoch's weights.

    Raises:
        UsageError: The weights belong to another network or are damaged.
    """
    recipe = dataclasses.replace(run.recipe, start_weights="none")
    model = build_model(recipe, len(run.labels))
    try:
        with whole_weights():
            model.load_weights(run.weights_file)
    except ValueError as error:
        raise UsageError(
            f"Expected the weights of this run, got others ({run.weights_file}).", hint="Train it again."
        ) from error
    return model
