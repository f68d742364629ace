"""A photo out of a form: what is read is what was sent, byte for byte."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.serving.answers import RefusedRequestError
from edgegender.serving.uploads import find_file

TYPE = "multipart/form-data; boundary=xyz"


def form(*parts: tuple[str, bytes]) -> bytes:
    """Returns a form of parts (disposition, content)."""
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
        for disposition, content in parts
    )
    return body + b"--xyz--\r\n"


@given(st.binary(max_size=300).filter(lambda content: b"--xyz" not in content))
def test_the_field_comes_out_as_it_went_in(content: bytes) -> None:
    assert find_file(form(('name="file"; filename="a.jpg"', content)), TYPE) == content


@pytest.mark.parametrize(
    "disposition",
    ['name="file"', "name=file", 'filename="name=x.jpg"; name="file"', 'NAME="file"; filename="a;b.jpg"'],
)
def test_the_field_is_found_however_it_is_written(disposition: str) -> None:
    assert find_file(form(("name=other", b"1"), (disposition, b"photo")), TYPE) == b"photo"


def test_a_quoted_boundary_is_understood() -> None:
    assert find_file(form(('name="file"', b"photo")), 'multipart/form-data; charset=utf-8; boundary="xyz"') == b"photo"


def test_what_stands_around_the_parts_is_ignored() -> None:
    body = b"preamble\r\n" + form(('name="file"', b"photo")) + b"epilogue"
    assert find_file(body, TYPE) == b"photo"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(('name="photo"', b"1")), TYPE),
        (form(('filename="file"', b"1")), TYPE),
        (form(('name="file"', b"1")), "multipart/form-data"),
        (form(('name="file"', b"1")), "multipart/form-data; boundary=" + "x" * 71),
        (b"", TYPE),
        (b"--xyz", TYPE),
        (b'--xyz\r\nContent-Disposition: form-data; name="file"\r\n\r\ncut', TYPE),
        (form(*[("name=other", b"")] * 100, ('name="file"', b"1")), TYPE),
    ],
)
def test_a_body_without_the_field_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(RefusedRequestError, match="Expected a form with a photo in the field 'file'") as caught:
        find_file(body, content_type)
    assert caught.value.status == 400


@given(st.binary(max_size=200), st.text(max_size=80))
def test_no_body_makes_anything_but_a_file_or_a_refusal(body: bytes, boundary: str) -> None:
    with contextlib.suppress(RefusedRequestError):
        assert find_file(body, f"multipart/form-data; boundary={boundary}") in body
