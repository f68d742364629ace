"""One file over HTTP: servers that drop, stall, babble, redirect, or send another part, size or file."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edgegender.downloads import MAX_ATTEMPTS, pull
from edgegender.errors import DownloadError, UsageError
from tests.file_server import Answer, cut, part, redirect, send, serving, status, whole
from tests.pulls import CONTENT, MODEL, fetch, only


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of this machine would not find the test's server."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "tiny.onnx"


@pytest.fixture
def partial(target: Path) -> Path:
    return target.with_name("tiny.onnx.part")


# Interrupted


def test_a_partial_file_is_completed(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:123_456])
    with serving(part(CONTENT)) as server:
        fetch(target, server.address)
    assert only(target)
    assert server.ranges == ["bytes=123456-"]


def test_a_server_without_ranges_starts_anew(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 123_456)
    with serving(whole(CONTENT)) as server:
        fetch(target, server.address)
    assert only(target)


def test_a_dropped_connection_goes_on_where_it_ended(target: Path) -> None:
    with serving(cut(CONTENT, 100_000), cut(CONTENT, 50_000), part(CONTENT)) as server:
        assert fetch(target, server.address) == [1, 2]
    assert only(target)
    assert server.ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_a_server_that_always_drops_is_given_up_and_what_arrived_is_kept(target: Path, partial: Path) -> None:
    pauses: list[float] = []
    with serving(cut(CONTENT, 10_000)) as server:
        with pytest.raises(
            DownloadError, match=r"Expected 300,000 bytes, got 50,000 in 5 attempts \(.*/file\)"
        ) as caught:
            fetch(target, server.address, sleep=pauses.append)
        assert len(server.ranges) == MAX_ATTEMPTS
    assert pauses == [1, 2, 4, 8]
    assert caught.value.hint == "Run it again: it goes on from there."
    assert partial.read_bytes() == CONTENT[:50_000]
    assert not target.exists()
    with serving(part(CONTENT)) as server:
        fetch(target, server.address)
    assert server.ranges == ["bytes=50000-"]


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Closes the connection without a word."""
    handler.connection.shutdown(socket.SHUT_RDWR)


def babble(handler: BaseHTTPRequestHandler) -> None:
    """Speaks something else than HTTP."""
    handler.wfile.write(b"\x16\x03\x01 hello\r\n\r\n")


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Sends a part, then resets the connection (RST instead of FIN)."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    send(handler, CONTENT[:1000], length=len(CONTENT))
    handler.connection.close()


@pytest.mark.parametrize("failure", [hang_up, babble, reset, *map(status, (429, 500, 502, 503, 504))])
def test_a_passing_fault_of_the_server_is_tried_again(target: Path, failure: Answer) -> None:
    with serving(failure, part(CONTENT)) as server:
        assert fetch(target, server.address) == [1]
    assert only(target)


def test_a_server_that_falls_silent_is_tried_again(target: Path) -> None:
    is_over = threading.Event()

    def stall(handler: BaseHTTPRequestHandler) -> None:
        send(handler, CONTENT[:70_000], length=len(CONTENT))
        is_over.wait(20)

    with serving(stall, part(CONTENT)) as server:
        begin = time.monotonic()
        assert fetch(target, server.address, timeout_s=0.5) == [1]
        assert time.monotonic() - begin < 10  # far from the 20 s that the server would be silent for
        is_over.set()
    assert only(target)


def test_ctrl_c_keeps_what_has_arrived(target: Path, partial: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with serving(part(CONTENT)) as server:
        with pytest.raises(KeyboardInterrupt):
            fetch(target, server.address, on_progress=interrupt)
        kept = partial.read_bytes()
        assert CONTENT.startswith(kept)
        assert len(kept) > 150_000
        fetch(target, server.address)
    assert server.ranges[1] == f"bytes={len(kept)}-"
    assert only(target)


def another_part(handler: BaseHTTPRequestHandler) -> None:
    send(handler, CONTENT[:10], status=206, Content_Range="bytes 0-9/300000")


@pytest.mark.parametrize("failure", [another_part, status(416)])
def test_a_server_that_answers_a_range_wrongly_is_asked_for_the_whole(
    target: Path, partial: Path, failure: Answer
) -> None:
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:5000])
    with serving(failure, part(CONTENT)) as server:
        fetch(target, server.address)
    assert server.ranges == ["bytes=5000-", ""]
    assert only(target)


