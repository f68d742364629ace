"""Addresses of the form ``ssh://user@host:port``, and the command that reaches them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgegender.errors import UsageError

CONNECT_TIMEOUT_S = 15
_ALIVE_INTERVAL_S = 15  # three missed answers end the connection
# Neither a leading dash, which ssh would take for an option, nor what a shell or ssh's own expansion would read.
_USER = re.compile(r"[A-Za-z0-9._\\+][A-Za-z0-9._\\+@-]*")
_HOST = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._-]*")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?")
_EXAMPLE = "For example: ssh://pi@raspberrypi.local, ssh://pi@192.168.1.20:2222 or ssh://pi@[fe80::1%eth0]"


@dataclass(frozen=True)
class SshAddress:
    """A machine that OpenSSH reaches.

    Args:
        host: A name of ``~/.ssh/config``, of the network, or a number.
        user: Empty takes the configured one.
        port: ``None`` takes the configured one.
    """

    host: str
    user: str = ""
    port: int | None = None

    @property
    def by_hand(self) -> str:
        """The arguments that a person types after ``ssh``, ``ssh-copy-id`` or the like."""
        named = f"{self.user}@{self.host}" if self.user else self.host
        return f"-p {self.port} {named}" if self.port else named


def parse_ssh_address(text: str) -> SshAddress:
    """Returns the machine that an address names.

    Args:
        text: ``ssh://[user@]host[:port]``; an IPv6 address stands in brackets.

    Raises:
        UsageError: It is none, or holds a password.

    Example:
        >>> parse_ssh_address("ssh://pi@[fe80::1]:2222")
        SshAddress(host='fe80::1', user='pi', port=2222)
    """
    user, at_sign, place = text.removeprefix("ssh://").removesuffix("/").rpartition("@")
    if ":" in user:
        raise UsageError(
            "Expected an address without a password, got one with a password.",
            hint="Log in with a key: ssh-copy-id user@host. Other users of this machine can read a command's words.",
        )
    found = re.fullmatch(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]{1,5}))?", place)
    port = int(found["port"]) if found and found["port"] else None
    is_sound = (
        text.startswith("ssh://")
        and found is not None
        and bool(_IPV6.fullmatch(found["ipv6"]) if found["ipv6"] is not None else _HOST.fullmatch(found["host"]))
        and (port is None or 1 <= port <= 65535)
        and (not at_sign or _USER.fullmatch(user) is not None)
    )
    if found is None or not is_sound:
        raise UsageError(f"Expected ssh://user@host:port, got {text!r}.", hint=_EXAMPLE)
    return SshAddress(found["ipv6"] or found["host"], user, port)


def build_ssh_command(address: SshAddress, remote_command: str, *, program: str, config: Path | None) -> list[str]:
    """Returns the words that start OpenSSH's client, which never asks anything.

    What the user has configured stays in force: keys, agents, jump hosts, and how unknown host keys are treated.

    Args:
        address: The machine.
        remote_command: What to run there.
        program: The client.
        config: Another file than ``~/.ssh/config``.
    """
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": CONNECT_TIMEOUT_S,
        "ServerAliveInterval": _ALIVE_INTERVAL_S,
        "ServerAliveCountMax": 3,
        # A connection that is open already is used; none is left behind.
        "ControlMaster": "no",
        # The host gets nothing of this machine, and a configured forwarding whose port is taken ends no measurement.
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "RemoteCommand": "none",
        "RequestTTY": "no",
        "LogLevel": "ERROR",
    }
    words = [program, *(["-F", str(config)] if config else [])]
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    if address.user:
        words += ["-l", address.user]
    if address.port:
        words += ["-p", str(address.port)]
    return [*words, "--", address.host, remote_command]
