"""Nothing lost: a run that is stopped, killed or starved of disk goes on, to the bit, from its last checkpoint."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgegender import files
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest
from edgegender.errors import DataError, OutputError, StoppedError, TrainingError, UsageError
from edgegender.training import trainer
from edgegender.training.checkpoint import read_checkpoint
from edgegender.training.hooks import Hooks, Machinery
from edgegender.training.loop import resume, train
from edgegender.training.run_folder import EpochRecord, Run, load_model, load_run, read_run
from edgegender.training.run_lock import locked
from tests.trained_run import small_recipe, write_drawn_set

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

EACH_STEP = Machinery(checkpoint_seconds=0)
NEVER = Machinery(checkpoint_seconds=1e9)
# 24 photos in batches of 8: three steps an epoch. Everything that has a state of its own is in it.
ALL_STATES = (
    "epochs=3", "batch_size=8", "augmentation=light", "dropout=0.3", "weight_averaging=0.9", "schedule=plateau",
    "plateau_patience=1", "plateau_factor=0.5", "threshold=best_f1", "output=sigmoid",
)  # fmt: skip
NUM_STEPS = 9


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """40 drawn faces: 24 train, 6 val, 10 test."""
    return read_manifest(write_drawn_set(tmp_path_factory.mktemp("small"), num_faces=40, seed=9))


@pytest.fixture(scope="module")
def uninterrupted(small_set: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(small_set, small_recipe(*ALL_STATES), tmp_path_factory.mktemp("whole") / "run", machinery=NEVER)


@pytest.fixture(scope="module")
def stopped_once(small_set: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after the first step of its second epoch. Nobody writes into it."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(StoppedError):
        train(small_set, small_recipe(*ALL_STATES), folder, hooks=stopping_after(4), machinery=NEVER)
    return folder


@pytest.fixture
def stopped(stopped_once: Path) -> Iterator[Path]:
    """A copy of it to spoil, beside it, so that the photos are where they were."""
    copy = stopped_once.parent / f"copy-{secrets.token_hex(4)}"
    shutil.copytree(stopped_once, copy)
    yield copy
    shutil.rmtree(copy)


def stopping_after(num_steps: int) -> Hooks:
    steps: list[object] = []
    return Hooks(on_step=steps.append, should_stop=lambda: len(steps) >= num_steps)


def figures(history: tuple[EpochRecord, ...]) -> list[dict[str, object]]:
    rows = [dataclasses.asdict(record) for record in history]
    return [
        {name: value for name, value in row.items() if name not in ("images_per_second", "seconds")} for row in rows
    ]


def assert_same_end(first: Run, second: Run) -> None:
    assert figures(first.history) == figures(second.history)
    assert (first.best_epoch, first.threshold, first.status) == (second.best_epoch, second.threshold, second.status)
    for left, right in zip(load_model(first).get_weights(), load_model(second).get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    last, other = (read_checkpoint(run.folder / "checkpoint.npz") for run in (first, second))
    for name in ("model", "optimizer", "averaged"):
        assert len(getattr(last, name)) == len(getattr(other, name)) > 0
        for left, right in zip(getattr(last, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("num_steps", [3])
def test_a_stopped_run_goes_on_to_the_bit(
    small_set: Manifest, uninterrupted: Run, tmp_path: Path, num_steps: int
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoppedError, match="Stopped on request before epoch") as caught:
        train(small_set, small_recipe(*ALL_STATES), folder, hooks=stopping_after(num_steps), machinery=NEVER)
    assert caught.value.hint == f"Go on with: edgegender train --resume {folder}"
    stopped = read_run(folder)
    assert (stopped.status, len(stopped.history)) == ("stopped", num_steps // 3)
    assert_same_end(resume(folder, machinery=NEVER), uninterrupted)


def test_a_run_that_is_stopped_at_each_step_goes_on_to_the_bit(
    small_set: Manifest, uninterrupted: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(small_set, small_recipe(*ALL_STATES), folder, hooks=stopping_after(1), machinery=NEVER)
    for _ in range(NUM_STEPS - 2):
        with pytest.raises(StoppedError):
            resume(folder, hooks=stopping_after(1), machinery=NEVER)
    assert_same_end(resume(folder, hooks=stopping_after(1), machinery=NEVER), uninterrupted)


def test_a_run_goes_on_over_the_unfreezing_of_its_base(small_set: Manifest, tmp_path: Path) -> None:
    recipe = small_recipe(
        "architecture=mobilenetv2", "alpha=0.35", "input_size_px=32", "epochs=2", "frozen_epochs=1", "batch_size=8",
        "hidden_units=16", "is_batch_norm_trained=false", "optimizer=adam", "schedule=constant",
        "augmentation=geometric",
    )  # fmt: skip
    whole = train(small_set, recipe, tmp_path / "whole", machinery=NEVER)
    with pytest.raises(StoppedError):  # at the border itself, where the optimizer of the first phase still stands
        train(small_set, recipe, tmp_path / "run", hooks=stopping_after(3), machinery=NEVER)
    again = resume(tmp_path / "run", machinery=NEVER)
    assert figures(again.history) == figures(whole.history)
    for left, right in zip(load_model(again).get_weights(), load_model(whole).get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_killed_run_repeats_what_came_after_its_last_checkpoint(
    small_set: Manifest, uninterrupted: Run, tmp_path: Path
) -> None:
    """What a kill leaves is what stood on the disk: the folder is copied while the run goes on."""
    copies: list[Path] = []

    def copy(_: object) -> None:
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "run", copies[-1])

    train(small_set, small_recipe(*ALL_STATES), tmp_path / "run", hooks=Hooks(on_step=copy), machinery=NEVER)
    for number in (0, 4):  # before the first epoch ended, and in the second
        assert read_run(copies[number]).status == "running"
        assert_same_end(resume(copies[number], machinery=EACH_STEP), uninterrupted)


def test_a_kill_between_weights_and_record_is_noticed_and_mended(stopped: Path, uninterrupted: Run) -> None:
    folder = stopped
    (folder / "best.weights.h5").write_bytes(uninterrupted.weights_file.read_bytes() + b"later")
    with pytest.raises(UsageError, match="Expected the weights that the run recorded, got others") as caught:
        load_model(load_run(folder))
    assert "--resume" in caught.value.hint
    assert_same_end(resume(folder, machinery=NEVER), uninterrupted)


def test_a_finished_run_is_returned_as_it_is(uninterrupted: Run) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in uninterrupted.folder.iterdir()}
    assert resume(uninterrupted.folder) == uninterrupted
    assert {file.name: file.stat().st_mtime_ns for file in uninterrupted.folder.iterdir()} == before


# Disks and memory


@pytest.mark.parametrize("name", ["checkpoint.npz", "best.weights.h5"])
def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint_whole(
    small_set: Manifest, uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, replacing, written = tmp_path / "run", files.replacing, []

    def full(path: Path, **options: bool) -> object:
        if path.name == name:
            written.append(path)
            if len(written) == 2:
                raise OutputError(f"Expected to write {path}, got {os.strerror(errno.ENOSPC)}.")
        return replacing(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replacing", full)
        with pytest.raises(OutputError, match="No space left on device"):
            train(small_set, small_recipe(*ALL_STATES), folder, machinery=EACH_STEP)
    assert_same_end(resume(folder, machinery=NEVER), uninterrupted)


def spoil_weights(monkeypatch: pytest.MonkeyPatch, *, at_step: int) -> None:
    build, steps = trainer.build_model, []

    def build_spoiled(*arguments: object, **options: object) -> object:
        model = build(*arguments, **options)  # type: ignore[arg-type]
        inner = model.train_on_batch

        def train_on_batch(*arguments: object, **options: object) -> object:
            logs = inner(*arguments, **options)
            steps.append(1)
            if len(steps) == at_step:
                model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
            return logs

        model.train_on_batch = train_on_batch
        return model

    monkeypatch.setattr(trainer, "build_model", build_spoiled)


def test_weights_that_are_no_numbers_never_replace_a_checkpoint(
    small_set: Manifest, uninterrupted: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil_weights(patch, at_step=5)
        with pytest.raises(TrainingError, match="Expected finite weights, got NaN") as caught:
            train(small_set, small_recipe(*ALL_STATES), folder, machinery=EACH_STEP)
    assert "learning_rate" in caught.value.hint
    assert read_run(folder).status == "failed"
    assert_same_end(resume(folder, machinery=NEVER), uninterrupted)


# What is refused


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def of_another_network(path: Path) -> None:
    arrays = dict(np.load(path))
    arrays["model_0000"] = np.zeros((1, 2, 3), np.float32)
    np.savez(path, **arrays)


def without_counts(path: Path) -> None:
    arrays = dict(np.load(path))
    progress = json.loads(arrays["progress"].tobytes())
    del progress["sums"]
    np.savez(path, **{**arrays, "progress": np.frombuffer(json.dumps(progress).encode(), np.uint8)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "Expected a checkpoint to go on from, got none"),
        (cut, "Expected a whole checkpoint, got a damaged one"),
        (flip, "Expected a whole checkpoint, got a damaged one"),
        (lambda path: path.write_bytes(b""), "Expected a whole checkpoint, got a damaged one"),
        (of_another_network, "Expected the checkpoint of this network, got another"),
        (without_counts, "Expected a whole checkpoint, got a damaged one"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(stopped: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(stopped / "checkpoint.npz")
    with pytest.raises(UsageError, match=message) as caught:
        resume(stopped)
    assert caught.value.hint
    assert load_run(stopped).best_epoch == 1  # the best weights so far are as they were


def test_a_checkpoint_with_a_pickle_is_refused_and_not_executed(stopped: Path, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    arrays = dict(np.load(stopped / "checkpoint.npz"))
    np.savez(stopped / "checkpoint.npz", **{**arrays, "model_0000": np.array([Hostile()], object)})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="Expected a whole checkpoint, got a damaged one"):
        resume(stopped)
    assert not (tmp_path / "executed").exists()


def test_other_photos_are_refused(stopped: Path) -> None:
    text = (stopped / "faces.csv").read_text()
    (stopped / "faces.csv").write_text(text.replace(",female,train", ",male,train", 1))
    with pytest.raises(UsageError, match="Expected the rows that the run began with, got others") as caught:
        resume(stopped)
    assert "train anew" in caught.value.hint


def test_photos_that_moved_are_found_by_their_content(small_set: Manifest, uninterrupted: Run, tmp_path: Path) -> None:
    original = tmp_path / "original"
    shutil.copytree(small_set.folder, original)
    folder = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(
            read_manifest(original / "faces.csv"),
            small_recipe(*ALL_STATES),
            folder,
            hooks=stopping_after(4),
            machinery=NEVER,
        )
    original.rename(tmp_path / "moved")
    with pytest.raises(DataError, match="Expected photos that can be read"):
        resume(folder)
    moved = read_manifest(tmp_path / "moved" / "faces.csv")
    with pytest.raises(UsageError, match="Expected all photos of the run in the manifest, got 40 that are not there"):
        resume(folder, manifest=moved.with_columns({"sha256": [""] * len(moved)}))
    assert_same_end(resume(folder, manifest=moved, machinery=NEVER), uninterrupted)


def test_a_run_that_is_being_trained_is_refused(stopped: Path) -> None:
    with locked(stopped / ".lock"), pytest.raises(UsageError, match="Expected a run that nobody trains"):
        resume(stopped)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a run folder, got none"):
        resume(tmp_path)
    assert not list(tmp_path.iterdir())
