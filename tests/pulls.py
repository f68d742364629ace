"""A file to pull from the test's own server, and what it must look like when it has arrived."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgegender.downloads import DownloadableModel, pull

CONTENT = np.random.default_rng(0).bytes(300_000)
MODEL = DownloadableModel(
    name="tiny",
    purpose="a test",
    file_name="tiny.onnx",
    url="https://example.invalid/tiny.onnx",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    license="Apache-2.0",
    source="here",
)


def fetch(target: Path, url: str, **options: object) -> list[float]:
    """Pulls the file and returns the pauses between the attempts, without waiting for them."""
    pauses: list[float] = []
    options = {"sleep": pauses.append, "timeout_s": 20, **options}
    assert pull(MODEL, folder=target.parent, url=url, **options) == target  # type: ignore[arg-type]
    return pauses


def only(target: Path) -> bool:
    """Returns whether the file is whole and lies alone in its folder."""
    return target.read_bytes() == CONTENT and list(target.parent.iterdir()) == [target]
