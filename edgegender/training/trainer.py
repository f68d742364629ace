"""A run under way: steps, epochs, checkpoints."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import IntArray
from edgegender.errors import EdgeGenderError, StoppedError, TrainingError, UsageError
from edgegender.metrics import f1_score
from edgegender.training.architectures import build_model, set_frozen
from edgegender.training.averaging import AveragedWeights
from edgegender.training.backend import precision_scope, set_seed, told_memory
from edgegender.training.batches import Batch, TrainingBatches
from edgegender.training.checkpoint import read_checkpoint, restore, take_checkpoint, write_checkpoint
from edgegender.training.dataset import balanced_weights
from edgegender.training.hooks import Hooks, Machinery, StepReport
from edgegender.training.objectives import compile_model, join_targets, read_counts
from edgegender.training.preparation import RunData
from edgegender.training.run_folder import CHECKPOINT_NAME, EpochRecord, Run, save_record, save_weights
from edgegender.training.schedules import RateSchedule
from edgegender.training.teacher import Teacher
from edgegender.training.thresholds import choose_threshold
from edgegender.training.validation import validate

if TYPE_CHECKING:
    import keras

_STEPS_BETWEEN_QUESTIONS = 10  # several processes must agree to stop, and asking all of them takes time


@dataclass
class _EpochSums:
    """What an epoch adds up, also over an interruption."""

    loss: float
    counts: IntArray
    num_steps: int = 0
    num_images: int = 0
    seconds: float = 0.0

    @classmethod
    def empty(cls, num_labels: int) -> _EpochSums:
        return cls(0.0, np.zeros((num_labels, num_labels), np.int64))

    def to_json(self) -> dict[str, object]:
        return {**dataclasses.asdict(self), "counts": self.counts.tolist()}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> _EpochSums:
        return cls(**{**values, "counts": np.asarray(values["counts"], np.int64)})  # type: ignore[arg-type]

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.counts) / max(1, self.counts.sum()))

    @property
    def images_per_second(self) -> float:
        return self.num_images / max(self.seconds, 1e-9)


class Trainer:
    """A run under way."""

    def __init__(self, run: Run, data: RunData, hooks: Hooks, machinery: Machinery, teacher: Teacher | None) -> None:
        recipe = run.recipe
        self.run, self._hooks, self._machinery, self._teacher = run, hooks, machinery, teacher
        self._processes = machinery.processes
        self._positive_index = run.labels.index(run.positive_label)
        self._val = data.val
        label_index = np.asarray([sample.label_index for sample in data.train])
        self._batches = TrainingBatches(
            data.train,
            run.preprocessing,
            num_labels=len(run.labels),
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            label_weights=balanced_weights(label_index, len(run.labels), is_balanced=recipe.is_class_balanced),
            seed=recipe.seed,
            workers=machinery.workers,
            shard=(self._processes.index, self._processes.count),
            teacher=None if teacher is None else teacher.preprocessing,
            on_skip=hooks.on_skip,
        )
        self._schedule = RateSchedule(recipe, self._batches.steps_per_epoch)
        self._averaged = AveragedWeights(recipe.weight_averaging)
        self._epoch, self._step = 1, 0  # of the next batch
        self._sums = _EpochSums.empty(len(run.labels))
        self._best_loss = math.inf
        self._model: keras.Model | None = None
        self._saved_at = time.monotonic()

    @property
    def model(self) -> keras.Model:
        """The network."""
        if self._model is None:  # pragma: no cover - a slip of ours, not of the user's
            raise RuntimeError("build first")
        return self._model

    def build(self, start_weights: Path | None = None) -> None:
        """Builds the network and sets up the phase that the next batch belongs to."""
        recipe = self.run.recipe
        set_seed(recipe.seed)
        with precision_scope(self.run.environment["precision"]), told_memory(recipe.batch_size):
            self._model = build_model(recipe, len(self.run.labels), start_weights=start_weights)
        # A checkpoint between two epochs holds the optimizer of the first one; the next batch may bring a new phase
        self._enter_phase(self._epoch if self._step else max(1, self._epoch - 1))

    def _enter_phase(self, last_epoch: int) -> None:
        """Sets up what learns, and a new optimizer, for the phase that an epoch belongs to."""
        is_frozen = last_epoch <= self.run.recipe.frozen_epochs
        set_frozen(self.model, self.run.recipe, is_frozen=is_frozen)
        compile_model(self.model, self.run.recipe, len(self.run.labels))

    def restore(self) -> None:
        """Goes back to the last checkpoint."""
        path = self.run.folder / CHECKPOINT_NAME
        checkpoint = read_checkpoint(path)
        state = checkpoint.progress
        try:
            self._epoch, self._step = int(state["epoch"]), int(state["step"])  # type: ignore[call-overload]
            self._sums = _EpochSums.from_json(state["sums"])  # type: ignore[arg-type]
            self._schedule.restore(state["schedule"])  # type: ignore[arg-type]
            history = tuple(EpochRecord(**record) for record in state["history"])  # type: ignore[attr-defined]
            best = state["best"]
            kept = {name: best[name] for name in ("best_epoch", "threshold", "weights_sha256")}  # type: ignore[index]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"Expected a whole checkpoint, got a damaged one ({path}).", hint="Train it again."
            ) from error
        self._best_loss = min((record.val_loss for record in history), default=math.inf)
        self.run = dataclasses.replace(self.run, history=history, **kept)
        self.build_for_checkpoint()
        restore(self.model, checkpoint, where=path)
        self._averaged.restore(checkpoint.averaged)

    def build_for_checkpoint(self) -> None:
        """Builds the network without its start weights: the checkpoint brings all of them."""
        run = self.run
        self.run = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, start_weights="none"))
        self.build()
        self.run = run

    def save(self) -> None:
        """Writes a checkpoint of where the run stands."""
        self._saved_at = time.monotonic()
        if not self._processes.is_main:
            return
        run = self.run
        progress = {
            "epoch": self._epoch,
            "step": self._step,
            "sums": self._sums.to_json(),
            "schedule": self._schedule.to_json(),
            "history": [dataclasses.asdict(record) for record in run.history],
            "best": {name: getattr(run, name) for name in ("best_epoch", "threshold", "weights_sha256")},
        }
        write_checkpoint(run.folder / CHECKPOINT_NAME, take_checkpoint(self.model, self._averaged.arrays, progress))

    def record(self, status: str) -> None:
        """Writes the run's record."""
        self.run = dataclasses.replace(self.run, status=status)
        if self._processes.is_main:
            save_record(self.run)

    def fit(self) -> None:
        """Trains from where the run stands to its end."""
        num_epochs = self.run.recipe.epochs
        self._averaged.start(self.model)
        stream = self._batches.run(num_epochs=num_epochs, first_epoch=self._epoch, first_step=self._step)
        began = time.perf_counter()
        with contextlib.closing(stream):
            for batch in stream:
                if batch.step == 0 and batch.epoch == self.run.recipe.frozen_epochs + 1 > 1:
                    self._enter_phase(batch.epoch)
                self._train_step(batch)
                self._sums.seconds += time.perf_counter() - began
                self._tell_step()
                is_epoch_done = self._step == self._batches.steps_per_epoch
                if is_epoch_done:
                    self._end_epoch()
                self._save_when_due(is_epoch_done=is_epoch_done)
                began = time.perf_counter()

    def _train_step(self, batch: Batch) -> None:
        recipe, model = self.run.recipe, self.model
        global_step = (batch.epoch - 1) * self._batches.steps_per_epoch + batch.step
        teacher_scores = None
        if self._teacher is not None and batch.teacher_inputs is not None:
            teacher_scores = self._teacher.score(batch.teacher_inputs)
        targets = join_targets(batch.targets, teacher_scores, recipe)
        model.optimizer.learning_rate = self._schedule.rate(global_step)
        # Versions of Keras differ in whether train_on_batch gives this batch's figures or a running mean
        model.reset_metrics()
        with told_memory(recipe.batch_size):
            logs = model.train_on_batch(batch.inputs, targets, sample_weight=batch.weights, return_dict=True)
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrainingError(
                f"Expected a finite loss, got {loss} (epoch {batch.epoch}, step {batch.step + 1}).",
                hint="Lower the rate, such as --set learning_rate=0.0001; the best weights so far were kept.",
            )
        self._averaged.update(model, global_step)
        self._epoch, self._step = batch.epoch, batch.step + 1
        num_images = len(batch.inputs) * self._processes.count
        self._sums.loss += loss * num_images
        self._sums.counts += read_counts(logs, len(self.run.labels))
        self._sums.num_steps += 1
        self._sums.num_images += num_images

    def _tell_step(self) -> None:
        sums = self._sums
        self._hooks.on_step(
            StepReport(
                epoch=self._epoch,
                num_epochs=self.run.recipe.epochs,
                step=self._step,
                steps_per_epoch=self._batches.steps_per_epoch,
                loss=sums.loss / sums.num_images,
                accuracy=sums.accuracy,
                f1=f1_score(sums.counts, self._positive_index),
                images_done=sums.num_images,
                images_per_second=sums.images_per_second,
            )
        )

    def _end_epoch(self) -> None:
        """Validates, keeps the weights when they are the best so far, and writes the record."""
        began = time.perf_counter()
        run, sums = self.run, self._sums
        with self._averaged.in_place(self.model):
            validation = validate(
                self.model,
                self._val,
                run.preprocessing,
                positive_index=self._positive_index,
                processes=self._processes,
            )
            record = EpochRecord(
                epoch=self._epoch,
                train_loss=sums.loss / sums.num_images,
                train_accuracy=sums.accuracy,
                train_f1=f1_score(sums.counts, self._positive_index),
                val_loss=validation.loss,
                val_accuracy=validation.accuracy,
                val_f1=validation.f1,
                learning_rate=self._schedule.rate(self._epoch * self._batches.steps_per_epoch - 1),
                images_per_second=sums.images_per_second,
                seconds=sums.seconds + time.perf_counter() - began,
            )
            run = dataclasses.replace(run, history=(*run.history, record))
            if record.val_loss < self._best_loss:
                self._best_loss = record.val_loss
                run = self._keep(run, validation.scores[:, self._positive_index], validation.annotated)
        self.run = run
        self._schedule.end_epoch(validation.loss)
        self._epoch, self._step = self._epoch + 1, 0
        self._sums = _EpochSums.empty(len(run.labels))
        self.record("running")
        self._hooks.on_epoch(record)

    def _keep(self, run: Run, scores: npt.NDArray[np.float64], annotated: IntArray) -> Run:
        """Writes the best weights so far, and chooses the threshold that goes with them."""
        sha256 = save_weights(run.folder, self.model) if self._processes.is_main else ""
        threshold = 0.5
        if run.recipe.threshold == "best_f1":
            is_positive = annotated == self._positive_index
            threshold = choose_threshold(scores, is_positive, run.folder if self._processes.is_main else None)
        return dataclasses.replace(run, best_epoch=self._epoch, threshold=threshold, weights_sha256=sha256)

    def _save_when_due(self, *, is_epoch_done: bool) -> None:
        is_asked_now = is_epoch_done or self._processes.count == 1 or self._step % _STEPS_BETWEEN_QUESTIONS == 0
        is_stopping = is_asked_now and self._processes.any(self._hooks.should_stop())
        is_finished = self._epoch > self.run.recipe.epochs
        if is_epoch_done or is_stopping or time.monotonic() - self._saved_at >= self._machinery.checkpoint_seconds:
            self.save()
        if is_stopping and not is_finished:
            self.record("stopped")
            raise StoppedError(
                f"Stopped on request before epoch {self._epoch}, step {self._step + 1}; all is saved.",
                hint=f"Go on with: edgegender train --resume {self.run.folder}",
            )

    def go(self) -> Run:
        """Trains to the end, and leaves the record consistent whatever happens."""
        try:
            self.fit()
        except EdgeGenderError as error:
            if not isinstance(error, StoppedError):
                with contextlib.suppress(EdgeGenderError):
                    self.record("failed")
            raise
        except KeyboardInterrupt:
            with contextlib.suppress(EdgeGenderError):
                self.record("stopped")
            raise
        self.record("finished")
        return self.run
