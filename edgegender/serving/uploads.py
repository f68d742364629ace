"""A photo out of a request: counted while it comes, never larger in memory than allowed, never on the disk."""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request

from edgegender.serving.answers import RefusedRequestError

PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "application/octet-stream")
FORM_TYPE = "multipart/form-data"
FORM_FIELD = "file"
UPLOAD_TIMEOUT_S = 20.0
_FORM_OVERHEAD_BYTES = 8192  # boundaries and headers around the photo
_MAX_PARTS = 16
_HINT_TYPE = "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' …, or curl -F file=@photo.jpg …"
# RFC 2046, 5.1.1: at most 70 characters, quoted or not
_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_FIELD_NAME = re.compile(rb'[;\s]name="?([^";\r\n]*)"?', re.IGNORECASE)


def _too_large(max_bytes: int) -> RefusedRequestError:
    return RefusedRequestError(
        413,
        f"Expected at most {max_bytes:,} bytes, got more.",
        hint="Make the photo smaller first, or raise --max-upload-mb.",
    )


async def read_photo(request: Request, *, max_bytes: int, timeout_s: float = UPLOAD_TIMEOUT_S) -> bytes:
    """Returns the photo's file from the body of a request, or from the field ``file`` of a form.

    Args:
        request: Its body was not read yet.
        max_bytes: Larger photos are refused, at the latest when one byte more has come.
        timeout_s: The whole body must have come by then, seconds.

    Raises:
        RefusedRequestError: It is too large (413), of another type (415), too slow (408), or not there (400).
    """
    header = request.headers.get("content-type", "")
    media_type = header.partition(";")[0].strip().lower()
    if media_type not in {*PHOTO_TYPES, FORM_TYPE}:
        raise RefusedRequestError(
            415, f"Expected a photo as {', '.join(PHOTO_TYPES)} or {FORM_TYPE}, got another type.", hint=_HINT_TYPE
        )
    is_form = media_type == FORM_TYPE
    max_body_bytes = max_bytes + (_FORM_OVERHEAD_BYTES if is_form else 0)
    try:
        body = await asyncio.wait_for(_read_body(request, max_body_bytes, max_bytes), timeout_s)
    except asyncio.TimeoutError as error:
        raise RefusedRequestError(
            408,
            f"Expected the whole photo within {timeout_s:g} s, got a part.",
            hint="Send it again, or a smaller one.",
        ) from error
    photo = find_file(body, header) if is_form else body
    if not photo:
        raise RefusedRequestError(400, "Expected a photo, got 0 bytes.", hint=_HINT_TYPE)
    if len(photo) > max_bytes:
        raise _too_large(max_bytes)
    return photo


async def _read_body(request: Request, max_body_bytes: int, max_bytes: int) -> bytes:
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:18]) > max_body_bytes:
        raise _too_large(max_bytes)
    blocks, num_bytes = [], 0
    async for block in request.stream():
        num_bytes += len(block)
        if num_bytes > max_body_bytes:
            raise _too_large(max_bytes)
        blocks.append(block)
    return b"".join(blocks)


def find_file(body: bytes, content_type: str) -> bytes:
    """Returns the field ``file`` of a form.

    Args:
        body: The whole form.
        content_type: The header that tells the boundary.

    Raises:
        RefusedRequestError: There is no such field, or the body is no form.

    Source: RFC 7578 (multipart/form-data), RFC 2046, 5.1.1.
    """
    found = _BOUNDARY.search(content_type)
    if found is not None:
        delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
        # the text in front of the first boundary and behind the last one is nobody's
        for part in (b"\r\n" + body).split(delimiter, _MAX_PARTS)[1:-1]:
            head, blank, content = part.partition(b"\r\n\r\n")
            name = _FIELD_NAME.search(head)
            if blank and name is not None and name[1] == FORM_FIELD.encode():
                return content
    raise RefusedRequestError(
        400, f"Expected a form with a photo in the field {FORM_FIELD!r}, got none.", hint="curl -F file=@photo.jpg …"
    )