def test_a_partial_file_that_is_too_long_starts_anew(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(CONTENT + b"more")
    with serving(part(CONTENT)) as server:
        fetch(target, server.address)
    assert server.ranges == [""]
    assert only(target)


def test_a_partial_file_that_is_whole_needs_no_server(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(CONTENT)
    fetch(target, "http://127.0.0.1:9/closed")
    assert only(target)


# Wrong files


def test_other_bytes_are_refused_and_removed(target: Path) -> None:
    other = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with serving(part(other)) as server:
        with pytest.raises(
            DownloadError, match=rf"Expected sha256 {MODEL.sha256[:12]}…, got .*\(http.*/file\)"
        ) as caught:
            fetch(target, server.address)
        assert len(server.ranges) == 1
    assert "--url" in caught.value.hint
    assert list(target.parent.iterdir()) == []


def test_a_partial_file_of_other_bytes_is_refused_and_removed(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 1000)
    with serving(part(CONTENT)) as server:
        with pytest.raises(DownloadError, match="Expected sha256"):
            fetch(target, server.address)
        assert list(target.parent.iterdir()) == []
        fetch(target, server.address)
    assert only(target)


@pytest.mark.parametrize("size", [10, 299_999, 300_001, 5_000_000])
def test_a_file_of_another_size_is_refused_before_it_arrives(target: Path, size: int) -> None:
    with serving(whole(bytes(size))) as server:
        with pytest.raises(DownloadError, match=rf"Expected 300,000 bytes, got {size:,} \(") as caught:
            fetch(target, server.address)
        assert len(server.ranges) == 1
    assert caught.value.hint.startswith("The server has another file.")
    assert list(target.parent.iterdir()) == []


def test_a_rest_that_would_make_the_file_too_long_is_refused(target: Path, partial: Path) -> None:
    partial.parent.mkdir()
    partial.write_bytes(CONTENT[:100])
    with serving(part(CONTENT + b"more")) as server, pytest.raises(DownloadError, match=r"bytes, got 300,004 \("):
        fetch(target, server.address)


def test_never_more_bytes_are_kept_than_the_file_has(target: Path) -> None:
    sizes: list[int] = []

    def watch(done: int, total: int) -> None:
        del total
        sizes.append(done)

    def endless(handler: BaseHTTPRequestHandler) -> None:
        send(handler, CONTENT * 100, length=-1)

    with serving(endless) as server, pytest.raises(DownloadError, match=r"Expected 300,000 bytes, got more \("):
        fetch(target, server.address, on_progress=watch)
    assert max(sizes) <= 300_000
    assert list(target.parent.iterdir()) == []


def test_a_file_without_a_stated_length_may_be_the_right_one(target: Path) -> None:
    with serving(lambda handler: send(handler, CONTENT, length=-1)) as server:
        fetch(target, server.address)
    assert only(target)


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_of_the_server_is_final(target: Path, code: int) -> None:
    with serving(status(code)) as server:
        with pytest.raises(DownloadError, match=f"Expected a file, got HTTP status {code} ") as caught:
            fetch(target, server.address)
        assert len(server.ranges) == 1
    assert caught.value.hint == "Name another server with --url."
    assert list(target.parent.iterdir()) == []


# Addresses


@pytest.mark.parametrize(
    "url",
    [
        "",
        "tiny.onnx",
        "file:///etc/passwd",
        "ftp://example.org/tiny.onnx",
        "https://",
        "https://a b/",
        "https://a/\n",
        "https://[::1/",
        "http://a:port/",
        "https://exämple.org/",
    ],
)
def test_an_address_that_is_none_is_refused(target: Path, url: str) -> None:
    with pytest.raises(UsageError, match=r"Expected an address such as https://example\.org/file, got "):
        pull(MODEL, folder=target.parent, url=url)
    assert not target.parent.exists()


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/x", "file:///etc/passwd", "gopher://127.0.0.1/"])
def test_a_redirect_to_something_else_is_refused(target: Path, address: str) -> None:
    with (
        serving(redirect(address)) as server,
        pytest.raises(DownloadError, match=r"Expected (a redirect to https|a file), got "),
    ):
        fetch(target, server.address)
    assert list(target.parent.iterdir()) == []


def test_a_redirect_in_a_circle_ends(target: Path) -> None:
    with serving(part(CONTENT)) as server:
        server.answers = [redirect(server.address)]
        with pytest.raises(DownloadError, match="Expected a file, got HTTP status 302"):
            fetch(target, server.address)


def test_a_machine_that_does_not_answer_is_said_at_once(target: Path) -> None:
    with serving(part(CONTENT)) as server:
        closed = server.address
    pauses: list[float] = []
    with pytest.raises(DownloadError, match=r"Expected an answer from 127\.0\.0\.1, got: .*refused") as caught:
        fetch(target, closed, sleep=pauses.append)
    assert pauses == []
    assert caught.value.hint.startswith("Look at the connection")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = (
        f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {folder}/key.pem -out {folder}/certificate.pem -days 2 "
        "-subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> Iterator[ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def test_a_certificate_that_nobody_signed_is_refused(target: Path, tls: ssl.SSLContext) -> None:
    with serving(part(CONTENT), tls=tls) as server, pytest.raises(DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(target, server.address)
    assert server.ranges == []


def test_https_is_never_left_for_http(
    target: Path, tls: ssl.SSLContext, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with serving(part(CONTENT)) as plain, serving(redirect(plain.address), part(CONTENT), tls=tls) as server:
        with pytest.raises(DownloadError, match=r"Expected a redirect to https, got http://127"):
            fetch(target, server.address)
        assert plain.ranges == []
        fetch(target, server.address)  # the same server, without the redirect
    assert only(target)
