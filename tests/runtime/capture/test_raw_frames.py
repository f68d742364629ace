"""Raw frames from a FIFO and on standard input."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgegender.entities import UInt8Array
from edgegender.runtime.capture import CaptureOptions
from edgegender.runtime.capture.raw_source import RawSource
from tests.pictures import noise
from tests.runtime.capture.reading import opened, read_all, read_one, read_until

SIZE_WH = (40, 30)
OPTIONS = CaptureOptions(size_wh=SIZE_WH, watchdog_s=0.3)
FRAME_BYTES = 3 * 40 * 30


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def frame(number: int) -> UInt8Array:
    return noise(30, 40, number)


@contextmanager
def writing(fifo: Path, *pieces: bytes, then: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Writes pieces into a FIFO from another thread, then waits for something, then hangs up."""

    def write() -> None:
        with fifo.open("wb", buffering=0) as stream:
            for piece in pieces:
                stream.write(piece)
            then()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def test_frames_of_a_fifo_come_one_by_one(fifo: Path) -> None:
    with opened(fifo, OPTIONS) as source, writing(fifo, *(frame(number).tobytes() for number in range(5))):
        for number in range(5):
            got = read_one(source)
            assert np.array_equal(got.image_rgb, frame(number))
            assert got.index == number
        assert (source.state, source.is_live, source.problem) == ("running", False, "")


@pytest.mark.parametrize("name", ["bgr24", "gray"])
def test_other_pixel_formats_become_rgb(name: str, fifo: Path) -> None:
    sent = frame(0)[..., ::-1] if name == "bgr24" else frame(0)[..., 0]
    expected = frame(0) if name == "bgr24" else np.repeat(frame(0)[..., :1], 3, axis=2)
    options = CaptureOptions(size_wh=SIZE_WH, pixel_format=name)
    with opened(fifo, options) as source, writing(fifo, sent.tobytes()):
        assert np.array_equal(read_one(source).image_rgb, expected)


def test_a_frame_may_come_in_pieces_over_several_reads(fifo: Path) -> None:
    content = frame(0).tobytes()
    is_asked_for = threading.Event()

    def rest() -> None:
        is_asked_for.wait(20)

    with opened(fifo, OPTIONS) as source, writing(fifo, content[:1000], then=rest):
        assert source.read(0.05) is None
        with writing(fifo, content[1000:]):
            assert np.array_equal(read_one(source).image_rgb, frame(0))
        is_asked_for.set()


def test_a_writer_that_is_cut_off_is_a_loss_and_the_next_one_starts_at_a_border(fifo: Path) -> None:
    with opened(fifo, OPTIONS) as source:
        with writing(fifo, frame(0).tobytes(), frame(1).tobytes()[:1000]):
            read_one(source)
        read_until(source, lambda: source.state == "lost")
        assert (
            f"Expected a writer, got none: the last frame lacks 2,600 of 3,600 bytes (fifo:{fifo})." == source.problem
        )
        with writing(fifo, frame(2).tobytes()):
            assert np.array_equal(read_one(source).image_rgb, frame(2))
        read_until(source, lambda: source.state == "lost")
        assert source.problem == f"Expected a writer, got none (fifo:{fifo})."
        counters = source.counters
        assert (counters.frames, counters.losses, counters.reconnects, counters.damaged) == (2, 2, 1, 1)


def test_waiting_for_a_writer_uses_no_time_of_the_processor(fifo: Path) -> None:
    with opened(fifo, OPTIONS) as source:
        with writing(fifo, frame(0).tobytes()):
            read_one(source)
        read_until(source, lambda: source.state == "lost")
        before_s = time.process_time()
        assert source.read(0.5) is None
        assert time.process_time() - before_s < 0.1


def test_a_writer_that_falls_silent_is_a_stall_and_may_go_on(fifo: Path) -> None:
    is_over = threading.Event()
    content = frame(1).tobytes()
    first = (frame(0).tobytes(), content[:1000])
    with opened(fifo, OPTIONS) as source, writing(fifo, *first, then=lambda: is_over.wait(20)):
        read_one(source)
        read_until(source, lambda: source.state == "lost")
        assert source.problem == f"Expected frames, got none for 0.3 s (fifo:{fifo})."
        assert (source.counters.stalls, source.counters.losses) == (1, 1)
        with writing(fifo, content[1000:]):
            assert np.array_equal(read_one(source).image_rgb, frame(1))
        assert (source.state, source.counters.reconnects) == ("running", 1)
        is_over.set()


def test_a_fifo_that_is_removed_ends_the_source(fifo: Path) -> None:
    with opened(fifo, OPTIONS) as source:
        with writing(fifo, frame(0).tobytes(), then=fifo.unlink):
            read_one(source)
        read_until(source, lambda: source.state == "finished")
        assert source.problem == f"Expected a FIFO, got: No such file or directory (fifo:{fifo})."


def test_a_full_pipe_makes_the_writer_wait_and_nothing_is_dropped(fifo: Path) -> None:
    frames = [frame(number).tobytes() for number in range(400)]  # more than a pipe holds
    with opened(fifo, OPTIONS) as source, writing(fifo, *frames):
        for number in range(400):
            assert read_one(source).index == number
        assert source.counters.drops == 0


def test_a_closed_source_gives_nothing(fifo: Path) -> None:
    with opened(fifo, OPTIONS) as source:
        source.close()
        assert source.read(0.1) is None
        assert source.state == "finished"


READ_STANDARD_INPUT = """
import sys
from edgegender.runtime.capture import CaptureOptions, open_source
source = open_source("-", options=CaptureOptions(size_wh=(40, 30)))
total = 0
while source.state != "finished":
    frame = source.read(5)
    total += int(frame.image_rgb.sum()) if frame else 0
source.close()
print(total, source.counters.frames, source.counters.damaged, source.problem, sep="|")
"""


@pytest.mark.parametrize(
    ("num_frames", "extra", "problem"),
    [
        (3, b"", ""),
        (2, b"x" * 600, "Expected whole frames: the last frame lacks 3,000 of 3,600 bytes (standard input)."),
        (0, b"", "Expected frames of 3,600 bytes, got none (standard input)."),
    ],
)
def test_standard_input_ends_with_its_writer(num_frames: int, extra: bytes, problem: str) -> None:
    content = b"".join(frame(number).tobytes() for number in range(num_frames))
    done = subprocess.run(
        [sys.executable, "-c", READ_STANDARD_INPUT], input=content + extra, capture_output=True, check=True, timeout=60
    )
    total = sum(int(frame(number).sum()) for number in range(num_frames))
    assert done.stdout.decode().strip() == f"{total}|{num_frames}|{int(bool(extra))}|{problem}"


def test_a_descriptor_that_cannot_be_read_ends_the_source(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    source = RawSource("a folder", descriptor, path=None, size_wh=SIZE_WH, options=OPTIONS)
    try:
        assert read_all(source) == []
        assert source.problem == "Expected frames, got: Is a directory (a folder)."
    finally:
        source.close()
        os.close(descriptor)
