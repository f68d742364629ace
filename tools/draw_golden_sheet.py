"""Draws the packaged sheet of golden faces, once: another version of OpenCV or numpy may round a pixel otherwise.

Run: python tools/draw_golden_sheet.py, and put the printed sha256 into edgegender/benchmark/golden.py.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from edgegender import files
from edgegender.benchmark.golden import NUM_GOLDEN, SHEET_FILE, TILE_PX, TILES_A_ROW
from edgegender.data.drawn_faces import LABELS, draw_attributes, draw_face
from edgegender.entities import Preprocessing
from edgegender.images import encode_image
from edgegender.preprocess import to_input

DRAWN_PX = 320
CROP_MARGIN = 1.3


def main() -> None:
    """Draws 64 faces, as many of one label as of the other, and writes the sheet."""
    sheet = np.zeros((TILES_A_ROW * TILE_PX, TILES_A_ROW * TILE_PX, 3), np.uint8)
    crop_px = TILE_PX * 4
    for number in range(NUM_GOLDEN):
        rng = np.random.default_rng([7, number])
        face = draw_face(draw_attributes(LABELS[number % 2], rng), size_px=DRAWN_PX, rng=rng)
        crop = to_input(face.image_rgb, face.box, Preprocessing(crop_px, CROP_MARGIN))
        row, column = divmod(number, TILES_A_ROW)
        tile = cv2.resize(crop, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
        sheet[row * TILE_PX : (row + 1) * TILE_PX, column * TILE_PX : (column + 1) * TILE_PX] = tile
    files.write_bytes(SHEET_FILE, encode_image(sheet, suffix=".png"))
    print(f"{SHEET_FILE}: {SHEET_FILE.stat().st_size:,} bytes, sha256 of the pixels:")
    print(hashlib.sha256(sheet.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
