"""The learning rate of each step: cosine with a warm-up, lower on a plateau, or constant."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgegender.training.recipes import Recipe

_MIN_IMPROVEMENT = 1e-4  # Source: Keras, ReduceLROnPlateau, min_delta
_MIN_RATE = 1e-8


class RateSchedule:
    """Gives the rate of a step; hears the validation loss of each epoch.

    Args:
        recipe: Its schedule, rates and epochs.
        steps_per_epoch: At least 1.

    Source: Loshchilov & Hutter 2017, arXiv 1608.03983, equation 5 (cosine); Keras, ReduceLROnPlateau (plateau).

    Example:
        >>> from edgegender.training.recipes import load_recipe
        >>> schedule = RateSchedule(load_recipe("edge", ["learning_rate=0.1", "warmup_fraction=0.25", "epochs=1"]), 8)
        >>> [round(schedule.rate(step), 3) for step in (0, 1, 2, 5, 7)]
        [0.05, 0.1, 0.1, 0.05, 0.007]
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int) -> None:
        self._recipe = recipe
        self._steps_per_epoch = steps_per_epoch
        self._plateau_scale = 1.0
        self._best_loss = math.inf
        self._epochs_waited = 0

    def rate(self, step: int) -> float:
        """Returns the rate of a step, counted from 0 over all epochs."""
        recipe = self._recipe
        peak = recipe.learning_rate * self._plateau_scale
        if recipe.frozen_epochs and step >= recipe.frozen_epochs * self._steps_per_epoch:
            peak *= recipe.unfrozen_rate_factor
        if recipe.schedule != "cosine":
            return peak
        num_steps = recipe.epochs * self._steps_per_epoch
        warmup = max(1, round(recipe.warmup_fraction * num_steps))
        if step < warmup:
            return peak * (step + 1) / warmup
        progress = (step - warmup) / max(1, num_steps - warmup)
        return peak * 0.5 * (1 + math.cos(math.pi * progress)) + _MIN_RATE

    def end_epoch(self, val_loss: float) -> None:
        """Hears how an epoch validated."""
        if val_loss < self._best_loss - _MIN_IMPROVEMENT:
            self._best_loss, self._epochs_waited = val_loss, 0
            return
        self._epochs_waited += 1
        if self._recipe.schedule == "plateau" and self._epochs_waited >= self._recipe.plateau_patience:
            self._plateau_scale *= self._recipe.plateau_factor
            self._epochs_waited = 0

    def to_json(self) -> dict[str, float | int | None]:
        """Returns what a checkpoint must hold."""
        return {
            "plateau_scale": self._plateau_scale,
            "best_loss": None if math.isinf(self._best_loss) else self._best_loss,
            "epochs_waited": self._epochs_waited,
        }

    def restore(self, state: Mapping[str, float | int | None]) -> None:
        """Takes over what :meth:`to_json` gave."""
        best_loss = state["best_loss"]
        self._plateau_scale = float(state["plateau_scale"] or 0.0)
        self._best_loss = math.inf if best_loss is None else float(best_loss)
        self._epochs_waited = int(state["epochs_waited"] or 0)
