"""One Android phone through the system's ``adb``: commands, files, and errors that say what to do."""

from __future__ import annotations

import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgegender.errors import MeasurementError, UsageError

_SERIAL = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:%\[\]-]{0,127}")
_REMOTE_ROOT = "/data/local/tmp"  # the one folder where adb's user may write and run programs
_TIMEOUT_S = 60.0
# what adb says → what to do about it
_PROBLEMS = (
    ("unauthorized", "the phone has not allowed this computer", "Unlock it and confirm USB debugging on its screen."),
    ("offline", "the phone is offline", "Plug it in again, or: adb reconnect"),
    ("more than one device", "more than one phone", "Name one of adb devices: --target adb://SERIAL"),
    ("not found", "no such phone", "adb devices lists those that are connected; is USB debugging on?"),
    ("no devices", "no phone", "Connect one with USB debugging on: adb devices must list it."),
    ("no permissions", "no permission for the USB device", "sudo apt-get install android-sdk-platform-tools-common"),
)


class Adb:
    """A phone, with a folder of its own on it that :meth:`close` removes.

    Args:
        serial: As ``adb devices`` lists it, or host and port; empty takes the only phone.
        program: The adb program; found on the path.

    Raises:
        UsageError: The serial is none.
        MeasurementError: adb is not installed, or the phone is away, locked against this computer, or not the only one.
    """

    def __init__(self, serial: str, *, program: str = "adb") -> None:
        if serial and not _SERIAL.fullmatch(serial):
            raise UsageError("Expected a serial as adb devices lists it, got another text.", hint="adb://R58M123ABC")
        found = shutil.which(program)
        if found is None:
            raise MeasurementError(f"Expected the program {program}, got none.", hint="sudo apt-get install adb")
        self._command = [found, *(["-s", serial] if serial else [])]
        self._serial = serial
        self.folder = f"{_REMOTE_ROOT}/edgegender-{secrets.token_hex(6)}"
        state = self._run(["get-state"], what="asking for the phone").strip()
        if state != "device":
            raise MeasurementError(f"Expected a phone that is ready, got one in the state {state!r:.40}.")
        self.shell(f"mkdir -p {self.folder}/in {self.folder}/out")

    def _run(self, words: list[str], *, what: str, timeout_s: float = _TIMEOUT_S, is_checked: bool = True) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - no shell here; the words are ours
                [*self._command, *words], capture_output=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired as error:
            raise MeasurementError(
                f"Expected an answer within {timeout_s:g} s, got none ({what}).",
                hint="Is the phone still connected? Keep its screen on.",
            ) from error
        except OSError as error:
            raise MeasurementError(f"Expected to start adb, got {error.strerror or error}.") from error
        stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if done.returncode and (is_checked or "error:" in stderr):
            raise self._failed(stderr or stdout, what)
        return stdout

    def _failed(self, text: str, what: str) -> MeasurementError:
        if self._serial:
            text = text.replace(self._serial, "SERIAL")
        for words, got, hint in _PROBLEMS:
            if words in text and ("error:" in text or "adb:" in text):
                return MeasurementError(f"Expected a phone that is ready, got {got} ({what}).", hint=hint)
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return MeasurementError(f"Expected adb to succeed, got: {lines[-1][:200] if lines else 'no reason'} ({what}).")

    def shell(self, command: str, *, timeout_s: float = _TIMEOUT_S, is_checked: bool = True) -> str:
        """Returns what a command printed on the phone.

        Args:
            command: For the phone's own shell.
            timeout_s: Longest wait.
            is_checked: Whether another exit code than 0 is an error.

        Raises:
            MeasurementError: The phone went away or did not answer in time; or the command failed.
        """
        what = command.split(" ", 1)[0].rpartition("/")[2]
        return self._run(["shell", command], what=what, timeout_s=timeout_s, is_checked=is_checked)

    def push(self, local: Path, name: str, *, timeout_s: float = 600.0) -> None:
        """Copies a file, or what a folder holds, to ``name`` in the phone's folder.

        Raises:
            MeasurementError: It cannot be copied.
        """
        source = f"{local}/." if local.is_dir() else str(local)
        self._run(["push", source, f"{self.folder}/{name}"], what=f"copying {local.name}", timeout_s=timeout_s)

    def push_bytes(self, content: bytes, name: str) -> None:
        """Writes bytes to ``name`` in the phone's folder: those that were verified, whatever became of their file.

        Raises:
            MeasurementError: They cannot be copied.
        """
        with tempfile.TemporaryDirectory(prefix="edgegender-") as held:
            local = Path(held) / "content"
            local.write_bytes(content)
            self.push(local, name)

    def pull(self, name: str, local: Path, *, timeout_s: float = 600.0) -> None:
        """Copies what a folder on the phone holds into ``local``.

        Raises:
            MeasurementError: It cannot be copied.
        """
        self._run(["pull", f"{self.folder}/{name}/.", str(local)], what=f"fetching {name}", timeout_s=timeout_s)

    def empty(self, *names: str) -> None:
        """Makes folders on the phone anew, without what was in them."""
        folders = " ".join(shlex.quote(f"{self.folder}/{name}") for name in names)
        self.shell(f"rm -rf {folders} && mkdir -p {folders}")

    def close(self) -> None:
        """Removes the folder on the phone; one that went away keeps it."""
        try:
            self.shell(f"rm -rf {self.folder}")
        except MeasurementError:
            return
