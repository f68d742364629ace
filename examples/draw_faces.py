"""Draw a contact sheet of parametric faces: nobody's, and the same for the same seed.

Run: python examples/draw_faces.py sheet.png
"""

import sys
from pathlib import Path

import numpy as np

from edgegender.data.drawn_faces import LABELS, draw_attributes, draw_face
from edgegender.images import encode_image

rng = np.random.default_rng(7)
rows = []
for label in LABELS:
    faces = [draw_face(draw_attributes(label, rng), size_px=128, rng=rng).image_rgb for _ in range(6)]
    rows.append(np.hstack(faces))
Path(sys.argv[1]).write_bytes(encode_image(np.vstack(rows), suffix=".png"))
print(f"12 faces of nobody → {sys.argv[1]}")
