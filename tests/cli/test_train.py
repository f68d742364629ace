"""``edgegender train`` as a user types it: stopped, killed, resumed, and given what it cannot use."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from edgegender.training.run_folder import load_run, read_run
from tests.cli.commands import (
    TIMEOUT_S,
    Answer,
    check_error,
    check_no_parts,
    interrupt,
    run_apart,
    run_here,
    started,
)
from tests.trained_run import OVERRIDES, TrainedRun, trained, write_drawn_set

__all__ = ["trained"]

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

# 24 photos in batches of 8 make three steps an epoch
SMALL = ("epochs=4", "batch_size=8", "augmentation=light", "dropout=0.3")


def options(*overrides: str) -> list[str]:
    return [word for override in (*OVERRIDES, *overrides) for word in ("--set", override)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawn faces: 24 train, 6 val, 10 test."""
    return write_drawn_set(tmp_path_factory.mktemp("small"), num_faces=40, seed=9)


def training(*words: object, cwd: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    return started([sys.executable, "-m", "edgegender", "train", *words], cwd)


def wait_for_line(process: subprocess.Popen[str], start: str) -> None:
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith(start), line


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """Returns the last weights and the optimizer's state: all of the checkpoint but its times."""
    with np.load(folder / "checkpoint.npz") as stored:
        return {name: stored[name] for name in stored.files if name != "progress"}


def history_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{key: cell for key, cell in row.items() if key not in ("seconds", "images_per_second")} for row in rows]


def assert_same(first: Path, second: Path) -> None:
    left, right = arrays_of(first), arrays_of(second)
    assert list(left) == list(right)
    for name, array in left.items():
        np.testing.assert_array_equal(array, right[name], err_msg=name)
    assert history_of(first) == history_of(second)
    assert load_run(first).weights_sha256  # each is verified when it is loaded
    assert load_run(first).best_epoch == load_run(second).best_epoch


