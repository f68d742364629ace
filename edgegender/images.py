"""Reading photos that strangers made: size is checked before a pixel is decoded.

OpenCV by itself decodes a 1 MB PNG of 20,000 × 20,000 pixels into 1.2 GB, and returns a half-grey picture for a
truncated JPEG without an error. Both are refused here from the file's own header.
"""

from __future__ import annotations

import stat
import struct
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.errors import ImageError

MAX_PIXELS = 50_000_000  # 150 MB as 8-bit RGB: fits a board with 1 GB
MAX_FILE_BYTES = 100 * 1024 * 1024
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp"})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIZE_MARKERS = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # SOF0..15 less DHT, JPG, DAC (T.81 B.1.1.3)
# TEM, RSTn, SOI: no length field follows. FF 00 is no marker: decoders skip it as garbage, and a size that they
# find behind it must be found here, too.
_JPEG_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})


def _truncated(where: str) -> ImageError:
    return ImageError(
        f"Expected a complete photo, got a truncated file ({where}).",
        kind="truncated",
        hint="Copy or download the photo again.",
    )


def _damaged(where: str) -> ImageError:
    return ImageError(
        f"Expected a photo, got damaged data ({where}).", kind="damaged", hint="Copy or download the photo again."
    )


def _png_size(content: bytes, where: str) -> tuple[int, int]:
    if len(content) < 33:
        raise _truncated(where)
    if content[12:16] != b"IHDR":
        raise _damaged(where)
    width, height = struct.unpack_from(">II", content, 16)
    position = 8
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        if content[position + 4 : position + 8] == b"IEND":
            return width, height
        position += 12 + length
    raise _truncated(where)


def _jpeg_size(content: bytes, where: str) -> tuple[int, int]:
    size: tuple[int, int] | None = None
    position = 2
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            position = content.find(b"\xff", position)  # garbage between segments: every decoder skips it
            if position < 0:
                break
            continue
        marker = content[position + 1]
        if marker in _JPEG_BARE_MARKERS:
            position += 2
            continue
        if marker == 0xFF:
            position += 1
            continue
        (length,) = struct.unpack_from(">H", content, position + 2)
        if marker in _JPEG_SIZE_MARKERS and position + 9 <= len(content):
            height, width = struct.unpack_from(">HH", content, position + 5)
            size = (width, height)
        if marker == 0xDA:
            # The end marker is looked for behind the scan's start: a thumbnail in front has its own.
            if size is None or content.rfind(b"\xff\xd9", position) < 0:
                raise _truncated(where)
            return size
        position += 2 + length
    raise _truncated(where)


def _bmp_size(content: bytes, where: str) -> tuple[int, int]:
    if len(content) < 26:
        raise _truncated(where)
    (header_bytes,) = struct.unpack_from("<I", content, 14)
    if header_bytes == 12:
        width, height = struct.unpack_from("<HH", content, 18)
        return width, height
    width, height = struct.unpack_from("<ii", content, 18)
    return abs(width), abs(height)


def _webp_size(content: bytes, where: str) -> tuple[int, int]:
    if len(content) < 30 or struct.unpack_from("<I", content, 4)[0] + 8 > len(content):
        raise _truncated(where)
    kind = content[12:16]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(content[24:27], "little"),
            1 + int.from_bytes(content[27:30], "little"),
        )
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind != b"VP8 ":
        raise _damaged(where)  # libwebp also takes a bare frame without a chunk, whose size stands elsewhere
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF


def read_size(content: bytes, *, where: str = "bytes") -> tuple[int, int]:
    """Returns (width, height) in pixels from the header of a JPEG, PNG, BMP or WebP file, without decoding it.

    Args:
        content: The whole file.
        where: What to call it in an error.

    Raises:
        ImageError: The format is another one, or the file ends too early.

    Source: ISO/IEC 10918-1 B.1 (JPEG), RFC 2083 (PNG), RFC 9649 (WebP).
    """
    if not content:
        raise ImageError(
            f"Expected a photo, got 0 bytes ({where}).", kind="empty", hint="Delete the file or copy it again."
        )
    try:
        if content[:3] == b"\xff\xd8\xff":
            return _jpeg_size(content, where)
        if content[:8] == _PNG_SIGNATURE:
            return _png_size(content, where)
        if content[:2] == b"BM":
            return _bmp_size(content, where)
        if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
            return _webp_size(content, where)
    except struct.error as error:
        raise _truncated(where) from error
    raise ImageError(
        f"Expected a JPEG, PNG, BMP or WebP photo, got another format ({where}).",
        kind="format",
        hint="Convert the file to JPEG or PNG.",
    )


def decode_image(content: bytes, *, where: str = "bytes", max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Returns the photo as 8-bit RGB, upright: grey, CMYK, RGBA and 16-bit are converted, EXIF rotation is applied.

    Args:
        content: The whole file, JPEG, PNG, BMP or WebP.
        where: What to call it in an error.
        max_pixels: Photos with more pixels are refused before decoding.

    Returns:
        Array of shape (height, width, 3), uint8, RGB, range [0, 255].

    Raises:
        ImageError: The bytes are no photo, are damaged, or hold more than ``max_pixels``.
    """
    width, height = read_size(content, where=where)
    if width < 1 or height < 1:
        raise ImageError(f"Expected at least 1 × 1 pixels, got {width} × {height} ({where}).", kind="damaged")
    if width * height > max_pixels:
        raise ImageError(
            f"Expected at most {max_pixels:,} pixels, got {width:,} × {height:,} ({where}).",
            kind="too_large",
            hint="Make the photo smaller first.",
        )
    try:
        # IMREAD_COLOR: 8 bits, three channels, alpha dropped, EXIF orientation applied
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise _damaged(where) from error
    if decoded is None:
        raise _damaged(where)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def read_bytes(path: Path) -> bytes:
    """Returns the content of a photo file.

    Raises:
        ImageError: The file is missing, unreadable, no plain file, or larger than 100 MiB.
    """
    try:
        status = path.stat()
        is_plain = stat.S_ISREG(status.st_mode)  # reading a named pipe would wait for ever
        content = path.read_bytes() if is_plain and status.st_size <= MAX_FILE_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else None
        raise ImageError(f"Expected a readable file, got {reason or error} ({path}).", kind="missing") from error
    if not is_plain:
        raise ImageError(f"Expected a photo's file, got a folder or a device ({path}).", kind="missing")
    if status.st_size > MAX_FILE_BYTES:
        raise ImageError(
            f"Expected at most {MAX_FILE_BYTES:,} bytes, got {status.st_size:,} ({path}).", kind="too_large"
        )
    return content


def read_image(path: Path, *, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Returns the photo at ``path`` as 8-bit RGB, upright. See :func:`decode_image`.

    Raises:
        ImageError: The file is missing, no photo, damaged, or too large.
    """
    return decode_image(read_bytes(path), where=str(path), max_pixels=max_pixels)


def encode_image(image_rgb: UInt8Array, *, suffix: str = ".jpg", jpeg_quality: int = 95) -> bytes:
    """Returns an RGB picture as the bytes of a ``.jpg`` or ``.png`` file.

    Args:
        image_rgb: Array of shape (height, width, 3), uint8.
        suffix: ``.jpg`` or ``.png``.
        jpeg_quality: 1 to 100.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality] if suffix == ".jpg" else []
    done, encoded = cv2.imencode(suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), options)
    if not done:  # pragma: no cover - OpenCV raises instead for every picture that numpy can hold
        raise ImageError(f"Expected a picture to encode, got {image_rgb.shape}.", kind="damaged")
    return encoded.tobytes()
