"""``edgegender train`` as a user starts it: on JAX without TensorFlow, and by two processes to the weights of one."""

from __future__ import annotations

import csv
import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trained_run import write_drawn_set
from tests.training.processes import REPOSITORY, Ended, addresses, clean_environment, run_together

h5py = pytest.importorskip("h5py", reason="no extra with Keras is installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="the [jax] extra is not installed"),
]
SMALL = ("architecture=cnn", "alpha=0.25", "input_size_px=32", "batch_size=8", "learning_rate=0.002")
# What runs the command, and says on the last line whether TensorFlow came along
PROGRAM = """
import atexit, sys
from edgegender.cli.main import main
atexit.register(lambda: print(sys.argv[0], "tensorflow" in sys.modules))
main()
"""
# Sums over two halves of a batch round differently from one sum; the worst seen here is 3e-7
TOLERANCE = 1e-5
NUM_EPOCHS = 8  # of a run that is stopped: 3 steps each, more than pass before the signal


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 drawn faces: 24 train, 6 val, 10 test."""
    return write_drawn_set(tmp_path_factory.mktemp("faces"), num_faces=40, seed=9)


def train_command(faces: Path, *options: str, epochs: int = 2) -> list[str]:
    changes = [word for value in (*SMALL, f"epochs={epochs}") for word in ("--set", value)]
    return ["-c", PROGRAM, "train", "--backend", "jax", "--data", str(faces), "--recipe", "demo", *changes, *options]


def weights_of(run: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def keep(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with h5py.File(run / "best.weights.h5") as file:
        file.visititems(keep)
    return found


def history_of(run: Path) -> list[dict[str, str]]:
    lines = csv.DictReader((run / "history.csv").read_text().splitlines())
    return [
        {name: value for name, value in line.items() if name not in ("images_per_second", "seconds")} for line in lines
    ]


@pytest.fixture(scope="module")
def alone(faces: Path) -> tuple[Path, Ended]:
    """The run of one process."""
    run = faces.parent / "alone"
    (ended,) = run_together([train_command(faces, "-o", str(run))])
    assert ended.exit_code == 0, ended.stderr
    return run, ended


def test_training_on_jax_leaves_tensorflow_alone(alone: tuple[Path, Ended]) -> None:
    assert alone[1].stdout.splitlines()[-1].endswith(" False")


def test_two_processes_train_to_the_weights_of_one(faces: Path, alone: tuple[Path, Ended]) -> None:
    run = faces.parent / "pair"
    pair = run_together([train_command(faces, "-o", str(run), *where) for where in addresses(2)])
    assert [ended.exit_code for ended in pair] == [0, 0], pair[0].stderr + pair[1].stderr
    expected, found = weights_of(alone[0]), weights_of(run)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=TOLERANCE, err_msg=name)
    with np.load(alone[0] / "checkpoint.npz") as one, np.load(run / "checkpoint.npz") as two:
        numbers = [name for name in one.files if one[name].dtype.kind == "f"]
        assert numbers
        for name in numbers:  # the optimizer's, too
            np.testing.assert_allclose(two[name], one[name], rtol=0, atol=TOLERANCE, err_msg=name)
    assert history_of(run) == history_of(alone[0])  # to six digits
    # The second process writes nothing and reports nothing but what it cannot read
    assert "best epoch 2" in pair[0].stdout
    assert "best epoch" not in pair[1].stdout
    assert "epoch 1:" in pair[0].stderr
    assert "epoch 1:" not in pair[1].stderr


def test_a_stop_of_one_process_stops_all_and_all_go_on(faces: Path) -> None:
    run = faces.parent / "stopped"
    environment = clean_environment()
    commands = [train_command(faces, "-o", str(run), *where, epochs=NUM_EPOCHS) for where in addresses(2)]
    started = [
        subprocess.Popen([sys.executable, *command], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        ends = time.monotonic() + 120
        while not (run / "history.csv").is_file() or not history_of(run):
            assert time.monotonic() < ends
            time.sleep(0.1)
        started[1].send_signal(signal.SIGTERM)  # not to the one that writes
        said = [process.communicate(timeout=60)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [130, 143]
    assert all("--resume" in words for words in said), said
    num_epochs = len(history_of(run))
    assert num_epochs < NUM_EPOCHS
    again = ["-c", PROGRAM, "train", "--backend", "jax", "--resume", str(run)]
    resumed = run_together([[*again, *where] for where in addresses(2)])
    assert [ended.exit_code for ended in resumed] == [0, 0], resumed[0].stderr
    assert len(history_of(run)) == NUM_EPOCHS
