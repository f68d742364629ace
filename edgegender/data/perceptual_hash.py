"""A hash of what a picture shows: pictures that look the same have hashes that differ in few bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError

HASH_BITS = 256
_HASH_SIDE = 16  # 16 × 16 low frequencies: with 8 × 8, faces of different people are as near as copies of one photo
_HEX_DIGITS = HASH_BITS // 4

HashArray = npt.NDArray[np.uint64]


def require_hashing() -> None:
    """Raises MissingDependencyError when the library that hashes pictures is not installed."""
    try:
        import imagehash  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("ImageHash", extra="data") from error


def hash_picture(image_rgb: UInt8Array) -> str:
    """Returns the perceptual hash of a picture as 64 hexadecimal digits.

    One bit for each of the 256 lowest frequencies of the cosine transform of the grey picture at 64 × 64 pixels: is it
    above their median? The share of bits in which two hashes differ is near 0 for a copy that was resized or encoded
    again, and near 0.5 for pictures that have nothing in common.

    Args:
        image_rgb: Array of shape (height, width, 3), uint8.

    Raises:
        MissingDependencyError: ImageHash is not installed.

    Source: ImageHash, phash with hash_size 16; Zauner 2010, Implementation and benchmarking of perceptual image hash
    functions, 3.2.1.
    """
    require_hashing()
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(image_rgb), hash_size=_HASH_SIDE))


def pack_hashes(hashes: Sequence[str]) -> HashArray:
    """Returns hexadecimal hashes as an array of shape (n, 4), uint64.

    Raises:
        ValueError: One is not 64 hexadecimal digits.
    """
    if any(len(digits) != _HEX_DIGITS for digits in hashes):
        raise ValueError(f"Expected {_HEX_DIGITS} hexadecimal digits.")
    content = bytes.fromhex("".join(hashes))
    if len(content) != len(hashes) * HASH_BITS // 8:  # bytes.fromhex() passes over white space
        raise ValueError(f"Expected {_HEX_DIGITS} hexadecimal digits, got white space.")
    return np.frombuffer(content, np.uint64).reshape(-1, HASH_BITS // 64)
