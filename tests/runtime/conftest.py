"""Real photos for tests of detectors."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edgegender import images
from edgegender.entities import UInt8Array


@pytest.fixture(scope="session")
def scenes(scene_files: list[Path]) -> list[UInt8Array]:
    """Twelve real photos of 250 × 250 pixels with one prominent face each."""
    return [images.read_image(file) for file in random.Random(0).sample(scene_files, 12)]
