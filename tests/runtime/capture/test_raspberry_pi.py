"""The Raspberry Pi camera's child, against a stand-in for picamera2."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.runtime.capture import CaptureOptions
from tests.runtime.capture.reading import opened, read_one, read_until

FAKE = Path(__file__).with_name("fake_picamera2.py")
OPTIONS = CaptureOptions(
    size_wh=(160, 120),
    fps=30,
    lores_px=80,
    watchdog_s=0.6,
    retry_first_s=0.05,
    retry_max_s=0.2,
    camera_python=Path(sys.executable),
)
Camera = Callable[[str], Path]


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Camera:
    """Puts a camera in place; returns where it writes that it was closed."""

    def place(kind: str) -> Path:
        shutil.copy(FAKE, tmp_path / "picamera2.py")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setenv("FAKE_CAMERA", kind)
        monkeypatch.setenv("FAKE_CAMERA_LOG", str(tmp_path / "log"))
        return tmp_path / "log"

    return place


@pytest.mark.parametrize(
    ("kind", "red"),
    [
        ("pi 5", pytest.approx(200, abs=0)),
        ("pi 4", pytest.approx(200, abs=4)),  # through YUV and back
    ],
)
def test_a_camera_gives_a_picture_for_crops_and_a_small_one_for_detection(kind: str, red: int, camera: Camera) -> None:
    camera(kind)
    with opened("picamera", OPTIONS) as source:
        for _ in range(3):
            frame = read_one(source)
            assert frame.image_rgb.shape == (120, 160, 3)
            assert np.all(frame.image_rgb[..., 0] == 200)
            assert frame.detection_rgb is not None
            assert frame.detection_rgb.shape == (60, 80, 3)
            assert frame.detection_rgb[..., 0].mean() == red
            assert frame.detection_rgb[..., 1].mean() < 5
        assert (source.name, source.is_live, source.state) == ("picamera:0", True, "running")


def test_a_small_camera_picture_needs_no_smaller_one(camera: Camera) -> None:
    camera("pi 5")
    with opened("picamera:1", CaptureOptions(size_wh=(64, 48), camera_python=Path(sys.executable))) as source:
        assert read_one(source).detection_rgb is None


def test_a_camera_may_give_another_size(camera: Camera) -> None:
    camera("other size")
    with opened("picamera", OPTIONS) as source:
        assert read_one(source).image_rgb.shape == (32, 48, 3)


def test_the_camera_is_closed_at_the_end(camera: Camera) -> None:
    log = camera("pi 5")
    with opened("picamera", OPTIONS) as source:
        read_one(source)
    assert log.read_text() == "closed\n"


@pytest.mark.parametrize(
    ("kind", "num_stalls", "said"),
    [
        ("hangs", 1, "no frame for 0.6 s"),
        ("breaks", 0, "its reader ended with exit code 1: RuntimeError: Camera frontend has timed out!"),
    ],
)
def test_a_camera_that_hangs_or_breaks_is_started_again(kind: str, num_stalls: int, said: str, camera: Camera) -> None:
    camera(kind)
    with opened("picamera", OPTIONS) as source:
        read_until(source, lambda: source.state == "lost")
        assert said in source.problem
        read_until(source, lambda: source.state == "running")
        assert (source.counters.losses, source.counters.reconnects, source.counters.stalls) == (1, 1, num_stalls)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "Expected a Raspberry Pi camera, got none: there is no camera 0 (picamera:0)."),
        ("in use", "got none: camera 0: Camera __init__ sequence did not complete. (picamera:0)."),
    ],
)
def test_a_camera_that_cannot_be_opened_is_tried_again(kind: str, said: str, camera: Camera) -> None:
    camera(kind)
    with opened("picamera", OPTIONS) as source:
        read_until(source, lambda: source.state == "lost")
        assert said in source.problem
        camera("pi 5")
        read_one(source)
        assert source.counters.losses == 0


def test_without_picamera2_the_source_finishes_and_names_the_package() -> None:
    with opened("picamera", OPTIONS) as source:
        read_until(source, lambda: source.state == "finished")
        assert source.problem == (
            "Expected a Raspberry Pi camera, got none: picamera2 is missing "
            "(sudo apt install python3-picamera2 --no-install-recommends) (picamera:0)."
        )


def test_without_the_system_s_python_it_is_named(tmp_path: Path) -> None:
    options = CaptureOptions(camera_python=tmp_path / "python3", keep_trying=False)
    with opened("picamera", options) as source:
        assert source.state == "finished"
        assert source.problem == (
            f"Expected a Raspberry Pi camera, got none: {tmp_path}/python3 cannot be started: "
            "No such file or directory (picamera:0)."
        )