def test_a_run_killed_at_random_steps_ends_with_the_weights_of_one_that_was_not(faces: Path, tmp_path: Path) -> None:
    """SIGKILL, twice, and a resume after each; benchmarks/kill_and_resume.py does it with larger networks."""
    recipe = ("--recipe", "demo", *options(*SMALL))
    whole = run_apart("train", *recipe, "--data", faces, "-o", "whole", cwd=tmp_path)
    assert whole.code == 0, whole
    rng, folder = np.random.default_rng(5), tmp_path / "run"
    words: Sequence[object] = (*recipe, "--data", faces, "-o", "run")
    for _ in range(2):
        with training(*words, "--checkpoint-every", 0, cwd=tmp_path) as process:
            before = (folder / "checkpoint.npz").stat().st_mtime_ns if folder.exists() else 0
            end = time.monotonic() + TIMEOUT_S
            while not (folder / "run.json").exists() or (folder / "checkpoint.npz").stat().st_mtime_ns == before:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.2))
            interrupt(process, signal.SIGKILL)
        words = ("--resume", "run")
    answer = run_apart("train", "--resume", "run", cwd=tmp_path)
    assert answer.code == 0, answer
    assert_same(folder, tmp_path / "whole")
    check_no_parts(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(faces: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    words = ("--recipe", "demo", *options(*SMALL, "epochs=1000"), "--data", faces, "-o", "run")
    with training(*words, cwd=tmp_path) as process:
        wait_for_line(process, "epoch 1:")
        answer = interrupt(process, number)
    check_error(answer, code, "Stopped on request before epoch", "edgegender train --resume run")
    run = load_run(tmp_path / "run")
    assert run.status == "stopped"
    assert {"curves.png", "curves.svg", "checkpoint.npz"} <= {file.name for file in run.folder.iterdir()}
    check_no_parts(tmp_path)


def test_ctrl_c_before_the_first_step_leaves_nothing_half_written(faces: Path, tmp_path: Path) -> None:
    with training("--recipe", "demo", *options(*SMALL), "--data", faces, "-o", "run", cwd=tmp_path) as process:
        time.sleep(1)  # it is still importing
        answer = interrupt(process, signal.SIGINT)
    if answer.code == -signal.SIGINT:
        answer = Answer(130, answer.out, answer.err)
    check_error(answer, 130)
    check_no_parts(tmp_path)


def test_a_finished_run_says_so_and_stays(
    trained: TrainedRun, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.run.folder, tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    answer = run_here(capfd, "train", "--resume", tmp_path / "run", "--json")
    assert answer.code == 0, answer
    assert json.loads(answer.out)["best_epoch"] == trained.run.best_epoch
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.mark.parametrize("option", [("--set", "epochs=3"), ("--recipe", "edge"), ("-o", "x"), ("--weights", "w.h5")])
def test_a_run_that_goes_on_takes_no_new_orders(
    trained: TrainedRun, capfd: pytest.CaptureFixture[str], option: tuple[str, str]
) -> None:
    answer = run_here(capfd, "train", "--resume", trained.run.folder, *option)
    check_error(answer, 2, "Expected --resume without", "which the run decided when it began")


def test_a_distilled_run_names_its_teacher_and_takes_its_answers(
    trained: TrainedRun, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    common = ("train", "--recipe", "demo", *options("epochs=1", "batch_size=8"), "--data", faces)
    assert run_here(capfd, *common, "-o", tmp_path / "alone").code == 0
    answer = run_here(capfd, *common, "-o", tmp_path / "taught", "--teacher", trained.run.folder)
    assert answer.code == 0, answer
    assert read_run(tmp_path / "taught").teacher == str(trained.run.folder.resolve())
    assert history_of(tmp_path / "taught") != history_of(tmp_path / "alone")


def test_a_teacher_that_does_not_fit_is_refused(
    trained: TrainedRun, faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    common = ("train", "--recipe", "demo", "--data", faces, "-o", tmp_path / "run", "--teacher")
    check_error(run_here(capfd, *common, tmp_path), 2, "Expected a run folder, got none")
    margin = (*common, trained.run.folder, *options("crop_margin=1.6"))
    check_error(run_here(capfd, *margin), 2, "Expected a teacher with crop_margin 1.6, got 1.3")
    weightless = (*common, trained.run.folder, *options("teacher_weight=0"))
    check_error(run_here(capfd, *weightless), 2, "Expected a teacher_weight above 0")
    assert not (tmp_path / "run").exists()


def test_the_splits_come_from_the_column_that_is_named(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = faces.read_text().splitlines()
    position = lines[0].split(",").index("split")
    cells = [line.split(",") for line in lines]
    header, rows = cells[0], cells[1:]
    swapped = {"train": "val", "val": "train", "test": "test"}
    table = [[*header, "other", "wrong"], *([*row, swapped[row[position]], "later"] for row in rows)]
    path = faces.parent / "columns.csv"
    path.write_text("\n".join(",".join(row) for row in table) + "\n")
    common = ("train", "--recipe", "demo", *options("epochs=1", "batch_size=4"), "--data", path, "-o", tmp_path / "run")
    check_error(run_here(capfd, *common, "--split-column", "none"), 2, "got 'none'", "Columns there: path, label")
    check_error(run_here(capfd, *common, "--split-column", "wrong"), 2, "in wrong, got 'later'")
    answer = run_here(capfd, *common, "--split-column", "other")
    assert answer.code == 0, answer
    run = read_run(tmp_path / "run")
    assert (run.num_train_photos, run.num_val_photos) == (6, 24)


def test_figures_on_the_photos_that_chose_them_come_with_a_warning(
    faces: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = options("epochs=1", "split=80/20", "validation_split=test", "threshold=best_f1")
    answer = run_here(capfd, "train", "--recipe", "demo", *settings, "--data", faces, "-o", tmp_path / "run")
    assert answer.code == 0, answer
    assert "warning: the photos that chose the epoch and the threshold are the test photos" in answer.err
    assert f"threshold {read_run(tmp_path / 'run').threshold:.3f}" in answer.out
    assert {"threshold.png", "threshold.svg", "thresholds.csv"} <= {f.name for f in (tmp_path / "run").iterdir()}


def test_a_gpu_that_is_not_there_is_told_with_the_way_out(faces: Path, tmp_path: Path) -> None:
    answer = run_apart("train", "--recipe", "demo", "--data", faces, "--device", "gpu", cwd=tmp_path)
    if answer.code == 0:
        pytest.skip("there is a GPU")
    check_error(answer, 3, "Expected a GPU, got none", "--device cpu")
    assert not (tmp_path / "run").exists()


def test_recipes_are_listed_without_keras() -> None:
    code = (
        "import sys\nfrom edgegender.cli.main import cli\n"
        "cli.main(['train', '--list-recipes'], standalone_mode=False)\n"
        "assert not {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hamza2025" in done.stdout
    assert "10.29304/jqcm.2025.17.11970" in done.stdout
