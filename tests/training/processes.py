"""Several processes at once, for tests of distributed training."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# A name that an editor or another test may have set would choose another backend, or hide the devices
_CHOSEN_BY_TESTS = ("KERAS_BACKEND", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def last_words(self) -> str:
        """The error and the hint, without what native libraries write."""
        return "\n".join(line for line in self.stderr.splitlines() if line.startswith(("error:", "hint:")))


def free_port() -> int:
    """Returns a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def clean_environment(**more: str) -> dict[str, str]:
    """Returns this process's environment without what chooses a backend, with few threads, and ``more``."""
    kept = {name: value for name, value in os.environ.items() if name not in _CHOSEN_BY_TESTS}
    return {**kept, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1", **more}


def run_together(
    commands: Sequence[Sequence[str]], *, environment: Mapping[str, str] | None = None, timeout_s: float = 240.0
) -> list[Ended]:
    """Runs Python with each list of arguments, all at once, and returns how they ended; none is left behind."""
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=REPOSITORY,
            env=environment or clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        ended = []
        for process in started:
            stdout, stderr = process.communicate(timeout=timeout_s)
            ended.append(Ended(process.returncode, stdout, stderr))
        return ended
    finally:
        for process in started:
            process.kill()
            process.wait()


def addresses(count: int) -> list[list[str]]:
    """Returns the options that make each of ``count`` processes one of a distributed training on loopback."""
    coordinator = f"127.0.0.1:{free_port()}"
    return [
        ["--distribute", "--coordinator", coordinator, "--num-processes", str(count), "--process-index", str(index)]
        for index in range(count)
    ]
