"""A real HTTP server on this machine that serves one file, well or badly, as each test asks for."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class FileServer:
    """What the server does, and what it was asked.

    Args:
        address: Where the file is.
        answers: How to answer each request; the last of them stays.
        ranges: The Range header of each request, empty without one.
    """

    address: str = ""
    answers: list[Answer] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)


def send(
    handler: BaseHTTPRequestHandler, body: bytes, *, status: int = 200, length: int | None = None, **headers: str
) -> None:
    """Sends headers and a body; ``length`` is what Content-Length says, -1 leaves it out."""
    handler.send_response(status)
    if length != -1:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(content: bytes) -> Answer:
    """Ignores Range."""
    return lambda handler: send(handler, content)


def part(content: bytes) -> Answer:
    """Honours Range (RFC 9110, 14)."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if match is None:
            send(handler, content)
            return
        start = int(match[1])
        if start >= len(content):
            send(handler, b"", status=416)
            return
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        send(handler, content[start:], status=206, Content_Range=where)

    return answer


def cut(content: bytes, num_bytes: int) -> Answer:
    """Honours Range, and closes the connection after so many bytes of what was asked for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        where = f"bytes {start}-{len(content) - 1}/{len(content)}"
        left = content[start:]
        send(handler, left[:num_bytes], status=206 if match else 200, length=len(left), Content_Range=where)

    return answer


def status(code: int) -> Answer:
    """Answers with an error."""
    return lambda handler: send(handler, b"sorry", status=code)


def redirect(address: str) -> Answer:
    """Sends to another address."""
    return lambda handler: send(handler, b"", status=302, Location=address)


@contextmanager
def serving(*answers: Answer, tls: SSLContext | None = None) -> Iterator[FileServer]:
    """Runs a server until the block ends."""
    served = FileServer(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.ranges.append(self.headers.get("Range", ""))
            answer = served.answers[0] if len(served.answers) == 1 else served.answers.pop(0)
            answer(self)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that hangs up is part of the tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        served.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/file"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()
