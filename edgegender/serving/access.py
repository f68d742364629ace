"""Who may ask: token, host name, origin and rate."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgegender.errors import UsageError

_MIN_TOKEN_CHARACTERS = 8
_MAX_CLIENTS = 1024
_IPV6_NETWORK_BITS = 64  # one household or phone has so many addresses to itself
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_OWN_SITES = ("same-origin", "none")  # none: typed or bookmarked


def make_token() -> str:
    """Returns a token that nobody guesses, 32 random bytes."""
    return secrets.token_urlsafe()


def require_token(token: str) -> None:
    """Makes sure that a token can stand in an address and is not guessed at once.

    Raises:
        UsageError: It is shorter than 8 characters, or has others than letters, digits, ``-``, ``_``, ``.``, ``~``.
    """
    is_plain = token.isascii() and token.translate(str.maketrans("", "", "-_.~")).isalnum()
    if len(token) < _MIN_TOKEN_CHARACTERS or not is_plain:
        raise UsageError(
            f"Expected a token of at least {_MIN_TOKEN_CHARACTERS} letters, digits, -, _, . or ~, "
            f"got {len(token)} characters.",
            hint="Leave --token out: a good one is made.",
        )


@dataclass(frozen=True)
class AccessRules:
    """What a request must bring along.

    Args:
        token: Empty where none is asked for.
        hosts: Host names that a request may call the server by, lower case; empty where any is allowed. A server on
            loopback without it could be read by any web page whose name is pointed at 127.0.0.1 (DNS rebinding).
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()

    @property
    def cookie(self) -> str:
        """What a browser that brought the token once sends from then on; it does not tell the token."""
        return hashlib.sha256(f"edgegender cookie {self.token}".encode()).hexdigest()

    def is_host_allowed(self, host_header: str) -> bool:
        """Returns whether the server may be called by the name in a ``Host`` header."""
        if not self.hosts:
            return True
        try:
            return (urlsplit(f"//{host_header}").hostname or "") in self.hosts
        except ValueError:  # an IPv6 host that cannot be
            return False

    def is_token_right(self, *, query: str, authorization: str, cookie: str) -> bool:
        """Returns whether one of the three places holds the token; a comparison takes equally long for each guess.

        Args:
            query: Value of ``?token=``.
            authorization: The ``Authorization`` header.
            cookie: Value of the cookie.
        """
        if not self.token:
            return True
        scheme, _, bearer = authorization.partition(" ")
        guesses = ((query, self.token), (bearer if scheme.lower() == "bearer" else "", self.token))
        return any([_is_equal(guess, truth) for guess, truth in (*guesses, (cookie, self.cookie))])  # noqa: C419 - all three


def loopback_rules(host: str, *, token: str = "") -> AccessRules:
    """Returns the rules of a server that only this machine reaches."""
    return AccessRules(token, frozenset({*_LOOPBACK_HOSTS, host.lower()}))


def _is_equal(guess: str, truth: str) -> bool:
    return secrets.compare_digest(guess.encode("utf-8", "replace"), truth.encode())


def is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Returns whether a web page of another origin made a browser send a request. Other programs send neither header.

    Args:
        headers: By name, looked up in lower case.

    Source: W3C Fetch Metadata Request Headers; RFC 6454, 7 (Origin).
    """
    if headers.get("sec-fetch-site", "none") not in _OWN_SITES:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit_netloc(origin) != headers.get("host", "").lower()


def urlsplit_netloc(origin: str) -> str:
    """Returns host and port of an origin, lower case; empty for ``null`` and what cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


class RateLimiter:
    """A bucket of requests for each client address: it fills at a steady rate and holds some for a burst.

    Args:
        rate_per_s: Requests a second that go on for ever.
        burst: Requests that a full bucket holds.
        clock_s: Seconds that only grow.
    """

    def __init__(self, *, rate_per_s: float, burst: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock_s = clock_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # client → (requests left, when)

    def take(self, client: str) -> float:
        """Takes a request out of a client's bucket.

        Returns:
            Seconds until there is one again; 0 where there was one.
        """
        key = _network(client)
        now_s = self._clock_s()
        left, then_s = self._buckets.pop(key, (float(self._burst), now_s))
        left = min(float(self._burst), left + (now_s - then_s) * self._rate_per_s)
        is_allowed = left >= 1
        self._buckets[key] = (left - 1 if is_allowed else left, now_s)
        if len(self._buckets) > _MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if is_allowed else (1 - left) / self._rate_per_s


def _network(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
    return client
