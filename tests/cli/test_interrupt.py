"""Ctrl-C, in every command: exit code 130, two lines, no traceback, no half-written file, earlier results untouched.

A terminal sends SIGINT to all processes of a command at once, workers included; so do these tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest import ManifestRow
from edgegender.data.manifest_file import write_manifest
from edgegender.files import hash_file
from edgegender.runtime.model_file import read_model
from tests.cli.commands import (
    ANY_LOSS,
    TIMEOUT_S,
    Answer,
    check_error,
    check_no_parts,
    interrupt,
    run_apart,
    snapshot,
    started,
)
from tests.pictures import noise, write_photo
from tests.tiny_model import build_tiny_model
from tests.trained_run import TrainedRun, trained

__all__ = ["trained"]

EXIT_INTERRUPTED = 130


def check_interrupted(answer: Answer) -> None:
    if answer.code == -signal.SIGINT:
        # Where Ctrl-C meets an exec() of Python's own, as in dataclasses, the interpreter ends itself by the signal
        # after all was cleaned up and said. To a shell, both are 130.
        answer = Answer(EXIT_INTERRUPTED, answer.out, answer.err)
    check_error(answer, EXIT_INTERRUPTED, "Interrupted.", "Nothing was left half-written.")


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(process: subprocess.Popen[str], is_so: Callable[[], bool]) -> None:
    """Waits while the process runs until something is so."""
    end = time.monotonic() + TIMEOUT_S
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def results(folder: Path) -> dict[str, bytes]:
    """Returns all files but the journals, which the next run takes over."""
    return {name: content for name, content in snapshot(folder).items() if not name.endswith(".journal")}


def edgegender(*words: object) -> list[object]:
    return [sys.executable, "-m", "edgegender", *words]


def interrupting_itself(target: str, call: int, *words: object) -> list[object]:
    """Returns a command that gets SIGINT within its ``call``-th call of a function, at the same place each time."""
    module, _, name = target.rpartition(".")
    code = (
        f"import os, signal, sys, {module} as module\n"
        f"real, calls = module.{name}, []\n"
        "def interrupted(*arguments, **options):\n"
        "    calls.append(1)\n"
        f"    if len(calls) == {call}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(*arguments, **options)\n"
        f"module.{name} = interrupted\n"
        "from edgegender.cli.main import main\n"
        "main()"
    )
    return [sys.executable, "-c", code, *words]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos and all that commands made of them earlier: a manifest, a model, results."""
    rows = write_drawn_faces(tmp_path, num_faces=8, seed=7, size_px=96)
    splits = ("train", "train", "train", "train", "val", "val", "test", "test")
    with_splits = [
        ManifestRow(row.path, row.label, split, row.sha256, row.face_box)
        for row, split in zip(rows, splits, strict=True)
    ]
    write_manifest(tmp_path / "faces.csv", with_splits)
    build_tiny_model(tmp_path / "m.tflite")
    for name in ("clean.csv", "crops/faces.csv", "evaluation/evaluation.json", "out/female_00001.jpg", "result.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("earlier")
    return tmp_path


@pytest.mark.parametrize(
    ("target", "call", "words"),
    [
        ("edgegender.images.read_size", 3, ("data", "index", ".", "-o", "faces.csv")),
        ("edgegender.images.decode_image", 3, ("data", "check", "faces.csv", "-o", "clean.csv")),
        ("edgegender.data.split.split_groups", 1, ("data", "split", "faces.csv", "-o", "clean.csv")),
        ("edgegender.images.encode_image", 1, ("data", "crop", "faces.csv", "-o", "crops", "--workers", "1")),
        ("edgegender.images.read_image", 1, ("evaluate", "m.tflite", "--data", "faces.csv", "-o", "evaluation")),
        ("edgegender.runtime.classifier.read_model", 1, ("inspect", "m.tflite")),
        ("edgegender.runtime.classifier.read_model", 1, ("doctor",)),
        ("edgegender.runtime.annotate.annotate_faces", 1, ("predict", "female", "male", "--annotate", "out")),
        ("edgegender.images.decode_image", 1, ("benchmark", "m.tflite", "--data", "faces.csv", "-o", "result.json")),
        ("edgegender.training.recipes.load_recipe", 1, ("train", "--data", "faces.csv")),
        ("edgegender.cli.main.import_module", 1, ("report", "result.json")),
    ],
    ids=["index", "check", "split", "crop", "evaluate", "inspect", "doctor", "predict", "benchmark", "train", "report"],
)
def test_ctrl_c_leaves_no_trace(folder: Path, target: str, call: int, words: tuple[str, ...]) -> None:
    before = results(folder)
    with started(interrupting_itself(target, call, *words), folder) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    check_interrupted(Answer(process.returncode, out, err))
    assert results(folder) == before
    check_no_parts(folder)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("os.open", ("data", "index", ".", "-o", "faces.csv")),
        ("os.fsync", ("data", "index", ".", "-o", "faces.csv")),
        ("os.fsync", ("data", "check", "faces.csv", "-o", "clean.csv")),
        ("os.fsync", ("evaluate", "m.tflite", "--data", "faces.csv", "-o", "evaluation")),
        ("os.fsync", ("predict", "female", "--annotate", "out")),
    ],
)
def test_ctrl_c_while_a_result_is_written_keeps_the_earlier_one(
    folder: Path, target: str, words: tuple[str, ...]
) -> None:
    before = results(folder)
    with started(interrupting_itself(target, 1, *words), folder) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    check_interrupted(Answer(process.returncode, out, err))
    assert results(folder) == before
    check_no_parts(folder)


