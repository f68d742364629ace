"""A moving average of the weights: what is validated and kept when a recipe asks for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import keras

# Reading all weights back from a device each step would cost more than it brings; the momentum is raised to match
STEPS_BETWEEN_UPDATES = 8


class AveragedWeights:
    """An exponential moving average of all weights and moving statistics.

    Args:
        momentum: A step's, in [0, 1); 0 averages nothing.

    Source: Polyak & Juditsky 1992; the slower start (1 + t) / (10 + t) is that of TensorFlow's
    ExponentialMovingAverage.
    """

    def __init__(self, momentum: float) -> None:
        self._momentum = momentum
        self._arrays: list[npt.NDArray[np.float32]] = []

    @property
    def arrays(self) -> Sequence[npt.NDArray[np.float32]]:
        """The averages, in the order of the network's weights; empty without averaging."""
        return self._arrays

    def restore(self, arrays: Sequence[npt.NDArray[np.generic]]) -> None:
        """Takes over what :attr:`arrays` gave."""
        self._arrays = [np.array(array, np.float32) for array in arrays]

    def start(self, model: keras.Model) -> None:
        """Begins with the network's own weights, unless there are averages already."""
        if self._momentum and not self._arrays:
            self._arrays = [np.array(array) for array in model.get_weights()]

    def update(self, model: keras.Model, step: int) -> None:
        """Takes in the weights after a step, counted from 0; only now and then."""
        if not self._momentum or (step + 1) % STEPS_BETWEEN_UPDATES:
            return
        momentum = min(self._momentum, (1 + step) / (10 + step)) ** STEPS_BETWEEN_UPDATES
        self._arrays = [
            np.asarray(average + (1 - momentum) * (weight - average), average.dtype)
            for average, weight in zip(self._arrays, model.get_weights(), strict=True)
        ]

    @contextlib.contextmanager
    def in_place(self, model: keras.Model) -> Iterator[None]:
        """Gives the network the averages for the block, and its own weights back afterwards."""
        if not self._momentum:
            yield
            return
        own = model.get_weights()
        model.set_weights(self._arrays)
        try:
            yield
        finally:
            model.set_weights(own)
