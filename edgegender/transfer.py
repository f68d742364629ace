"""One file over HTTP into a partial file beside its target, in as many pieces as it takes."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from edgegender.errors import DownloadError, OutputError, UsageError

if TYPE_CHECKING:
    from http.client import HTTPMessage, HTTPResponse
    from urllib.request import OpenerDirector, Request

_BLOCK_BYTES = 1 << 16
_HASH_BLOCK_BYTES = 1 << 20
_SCHEMES = ("https", "http")
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416
_BUSY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})  # worth another attempt
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")  # RFC 9110, 14.4


class DroppedError(Exception):
    """The connection ended early, or the server is busy: another attempt may go on from where this one ended."""


def require_address(address: str) -> None:
    """Makes sure that an address can be opened in here.

    Raises:
        UsageError: It is no http or https address.
    """
    try:
        parts = urlsplit(address)
        is_plain = address.isascii() and address.isprintable() and " " not in address
        is_sound = is_plain and parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 host that cannot be
        is_sound = False
    if not is_sound:
        raise UsageError(f"Expected an address such as https://example.org/file, got {address!r}.")


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Expected to write {path}, got {error.strerror or error}.",
        hint="Choose a folder that you may write to and that has room.",
    )


@contextlib.contextmanager
def locked_part(path: Path) -> Iterator[FileIO]:
    """Opens the partial file for appending; nobody else has it open in here until the block ends.

    A partial file that is empty then is removed.
    """
    while True:
        try:
            stream = FileIO(path, "a+")
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            raise _cannot_write(path, error) from error
        if _is_at(stream, path):
            break
        stream.close()  # who had the lock before has renamed or removed the file
    with stream:
        try:
            yield stream
        finally:
            if _is_at(stream, path) and not os.fstat(stream.fileno()).st_size:
                path.unlink()


def _is_at(stream: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _build_opener() -> OpenerDirector:
    """Returns what opens addresses: certificates are checked, and https is never left for anything else."""
    from urllib.request import HTTPRedirectHandler, build_opener

    class Redirects(HTTPRedirectHandler):
        def redirect_request(  # noqa: PLR0917 - the base class's signature
            self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
        ) -> Request | None:
            scheme = urlsplit(newurl).scheme
            if scheme not in _SCHEMES or (urlsplit(req.full_url).scheme == "https" and scheme != "https"):
                fp.close()
                raise DownloadError(
                    f"Expected a redirect to https, got {newurl} ({req.full_url}).",
                    hint="Name another server with --url.",
                )
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(Redirects)


class Transfer:
    """The bytes of one file on their way into a partial file.

    Args:
        address: Where they come from, http or https.
        stream: The partial file, opened by :func:`locked_part`. What lies in it is not asked for again.
        size_bytes: Size of the whole file; not a byte more is kept.
        on_progress: Called with (bytes that have arrived, bytes in all).
        timeout_s: Longest wait for the next byte.
    """

    def __init__(
        self,
        address: str,
        stream: FileIO,
        size_bytes: int,
        *,
        on_progress: Callable[[int, int], None],
        timeout_s: float,
    ) -> None:
        self.address = address
        self.size_bytes = size_bytes
        self._stream = stream
        self._on_progress = on_progress
        self._timeout_s = timeout_s

    @property
    def num_arrived(self) -> int:
        """Bytes that lie in the partial file."""
        return os.fstat(self._stream.fileno()).st_size

    def receive(self) -> None:
        """Fetches what is missing, in one attempt.

        Raises:
            DroppedError: Another attempt may go on.
            DownloadError: None will help.
        """
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError

        if self.num_arrived > self.size_bytes:
            self._stream.truncate(0)
        if self.num_arrived == self.size_bytes:
            return
        try:
            with self._open() as response:
                self._append(response)
        except HTTPError as error:
            error.close()
            raise self._explain_status(error.code, error.reason) from error
        except (HTTPException, ConnectionResetError, BrokenPipeError, TimeoutError) as error:
            raise DroppedError(str(error) or type(error).__name__) from error
        except URLError as error:
            if isinstance(error.reason, (TimeoutError, ConnectionResetError)):
                raise DroppedError(str(error.reason)) from error
            raise self._unreachable(error.reason) from error
        except OSError as error:  # TLS that ends early, a network that goes down
            raise DroppedError(error.strerror or str(error)) from error
        if self.num_arrived < self.size_bytes:
            raise DroppedError("the connection ended early")

    def _open(self) -> HTTPResponse:
        from urllib.request import Request

        headers = {"User-Agent": "edgegender"}
        if self.num_arrived:
            headers["Range"] = f"bytes={self.num_arrived}-"
        request = Request(self.address, headers=headers)  # noqa: S310 - the scheme was checked
        response: HTTPResponse = _build_opener().open(request, timeout=self._timeout_s)
        return response

    def _append(self, response: HTTPResponse) -> None:
        start = self.num_arrived if response.status == _PARTIAL_CONTENT else 0
        if start:
            found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if found is None or int(found[1]) != start:
                self._stream.truncate(0)
                raise DroppedError("another part than the one that was asked for")
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and start + int(length) != self.size_bytes:
            raise self._other_size(f"{start + int(length):,}")
        self._stream.truncate(start)
        while block := response.read(_BLOCK_BYTES):
            if self.num_arrived + len(block) > self.size_bytes:
                self._stream.truncate(0)
                raise self._other_size("more")
            self._write(block)
            self._on_progress(self.num_arrived, self.size_bytes)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            raise _cannot_write(Path(str(self._stream.name)), error) from error

    def check(self, sha256: str) -> None:
        """Removes the content and raises when it is another file than the one that is known.

        Raises:
            DownloadError: The sha256 is another.
        """
        digest = hashlib.sha256()
        self._stream.seek(0)
        while block := self._stream.read(_HASH_BLOCK_BYTES):
            digest.update(block)
        if digest.hexdigest() != sha256:
            self._stream.truncate(0)
            raise DownloadError(
                f"Expected sha256 {sha256[:12]}…, got {digest.hexdigest()[:12]}… ({self.address}).",
                hint="What arrived was removed. Run it again, or name another server with --url.",
            )

    def _explain_status(self, code: int, reason: object) -> DroppedError | DownloadError:
        if code == _RANGE_NOT_SATISFIABLE:
            self._stream.truncate(0)
            return DroppedError("the server has less than what is here")
        if code in _BUSY_STATUS:
            return DroppedError(f"HTTP status {code}")
        return DownloadError(
            f"Expected a file, got HTTP status {code} {reason} ({self.address}).",
            hint="Name another server with --url.",
        )

    def _other_size(self, found: str) -> DownloadError:
        return DownloadError(
            f"Expected {self.size_bytes:,} bytes, got {found} ({self.address}).",
            hint="The server has another file. Name another server with --url.",
        )

    def _unreachable(self, reason: object) -> DownloadError:
        return DownloadError(
            f"Expected an answer from {urlsplit(self.address).hostname}, got: {reason}.",
            hint="Look at the connection, or copy the file from another machine.",
        )