@pytest.mark.parametrize(
    ("target", "call", "words", "said"),
    [
        (
            "edgegender.data.index.measure_photo",
            5,
            ("data", "index", ".", "-o", "out/faces.csv"),
            "note: 4 photos were measured by a run that was stopped",
        ),
        (
            "edgegender.images.encode_image",
            5,
            ("data", "crop", "faces.csv", "-o", "out", "--context", "1.5"),
            "note: 4 photos were done by a run that was stopped",
        ),
    ],
    ids=["index", "crop"],
)
def test_after_ctrl_c_the_same_command_goes_on_where_it_stopped(
    folder: Path, target: str, call: int, words: tuple[str, ...], said: str
) -> None:
    shutil.rmtree(folder / "out")
    whole = run_apart(*words, cwd=folder)
    expected = snapshot(folder / "out")
    shutil.rmtree(folder / "out")
    with started(interrupting_itself(target, call, *words), folder) as process:
        out, err = process.communicate(timeout=TIMEOUT_S)
    check_interrupted(Answer(process.returncode, out, err))
    assert "The same command goes on where it stopped." in err
    assert not (folder / "out" / "faces.csv").exists()
    again = run_apart(*words, cwd=folder)
    assert (again.code, again.out) == (whole.code, whole.out) == (0, whole.out)
    assert said in again.err.splitlines()
    assert snapshot(folder / "out") == expected


