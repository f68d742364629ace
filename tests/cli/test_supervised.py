"""A process that only waits for its child: exit codes and signals pass, and a death is told in words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.processes import REPOSITORY, run_together

PROGRAM = """
import os, signal, sys, time
from edgegender.cli.supervised import supervised
from edgegender.errors import DataError, EdgeGenderError
try:
    with supervised():
        {body}
    print("behind the block")
except EdgeGenderError as error:
    print(f"error: {{error}}", file=sys.stderr)
    sys.exit(error.exit_code)
"""


def run(body: str) -> tuple[int, str, str]:
    (ended,) = run_together([["-c", PROGRAM.format(body=body)]])
    return ended.exit_code, ended.stdout, ended.stderr


def test_what_comes_after_the_block_runs_once() -> None:
    assert run("print('inside')") == (0, "inside\nbehind the block\n", "")


def test_native_code_cannot_write_between_the_results() -> None:
    assert run("os.write(1, b'banner of a library\\n')") == (0, "behind the block\n", "banner of a library\n")


@pytest.mark.parametrize(
    ("body", "exit_code", "words"),
    [
        ("raise DataError('no rows')", 2, "error: no rows\n"),
        ("sys.exit(143)", 143, ""),
        ("sys.exit()", 0, ""),
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            3,
            "error: Expected the training process to end by itself, got SIGKILL.\n",
        ),
        ("os.abort()", 3, "error: Expected all processes to go on, got one that has gone.\n"),
    ],
)
def test_the_exit_code_is_the_childs_or_says_that_it_died(body: str, exit_code: int, words: str) -> None:
    code, stdout, stderr = run(body)
    assert (code, stdout) == (exit_code, "")
    assert stderr.endswith(words)


def test_an_interrupt_is_130() -> None:
    assert run("raise KeyboardInterrupt")[0] == 130


def test_after_an_error_native_libraries_do_not_tidy_up() -> None:
    # JAX would wait for the other processes there, and then abort
    body = "import atexit; atexit.register(os.abort); raise DataError('no rows')"
    assert run(body)[0] == 2


def wait_for(file: Path) -> str:
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        if file.is_file() and file.read_text().endswith("\n"):
            return file.read_text()
        time.sleep(0.05)
    raise AssertionError(f"{file} was never written")


def test_a_signal_reaches_the_child_once(tmp_path: Path) -> None:
    # A job scheduler signals parent and child, and the parent hands its own on
    ready = tmp_path / "ready"
    body = (
        f"open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n')\n"
        "        ends = time.monotonic() + 3\n"
        "        while time.monotonic() < ends: time.sleep(0.05)\n"
        "        print(COUNT)"
    )
    program = (
        "import signal\nCOUNT = []\nsignal.signal(signal.SIGTERM, lambda number, frame: COUNT.append(number))\n"
        + PROGRAM.format(body=body)
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        child = int(wait_for(ready))
        process.send_signal(signal.SIGTERM)
        os.kill(child, signal.SIGTERM)
        stdout = process.communicate(timeout=30)[0]
    assert stdout == "[15]\nbehind the block\n"
    assert process.returncode == 0


def test_a_kill_of_the_parent_leaves_no_child_behind(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    body = f"open({str(ready)!r}, 'w').write(f'{{os.getpid()}}\\n'); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", PROGRAM.format(body=body)], cwd=REPOSITORY) as process:
        child = int(wait_for(ready))
        process.kill()
    ends = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < ends
        time.sleep(0.05)
