"""Photos to training batches: decoded and augmented ahead of the network, in threads or in processes.

A batch depends on (seed, epoch, step) only: neither on the threads, the processes or the machines that share the work,
nor on where a run was stopped and taken up again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgegender import images
from edgegender.data.workers import map_in_processes
from edgegender.entities import Preprocessing, UInt8Array
from edgegender.errors import DataError, ImageError, UsageError
from edgegender.preprocess import to_float
from edgegender.runtime.interpreter import available_cores
from edgegender.training.augmentation import augment
from edgegender.training.dataset import Sample

Float32Array = npt.NDArray[np.float32]
_BATCHES_AHEAD = 3  # enough that the network never waits, few enough to stay in memory
_PHOTOS_AT_ONCE = 8  # that a thread takes
_NICENESS = 10
_MAX_THREADS = 8  # more of them wait for the interpreter lock
_MAX_UNREAD_SHARE = 0.05
_MIN_UNREAD = 20
_MIN_UNREAD_BATCH = 4  # a whole batch that cannot be read is enough, but for one that is very small


@dataclass(frozen=True)
class Batch:
    """What one training step learns from.

    Args:
        epoch: Pass over the photos, from 1.
        step: Position in the epoch, from 0.
        inputs: Shape (batch, size, size, 3), scaled for the network.
        teacher_inputs: The same views at the teacher's size and scaling; ``None`` without a teacher.
        targets: One-hot labels, shape (batch, num_labels).
        weights: Weight of each photo in the loss, shape (batch,); 0 for a photo that cannot be read.
    """

    epoch: int
    step: int
    inputs: Float32Array
    teacher_inputs: Float32Array | None
    targets: Float32Array
    weights: Float32Array


_Item = tuple[Sample, int, int]  # photo, epoch, its position among all photos


@dataclass(frozen=True)
class _Reader:
    """Photo to augmented views; picklable, the same in every thread and process."""

    preprocessings: tuple[Preprocessing, ...]  # the network's, then the teacher's
    augmentation: str
    seed: int

    def __call__(self, item: _Item) -> tuple[UInt8Array, ...] | None:
        """Returns the view of one photo at the size of each preprocessing; ``None`` when it cannot be read."""
        sample, epoch, index = item
        try:
            image = images.read_image(sample.file)
        except ImageError:
            return None
        sizes = [preprocessing.input_size_px for preprocessing in self.preprocessings]
        largest = dataclasses.replace(self.preprocessings[0], input_size_px=max(sizes))
        rng = np.random.default_rng((self.seed, epoch, index))
        view = augment(image, sample.box, largest, self.augmentation, rng)
        return tuple(view if size == len(view) else _shrink(view, size) for size in sizes)


def _shrink(view: UInt8Array, size_px: int) -> UInt8Array:
    return np.asarray(cv2.resize(view, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class _Unfilled:
    """A batch whose photos are being read."""

    epoch: int
    step: int
    items: list[_Item]
    inputs: tuple[Float32Array, ...]
    is_read: npt.NDArray[np.bool_]

    def put(self, slot: int, views: tuple[UInt8Array, ...] | None, preprocessings: Sequence[Preprocessing]) -> None:
        """Writes one photo's views; without views its slot stays zero."""
        if views is None:
            return
        for inputs, view, preprocessing in zip(self.inputs, views, preprocessings, strict=True):
            inputs[slot] = to_float(view, preprocessing.scaling)
        self.is_read[slot] = True


