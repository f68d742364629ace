"""Makes the golden files anew. Run it only when the model file's format changes, and say so in the commit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgegender import files, images
from edgegender.entities import UInt8Array
from edgegender.runtime.classifier import Classifier
from tests.tiny_model import build_tiny_model, grey_picture

FOLDER = Path(__file__).resolve().parent
MODEL, INPUTS, EXPECTED = FOLDER / "tiny.tflite", FOLDER / "inputs.png", FOLDER / "expected.json"
SIZE_PX = 32


def draw_inputs() -> UInt8Array:
    """Returns twelve pictures, shape (12, 32, 32, 3): greys, one channel each, noise of three brightnesses."""
    rng = np.random.default_rng(0)
    pictures = [grey_picture(value, SIZE_PX) for value in (0, 64, 127, 128, 192, 255)]
    for channel in range(3):
        picture = grey_picture(0, SIZE_PX)
        picture[:, :, channel] = 255
        pictures.append(picture)
    pictures += [rng.integers(low, low + 160, (SIZE_PX, SIZE_PX, 3), np.uint8) for low in (0, 48, 95)]
    return np.stack(pictures)


def make() -> None:
    """Writes the model with its ``.json``, the inputs as one PNG, and what the reference kernels answer."""
    build_tiny_model(MODEL, temperature=1.5, unsure_below=0.6, name="golden")
    pictures = draw_inputs()
    files.write_bytes(INPUTS, images.encode_image(pictures.reshape(-1, SIZE_PX, 3), suffix=".png"))
    classifier = Classifier(MODEL, num_threads=1, is_reference=True)
    scores = np.stack([classifier.forward(picture) for picture in pictures])
    steps = np.round(scores * 256).astype(int)
    record = {
        "model_sha256": classifier.file.sha256,
        "inputs_sha256": hashlib.sha256(pictures.tobytes()).hexdigest(),
        "scores_by_256": steps.tolist(),
        "labels": [classifier.classify(picture).predicted_label for picture in pictures],
    }
    files.write_json(EXPECTED, record)


if __name__ == "__main__":
    make()
