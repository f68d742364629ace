"""The golden inputs: 64 pictures of a network's size, the same bytes on every machine, to compare answers with.

They are cut from one packaged sheet of drawn faces and enlarged by whole numbers, each pixel repeated: no arithmetic
that a machine or a version of a library could round in another way.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from edgegender.benchmark.engine import Engine
from edgegender.benchmark.records import ParityRecord
from edgegender.entities import UInt8Array
from edgegender.errors import DataError, UsageError
from edgegender.images import read_image

NUM_GOLDEN = 64
TILE_PX = 48
TILES_A_ROW = 8
MAX_SIZE_PX = 2048
SHEET_FILE = Path(__file__).with_name("golden_faces.png")
SHEET_SHA256 = "7260e75d69dfaca95573c90827b7257020c60ef6aa266c93359ea6c35ffea001"  # of its pixels
_HINT = "Install edgegender again: pip install --force-reinstall edgegender"


@cache
def _read_sheet(path: Path, sha256: str) -> UInt8Array:
    sheet = read_image(path)
    side_px = TILE_PX * TILES_A_ROW
    got = hashlib.sha256(sheet.tobytes()).hexdigest()
    if sheet.shape != (side_px, side_px, 3) or got != sha256:
        raise DataError(f"Expected the golden pictures {sha256[:12]}…, got {got[:12]}… ({path.name}).", hint=_HINT)
    return sheet


def golden_images(size_px: int) -> UInt8Array:
    """Returns the golden inputs for a network, shape (64, size_px, size_px, 3), uint8, RGB.

    Each face is enlarged to the next multiple of 48 pixels, and the middle is cut out.

    Args:
        size_px: Side of the network's input, 1 to 2048 pixels.

    Raises:
        UsageError: The size makes no sense.
        DataError: The packaged sheet was changed.
        ImageError: It is gone or damaged.

    Example:
        >>> golden_images(96).shape
        (64, 96, 96, 3)
    """
    if not 1 <= size_px <= MAX_SIZE_PX:
        raise UsageError(f"Expected a size from 1 to {MAX_SIZE_PX} pixels, got {size_px}.")
    sheet = _read_sheet(SHEET_FILE, SHEET_SHA256)
    tiles = sheet.reshape(TILES_A_ROW, TILE_PX, TILES_A_ROW, TILE_PX, 3).transpose(0, 2, 1, 3, 4)
    tiles = tiles.reshape(NUM_GOLDEN, TILE_PX, TILE_PX, 3)
    factor = -(-size_px // TILE_PX)
    start = (factor * TILE_PX - size_px) // 2
    rows = np.arange(start, start + size_px) // factor
    return np.ascontiguousarray(tiles[:, rows][:, :, rows])


def hash_golden(images: UInt8Array) -> str:
    """Returns the sha256 of golden inputs: answers compare only where it is the same."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()


def answer_golden(engine: Engine) -> ParityRecord:
    """Returns what an engine answers for the golden inputs.

    Args:
        engine: One picture a run.

    Raises:
        DataError: The packaged sheet was changed.
        ImageError: It is gone or damaged.
    """
    images = golden_images(engine.input_size_px)
    scores = []
    for image in images:
        engine.run(engine.to_tensor(image[np.newaxis]))
        scores.append(tuple(float(value) for value in engine.read_scores()[0]))
    return ParityRecord(hash_golden(images), tuple(scores))
