"""Video files, read by a child process: each frame once, and nothing that a file holds takes the reader along."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from edgegender.runtime.capture import CaptureOptions
from tests.pictures import noise
from tests.runtime.capture.reading import (
    QUICK,
    flat,
    level_of,
    opened,
    pid_of,
    read_all,
    read_one,
    read_until,
    write_film,
)

LEVELS = list(range(0, 250, 10))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "film.avi", [flat(level) for level in LEVELS])


@pytest.fixture
def long_film(tmp_path: Path) -> Path:
    return write_film(tmp_path / "long.avi", [flat(level % 250) for level in range(2000)])


@pytest.fixture
def rich_film(tmp_path: Path) -> Path:
    """Pictures of 20 kB each: what is cut off or damaged lies within one."""
    return write_film(tmp_path / "rich.avi", [noise(120, 160, number) for number in LEVELS])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists()


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_each_frame_comes_once_in_order_and_in_rgb(name: str, codec: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / name, [flat(level) for level in LEVELS], codec=codec)
    with opened(film) as source:
        frames = read_all(source)
        assert [frame.index for frame in frames] == list(range(len(LEVELS)))
        # the codecs round colours
        assert [level_of(frame) for frame in frames] == pytest.approx(LEVELS, abs=6)
        assert frames[0].image_rgb.shape == (48, 64, 3)
        assert frames[0].image_rgb[..., 2].mean() > 240  # blue where red is 0
        assert (source.state, source.problem, source.is_live) == ("finished", "", False)
        assert source.counters.frames == len(LEVELS)
        assert source.counters.drops == source.counters.losses == source.counters.damaged == 0


def test_a_slow_reader_misses_nothing(film: Path) -> None:
    with opened(film) as source:
        levels = []
        for _ in LEVELS:
            levels.append(level_of(read_one(source)))
            time.sleep(0.01)
        assert levels == pytest.approx(LEVELS, abs=6)
        assert source.counters.drops == 0


def test_pixels_stay_until_the_next_read_and_cannot_be_written_to(film: Path) -> None:
    with opened(film) as source:
        read_one(source)
        frame = read_one(source)
        before = frame.image_rgb.copy()
        time.sleep(0.1)  # long enough for the child to decode the next one
        assert np.array_equal(frame.image_rgb, before)
        assert not frame.image_rgb.flags.writeable
    assert np.array_equal(frame.image_rgb, before)  # and after the source was closed


def test_a_frame_of_a_file_is_as_old_as_the_call_that_returned_it(film: Path) -> None:
    with opened(film) as source:
        read_one(source)
        before_ns = time.monotonic_ns()
        assert before_ns <= read_one(source).captured_ns <= time.monotonic_ns()


def test_a_looped_film_starts_again(film: Path) -> None:
    with opened(film, CaptureOptions(is_looped=True)) as source:
        levels = [level_of(read_one(source)) for _ in range(2 * len(LEVELS) + 1)]
        assert levels == pytest.approx([*LEVELS, *LEVELS, 0], abs=6)


def test_a_film_at_its_own_speed_drops_frames_for_a_slow_reader(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", [flat(level) for level in LEVELS], fps=50)
    with opened(film, CaptureOptions(is_realtime=True)) as source:
        assert source.is_live
        begin_s = time.monotonic()
        num_frames = 0
        while source.state != "finished":
            if source.read(1.0) is not None:
                num_frames += 1
                time.sleep(0.05)
        assert time.monotonic() - begin_s > len(LEVELS) / 50 - 0.1
        assert 1 < num_frames < len(LEVELS)
        counters = source.counters
        assert counters.frames == num_frames
        assert counters.frames + counters.drops == len(LEVELS)


def test_the_speed_may_be_chosen(film: Path) -> None:
    with opened(film, CaptureOptions(is_realtime=True, fps=1000)) as source:
        frames = read_all(source)
        seconds = (frames[-1].captured_ns - frames[0].captured_ns) / 1e9
        assert seconds < len(LEVELS) / 25 / 2  # twice its own speed at least


@pytest.mark.parametrize("name", ["x.mp4", "x.avi", "x.txt", "noise.mkv"])
def test_what_is_no_video_finishes_with_a_problem(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(random.Random(0).randbytes(50_000) if name == "noise.mkv" else b"no film at all\n" * 100)
    with opened(file) as source:
        assert read_all(source) == []
        assert source.problem.startswith("Expected a video, got none: ")
        assert name in source.problem


def test_a_playlist_opens_no_other_file(film: Path, tmp_path: Path) -> None:
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{film}\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile {film.name}\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with opened(tmp_path / name) as source:
            assert read_all(source) == []
            assert source.problem.startswith("Expected a video, got none")


def test_a_film_that_ends_in_mid_frame_gives_what_is_whole_and_says_so(rich_film: Path) -> None:
    content = rich_film.read_bytes()
    rich_film.write_bytes(content[: len(content) // 2])
    with opened(rich_film) as source:
        num_frames = len(read_all(source))
        assert len(LEVELS) // 2 - 2 <= num_frames <= len(LEVELS) // 2 + 2
        assert source.problem.startswith("Expected a whole file, got at least 1 damaged frames ([mjpeg] ")


def test_damage_within_a_film_is_counted_and_read_over(rich_film: Path) -> None:
    content = bytearray(rich_film.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = random.Random(1).randbytes(3000)
    rich_film.write_bytes(content)
    with opened(rich_film) as source:
        assert len(read_all(source)) >= len(LEVELS) - 2
        assert source.counters.damaged > 0
        assert source.problem.startswith("Expected a whole file, got at least ")


def test_a_film_of_huge_frames_is_refused(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", [flat(0, size_wh=(8192, 6144))])
    with opened(film) as source:
        assert read_all(source) == []
        assert source.problem == (
            "Expected a video, got none: frames of 8192×6144 pixels are more than 50,000,000 (film.avi)."
        )


def test_a_reader_that_is_killed_ends_the_film_and_nothing_else(long_film: Path) -> None:
    with opened(long_film) as source:
        read_one(source)
        os.kill(pid_of(source), signal.SIGSEGV)
        read_until(source, lambda: source.state == "finished")
        assert source.problem == ("Expected a video, got none: its reader was ended by SIGSEGV (long.avi).")
        assert source.counters.losses == 1
        assert source.counters.stalls == 0


def test_a_reader_that_hangs_is_killed(long_film: Path) -> None:
    with opened(long_film, QUICK) as source:
        read_one(source)
        pid = pid_of(source)
        os.kill(pid, signal.SIGSTOP)
        read_until(source, lambda: source.state == "finished")
        assert source.problem == "Expected a video, got none: no frame for 0.6 s (long.avi)."
        assert (source.counters.stalls, source.counters.losses) == (1, 1)
        assert not is_alive(pid)


@pytest.mark.parametrize("sent", [None, signal.SIGSTOP])
def test_closing_takes_less_than_two_seconds_whatever_the_child_does(
    long_film: Path, sent: signal.Signals | None
) -> None:
    with opened(long_film) as source:
        read_one(source)
        pid = pid_of(source)
        if sent is not None:
            os.kill(pid, sent)
        begin_s = time.monotonic()
        source.close()
        assert time.monotonic() - begin_s < 2
        assert not is_alive(pid)
        assert source.state == "finished"
        assert source.read(0.1) is None
        source.close()


def test_ctrl_c_in_the_terminal_does_not_reach_the_child(long_film: Path) -> None:
    with opened(long_film) as source:
        read_one(source)
        assert os.getsid(pid_of(source)) != os.getsid(0)


def test_a_first_frame_comes_soon(film: Path) -> None:
    times_s = []
    for _ in range(3):
        begin_s = time.monotonic()
        with opened(film) as source:
            read_one(source)
            times_s.append(time.monotonic() - begin_s)
    assert min(times_s) < 1.5  # 0.3 s on an idle machine of 2 cores; other work may stand in the way


def test_a_read_returns_by_its_deadline(long_film: Path) -> None:
    with opened(long_film) as source:
        read_one(source)
        os.kill(pid_of(source), signal.SIGSTOP)
        read_until(source, lambda: source.read(0.05) is None)
        begin_s = time.monotonic()
        assert source.read(0.2) is None
        assert 0.15 < time.monotonic() - begin_s < 1
        assert source.state == "running"


# Its own time


@pytest.mark.parametrize(("name", "codec"), [("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_a_film_tells_when_each_frame_is_shown_however_fast_it_is_read(name: str, codec: str, tmp_path: Path) -> None:
    film = write_film(tmp_path / name, [flat(level) for level in LEVELS], codec=codec, fps=30)
    with opened(film) as source:
        times_s = [frame.moment_ns / 1e9 for frame in read_all(source)]
    assert times_s == pytest.approx([index / 30 for index in range(len(LEVELS))], abs=0.002)  # whole milliseconds


def test_a_film_that_begins_again_goes_on_in_time(film: Path) -> None:
    with opened(film, CaptureOptions(is_looped=True)) as source:
        times_ns = [read_one(source).moment_ns for _ in range(3 * len(LEVELS))]
    steps = np.diff(times_ns)
    assert steps.min() > 0
    assert steps.max() == pytest.approx(steps.min(), rel=0.1)


def test_a_rate_that_is_asked_for_is_the_films_time(film: Path) -> None:
    with opened(film, CaptureOptions(fps=10)) as source:
        times_s = [frame.moment_ns / 1e9 for frame in read_all(source)]
    assert times_s == pytest.approx([index / 10 for index in range(len(LEVELS))], abs=1e-6)


def test_a_film_that_plays_as_a_camera_would_has_no_time_of_its_own(film: Path) -> None:
    with opened(film, CaptureOptions(is_realtime=True)) as source:
        frame = read_one(source)
    assert frame.media_ns is None
    assert frame.moment_ns == frame.captured_ns
