"""Photos to batches: decoded and augmented in threads, the same for the same (seed, epoch, photo)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender import images
from edgegender.data.manifest import Manifest
from edgegender.entities import FaceBox, IntArray, Preprocessing, UInt8Array
from edgegender.errors import DataError, ImageError
from edgegender.preprocess import to_float, to_input
from edgegender.training.augmentation import augment


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


class TrainingBatches:
    """The training photos, shuffled anew each epoch, as batches of one size (the ragged rest waits for the next epoch).

    Args:
        samples: What to learn from.
        preprocessing: Input size and margin.
        num_labels: Outputs of the network.
        batch_size: Photos a batch; capped at the number of photos.
        augmentation: See :func:`edgegender.training.augmentation.augment`.
        label_weights: Weight of each label in the loss, shape (num_labels,).
        seed: Of order and augmentation.
        num_threads: Decoding threads; OpenCV releases the interpreter lock.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        preprocessing: Preprocessing,
        *,
        num_labels: int,
        batch_size: int,
        augmentation: str,
        label_weights: Sequence[float],
        seed: int,
        num_threads: int = 2,
    ) -> None:
        self._samples = samples
        self._preprocessing = preprocessing
        self._num_labels = num_labels
        self._batch_size = min(batch_size, len(samples))
        self._augmentation = augmentation
        self._label_weights = np.asarray(label_weights, np.float32)
        self._seed = seed
        self._num_threads = num_threads

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self._samples) // self._batch_size

    def _read(self, epoch: int, index: int) -> UInt8Array | None:
        sample = self._samples[index]
        rng = np.random.default_rng((self._seed, epoch, index))
        try:
            image = images.read_image(sample.file)
        except ImageError:
            return None
        return augment(image, sample.box, self._preprocessing, self._augmentation, rng)

    def epoch(
        self, epoch: int
    ) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """Yields (inputs, targets, weights) of one pass, one batch ahead of the network.

        A photo that cannot be decoded is given the weight zero.

        Yields:
            inputs (batch, size, size, 3) float32 in [-1, 1]; targets (batch, num_labels) one-hot; weights (batch,).
        """
        order = np.random.default_rng((self._seed, epoch)).permutation(len(self._samples))
        starts = range(0, self.steps_per_epoch * self._batch_size, self._batch_size)
        with ThreadPoolExecutor(self._num_threads) as pool:
            batches = [order[start : start + self._batch_size].tolist() for start in starts]
            # Two batches under way: enough that the network never waits, little enough to stay in memory.
            pending = [[pool.submit(self._read, epoch, index) for index in batch] for batch in batches[:2]]
            for number, batch in enumerate(batches):
                decoded = [future.result() for future in pending.pop(0)]
                if number + 2 < len(batches):
                    pending.append([pool.submit(self._read, epoch, index) for index in batches[number + 2]])
                yield self._collate(batch, decoded)

    def _collate(
        self, batch: Sequence[int], decoded: Sequence[UInt8Array | None]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        size_px = self._preprocessing.input_size_px
        empty = np.zeros((size_px, size_px, 3), np.uint8)
        inputs = to_float(np.stack([empty if image is None else image for image in decoded]))
        label_index = np.asarray([self._samples[index].label_index for index in batch])
        targets = np.eye(self._num_labels, dtype=np.float32)[label_index]
        is_read = np.asarray([image is not None for image in decoded], np.float32)
        return inputs, targets, self._label_weights[label_index] * is_read


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


def evaluation_batches(
    samples: Sequence[Sample], preprocessing: Preprocessing, *, batch_size: int = 64, num_threads: int = 2
) -> Iterator[tuple[UInt8Array, list[int]]]:
    """Yields (inputs, positions) in order, without augmentation; a photo that cannot be decoded is left out.

    Yields:
        inputs (up to batch_size, size, size, 3) uint8; the positions of its photos in ``samples``.
    """

    def read(position: int) -> UInt8Array | None:
        try:
            return read_input(samples[position], preprocessing)
        except ImageError:
            return None

    with ThreadPoolExecutor(num_threads) as pool:
        for start in range(0, len(samples), batch_size):
            positions = list(range(start, min(start + batch_size, len(samples))))
            decoded = list(pool.map(read, positions))
            kept = [(image, position) for image, position in zip(decoded, positions, strict=True) if image is not None]
            if kept:
                yield np.stack([image for image, _ in kept]), [position for _, position in kept]
