"""A network's answers to photos, read from the bytes that would be shipped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue

import numpy as np

from edgegender.entities import FloatArray, IntArray, UInt8Array
from edgegender.errors import DataError
from edgegender.runtime.interpreter import Interpreter, default_num_threads

_PHOTOS_AT_ONCE = 16  # that a thread takes


@dataclass(frozen=True)
class MeasuredPhotos:
    """Photos as network inputs, and the float network's answers to them.

    Args:
        inputs: Gives each input, (size, size, 3) uint8, in order, each time it is called.
        annotated: Label indices, shape (photos,).
        float_scores: The float network's scores, shape (photos, labels).
        groups: Sensitive feature → its value for each photo.
    """

    inputs: Callable[[], Iterable[UInt8Array]]
    annotated: IntArray
    float_scores: FloatArray
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)


def score_inputs(content: bytes, inputs: Iterable[UInt8Array], *, scaling: str) -> FloatArray:
    """Returns a file's scores for raw pictures, shape (photos, labels).

    As many interpreters as there are cores run side by side, each on one thread: for networks of this size that is
    faster than one interpreter on several threads, and float sums do not depend on the number of cores.

    Args:
        content: The ``.tflite``.
        inputs: Raw bytes, (size, size, 3) each.
        scaling: What a file with float32 input takes.

    Raises:
        DataError: There is no picture.
    """
    count = default_num_threads()
    idle: SimpleQueue[Interpreter] = SimpleQueue()
    for _ in range(count):
        idle.put(Interpreter(content, num_threads=1, scaling=scaling))

    def run(images: Sequence[UInt8Array]) -> FloatArray:
        interpreter = idle.get()
        try:
            return np.stack([interpreter.run(image) for image in images])
        finally:
            idle.put(interpreter)

    scores: list[FloatArray] = []
    pending: deque[Future[FloatArray]] = deque()
    source = iter(inputs)
    with ThreadPoolExecutor(count) as pool:
        while images := list(islice(source, _PHOTOS_AT_ONCE)):
            pending.append(pool.submit(run, images))
            if len(pending) > 2 * count:  # decoded pictures do not pile up
                scores.append(pending.popleft().result())
        scores += [future.result() for future in pending]
    if not scores:
        raise DataError("Expected photos to answer, got none.")
    return np.concatenate(scores)
