"""A server beside the camera's loop, or alone: it starts and stops on its own, whoever is connected."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from edgegender.address import format_place, is_loopback, open_socket, parse_address, reachable_host
from edgegender.errors import MissingDependencyError, OutputError
from edgegender.runtime.frames import FrameSource
from edgegender.serving.access import AccessRules, loopback_rules, make_token, require_token
from edgegender.serving.hub import PreviewHub

if TYPE_CHECKING:
    import uvicorn

    from edgegender.runtime.model_file import ModelFile
    from edgegender.runtime.photos import PhotoPredictor
    from edgegender.serving.app import PreviewApp, ServingLimits

_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 2.0
_GRACE_S = 0.5  # for answers that are nearly done; then connections are cut
_PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}


def require_packages() -> None:
    """Makes sure that all is installed that serving needs.

    Raises:
        MissingDependencyError: The extra ``serve`` is not.
    """
    for module, package in _PACKAGES.items():
        try:
            import_module(module)
        except ImportError as error:
            raise MissingDependencyError(package, extra="serve") from error


@dataclass(frozen=True)
class PhotoModel:
    """What answers photos that are sent.

    Args:
        file: The model, for those who ask what it is.
        create_predictor: Makes what answers, at the first photo and in a thread of its own: an interpreter serves one
            thread, so that of a camera must not be shared.
    """

    file: ModelFile
    create_predictor: Callable[[], PhotoPredictor]


class PreviewServer:
    """Serves in a thread of its own; it takes no signals and writes no log.

    Args:
        app: What is served.
        host: Where to listen.
        port: 0 takes a free one.

    Raises:
        UsageError: ``host`` is not of this machine.
        OutputError: The port is in use, or may not be opened.
    """

    def __init__(self, app: PreviewApp, *, host: str, port: int) -> None:
        self._app = app
        self._host = host
        self._listener: socket.socket = open_socket(host, port)
        self.port: int = self._listener.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._is_up = threading.Event()
        self._ends: queue.SimpleQueue[str] = queue.SimpleQueue()  # put() may be called by a signal's handler

    @property
    def url(self) -> str:
        """The address of the page, with the token where one is needed: not for a log that others read."""
        token = self._app.rules.token
        place = format_place(reachable_host(self._host), self.port)
        return f"http://{place}/{f'?token={token}' if token else ''}"

    def start(self) -> None:
        """Begins to serve, and returns when it does.

        Raises:
            OutputError: It does not begin.
        """
        self._thread = threading.Thread(target=self._run, name="preview-server", daemon=True)
        self._thread.start()
        if not self._is_up.wait(_START_TIMEOUT_S) or not self._thread.is_alive():
            self.stop()
            raise OutputError(
                f"Expected the server to start within {_START_TIMEOUT_S:g} s, got none ({self._host}:{self.port}).",
                hint="Try again without --preview, and look at what this machine is busy with.",
            )

    def stop(self) -> None:
        """Ends all answers and connections, in at most two seconds. May be called twice, and before the start."""
        if self._loop is not None and self._thread is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._begin_end)
            self._thread.join(_STOP_TIMEOUT_S)
        self._listener.close()
        if self._app.hub is not None:
            self._app.hub.close()
        if self._app.photos is not None:
            self._app.photos.close()

    def request_stop(self) -> None:
        """Lets :meth:`run_forever` return soon; may be called from a signal's handler."""
        self._ends.put("asked")

    def run_forever(self) -> None:
        """Serves until :meth:`request_stop`.

        Raises:
            OutputError: The server ended by itself.
        """
        self.start()
        try:
            reason = self._ends.get()
        finally:
            self.stop()
        if reason != "asked":
            raise OutputError(
                f"Expected the server to go on until it is stopped, got an end ({reason}).", hint="Start it again."
            )

    def _run(self) -> None:
        reason = "it stopped"
        try:
            asyncio.run(self._serve())
        except (OSError, RuntimeError, SystemExit) as error:  # SystemExit: uvicorn's way to give up
            reason = f"{type(error).__name__}: {error}"
        self._is_up.set()
        self._ends.put(reason)

    async def _serve(self) -> None:
        from edgegender.serving.connection import create_server

        self._loop = asyncio.get_running_loop()
        self._server = create_server(self._app.create(), on_up=self._is_up.set)
        await self._server.serve(sockets=[self._listener])
        self._cut_connections()

    def _begin_end(self) -> None:
        """Runs in the server's own thread."""
        self._app.closing.set()
        if self._server is not None and self._loop is not None:
            self._server.should_exit = True
            self._loop.call_later(_GRACE_S, self._cut_connections)

    def _cut_connections(self) -> None:
        if self._server is not None:
            for connection in list(self._server.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()


def create_preview_server(
    address: str,
    *,
    hub: PreviewHub | None = None,
    photos: PhotoModel | None = None,
    token: str = "",
    limits: ServingLimits | None = None,
) -> PreviewServer:
    """Returns a server that listens but does not answer yet.

    Args:
        address: See :func:`edgegender.address.parse_address`.
        hub: The camera; ``None`` where only photos are answered.
        photos: Answers photos; ``None`` where only the camera is shown.
        token: What a client must know; where it is empty and others than this machine reach the server, one is made.
        limits: How much a client may ask for; ``None`` takes the usual.

    Raises:
        UsageError: The address or the token is none.
        OutputError: The port is in use, or may not be opened.
        MissingDependencyError: The extra ``serve`` is not installed.
    """
    host, port = parse_address(address)
    if token:
        require_token(token)
    require_packages()
    from edgegender.serving.app import PreviewApp, ServingLimits
    from edgegender.serving.predictions import PhotoDesk

    is_private = is_loopback(host)
    rules = loopback_rules(host, token=token) if is_private else AccessRules(token or make_token())
    desk = PhotoDesk(photos.file, photos.create_predictor) if photos is not None else None
    app = PreviewApp(hub=hub, photos=desk, rules=rules, limits=limits or ServingLimits())
    return PreviewServer(app, host=host, port=port)


def start_preview(
    address: str,
    *,
    source: FrameSource | None = None,
    photos: PhotoModel | None = None,
    token: str = "",
    is_aggregate_only: bool = False,
    jpeg_quality: int = 80,
    max_width_px: int | None = 1280,
) -> tuple[PreviewHub, PreviewServer]:
    """Starts a server beside a camera's loop.

    Args:
        address: See :func:`edgegender.address.parse_address`.
        source: Where the camera's frames come from; its state and counters are shown.
        photos: Answers photos that are sent; ``None`` where none may be.
        token: See :func:`create_preview_server`.
        is_aggregate_only: Whether only counts may be shown, and never a picture.
        jpeg_quality: 1 to 100.
        max_width_px: Wider pictures are made smaller; ``None`` keeps them.

    Returns:
        The output for the camera, and the running server: print its ``url`` once, and ``stop`` it at the end.

    Raises:
        UsageError: The address or the token is none.
        OutputError: The port is in use, or may not be opened.
        MissingDependencyError: The extra ``serve`` is not installed.
    """
    hub = PreviewHub(
        source=source, is_aggregate_only=is_aggregate_only, jpeg_quality=jpeg_quality, max_width_px=max_width_px
    )
    server = create_preview_server(address, hub=hub, photos=photos, token=token)
    server.start()
    return hub, server
