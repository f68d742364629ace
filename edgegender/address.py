"""Where a server listens: ``:8080``, ``8080``, ``0.0.0.0:8080``, ``[::]:8080``."""

from __future__ import annotations

import errno
import ipaddress
import socket

from edgegender.errors import OutputError, UsageError

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
_MAX_PORT = 65535
_BACKLOG = 64
# Linux lets a buffer grow to megabytes: seconds of old pictures on the way to a slow viewer
_SEND_BUFFER_BYTES = 128 * 1024
_NOWHERE = ("192.0.2.1", 9)  # TEST-NET-1 (RFC 5737): nothing is sent, the system only looks up the way there


def parse_address(address: str, *, default_host: str = DEFAULT_HOST) -> tuple[str, int]:
    """Returns (host, port) of an address to listen on.

    Args:
        address: ``:8080`` or ``8080``, ``HOST:8080``, ``[IPV6]:8080``. Port 0 takes a free one.
        default_host: Of a port alone; this machine only where nothing is said.

    Raises:
        UsageError: It is none of these.
    """
    host, colon, port_text = address.strip().rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    bare_host = host[1:-1] if is_bracketed else host
    is_host_sound = bare_host.isascii() and not set(bare_host) & set("/@[]?# ") and (":" not in host or is_bracketed)
    if is_bracketed:
        is_host_sound = is_host_sound and _is_ip(bare_host)
    is_port_sound = port_text.isascii() and port_text.isdecimal() and int(port_text[:6]) <= _MAX_PORT
    if not is_host_sound or not is_port_sound:
        raise UsageError(
            f"Expected an address such as :8080 or 0.0.0.0:8080, got {address!r}.",
            hint=f":8080 listens on {default_host}; 127.0.0.1 serves this machine only, 0.0.0.0:8080 the network.",
        )
    return (bare_host if colon and bare_host else default_host), int(port_text)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches a server on ``host``; of the names, only localhost is."""
    return host.lower() == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def open_socket(host: str, port: int) -> socket.socket:
    """Returns a socket that listens on an address.

    Raises:
        UsageError: ``host`` is not of this machine.
        OutputError: The port is in use, or may not be opened.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:  # UnicodeError: a label of a name that is too long
        raise _not_ours(host) from error
    family, kind, protocol, _, place = min(found, key=lambda way: way[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)  # connections inherit it
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # [::] is reached by IPv4, too
        listener.bind(place)
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
    except OSError as error:
        listener.close()
        raise _explain(error, host, port) from error
    return listener


def _not_ours(host: str) -> UsageError:
    return UsageError(
        f"Expected an address of this machine, got {host!r}.", hint="Use :8080 or 0.0.0.0:8080; ip address lists them."
    )


def _explain(error: OSError, host: str, port: int) -> UsageError | OutputError:
    where = format_place(host, port)
    if error.errno == errno.EADDRINUSE:
        return OutputError(
            f"Expected a free port, got {port} in use ({where}).",
            hint="Choose another port, such as :0 for any free one; ss -ltnp shows who has it.",
        )
    if error.errno in {errno.EACCES, errno.EPERM}:
        return OutputError(
            f"Expected a port that this user may open, got {port} ({where}).", hint="Choose a port from 1024 on."
        )
    return _not_ours(host)


def format_place(host: str, port: int) -> str:
    """Returns host and port as they stand in an address; an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable_host(host: str) -> str:
    """Returns the host that others type: an address of this machine where the server listens on all of them."""
    if not _is_ip(host) or not ipaddress.ip_address(host).is_unspecified:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_NOWHERE)
        except OSError:  # no network: the name is the best guess
            return socket.gethostname()
        return str(probe.getsockname()[0])
