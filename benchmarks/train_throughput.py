"""How much of the bare training step's speed is left when real photos are decoded and augmented beside it.

Run: python benchmarks/train_throughput.py -o benchmarks/train_throughput.json [--data faces.csv]

MobileNetV2 1.0 as the recipe `edge` builds and compiles it, from random weights (the speed does not depend on them),
batches of 64, augmentation `camera`. The bare step trains on one batch of random numbers that stays in memory; the
pipeline feeds the same compiled network with photos. The two take turns in short rounds, each after some steps that are
not timed: the batches that were read ahead while the other was at work are used up before the clock starts. The ratio
is that of the median speeds; its spread, the quartiles of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.manifest_file import read_manifest
from edgegender.data.workers import map_in_processes
from edgegender.entities import FaceBox, Preprocessing
from edgegender.images import encode_image
from edgegender.training.architectures import build_model
from edgegender.training.batches import Batch, TrainingBatches
from edgegender.training.dataset import Sample, to_samples
from edgegender.training.objectives import compile_model, join_targets
from edgegender.training.recipes import load_recipe

BATCH_SIZE = 64
SETTLING_STEPS = 5  # more than the pipeline reads ahead
LABELS = ("female", "male")


def draw(job: tuple[str, int]) -> tuple[str, FaceBox, int]:
    """Draws the face of a number into a file, as large as the crops of `data crop`."""
    file, number = job
    rng = np.random.default_rng([5, number])
    face = draw_face(draw_attributes(LABELS[number % 2], rng), size_px=176, rng=rng)
    Path(file).write_bytes(encode_image(face.image_rgb))
    return file, face.box, number % 2


def find_samples(manifest: Path | None, folder: Path) -> list[Sample]:
    """Returns the manifest's train rows, or drawn faces."""
    if manifest is not None:
        rows = read_manifest(manifest).select(split="train")
        return to_samples(rows, rows.labels)
    jobs = [(str(folder / f"{number}.jpg"), number) for number in range(2000)]
    drawn = map_in_processes(draw, jobs, workers=os.cpu_count() or 1, chunk_items=50)
    return [Sample(Path(file), box, label_index) for file, box, label_index in drawn]


def repeat(batch: Batch) -> Iterator[Batch]:
    """Yields the same batch for ever."""
    while True:
        yield batch


def random_batch(size_px: int, num_labels: int) -> Batch:
    """Returns random numbers in the shape of a batch."""
    rng = np.random.default_rng(1)
    inputs = rng.uniform(-1, 1, (BATCH_SIZE, size_px, size_px, 3)).astype(np.float32)
    targets = np.eye(num_labels, dtype=np.float32)[rng.integers(0, num_labels, BATCH_SIZE)]
    return Batch(1, 0, inputs, None, targets, np.ones(BATCH_SIZE, np.float32))


def time_steps(train: Callable[[Batch], object], batches: Iterator[Batch], steps: int) -> float:
    """Returns images/s over ``steps`` steps, after some that are not timed."""
    for _ in range(SETTLING_STEPS):
        train(next(batches))
    started = time.perf_counter()
    for _ in range(steps):
        train(next(batches))
    return steps * BATCH_SIZE / (time.perf_counter() - started)


def quartiles(values: list[float]) -> list[float]:
    """Returns the first quartile, the median and the third."""
    return statistics.quantiles(values, n=4, method="inclusive")


def measure(samples: list[Sample], size_px: int, *, rounds: int, steps: int, workers: int) -> dict[str, object]:
    """Measures both by turns, which of them is first by turns, too."""
    num_labels = 1 + max(sample.label_index for sample in samples)
    recipe = load_recipe("edge", [f"input_size_px={size_px}", "start_weights=none"])
    model = build_model(recipe, num_labels)
    compile_model(model, recipe, num_labels)

    def train(batch: Batch) -> None:
        targets = join_targets(batch.targets, None, recipe)
        model.train_on_batch(batch.inputs, targets, sample_weight=batch.weights)

    pipeline = TrainingBatches(
        samples,
        Preprocessing(size_px, recipe.crop_margin),
        num_labels=num_labels,
        batch_size=BATCH_SIZE,
        augmentation="camera",
        label_weights=[1.0] * num_labels,
        seed=1,
        workers=workers,
    ).run(num_epochs=1_000_000)
    speeds: dict[str, list[float]] = {"bare": [], "pipeline": []}
    with contextlib.closing(pipeline):
        sources = [("bare", repeat(random_batch(size_px, num_labels))), ("pipeline", pipeline)]
        train(next(sources[0][1]))  # builds the graph
        for turn in range(rounds):
            for name, batches in sources if turn % 2 else reversed(sources):
                speeds[name].append(time_steps(train, batches, steps))
            print(f"{size_px} px, round {turn + 1}: {speeds['bare'][-1]:.1f} {speeds['pipeline'][-1]:.1f}", flush=True)
    ratios = [fed / bare for bare, fed in zip(speeds["bare"], speeds["pipeline"], strict=True)]
    return {
        "images_per_second": speeds,
        "ratio_of_medians": statistics.median(speeds["pipeline"]) / statistics.median(speeds["bare"]),
        "ratio_quartiles": quartiles(ratios),
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--data", type=Path, help="A manifest of photos; drawn faces otherwise.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=15, help="Timed steps in a round.")
    parser.add_argument("--workers", type=int, default=0, help="Processes that decode; 0 for threads.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        samples = find_samples(arguments.data, Path(name))
        record: dict[str, object] = {
            "benchmark": "train_throughput",
            "photos": "drawn faces of 176 px" if arguments.data is None else f"{len(samples)} rows of a manifest",
            "batch_size": BATCH_SIZE,
            "steps": arguments.steps,
            "workers": arguments.workers,
        }
        for size_px in arguments.sizes:
            found = measure(samples, size_px, rounds=arguments.rounds, steps=arguments.steps, workers=arguments.workers)
            print(f"{size_px} px: ratio {found['ratio_of_medians']:.3f}, quartiles {found['ratio_quartiles']}")
            record[f"{size_px} px"] = found
    import keras

    backend = keras.config.backend()
    record["machine"] = dataclasses.asdict(describe_machine())
    record["versions"] = {
        **dataclasses.asdict(describe_versions()),
        "keras": keras.__version__,
        backend: metadata.version(backend),
    }
    if arguments.output:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
