"""Processes meet before JAX takes over: whoever is missing or wrong is named, on both sides, within the time limit."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable

import pytest

from edgegender.errors import EdgeGenderError, TrainingError, UsageError
from edgegender.training import rendezvous
from edgegender.training.rendezvous import meet, split_address
from tests.training.processes import free_port


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


def meet_together(*calls: Callable[[], None]) -> list[EdgeGenderError | None]:
    """Returns what each of the calls raised, all of them running at once."""
    raised: list[EdgeGenderError | None] = [None] * len(calls)

    def call(position: int) -> None:
        try:
            calls[position]()
        except EdgeGenderError as error:
            raised[position] = error

    threads = [threading.Thread(target=call, args=(position,)) for position in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    return raised


def member(address: str, index: int, count: int, *, timeout_s: float = 10.0) -> Callable[[], None]:
    return lambda: meet(address, num_processes=count, process_index=index, timeout_s=timeout_s)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_go_on_when_all_are_there(address: str, order: tuple[int, ...]) -> None:
    assert meet_together(*(member(address, index, 3) for index in order)) == [None, None, None]


def test_one_process_meets_nobody(address: str) -> None:
    meet(address, num_processes=1, process_index=0, timeout_s=0.1)


def test_the_port_is_free_again_afterwards(address: str) -> None:
    for _ in range(2):
        assert meet_together(member(address, 0, 2), member(address, 1, 2)) == [None, None]


def test_who_is_missing_is_named_to_all(address: str) -> None:
    raised = meet_together(member(address, 0, 4, timeout_s=1), member(address, 2, 4, timeout_s=1))
    for error in raised:
        assert isinstance(error, TrainingError)
        assert str(error) == "Expected 4 processes within 1 s, got none with the index 1, 3."


def test_a_coordinator_that_does_not_answer_ends_in_time(address: str) -> None:
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"Expected process 0 at 127\.0\.0\.1:\d+ within 1 s, got: Connection refu"):
        meet(address, num_processes=2, process_index=1, timeout_s=1)
    assert time.monotonic() - started < 5


def test_a_host_without_an_address_is_told() -> None:
    with pytest.raises(TrainingError, match=r"Expected process 0 at no-such-host\.invalid:29500 within 1 s, got: "):
        meet("no-such-host.invalid:29500", num_processes=2, process_index=1, timeout_s=1)


def test_a_server_of_another_kind_is_told(address: str) -> None:
    port = split_address(address)[1]
    with socket.create_server(("127.0.0.1", port)) as server:

        def answer_as_a_web_server() -> None:
            server.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while True:
                    connection = server.accept()[0]
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        thread = threading.Thread(target=answer_as_a_web_server)
        thread.start()
        with pytest.raises(TrainingError, match="got: an answer that is not edgegender's"):
            meet(address, num_processes=2, process_index=1, timeout_s=1)
        thread.join()


def test_a_port_scanner_does_not_count(address: str) -> None:
    def scan() -> None:
        while True:
            try:
                with socket.create_connection(split_address(address)) as connection:
                    connection.sendall(b"GET / HTTP/1.0\r\n\r\n" + b"x" * 5000)
                    return
            except OSError:
                time.sleep(0.05)

    def late_member() -> None:
        scan()
        member(address, 1, 2)()

    assert meet_together(member(address, 0, 2), late_member) == [None, None]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ((1, 3), (1, 3), "Expected each process index once, got 1 twice."),
        ((1, 2), (2, 3), "Expected 3 processes, as process 0 does, got 2 (process 1)."),
    ],
)
def test_contradicting_processes_are_told(
    address: str, first: tuple[int, int], second: tuple[int, int], message: str
) -> None:
    raised = meet_together(member(address, 0, 3), member(address, *first), member(address, *second, timeout_s=2))
    assert isinstance(raised[0], UsageError)
    assert str(raised[0]) == message
    assert any(isinstance(error, UsageError) and str(error) == message for error in raised[1:])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "0.0.1"}, r"Expected edgegender \S+ in all processes, got 0\.0\.1 \(process 1\)\."),
        ({"index": 7}, r"Expected process indices from 0 to 1, got 7\."),
        ({"index": "one"}, r"Expected process indices from 0 to 1, got one\."),
    ],
)
def test_a_wrong_greeting_is_told(address: str, changed: dict[str, object], message: str) -> None:
    hello = {"index": 1, "count": 2, "version": rendezvous.__version__, **changed}

    def greet() -> None:
        while True:
            try:
                with socket.create_connection(split_address(address)) as connection:
                    connection.sendall(json.dumps(hello).encode() + b"\n")
                    connection.recv(1000)
                    return
            except OSError:
                time.sleep(0.05)

    thread = threading.Thread(target=greet)
    thread.start()
    with pytest.raises(UsageError, match=message):
        meet(address, num_processes=2, process_index=0, timeout_s=10)
    thread.join()


def test_a_taken_port_is_told(address: str) -> None:
    with (
        socket.create_server(("127.0.0.1", split_address(address)[1])),
        pytest.raises(UsageError, match=r"Expected a free port for the coordinator, got .*in use"),
    ):
        meet(address, num_processes=2, process_index=0, timeout_s=1)


@pytest.mark.parametrize("address", ["gpu1", "gpu1:", ":80", "gpu1:0", "gpu1:65536", "gpu1:http", ""])
def test_an_address_has_a_host_and_a_port(address: str) -> None:
    with pytest.raises(UsageError, match="Expected a coordinator HOST:PORT, got"):
        split_address(address)


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_is_below_the_number_of_processes(address: str, index: int) -> None:
    with pytest.raises(UsageError, match=f"Expected a process index from 0 to 1, got {index}"):
        meet(address, num_processes=2, process_index=index, timeout_s=1)
