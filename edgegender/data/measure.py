"""What one photo's file holds: size, hashes, and whether it can be read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from edgegender import images
from edgegender.data.perceptual_hash import hash_picture
from edgegender.errors import ImageError
from edgegender.native_log import held_back_stderr

_CORRUPT = "Corrupt JPEG data"  # OpenCV returns a picture with grey or shifted parts; libjpeg says so on stderr only


class Measured(NamedTuple):
    """What a photo's file holds.

    Args:
        size_bytes: Of the file; -1 where there is none.
        mtime_ns: Time of its last change, nanoseconds since 1970; -1 where there is none.
        width: Pixels, from the header; 0 when the photo cannot be read.
        height: Pixels.
        sha256: Of the file's bytes; empty when the photo cannot be read.
        phash: Perceptual hash; empty when nobody asked for it.
        problem: Kind of the ImageError, empty when there was none.
    """

    size_bytes: int
    mtime_ns: int
    width: int
    height: int
    sha256: str
    phash: str
    problem: str


def stamp_file(file: str) -> tuple[int, int]:
    """Returns the size in bytes and the time of the last change in nanoseconds, (-1, -1) where there is no file."""
    try:
        status = os.stat(file)  # noqa: PTH116 - a million of them: making a Path takes longer than the call
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def measure_photo(file: str, *, is_decoded: bool, with_phash: bool) -> Measured:
    """Returns what a photo's file holds. One photo is in memory at a time.

    Args:
        file: The path.
        is_decoded: Decode the photo, which finds damage within it; without it only the header and the end are looked
            at. Of JPEG files with some overwritten bytes in the middle, about three of four are found; the others
            decode without a complaint.
        with_phash: Hash what the photo shows; the photo is then decoded, too.
    """
    stamp = stamp_file(file)
    phash = ""
    try:
        content = images.read_bytes(Path(file))
        width, height = images.read_size(content, where=file)
        if is_decoded or with_phash:
            with held_back_stderr() as warnings:
                image = images.decode_image(content, where=file)
            if _CORRUPT in warnings.getvalue():
                return Measured(*stamp, 0, 0, "", "", "damaged")
            phash = hash_picture(image) if with_phash else ""
    except ImageError as error:
        return Measured(*stamp, 0, 0, "", "", error.kind)
    return Measured(*stamp, width, height, hashlib.sha256(content).hexdigest(), phash, "")
