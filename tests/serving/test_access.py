"""Token, host name, origin and rate."""

from __future__ import annotations

import re

import pytest

from edgegender.errors import UsageError
from edgegender.serving.access import (
    AccessRules,
    RateLimiter,
    is_from_elsewhere,
    loopback_rules,
    make_token,
    require_token,
)

RULES = AccessRules("correct-horse")


def test_a_made_token_is_long_and_never_the_same() -> None:
    require_token(make_token())
    assert len({make_token() for _ in range(10)}) == 10
    assert len(make_token()) >= 43


@pytest.mark.parametrize("token", ["", "short", "seven77", "with a blank", "ümlaut-token", "percent%20token"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match="Expected a token of at least 8 letters"):
        require_token(token)


@pytest.mark.parametrize(
    ("places", "is_right"),
    [
        ({"query": "correct-horse"}, True),
        ({"authorization": "Bearer correct-horse"}, True),
        ({"authorization": "bearer correct-horse"}, True),
        ({"cookie": RULES.cookie}, True),
        ({}, False),
        ({"query": "correct-hors"}, False),
        ({"query": "ü"}, False),
        ({"query": "\ud800"}, False),
        ({"authorization": "Basic correct-horse"}, False),
        ({"authorization": "correct-horse"}, False),
        ({"cookie": "correct-horse"}, False),
        ({"query": RULES.cookie}, False),
    ],
)
def test_the_token_counts_in_each_of_its_places_only(places: dict[str, str], is_right: bool) -> None:
    given = {"query": "", "authorization": "", "cookie": "", **places}
    assert RULES.is_token_right(**given) is is_right


def test_without_a_token_nobody_is_asked() -> None:
    assert AccessRules().is_token_right(query="", authorization="", cookie="")


def test_the_cookie_does_not_tell_the_token() -> None:
    assert "correct" not in RULES.cookie
    assert re.fullmatch("[0-9a-f]{64}", RULES.cookie)
    assert RULES.cookie != AccessRules("another-token").cookie


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [("localhost:8080", True), ("LOCALHOST", True), ("127.0.0.1:1", True), ("[::1]:8080", True), ("127.0.0.5:8", True),
     ("evil.example:8080", False), ("localhost.evil.example", False), ("", False), ("[::1", False),
     ("evil@localhost.x", False), ("192.168.1.2:8080", False)],
)  # fmt: skip
def test_on_loopback_the_server_is_called_by_its_own_names_only(host: str, is_allowed: bool) -> None:
    assert loopback_rules("127.0.0.5").is_host_allowed(host) is is_allowed


def test_where_a_token_is_asked_for_any_name_will_do() -> None:
    assert RULES.is_host_allowed("pi.local:8080")


@pytest.mark.parametrize(
    ("headers", "is_elsewhere"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://pi:8080", "host": "pi:8080"}, False),
        ({"origin": "http://PI:8080", "host": "pi:8080"}, False),
        ({"origin": "http://pi:9090", "host": "pi:8080"}, True),
        ({"origin": "null", "host": "pi:8080"}, True),
        ({"origin": "http://[", "host": "pi:8080"}, True),
    ],
)
def test_what_another_page_sends_is_told_from_its_headers(headers: dict[str, str], is_elsewhere: bool) -> None:
    assert is_from_elsewhere(headers) is is_elsewhere


class Clock:
    """Time that a test moves."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_is_followed_by_the_steady_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(rate_per_s=2, burst=3, clock_s=clock)
    assert [limiter.take("10.0.0.1") for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    clock.now_s += 0.5
    assert [limiter.take("10.0.0.1") for _ in range(2)] == [0, 0.5]
    clock.now_s += 1000
    assert [limiter.take("10.0.0.1") > 0 for _ in range(4)] == [False, False, False, True]


def test_each_client_has_a_bucket_of_its_own() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, clock_s=Clock())
    assert limiter.take("10.0.0.1") == 0
    assert limiter.take("10.0.0.2") == 0
    assert limiter.take("10.0.0.1") == 1


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [("2001:db8::1", "2001:db8::ffff", True), ("2001:db8::1", "2001:db8:0:1::1", False),
     ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False), ("unknown", "unknown", True)],
)  # fmt: skip
def test_the_addresses_of_one_ipv6_network_share_a_bucket(first: str, second: str, is_one: bool) -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, clock_s=Clock())
    limiter.take(first)
    assert (limiter.take(second) > 0) is is_one


def test_the_table_of_clients_does_not_grow_for_ever() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, clock_s=Clock())
    for number in range(5000):
        limiter.take(f"client-{number}")
    assert limiter.take("client-4999") > 0
    assert limiter.take("client-0") == 0
