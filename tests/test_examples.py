"""Every example runs, on drawn faces, and stays one idea long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.images import encode_image

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path / "face.jpg"
    path.write_bytes(encode_image(draw_face(draw_attributes("male", rng), size_px=256, rng=rng).image_rgb))
    return path


def run_example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_classify_photo_prints_an_answer_for_the_face(photo: Path) -> None:
    printed = run_example("classify_photo.py", str(photo))
    assert printed.startswith(f"{photo}: ")
    assert "male" in printed


def test_draw_faces_writes_a_contact_sheet(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    run_example("draw_faces.py", str(sheet))
    assert sheet.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_is_run_here_and_has_at_most_60_lines(example: str) -> None:
    assert len((EXAMPLES / example).read_text().splitlines()) <= 60
    assert f'run_example("{example}"' in Path(__file__).read_text()
