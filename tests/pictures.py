"""Pictures that tests draw, and photo files built byte by byte."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.images import encode_image

ALL_FORMATS = {
    "jpeg": (".jpg", []),
    "progressive jpeg": (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
    "png": (".png", []),
    "lossy webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
    "lossless webp": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    "bmp": (".bmp", []),
}


def gradient(height: int, width: int) -> UInt8Array:
    """Returns a picture whose red grows to the right, green downwards, blue along the diagonal."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    return np.stack([red, green, (red + green) / 2], axis=-1).astype(np.uint8)


def noise(height: int, width: int, seed: int) -> UInt8Array:
    """Returns random pixels: no two seeds give the same file."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def quarters(height: int, width: int) -> UInt8Array:
    """Returns red, green / blue, white quarters: no flip or turn of it looks the same."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (220, 30, 30)
    image[: height // 2, width // 2 :] = (30, 220, 30)
    image[height // 2 :, : width // 2] = (30, 30, 220)
    image[height // 2 :, width // 2 :] = (240, 240, 240)
    return image


def write_photo(file: Path, image_rgb: UInt8Array) -> Path:
    """Writes a .jpg or .png and makes its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_image(image_rgb, suffix=file.suffix))
    return file


def encode_as(name: str, image_rgb: UInt8Array) -> bytes:
    """Returns a picture in one of ``ALL_FORMATS``."""
    suffix, options = ALL_FORMATS[name]
    _, encoded = cv2.imencode(suffix, cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), options)
    return encoded.tobytes()


def exif_segment(orientation: int, thumbnail: bytes = b"") -> bytes:
    """Returns an APP1 segment (EXIF 2.3, 4.6): one directory with the orientation, and a second with a thumbnail."""
    first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 26 if thumbnail else 0)
    second = b""
    if thumbnail:
        second = struct.pack("<HHHII", 2, 0x0201, 4, 1, 56) + struct.pack("<HHIII", 0x0202, 4, 1, len(thumbnail), 0)
    tiff = b"II*\0" + struct.pack("<I", 8) + first + second + thumbnail
    body = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body


def insert_segment(jpeg: bytes, segment: bytes) -> bytes:
    """Returns a JPEG with a segment behind its start marker."""
    return jpeg[:2] + segment + jpeg[2:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Returns a PNG chunk with its checksum (RFC 2083, 3.2)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black_png(height: int, width: int) -> bytes:
    """Returns a whole and valid PNG of black pixels in a file of about a thousandth of its size.

    The rows are one compressed megabyte of zeros, repeated: a full flush lets each copy stand alone.
    """
    raw_bytes = height * (1 + 3 * width)
    block_bytes = 1 << 20
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = compressor.compress(bytes(block_bytes)) + compressor.flush(zlib.Z_FULL_FLUSH)
    count, rest = divmod(raw_bytes, block_bytes)
    last = zlib.compressobj(9, zlib.DEFLATED, -15)
    tail = last.compress(bytes(rest)) + last.flush()
    checksum = (raw_bytes % 65521) << 16 | 1  # Adler-32 of so many zeros
    data = b"\x78\xda" + block * count + tail + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
