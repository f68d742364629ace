"""Folders of photos as sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgegender.runtime.capture import CaptureOptions
from tests.pictures import black_png, noise, write_photo
from tests.runtime.capture.reading import opened, read_all, read_one


def test_photos_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write_photo(tmp_path / f"{number}.png", noise(8, 9, number))
    (tmp_path / "notes.txt").write_text("no photo")
    with opened(tmp_path) as source:
        frames = read_all(source)
        assert all(np.array_equal(frame.image_rgb, noise(8, 9, frame.index)) for frame in frames)
        assert (len(frames), source.state, source.problem, source.counters.damaged) == (3, "finished", "", 0)
        assert not source.is_live


def test_photos_that_cannot_be_read_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"no photo")
    (tmp_path / "1.png").write_bytes(black_png(20_000, 20_000))
    write_photo(tmp_path / "2.png", noise(8, 9, 2))
    (tmp_path / "3.png").symlink_to(tmp_path / "gone.png")
    with opened(tmp_path) as source:
        assert [frame.index for frame in read_all(source)] == [0]
        assert (source.counters.frames, source.counters.damaged, source.problem) == (1, 3, "")


def test_a_folder_without_one_good_photo_finishes_with_a_problem(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"no photo")
    with opened(tmp_path, CaptureOptions(is_looped=True)) as source:
        assert read_all(source) == []
        assert source.problem.startswith("Expected photos, got 3 that cannot be read: Expected ")


def test_a_read_without_time_looks_at_one_photo(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"no photo")
    write_photo(tmp_path / "1.png", noise(8, 9, 1))
    with opened(tmp_path) as source:
        assert source.read(0) is None
        assert source.state == "opening"
        assert source.read(0) is not None


def test_a_looped_folder_starts_again(tmp_path: Path) -> None:
    for number in range(2):
        write_photo(tmp_path / f"{number}.png", noise(8, 9, number))
    with opened(tmp_path, CaptureOptions(is_looped=True)) as source:
        frames = [read_one(source).image_rgb for _ in range(5)]
        assert np.array_equal(frames[0], frames[4])
        source.close()
        assert source.read(1) is None
