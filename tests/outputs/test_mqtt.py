"""Messages at a real broker: what arrives, what stays there, and what an outage does."""

from __future__ import annotations

import builtins
import json
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegender.errors import MissingDependencyError, UsageError
from edgegender.outputs.mqtt import Mqtt
from tests.outputs.mosquitto import Broker, Listener, listening, running
from tests.outputs.results import counts_event, end_event, frame_result, send, source_event, tracked_face, wait_until

LABELS = ("female", "male")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("mosquitto")) as started:
        yield started


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    with listening(broker) as heard:
        yield heard


def connected(output: Mqtt) -> Mqtt:
    wait_until(lambda: output.is_connected)
    return output


# What arrives


def test_faces_counts_and_the_source_arrive_under_their_topics(broker: Broker, listener: Listener) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/arrive"))
    send(output, frame_result(tracked_face(), index=7))
    output.tell(counts_event(female=2))
    output.tell(source_event())
    output.tell(end_event())
    wait_until(lambda: listener.texts("test/arrive/source"))
    output.close()
    wait_until(lambda: listener.texts("test/arrive/status")[-1:] == ["offline"])
    faces = json.loads(listener.texts("test/arrive/faces")[0])
    assert (faces["type"], faces["frame"], len(faces["faces"])) == ("faces", 7, 1)
    assert json.loads(listener.texts("test/arrive/counts")[0])["people"] == {"female": 2}
    assert json.loads(listener.texts("test/arrive/source")[0])["state"] == "running"
    assert listener.texts("test/arrive/status") == ["online", "offline"]
    topics = {message.topic for message in listener.messages if message.topic.startswith("test/arrive/")}
    assert topics == {f"test/arrive/{name}" for name in ("faces", "counts", "source", "status")}
    assert output.take_problems() == []


def test_counts_source_and_status_stay_at_the_broker_and_faces_do_not(broker: Broker) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/stay"))
    send(output, frame_result(tracked_face()))
    output.tell(counts_event(female=2))
    output.tell(source_event())
    output.close()
    with listening(broker) as late:
        wait_until(lambda: late.texts("test/stay/source"))
        assert late.texts("test/stay/status") == ["offline"]
        assert late.texts("test/stay/counts")
        assert late.texts("test/stay/faces") == []
        assert all(message.retain for message in late.messages)


def test_what_was_told_before_the_broker_answered_arrives(broker: Broker, listener: Listener) -> None:
    output = Mqtt(broker.address, labels=LABELS, prefix="test/early")
    output.tell(counts_event(female=1))
    wait_until(lambda: listener.texts("test/early/counts"))
    output.close()


def test_faces_are_sent_a_few_times_a_second(broker: Broker, listener: Listener) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/few", faces_per_s=5))
    start = time.monotonic()
    while time.monotonic() - start < 0.5:
        send(output, frame_result(tracked_face()))
        time.sleep(0.005)
    output.close()
    wait_until(lambda: listener.texts("test/few/status")[-1:] == ["offline"])
    assert 2 <= len(listener.texts("test/few/faces")) <= 4
    assert output.num_dropped == 0


def test_that_nobody_is_left_is_sent_once(broker: Broker, listener: Listener) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/left", faces_per_s=100))
    for faces in ([tracked_face()], [], [], []):
        send(output, frame_result(*faces))
        time.sleep(0.012)  # one period of 100 messages a second
    output.close()
    wait_until(lambda: listener.texts("test/left/status")[-1:] == ["offline"])
    assert [len(json.loads(text)["faces"]) for text in listener.texts("test/left/faces")] == [1, 0]


