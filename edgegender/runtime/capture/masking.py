"""Passwords out of addresses, and out of what libraries say about them."""

from __future__ import annotations

import re
from urllib.parse import unquote

_HIDDEN = "***"
# user:password@ in front of a host. A password with / or @ inside is none by the book, but it must not be shown either:
# all up to the last @ before a query is taken for it.
_CREDENTIALS = re.compile(r"(?<=://)([^/\s:@?]*)(?::([^\s?]*))?@")
_SECRET_IN_QUERY = re.compile(r"([?&;][^=&\s]*(?:pass|pwd|token|key|secret|auth|sig)[^=&\s]*=)([^&\s]+)", re.IGNORECASE)


def _hide_credentials(found: re.Match[str]) -> str:
    # a name without a password may be a token
    return f"{found[1]}:{_HIDDEN}@" if found[2] is not None else f"{_HIDDEN}@"


def masked_address(address: str) -> str:
    """Returns an address that may be shown.

    Example:
        >>> masked_address("rtsp://admin:secret@192.0.2.7/live?token=abc")
        'rtsp://admin:***@192.0.2.7/live?token=***'
    """
    return _SECRET_IN_QUERY.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(_hide_credentials, address))


def _secrets(address: str) -> set[str]:
    found = {match[2] or match[1] for match in _CREDENTIALS.finditer(address)}
    found |= {match[2] for match in _SECRET_IN_QUERY.finditer(address)}
    return {secret for text in found if text for secret in (text, unquote(text))}


def mask(text: str, address: str) -> str:
    """Returns a text without the secrets of an address, in whatever form it repeats them.

    Args:
        text: What a library said.
        address: What it spoke about.
    """
    shown = masked_address(text.replace(address, masked_address(address)))
    for secret in sorted(_secrets(address), key=len, reverse=True):
        # Within a word it is a coincidence: the password "a" would blot out the whole text.
        shown = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, shown)
    return shown
