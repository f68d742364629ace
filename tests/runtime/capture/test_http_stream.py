"""Streams over HTTP: they end, change their size, fall silent, and send garbage."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from edgegender.runtime.capture import CaptureOptions
from tests.file_server import send, serving, status
from tests.runtime.capture.reading import (
    QUICK,
    flat,
    jpeg,
    level_of,
    mjpeg_stream,
    opened,
    pid_of,
    read_one,
    read_until,
)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of this machine would not find the test's server."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def is_over() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def pictures(num: int, *, size_wh: tuple[int, int] = (64, 48)) -> list[bytes]:
    return [jpeg(flat(10 * (number % 25), size_wh=size_wh)) for number in range(num)]


def test_a_stream_gives_its_newest_frame(is_over: threading.Event) -> None:
    with serving(mjpeg_stream(pictures(100), is_over=is_over)) as server, opened(server.address) as source:
        assert source.is_live
        read_one(source)
        time.sleep(0.3)  # a slow detector
        frame = read_one(source)
        assert frame.index > 5
        assert (time.monotonic_ns() - frame.captured_ns) / 1e9 < 0.2  # frames are 0.02 s apart
        assert level_of(frame) == pytest.approx(10 * (frame.index % 25), abs=6)
        counters = source.counters
        assert counters.frames + counters.drops == frame.index + 1
        is_over.set()


def test_a_stream_that_changes_its_size_goes_on(is_over: threading.Event) -> None:
    sizes = [(64, 48), (320, 240), (128, 96), (640, 480)]
    stream = [picture for size_wh in sizes for picture in pictures(10, size_wh=size_wh)]
    with serving(mjpeg_stream(stream, is_over=is_over)) as server, opened(server.address) as source:
        index = -1
        while index < 35:
            frame = read_one(source)
            index = frame.index
            assert frame.image_rgb.shape == (48, 64, 3)  # OpenCV scales to the size of the first picture
            assert level_of(frame) == pytest.approx(10 * (index % 10), abs=6)
        assert source.counters.losses == 0
        is_over.set()


def test_a_stream_that_ends_is_lost_and_opened_again(is_over: threading.Event) -> None:
    with (
        serving(
            mjpeg_stream(pictures(10), is_over=is_over, then_s=0),
            status(503),
            mjpeg_stream(pictures(500), is_over=is_over),
        ) as server,
        opened(server.address, QUICK) as source,
    ):
        last_index = read_one(source).index
        read_until(source, lambda: source.state == "lost")
        assert source.problem.startswith("Expected a stream, got none: ")
        read_until(source, lambda: source.state == "running")
        assert source.problem == ""
        assert read_one(source).index > last_index
        assert (source.counters.losses, source.counters.reconnects, source.counters.stalls) == (1, 1, 0)
        is_over.set()


def test_a_stream_that_falls_silent_is_a_stall(is_over: threading.Event) -> None:
    with (
        serving(mjpeg_stream(pictures(10), is_over=is_over), mjpeg_stream(pictures(500), is_over=is_over)) as server,
        opened(server.address, QUICK) as source,
    ):
        read_one(source)
        pid = pid_of(source)
        read_until(source, lambda: source.state == "lost")
        assert source.problem == f"Expected a stream, got none: no frame for 0.6 s ({server.address})."
        read_until(source, lambda: source.state == "running")
        assert pid_of(source) != pid
        assert (source.counters.stalls, source.counters.losses, source.counters.reconnects) == (1, 1, 1)
        is_over.set()


def garbage(handler: BaseHTTPRequestHandler) -> None:
    send(handler, random.Random(0).randbytes(200_000))


def test_garbage_is_no_frame_and_is_tried_again(is_over: threading.Event) -> None:
    with (
        serving(garbage, garbage, mjpeg_stream(pictures(500), is_over=is_over)) as server,
        opened(server.address, QUICK) as source,
    ):
        read_until(source, lambda: source.state == "lost")
        assert source.problem.startswith("Expected a stream, got none: ")
        assert source.counters.losses == 0  # it was never there
        read_until(source, lambda: source.state == "running")
        is_over.set()


def test_damaged_pictures_within_a_stream_do_not_end_it(is_over: threading.Event) -> None:
    stream = [*pictures(20), random.Random(1).randbytes(500), b"", pictures(1)[0][:300], *pictures(200)]
    with serving(mjpeg_stream(stream, is_over=is_over)) as server, opened(server.address) as source:
        read_until(source, lambda: source.counters.frames > 50)
        assert source.counters.losses == 0
        is_over.set()


def test_a_stream_that_is_not_there_finishes_where_it_is_not_waited_for() -> None:
    with opened("http://me:secret@127.0.0.1:9/x", CaptureOptions(keep_trying=False)) as source:
        read_until(source, lambda: source.state == "finished")
        assert "Connection refused" in source.problem
        assert source.problem.endswith("(http://me:***@127.0.0.1:9/x).")
        assert "secret" not in source.problem
        assert source.counters.losses == 0


def test_a_server_that_says_nothing_is_given_up_in_time(is_over: threading.Event) -> None:
    def silence(_: BaseHTTPRequestHandler) -> None:
        is_over.wait(20)

    options = CaptureOptions(open_timeout_s=0.7, keep_trying=False)
    with serving(silence) as server, opened(server.address, options) as source:
        read_until(source, lambda: source.state == "finished")
        assert source.problem == f"Expected a stream, got none: no frame for 0.7 s ({server.address})."
        assert source.counters.stalls == 0
        is_over.set()


def test_a_stream_that_was_there_is_waited_for_in_any_case(is_over: threading.Event) -> None:
    options = CaptureOptions(keep_trying=False, retry_first_s=0.05, retry_max_s=0.1)
    with (
        serving(mjpeg_stream(pictures(10), is_over=is_over, then_s=0), status(404)) as server,
        opened(server.address, options) as source,
    ):
        read_one(source)
        read_until(source, lambda: source.state == "lost" and len(server.ranges) > 2)
        assert source.counters.losses == 1
