"""Running commands, here or in a process of their own, and what every error of theirs looks like."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgegender.cli.main import main

REPOSITORY = Path(__file__).resolve().parents[2]
TIMEOUT_S = 240  # a hang is a failure, a busy machine is none
# for convert: with some dozen photos one flip is two points
SOME_LOSS = ("--max-drop", "5", "--max-flips", "10", "--max-group-drop", "100")
ANY_LOSS = ("--max-drop", "100", "--max-flips", "100", "--max-group-drop", "100")


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


def environment() -> dict[str, str]:
    """Returns this process's environment without what pytest or a developer may have set for TensorFlow."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "OPENCV_", "PYTHON"))}


def run_here(capfd: pytest.CaptureFixture[str], *arguments: object) -> Answer:
    """Runs a command in this process; what native code prints is captured, too."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    printed = capfd.readouterr()
    assert isinstance(caught.value.code, int)
    return Answer(caught.value.code, printed.out, printed.err)


def run_apart(*arguments: object, cwd: Path | None = None) -> Answer:
    """Runs a command in a process of its own, as a shell would."""
    command = [sys.executable, "-m", "edgegender", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=TIMEOUT_S, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def heed_interrupts() -> None:
    """A shell without job control starts its background jobs deaf to Ctrl-C, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def started(command: Sequence[object], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts a command as the leader of its own group of processes, as a shell does."""
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env={**environment(), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it only resets a signal
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> Answer:
    """Signals a started command and all its processes, and returns how it ended."""
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Answer(process.returncode, out, err)


def check_error(answer: Answer, code: int, *words: str) -> None:
    """Makes sure of the exit code and of one ``error:`` line with a ``hint:`` line behind it, which end the output."""
    lines = answer.err.splitlines()
    assert answer.code == code, answer
    assert len(lines) >= 2, answer
    assert lines[-2].startswith("error: "), answer.err
    assert lines[-1].startswith("hint: "), answer.err
    assert len(lines[-1]) > len("hint: ")
    assert sum(line.startswith("error:") for line in lines) == 1, answer.err
    assert "Traceback" not in answer.err
    for word in words:
        assert word in lines[-2] + lines[-1], answer.err


def check_no_parts(folder: Path) -> None:
    """Makes sure that no temporary file was left anywhere below a folder."""
    assert [str(path) for path in folder.rglob(".part-*")] == []


def snapshot(folder: Path) -> dict[str, bytes]:
    """Returns each file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def noise_lines(err: str, allowed: Sequence[str]) -> list[str]:
    """Returns the lines of standard error that begin with nothing of ours: banners of native libraries, warnings."""
    return [line for line in err.splitlines() if line.strip() and not line.startswith(tuple(allowed))]
