"""Lines of JSON: whole ones, through real pipes, to readers that are slow or gone."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from edgegender.outputs.event_lines import EventLines
from tests.outputs.results import counts_event, end_event, frame_result, send, tracked_face

WITH_FACE = frame_result(tracked_face(), index=7)
MANY_FACES = frame_result(*[tracked_face(track_id=number) for number in range(1, 60)])  # a line of 13 kB


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A pipe of 64 kB: where it is read, and where it is written."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as readable, os.fdopen(writer, "wb") as writable:
        yield readable, writable


def read_all(reader: BinaryIO) -> bytes:
    """Returns what lies in the pipe."""
    os.set_blocking(reader.fileno(), False)
    content = b""
    while block := reader.read(1 << 20):
        content += block
    return content


def fill(lines: EventLines) -> None:
    """Writes until the pipe is full and something was dropped."""
    while not lines.num_dropped:
        send(lines, WITH_FACE)


def test_an_event_is_one_line_and_there_at_once(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    send(lines, WITH_FACE)
    content = read_all(pipe[0])
    assert content.count(b"\n") == 1
    event = json.loads(content)
    assert (event["type"], event["frame"], event["faces"][0]["track_id"]) == ("faces", 7, 1)


def test_frames_without_a_face_are_left_out_unless_asked_for(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    send(EventLines(pipe[1]), frame_result())
    assert read_all(pipe[0]) in {b"", None}
    send(EventLines(pipe[1], is_every_frame=True), frame_result())
    assert json.loads(read_all(pipe[0]))["faces"] == []


def test_other_events_are_lines_too(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    lines.tell(counts_event(female=2))
    lines.tell(end_event())
    assert [json.loads(line)["type"] for line in read_all(pipe[0]).splitlines()] == ["counts", "end"]


def test_what_was_written_to_the_stream_before_comes_first(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    pipe[1].write(b"before\n")
    EventLines(pipe[1]).tell(end_event())
    assert read_all(pipe[0]).startswith(b'before\n{"schema"')


def test_a_reader_that_has_left_ends_it() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stream:
        lines = EventLines(stream)
        with pytest.raises(BrokenPipeError):
            send(lines, WITH_FACE)
        with pytest.raises(BrokenPipeError):
            lines.close()
        lines.close()


def test_a_reader_that_is_slow_holds_up_nothing_and_misses_whole_lines(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    start = time.monotonic()
    fill(lines)
    for _ in range(100):
        send(lines, WITH_FACE)
    assert time.monotonic() - start < 5
    assert lines.num_dropped == 101
    assert lines.take_problems() == ["the reader is slow: events are dropped until it keeps up"]
    assert lines.take_problems() == []
    read_all(pipe[0])
    send(lines, WITH_FACE)
    assert lines.take_problems() == ["the reader keeps up again; 101 events were dropped"]


def test_lines_longer_than_a_page_are_never_cut(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    content = b""
    for _ in range(5):
        for _ in range(8):
            send(lines, MANY_FACES)
        content += read_all(pipe[0])
    lines.close()
    content += read_all(pipe[0]) or b""
    events = [json.loads(line) for line in content.splitlines()]
    assert content.endswith(b"\n")
    assert lines.num_dropped == 40 - len(events) > 0
    assert {len(event["faces"]) for event in events} == {59}


def test_events_that_are_no_frame_wait_for_the_reader(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    fill(lines)
    lines.tell(counts_event(female=1))
    lines.tell(end_event())
    content = read_all(pipe[0])
    lines.close()
    content += read_all(pipe[0])
    assert [json.loads(line)["type"] for line in content.splitlines()][-2:] == ["counts", "end"]


def test_events_that_wait_take_no_more_than_64_kb(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    fill(lines)
    for _ in range(1000):
        lines.tell(counts_event(female=1))
    assert lines.num_dropped > 400
    read_all(pipe[0])


def test_closing_waits_no_longer_than_two_seconds(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1])
    fill(lines)
    lines.take_problems()
    start = time.monotonic()
    lines.close()
    assert time.monotonic() - start < 2
    assert lines.take_problems() == ["1 events were dropped, for the reader is slow"]
    send(lines, WITH_FACE)  # after closing: nothing, and no fault


def test_patience_lets_a_slow_reader_miss_nothing() -> None:
    program = "import sys, time\nfor number, line in enumerate(sys.stdin):\n    time.sleep(0.1 * (number == 0))\n"
    counter = program + "print(number + 1)"
    with subprocess.Popen([sys.executable, "-c", counter], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        lines = EventLines(reader.stdin, patience_s=20)
        for _ in range(500):  # 200 kB, three times what a pipe holds
            send(lines, WITH_FACE)
        lines.close()
        reader.stdin.close()
        assert reader.stdout.read() == b"500\n"
    assert lines.num_dropped == 0


def test_patience_is_used_up_once(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    lines = EventLines(pipe[1], patience_s=0.2)
    fill(lines)
    start = time.monotonic()
    for _ in range(50):
        send(lines, WITH_FACE)
    assert time.monotonic() - start < 2  # not 50 times 0.2 s


def test_a_pipe_that_is_non_blocking_loses_nothing_of_a_line(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    flags = fcntl.fcntl(pipe[1], fcntl.F_GETFL)
    fcntl.fcntl(pipe[1], fcntl.F_SETFL, flags | os.O_NONBLOCK)
    lines = EventLines(pipe[1])
    for _ in range(20):
        send(lines, MANY_FACES)
    content = read_all(pipe[0])
    lines.close()
    content += read_all(pipe[0]) or b""
    assert all(json.loads(line) for line in content.splitlines())


@pytest.mark.parametrize("kind", [io.StringIO, io.BytesIO])
def test_a_stream_in_memory_takes_lines_too(kind: type[io.StringIO | io.BytesIO]) -> None:
    stream = kind()
    lines = EventLines(stream)
    send(lines, WITH_FACE)
    lines.close()
    assert json.loads(stream.getvalue())["frame"] == 7
    assert not stream.closed


def test_a_text_file_takes_lines(tmp_path: Path) -> None:
    with (tmp_path / "events").open("w", encoding="utf-8") as stream:
        lines = EventLines(stream)
        lines.tell({"type": "source", "source": "женщина \udc80"})
        lines.close()
    assert (tmp_path / "events").read_text() == '{"type":"source","source":"женщина \\udc80"}\n'


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        EventLines(io.BytesIO()).tell({"window_s": float("nan")})


def test_no_picture_is_asked_for() -> None:
    assert not EventLines(io.BytesIO()).wants_picture
