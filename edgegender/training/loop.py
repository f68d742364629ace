"""The training run: a recipe and a manifest in, a run folder out."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgegender import files
from edgegender.data.manifest import Manifest, require_labels
from edgegender.entities import FloatArray, IntArray, Preprocessing
from edgegender.errors import DataError, TrainingError, UsageError
from edgegender.metrics import confusion_matrix, f1_score, log_loss
from edgegender.preprocess import to_float
from edgegender.training.architectures import build_model, import_keras
from edgegender.training.dataset import (
    Sample,
    TrainingBatches,
    balanced_weights,
    evaluation_batches,
    readable_samples,
    to_samples,
)
from edgegender.training.recipes import Recipe

if TYPE_CHECKING:
    import keras

RUN_SCHEMA = "edgegender.run/1"
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


@dataclass(frozen=True)
class StepReport:
    """Live progress, given to ``on_step``."""

    epoch: int
    num_epochs: int
    step: int
    steps_per_epoch: int
    loss: float
    accuracy: float
    images_done: int
    images_per_second: float


def describe_environment() -> dict[str, str]:
    """Returns versions of Python, the platform and the packages that decide a run."""
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in ("edgegender", "keras", "tensorflow", "numpy", "opencv-python-headless", "ai-edge-litert"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def choose_positive(labels: Sequence[str], wanted: str | None = None) -> str:
    """Returns the positive label: the wanted one, else ``male`` where it is a label (as in Hamza's F1), else the last.

    Raises:
        UsageError: The wanted label is not among the labels.
    """
    if wanted is not None:
        if wanted not in labels:
            raise UsageError(f"Expected a positive label of {', '.join(labels)}, got {wanted!r}.")
        return wanted
    return "male" if "male" in labels else labels[-1]


def predict_scores(
    model: keras.Model, samples: Sequence[Sample], preprocessing: Preprocessing
) -> tuple[FloatArray, IntArray]:
    """Returns a float network's scores for photos, and the positions of those that could be read.

    Returns:
        scores (photos, labels) float64; positions in ``samples`` (photos,).

    Raises:
        DataError: No photo could be read.
    """
    scores: list[np.ndarray] = []
    positions: list[int] = []
    for inputs, kept in evaluation_batches(samples, preprocessing):
        # predict_on_batch traces one graph; a ragged last batch would trace a second one
        padded = np.concatenate([inputs, np.zeros((64 - len(inputs), *inputs.shape[1:]), np.uint8)])
        scores.append(np.asarray(model.predict_on_batch(to_float(padded)))[: len(inputs)])
        positions += kept
    if not positions:
        raise DataError("Expected photos that can be read, got none.")
    return np.concatenate(scores).astype(np.float64), np.asarray(positions)


def _cosine(recipe: Recipe, steps: int) -> Callable[[int], float]:
    warmup = max(1, round(recipe.warmup_fraction * steps))

    def rate(step: int) -> float:
        if step < warmup:
            return recipe.learning_rate * (step + 1) / warmup
        progress = (step - warmup) / max(1, steps - warmup)
        return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * progress)) + 1e-8

    return rate


def _compile(model: keras.Model, recipe: Recipe) -> None:
    import keras

    optimizer = keras.optimizers.AdamW(recipe.learning_rate, weight_decay=recipe.weight_decay, clipnorm=5.0)
    # Scale and shift parameters decay towards nothing useful: they are left out, as is usual
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)
    model.compile(optimizer=optimizer, loss=loss, weighted_metrics=[], metrics=["accuracy"])


def _train_epoch(
    model: keras.Model,
    batches: TrainingBatches,
    epoch: int,
    *,
    rate: Callable[[int], float],
    num_epochs: int,
    on_step: Callable[[StepReport], None],
) -> StepReport:
    """Returns the report of the epoch's last step: mean loss, mean accuracy, images/s."""
    loss_sum = accuracy_sum = 0.0
    images_done = 0
    started = time.perf_counter()
    first_step = (epoch - 1) * batches.steps_per_epoch
    for step, (inputs, targets, weights) in enumerate(batches.epoch(epoch)):
        model.optimizer.learning_rate = rate(first_step + step)
        # Versions of Keras differ in whether train_on_batch gives this batch's figures or a running mean
        model.reset_metrics()
        logs = model.train_on_batch(inputs, targets, sample_weight=weights, return_dict=True)
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"Expected a finite loss, got {loss} (epoch {epoch}, step {step + 1}).",
                hint="Lower the rate, such as --set learning_rate=0.0001; the best weights so far were kept.",
            )
        loss_sum += loss * len(inputs)
        accuracy_sum += float(logs["accuracy"]) * len(inputs)
        images_done += len(inputs)
        report = StepReport(
            epoch=epoch,
            num_epochs=num_epochs,
            step=step + 1,
            steps_per_epoch=batches.steps_per_epoch,
            loss=loss_sum / images_done,
            accuracy=accuracy_sum / images_done,
            images_done=images_done,
            images_per_second=images_done / (time.perf_counter() - started),
        )
        on_step(report)
    return report


def _history_csv(history: Sequence[EpochRecord]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in dataclasses.fields(EpochRecord)], lineterminator="\n")
    writer.writeheader()
    for record in history:
        writer.writerow({name: f"{value:.6g}" for name, value in dataclasses.asdict(record).items()})
    return text.getvalue()