def test_frames_per_second_are_sent_now_and_then(
    broker: Broker, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgegender.outputs.mqtt._FPS_WINDOW_S", 0.2)
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/fps"))
    end = time.monotonic() + 5
    while not listener.texts("test/fps/fps") and time.monotonic() < end:
        send(output, frame_result())
        time.sleep(0.01)
    output.close()
    assert 0 < float(listener.texts("test/fps/fps")[0]) <= 100  # a pause of 10 ms is never shorter


def test_aggregates_only_sends_nothing_by_frame(broker: Broker, listener: Listener) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/only", is_aggregate_only=True))
    for _ in range(5):
        send(output, frame_result(tracked_face()))
    output.tell(counts_event(female=2))
    output.close()
    wait_until(lambda: listener.texts("test/only/status")[-1:] == ["offline"])
    topics = {message.topic for message in listener.messages if message.topic.startswith("test/only/")}
    assert topics == {"test/only/counts", "test/only/status"}
    (config,) = listener.texts("homeassistant/device/test_only/config")
    assert set(json.loads(config)["components"]) == {"people_female", "people_male", "people_unsure", "source"}


# Home Assistant


def test_home_assistant_is_told_of_the_device_and_its_sensors(broker: Broker) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/home", device_name="Front door"))
    output.close()
    with listening(broker) as late:
        wait_until(lambda: late.texts("homeassistant/device/test_home/config"))
        config = json.loads(late.texts("homeassistant/device/test_home/config")[0])
    assert config["device"]["identifiers"] == ["test_home"]
    assert config["device"]["name"] == "Front door"
    assert config["origin"]["name"] == "edgegender"
    assert config["availability_topic"] == "test/home/status"
    components = config["components"]
    assert set(components) == {"people_female", "people_male", "people_unsure", "faces", "fps", "source"}
    assert {component["platform"] for component in components.values()} == {"sensor"}
    assert len({component["unique_id"] for component in components.values()}) == len(components)
    assert components["people_female"]["state_topic"] == "test/home/counts"


def test_its_templates_read_the_events(broker: Broker, listener: Listener) -> None:
    jinja2 = pytest.importorskip("jinja2")
    labels = ("female", 'a "label" }}', "женщина")
    output = connected(Mqtt(broker.address, labels=labels, prefix="test/jinja"))
    output.close()
    wait_until(lambda: listener.texts("homeassistant/device/test_jinja/config"))
    components = json.loads(listener.texts("homeassistant/device/test_jinja/config")[0])["components"]

    def read(name: str, event: dict[str, object]) -> str:
        text: str = jinja2.Template(components[name]["value_template"]).render(value_json=event)
        return text

    counts = counts_event(**{label: number for number, label in enumerate(labels, 3)})
    names = [name for name in components if name.startswith("people_")]
    assert [read(name, counts) for name in names] == ["3", "4", "5", "0"]
    assert read("faces", {"faces": [1, 2]}) == "2"
    assert read("source", source_event(state="lost")) == "lost"
    assert "lost" in components["source"]["options"]


def test_home_assistant_is_told_nothing_when_it_is_not_wanted(broker: Broker, listener: Listener) -> None:
    output = connected(Mqtt(broker.address, labels=LABELS, prefix="test/alone", discovery_prefix=None))
    output.close()
    wait_until(lambda: listener.texts("test/alone/status")[-1:] == ["offline"])
    assert not [message for message in listener.messages if "test_alone" in message.topic]


# Outages


def test_a_killed_process_is_offline_by_its_last_will(broker: Broker, listener: Listener) -> None:
    program = (
        "import time\nfrom edgegender.outputs.mqtt import Mqtt\n"
        f"output = Mqtt({broker.address!r}, labels=(), prefix='test/will')\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        wait_until(lambda: listener.texts("test/will/status") == ["online"])
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: listener.texts("test/will/status") == ["online", "offline"])


def test_a_broker_that_comes_back_gets_everything_anew(tmp_path: Path) -> None:
    with running(tmp_path) as own:
        output = connected(Mqtt(own.address, labels=LABELS))
        output.tell(counts_event(female=1))
        own.kill()
        wait_until(lambda: not output.is_connected)
        start = time.monotonic()
        for _ in range(100):
            send(output, frame_result(tracked_face()))
        output.tell(counts_event(female=8))
        assert time.monotonic() - start < 1
        assert output.num_dropped >= 101
        own.start()
        with listening(own) as late:
            wait_until(lambda: output.is_connected)
            wait_until(lambda: late.texts("edgegender/counts"))
            assert json.loads(late.texts("edgegender/counts")[0])["people"] == {"female": 8}
            wait_until(lambda: late.texts("edgegender/status")[-1:] == ["online"])
            wait_until(lambda: late.texts("homeassistant/device/edgegender/config"))
            send(output, frame_result(tracked_face(), index=99))
            wait_until(lambda: late.texts("edgegender/faces"))
        output.close()
    begun, over = output.take_problems()
    assert begun.startswith("the broker is away (")
    assert over == f"the broker is back; {output.num_dropped} messages were dropped"


def test_a_broker_that_is_not_there_is_told_once_and_holds_up_nothing(tmp_path: Path) -> None:
    own = Broker(tmp_path)
    start = time.monotonic()
    output = Mqtt(own.address, labels=LABELS)
    for _ in range(1000):
        send(output, frame_result(tracked_face()))
    assert time.monotonic() - start < 1
    problems: list[str] = []
    wait_until(lambda: problems.extend(output.take_problems()) or problems)
    assert problems == ["the broker is away (Connection refused); it is tried again, messages are dropped"]
    start = time.monotonic()
    output.close()
    output.close()
    assert time.monotonic() - start < 2
    assert output.num_dropped == 1000


def test_a_broker_that_takes_nothing_any_more_fills_no_memory(tmp_path: Path) -> None:
    with running(tmp_path) as own:
        output = connected(Mqtt(own.address, labels=LABELS, faces_per_s=100))
        own.pause()
        large = {**counts_event(), "filler": "x" * 200_000}
        for _ in range(200):  # 40 MB
            output.tell(large)
        assert output.num_dropped >= 100
        start = time.monotonic()
        output.close()
        assert time.monotonic() - start < 2


# Signing in


@pytest.fixture
def locked_broker(tmp_path: Path) -> Iterator[Broker]:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("no mosquitto_passwd: apt-get install mosquitto")
    users = tmp_path / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", users, "me", "se@cret"], check=True, capture_output=True)
    with running(tmp_path, is_open=False, settings=[f"password_file {users}"]) as started:
        yield started


def test_a_password_opens_a_broker(locked_broker: Broker, tmp_path: Path) -> None:
    port = locked_broker.port
    (tmp_path / "password").write_text("se@cret\n")
    in_address = connected(Mqtt(f"mqtt://me:se%40cret@127.0.0.1:{port}", labels=()))
    assert in_address.name == f"mqtt://me@127.0.0.1:{port}/edgegender"
    in_address.close()
    connected(Mqtt(f"mqtt://me@127.0.0.1:{port}", labels=(), password_file=tmp_path / "password")).close()


def test_a_wrong_password_is_told_once_and_never_shown(locked_broker: Broker) -> None:
    output = Mqtt(f"mqtt://me:wrong@127.0.0.1:{locked_broker.port}", labels=())
    problems: list[str] = []
    wait_until(lambda: problems.extend(output.take_problems()) or problems)
    assert problems == ["the broker is away (Not authorized); it is tried again, messages are dropped"]
    assert not output.is_connected
    output.close()
    assert "wrong" not in output.name + "".join(problems)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl: apt-get install openssl")
    certificate_file = tmp_path / "ca.pem"
    subprocess.run(
        [
            *["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"],
            *["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", certificate_file],
        ],
        check=True,
        capture_output=True,
    )
    return certificate_file


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves a refused socket to Python
def test_tls_is_checked_against_the_certificates(tmp_path: Path, certificate: Path) -> None:
    settings = [f"certfile {certificate}", f"keyfile {tmp_path / 'key.pem'}"]
    with running(tmp_path, settings=settings) as own:
        address = own.address.replace("mqtt:", "mqtts:")
        connected(Mqtt(address, labels=(), ca_file=certificate)).close()
        stranger = Mqtt(address, labels=())
        problems: list[str] = []
        wait_until(lambda: problems.extend(stranger.take_problems()) or problems)
        stranger.close()
    assert "certificate verify failed" in problems[0]


# Bad arguments


@pytest.mark.parametrize("rate", [0, -1, 101, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="Expected more than 0 and at most 100 messages a second, got "):
        Mqtt("mqtt://pi", labels=(), faces_per_s=rate)


def test_bad_addresses_and_prefixes_are_refused() -> None:
    with pytest.raises(UsageError, match="Expected an address of a broker"):
        Mqtt("pi", labels=())
    with pytest.raises(UsageError, match="Expected a prefix of topics"):
        Mqtt("mqtt://pi", labels=(), prefix="#")
    with pytest.raises(UsageError, match="Expected a prefix of topics"):
        Mqtt("mqtt://pi", labels=(), discovery_prefix="")


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected certificates in PEM, got .*No such file"):
        Mqtt("mqtts://pi", labels=(), ca_file=tmp_path / "none.pem")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(UsageError, match="Expected certificates in PEM, got ") as caught:
        Mqtt("mqtts://pi", labels=(), ca_file=tmp_path / "text.pem")
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    with pytest.raises(UsageError, match="Expected mqtts:// with certificates, got mqtt://pi:1883"):
        Mqtt("mqtt://pi", labels=(), ca_file=tmp_path / "text.pem")


def test_without_paho_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without_paho(name: str, *given: object) -> object:
        if name.startswith("paho"):
            raise ImportError(name)
        return real_import(name, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_paho)
    with pytest.raises(MissingDependencyError, match="Expected the package paho-mqtt") as caught:
        Mqtt("mqtt://pi", labels=())
    assert caught.value.hint == "pip install 'edgegender[camera]'"


def test_no_picture_is_asked_for() -> None:
    assert not Mqtt.wants_picture
