"""Addresses of brokers are taken apart, and their passwords shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.errors import UsageError
from edgegender.outputs.broker import BrokerAddress, check_prefix, parse_address, to_identifier


@pytest.mark.parametrize(
    ("address", "parts", "shown"),
    [
        ("mqtt://pi", ("pi", 1883, False, "", ""), "mqtt://pi:1883"),
        ("mqtts://pi/", ("pi", 8883, True, "", ""), "mqtts://pi:8883"),
        ("mqtt://me:pass%40word@10.0.0.2:99", ("10.0.0.2", 99, False, "me", "pass@word"), "mqtt://me@10.0.0.2:99"),
        ("mqtt://me@[::1]", ("::1", 1883, False, "me", ""), "mqtt://me@[::1]:1883"),
    ],
)
def test_an_address_has_its_parts(address: str, parts: tuple[str, int, bool, str, str], shown: str) -> None:
    broker = parse_address(address)
    assert broker == BrokerAddress(*parts)
    assert str(broker) == shown
    assert repr(broker) == f"BrokerAddress({shown})"


@pytest.mark.parametrize(
    "address",
    ["", "pi", "pi:1883", "http://pi", "mqtt://", "mqtt://pi/topic", "mqtt://pi?a=b", "mqtt://pi#a", "mqtt:pi"],
)
def test_another_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="Expected an address of a broker, got '") as caught:
        parse_address(address)
    assert "mqtt://user:password@host:1883" in caught.value.hint


@pytest.mark.parametrize(
    "address", ["mqtt://pi:99999", "mqtt://pi:x", "mqtt://[::1", f"mqtt://{'a' * 64}.org", "mqtt://a..b"]
)
def test_an_address_that_cannot_be_read_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="Expected an address of a broker, got one that cannot be read"):
        parse_address(address)


@pytest.mark.parametrize(
    "address", ["http://me:secret@pi", "me:secret@pi", "mqtt://me:secret@pi/x", "mqtt://:secret@pi"]
)
def test_an_error_does_not_show_the_password(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(address)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_password_may_come_from_the_first_line_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("sésame \nmore\n")
    assert parse_address("mqtt://me@pi", password_file=file) == BrokerAddress("pi", 1883, False, "me", "sésame ")


def test_a_password_needs_a_user() -> None:
    with pytest.raises(UsageError, match="Expected a user name with the password, got none"):
        parse_address("mqtt://:word@pi")


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected one password, got one in the address and one in "):
        parse_address("mqtt://me:word@pi", password_file=tmp_path / "password")


@pytest.mark.parametrize(("content", "problem"), [(b"", "none"), (b"\n", "none"), (b"\xff\xfe", "no text")])
def test_a_file_without_a_password_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "password"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=rf"Expected a .*password.*, got {problem}"):
        parse_address("mqtt://me@pi", password_file=file)


def test_a_password_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a file with a password, got No such file"):
        parse_address("mqtt://me@pi", password_file=tmp_path / "none")


@pytest.mark.parametrize(
    ("prefix", "checked"), [("edgegender", "edgegender"), ("home/front door/", "home/front door"), ("büro", "büro")]
)
def test_a_prefix_loses_the_slash_at_its_end(prefix: str, checked: str) -> None:
    assert check_prefix(prefix) == checked


@pytest.mark.parametrize("prefix", ["", "/", "/a", "a/+", "a/#", "$SYS", "a\nb", "a" * 201, "\udc80"])
def test_a_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="Expected a prefix of topics such as edgegender/door, got "):
        check_prefix(prefix)


@pytest.mark.parametrize(("text", "name"), [("a/b c", "a_b_c"), ("é", "camera"), ("Door2", "Door2")])
def test_an_identifier_has_letters_and_digits_only(text: str, name: str) -> None:
    assert to_identifier(text) == name
