"""What a run tells while it goes, how it is asked to stop, and how it is carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgegender.training.distribution import Processes, single_process
from edgegender.training.run_folder import EpochRecord

CHECKPOINT_SECONDS = 120.0


@dataclass(frozen=True)
class StepReport:
    """Live progress, given to ``on_step``: means over the epoch so far.

    Args:
        epoch: From 1.
        num_epochs: In all.
        step: From 1, in this epoch.
        steps_per_epoch: In one epoch.
        loss: Of the training batches, nats.
        accuracy: Of the augmented training photos.
        f1: Of the positive label.
        images_done: In this epoch.
        images_per_second: In this epoch.
    """

    epoch: int
    num_epochs: int
    step: int
    steps_per_epoch: int
    loss: float
    accuracy: float
    f1: float
    images_done: int
    images_per_second: float


def _ignore(_: object) -> None:
    """Hears of progress and says nothing."""


def _never() -> bool:
    """Never asks to stop."""
    return False


@dataclass(frozen=True)
class Hooks:
    """What a run tells, and how it is asked to stop.

    Args:
        on_step: Called after each batch.
        on_epoch: Called after each epoch.
        on_skip: Called with each photo that cannot be read.
        should_stop: Asked after each batch; true saves a checkpoint and ends the run with :class:`StoppedError`.
    """

    on_step: Callable[[StepReport], None] = _ignore
    on_epoch: Callable[[EpochRecord], None] = _ignore
    on_skip: Callable[[Path], None] = _ignore
    should_stop: Callable[[], bool] = _never


@dataclass(frozen=True)
class Machinery:
    """How a run is carried out; nothing here changes its numbers.

    Args:
        workers: Processes that decode and augment; 0 takes threads.
        checkpoint_seconds: A checkpoint is written at each epoch's end, and within an epoch after so many seconds.
        processes: The processes that share each batch.
        device: Where to compute, as :func:`edgegender.training.backend.use_device` was told.
    """

    workers: int = 0
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    processes: Processes = dataclasses.field(default_factory=single_process)
    device: str = "auto"
