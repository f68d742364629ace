"""Signs of life: what arrives at a real datagram socket, how often, and that nothing ever waits or fails."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegender.errors import UsageError
from edgegender.runtime.heartbeat import Heartbeat


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Manager:
    """A datagram socket, as systemd's."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def messages(self) -> list[str]:
        """Returns what has arrived: local datagrams arrive before sendto returns."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify") if request.param == "path" else f"@edgegender-{tmp_path.name}")
    yield made
    made.close()


def test_start_life_and_end_are_told(manager: Manager) -> None:
    with Heartbeat(manager.address, watchdog_us=30_000_000) as heartbeat:
        assert heartbeat.is_heard
        heartbeat.ready("opening the camera")
        heartbeat.beat("14 frames a second")
        heartbeat.stopping()
    assert manager.messages() == [
        "READY=1\nSTATUS=opening the camera",
        "WATCHDOG=1\nSTATUS=14 frames a second",
        "STOPPING=1",
    ]


def test_it_is_ready_once(manager: Manager) -> None:
    with Heartbeat(manager.address) as heartbeat:
        heartbeat.ready()
        heartbeat.ready()
    assert manager.messages() == ["READY=1"]


def test_a_beat_on_every_frame_sends_two_in_the_time_allowed(manager: Manager) -> None:
    clock = Clock()
    with Heartbeat(manager.address, watchdog_us=30_000_000, clock=clock) as heartbeat:
        for _ in range(1800):  # a minute of 30 frames a second
            heartbeat.beat()
            clock.now_s += 1 / 30
    assert manager.messages() == ["WATCHDOG=1"] * 4


def test_a_loop_that_hangs_falls_silent(manager: Manager) -> None:
    clock = Clock()
    with Heartbeat(manager.address, watchdog_us=2_000_000, clock=clock) as heartbeat:
        heartbeat.beat()
        clock.now_s += 60
        assert manager.messages() == ["WATCHDOG=1"]
        heartbeat.beat()
        assert manager.messages() == ["WATCHDOG=1"]


def test_without_a_watchdog_there_are_no_beats(manager: Manager) -> None:
    with Heartbeat(manager.address) as heartbeat:
        heartbeat.beat("running")
    assert manager.messages() == []


def test_a_status_is_sent_when_it_changes_and_stays_one_line(manager: Manager) -> None:
    clock = Clock()
    with Heartbeat(manager.address, watchdog_us=2_000_000, clock=clock) as heartbeat:
        for status in ("lost: no such device\nREADY=1", "lost: no such device READY=1", "back – läuft", "x" * 999):
            heartbeat.beat(status)
            clock.now_s += 1
    assert manager.messages() == [
        "WATCHDOG=1\nSTATUS=lost: no such device READY=1",
        "WATCHDOG=1",
        "WATCHDOG=1\nSTATUS=back – läuft",
        f"WATCHDOG=1\nSTATUS={'x' * 200}",
    ]


@pytest.mark.parametrize("address", [None, ""])
def test_where_nobody_listens_nothing_happens(address: str | None) -> None:
    heartbeat = Heartbeat(address, watchdog_us=1)
    assert not heartbeat.is_heard
    heartbeat.ready("on")
    heartbeat.beat("on")
    heartbeat.stopping()
    heartbeat.close()
    heartbeat.close()


def test_a_manager_that_is_away_is_borne_and_heard_again(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with Heartbeat(address) as heartbeat:
        heartbeat.stopping()
        manager = Manager(address)
        heartbeat.stopping()
        assert manager.messages() == ["STOPPING=1"]
        manager.close()
        heartbeat.stopping()


def test_a_manager_that_does_not_read_holds_nothing_up(manager: Manager) -> None:
    with Heartbeat(manager.address) as heartbeat:
        for _ in range(10_000):  # far more than a socket's queue holds
            heartbeat.stopping()
    assert 0 < len(manager.messages()) < 10_000


@pytest.mark.parametrize("address", ["notify", "/", "@", "vsock:2:1234"])
def test_an_address_that_is_no_local_socket_is_refused(address: str) -> None:
    with pytest.raises(
        UsageError, match=r"Expected a socket such as /run/systemd/notify or @name, got .*NOTIFY_SOCKET"
    ):
        Heartbeat(address)
