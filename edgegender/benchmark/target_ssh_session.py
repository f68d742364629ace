"""One connection through the system's OpenSSH, and the agent at its other end."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from edgegender.benchmark import remote_agent
from edgegender.benchmark.target_ssh_address import SshAddress, build_ssh_command
from edgegender.errors import MeasurementError

ALIVE_INTERVAL_S = 20.0
OLDEST_PYTHON = (3, 10)
_HELLO_TIMEOUT_S = 60.0  # after it connected: a login shell that never gets to the command
_END_TIMEOUT_S = 20.0  # for the other side to remove its folder
_READY, _NO_PYTHON = "edgegender-ready", "edgegender-no-python"
# The login shell may be any: no single quote, no exclamation mark, no line break. The interpreter's name comes as the
# first line of standard input, the agent's code as the second, so that neither has to be quoted. `read` takes no byte
# more than its line; neither does os.read.
_PYTHON_CODE = (
    "import sys,os,struct;"
    "print(list(sys.version_info[:3]),struct.calcsize(chr(80))*8,os.uname()[4]);sys.stdout.flush();"
    "import base64;"
    "exec(base64.b64decode(bytes().join(iter(lambda:os.read(0,1).strip(),bytes()))))"
)
_REMOTE_COMMAND = (
    "exec sh -c '"
    f"echo {_READY}; read -r python; "
    'case "$python" in "~/"*) python="$HOME/${python#??}";; esac; '
    f'command -v "$python" >/dev/null 2>&1 || {{ echo {_NO_PYTHON}; exit 127; }}; '
    f'exec "$python" -B -c "{_PYTHON_CODE}"'
    "'"
)
_REASONS = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the key that this machine remembers",
        "another key",
        "Find out why it changed before you trust it; then: ssh-keygen -R HOST",
    ),
    (
        r"Host key verification failed",
        "a host whose key this machine knows",
        "an unknown key",
        "Connect once by hand and compare the key: ssh {by_hand}",
    ),
    (
        r"(Permission denied \([^)\n]*\)|Too many authentication failures)",
        "a key that the host accepts",
        "{found}",
        "edgegender never asks for a password. Bring your key there: ssh-copy-id {by_hand}",
    ),
    (
        r"(Connection refused|Connection timed out|Operation timed out|No route to host|Network is unreachable"
        r"|Could not resolve hostname[^\n]*|Connection timed out during banner exchange)",
        "a host that answers",
        "{found}",
        "Is it switched on and in this network, and does ssh run there? Try: ssh {by_hand}",
    ),
)


class ConnectionLostError(MeasurementError):
    """The connection broke after it stood."""


def _explain(address: SshAddress, stderr: str, *, was_connected: bool) -> MeasurementError:
    """Returns what OpenSSH said as an error of ours."""
    for pattern, wanted, got, hint in _REASONS:
        found = re.search(pattern, stderr)
        if found and not was_connected:
            text = got.format(found=found[0].strip())
            return MeasurementError(
                f"Expected {wanted}, got {text} ({address.host}).", hint=hint.format(by_hand=address.by_hand)
            )
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = lines[-1] if lines else "end of the connection"
    if was_connected:
        return ConnectionLostError(
            f"Expected a connection until the end, got: {last} ({address.host}).",
            hint="Look at the network and the host's power supply; the host cleans up by itself.",
        )
    return MeasurementError(
        f"Expected a connection, got: {last} ({address.host}).", hint=f"Try by hand: ssh {address.by_hand} true"
    )


class SshSession:
    """A running agent on another machine. Leaving the block ends it, and it removes what it made.

    Args:
        address: The machine.
        python: Its interpreter: a name on its path or a file there.
        config: Another file than ``~/.ssh/config``.

    Raises:
        MeasurementError: OpenSSH is not installed, the host is away, refuses, or has no fitting Python.
    """

    def __init__(self, address: SshAddress, *, python: str, config: Path | None = None) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise MeasurementError("Expected OpenSSH's client, got none.", hint="sudo apt install openssh-client")
        self._address = address
        self._is_connected = False
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end of the session
        self._process = subprocess.Popen(  # noqa: S603 - the user's own ssh; the address was checked
            build_ssh_command(address, _REMOTE_COMMAND, program=program, config=config),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C reaches this process only, which then lets the other side clean up
        )
        self._alive = threading.Thread(target=self._give_signs_of_life, daemon=True)
        try:
            self.machine = self._start(python)
        except BaseException:
            self._end()
            raise

    def _start(self, python: str) -> str:
        """Sends the agent and returns the machine's architecture, such as ``aarch64``."""
        timer = threading.Timer(_HELLO_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            with contextlib.suppress(OSError):  # whoever did not connect reads nothing: the next line says why
                self._write(f"{python}\n".encode())
            while self._line().strip() != _READY:  # a login script may print something first
                pass
            self._is_connected = True
            hello = self._line().strip()
        finally:
            timer.cancel()
        if hello == _NO_PYTHON:
            raise MeasurementError(
                f"Expected a Python on the host, got none called {python}.",
                hint="On the host: sudo apt install python3 python3-venv, or name one there: --option python=PATH",
            )
        found = re.fullmatch(r"\[(\d+), (\d+), (\d+)\] (\d+) (\S+)", hello)
        if found is None:
            raise MeasurementError(f"Expected a Python on the host, got: {hello[:80]!r} from {python}.")
        if (int(found[1]), int(found[2])) < OLDEST_PYTHON:
            raise MeasurementError(
                f"Expected Python 3.10 or newer on the host, got {found[1]}.{found[2]}.{found[3]} ({python}).",
                hint="Name a newer one there: --option python=PATH, in an environment that has edgegender",
            )
        self.pointer_bits = int(found[4])
        code = Path(remote_agent.__file__).read_bytes()
        self._send(base64.b64encode(code) + b"\n")
        self._alive.start()
        return found[5]

    def __enter__(self) -> SshSession:
        """Gives the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the agent and waits until it has cleaned up."""
        self._end()

    def _end(self) -> None:
        self._is_over.set()
        if not self._is_connected:
            self._process.kill()  # nothing was made there; a host that does not answer is not waited for
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()  # the agent takes the end of its orders as the end
        try:
            # Its last answers are read, or it would wait for a reader.
            self._drain()
        finally:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
            if self._alive.is_alive():
                self._alive.join()
            self._log.close()

    def _drain(self) -> None:
        timer = threading.Timer(_END_TIMEOUT_S, self._process.kill)
        timer.start()
        try:
            if self._process.stdout is not None:
                while self._process.stdout.read(1 << 16):
                    pass
        finally:
            timer.cancel()

    def _give_signs_of_life(self) -> None:
        while not self._is_over.wait(ALIVE_INTERVAL_S):
            with contextlib.suppress(OSError):  # who reads the answers will notice
                self._write(b"\n")

    def _failure(self) -> MeasurementError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        self._log.seek(0)
        return _explain(self._address, self._log.read().decode(errors="replace"), was_connected=self._is_connected)

    def _last_words(self) -> MeasurementError:
        """Returns why nothing can be sent any more: what the agent said at its end, or else what OpenSSH says."""
        try:
            while True:
                self.event()
        except MeasurementError as error:
            return error

    def _write(self, content: bytes) -> None:
        with self._lock:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.write(content)
                self._process.stdin.flush()

    def _line(self) -> str:
        line = self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line.endswith(b"\n"):
            raise self._failure()
        return line.decode(errors="replace")

    def order(self, order: str, **values: object) -> None:
        """Sends an order. See :mod:`edgegender.benchmark.remote_agent`.

        Raises:
            ConnectionLostError: The connection broke.
        """
        self._send(json.dumps({"order": order, **values}).encode() + b"\n")

    def send(self, name: str, content: bytes) -> None:
        """Sends a file.

        Args:
            name: Its place in the agent's folder.
            content: Its bytes.

        Raises:
            ConnectionLostError: The connection broke.
        """
        digest = hashlib.sha256(content).hexdigest()
        head = json.dumps({"order": "file", "name": name, "size_bytes": len(content), "sha256": digest}).encode()
        self._send(b"".join([head, b"\n", content]))

    def _send(self, content: bytes) -> None:
        try:
            self._write(content)
        except OSError as error:
            raise self._last_words() from error

    def event(self) -> Mapping[str, Any]:
        """Returns the next answer.

        Raises:
            ConnectionLostError: The connection broke.
            MeasurementError: The host refused the last order.
        """
        line = self._line()
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise MeasurementError(f"Expected an answer of the host's agent, got {line[:80]!r}.") from error
        if event["event"] == "closed":  # it missed our signs of life, or its machine shuts down
            raise self._failure()
        if event["event"] == "refused":
            raise MeasurementError(event["message"], hint=event["hint"])
        return event
