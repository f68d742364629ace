"""`edgegender camera`, as it is typed: events, sources, outputs, and what bad input gets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import jsonschema
import pytest

import edgegender
from edgegender.images import encode_image
from tests.cli.commands import TIMEOUT_S, environment, heed_interrupts, run_apart, run_here
from tests.runtime.moving_scenes import draw_people, film, straight

SIZE_WH = (320, 240)
SCHEMA = json.loads((Path(edgegender.__file__).parent / "runtime" / "camera_event.schema.json").read_text())
PEOPLE = draw_people([straight((110, 110), (10, 0), side=90), straight((220, 120), (-5, 4), side=80)])


@pytest.fixture(scope="module")
def pictures() -> list:
    return [moving.image_rgb for moving in film(PEOPLE, num_frames=24, size_wh=SIZE_WH)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, pictures: list) -> Path:
    """24 frames of two people, 30 a second."""
    path = tmp_path_factory.mktemp("video") / "two.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, SIZE_WH)
    for image in pictures:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def events_of(printed: str) -> list[dict]:
    """Returns the events, each held against the schema."""
    events = [json.loads(line) for line in printed.splitlines()]
    for event in events:
        jsonschema.validate(event, SCHEMA)
    return events


@contextmanager
def camera(*arguments: object, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edgegender", "camera", *map(str, arguments)]
    with subprocess.Popen(
        command,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - no threads run here
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], kind: str) -> dict:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["type"] == kind:
            return event
    raise AssertionError(f"no event of type {kind}")


# Events


def test_a_video_gives_an_event_a_frame_and_counts_people(capfd: pytest.CaptureFixture[str], video: Path) -> None:
    answer = run_here(capfd, "camera", "--source", video, "--budget", "full")
    events = events_of(answer.out)
    faces = [event for event in events if event["type"] == "faces"]
    assert answer.code == 0
    assert [event["frame"] for event in faces] == list(range(24))
    assert [len(event["faces"]) for event in faces] == [2] * 24
    assert {face["track_id"] for event in faces for face in event["faces"]} == {1, 2}
    assert events[-1]["type"] == "end"
    assert sum(events[-1]["people"].values()) == 2
    assert answer.err.startswith("24 frames in ")


def test_the_times_of_a_video_are_its_own_however_fast_it_is_read(
    capfd: pytest.CaptureFixture[str], video: Path
) -> None:
    answer = run_here(capfd, "camera", "--source", video, "--window-s", "0.25")
    windows = [event for event in events_of(answer.out) if event["type"] == "counts"]
    assert [event["window_s"] for event in windows][:-1] == [0.25] * (len(windows) - 1)
    assert len(windows) == 4  # 23 thirtieths of a second


def test_it_stops_after_so_many_frames(capfd: pytest.CaptureFixture[str], video: Path) -> None:
    events = events_of(run_here(capfd, "camera", "--source", video, "--max-frames", "5").out)
    assert events[-1]["reason"] == "max_frames"
    assert events[-1]["counters"]["frames"] == 5


def test_counts_only_means_that_no_face_leaves(capfd: pytest.CaptureFixture[str], video: Path) -> None:
    answer = run_here(capfd, "camera", "--source", video, "--aggregate-only", "--window-s", "0.5", "--every-frame")
    events = events_of(answer.out)
    assert {event["type"] for event in events} == {"source", "counts", "end"}
    assert not {"box_xyxy", "track_id", "score", "faces"} & set(answer.out.replace('"', " ").split())
    assert sum(events[-1]["people"].values()) == 2


def test_quiet_prints_no_events(capfd: pytest.CaptureFixture[str], video: Path) -> None:
    assert run_here(capfd, "camera", "--source", video, "--quiet", "--max-frames", "2").out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(video: Path, number: int) -> None:
    with camera("--source", video, "--loop", "--realtime") as process:
        read_until(process, "faces")
        process.send_signal(number)
        rest, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, err
    assert json.loads(rest.splitlines()[-1])["reason"] == "stopped"
    assert "Traceback" not in err


def test_a_reader_that_leaves_ends_it_quietly(video: Path) -> None:
    with camera("--source", video, "--loop") as process:
        read_until(process, "faces")
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(TIMEOUT_S) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


# Sources


def test_photos_of_a_folder_are_each_answered_alone(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, pictures: list
) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(encode_image(pictures[index * 8], suffix=".png"))
    (tmp_path / "3.png").write_bytes(b"no picture")
    answer = run_here(capfd, "camera", "--source", tmp_path)
    events = events_of(answer.out)
    assert [len(event["faces"]) for event in events if event["type"] == "faces"] == [2, 2, 2]
    assert events[-1]["counters"]["damaged"] == 1
    assert sum(events[-1]["people"].values()) == 6


def test_raw_frames_come_in_on_standard_input(pictures: list) -> None:
    with camera("--source", "-", "--size", "320x240", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for image in pictures[:6]:
            process.stdin.buffer.write(image.tobytes())
        process.stdin.buffer.write(b"half a frame")
        out, _ = process.communicate(timeout=TIMEOUT_S)
    events = events_of(out)
    assert process.returncode == 0
    assert events[-1]["counters"]["frames"] == 6
    assert events[-1]["counters"]["damaged"] == 1


def test_a_file_with_the_address_keeps_its_password_out_of_sight(tmp_path: Path) -> None:
    secret = tmp_path / "camera"
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        secret.write_text(f"rtsp://me:hush@127.0.0.1:{closed.getsockname()[1]}/live\n")
    answer = run_apart("camera", "--source", f"@{secret}")
    assert answer.code == 3
    assert "rtsp://me:" in answer.err
    assert "hush" not in answer.err + answer.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--source", "nowhere.mp4"), 2, "nowhere.mp4"),
        (("--source", "ftp://x/y"), 2, "Expected an address"),
        (("--source", "-"), 2, "size"),
        (("--source", "/dev/video77"), 3, "/dev/video77"),
        (("--source", "@missing"), 2, "Expected a file with one line"),
        (("--source", "VIDEO", "--size", "12"), 2, "Expected a size such as 640x480"),
        (("--source", "VIDEO", "--preview", "nonsense:x"), 2, "Expected an address"),
        (("--source", "VIDEO", "--mqtt", "http://x"), 2, "Expected an address of a broker"),
        (("--source", "VIDEO", "--record", "video.txt"), 2, "mp4"),
        (("--source", "VIDEO", "--aggregate-only", "--window"), 2, "counts only"),
        (("--source", "VIDEO", "--token", "abc", "--token-file", "x"), 2, "got both"),
        (("--source", "VIDEO", "--detector", "yunet", "--detector-path", "VIDEO"), 2, "YuNet"),
        (("--source", "VIDEO", "--model", "VIDEO"), 1, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_cannot_be_is_refused_with_one_line(
    video: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    words = [str(video) if word == "VIDEO" else word for word in arguments]
    answer = run_apart("camera", *words, cwd=tmp_path)
    assert answer.code == code, answer.err
    assert answer.err.startswith("error: ")
    assert message in answer.err.splitlines()[0]
    assert answer.out == ""
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    answer = run_apart("camera", "--source", tmp_path / "noise.mp4")
    assert answer.code == 1
    assert answer.err.splitlines()[-2].startswith("error: Expected frames, got none")


# Outputs


def test_a_recording_holds_every_frame_of_a_file(
    capfd: pytest.CaptureFixture[str], video: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    answer = run_here(capfd, "camera", "--source", video, "--record", target, "--blur", "--budget", "full")
    assert answer.code == 0
    capture = cv2.VideoCapture(str(target))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    assert count == 24
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_a_recording_that_is_there_already_is_kept(
    capfd: pytest.CaptureFixture[str], video: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.avi"
    target.write_bytes(b"the one of yesterday")
    abandoned, others = tmp_path / ".part-1.avi", tmp_path / ".part-2.avi"
    for path in (abandoned, others):
        path.touch()
    os.utime(abandoned, (0, 0))
    answer = run_here(capfd, "camera", "--source", video, "--record", target, "--quiet", "--max-frames", "3")
    assert answer.code == 0
    assert target.read_bytes() == b"the one of yesterday"
    assert (tmp_path / "out-2.avi").stat().st_size > 1000
    assert f"recording into {tmp_path / 'out-2.avi'}" in answer.err
    assert not abandoned.exists()
    assert others.exists()


def test_a_preview_on_a_port_in_use_is_an_error_before_the_first_frame(video: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = run_apart("camera", "--source", video, "--preview", f":{port}")
    assert answer.code == 3
    assert answer.err.startswith("error: Expected a free port")
    assert answer.out == ""


def test_a_broker_that_is_away_is_told_and_holds_nothing_up(video: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    answer = run_apart("camera", "--source", video, "--realtime", "--mqtt", f"mqtt://127.0.0.1:{port}")
    events = events_of(answer.out)
    assert answer.code == 0
    assert events[-1]["type"] == "end"
    assert any(event["type"] == "output" for event in events)


def test_the_preview_shows_the_camera_and_answers_photos(video: Path, pictures: list) -> None:
    import httpx

    with camera("--source", video, "--loop", "--realtime", "--preview", ":0", "--quiet") as process:
        assert process.stderr is not None
        url = process.stderr.readline().split()[-1]
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        base = url.rstrip("/")
        deadline = time.monotonic() + TIMEOUT_S
        while httpx.get(f"{base}/healthz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        snapshot = httpx.get(f"{base}/v1/snapshot.jpg")
        assert snapshot.content[:3] == b"\xff\xd8\xff"
        photo = httpx.post(
            f"{base}/v1/predict", content=encode_image(pictures[0]), headers={"content-type": "image/jpeg"}
        )
        assert photo.json()["status"] == "ok"
        assert "edgegender_frames_total" in httpx.get(f"{base}/metrics").text
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
        drain.join()


# Service


def test_the_unit_of_a_service_runs_the_same_command(tmp_path: Path) -> None:
    answer = run_apart(
        "camera",
        "--source",
        "0",
        "--window-s",
        "60",
        "--aggregate-only",
        "--user-service",
        "--install-service",
        "--dry-run",
        cwd=tmp_path,
    )
    (line,) = [line for line in answer.out.splitlines() if line.startswith("ExecStart=")]
    assert answer.code == 0, answer.err
    assert line.split(" camera ")[1].split() == [
        "--source",
        "0",
        "--window-s",
        "60",
        "--aggregate-only",
        "--wait",
        "--quiet",
    ]
    assert "WatchdogSec=" in answer.out


def test_a_service_manager_gets_signs_of_life(video: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        told: list[str] = []

        def listen() -> None:
            while not told or told[-1] != "STOPPING=1":
                told.append(manager.recv(4096).decode())

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        command = [sys.executable, "-m", "edgegender", "camera", "--source", str(video), "--quiet"]
        asked = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        done = subprocess.run(command, env={**environment(), **asked}, capture_output=True, check=False)
        assert done.returncode == 0
        listener.join(TIMEOUT_S)
    assert any(text.startswith("READY=1") for text in told)
    assert any("WATCHDOG=1" in text for text in told)
    assert told[-1] == "STOPPING=1"
