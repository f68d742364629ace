"""The training run: a recipe and a manifest in, a run folder out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

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
from edgegender.training.run_folder import (
    RUN_NAME,
    EpochRecord,
    Run,
    describe_environment,
    save_record,
    save_weights,
)

if TYPE_CHECKING:
    import keras


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
    scores: list[npt.NDArray[np.float32]] = []
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


@contextlib.contextmanager
def _told_memory() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Each backend has its own class for it; by name, so that none of them is imported here
        if type(error).__name__ not in ("ResourceExhaustedError", "OutOfMemoryError"):
            raise
        raise TrainingError(
            "Expected enough memory for a batch, got too little.",
            hint="Use a smaller --set batch_size=, or a smaller --set input_size_px=.",
        ) from error


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
        with _told_memory():
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
        DownloadError: The start weights cannot be fetched.
        OutputError: The folder cannot be written.
        TrainingError: The loss is not finite, or memory ran out.
    """
    if (folder / RUN_NAME).exists():
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
            save_weights(run, model)
            run = dataclasses.replace(run, best_epoch=epoch)
        run = dataclasses.replace(run, history=tuple(history))
        save_record(run)
        on_epoch(record)
    return run