def _save(run: Run) -> None:
    files.write_text(run.folder / "history.csv", _history_csv(run.history))
    files.write_json(
        run.folder / "run.json",
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


def _ignore(_: object) -> None:
    """Hears of progress and says nothing."""


def hash_rows(manifest: Manifest) -> str:
    """Returns a sha256 over (photo hash, label) of the rows, whatever their order and folder."""
    lines = sorted(f"{row.sha256 or row.path} {row.label}" for row in manifest)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def train(
    manifest: Manifest,
    recipe: Recipe,
    folder: Path,
    *,
    start_weights: Path | None = None,
    positive_label: str | None = None,
    on_step: Callable[[StepReport], None] = _ignore,
    on_epoch: Callable[[EpochRecord], None] = _ignore,
    on_skip: Callable[[Path], None] = _ignore,
) -> Run:
    """Fine-tunes a network on the train split and keeps the weights of the epoch that validates best.

    Args:
        manifest: Photos with splits; train and val are used.
        recipe: What to do.
        folder: The run folder; made when missing.
        start_weights: A local file of start weights, instead of the recipe's download.
        positive_label: The label that F1 speaks of.
        on_step: Called after each batch.
        on_epoch: Called after each epoch.
        on_skip: Called with each photo that cannot be read.

    Raises:
        DataError: A split is empty or has one label only.
        UsageError: The folder holds another run, or the weights do not fit.
        TrainingError: The loss is not finite.
    """
    if (folder / "run.json").exists():
        raise UsageError(f"Expected a new run folder, got one with a run in it ({folder}).", hint="Choose another -o.")
    train_rows, val_rows = manifest.select(split="train"), manifest.select(split="val")
    labels = require_labels(train_rows, where="split train")
    require_labels(val_rows, where="split val", labels=labels)
    positive = choose_positive(labels, positive_label)
    samples, skipped = readable_samples(to_samples(train_rows, labels))
    val_samples, val_skipped = readable_samples(to_samples(val_rows, labels))
    for file in (*skipped, *val_skipped):
        on_skip(file)
    files.make_folder(folder)

    import_keras()
    import keras

    keras.utils.set_random_seed(recipe.seed)
    model = build_model(recipe, len(labels), start_weights=start_weights)
    _compile(model, recipe)
    preprocessing = Preprocessing(recipe.input_size_px, recipe.crop_margin)
    label_index = np.asarray([sample.label_index for sample in samples])
    batches = TrainingBatches(
        samples,
        preprocessing,
        num_labels=len(labels),
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        label_weights=balanced_weights(label_index, len(labels), is_balanced=recipe.is_class_balanced),
        seed=recipe.seed,
    )
    rate = _cosine(recipe, batches.steps_per_epoch * recipe.epochs)
    history: list[EpochRecord] = []
    run = Run(folder, recipe, labels, positive, hash_rows(train_rows), (), 0, describe_environment())
    best_loss = math.inf
    for epoch in range(1, recipe.epochs + 1):
        started = time.perf_counter()
        trained = _train_epoch(model, batches, epoch, rate=rate, num_epochs=recipe.epochs, on_step=on_step)
        scores, positions = predict_scores(model, val_samples, preprocessing)
        annotated = np.asarray([val_samples[position].label_index for position in positions])
        if not np.isfinite(scores).all():
            raise TrainingError(f"Expected finite validation scores, got NaN (epoch {epoch}).", hint="Lower the rate.")
        matrix = confusion_matrix(annotated, scores.argmax(axis=1), len(labels))
        record = EpochRecord(
            epoch=epoch,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=log_loss(scores, annotated),
            val_accuracy=float(np.trace(matrix) / matrix.sum()),
            val_f1=f1_score(matrix, labels.index(positive)),
            learning_rate=rate(epoch * batches.steps_per_epoch - 1),
            images_per_second=trained.images_per_second,
            seconds=time.perf_counter() - started,
        )
        history.append(record)
        if record.val_loss < best_loss:
            best_loss = record.val_loss
            with files.replacing(folder / WEIGHTS_NAME) as temporary:
                named = temporary.with_suffix(".weights.h5")  # Keras insists on this ending
                try:
                    model.save_weights(named)
                    named.replace(temporary)
                finally:
                    named.unlink(missing_ok=True)
            run = dataclasses.replace(run, best_epoch=epoch)
        run = dataclasses.replace(run, history=tuple(history))
        _save(run)
        on_epoch(record)
    return run


def load_run(folder: Path) -> Run:
    """Returns what a run folder says about itself; the weights are not read.

    Raises:
        UsageError: The folder holds no finished epoch.
    """
    file = folder / "run.json"
    try:
        values = json.loads(file.read_text("utf-8"))
        if values["schema"] != RUN_SCHEMA:
            raise UsageError(f"Expected {RUN_SCHEMA}, got {values['schema']} ({file}).")
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
    except OSError as error:
        raise UsageError(
            f"Expected a run folder, got none at {folder}.",
            hint="Make one with: edgegender train --data faces.csv",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"Expected the record of a run, got damaged JSON ({file}).") from error
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
        model.load_weights(run.weights_file)
    except (ValueError, OSError, KeyError) as error:
        raise UsageError(f"Expected the weights of this run, got others ({run.weights_file}).") from error
    return model
