"""POST /v1/predict on a server that runs, with the embedded model: every photo has an answer or a clear no."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from edgegender.entities import UInt8Array
from edgegender.errors import ModelFileError
from edgegender.images import encode_image
from edgegender.runtime.photos import PhotoPredictor
from edgegender.serving.app import PreviewApp, ServingLimits
from edgegender.serving.hub import PreviewHub
from edgegender.serving.predictions import MAX_WAITING, PhotoDesk
from edgegender.serving.server import PreviewServer
from tests.pictures import ALL_FORMATS, black_png, encode_as, gradient
from tests.serving.running import (
    DEADLINE_S,
    client,
    connect,
    create_predictor,
    jpeg_of_people,
    photo_model,
    read_until,
    scene,
    serving,
    wait_until,
    write_photo_of_people,
)

JPEG = {"Content-Type": "image/jpeg"}
LIMITS = ServingLimits(max_upload_bytes=400_000, rate_per_s=1000, burst=1000, upload_timeout_s=1)


@pytest.fixture(scope="module")
def server() -> Iterator[PreviewServer]:
    with serving(has_photos=True, limits=LIMITS) as running:
        yield running


@pytest.fixture
def ask(server: PreviewServer) -> Iterator[httpx.Client]:
    with client(server) as asking:
        yield asking


def check_refused(answer: httpx.Response, status: int, *words: str) -> None:
    """Makes sure of the status and of an error and a hint of one line each."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "hint"}
    for text in body.values():
        assert text
        assert "\n" not in text
    for word in words:
        assert word in body["error"], body


def test_a_photo_is_answered_as_predict_does(ask: httpx.Client, tmp_path: Path) -> None:
    file = write_photo_of_people(tmp_path)
    expected = create_predictor().predict_file(file).to_json()
    del expected["path"]
    answer = ask.post("/v1/predict", content=file.read_bytes(), headers=JPEG)
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(expected))
    assert len(answer.json()["faces"]) == 2


def test_a_form_is_answered_as_the_photo_itself(ask: httpx.Client) -> None:
    photo = jpeg_of_people()
    plain = ask.post("/v1/predict", content=photo, headers=JPEG)
    form = ask.post("/v1/predict", files={"file": ("a.jpg", photo)})
    assert form.json() == plain.json()


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_every_format_is_answered(ask: httpx.Client, name: str) -> None:
    photo = encode_as(name, scene()[0][::2, ::2])
    media_type = {"png": "image/png", "bmp": "image/bmp"}.get(name, "application/octet-stream")
    answer = ask.post("/v1/predict", content=photo, headers={"Content-Type": media_type})
    assert answer.status_code == 200, answer.text


def test_a_photo_without_a_face_is_no_error(ask: httpx.Client) -> None:
    answer = ask.post("/v1/predict", content=encode_image(gradient(100, 100)), headers=JPEG)
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["faces"]) == ("no_face", [])


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"hello", "got another format"), (b"", "got 0 bytes"), (jpeg_of_people()[:-400], "truncated"),
     (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "damaged")],
)  # fmt: skip
def test_what_is_no_whole_photo_is_refused_at_once(ask: httpx.Client, content: bytes, word: str) -> None:
    start_s = time.monotonic()
    check_refused(ask.post("/v1/predict", content=content, headers=JPEG), 400, word)
    assert time.monotonic() - start_s < 1.5  # a refusal lingers for two seconds where the client still sends


def test_a_form_without_the_field_is_refused(ask: httpx.Client) -> None:
    check_refused(ask.post("/v1/predict", files={"photo": ("a.jpg", b"x")}), 400, "field 'file'")


