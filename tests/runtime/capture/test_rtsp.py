"""A real RTSP server that is killed, restarted, frozen, and comes back with pictures of another size."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegender.images import encode_image
from edgegender.runtime.capture import CaptureOptions
from tests.pictures import quarters
from tests.rtsp_server import INSTALL, RtspServer, is_installed
from tests.runtime.capture.reading import opened, pid_of, read_one, read_until

OPTIONS = CaptureOptions(watchdog_s=1.0, retry_first_s=0.1, retry_max_s=0.3)


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    if not is_installed():
        pytest.skip(f"no RTSP server: {INSTALL}")


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer() as running:
        yield running


def test_a_killed_server_is_a_loss_and_its_return_is_seen_at_once_with_another_size(server: RtspServer) -> None:
    with opened(server.address, OPTIONS) as source:
        assert source.read(10).image_rgb.shape == (240, 320, 3)  # type: ignore[union-attr]
        server.kill()
        read_until(source, lambda: source.state == "lost")
        server.size_wh = (640, 480)
        server.start()
        begin_s = time.monotonic()
        assert read_one(source).image_rgb.shape == (480, 640, 3)
        assert time.monotonic() - begin_s < 5
        counters = source.counters
        assert (source.state, counters.losses, counters.reconnects, counters.stalls) == ("running", 1, 1, 0)


def test_a_frozen_server_is_a_stall(server: RtspServer) -> None:
    with opened(server.address, OPTIONS) as source:
        read_one(source)
        server.freeze()
        read_until(source, lambda: source.state == "lost")
        assert source.counters.stalls == 1
        server.kill()
        server.start()
        read_until(source, lambda: source.state == "running")
        assert source.counters.reconnects == 1


def test_a_server_that_comes_late_is_waited_for(server: RtspServer) -> None:
    server.kill()
    with opened(server.address, OPTIONS) as source:
        read_until(source, lambda: source.state == "lost")
        assert "Connection refused" in source.problem
        server.start()
        read_one(source)
        assert (source.counters.losses, source.counters.reconnects) == (0, 0)


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP])
def test_a_reader_that_dies_or_hangs_is_started_again(sent: signal.Signals, server: RtspServer) -> None:
    with opened(server.address, OPTIONS) as source:
        read_one(source)
        os.kill(pid_of(source), sent)
        read_until(source, lambda: source.counters.reconnects == 1)
        assert source.counters.losses == 1
        assert source.counters.stalls == (sent is signal.SIGSTOP)


def test_colours_are_those_of_the_picture(tmp_path: Path) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(encode_image(quarters(240, 320)))
    with RtspServer(picture=picture) as server, opened(server.address, OPTIONS) as source:
        image = read_one(source).image_rgb
        for row, column in ((60, 80), (60, 240), (180, 80), (180, 240)):
            # JPEG twice, and two colour conversions with their own idea of the range
            assert image[row, column].astype(int) == pytest.approx(quarters(240, 320)[row, column].astype(int), abs=24)
