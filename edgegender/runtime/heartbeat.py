"""Signs of life for systemd: ready, alive, what it does, stopping. Nothing where no systemd asks for them.

The package sdnotify would do, but it reads the environment itself, sends Latin-1 and waits on a full socket.

Source: sd_notify(3), sd_watchdog_enabled(3), https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from types import TracebackType

from edgegender.errors import UsageError

_MAX_STATUS_CHARACTERS = 200


def _kernel_address(address: str) -> str:
    """Returns the address as the kernel has it: a name that starts with @ is an abstract socket."""
    if not address.startswith(("/", "@")) or len(address) == 1:
        raise UsageError(
            f"Expected a socket such as /run/systemd/notify or @name, got {address!r} (NOTIFY_SOCKET).",
            hint="Leave NOTIFY_SOCKET to systemd: a unit with Type=notify sets it.",
        )
    return "\0" + address[1:] if address.startswith("@") else address


class Heartbeat:
    """Tells systemd how the process does. No call waits or raises: a manager that is away is no reason to stop.

    :meth:`beat` belongs into the loop that does the work, and nowhere else: when the loop hangs, the signs of life end,
    and systemd restarts the service. A loop that waits for a lost camera and tries it again is alive.

    Args:
        address: The manager's datagram socket, a path or ``@name`` (``NOTIFY_SOCKET``); ``None`` or empty: nobody
            listens.
        watchdog_us: Longest silence that the manager allows, microseconds (``WATCHDOG_USEC``); ``None``: any.
        clock: Monotonic time in seconds.

    Raises:
        UsageError: The address is no path and no abstract name.
    """

    def __init__(
        self, address: str | None, *, watchdog_us: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = _kernel_address(address) if address else None
        self._interval_s = watchdog_us / 2e6 if watchdog_us else None  # half of it, as sd_watchdog_enabled(3) advises
        self._clock = clock
        self._next_s = 0.0
        self._status = ""
        self._is_ready = False
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.settimeout(0)

    def __enter__(self) -> Heartbeat:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_heard(self) -> bool:
        """Whether a manager asked for signs of life."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Says, once, that the start is over. A service of ``Type=notify`` counts as started from here on."""
        if not self._is_ready:
            self._is_ready = True
            self._send("READY=1", *self._changed(status))

    def beat(self, status: str = "") -> None:
        """Says that the loop is alive: at most twice in the time that the watchdog allows, so call it on every round.

        Args:
            status: One line for ``systemctl status``, sent with the next sign of life; empty leaves the last one.
        """
        now_s = self._clock()
        if self._interval_s is None or now_s < self._next_s:
            return
        self._next_s = now_s + self._interval_s
        self._send("WATCHDOG=1", *self._changed(status))

    def stopping(self) -> None:
        """Says that the end is wanted and has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Lets go of the socket. May be called twice."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _changed(self, status: str) -> tuple[str, ...]:
        line = " ".join(status.split())[:_MAX_STATUS_CHARACTERS]
        if not line or line == self._status:
            return ()
        self._status = line
        return (f"STATUS={line}",)

    def _send(self, *assignments: str) -> None:
        if self._socket is None or self._address is None:
            return
        with contextlib.suppress(OSError):  # the manager restarts or is busy: the next one comes soon
            self._socket.sendto("\n".join(assignments).encode("utf-8", errors="replace"), self._address)
