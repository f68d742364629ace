"""The lock of a run folder: one process at a time, free again however that one ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgegender.errors import OutputError, UsageError
from edgegender.training.run_lock import is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from edgegender.training.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_for_the_block_and_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
    assert not is_locked(path)
    with locked(path):
        pass


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(path)
        with pytest.raises(UsageError, match="Expected a run that nobody trains, got one") as caught, locked(path):
            pass
        assert caught.value.hint
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert not is_locked(path)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Expected to write"), locked(tmp_path / "none" / ".lock"):
        pass


def test_asking_changes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / ".lock")
    assert not list(tmp_path.iterdir())
