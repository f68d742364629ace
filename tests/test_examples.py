"""Every example runs, on drawn faces, and stays one idea long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.images import encode_image
from tests.runtime.moving_scenes import draw_people, film, straight

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


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of two people."""
    people = draw_people([straight((110, 110), (10, 0), side=90), straight((220, 120), (-5, 4), side=80)])
    path = tmp_path_factory.mktemp("video") / "two.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (320, 240))
    for moving in film(people, num_frames=45, size_wh=(320, 240)):
        writer.write(cv2.cvtColor(moving.image_rgb, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_watch_video_names_each_person_once(video: Path) -> None:
    *said, people = run_example("watch_video.py", str(video)).splitlines()
    assert sorted(line.split()[2] for line in said) == ["#1", "#2"]
    assert sum(int(part.split()[0]) for part in people.split(", ")) == 2


def test_own_frames_follows_a_face_between_searches(photo: Path) -> None:
    lines = run_example("own_frames.py", str(photo)).splitlines()
    assert [line.split(":")[0] for line in lines] == ["frame 9", "frame 19", "frame 29"]
    assert all("#1 " in line for line in lines)


def test_own_output_stands_beside_the_usual_events(video: Path) -> None:
    events = [json.loads(line) for line in run_example("own_output.py", str(video)).splitlines()]
    assert [event["frame"] for event in events if event["type"] == "faces"] == list(range(45))
    assert events[-1]["type"] == "end"


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_is_run_here_and_has_at_most_60_lines(example: str) -> None:
    assert len((EXAMPLES / example).read_text().splitlines()) <= 60
    assert f'run_example("{example}"' in Path(__file__).read_text()
