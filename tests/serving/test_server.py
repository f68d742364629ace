"""Starting and stopping, whoever is connected and whatever is in the way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from edgegender.errors import MissingDependencyError, OutputError, UsageError
from edgegender.runtime.camera_events import faces_event
from edgegender.serving.app import PreviewApp
from edgegender.serving.hub import PreviewHub
from edgegender.serving.server import PreviewServer, create_preview_server, require_packages, start_preview
from tests.pictures import noise
from tests.serving.running import DEADLINE_S, ToldSource, client, connect, photo_model, result, serving, wait_until


def test_a_preview_starts_beside_the_camera_and_stops() -> None:
    source = ToldSource()
    hub, server = start_preview(":0", source=source, photos=photo_model())
    try:
        assert server.url == f"http://127.0.0.1:{server.port}/"
        with client(server) as ask:
            assert ask.get("/v1/state").json()["camera"]["source"]["name"] == "drawn film"
            assert ask.get("/v1/model").status_code == 200
    finally:
        server.stop()
        server.stop()
    assert hub.is_closed
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_a_preview_of_counts_only_says_so() -> None:
    hub, server = start_preview("127.0.0.1:0", is_aggregate_only=True)
    try:
        assert hub.is_aggregate_only
        with client(server) as ask:
            assert ask.get("/v1/state").json()["camera"]["is_aggregate_only"] is True
    finally:
        server.stop()


def test_a_server_that_others_reach_makes_a_token() -> None:
    server = create_preview_server("0.0.0.0:0")
    try:
        server.start()
        address, _, token = server.url.partition("/?token=")
        assert len(token) >= 43
        assert "0.0.0.0" not in address  # noqa: S104 - nobody can open that
        with client(server) as ask:
            assert ask.get("/v1/state").status_code == 401
            assert ask.get("/v1/state", params={"token": token}).status_code == 200
            assert ask.get("/v1/state", params={"token": token}, headers={"Host": "pi.local"}).status_code == 200
    finally:
        server.stop()


def test_a_token_of_ones_own_is_asked_for_on_loopback_too() -> None:
    server = create_preview_server("[::1]:0" if _has_ipv6() else ":0", token="of-my-own")  # noqa: S106 - of the test
    assert server.url.endswith("/?token=of-my-own")
    server.stop()


def _has_ipv6() -> bool:
    try:
        create_preview_server("[::1]:0").stop()
    except UsageError:
        return False
    return True


def test_a_weak_token_is_refused_before_the_port_is_opened() -> None:
    with pytest.raises(UsageError, match="Expected a token of at least 8"):
        create_preview_server(":0", token="1234")  # noqa: S106 - of the test


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected an address such as :8080"):
        start_preview("http://pi:8080")


def test_a_port_in_use_is_an_error_of_the_environment() -> None:
    with serving() as server:
        with pytest.raises(OutputError, match=f"Expected a free port, got {server.port} in use") as caught:
            start_preview(f":{server.port}")
        assert caught.value.exit_code == 3


def test_the_same_port_serves_again_at_once() -> None:
    with serving(hub=PreviewHub()) as first, client(first) as ask:
        assert ask.get("/healthz").status_code == 200
        port = first.port
    with serving(port=port) as second, client(second) as ask:
        assert ask.get("/healthz").status_code == 200


@pytest.mark.parametrize("module", ["starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named_with_its_extra(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingDependencyError, match=f"Expected the package {module.replace('_', '-')} ") as caught:
        require_packages()
    assert caught.value.hint == "pip install 'edgegender[serve]'"
    with pytest.raises(MissingDependencyError):
        start_preview(":0")


def test_nothing_is_imported_before_it_is_needed() -> None:
    program = "import sys, edgegender.serving.server, edgegender.serving.hub; "
    program += "print([name for name in sys.modules if name in ('starlette', 'uvicorn', 'prometheus_client')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_stops_within_two_seconds_with_viewers_who_read_and_who_do_not() -> None:
    hub = PreviewHub()
    picture_rgb, found = noise(480, 640, seed=2), result()
    with serving(hub=hub) as server:
        held = [connect(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n") for path in ("/stream.mjpg",) * 3]
        held.append(connect(server, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"))
        held.append(connect(server, "POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"))
        held.append(connect(server))
        wait_until(lambda: hub.num_viewers == 3)
        for _ in range(20):
            hub.write(found, faces_event(found), picture_rgb)
            time.sleep(0.01)
        start_s = time.monotonic()
        server.stop()
        assert time.monotonic() - start_s < 2
        assert server._thread is not None
        assert not server._thread.is_alive()
        assert hub.num_viewers == 0
        for connection in held:
            connection.close()


def test_a_server_that_was_never_started_lets_go_of_its_port() -> None:
    server = create_preview_server(":0")
    server.stop()
    create_preview_server(f":{server.port}").stop()


def test_signals_stay_with_the_program() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with serving():
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_running_for_ever_ends_when_it_is_asked_to() -> None:
    server = create_preview_server(":0")
    asking = threading.Thread(target=_stop_when_up, args=(server,))
    asking.start()
    server.run_forever()
    asking.join(DEADLINE_S)
    assert server._thread is not None
    assert not server._thread.is_alive()


def _stop_when_up(server: PreviewServer) -> None:
    server._is_up.wait(DEADLINE_S)
    server.request_stop()


def test_a_server_that_ends_by_itself_is_an_error() -> None:
    server = create_preview_server(":0")

    def end() -> None:
        server._is_up.wait(DEADLINE_S)
        assert server._server is not None
        server._server.should_exit = True

    ending = threading.Thread(target=end)
    ending.start()
    with pytest.raises(OutputError, match="Expected the server to go on until it is stopped"):
        server.run_forever()
    ending.join(DEADLINE_S)


def test_a_server_that_cannot_begin_is_an_error() -> None:
    server = PreviewServer(PreviewApp(), host="127.0.0.1", port=0)
    server._listener.close()
    with pytest.raises(OutputError, match="Expected the server to start within 10 s"):
        server.start()
    server.stop()


def test_what_is_closed_stays_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(hub=PreviewHub()) as server:
        with connect(server, "garbage\r\n\r\n") as connection:
            connection.recv(100)
        with connect(server, "GET /stream.mjpg HTTP/1.1\r\nHost: x\r\n\r\n"), client(server) as ask:
            ask.get("/nothing")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
