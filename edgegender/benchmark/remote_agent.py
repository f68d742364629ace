"""What runs on another machine, under its own Python and before anything is installed: folder, environment, run, end.

:mod:`edgegender.benchmark.target_ssh` sends the text of this file over the connection, so it needs nothing but the
standard library. Orders come in on standard input, a line of JSON each; a file's bytes follow the line that announces
it. An empty line is a sign of life. Answers leave on standard output, a line of JSON each.

Everything lies in ``~/.cache/edgegender/benchmark``. When the orders end, fall silent, or a signal comes, what runs is
ended and the folder removed; what a power cut left is removed the next time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SILENCE_S = 90.0  # four signs of life missed: the connection is gone, though nobody said so
_BLOCK_BYTES = 1 << 16


class LostError(Exception):
    """The other side has gone."""


class RefusedError(Exception):
    """The order cannot be carried out here.

    Args:
        message: What was expected and what was found.
        hint: What to do next.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def tell(**event: object) -> None:
    """Sends one answer."""
    sys.stdout.buffer.write(json.dumps(event).encode() + b"\n")
    sys.stdout.buffer.flush()


class Orders:
    """What the other side sends, with an eye on whether it is still there.

    Args:
        descriptor: File descriptor to read.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.silence_s = SILENCE_S
        self._heard = time.monotonic()
        self._buffer = b""

    def listen(self, *others: int) -> list[int]:
        """Sleeps until one of ``others`` can be read and returns those, or an empty list after a sign of life.

        Raises:
            LostError: The orders ended or fell silent.
        """
        left_s = max(0.0, self._heard + self.silence_s - time.monotonic())
        ready, _, _ = select.select([self.descriptor, *others], [], [], left_s)
        if self.descriptor in ready:
            block = os.read(self.descriptor, _BLOCK_BYTES)
            if not block:
                raise LostError
            self._heard = time.monotonic()
            self._buffer += block
        elif time.monotonic() - self._heard >= self.silence_s:
            raise LostError
        return [descriptor for descriptor in ready if descriptor != self.descriptor]

    def next_order(self) -> dict[str, Any]:
        """Returns the next order, passing over signs of life."""
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if not found:
                self.listen()
                continue
            self._buffer = rest
            if line:
                order: dict[str, Any] = json.loads(line)
                return order

    def read(self, num_bytes: int) -> Iterator[bytes]:
        """Gives the bytes after an order, in blocks."""
        while num_bytes:
            if not self._buffer:
                self.listen()
            block, self._buffer = self._buffer[:num_bytes], self._buffer[num_bytes:]
            num_bytes -= len(block)
            yield block


def _lock(root: Path, wait_s: float) -> int:
    """Returns a descriptor that holds ``root`` for this process alone: two benchmarks would measure each other."""
    most = time.monotonic() + wait_s
    while True:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # whoever held it may have removed the folder in between: then the lock is on nothing
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == root.stat().st_ino:
                    return descriptor
        except BlockingIOError as error:
            if time.monotonic() > most:
                os.close(descriptor)
                raise RefusedError(
                    "Expected a host on which no other benchmark runs, got one.", "Wait until it is done."
                ) from error
        os.close(descriptor)
        time.sleep(0.1)


class Agent:
    """Carries out orders in a folder of its own.

    Args:
        orders: Where they come from.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._root = Path.home() / ".cache" / "edgegender" / "benchmark"
        self._folder = self._root / f"run-{os.getpid()}"
        self._environment = self._folder / "environment"
        self._python = sys.executable
        self._is_kept = False
        self._made: list[Path] = []
        self._lock = -1

    def open(self, order: dict[str, Any]) -> None:
        """Makes the folder and says whether an environment was kept there for the same wheel."""
        self._orders.silence_s = order["silence_s"]
        self._made = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
        self._lock = _lock(self._root, order["lock_wait_s"])
        for leftover in self._root.glob("run-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        (self._folder / "empty").mkdir(mode=0o700, parents=True)
        (self._folder / "temporary").mkdir()
        os.environ["TMPDIR"] = str(self._folder / "temporary")  # pip's own files go with the folder, too
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is written into an environment that is not ours
        if order["environment"]:
            kept = self._root / f"{order['environment']}-{sys.implementation.cache_tag}"
            is_there = (kept / "complete").exists()
            for other in set(self._root.glob("environment-*")) - {kept}:  # one is kept, not one a version
                shutil.rmtree(other, ignore_errors=True)
            self._is_kept = order["is_kept"]
            if is_there or self._is_kept:
                self._environment = kept
            self._python = str(self._environment / "bin" / "python")
            tell(event="opened", has_environment=is_there)
        else:
            tell(event="opened", has_environment=True)

    def file(self, order: dict[str, Any]) -> None:
        """Takes a file. Nothing is answered unless it arrives damaged."""
        path = (self._folder / order["name"]).resolve()
        if not path.is_relative_to(self._folder.resolve()):
            raise RefusedError("Expected a name inside of the folder, got another.")
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("wb") as stream:
            for block in self._orders.read(order["size_bytes"]):
                digest.update(block)
                stream.write(block)
        if digest.hexdigest() != order["sha256"]:
            raise RefusedError("Expected a file as it was sent, got damaged bytes.", "Look at the host's memory card.")

    def install(self, order: dict[str, Any]) -> None:
        """Makes a virtual environment and installs the wheel there."""
        if not all(map(importlib.util.find_spec, ("venv", "ensurepip"))):
            raise RefusedError(
                "Expected a Python that can make environments, got one without venv or ensurepip.",
                "On the host: sudo apt install python3-venv",
            )
        shutil.rmtree(self._environment, ignore_errors=True)
        self._call([sys.executable, "-m", "venv", str(self._environment)], "an environment")
        wheel = str(self._folder / order["wheel"]) + order["extra"]
        pip = [self._python, "-m", "pip", "install", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
        self._call([*pip, "--progress-bar", "off", wheel], "pip to install edgegender")
        if self._is_kept:
            (self._environment / "complete").touch()
        tell(event="installed")

    def check(self, order: dict[str, Any]) -> None:
        """Says which edgegender is installed; empty for none."""
        code = "import edgegender.benchmark.remote_worker, edgegender; print(edgegender.__version__)"
        del order
        lines: list[bytes] = []
        self._run([self._python, "-B", "-c", code], lines.append)
        tell(event="checked", version=b"".join(lines).decode(errors="replace").strip(), last_line=self._last_line())

    def run(self, order: dict[str, Any]) -> None:
        """Runs the worker, whose answers are passed on as they come."""
        unfinished = b""

        def pass_on(block: bytes) -> None:
            nonlocal unfinished
            lines, end, rest = (unfinished + block).rpartition(b"\n")
            unfinished = rest  # of a worker that is killed, half a line must not run into the next answer
            sys.stdout.buffer.write(lines + end)
            sys.stdout.buffer.flush()

        code = "import sys; from edgegender.benchmark.remote_worker import main; main(sys.argv[1])"
        status = self._run([self._python, "-B", "-c", code, str(self._folder / order["job"])], pass_on)
        tell(event="ran", status=status, last_line=self._last_line())

    def _last_line(self) -> str:
        lines = (self._folder / "log").read_text("utf-8", errors="replace").strip().splitlines()
        named = [line for line in lines if line.startswith("ERROR:")]  # pip's; the first says why
        return (named or lines[-1:] or [""])[0][:400]

    def _call(self, command: list[str], what: str) -> None:
        said: list[bytes] = []
        code = self._run(command, said.append)
        if code:
            raise RefusedError(
                f"Expected {what}, got: {self._last_line() or f'exit code {code}'}.",
                "The host needs a package index. Without one, name an environment there that has edgegender: "
                "--option python=PATH",
            )

    def _run(self, command: list[str], take: Callable[[bytes], object]) -> int:
        """Runs a program, gives what it prints to ``take``, and returns its exit code; it ends when we do."""
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - this host's Python
                command,
                stdin=subprocess.PIPE,  # the worker ends when this pipe does
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._folder / "empty",  # no file of another folder shadows a module
                start_new_session=True,
            )
        if process.stdin is None or process.stdout is None:
            raise LostError
        try:
            while True:
                if not self._orders.listen(process.stdout.fileno()):
                    continue
                block = os.read(process.stdout.fileno(), _BLOCK_BYTES)
                if not block:
                    return process.wait()
                take(block)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdin.close()
            process.stdout.close()

    def clean(self) -> None:
        """Removes everything that this run made, except for an environment that is to be kept."""
        if self._lock < 0:
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        if not (self._environment / "complete").exists() or not self._is_kept:
            shutil.rmtree(self._environment, ignore_errors=True)
        for folder in dict.fromkeys([self._root, self._root.parent, *self._made]):
            with contextlib.suppress(OSError):  # not empty: somebody else's
                folder.rmdir()
        os.close(self._lock)


def _raise_lost(number: int, frame: object) -> None:
    del number, frame
    raise LostError


def _carry_out(agent: Agent, orders: Orders) -> None:
    known = {step.__name__: step for step in (agent.open, agent.file, agent.install, agent.check, agent.run)}
    while True:
        order = orders.next_order()
        if order["order"] == "close":
            return
        known[order["order"]](order)


def main() -> None:
    """Carries out orders until they end."""
    signals = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
    for number in signals:
        signal.signal(number, _raise_lost)
    os.umask(0o077)  # photos may be among the files
    orders = Orders(0)
    agent = Agent(orders)
    try:
        _carry_out(agent, orders)
    except (LostError, BrokenPipeError):
        pass
    except RefusedError as error:
        tell(event="refused", message=error.message, hint=error.hint)
    except OSError as error:
        tell(event="refused", message=f"Expected to write files on the host, got {error.strerror or error}.", hint="")
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        agent.clean()
    with contextlib.suppress(OSError):
        tell(event="closed")


if __name__ == "__main__":
    main()
