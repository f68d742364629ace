"""What to learn from and to measure on: samples of a manifest, their weights, and batches without augmentation."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgegender import images
from edgegender.data.manifest import Manifest
from edgegender.entities import FaceBox, IntArray, Preprocessing, UInt8Array
from edgegender.errors import DataError, ImageError
from edgegender.preprocess import to_input
from edgegender.runtime.interpreter import available_cores

_BATCHES_AHEAD = 3  # enough that the network never waits, few enough to stay in memory
_PHOTOS_AT_ONCE = 8  # that a thread takes


@dataclass(frozen=True)
class Sample:
    """One photo to learn from or to measure on."""

    file: Path
    box: FaceBox | None
    label_index: int


def to_samples(manifest: Manifest, labels: Sequence[str]) -> list[Sample]:
    """Returns the manifest's rows with each label as its position in ``labels``."""
    position = {label: index for index, label in enumerate(labels)}
    return [Sample(manifest.file(row), row.face_box, position[row.label]) for row in manifest]


def readable_samples(samples: Sequence[Sample]) -> tuple[list[Sample], list[Path]]:
    """Returns the samples whose photo's header can be read, and the files of the others.

    Raises:
        DataError: None can be read.
    """
    good, bad = [], []
    for sample in samples:
        try:
            images.read_size(images.read_bytes(sample.file), where=str(sample.file))
            good.append(sample)
        except ImageError:
            bad.append(sample.file)
    if not good:
        first = f" (the first: {bad[0]})" if bad else ""
        raise DataError(f"Expected photos that can be read, got {len(bad)} that cannot{first}.")
    return good, bad


def read_input(sample: Sample, preprocessing: Preprocessing) -> UInt8Array:
    """Returns what the network sees of one photo, without augmentation.

    Returns:
        Array of shape (input_size_px, input_size_px, 3), uint8, RGB.

    Raises:
        ImageError: The photo cannot be decoded.
    """
    return to_input(images.read_image(sample.file), sample.box, preprocessing)


def balanced_weights(label_index: IntArray, num_labels: int, *, is_balanced: bool) -> list[float]:
    """Returns a weight for each label so that all labels together weigh the same; ones when not balanced.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 1]), 2, is_balanced=True)
        [0.6666666666666666, 2.0]
    """
    if not is_balanced:
        return [1.0] * num_labels
    counts = np.bincount(label_index, minlength=num_labels)
    return [float(len(label_index) / (num_labels * count)) if count else 0.0 for count in counts]


def _read_inputs(samples: Sequence[Sample], preprocessing: Preprocessing) -> list[UInt8Array | None]:
    inputs: list[UInt8Array | None] = []
    for sample in samples:
        try:
            inputs.append(read_input(sample, preprocessing))
        except ImageError:
            inputs.append(None)
    return inputs


def evaluation_batches(
    samples: Sequence[Sample], preprocessing: Preprocessing, *, batch_size: int = 64, num_threads: int | None = None
) -> Generator[tuple[UInt8Array, list[int]], None, None]:
    """Yields (inputs, positions) in order, without augmentation; a photo that cannot be decoded is left out.

    The next batches are decoded while the network looks at one.

    Args:
        samples: What to measure on.
        preprocessing: Input size and margin.
        batch_size: Photos a batch.
        num_threads: Decoding threads; as many as there are cores when ``None``.

    Yields:
        inputs (up to batch_size, size, size, 3) uint8; the positions of its photos in ``samples``.
    """
    pool = ThreadPoolExecutor(num_threads or available_cores())
    starts = iter(range(0, len(samples), batch_size))
    under_way: deque[tuple[int, list[Future[list[UInt8Array | None]]]]] = deque()
    try:
        while True:
            for start in islice(starts, _BATCHES_AHEAD - len(under_way)):
                batch = samples[start : start + batch_size]
                parts = [batch[first : first + _PHOTOS_AT_ONCE] for first in range(0, len(batch), _PHOTOS_AT_ONCE)]
                under_way.append((start, [pool.submit(_read_inputs, part, preprocessing) for part in parts]))
            if not under_way:
                return
            start, futures = under_way.popleft()
            decoded = enumerate((image for future in futures for image in future.result()), start)
            kept = [(image, position) for position, image in decoded if image is not None]
            if kept:
                yield np.stack([image for image, _ in kept]), [position for _, position in kept]
    finally:
        pool.shutdown(cancel_futures=True)
