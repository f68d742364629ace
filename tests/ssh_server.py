"""A real OpenSSH server on this machine, with keys, configuration and a home folder of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

INSTALL = "apt-get install openssh-server openssh-client"
_SSHD = "/usr/sbin/sshd"  # it insists on being called by its whole path
_DEADLINE_S = 20.0


def is_installed() -> bool:
    """Returns whether server and client can run here."""
    return Path(_SSHD).exists() and shutil.which("ssh") is not None and shutil.which("ssh-keygen") is not None


def wait_until(is_true, what: str, deadline_s: float = _DEADLINE_S) -> None:
    """Waits until a condition holds."""
    most = time.monotonic() + deadline_s
    while not is_true():
        if time.monotonic() > most:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Returns a port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _make_key(path: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text("utf-8")


class SshServer:
    """A server whose sessions have ``home`` as home folder and ``programs`` as the first folder of their path.

    Args:
        folder: For its files.
        allows_keys: Whether it accepts the client's key; without, it asks for a password.
        is_known: Whether the client knows its key.
    """

    def __init__(self, folder: Path, *, allows_keys: bool = True, is_known: bool = True) -> None:
        self.home, self.programs = folder / "home", folder / "programs"
        for made in (folder, self.home, self.programs):
            made.mkdir(parents=True, exist_ok=True)
        host_key, user_key = _make_key(folder / "host_key"), _make_key(folder / "user_key")
        (folder / "authorized_keys").write_text(user_key, "utf-8")
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.port = free_port()
        self.address = f"ssh://{self.user}@127.0.0.1:{self.port}"
        known = f"[127.0.0.1]:{self.port} {host_key}" if is_known else ""
        (folder / "known_hosts").write_text(known, "utf-8")
        self.client_config = folder / "ssh_config"
        lines = [
            "Host *",
            f"IdentityFile {folder / 'user_key'}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {folder / 'known_hosts'}",
            "GlobalKnownHostsFile /dev/null",
        ]
        self.client_config.write_text("\n".join(lines) + "\n", "utf-8")
        self._config = folder / "sshd_config"
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {folder / 'host_key'}",
            f"AuthorizedKeysFile {folder / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "PermitRootLogin yes",
            f"PubkeyAuthentication {'yes' if allows_keys else 'no'}",
            f"PasswordAuthentication {'no' if allows_keys else 'yes'}",
            "KbdInteractiveAuthentication no",
            f"SetEnv HOME={self.home} PATH={self.programs}:/usr/bin:/bin",
        ]
        self._config.write_text("\n".join(lines) + "\n", "utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = self.home / ".cache" / "edgegender" / "benchmark"

    def start(self) -> None:
        """Starts it and waits until it listens."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)  # the superuser's sshd does not start without
        self._process = subprocess.Popen([_SSHD, "-D", "-e", "-f", self._config], stderr=subprocess.DEVNULL)
        wait_until(self._is_listening, "sshd listens")

    def _is_listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        """Ends it and its sessions."""
        if self._process is not None:
            self.kill_sessions()
            self._process.terminate()
            self._process.wait()

    def sessions(self) -> list[int]:
        """Returns the processes of its open connections, the inner ones first."""
        return _descendants(self._process.pid) if self._process is not None else []

    def kill_sessions(self) -> None:
        """Cuts all open connections."""
        for pid in self.sessions():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def put_program(self, name: str, script: str) -> None:
        """Puts a shell script on the sessions' path."""
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        path.chmod(0o755)

    def is_clean(self) -> bool:
        """Returns whether nothing is left in the home folder."""
        return list(self.home.iterdir()) == []


def _descendants(pid: int) -> list[int]:
    """Returns the sshd processes below one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = status.read_text("utf-8").split("(", 1)[1].rsplit(")", 1)
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        if name.startswith("sshd") and int(rest.split()[1]) == pid:
            child = int(status.parent.name)
            found += [*_descendants(child), child]
    return found


@contextmanager
def serving_ssh(folder: Path, *, allows_keys: bool = True, is_known: bool = True) -> Iterator[SshServer]:
    """Runs a server until the block ends."""
    server = SshServer(folder, allows_keys=allows_keys, is_known=is_known)
    server.start()
    try:
        yield server
    finally:
        server.stop()
