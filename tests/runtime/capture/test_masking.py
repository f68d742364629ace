"""No secret of an address is shown."""

from __future__ import annotations

import pytest

from edgegender.runtime.capture.masking import mask, masked_address


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://192.0.2.7:554/live", "rtsp://192.0.2.7:554/live"),
        ("rtsp://admin:secret@192.0.2.7:554/live", "rtsp://admin:***@192.0.2.7:554/live"),
        ("rtsp://admin:@192.0.2.7/", "rtsp://admin:***@192.0.2.7/"),
        ("rtsp://admin:p@ss/w:rd@192.0.2.7/", "rtsp://admin:***@192.0.2.7/"),
        ("rtsp://sometoken@192.0.2.7/", "rtsp://***@192.0.2.7/"),
        ("http://[2001:db8::1]:80/a", "http://[2001:db8::1]:80/a"),
        ("http://h/cam?user=me&password=abc&x=1", "http://h/cam?user=me&password=***&x=1"),
        ("http://h/cam?Access_Token=abc", "http://h/cam?Access_Token=***"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert masked_address(address) == shown


def test_what_a_library_says_is_shown_without_the_secrets() -> None:
    address = "rtsp://admin:p%40ss@h/live?token=abc"
    said = f"cannot open {address} as p%40ss or p@ss is wrong, so is abc, abcd is not"
    assert mask(said, address) == (
        "cannot open rtsp://admin:***@h/live?token=*** as *** or *** is wrong, so is ***, abcd is not"
    )
