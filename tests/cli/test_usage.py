"""Slips of the fingers, slips of ours, and pipes that break: two lines and the documented exit code, or silence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.data.drawn_faces import write_drawn_faces
from tests.cli.commands import Answer, check_error, check_no_parts, environment, run_apart, run_here

Run = Callable[..., Answer]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # what this user has pulled is no matter here
    return lambda *words: run_here(capfd, *words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("predikt",), "No such command 'predikt'"),
        (("data", "inspect"), "No such command 'inspect'"),
        (("predict",), "Missing argument 'PATH...'"),
        (("predict", "--fast", "a.jpg"), "No such option"),
        (("predict", "a.jpg", "--threads", "many"), "Invalid value for '--threads'"),
        (("predict", "a.jpg", "--threads", "0"), "Invalid value for '--threads'"),
        (("predict", "a.jpg", "--detector", "best"), "Invalid value for '--detector'"),
        (("predict", "a.jpg", "--detector", "yunet"), "Expected the file of the yunet network"),
        (("predict", "a.jpg", "--detector", "yunet", "--detector-path", "none.onnx"), "got nothing at none.onnx"),
        (("data", "index"), "Missing argument 'FOLDER'"),
        (("data", "index", "."), "Missing option '-o'"),
        (("data", "index", ".", "-o", "x.csv", "--ratios", "a,b"), "Expected ratios such as 70,10,20"),
        (("data", "index", ".", "-o", "x.csv", "--rename", "a"), "Expected --rename OLD=NEW, got 'a'"),
        (("data", "crop", "x.csv", "-o", "out", "--detector", "none"), "Expected a detector that finds faces"),
        (("train",), "Expected a manifest, got none"),
        (("train", "--data", "x.csv", "--recipe", "edgy"), "Expected a recipe of demo, edge"),
        (("train", "--data", "x.csv", "--set", "epoch=2"), "Expected --set key=value with a recipe's key"),
        (("train", "--data", "x.csv", "--set", "epochs=two"), "Expected epochs as int"),
        (("train", "--data", "x.csv", "--set", "epochs=0"), "Expected epochs in [1, 1000], got 0"),
        (("convert",), "Missing argument 'RUN'"),
        (("convert", "run"), "Missing option '--data'"),
        (("evaluate",), "Missing option '--data'"),
        (("--bug",), "No such option"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_slip_of_the_fingers(run: Run, tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    answer = run(*words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_recipe_gets_the_nearest_name(run: Run) -> None:
    check_error(run("train", "--data", "x.csv", "--recipe", "edgy"), 2, "Did you mean edge?")


def test_debug_shows_the_traceback_and_nothing_else_does(tmp_path: Path) -> None:
    words = ("predict", tmp_path / "none.jpg")
    check_error(run_apart(*words), 1, "No such file")
    for position in (0, 2):
        debugged = run_apart(*words[:position], "--debug", *words[position:])
        assert debugged.code == 1
        assert "Traceback" in debugged.err
        assert "ImageError" in debugged.err


def test_a_slip_of_ours_is_told_without_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.runtime import classifier

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a slip\nin two lines")

    monkeypatch.setattr(classifier, "Classifier", fail)
    check_error(run("inspect"), 3, "Unexpected ZeroDivisionError: a slip in two lines", "--debug")
    monkeypatch.setattr(classifier, "Classifier", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    check_error(run("inspect"), 3, "Expected enough memory, got none left")


def test_a_pipe_whose_reader_leaves_is_no_error(tmp_path: Path) -> None:
    """``| head -1``: the first line arrives, nothing is said on standard error, and the exit code is 0."""
    write_drawn_faces(tmp_path / "photos", num_faces=40, seed=7)
    script = 'set -o pipefail; "$0" -m edgegender predict photos --json --annotate out | head -1; echo "$?" >&2'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["status"] == "ok"
    assert done.stderr == "0\n"
    check_no_parts(tmp_path)


def test_a_full_disk_behind_standard_output_is_an_error(tmp_path: Path) -> None:
    write_drawn_faces(tmp_path / "photos", num_faces=2, seed=7)
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "edgegender", "predict", str(tmp_path / "photos"), "--json"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    check_error(Answer(done.returncode, "", done.stderr), 3, "No space left on device")
