"""Serves the benchmark's page, LiteRT.js, models and inputs, and takes reports. Everything stands below a token."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from edgegender.address import format_place, open_socket, reachable_host
from edgegender.benchmark.browser_desk import Desk
from edgegender.benchmark.browser_litertjs import SERVED, LiteRtJs
from edgegender.errors import EdgeGenderError, UsageError

PAGE_FOLDER = Path(__file__).with_name("browser_page")
MAX_BODY_BYTES = 4 * 1024 * 1024
_MAX_CONNECTIONS = 32
_IDLE_SECONDS = 60.0
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
}
_IMPORT_MAP = re.compile(r'<script type="importmap">(.*?)</script>', re.DOTALL)
_INPUTS = re.compile(r"api/models/(\d{1,4})(?:/(samples|speed|golden)/(\d{1,9})/(\d{1,4}))?")
_DEVICE = re.compile(r"api/devices/([A-Za-z0-9_-]{12})/(next|report)")
JSON_TYPE = "application/json"


@lru_cache(maxsize=1)
def _page_files() -> Mapping[str, tuple[str, bytes]]:
    """Returns (type, content) of the page's files by their path; the page itself has the empty path."""
    found = {
        path.name: (_TYPES[path.suffix], path.read_bytes())
        for path in PAGE_FOLDER.iterdir()
        if path.suffix in _TYPES and path.is_file()
    }
    return {**found, "": found["page.html"]}


@lru_cache(maxsize=1)
def _headers() -> Mapping[str, str]:
    """Returns what every answer carries: isolation gives the page threads and a fine clock."""
    (script,) = _IMPORT_MAP.findall(_page_files()[""][1].decode())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'sha256-{digest}'; "
        "style-src 'self'; connect-src 'self'; img-src data:; worker-src 'self' blob:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgegender", ""
    timeout = _IDLE_SECONDS

    @property
    def _owner(self) -> _Server:
        return cast("_Server", self.server)

    def log_message(self, *_: object) -> None:
        """Says nothing: addresses and user agents are kept nowhere."""

    def _send(self, status: int, kind: str, content: bytes, *, cache: str = "no-store") -> None:
        self.send_response(status)
        for name, value in {**_headers(), "Content-Type": kind, "Cache-Control": cache}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        if status >= 400:
            self.send_header("Connection", "close")  # its body may not have been read
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", text.encode())

    def _path(self) -> str | None:
        """Returns the path below the token, ``None`` for a wrong one."""
        token, slash, rest = self.path.partition("?")[0].removeprefix("/").partition("/")
        is_right = secrets.compare_digest(token.encode(), self._owner.token.encode())
        return rest if is_right and slash else None

    def do_GET(self) -> None:
        """Sends a file, a model, or inputs."""
        path = self._path()
        if path is None:
            self._refuse(404, "Expected the address that edgegender printed, got another.\n")
            return
        self._owner.desk.touch()
        found = self._find(path)
        if found is None:
            self._refuse(404, "Expected a file of this page, got another.\n")
            return
        kind, content = found
        is_kept = path.startswith("litert/")  # a reload must not fetch megabytes again
        self._send(200, kind, content, cache="private, max-age=3600" if is_kept else "no-store")

    def _find(self, path: str) -> tuple[str, bytes] | None:
        page, owner = _page_files(), self._owner
        if path in page:
            return page[path]
        library = path.removeprefix("litert/")
        if path.startswith("litert/") and library in SERVED:
            return _TYPES[Path(library).suffix], owner.read_library(library)
        inputs = _INPUTS.fullmatch(path)
        models = owner.desk.plan.models
        if inputs is None or int(inputs[1]) >= len(models):
            return None
        model = models[int(inputs[1])]
        content: bytes | None = model.classifier.file.content
        if inputs[2] is not None:
            content = model.read_inputs(inputs[2], int(inputs[3]), int(inputs[4]))
        return None if content is None else ("application/octet-stream", content)

    def _read_json(self) -> Mapping[str, object]:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and int(length[:9]) <= MAX_BODY_BYTES):
            raise UsageError(f"Expected a body of up to {MAX_BODY_BYTES} bytes, got another length.")
        try:
            document = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise UsageError("Expected JSON, got something else.") from error
        if not isinstance(document, dict):
            raise UsageError("Expected a JSON object, got another value.")
        return document

    def do_POST(self) -> None:
        """Registers a device, gives it a step, or takes its report."""
        path = self._path()
        device = _DEVICE.fullmatch(path or "")
        if path is None or (device is None and path != "api/devices"):
            self._refuse(404, "Expected the address that edgegender printed, got another.\n")
            return
        desk = self._owner.desk
        desk.touch()
        try:
            request = self._read_json()
            if device is None:
                answer: Mapping[str, object] = desk.register(request)
            elif device[2] == "next":
                answer = desk.next_step(device[1])
            else:
                answer = desk.take(device[1], request)
        except UsageError as error:
            self._refuse(400, f"{error}\n")
            return
        except EdgeGenderError as error:  # a result could not be kept: nothing that the device can mend
            self._refuse(500, "The computer cannot go on.\n")
            desk.fail(error)
            return
        self._send(200, JSON_TYPE, json.dumps(answer, allow_nan=False).encode())
        if device is not None and answer.get("step", ...) is None:
            desk.finish(device[1])


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # closing waits for them, after their connections are ended

    def __init__(self, listener: socket.socket, desk: Desk, litertjs: LiteRtJs, tls: ssl.SSLContext | None) -> None:
        self.desk = desk
        self.token = secrets.token_urlsafe(12)
        self._library = lru_cache(maxsize=len(SERVED))(litertjs.read)
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener

    def read_library(self, name: str) -> bytes:
        """Returns a file of LiteRT.js."""
        return self._library(name)

    def get_request(self) -> tuple[socket.socket, object]:
        """Takes a connection; what TLS has to say is said in its own thread."""
        connection, place = super().get_request()
        connection.settimeout(_IDLE_SECONDS)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, place

    def verify_request(self, request: object, client_address: object) -> bool:
        """Takes no more connections than there is room for."""
        del client_address
        with self._guard:
            if len(self._open) >= _MAX_CONNECTIONS:
                return False
            self._open.add(cast("socket.socket", request))
        return True

    def shutdown_request(self, request: object) -> None:
        """Ends a connection."""
        with self._guard:
            self._open.discard(cast("socket.socket", request))
        super().shutdown_request(request)  # type: ignore[arg-type] # always a socket here

    def end_connections(self) -> None:
        """Ends what browsers keep open."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def handle_error(self, request: object, client_address: object) -> None:
        """Lets a client hang up or fail at TLS; anything else is a fault of this program and ends the wait."""
        del request, client_address
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):
            self.desk.fail(error)


class PageServer:
    """The server, from its start until it is closed.

    Args:
        desk: Where devices report.
        litertjs: The runtime's files.
        host: Where to listen.
        port: 0 takes a free one.
        make_tls: For https.

    Raises:
        UsageError: ``host`` is not of this machine.
        OutputError: The port is in use, or may not be opened.
    """

    def __init__(
        self, desk: Desk, litertjs: LiteRtJs, *, host: str, port: int, make_tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        tls = None if make_tls is None else make_tls()
        listener = open_socket(host, port)
        place = format_place(reachable_host(host), listener.getsockname()[1])
        self._server = _Server(listener, desk, litertjs, tls)
        self.url = f"{'http' if tls is None else 'https'}://{place}/{self._server.token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1})

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.end_connections()
        self._server.server_close()