def test_a_bomb_is_refused_before_it_is_decoded(ask: httpx.Client) -> None:
    bomb = black_png(6000, 6000)
    assert len(bomb) < LIMITS.max_upload_bytes
    start_s = time.monotonic()
    answer = ask.post("/v1/predict", content=bomb, headers={"Content-Type": "image/png"})
    check_refused(answer, 413, "25,000,000 pixels", "6,000 × 6,000")
    assert time.monotonic() - start_s < 5  # decoding 108 MB takes seconds on a board


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "image/svg+xml", "image/gif", "nonsense", ""]
)
def test_another_type_is_refused(ask: httpx.Client, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    check_refused(ask.post("/v1/predict", content=jpeg_of_people(), headers=headers), 415, "Expected a photo as")


def test_a_large_upload_is_refused_by_its_length(ask: httpx.Client) -> None:
    answer = ask.post("/v1/predict", content=b"\xff" * 5_000_000, headers=JPEG)
    check_refused(answer, 413, "at most 400,000 bytes")


def test_a_large_upload_without_a_length_is_refused_while_it_comes(ask: httpx.Client) -> None:
    sent = []

    def blocks() -> Iterator[bytes]:
        for _ in range(300):
            sent.append(1)
            yield b"\xff" * 10_000

    check_refused(ask.post("/v1/predict", content=blocks(), headers=JPEG), 413, "at most 400,000 bytes")
    # a client may send on while it is refused, but nothing of that is kept
    assert len(sent) > 40


def test_a_photo_of_the_largest_size_is_taken_in_a_form_too(ask: httpx.Client) -> None:
    photo = jpeg_of_people()
    padded = photo + b"\0" * (LIMITS.max_upload_bytes - len(photo))
    assert ask.post("/v1/predict", files={"file": ("a.jpg", padded)}).status_code == 200
    assert ask.post("/v1/predict", files={"file": ("a.jpg", padded + b"\0")}).status_code == 413


def test_an_upload_that_does_not_end_is_given_up(server: PreviewServer) -> None:
    head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc"
    with connect(server, head) as connection:
        received = read_until(connection, b"hint")
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"Expected the whole photo within 1 s" in received


def test_a_client_that_leaves_while_it_sends_leaves_no_trace(server: PreviewServer, ask: httpx.Client) -> None:
    head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc"
    for _ in range(2 * MAX_WAITING):
        connect(server, head).close()
    photo = jpeg_of_people()
    wait_until(lambda: ask.post("/v1/predict", content=photo, headers=JPEG).status_code == 200)


def test_reading_the_address_is_refused_as_another_method(ask: httpx.Client) -> None:
    answer = ask.get("/v1/predict")
    check_refused(answer, 405, "Method Not Allowed")
    assert answer.headers["Allow"] == "POST"


def test_many_photos_at_once_are_answered_or_told_to_wait(ask: httpx.Client) -> None:
    photo, statuses = jpeg_of_people(), []

    def send() -> None:
        statuses.append(ask.post("/v1/predict", content=photo, headers=JPEG).status_code)

    threads = [threading.Thread(target=send) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 1 + MAX_WAITING


def test_one_photo_more_than_may_wait_is_told_to_come_back(server: PreviewServer, ask: httpx.Client) -> None:
    head = "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 9\r\n\r\nabc"
    held: list[socket.socket] = [connect(server, head) for _ in range(1 + MAX_WAITING)]
    try:
        statuses = []
        wait_until(lambda: bool(statuses.append(_ask_with_photo(ask)) or statuses[-1].status_code == 503))
    finally:
        for connection in held:
            connection.close()
    check_refused(statuses[-1], 503, "Expected a free place")
    assert statuses[-1].headers["Retry-After"] == "1"


def _ask_with_photo(ask: httpx.Client) -> httpx.Response:
    return ask.post("/v1/predict", content=b"x", headers=JPEG)


def test_too_many_photos_a_second_are_refused() -> None:
    limits = ServingLimits(rate_per_s=0.1, burst=3)
    with serving(has_photos=True, limits=limits) as server, client(server) as ask:
        answers = [_ask_with_photo(ask) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [400, 400, 400, 429, 429]
        check_refused(answers[-1], 429, "fewer requests")
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
        assert ask.get("/v1/state").json()["refused"] == {"400": 3, "429": 2}


@contextlib.contextmanager
def serving_desk(create: Callable[[], PhotoPredictor]) -> Iterator[PreviewServer]:
    """Runs a server whose photos are answered by the test's own, and whose hub hears of bugs."""
    app = PreviewApp(hub=PreviewHub(), photos=PhotoDesk(photo_model().file, create))
    server = PreviewServer(app, host="127.0.0.1", port=0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_a_model_that_went_away_is_an_error_of_the_server() -> None:
    def fail() -> PhotoPredictor:
        raise ModelFileError("Expected a model file, got none.", hint="Copy it again.")

    with serving_desk(fail) as server, client(server) as ask:
        check_refused(ask.post("/v1/predict", content=jpeg_of_people(), headers=JPEG), 500, "Expected a model file")


def test_a_bug_is_told_to_nobody_but_whoever_runs_it() -> None:
    class Broken(PhotoPredictor):
        def predict_image(self, image_rgb: UInt8Array) -> tuple[()]:
            del image_rgb
            raise ZeroDivisionError("secret")

    made = create_predictor()
    with serving_desk(lambda: Broken(made._classifier, made._detector)) as server, client(server) as ask:
        answer = ask.post("/v1/predict", content=jpeg_of_people(), headers=JPEG)
        check_refused(answer, 500, "Unexpected error of the server")
        assert "secret" not in answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        assert server._app.hub is not None
        assert server._app.hub.take_problems() == ["Unexpected ZeroDivisionError at /v1/predict: secret"]
        with client(server) as other:
            assert other.get("/v1/model").status_code == 200


def test_where_no_model_is_served_photos_are_refused() -> None:
    with serving() as server, client(server) as ask:
        check_refused(ask.post("/v1/predict", content=b"x", headers=JPEG), 404, "Expected a model")
        check_refused(ask.get("/v1/model"), 404, "Expected a model")


def test_the_model_says_what_it_is_for(ask: httpx.Client) -> None:
    model = ask.get("/v1/model").json()
    assert model["labels"] == ["female", "male"]
    assert model["sha256"] == photo_model().file.sha256
    assert 0.9 < model["accuracy"]["low"] < model["accuracy"]["value"] < model["accuracy"]["high"] < 1
    assert "not an identity" in model["intended_use"]


def test_a_slow_answer_does_not_hold_up_the_page(server: PreviewServer) -> None:
    with client(server) as other, client(server) as ask:
        large = encode_image(gradient(3000, 4000), jpeg_quality=30)
        assert len(large) < LIMITS.max_upload_bytes
        thread = threading.Thread(target=other.post, args=("/v1/predict",), kwargs={"content": large, "headers": JPEG})
        thread.start()
        start_s = time.monotonic()
        while thread.is_alive() and time.monotonic() - start_s < DEADLINE_S:
            asked_s = time.monotonic()
            assert ask.get("/healthz").status_code == 200
            assert time.monotonic() - asked_s < 2  # the photo itself may take longer on a busy machine
        thread.join()
