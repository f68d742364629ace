"""The address of a message broker, and the topics under which a camera is found there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgegender.errors import UsageError

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_MAX_TOPIC_BYTES = 200
_HINT = "Write it as mqtt://user:password@host:1883, or mqtts:// for TLS."


@dataclass(frozen=True)
class BrokerAddress:
    """Where a broker is.

    Args:
        host: Name or IP address.
        port: TCP port.
        is_secure: Whether TLS is used.
        user: Name to sign in with, empty for none.
        password: Its password, empty for none. Never shown.
    """

    host: str
    port: int
    is_secure: bool
    user: str
    password: str

    def __str__(self) -> str:
        """Returns the address without the password."""
        scheme = "mqtts" if self.is_secure else "mqtt"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{f'{self.user}@' if self.user else ''}{host}:{self.port}"

    def __repr__(self) -> str:
        """Returns what a log or a traceback may show."""
        return f"BrokerAddress({self})"


def parse_address(address: str, *, password_file: Path | None = None) -> BrokerAddress:
    """Returns the parts of an address such as ``mqtts://user:password@host:8883``.

    Args:
        address: ``mqtt://`` or ``mqtts://``; characters such as ``@`` in a password are written as ``%40``.
        password_file: A file whose first line is the password, so that it stands in no list of processes.

    Raises:
        UsageError: It is no such address, or the password cannot be read or is given twice.
    """
    try:
        parts = urlsplit(address)
        port = parts.port or _PORTS.get(parts.scheme, 0)
        host = (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError):
        raise UsageError("Expected an address of a broker, got one that cannot be read.", hint=_HINT) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if parts.scheme not in _PORTS or not host or parts.path not in {"", "/"} or parts.query or parts.fragment:
        shown = address.rpartition("@")[2]  # what stands before the @ may be a password
        raise UsageError(f"Expected an address of a broker, got {shown!r}.", hint=_HINT)
    if password_file is not None:
        if password:
            raise UsageError(
                f"Expected one password, got one in the address and one in {password_file}.",
                hint="Leave it out of the address.",
            )
        password = _read_password(password_file)
    if password and not user:
        raise UsageError("Expected a user name with the password, got none.", hint=_HINT)
    return BrokerAddress(host, port, parts.scheme == "mqtts", user, password)


def _read_password(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no text"
        raise UsageError(f"Expected a file with a password, got {reason} ({path}).") from error
    if not lines or not lines[0]:
        raise UsageError(f"Expected a password in the first line, got none ({path}).")
    return lines[0]


def check_prefix(prefix: str) -> str:
    """Returns a prefix of topics, such as ``edgegender/door``, without the slash at its end.

    Raises:
        UsageError: It is no name of a topic.
    """
    trimmed = prefix.rstrip("/")
    is_sound = trimmed.isprintable() and 0 < len(trimmed.encode(errors="replace")) <= _MAX_TOPIC_BYTES
    if not is_sound or trimmed[0] in "/$" or set(trimmed) & set("+#"):
        raise UsageError(
            f"Expected a prefix of topics such as edgegender/door, got {prefix!r}.",
            hint="It may hold slashes inside, and none of + # $.",
        )
    return trimmed


def to_identifier(text: str) -> str:
    """Returns a text with nothing but letters, digits and ``_``: what Home Assistant wants in names of topics.

    Example:
        >>> to_identifier("edgegender/front door")
        'edgegender_front_door'
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "camera"
