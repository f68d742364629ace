"""Recordings are real files: as long as it took, as large as the first frame, whole even when the disk is full."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender.entities import UInt8Array
from edgegender.errors import OutputError, UsageError
from edgegender.outputs.recording import Recording
from tests.outputs.results import SECOND_NS, frame_result, picture, send, wait_until

START_NS = SECOND_NS


def play(path: Path) -> tuple[list[UInt8Array], float]:
    """Returns the frames of a video file, RGB, and its rate."""
    capture = cv2.VideoCapture(str(path))
    try:
        assert capture.isOpened(), path
        fps, frames = capture.get(cv2.CAP_PROP_FPS), []
        while True:
            is_there, frame = capture.read()
            if not is_there:
                return frames, fps
            frames.append(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8))
    finally:
        capture.release()


def feed(recording: Recording, moment_s: float, image_rgb: UInt8Array) -> None:
    """Sends one frame and lets the encoder take it, as a camera that is slower than the encoder does."""
    send(recording, frame_result(captured_ns=START_NS + round(moment_s * SECOND_NS)), image_rgb)
    wait_until(lambda: not recording._queue or recording._is_ending)  # one that has ended takes no more


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs the superuser")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".MP4"])
def test_a_recording_shows_what_was_sent(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"people{suffix}"
    recording = Recording(path, fps=10)
    assert recording.wants_picture
    assert recording.name == str(path)
    for number in range(10):
        image = picture(20 + 20 * number)
        image[:, :, 2] = 40  # red and green grow, blue stays
        feed(recording, number / 10, image)
    recording.close()
    frames, fps = play(path)
    assert fps == pytest.approx(10)
    assert len(frames) == 10
    assert frames[0].shape == (120, 160, 3)
    means = [frame.reshape(-1, 3).mean(axis=0) for frame in frames]
    for number, mean in enumerate(means):
        assert mean == pytest.approx([20 + 20 * number, 20 + 20 * number, 40], abs=12)  # both codecs lose something
    assert list(path.parent.iterdir()) == [path]
    assert recording.take_problems() == []


@pytest.mark.parametrize(
    ("moments_s", "num_frames"),
    [
        ([0, 1, 2, 3], 31),  # slower than the file: repeated
        ([number / 60 for number in range(180)], 31),  # faster: left out
        ([0, 0.03, 0.5, 0.52, 2.9, 3.0], 31),  # now and then
        ([0, 600], 102),  # the source was away: ten seconds of it
    ],
)
def test_a_minute_stays_a_minute(tmp_path: Path, moments_s: list[float], num_frames: int) -> None:
    recording = Recording(tmp_path / "a.avi", fps=10)
    for moment_s in moments_s:
        feed(recording, moment_s, picture())
    recording.close()
    assert abs(len(play(tmp_path / "a.avi")[0]) - num_frames) <= 1


def test_a_picture_stands_where_it_was_captured(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.avi", fps=10)
    for moment_s, value in ((0, 30), (1.0, 220)):
        feed(recording, moment_s, picture(value))
    recording.close()
    values = [round(float(frame.mean())) for frame in play(tmp_path / "a.avi")[0]]
    assert len(values) == 11
    assert max(values[:10]) < 40
    assert values[10] > 210


def test_a_picture_is_only_wanted_when_it_makes_a_new_frame(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.avi", fps=1)
    send(recording, frame_result(), picture())
    assert not recording.wants_picture
    send(recording, frame_result(captured_ns=time.monotonic_ns() - SECOND_NS), picture())
    wait_until(lambda: recording.wants_picture, timeout_s=3)
    recording.close()
    assert not recording.wants_picture


def test_each_frame_of_a_file_is_written_once(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4", fps=25, is_every_frame=True)
    for _ in range(100):  # as quick as it goes
        send(recording, frame_result(), picture())
    recording.close()
    assert len(play(tmp_path / "a.mp4")[0]) == 100
    assert recording.take_problems() == []


@pytest.mark.parametrize(("fps", "written"), [(30.0, 30.0), (24000 / 1001, 23.976), (500.0, 120.0)])
def test_the_recording_of_a_file_plays_at_the_rate_of_the_file(tmp_path: Path, fps: float, written: float) -> None:
    recording = Recording(tmp_path / "a.mp4", is_every_frame=True)
    for index in range(8):
        result = replace(frame_result(index=index), moment_ns=round(index / fps * 1e9))
        send(recording, result, picture())
    recording.close()
    capture = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(written, abs=0.01)
    capture.release()
    assert len(play(tmp_path / "a.mp4")[0]) == 8


def test_a_file_of_one_frame_is_recorded(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4", is_every_frame=True)
    send(recording, replace(frame_result(), moment_ns=0), picture())
    recording.close()
    assert len(play(tmp_path / "a.mp4")[0]) == 1


def test_a_frame_of_another_size_is_scaled_to_the_first(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.avi", fps=10)
    for number, size_wh in enumerate([(160, 120), (320, 240), (64, 96), (160, 120)]):
        feed(recording, number / 10, picture(60 * number, size_wh=size_wh))
    recording.close()
    frames = play(tmp_path / "a.avi")[0]
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 4
    assert frames[2].mean() == pytest.approx(120, abs=5)


def test_an_odd_size_is_no_fault(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4", fps=10)
    feed(recording, 0, picture(size_wh=(161, 121)))
    recording.close()
    frames = play(tmp_path / "a.mp4")[0]
    assert frames[0].shape[:2] in {(120, 160), (121, 161)}  # the codec may leave out the last row and column


def test_a_slow_encoder_drops_frames_and_holds_up_nothing(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.avi", fps=100)
    large = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    start = time.monotonic()
    for number in range(30):
        send(recording, frame_result(captured_ns=START_NS + number * SECOND_NS // 100), large)
    assert time.monotonic() - start < 0.5
    num_dropped = recording.num_dropped
    assert num_dropped > 0
    start = time.monotonic()
    recording.close()
    assert time.monotonic() - start < 2
    assert recording.take_problems()[-1] == f"{num_dropped} frames were left out, for the encoder is slow"
    recording._thread.join(30)
    assert 1 <= len(play(tmp_path / "a.avi")[0]) <= 30


def test_an_encoder_that_is_too_slow_for_the_rate_does_not_fall_behind_for_ever(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.avi", fps=100)
    large = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    feed(recording, 0, large)
    feed(recording, 8, large)  # 800 frames of 2 megapixels
    recording.close()
    recording._thread.join(30)
    assert recording.take_problems() == ["the encoder is too slow for 100 FPS: the recording plays faster than life"]
    assert 3 < len(play(tmp_path / "a.avi")[0]) < 700


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4")
    recording.tell({"type": "end"})
    send(recording, frame_result(), None)
    recording.close()
    recording.close()
    assert list(tmp_path.iterdir()) == []
    assert recording.take_problems() == []


def test_a_frame_after_closing_is_no_fault(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "a.mp4")
    feed(recording, 0, picture())
    recording.close()
    send(recording, frame_result(), picture())
    assert len(play(tmp_path / "a.mp4")[0]) == 1


# What cannot be written


@pytest.mark.parametrize("name", ["a.mkv", "a", "a.mp4.txt"])
def test_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"Expected a file that ends in \.mp4 or \.avi, got "):
        Recording(tmp_path / name)


@pytest.mark.parametrize("fps", [0, -1, 500, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(UsageError, match=r"Expected 1 to 120 frames per second, got "):
        Recording(tmp_path / "a.mp4", fps=fps)


def test_a_folder_that_may_not_be_written_to_is_told_before_the_first_frame(plain_user: Path) -> None:
    assert plain_user.is_absolute()
    Path("locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match=r"Expected to write locked/a\.mp4, got Permission denied"):
        Recording(Path("locked/a.mp4"))
    Path("locked").chmod(0o700)


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(OutputError, match="Expected a file or nothing at "):
        Recording(tmp_path / "a.mp4")


def test_a_disk_that_is_too_full_from_the_start_is_told_before_the_first_frame(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(OutputError, match=r"Expected \d+ MB of room, got \d+ MB"):
        Recording(tmp_path / "a.mp4", min_free_bytes=10**18)
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == threads


def test_a_disk_that_becomes_full_leaves_a_file_that_plays(full_disk: Path) -> None:
    path = full_disk / "a.avi"
    recording = Recording(path, fps=10, min_free_bytes=1_000_000)
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    problems: list[str] = []
    for number in range(1000):
        feed(recording, number / 10, noise)
        problems += recording.take_problems()
        if problems:
            break
    assert len(problems) == 1
    assert problems[0].startswith("the recording was finished and kept: the disk has ")
    assert not recording.wants_picture
    send(recording, frame_result(), noise)  # the camera goes on
    recording.close()
    frames = play(path)[0]
    assert len(frames) > 5
    assert list(full_disk.iterdir()) == [path]
    assert os.statvfs(full_disk).f_bavail * os.statvfs(full_disk).f_frsize > 500_000


def test_a_folder_that_vanishes_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    recording = Recording(folder / "a.avi", fps=10)
    feed(recording, 0, picture())
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    send(recording, frame_result(captured_ns=START_NS + SECOND_NS), picture())
    recording.close()
    (problem,) = recording.take_problems()
    assert problem.startswith("the recording failed: ")
    assert not recording.wants_picture
