"""Address, command, wheel and agent of the ssh target, each by itself."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import edgegender
from edgegender.benchmark import remote_agent, target_ssh_job, target_ssh_session
from edgegender.benchmark.measure import StagePhoto
from edgegender.benchmark.records import Durations
from edgegender.benchmark.remote_wheel import pack_wheel
from edgegender.benchmark.remote_worker import resolve_threads
from edgegender.benchmark.run import DataSource, Sample
from edgegender.benchmark.target_ssh_address import SshAddress, build_ssh_command, parse_ssh_address
from edgegender.benchmark.target_ssh_job import send_job
from edgegender.benchmark.targets import TargetRequest
from edgegender.errors import DataError, ImageError, MeasurementError, UsageError
from edgegender.runtime.interpreter import available_cores
from edgegender.runtime.model_file import read_model
from tests.ssh_server import wait_until
from tests.tiny_model import build_tiny_model, grey_picture

# addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ssh://raspberrypi.local", SshAddress("raspberrypi.local")),
        ("ssh://pi@192.168.1.20", SshAddress("192.168.1.20", "pi")),
        ("ssh://pi@board_1:2222/", SshAddress("board_1", "pi", 2222)),
        ("ssh://[fe80::1%eth0]:22", SshAddress("fe80::1%eth0", "", 22)),
        ("ssh://me@work@::1".replace("::1", "[::1]"), SshAddress("::1", "me@work")),
    ],
)
def test_an_address_names_host_user_and_port(text, address):
    assert parse_ssh_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "ssh://",
        "ssh://pi@",
        "ssh://@host",
        "ssh://pi@-oProxyCommand=evil",
        "ssh://-l@host",
        "ssh://host:0",
        "ssh://host:65536",
        "ssh://host:ssh",
        "ssh://host/home",
        "ssh://fe80::1",
        "ssh://[host]",
        "ssh://a b@host",
        "ssh://host%h",
        "ssh://host\nname",
        "host",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="Expected ssh://user@host:port"):
        parse_ssh_address(text)


def test_a_password_in_the_address_is_refused_and_not_repeated():
    with pytest.raises(UsageError, match="Expected an address without a password") as caught:
        parse_ssh_address("ssh://pi:geheim@host")
    assert "geheim" not in f"{caught.value} {caught.value.hint}"


def test_the_command_never_asks_and_leaves_the_users_checks_in_force():
    command = build_ssh_command(SshAddress("::1", "pi", 2222), "true", program="/usr/bin/ssh", config=Path("c"))
    assert command[:3] == ["/usr/bin/ssh", "-F", "c"]
    assert {"BatchMode=yes", "ConnectTimeout=15", "ForwardAgent=no", "ClearAllForwardings=yes"} <= set(command)
    assert "StrictHostKeyChecking" not in " ".join(command)
    assert command[-7:] == ["-l", "pi", "-p", "2222", "--", "::1", "true"]
    assert "-F" not in build_ssh_command(SshAddress("host"), "true", program="ssh", config=None)


def test_any_login_shell_understands_the_remote_command():
    text = target_ssh_session._REMOTE_COMMAND
    assert text.count("'") == 2
    assert not set(text) & set("!\\\n`")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("ssh: connect to host pi port 22: No route to host", "a host that answers, got No route to host"),
        ("ssh: connect to host pi port 22: Connection timed out", "got Connection timed out"),
        ("ssh: Could not resolve hostname pi: Name or service not known", "got Could not resolve hostname pi: Name"),
        ("Received disconnect: Too many authentication failures", "the host accepts, got Too many authentication"),
        ("kex_exchange_identification: read: reset", "Expected a connection, got: kex_exchange"),
    ],
)
def test_opensshs_words_become_an_error_of_ours(said, message):
    error = target_ssh_session._explain(SshAddress("pi"), f"{said}\n", was_connected=False)
    assert message in str(error)


# the wheel


def test_the_wheel_holds_the_running_code_and_what_it_needs(tmp_path):
    name, content = pack_wheel()
    path = tmp_path / name
    path.write_bytes(content)
    assert name == f"edgegender-{edgegender.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        information = f"edgegender-{edgegender.__version__}.dist-info"
        record = archive.read(f"{information}/RECORD").decode()
        text = archive.read(f"{information}/METADATA").decode()
    assert len(record.splitlines()) == len(names)
    assert "edgegender/models/default.tflite" in names
    assert not any("__pycache__" in name for name in names)
    assert f"\nVersion: {edgegender.__version__}\n" in text
    assert "Requires-Dist: numpy" in text
    assert "Requires-Dist: ai-edge-litert" in text
    code = "import edgegender.benchmark.remote_worker as worker; print(worker.__file__)"
    answer = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[1]); {code}", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith(str(path))


def test_a_wheel_for_32_bit_systems_does_not_ask_for_litert():
    _, content = pack_wheel(has_litert=False)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        text = archive.read(f"edgegender-{edgegender.__version__}.dist-info/METADATA").decode()
    assert "Requires-Dist: ai-edge-litert" not in text
    assert "Requires-Dist: tflite-runtime" in text


def test_the_same_code_gives_the_same_wheel():
    assert pack_wheel() == pack_wheel()


def test_code_that_is_not_installed_cannot_say_what_it_needs(monkeypatch):
    def find(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", find)
    with pytest.raises(MeasurementError, match="Expected an installed edgegender, got its files alone"):
        pack_wheel()


# what is sent


def test_pictures_are_sent_in_blocks_and_the_same_bytes_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(target_ssh_job, "_CHUNK_BYTES", 3 * 32 * 32 * 3)
    models = [build_tiny_model(tmp_path / f"{name}.tflite") for name in ("one", "two")]
    given = [Sample(grey_picture(value), 0) for value in range(7)]
    said, sent = [], {}
    request = TargetRequest(
        "ssh", "ssh://pi", tuple(models), (given, given), DataSource(), (1,), Durations(), on_progress=said.append
    )
    data = send_job(request, [read_model(path) for path in models], sent.__setitem__)
    assert [name for name in sent if name.endswith(".npy")] == ["inputs/0/0.npy", "inputs/0/1.npy", "inputs/0/2.npy"]
    assert data[0] == data[1]
    assert {"models/0/one.tflite", "models/0/one.json", "models/1/two.tflite"} <= set(sent)


def test_the_detectors_network_goes_along(tmp_path):
    (tmp_path / "yunet.onnx").write_bytes(b"network")
    model = build_tiny_model(tmp_path / "tiny.tflite")
    source = DataSource(detector="yunet", detector_path=tmp_path / "yunet.onnx")
    sent = {}
    request = TargetRequest("ssh", "ssh://pi", (model,), (None,), source, (1,), Durations())
    assert send_job(request, [read_model(model)], sent.__setitem__) == [None]
    assert sent["detector/yunet.onnx"] == b"network"
    assert json.loads(sent["job.json"])["detector"] == "detector/yunet.onnx"


def test_progress_is_told_now_and_then(tmp_path):
    model = build_tiny_model(tmp_path / "tiny.tflite")
    said = []
    given = [Sample(grey_picture(1), 0)] * 120
    request = TargetRequest(
        "ssh", "s", (model,), (given,), DataSource(), (1,), Durations(), num_samples=120, on_progress=said.append
    )
    send_job(request, [read_model(model)], {}.__setitem__)
    assert said == [f"bringing pictures for tiny.tflite: {count} of 120" for count in (50, 100)]


@pytest.mark.parametrize("sample", [Sample(grey_picture(1, 16), 0), Sample(grey_picture(1), 2), Sample(None, 0)])
def test_a_sample_that_does_not_fit_the_model_is_not_sent(tmp_path, sample):
    with pytest.raises(DataError, match=r"Expected uint8 inputs \(32, 32, 3\) and labels below 2"):
        send(build_tiny_model(tmp_path / "tiny.tflite"), [sample])


def test_samples_without_a_single_picture_are_refused(tmp_path):
    with pytest.raises(DataError, match="Expected photos to answer, got 1 without a picture"):
        send(build_tiny_model(tmp_path / "tiny.tflite"), [Sample(None, 0, problem="no_face")])


def test_a_photo_that_has_gone_is_named(tmp_path):
    gone = Sample(grey_picture(1), 0, photo=StagePhoto(tmp_path / "gone.png"))
    with pytest.raises(ImageError, match=r"Expected a photo, got No such file or directory \(.*gone.png\)"):
        send(build_tiny_model(tmp_path / "tiny.tflite"), [gone])


def send(model, given):
    request = TargetRequest("ssh", "ssh://pi", (model,), (given,), DataSource(), (1,), Durations())
    return send_job(request, [read_model(model)], {}.__setitem__)


def test_zero_threads_are_all_cores_each_number_once():
    cores = available_cores()
    assert resolve_threads([1, 0, cores]) == tuple(dict.fromkeys([1, cores]))


# the agent, as the host runs it


class Agent:
    def __init__(self, home):
        self.process = subprocess.Popen(
            [sys.executable, "-I", remote_agent.__file__],
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def order(self, content=b"", **values):
        self.process.stdin.write(json.dumps(values).encode() + b"\n" + content)
        self.process.stdin.flush()

    def open(self, silence_s=60, environment="", is_kept=False):
        self.order(order="open", environment=environment, is_kept=is_kept, silence_s=silence_s, lock_wait_s=0)
        return self.event()

    def event(self):
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def agent(tmp_path):
    started = Agent(tmp_path)
    with started.process:
        yield started
        started.process.stdin.close()
    assert list(tmp_path.iterdir()) == []


def test_the_agent_keeps_its_folder_to_itself_and_removes_it(agent, tmp_path):
    assert agent.open() == {"event": "opened", "has_environment": True}
    folder = tmp_path / ".cache" / "edgegender" / "benchmark"
    (run,) = folder.iterdir()
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, run)} == {"0o700"}
    agent.order(order="close")
    assert agent.event() == {"event": "closed"}
    assert agent.process.wait() == 0


def test_folders_of_others_stay(agent, tmp_path):
    models = tmp_path / ".cache" / "edgegender" / "models"
    models.mkdir(parents=True)
    agent.open()
    agent.order(order="close")
    agent.process.wait()
    assert [path.name for path in models.parent.iterdir()] == ["models"]
    models.rmdir()
    models.parent.rmdir()
    models.parent.parent.rmdir()


def test_what_a_power_cut_left_is_removed_the_next_time(agent, tmp_path):
    left = tmp_path / ".cache" / "edgegender" / "benchmark" / "run-1"
    left.mkdir(parents=True)
    (left / "photo.jpg").touch()
    agent.open()
    assert not left.exists()
    agent.order(order="close")
    agent.process.wait()
    (tmp_path / ".cache").rmdir()


def test_a_kept_environment_is_found_until_another_wheel_comes(tmp_path):
    root = tmp_path / ".cache" / "edgegender" / "benchmark"
    kept = root / f"environment-old-{sys.implementation.cache_tag}"
    kept.mkdir(parents=True)
    (kept / "complete").touch()
    for environment, is_kept, is_found in [
        ("environment-old", True, True),
        ("", False, True),  # one that is named by its path
        ("environment-new", True, False),
    ]:
        agent = Agent(tmp_path)
        with agent.process:
            assert agent.open(environment=environment, is_kept=is_kept)["has_environment"] == is_found
            assert kept.exists() == is_found
            agent.process.stdin.close()
        assert kept.exists() == is_found
    assert not root.exists()


def test_two_benchmarks_never_share_a_host(agent, tmp_path):
    agent.open()
    other = Agent(tmp_path)
    with other.process:
        assert "Expected a host on which no other benchmark runs, got one" in other.open()["message"]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside"])  # noqa: S108 - it must not be written
def test_the_agent_writes_nowhere_else(agent, name):
    agent.open()
    agent.order(order="file", name=name, size_bytes=0, sha256="")
    assert "Expected a name inside of the folder" in agent.event()["message"]


def test_the_agent_notices_damaged_bytes(agent):
    agent.open()
    agent.order(b"abc", order="file", name="a", size_bytes=3, sha256=hashlib.sha256(b"abd").hexdigest())
    assert "Expected a file as it was sent, got damaged bytes" in agent.event()["message"]


def test_a_file_that_cannot_be_written_is_told(agent, tmp_path):
    agent.open()
    (run,) = (tmp_path / ".cache" / "edgegender" / "benchmark").iterdir()
    (run / "taken").mkdir()
    agent.order(order="file", name="taken", size_bytes=0, sha256="")
    assert "Expected to write files on the host, got Is a directory" in agent.event()["message"]


def test_silence_ends_the_agent_but_signs_of_life_do_not(agent):
    agent.open(silence_s=0.4)
    for _ in range(8):
        agent.process.stdin.write(b"\n")
        agent.process.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(timeout=0.1)
    assert agent.process.wait(timeout=20) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_agent_cleanly(agent, number):
    agent.open()
    agent.process.send_signal(number)
    assert agent.event() == {"event": "closed"}
    assert agent.process.wait() == 0


def test_an_end_in_the_middle_of_a_file_leaves_nothing(agent, tmp_path):
    agent.open()
    agent.order(b"half", order="file", name="a", size_bytes=8, sha256="")
    wait_until(lambda: list(tmp_path.rglob("run-*/a")), "the file has begun")
    agent.process.stdin.close()
    assert agent.process.wait(timeout=20) == 0
    assert list(tmp_path.iterdir()) == []
