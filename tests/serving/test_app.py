"""Page, state, health, metrics, headers, and who is let in, on servers that run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgegender.serving.access import AccessRules, loopback_rules
from edgegender.serving.app import ServingLimits
from edgegender.serving.hub import PreviewHub
from edgegender.serving.server import PreviewServer
from tests.serving.running import ToldSource, client, connect, read_until, serving, wait_until, write

TOKEN = "correct-horse-battery"  # noqa: S105 - of the tests only
EVERY_ADDRESS = (
    "/", "/page.js", "/v1/state", "/v1/events", "/v1/snapshot.jpg", "/v1/model", "/stream.mjpg", "/metrics",
    "/openapi.json", "/nothing",
)  # fmt: skip


@pytest.fixture
def source() -> ToldSource:
    return ToldSource()


@pytest.fixture
def hub(source: ToldSource) -> PreviewHub:
    return PreviewHub(source=source)


@pytest.fixture
def ask(hub: PreviewHub) -> Iterator[httpx.Client]:
    with serving(hub=hub) as server, client(server) as asking:
        yield asking


@pytest.fixture(scope="module")
def locked() -> Iterator[PreviewServer]:
    limits = ServingLimits(rate_per_s=1000, burst=1000)
    with serving(hub=PreviewHub(), has_photos=True, rules=AccessRules(TOKEN), limits=limits) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[httpx.Client]:
    """Asks a server that tests do not change."""
    with serving(hub=PreviewHub()) as server, client(server) as asking:
        yield asking


# The page


@pytest.mark.parametrize(
    ("path", "media_type", "word"),
    [("/", "text/html", "never an identity"), ("/page.css", "text/css", "prefers-color-scheme"),
     ("/page.js", "text/javascript", "EventSource"), ("/icon.svg", "image/svg+xml", "<svg")],
)  # fmt: skip
def test_the_page_is_made_of_own_files(plain: httpx.Client, path: str, media_type: str, word: str) -> None:
    answer = plain.get(path)
    assert answer.headers["Content-Type"].startswith(media_type)
    assert word in answer.text
    assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in answer.text


@pytest.mark.parametrize("path", ["/", "/v1/state", "/healthz", "/metrics", "/nothing"])
def test_every_answer_carries_safe_headers(plain: httpx.Client, path: str) -> None:
    headers = plain.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Server" not in headers
    assert not any(name.startswith("access-control-") for name in headers)


def test_what_is_not_there_is_said_as_json(plain: httpx.Client) -> None:
    answer = plain.get("/../../etc/passwd")
    assert answer.status_code == 404
    assert answer.json()["hint"] == "See /openapi.json."


# State, health and metrics


def test_the_state_tells_of_camera_and_server(ask: httpx.Client, hub: PreviewHub) -> None:
    write(hub, 3)
    state = ask.get("/v1/state").json()
    assert state["schema"] == "edgegender.preview/1"
    assert state["camera"]["frame"] == 3
    assert state["camera"]["source"]["name"] == "drawn film"
    assert state["max_upload_bytes"] is None


def test_a_camera_that_runs_is_healthy(plain: httpx.Client) -> None:
    answer = plain.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "reason": None})


def test_health_follows_the_source_and_tells_nothing_of_its_address(ask: httpx.Client, source: ToldSource) -> None:
    source.state, source.problem = "lost", "rtsp://pi.local/stream: no answer"
    answer = ask.get("/healthz")
    assert (answer.status_code, answer.json()) == (503, {"status": "trouble", "reason": "the source is lost"})
    source.state = "running"
    assert ask.get("/healthz").status_code == 200


def test_silence_is_no_health() -> None:
    with serving(hub=PreviewHub(silence_s=0.05)) as server, client(server) as ask:
        wait_until(lambda: ask.get("/healthz").status_code == 503)
        assert "no frame for" in ask.get("/healthz").json()["reason"]


def test_a_server_without_a_camera_is_healthy() -> None:
    with serving() as server, client(server) as ask:
        assert ask.get("/healthz").status_code == 200


def read_metrics(ask: httpx.Client) -> dict[str, float]:
    """Returns each value by its name and label."""
    answer = ask.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        sample.name + "".join(f"/{value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_tell_the_counts_of_camera_and_server(ask: httpx.Client, hub: PreviewHub, source: ToldSource) -> None:
    source.counters.frames, source.counters.drops, source.counters.reconnects = 90, 5, 2
    write(hub, 0)
    write(hub, 1)
    ask.get("/nothing")
    found = read_metrics(ask)
    assert found["edgegender_frames_total"] == 90
    assert found["edgegender_drops_total"] == 5
    assert found["edgegender_reconnects_total"] == 2
    assert {f"edgegender_{name}_total" for name in ("stalls", "losses", "damaged")} <= set(found)
    assert found["edgegender_stage_seconds_count/detect"] == 2
    assert found["edgegender_stage_seconds_sum/detect"] == pytest.approx(0.025)
    assert found["edgegender_people/female"] == 3
    assert found["edgegender_refused_requests_total/404"] == 1
    assert (found["edgegender_up"], found["edgegender_viewers"]) == (1, 0)
    assert found["edgegender_fps"] > 0
    assert not any(name.startswith(("python_", "process_")) for name in found)


def test_metrics_without_a_camera_are_those_of_the_server() -> None:
    with serving() as server, client(server) as ask:
        ask.get("/nothing")
        assert read_metrics(ask) == {"edgegender_refused_requests_total/404": 1}


# Who is let in


@pytest.mark.parametrize("path", EVERY_ADDRESS)
def test_without_the_token_nothing_is_told(locked: PreviewServer, path: str) -> None:
    with client(locked) as ask:
        answer = ask.get(path)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Expected the token" in answer.json()["error"]


def test_without_the_token_no_photo_is_answered(locked: PreviewServer) -> None:
    with client(locked) as ask:
        answer = ask.post("/v1/predict", content=b"x" * 300_000, headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 401


def test_health_needs_no_token(locked: PreviewServer) -> None:
    with client(locked) as ask:
        assert ask.get("/healthz").status_code == 200


def test_a_person_without_the_token_is_asked_for_it(locked: PreviewServer) -> None:
    with client(locked) as ask:
        answer = ask.get("/", headers={"Accept": "text/html"})
        assert answer.status_code == 401
        assert '<input id="token" name="token"' in answer.text
        assert ask.get("/page.css").status_code == 200


@pytest.mark.parametrize("place", [{"params": {"token": TOKEN}}, {"headers": {"Authorization": f"Bearer {TOKEN}"}}])
def test_the_token_opens_every_address(locked: PreviewServer, place: dict[str, dict[str, str]]) -> None:
    with client(locked) as ask:
        for path in ("/", "/v1/state", "/v1/model", "/metrics", "/openapi.json"):
            assert ask.get(path, **place).status_code == 200  # type: ignore[arg-type]


def test_a_browser_brings_the_token_once(locked: PreviewServer) -> None:
    with client(locked) as ask:
        cookie = ask.get("/", params={"token": TOKEN}).headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert ask.get("/v1/state").status_code == 200


def test_a_wrong_token_sets_no_cookie(locked: PreviewServer) -> None:
    with client(locked) as ask:
        answer = ask.get("/", params={"token": "wrong-token"})
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers


def test_a_host_that_looks_like_an_open_path_opens_nothing(locked: PreviewServer) -> None:
    with connect(locked, "GET /v1/state HTTP/1.1\r\nHost: x/healthz?\r\nConnection: close\r\n\r\n") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 40")  # 400 or 401


def test_guessing_tokens_is_slowed_down() -> None:
    limits = ServingLimits(rate_per_s=0.1, burst=3)
    with serving(rules=AccessRules(TOKEN), limits=limits) as server, client(server) as ask:
        statuses = [ask.get("/v1/state", params={"token": f"guess-{number}"}).status_code for number in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert ask.get("/v1/state", params={"token": TOKEN}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "192.168.1.2"])
def test_on_loopback_another_host_name_is_refused(host: str) -> None:
    with serving(rules=loopback_rules("127.0.0.1")) as server, client(server) as ask:
        answer = ask.get("/v1/state", headers={"Host": host})
        assert answer.status_code == 403
        assert "Expected the host localhost" in answer.json()["error"]
        assert ask.get("/v1/state", headers={"Host": "localhost:1"}).status_code == 200
        assert ask.get("/v1/state", headers={"Host": "[::1]:1"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"},
     {"Origin": "null"}],
)  # fmt: skip
def test_another_web_page_may_neither_send_nor_embed(plain: httpx.Client, headers: dict[str, str]) -> None:
    photo = {"content": b"x", "headers": {"Content-Type": "image/jpeg", **headers}}
    assert plain.post("/v1/predict", **photo).status_code == 403  # type: ignore[arg-type]
    assert plain.get("/stream.mjpg", headers=headers).status_code == 403
    assert plain.get("/v1/state", headers=headers).status_code == 403


def test_a_link_on_another_web_page_may_be_followed(plain: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert plain.get("/", headers=headers).status_code == 200


def test_an_own_page_may_send(plain: httpx.Client) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": str(plain.base_url).rstrip("/"), "Content-Type": "image/jpeg"}
    assert plain.post("/v1/predict", content=b"x", headers=headers).status_code == 404  # let in, and no model there


# Clients that only hold a connection


def test_a_client_that_never_finishes_its_request_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.connection._HEAD_TIMEOUT_S", 0.3)
    monkeypatch.setattr("edgegender.serving.connection._LOOK_INTERVAL_S", 0.1)
    with serving() as server:
        for begun in ("", "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "):
            with connect(server, begun) as connection, pytest.raises(ConnectionResetError):
                _read_to_the_end(connection)


def _read_to_the_end(connection: object) -> None:
    while connection.recv(4096):  # type: ignore[attr-defined]
        pass
    raise ConnectionResetError  # an orderly end is as good


def test_a_client_that_asks_again_and_again_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.connection._HEAD_TIMEOUT_S", 0.5)
    monkeypatch.setattr("edgegender.serving.connection._LOOK_INTERVAL_S", 0.1)
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving() as server, connect(server) as connection:
        start_s = time.monotonic()
        while time.monotonic() - start_s < 1.5:
            connection.sendall(request)
            assert read_until(connection, b"reason").startswith(b"HTTP/1.1 200")
            time.sleep(0.05)


def test_a_client_that_reads_nothing_is_cut_off_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.connection._STUCK_TIMEOUT_S", 0.5)
    monkeypatch.setattr("edgegender.serving.connection._LOOK_INTERVAL_S", 0.1)
    from tests.pictures import noise

    hub, picture_rgb = PreviewHub(), noise(480, 640, seed=1)
    with serving(hub=hub) as server, connect(server, "GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n"):
        wait_until(lambda: hub.num_viewers == 1)

        def is_cut_off() -> bool:
            write(hub, 0, picture_rgb)
            return hub.num_viewers == 0

        wait_until(is_cut_off)


def test_more_connections_than_allowed_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegender.serving.connection.MAX_CONNECTIONS", 3)
    with serving() as server:
        held = [connect(server) for _ in range(3)]
        try:
            with connect(server) as one_more, pytest.raises(ConnectionResetError):
                _read_to_the_end(one_more)
        finally:
            for connection in held:
                connection.close()
        with client(server) as ask:
            wait_until(lambda: _is_answered(ask))


def _is_answered(ask: httpx.Client) -> bool:
    try:
        return ask.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_garbage_is_no_end() -> None:
    with serving() as server:
        with connect(server, "\x16\x03\x01 no http at all\r\n\r\n") as connection:
            assert connection.recv(100).startswith(b"HTTP/1.1 400")
        with client(server) as ask:
            assert ask.get("/healthz").status_code == 200