class _Losses:
    """Tells of photos that cannot be read, and ends the run when they are many: a disk may be gone."""

    def __init__(self, on_skip: Callable[[Path], None]) -> None:
        self._on_skip = on_skip
        self._told: set[Path] = set()
        self._epoch = self._num_seen = 0
        self._unread: list[Path] = []

    def count(self, batch: _Unfilled) -> None:
        """Counts a batch's photos.

        Raises:
            DataError: More than a twentieth of the epoch's photos so far cannot be read.
        """
        if batch.epoch != self._epoch:
            self._epoch, self._num_seen, self._unread = batch.epoch, 0, []
        self._num_seen += len(batch.items)
        unread = [
            sample.file for (sample, _, _), is_read in zip(batch.items, batch.is_read, strict=True) if not is_read
        ]
        self._unread += unread
        for file in unread:
            if file not in self._told:
                self._told.add(file)
                self._on_skip(file)
        is_whole_batch = len(unread) == len(batch.items) and len(self._unread) >= _MIN_UNREAD_BATCH
        is_much = len(self._unread) >= _MIN_UNREAD or is_whole_batch
        if is_much and len(self._unread) > _MAX_UNREAD_SHARE * self._num_seen:
            raise DataError(
                f"Expected photos that can be read, got {len(self._unread)} of {self._num_seen} that cannot, in epoch "
                f"{batch.epoch} up to step {batch.step + 1} (the first: {self._unread[0]}).",
                hint="A disk may be gone. Once the photos are back, go on with: edgegender train --resume RUN",
            )


def _start_process() -> None:
    cv2.setNumThreads(1)


def _ignore(_: object) -> None:
    """Hears of a photo and says nothing."""


