"""Several faces at once, where that is faster: measured on the machine at hand, not assumed."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edgegender.errors import ModelFileError
from edgegender.runtime.interpreter import Interpreter

MAX_BATCH = 4  # beyond, a batch saves no more, and each size takes memory of its own
_TRIALS = 5  # the quickest of so many runs counts: other programs can only make a run slower
_MIN_GAIN = 0.95  # a batch must take less than this share of the time that single runs take


def _quickest_s(run: Callable[[], None]) -> float:
    run()
    seconds = []
    for _ in range(_TRIALS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


class FaceBatches:
    """The same network for two to ``MAX_BATCH`` pictures at once.

    On one thread a batch saves nothing as a rule; on several it does, for the threads meet less often. When as many
    faces are seen for the first time, both ways are timed, which takes about ten runs, and the quicker one is kept.
    A network that cannot take a batch, or answers otherwise in one, gets single runs.

    Args:
        single: The network for one picture.
        make: Makes it for a batch of the given size; may raise :class:`ModelFileError`.
    """

    def __init__(self, single: Interpreter, make: Callable[[int], Interpreter]) -> None:
        self._single = single
        self._make = make
        self._chosen: dict[int, Interpreter | None] = {}

    def interpreter_for(self, num_faces: int) -> Interpreter | None:
        """Returns the network to use for so many faces at once, ``None`` where single runs are quicker."""
        if not 2 <= num_faces <= MAX_BATCH:
            return None
        if num_faces not in self._chosen:
            self._chosen[num_faces] = self._choose(num_faces)
        return self._chosen[num_faces]

    def _choose(self, num_faces: int) -> Interpreter | None:
        try:
            together = self._make(num_faces)
        except ModelFileError:
            return None
        if together.input_shape != (num_faces, *self._single.input_shape[1:]):
            return None
        pictures = np.random.default_rng(0).integers(0, 256, together.input_shape, np.uint8)
        apart = [self._single.run(picture).tolist() for picture in pictures]
        for position, picture in enumerate(pictures):
            np.copyto(together.picture(position), picture)

        def run_apart() -> None:
            for _ in range(num_faces):
                self._single.invoke()

        together_s = _quickest_s(together.invoke)
        if together.read_rows() != apart or together_s > _MIN_GAIN * _quickest_s(run_apart):
            return None
        return together
