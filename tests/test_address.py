"""Where a server listens, and who reaches it there."""

from __future__ import annotations

import contextlib
import socket

import pytest

from edgegender.address import format_place, is_loopback, open_socket, parse_address, reachable_host
from edgegender.errors import OutputError, UsageError


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (":8080", ("127.0.0.1", 8080)),
        ("8080", ("127.0.0.1", 8080)),
        (" :0 ", ("127.0.0.1", 0)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),  # noqa: S104 - what a user may ask for
        ("[::]:8080", ("::", 8080)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:80", ("localhost", 80)),
        ("pi.local:8080", ("pi.local", 8080)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, place: tuple[str, int]) -> None:
    assert parse_address(text) == place


def test_a_port_alone_is_for_the_network_where_that_is_the_point() -> None:
    assert parse_address("8081", default_host="0.0.0.0") == ("0.0.0.0", 8081)  # noqa: S104 - nothing is bound here
    assert parse_address("[::1]:8081", default_host="0.0.0.0") == ("::1", 8081)  # noqa: S104


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":65536", ":99999999999", ":-1", ":８０", "::1:8080", "[pi]:80", "[::1:80", "a b:1",
     "http://pi:80", "u@pi:80", "pü:80"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Expected an address such as :8080") as caught:
        parse_address(text)
    assert "0.0.0.0:8080" in caught.value.hint


@pytest.mark.parametrize(
    ("host", "is_own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("LocalHost", True), ("0.0.0.0", False),  # noqa: S104
     ("::", False), ("192.168.1.2", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False)],
)  # fmt: skip
def test_only_loopback_counts_as_this_machine(host: str, is_own: bool) -> None:
    assert is_loopback(host) is is_own


def test_an_ipv6_host_stands_in_brackets() -> None:
    assert (format_place("::1", 80), format_place("pi", 80)) == ("[::1]:80", "pi:80")


def test_others_are_told_an_address_that_they_can_type() -> None:
    assert reachable_host("192.168.7.7") == "192.168.7.7"
    assert reachable_host("pi.local") == "pi.local"
    assert reachable_host("0.0.0.0") not in {"0.0.0.0", ""}  # noqa: S104 - that is the point
    assert reachable_host("::") not in {"::", ""}


def test_a_port_in_use_is_named() -> None:
    with open_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OutputError, match=rf"Expected a free port, got {port} in use \(127.0.0.1:{port}\)"):
            open_socket("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid", "a" * 70 + ".example"])
def test_a_host_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="Expected an address of this machine"):
        open_socket(host, 0)


@pytest.mark.usefixtures("plain_user")
def test_a_port_that_the_user_may_not_open_is_named() -> None:
    with contextlib.suppress(PermissionError), socket.socket() as probe:
        probe.bind(("127.0.0.1", 81))
        pytest.skip("this system lets everybody open low ports")
    with pytest.raises(OutputError, match="Expected a port that this user may open, got 81"):
        open_socket("127.0.0.1", 81)


def test_all_addresses_of_ipv6_are_reached_by_ipv4_too() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with open_socket("::", 0) as listener:
        socket.create_connection(("127.0.0.1", listener.getsockname()[1]), timeout=5).close()
