"""uvicorn as it is used here: quiet, without signals, and with an end for clients that only hold a connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

MAX_CONNECTIONS = 64
_HEAD_TIMEOUT_S = 10.0  # a request's head must have come by then
_STUCK_TIMEOUT_S = 15.0  # a client that reads nothing for so long is gone
_LOOK_INTERVAL_S = 1.0


class GuardedProtocol(H11Protocol):
    """A connection that is cut when its client neither asks nor reads (slowloris, a phone out of reach)."""

    _looking: asyncio.TimerHandle | None = None
    _idle_since_s = 0.0
    _stuck_since_s = 0.0
    _unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to look after a new connection; one too many is cut at once."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._idle_since_s = self._stuck_since_s = time.monotonic()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends looking after it."""
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """From now on the next request's head is waited for."""
        self._idle_since_s = time.monotonic()
        super().on_response_complete()

    def _look(self) -> None:
        now_s = time.monotonic()
        is_answering = self.cycle is not None and not self.cycle.response_complete
        unsent_bytes = self.transport.get_write_buffer_size()
        if is_answering:
            self._idle_since_s = now_s
        if unsent_bytes == 0 or unsent_bytes != self._unsent_bytes:
            self._stuck_since_s = now_s
        self._unsent_bytes = unsent_bytes
        if now_s - self._idle_since_s > _HEAD_TIMEOUT_S or now_s - self._stuck_since_s > _STUCK_TIMEOUT_S:
            self.transport.abort()
            return
        self._looking = self.loop.call_later(_LOOK_INTERVAL_S, self._look)


class _Server(uvicorn.Server):
    """Tells when it is up.

    Args:
        config: uvicorn's own.
        on_up: Called in the server's thread.
    """

    def __init__(self, config: uvicorn.Config, *, on_up: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_up = on_up

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to answer."""
        await super().startup(sockets)
        self._on_up()


def create_server(app: ASGIApp, *, on_up: Callable[[], None]) -> uvicorn.Server:
    """Returns a server for one thread.

    Args:
        app: What answers.
        on_up: Called in the server's thread when it begins to answer.
    """
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    return _Server(config, on_up=on_up)
