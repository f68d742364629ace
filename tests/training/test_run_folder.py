"""Reading a run folder: what was written comes back, and what is damaged is refused by name."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.errors import UsageError
from edgegender.training import run_folder
from edgegender.training.run_folder import Run, load_model, load_run, read_run
from edgegender.training.run_lock import locked
from tests.trained_run import TrainedRun

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow


def test_a_run_reads_back_as_it_was_returned(trained: TrainedRun) -> None:
    assert load_run(trained.run.folder) == trained.run


def test_a_folder_without_a_run_is_refused_with_the_command_that_makes_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match="Expected a run folder, got none at") as caught:
            load_run(folder)
        assert "edgegender train" in caught.value.hint


def altered(**changes: object) -> Callable[[dict[str, object]], object]:
    return lambda record: {**record, **changes}


@pytest.mark.parametrize(
    "alter",
    [
        lambda _: "",
        lambda _: "{",
        lambda _: "[" * 100_000,
        lambda _: [],
        lambda _: None,
        lambda record: {name: value for name, value in record.items() if name != "recipe"},
        altered(schema="edgegender.run/3"),
        altered(recipe={}),
        altered(recipe={"name": "x", "later": 1}),
        altered(recipe=None),
        altered(labels="female,male"),
        altered(labels=["male"]),
        altered(labels=[1, 2]),
        altered(positive_label="young"),
        altered(history=[{"epoch": 1}]),
        altered(history=[]),
        altered(history=None),
        altered(best_epoch=0),
        altered(best_epoch=99),
        altered(best_epoch="1"),
        altered(environment=None),
    ],
    ids=[
        "empty", "cut", "deep", "list", "null", "no recipe", "newer", "empty recipe", "unknown key", "null recipe",
        "labels as text", "one label", "labels as numbers", "unknown positive", "half an epoch", "no epoch",
        "null history", "epoch 0", "epoch 99", "epoch as text", "no environment",
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(
    trained: TrainedRun, tmp_path: Path, alter: Callable[[dict[str, object]], object]
) -> None:
    record = json.loads((trained.run.folder / "run.json").read_text())
    value = alter(record)
    (tmp_path / "run.json").write_text(value if isinstance(value, str) else json.dumps(value))
    (tmp_path / "best.weights.h5").touch()
    with pytest.raises(UsageError, match="Expected ") as caught:
        load_run(tmp_path)
    assert caught.value.hint


def test_a_recipe_out_of_its_range_is_named(trained: TrainedRun, tmp_path: Path) -> None:
    record = json.loads((trained.run.folder / "run.json").read_text())
    record["recipe"]["input_size_px"] = 7
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match=r"Expected input_size_px in \[32, 512\], got 7"):
        load_run(tmp_path)


def test_a_run_without_its_weights_is_refused(trained: TrainedRun, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((trained.run.folder / "run.json").read_bytes())
    with pytest.raises(UsageError, match="Expected the weights of a run, got none") as caught:
        load_run(tmp_path)
    assert caught.value.hint == "Train it again."


@pytest.mark.parametrize("content", [b"", b"no weights", None], ids=["empty", "text", "cut"])
def test_damaged_weights_are_refused(trained: TrainedRun, tmp_path: Path, content: bytes | None) -> None:
    whole = trained.run.weights_file.read_bytes()
    (tmp_path / "best.weights.h5").write_bytes(whole[: len(whole) // 2] if content is None else content)
    moved = dataclasses.replace(trained.run, folder=tmp_path)
    with pytest.raises(UsageError, match="Expected the weights that the run recorded, got others") as caught:
        load_model(moved)
    assert "--resume" in caught.value.hint
    with pytest.raises(UsageError, match="Expected "):  # runs of the first versions recorded no hash
        load_model(dataclasses.replace(moved, weights_sha256=""))


def test_weights_of_another_network_are_refused(trained: TrainedRun) -> None:
    wider = dataclasses.replace(trained.run, recipe=dataclasses.replace(trained.run.recipe, alpha=1.0))
    with pytest.raises(UsageError, match="Expected the weights of this run, got others"):
        load_model(wider)


def test_a_run_of_the_first_version_is_still_read(trained: TrainedRun, tmp_path: Path) -> None:
    record = json.loads((trained.run.folder / "run.json").read_text())
    for name in ("status", "started", "threshold", "weights_sha256", "num_train_photos", "num_val_photos", "teacher"):
        del record[name]
    for name in ("hidden_units", "output", "schedule", "loss", "frozen_epochs", "split", "scaling", "about"):
        del record["recipe"][name]
    for epoch in record["history"]:
        del epoch["train_f1"]
    (tmp_path / "run.json").write_text(json.dumps({**record, "schema": "edgegender.run/1"}))
    (tmp_path / "best.weights.h5").touch()
    run = load_run(tmp_path)
    assert (run.status, run.threshold, run.recipe.schedule, run.recipe.output) == ("finished", 0.5, "cosine", "softmax")
    assert run.preprocessing.scaling == "tf"
    assert [epoch.train_f1 for epoch in run.history] == [None] * len(trained.run.history)


def test_a_run_that_stopped_before_its_first_epoch_ended_is_told_apart(trained: TrainedRun, tmp_path: Path) -> None:
    record = json.loads((trained.run.folder / "run.json").read_text())
    record.update(history=[], best_epoch=0, status="stopped", weights_sha256="")
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert read_run(tmp_path).best_epoch == 0
    with pytest.raises(UsageError, match="Expected a run with a finished epoch") as caught:
        load_run(tmp_path)
    assert caught.value.hint == f"Go on with: edgegender train --resume {tmp_path}"


def test_a_run_whose_process_is_gone_was_killed(trained: TrainedRun, tmp_path: Path) -> None:
    running = dataclasses.replace(trained.run, folder=tmp_path, status="running")
    assert run_folder.current_status(running) == "killed"
    with locked(tmp_path / run_folder.LOCK_NAME):
        assert run_folder.current_status(running) == "running"
    assert run_folder.current_status(dataclasses.replace(running, status="stopped")) == "stopped"


def test_the_revision_is_that_of_a_checkout_and_marks_changes(tmp_path: Path) -> None:
    assert run_folder._git_revision(tmp_path) == ""

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-m", "one")
    revision = run_folder._git_revision(tmp_path)
    assert len(revision) == 12
    (tmp_path / "file").write_text("two")
    assert run_folder._git_revision(tmp_path) == f"{revision}+"


def test_a_network_is_built_without_its_start_weights(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run moves to a machine without internet: nothing is downloaded only to be overwritten."""
    run: Run = trained.run
    asked = []
    build = run_folder.build_model
    monkeypatch.setattr(run_folder, "build_model", lambda recipe, count: asked.append(recipe) or build(recipe, count))
    load_model(run)
    assert [recipe.start_weights for recipe in asked] == ["none"]