def test_a_killed_index_leaves_no_process_and_the_same_command_goes_on(tmp_path: Path) -> None:
    """SIGKILL, as the kernel sends it when memory runs out: nothing can be cleaned up, and nothing is lost."""
    for number in range(1000):  # as many as two processes share
        write_photo(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", noise(24, 24, seed=number))
    words = ("data", "index", "photos", "-o", "out/faces.csv", "--workers", "2")
    journal = tmp_path / "out" / ".faces.csv.journal"
    with started(edgegender(*words), tmp_path) as process:
        wait_until(process, lambda: journal.is_file() and journal.stat().st_size > 4000)
        process.kill()
        process.communicate(timeout=TIMEOUT_S)  # its pipes close when the last worker is gone
        end = time.monotonic() + 20
        while is_group_alive(process.pid) and time.monotonic() < end:
            time.sleep(0.02)
        assert not is_group_alive(process.pid)
    assert [file.name for file in (tmp_path / "out").iterdir()] == [journal.name]
    again = run_apart(*words, cwd=tmp_path)
    assert again.code == 0, again
    (line,) = again.err.splitlines()
    assert int(line.removeprefix("note: ").split()[0]) >= 50  # as many go into the journal at once
    assert run_apart(*words[:4], "whole/faces.csv", cwd=tmp_path).code == 0
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


@pytest.fixture(scope="module")
def walls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """104 photos, enough for two processes; most have no face, and the cascade searches them long."""
    folder = tmp_path_factory.mktemp("walls")
    write_drawn_faces(folder, num_faces=2, seed=7)
    face = (folder / "female" / "female_00001.jpg").read_bytes()
    rows = []
    for number in range(104):
        name = f"{number:03d}.jpg"
        if number % 8:
            write_photo(folder / name, noise(400, 400, seed=number))
        else:
            (folder / name).write_bytes(face + bytes([number]))
        rows.append(ManifestRow(name, ("female", "male")[number % 2], "test", hash_file(folder / name)))
    write_manifest(folder / "faces.csv", rows)
    return folder


def test_ctrl_c_stops_the_workers_of_a_crop_too(walls: Path, tmp_path: Path) -> None:
    output = tmp_path / "crops"
    output.mkdir()
    (output / "faces.csv").write_text("earlier")
    command = edgegender("data", "crop", walls / "faces.csv", "-o", output, "--workers", "2")
    with started(command, tmp_path) as process:
        wait_until(process, lambda: any(output.rglob("*.jpg")))
        began = time.monotonic()
        answer = interrupt(process)
        seconds = time.monotonic() - began
        end = time.monotonic() + 10  # the interpreter's own helper process leaves when it sees the others gone
        while is_group_alive(process.pid) and time.monotonic() < end:
            time.sleep(0.02)
        assert not is_group_alive(process.pid)
    check_interrupted(answer)
    # the chunk of 4 photos that a worker is at is finished, in 2 s at most here; a hang would be ended by the timeout
    assert seconds < 60
    assert (output / "faces.csv").read_text() == "earlier"
    check_no_parts(tmp_path)


def has_children(process: subprocess.Popen[str]) -> bool:
    return bool(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())


@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.4])
def test_ctrl_c_while_the_workers_start_is_told_by_nobody_but_the_command(
    walls: Path, tmp_path: Path, delay_s: float
) -> None:
    command = edgegender("data", "crop", walls / "faces.csv", "-o", tmp_path / "crops", "--workers", "2")
    with started(command, tmp_path) as process:
        wait_until(process, lambda: has_children(process))
        time.sleep(delay_s)
        answer = interrupt(process)
    check_interrupted(answer)
    check_no_parts(tmp_path)


def test_ctrl_c_ends_predict_after_whole_lines(walls: Path, tmp_path: Path) -> None:
    with started(edgegender("predict", walls, "--json", "--annotate", tmp_path / "out"), tmp_path) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        answer = interrupt(process)
    check_interrupted(answer)
    assert all(line.startswith("{") and line.endswith("}") for line in (first + answer.out).splitlines())
    check_no_parts(tmp_path)


def test_a_terminated_command_cleans_up_too(walls: Path, tmp_path: Path) -> None:
    """SIGTERM, as a service manager sends it: exit 143 and nothing half-written."""
    with started(edgegender("predict", walls, "--json", "--annotate", tmp_path / "out"), tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        answer = interrupt(process, signal.SIGTERM)
    assert answer.code == 143
    assert answer.err == ""
    check_no_parts(tmp_path)


@pytest.mark.tensorflow
@pytest.mark.parametrize("moment", ["importing", "converting"])
def test_ctrl_c_in_a_conversion_keeps_the_earlier_model(trained: TrainedRun, tmp_path: Path, moment: str) -> None:
    pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
    build_tiny_model(tmp_path / "m.tflite")
    before = snapshot(tmp_path)
    words = ("convert", trained.run.folder, "--data", trained.manifest_path, "-o", "m.tflite", *ANY_LOSS)
    with started(edgegender(*words), tmp_path) as process:
        assert process.stderr is not None
        if moment == "importing":
            time.sleep(2)
        else:
            while not process.stderr.readline().startswith(moment):
                assert process.poll() is None
        answer = interrupt(process)
    check_interrupted(answer)
    assert snapshot(tmp_path) == before
    check_no_parts(tmp_path)
    assert read_model(tmp_path / "m.tflite").metadata.name == "tiny"
