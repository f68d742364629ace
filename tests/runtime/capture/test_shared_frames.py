"""Frames in shared memory: both ends in one process, and a child that is wrong about its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from edgegender.runtime.capture import CaptureOptions
from edgegender.runtime.capture.child_process import CaptureChild
from edgegender.runtime.capture.child_source import ChildSource, Launch
from edgegender.runtime.capture.children import frame_writer
from edgegender.runtime.capture.shared_frames import SharedFrames, SlotError
from tests.runtime.capture.reading import DEADLINE_S, read_all, read_until

CHILDREN = Path(frame_writer.__file__).parent


def child(tmp_path: Path, body: str) -> Path:
    """Writes a child's program; its writer is ``writer``, its channel ``channel``."""
    program = tmp_path / "child.py"
    head = f"""\
        import os, sys, time
        sys.path.insert(0, {str(CHILDREN)!r})
        from frame_writer import *
        channel = connect()
        writer = FrameWriter(channel)
        def send(level, height=4, width=6):
            room = writer.room(3 * height * width)
            room[:] = bytes([level]) * (3 * height * width)
            writer.announce(height, width, captured_ns=time.monotonic_ns())
        """
    program.write_text(textwrap.dedent(head) + textwrap.dedent(body))
    return program


def source_of(program: Path, *, is_live: bool = True, watchdog_s: float = 5.0) -> ChildSource:
    launch = Launch(
        address="test",
        name="test",
        noun="a camera",
        command=(sys.executable, str(program)),
        settings={},
        is_live=is_live,
        is_retried=False,
    )
    return ChildSource(launch, CaptureOptions(watchdog_s=watchdog_s))


def test_the_newest_of_many_frames_is_read_and_the_others_count_as_dropped(tmp_path: Path) -> None:
    program = child(tmp_path, "for level in range(200): send(level)\ntime.sleep(60)")
    source = source_of(program)
    try:
        # the child cannot say that it is done but by its frames: read until the last one is seen
        last = None
        while last is None or last.image_rgb[0, 0, 0] != 199:
            last = source.read(DEADLINE_S)
        assert last.index == 199
        assert source.counters.frames + source.counters.drops == 200
    finally:
        source.close()


def test_a_slot_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    program = child(tmp_path, "level = 0\nwhile True:\n    level = (level + 1) % 256\n    send(level, 200, 300)")
    source = source_of(program)
    try:
        for _ in range(200):
            frame = source.read(DEADLINE_S)
            assert frame is not None
            assert np.all(frame.image_rgb == frame.image_rgb[0, 0, 0])
    finally:
        source.close()


def test_memory_grows_with_the_frames_and_older_frames_stay(tmp_path: Path) -> None:
    body = """
    for level, side in enumerate((4, 100, 10, 1000)):
        channel.wait_until_asked()
        send(level, side, side)
    channel.wait_until_asked()
    channel.end("finished")
    """
    source = source_of(child(tmp_path, body), is_live=False)
    try:
        frames = []
        while source.state != "finished":
            frame = source.read(DEADLINE_S)
            if frame is not None:
                frames.append(frame)
        assert [frame.image_rgb.shape[0] for frame in frames] == [4, 100, 10, 1000]
        assert frames[0].image_rgb[0, 0, 0] == 0  # its memory is not the newest any more
        assert np.all(frames[3].image_rgb == 3)
        assert source.problem == ""
    finally:
        source.close()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("writer.room(10)\nwriter.announce(0, 0, captured_ns=0)", "a frame does not fit its slot"),
        ("writer.room(10)\nwriter.announce(5000, 5000, captured_ns=0)", "a frame does not fit its slot"),
        (
            "writer.room(500)\nwriter.announce(4, 4, captured_ns=0, small=(9, 10, 4, 40, 1))",
            "a small picture does not fit its rows",
        ),
        (
            "send(1)\nchannel.connection.send(FRAME_MESSAGE.pack(b'F', 7, 9, 0))\ntime.sleep(60)",
            "it named a slot that is not there",
        ),
        (
            "socket.send_fds(channel.connection, [MEMORY_MESSAGE.pack(b'M', 1 << 40)], [os.memfd_create('x')])",
            "its memory is too small",
        ),
        ("sys.exit(3)", "its reader ended with exit code 3"),
        ("os.kill(os.getpid(), 40)", "its reader was ended by signal 40"),
    ],
)
def test_a_child_that_is_wrong_about_its_memory_takes_nobody_along(body: str, said: str, tmp_path: Path) -> None:
    source = source_of(child(tmp_path, body))
    try:
        read_all(source)
        assert source.problem == f"Expected a camera, got none: {said} (test)."
    finally:
        source.close()


def test_memory_cannot_shrink_under_its_reader(tmp_path: Path) -> None:
    body = """
    send(7)
    try:
        os.ftruncate(writer._descriptor, 0)
    except PermissionError:
        send(8)
    time.sleep(60)
    """
    source = source_of(child(tmp_path, body))
    try:
        read_until(source, lambda: source.counters.frames + source.counters.drops == 2)
    finally:
        source.close()


def test_a_child_whose_parent_is_killed_ends(tmp_path: Path) -> None:
    program = child(tmp_path, "send(1)\ntime.sleep(600)")
    parent = f"""
import sys, time
from edgegender.runtime.capture.child_process import CaptureChild
child = CaptureChild([sys.executable, {str(program)!r}], {{}})
while child.take() is None:
    child.wait(1)
    child.drain()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        stat = Path(f"/proc/{pid}/stat")
        assert stat.exists()
        process.kill()

    def has_ended() -> bool:
        # a machine without an init that reaps leaves a zombie, Z
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    deadline_s = time.monotonic() + DEADLINE_S
    while not has_ended():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_settings_reach_the_child_and_not_its_command_line(tmp_path: Path) -> None:
    body = """
    said = open("/proc/self/cmdline").read()
    channel.end("lost", f"{channel.settings['word']} {'secret' in said}")
    """
    process = CaptureChild([sys.executable, str(child(tmp_path, body))], {"word": "secret"})
    try:
        while process.end is None:
            process.wait(DEADLINE_S)
            process.drain()
        assert process.end.detail == "secret False"
    finally:
        process.stop()


def test_a_program_that_is_not_there_leaves_nothing_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no-python"):
        CaptureChild([str(tmp_path / "no-python")], {})


def test_memory_that_is_too_small_is_refused() -> None:
    descriptor = os.memfd_create("test")
    os.ftruncate(descriptor, 8192)
    with pytest.raises(SlotError, match="its memory is too small"):
        SharedFrames(descriptor, 4096)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
