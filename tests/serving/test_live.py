"""Pictures and events as they come, over connections that read, do not read, and leave."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edgegender import images
from edgegender.runtime.camera_events import counts_event, faces_event, source_event
from edgegender.serving.app import MAX_LISTENERS, MAX_VIEWERS
from edgegender.serving.hub import PreviewHub
from edgegender.serving.server import PreviewServer
from tests.pictures import noise
from tests.serving.running import DEADLINE_S, Film, ToldSource, client, connect, result, serving, wait_until, write

STREAM = "GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n"
EVENTS = "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def hub() -> PreviewHub:
    return PreviewHub(source=ToldSource())


@pytest.fixture
def server(hub: PreviewHub) -> Iterator[PreviewServer]:
    with serving(hub=hub) as running:
        yield running


@pytest.fixture
def film(hub: PreviewHub) -> Iterator[Film]:
    with Film(hub, ToldSource(), rate_per_s=30) as playing:
        yield playing


def read_events(server: PreviewServer, count: int) -> list[tuple[str, dict[str, object]]]:
    """Returns the first events as (name, data)."""
    found = []
    with client(server) as ask, ask.stream("GET", "/v1/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
            if len(found) == count:
                break
    return found


@pytest.mark.usefixtures("film")
def test_the_stream_is_one_jpeg_after_the_other(server: PreviewServer) -> None:
    with client(server) as ask, ask.stream("GET", "/stream.mjpg") as answer:
        assert answer.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=frame"
        assert answer.headers["Cache-Control"] == "no-store"
        body = b""
        for block in answer.iter_bytes():
            body += block
            if body.count(b"\r\n--frame\r\n") >= 4:
                break
    assert body.startswith(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ")
    pictures = []
    for part in body.split(b"--frame\r\n")[1:4]:
        head, _, content = part.partition(b"\r\n\r\n")
        jpeg = content.removesuffix(b"\r\n")
        assert f"Content-Length: {len(jpeg)}".encode() in head
        pictures.append(images.decode_image(jpeg))
    assert pictures[0].shape == (480, 640, 3)
    assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 1  # the people move


@pytest.mark.usefixtures("film")
def test_a_viewer_who_leaves_is_counted_no_more(server: PreviewServer, hub: PreviewHub) -> None:
    with connect(server, STREAM):
        wait_until(lambda: hub.num_viewers == 1)
    wait_until(lambda: hub.num_viewers == 0)
    assert not hub.wants_picture


def test_a_viewer_who_leaves_is_noticed_without_a_frame(server: PreviewServer, hub: PreviewHub) -> None:
    with connect(server, STREAM):
        wait_until(lambda: hub.num_viewers == 1)
    wait_until(lambda: hub.num_viewers == 0)


def test_a_viewer_who_does_not_read_holds_up_neither_camera_nor_others(server: PreviewServer, hub: PreviewHub) -> None:
    picture_rgb = noise(480, 640, seed=1)  # a quarter of a megabyte as a JPEG: buffers are full at once
    found = result()
    event, times_s, num_read = faces_event(found), [], []
    is_over = threading.Event()

    def watch() -> None:
        with connect(server, STREAM) as connection:
            while not is_over.is_set():
                num_read.append(len(connection.recv(1 << 20)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with connect(server, STREAM) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wait_until(lambda: hub.num_viewers == 2)
        start_s = time.monotonic()
        while time.monotonic() - start_s < 2:
            before_s = time.perf_counter()
            hub.write(found, event, picture_rgb)
            times_s.append(time.perf_counter() - before_s)
            time.sleep(0.02)
        assert hub.num_viewers == 2
        is_over.set()
        hub.write(found, event, picture_rgb)
        watcher.join(DEADLINE_S)
    assert np.median(times_s) < 0.001
    assert np.percentile(times_s, 90) < 0.001  # the rest is the scheduler of a busy machine
    assert sum(num_read) > 1_000_000


def test_alone_a_viewer_who_does_not_read_gets_no_pictures_drawn(server: PreviewServer, hub: PreviewHub) -> None:
    picture_rgb = noise(480, 640, seed=1)
    with connect(server, STREAM) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wait_until(lambda: hub.wants_picture)

        def is_left_alone() -> bool:
            write(hub, 0, picture_rgb)
            return not hub.wants_picture

        wait_until(is_left_alone)


def test_one_viewer_too_many_is_refused(server: PreviewServer, hub: PreviewHub) -> None:
    held = [connect(server, STREAM) for _ in range(MAX_VIEWERS)]
    try:
        wait_until(lambda: hub.num_viewers == MAX_VIEWERS)
        with client(server) as ask:
            answer = ask.get("/stream.mjpg")
        assert answer.status_code == 503
        assert f"at most {MAX_VIEWERS} viewers" in answer.json()["error"]
    finally:
        for connection in held:
            connection.close()


def test_one_listener_too_many_is_refused(server: PreviewServer) -> None:
    held = [connect(server, EVENTS) for _ in range(MAX_LISTENERS)]
    try:
        with client(server) as ask:
            wait_until(lambda: ask.get("/v1/state").json()["listeners"] == MAX_LISTENERS)
            answer = ask.get("/v1/events")
        assert answer.status_code == 503
        assert f"at most {MAX_LISTENERS} listeners" in answer.json()["error"]
    finally:
        for connection in held:
            connection.close()


def test_asking_for_the_head_of_a_stream_ends(server: PreviewServer) -> None:
    with client(server) as ask:
        assert ask.head("/stream.mjpg").headers["Content-Type"].startswith("multipart/")
        assert ask.head("/v1/events").status_code == 200


# Snapshots


@pytest.mark.usefixtures("film")
def test_a_snapshot_is_the_next_picture(server: PreviewServer, hub: PreviewHub) -> None:
    with client(server) as ask:
        answer = ask.get("/v1/snapshot.jpg")
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert images.decode_image(answer.content).shape == (480, 640, 3)
    wait_until(lambda: hub.num_viewers == 0)


def test_without_frames_there_is_no_snapshot(server: PreviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.live._SNAPSHOT_TIMEOUT_S", 0.1)
    with client(server) as ask:
        answer = ask.get("/v1/snapshot.jpg")
    assert answer.status_code == 503
    assert "Expected a picture from the camera" in answer.json()["error"]
    assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize("path", ["/stream.mjpg", "/v1/snapshot.jpg"])
def test_under_aggregate_only_no_picture_leaves(path: str) -> None:
    with serving(hub=PreviewHub(is_aggregate_only=True)) as server, client(server) as ask:
        answer = ask.get(path)
    assert answer.status_code == 404
    assert "counts only" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/stream.mjpg", "/v1/snapshot.jpg", "/v1/events"])
def test_without_a_camera_there_is_nothing_live(path: str) -> None:
    with serving(has_photos=True) as server, client(server) as ask:
        answer = ask.get(path)
    assert answer.status_code == 404
    assert "Expected a camera" in answer.json()["error"]


# Events


@pytest.mark.usefixtures("film")
def test_faces_come_as_events(server: PreviewServer) -> None:
    (first, event), (second, later) = read_events(server, 2)
    assert first == second == "faces"
    assert event["schema"] == "edgegender.camera/1"
    assert [face["track_id"] for face in event["faces"]] == [1, 2]  # type: ignore[attr-defined]
    assert int(str(later["frame"])) > int(str(event["frame"]))


@pytest.mark.usefixtures("film")
def test_faces_come_ten_times_a_second_at_most(server: PreviewServer) -> None:
    start_s = time.monotonic()
    read_events(server, 10)
    assert time.monotonic() - start_s > 0.8  # nine pauses of 0.1 s


def test_every_event_of_another_type_arrives_from_then_on(server: PreviewServer, hub: PreviewHub) -> None:
    is_over = threading.Event()

    def tell() -> None:
        count = 0
        while not is_over.wait(0.02):
            count += 1
            hub.tell(counts_event(window_s=1, people={"female": count}, people_in_all={}))

    for _ in range(5):
        hub.tell(source_event(ToldSource(name="before anybody listened")))
    telling = threading.Thread(target=tell)
    telling.start()
    found = read_events(server, 20)
    is_over.set()
    telling.join()
    assert {name for name, _ in found} == {"counts"}
    counts = [event["people"]["female"] for _, event in found]  # type: ignore[index]
    assert counts == list(range(counts[0], counts[0] + 20))


def test_silence_is_broken_by_a_heartbeat(server: PreviewServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.live._HEARTBEAT_S", 0.2)
    with client(server) as ask, ask.stream("GET", "/v1/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        assert next(line for line in lines if line).startswith(":")


def test_a_hub_that_closes_ends_its_streams(server: PreviewServer, hub: PreviewHub) -> None:
    with client(server) as ask, ask.stream("GET", "/stream.mjpg") as pictures:
        wait_until(lambda: hub.num_viewers == 1)
        hub.close()
        assert pictures.read() == b"--frame\r\n"
