"""One small network, trained once a session on drawn faces, for all tests that need a real run.

It is the demo recipe's network. It learns the drawings in a few seconds and answers nearly all of them right, so that
what spoils it shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.data.split import assign_splits
from edgegender.training.hooks import Hooks, StepReport
from edgegender.training.loop import train
from edgegender.training.recipes import Recipe, load_recipe
from edgegender.training.run_folder import EpochRecord, Run

NUM_FACES = 240
EPOCHS = 12
OVERRIDES = (
    "architecture=cnn",
    "alpha=0.5",
    "input_size_px=48",
    f"epochs={EPOCHS}",
    "batch_size=16",
    "learning_rate=0.002",
    "augmentation=none",
)


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and what it was made from.

    Args:
        manifest_path: Drawn faces with splits and face boxes: 144 train, 36 val, 60 test.
        run: The run, as ``train`` returned it.
        steps: What ``on_step`` heard.
        epochs: What ``on_epoch`` heard.
    """

    manifest_path: Path
    run: Run
    steps: tuple[StepReport, ...]
    epochs: tuple[EpochRecord, ...]

    @property
    def manifest(self) -> Manifest:
        """The manifest as it stands in its file."""
        return read_manifest(self.manifest_path)


def small_recipe(*overrides: str) -> Recipe:
    """Returns the demo recipe, made small, with further values changed."""
    return load_recipe("demo", [*OVERRIDES, *overrides])


def write_drawn_set(folder: Path, *, num_faces: int = NUM_FACES, seed: int = 7) -> Path:
    """Draws faces, gives them splits (60, 15 and 25 of a hundred), and returns their manifest's path."""
    rows = write_drawn_faces(folder, num_faces=num_faces, seed=seed, size_px=96)
    write_manifest(folder / "faces.csv", assign_splits(Manifest.from_rows(folder, rows), ratios=(60, 15, 25), seed=0))
    return folder / "faces.csv"


@cache
def _train_once(base: Path) -> TrainedRun:
    manifest_path = write_drawn_set(base / "trained" / "faces")
    steps: list[StepReport] = []
    epochs: list[EpochRecord] = []
    run = train(
        read_manifest(manifest_path),
        small_recipe(),
        base / "trained" / "run",
        hooks=Hooks(on_step=steps.append, on_epoch=epochs.append),
    )
    return TrainedRun(manifest_path, run, tuple(steps), tuple(epochs))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """The run. Nobody writes into its folder or among its photos."""
    return _train_once(tmp_path_factory.getbasetemp())
