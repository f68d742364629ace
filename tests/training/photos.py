"""Photos on disk and batches of them, for tests of what training reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from edgegender.entities import FaceBox, Preprocessing
from edgegender.training.batches import TrainingBatches
from edgegender.training.dataset import Sample
from tests import pictures

PREPROCESSING = Preprocessing(32, 1.3)
BOX = FaceBox(10, 8, 34, 32)


def make_samples(folder: Path, count: int, *, unreadable: tuple[int, ...] = ()) -> list[Sample]:
    """Writes ``count`` photos, every second with a face box; in place of ``unreadable`` ones stands a text."""
    samples = []
    for number in range(count):
        file = pictures.write_photo(folder / f"{number}.jpg", pictures.noise(40, 44, seed=number))
        if number in unreadable:
            file.write_text("no photo")
        samples.append(Sample(file, BOX if number % 2 else None, number % 3))
    return samples


def make_batches(
    samples: list[Sample], preprocessing: Preprocessing = PREPROCESSING, **changes: object
) -> TrainingBatches:
    """Returns batches of four with all of the augmentation, unless ``changes`` say otherwise."""
    options: dict[str, object] = {
        "num_labels": 3,
        "batch_size": 4,
        "augmentation": "camera",
        "label_weights": [1.0, 2.0, 0.5],
        "seed": 7,
    }
    return TrainingBatches(samples, preprocessing, **{**options, **changes})  # type: ignore[arg-type]


def wait_until(is_done: Callable[[], bool]) -> None:
    """Waits for what other threads do, half a minute at most."""
    end = time.monotonic() + 30
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.005)