def _yield_to_network() -> None:
    """Lets the network go first on Linux, where threads have priorities: decoding fits into the gaps that it leaves.

    At the same priority a decoding thread takes a core from one of the network's threads, and the others wait for that.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS))


class TrainingBatches:
    """The training photos, shuffled anew each epoch, as batches of one size (the ragged rest waits for the next epoch).

    Args:
        samples: What to learn from.
        preprocessing: Input size, margin and scaling of the network.
        num_labels: Outputs of the network.
        batch_size: Photos a step over all shards; capped at the number of photos.
        augmentation: See :func:`edgegender.training.augmentation.augment`.
        label_weights: Weight of each label in the loss, shape (num_labels,).
        seed: Of order and augmentation.
        workers: Processes that decode; 0 decodes in threads of this process, whose native code runs side by side.
        shard: (index, count): this process reads the ``index``-th of ``count`` equal slices of each batch. The batches
            put together are the same whatever the count.
        teacher: Input size and scaling of a second network that sees the same views; its margin is not used.
        on_skip: Called once with each photo that cannot be read.

    Raises:
        UsageError: The batch cannot be shared equally.
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
        workers: int = 0,
        shard: tuple[int, int] = (0, 1),
        teacher: Preprocessing | None = None,
        on_skip: Callable[[Path], None] = _ignore,
    ) -> None:
        self._samples = samples
        self._batch_size = min(batch_size, len(samples))
        self._shard_index, shard_count = shard
        if self._batch_size % shard_count:
            raise UsageError(
                f"Expected a batch that {shard_count} processes share equally, got {self._batch_size} photos.",
                hint=f"Use a multiple of {shard_count} that is no larger than the set, with --set batch_size=.",
            )
        self._shard_size = self._batch_size // shard_count
        self._preprocessings = (preprocessing,) if teacher is None else (preprocessing, teacher)
        self._reader = _Reader(self._preprocessings, augmentation, seed)
        self._one_hot = np.eye(num_labels, dtype=np.float32)
        self._label_weights = np.asarray(label_weights, np.float32)
        self._seed = seed
        self._workers = workers
        self._on_skip = on_skip

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self._samples) // self._batch_size

    def run(self, *, num_epochs: int, first_epoch: int = 1, first_step: int = 0) -> Generator[Batch, None, None]:
        """Yields the batches of all epochs as one stream, read a few ahead: an epoch's first during validation, too.

        Args:
            num_epochs: The last epoch, counted from 1.
            first_epoch: Where to start.
            first_step: Where to start in that epoch; what follows is the same as in a run from the beginning.

        Raises:
            DataError: More than a twentieth of an epoch's photos so far cannot be read (and 20 at least, or a whole
                batch).
            WorkerError: A process was killed, crashed or could not start.
        """
        losses = _Losses(self._on_skip)
        under_way: deque[tuple[_Unfilled, Callable[[], None]]] = deque()
        plan = self._plan(num_epochs, first_epoch, first_step)
        source = (
            self._in_processes(self._plan(num_epochs, first_epoch, first_step)) if self._workers else self._in_threads()
        )
        with source as submit:
            while True:
                for epoch, step, items in islice(plan, _BATCHES_AHEAD - len(under_way)):
                    batch = self._unfilled(epoch, step, items)
                    under_way.append((batch, submit(batch)))
                if not under_way:
                    return
                batch, fill = under_way.popleft()
                fill()
                losses.count(batch)
                yield self._finished(batch)

    def _plan(self, num_epochs: int, first_epoch: int, first_step: int) -> Iterator[tuple[int, int, list[_Item]]]:
        """Yields (epoch, step, photos) of this shard's slices."""
        for epoch in range(first_epoch, num_epochs + 1):
            order = np.random.default_rng((self._seed, epoch)).permutation(len(self._samples))
            for step in range(first_step if epoch == first_epoch else 0, self.steps_per_epoch):
                start = step * self._batch_size + self._shard_index * self._shard_size
                chosen = order[start : start + self._shard_size].tolist()
                yield epoch, step, [(self._samples[index], epoch, index) for index in chosen]

    def _unfilled(self, epoch: int, step: int, items: list[_Item]) -> _Unfilled:
        sizes = [preprocessing.input_size_px for preprocessing in self._preprocessings]
        inputs = tuple(np.zeros((len(items), size, size, 3), np.float32) for size in sizes)
        return _Unfilled(epoch, step, items, inputs, np.zeros(len(items), np.bool_))

    def _finished(self, batch: _Unfilled) -> Batch:
        label_index = [sample.label_index for sample, _, _ in batch.items]
        return Batch(
            epoch=batch.epoch,
            step=batch.step,
            inputs=batch.inputs[0],
            teacher_inputs=batch.inputs[1] if len(batch.inputs) > 1 else None,
            targets=self._one_hot[label_index],
            weights=self._label_weights[label_index] * batch.is_read,
        )

    @contextlib.contextmanager
    def _in_threads(self) -> Iterator[Callable[[_Unfilled], Callable[[], None]]]:
        # one core stays the network's; where the network is faster than the threads, its own thread reads, too
        pool = ThreadPoolExecutor(min(max(1, available_cores() - 1), _MAX_THREADS), initializer=_yield_to_network)

        def read(batch: _Unfilled, start: int) -> None:
            for slot, item in enumerate(batch.items[start : start + _PHOTOS_AT_ONCE], start):
                batch.put(slot, self._reader(item), self._preprocessings)

        def submit(batch: _Unfilled) -> Callable[[], None]:
            starts = range(0, len(batch.items), _PHOTOS_AT_ONCE)
            parts = [(start, pool.submit(read, batch, start)) for start in starts]

            def fill() -> None:
                for start, part in reversed(parts):  # the threads begin at the front
                    if part.cancel():
                        read(batch, start)
                for _, part in parts:
                    if not part.cancelled():
                        part.result()

            return fill

        try:
            yield submit
        finally:
            pool.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def _in_processes(
        self, plan: Iterator[tuple[int, int, list[_Item]]]
    ) -> Iterator[Callable[[_Unfilled], Callable[[], None]]]:
        results = map_in_processes(
            self._reader,
            (item for _, _, items in plan for item in items),
            workers=self._workers,
            # a process is given four such pieces ahead: two batches in all
            chunk_items=max(1, self._shard_size // (2 * self._workers)),
            start_worker=_start_process,
            is_one_apart=True,
        )
        collator = ThreadPoolExecutor(1)

        def collate(batch: _Unfilled) -> None:
            for slot, views in enumerate(islice(results, len(batch.items))):
                batch.put(slot, views, self._preprocessings)

        try:
            yield lambda batch: collator.submit(collate, batch).result
        finally:
            collator.shutdown(cancel_futures=True)
            results.close()
