"""Another machine is measured through OpenSSH: a real server on this one, with a home folder of its own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgegender
from edgegender.benchmark import target_ssh
from edgegender.benchmark.measure import StagePhoto
from edgegender.benchmark.records import Durations
from edgegender.benchmark.remote_wheel import pack_wheel
from edgegender.benchmark.result import read_result, result_to_json, write_result
from edgegender.benchmark.run import DataSource, Sample, benchmark_model
from edgegender.benchmark.target_ssh import Collector, measure, parse_ssh_options
from edgegender.benchmark.targets import TargetRequest
from edgegender.entities import FaceBox
from edgegender.errors import DataError, MeasurementError, ModelFileError, UsageError
from edgegender.runtime.model_file import read_model
from tests import ssh_server
from tests.benchmark.examples import example_result
from tests.pictures import write_photo
from tests.ssh_server import serving_ssh, wait_until
from tests.tiny_model import build_tiny_model, grey_picture

pytestmark = pytest.mark.skipif(not ssh_server.is_installed(), reason=f"no OpenSSH: {ssh_server.INSTALL}")
SHORT = Durations(min_seconds=0.02, min_runs=20, max_seconds=20, warmup_seconds=0.0, warmup_runs=3)
LONG = Durations(min_seconds=300, min_runs=20, max_seconds=300, warmup_seconds=0.0, warmup_runs=3)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving_ssh(tmp_path_factory.mktemp("ssh")) as started:
        yield started


@pytest.fixture(autouse=True)
def _nothing_is_left(request):
    """Every way in this file ends with an empty home folder on the host."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        wait_until(server.is_clean, "the host is clean")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny_model(tmp_path_factory.mktemp("model") / "tiny.tflite", threshold=0.7, temperature=2.0)


def samples(count=40):
    values = np.random.default_rng(0).integers(0, 256, count)
    return [Sample(grey_picture(int(value)), int(value > 120)) for value in values]


def request_for(server, *models, given=None, python=sys.executable, **changes):
    options = {"config": str(server.client_config), **({"python": python} if python else {}), **changes.pop("more", {})}
    values = {
        "target": "ssh",
        "address": server.address,
        "models": models,
        "samples": (given,) * len(models),
        "num_samples": len(given or ()),
        "source": DataSource("faces.csv", "test") if given else DataSource(),
        "threads": (1,),
        "durations": SHORT,
        "options": options,
    }
    return TargetRequest(**{**values, **changes})


def test_the_host_answers_the_same_bytes_as_this_machine_does(server, tiny, tmp_path):
    values = [0, 60, 120, 200, 250]
    photos = [write_photo(tmp_path / f"someone {value}.png", grey_picture(value)) for value in values]
    given = [
        Sample(
            grey_picture(value),
            int(value > 100),
            photo_sha256=f"{value:064x}",
            photo=StagePhoto(photo, FaceBox(0, 0, 32, 32) if value else None),
            box_source="manifest" if value else "none",
        )
        for value, photo in zip(values, photos, strict=True)
    ]
    given += [Sample(None, 1, problem="no_face"), Sample(None, 0, problem="unreadable"), *samples(100)]
    said, kept = [], []
    request = request_for(
        server,
        tiny,
        given=given,
        threads=(1, 2),
        command_line=("edgegender", "benchmark", "--target", server.address),
        on_progress=said.append,
        on_result=kept.append,
    )
    (result,) = measure(request)
    local = benchmark_model(tiny, given, threads=[1], durations=SHORT, source=request.source)
    assert (result.evaluation, result.data, result.parity) == (local.evaluation, local.data, local.parity)
    assert (result.model, result.engine, result.versions) == (local.model, local.engine, local.versions)
    assert kept == [result]
    assert [record.num_threads for record in result.latencies] == [1, 2]
    assert [record.num_inputs for record in result.latencies] == [64, 64]
    assert [record.num_stage_photos for record in result.latencies] == [5, 5]
    assert all(record.is_output_equal for record in result.latencies)
    kinds = [warning.kind for warning in result.warnings]
    assert kinds.count("left_out") == 1
    assert "partial" not in kinds
    assert (result.target, result.command_line[-1]) == ("ssh", "ssh://…")
    assert any("connecting" in line for line in said)
    write_result(tmp_path / "result.json", result)
    assert read_result(tmp_path / "result.json") == result
    text = (tmp_path / "result.json").read_text("utf-8")
    for private in (f"{server.user}@", "127.0.0.1", f":{server.port}", str(server.home), "someone"):
        assert private not in text


def test_several_models_and_engines_come_back_in_order_without_photos(server, tiny, tmp_path):
    other = build_tiny_model(tmp_path / "other.tflite", input_size_px=48)
    results = measure(request_for(server, tiny, other, engines=("litert", "litert-no-xnnpack")))
    assert [(result.model.file_name, result.engine.delegate) for result in results] == [
        ("tiny.tflite", "xnnpack"),
        ("tiny.tflite", "none"),
        ("other.tflite", "xnnpack"),
        ("other.tflite", "none"),
    ]
    assert all(result.data is None for result in results)


# hosts that refuse


def test_a_host_that_asks_for_a_password_is_an_error_that_names_ssh_copy_id(tmp_path, tiny):
    with (
        serving_ssh(tmp_path, allows_keys=False) as server,
        pytest.raises(
            MeasurementError, match=r"Expected a key that the host accepts, got Permission denied \(password\)"
        ) as caught,
    ):
        measure(request_for(server, tiny))
    assert f"ssh-copy-id -p {server.port} {server.user}@127.0.0.1" in caught.value.hint
    assert caught.value.exit_code == 3


def test_a_host_whose_key_is_unknown_is_not_trusted(tmp_path, tiny):
    with (
        serving_ssh(tmp_path, is_known=False) as server,
        pytest.raises(MeasurementError, match="Expected a host whose key this machine knows, got an unknown key") as e,
    ):
        measure(request_for(server, tiny))
    assert f"Connect once by hand and compare the key: ssh -p {server.port}" in e.value.hint


def test_a_host_whose_key_changed_is_not_trusted(tmp_path, tiny):
    with serving_ssh(tmp_path, is_known=False) as server:
        other = (tmp_path / "user_key.pub").read_text("utf-8")
        (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}", "utf-8")
        with pytest.raises(MeasurementError, match="the key that this machine remembers, got another key"):
            measure(request_for(server, tiny))


def test_a_host_that_is_away_is_an_error_within_seconds(server, tiny):
    address = f"ssh://{server.user}@127.0.0.1:{ssh_server.free_port()}"
    with pytest.raises(MeasurementError, match=r"Expected a host that answers, got Connection refused \(127.0.0.1\)"):
        measure(request_for(server, tiny, address=address))


def test_another_failure_is_told_in_opensshs_words(server, tiny, tmp_path):
    (tmp_path / "config").write_text("NoSuchOption yes\n", "utf-8")
    with pytest.raises(MeasurementError, match=r"Expected a connection, got: .*terminating") as caught:
        measure(request_for(server, tiny, more={"config": str(tmp_path / "config")}))
    assert "Try by hand: ssh" in caught.value.hint


def test_without_opensshs_client_it_says_what_to_install(server, tiny, monkeypatch):
    monkeypatch.setattr("shutil.which", {}.get)
    with pytest.raises(MeasurementError, match="Expected OpenSSH's client, got none") as caught:
        measure(request_for(server, tiny))
    assert caught.value.hint == "sudo apt install openssh-client"


# hosts without a fitting Python: fakes, for such systems are not here


@pytest.mark.parametrize(
    ("script", "message", "hint"),
    [
        (
            "echo '[3, 8, 10] 64 x86_64'",
            r"Expected Python 3.10 or newer on the host, got 3.8.10 \(python3\)",
            "python=",
        ),
        ("echo '[3, 11, 2] 32 armv7l'; cat >/dev/null", r"got 32-bit \(armv7l\)", "extra=tflite-runtime"),
        ("echo Bonjour", "Expected a Python on the host, got: 'Bonjour' from python3", ""),
        ("exit 1", "Expected a connection until the end, got: end of the connection", "cleans up by itself"),
    ],
)
def test_a_python_that_does_not_fit_is_named(server, tiny, script, message, hint):
    server.put_program("python3", script)
    try:
        with pytest.raises(MeasurementError, match=message) as caught:
            measure(request_for(server, tiny, python=""))
    finally:
        (server.programs / "python3").unlink()
    assert hint in caught.value.hint


def test_a_host_without_that_python_says_so_whatever_its_login_script_prints(server, tiny):
    script = server.home / ".bashrc"
    script.write_text("echo Welcome back; echo >&2 mind the gap\n", "utf-8")
    try:
        with pytest.raises(MeasurementError, match="got none called ~/no/python") as caught:
            measure(request_for(server, tiny, python="~/no/python"))
    finally:
        script.unlink()
    assert "apt install python3" in caught.value.hint


def test_a_python_without_ensurepip_names_the_debian_package(server, tiny):
    code = "import sys; sys.modules['ensurepip'] = None; "
    server.put_program("python3", f'exec {shlex.quote(sys.executable)} -B -c "{code}$3"')
    try:
        with pytest.raises(MeasurementError, match="got one without venv or ensurepip") as caught:
            measure(request_for(server, tiny, python=""))
    finally:
        (server.programs / "python3").unlink()
    assert caught.value.hint == "On the host: sudo apt install python3-venv"


def test_an_environment_without_edgegender_is_refused(server, tiny, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    with pytest.raises(
        MeasurementError, match=f"{edgegender.__version__} in the host's environment, got ModuleNotFound"
    ):
        measure(request_for(server, tiny, python=str(tmp_path / "bare" / "bin" / "python")))


def test_an_environment_with_another_version_is_refused(server, tiny, tmp_path):
    package = tmp_path / "edgegender" / "benchmark"
    package.mkdir(parents=True)
    (tmp_path / "edgegender" / "__init__.py").write_text('__version__ = "0.0.9"\n', "utf-8")
    for name in ("__init__.py", "remote_worker.py"):
        (package / name).touch()
    server.put_program("other", f'PYTHONPATH={shlex.quote(str(tmp_path))} exec {shlex.quote(sys.executable)} "$@"')
    with pytest.raises(MeasurementError, match=r"in the host's environment, got 0.0.9"):
        measure(request_for(server, tiny, python="other"))


# what goes wrong on the way


def test_what_was_measured_before_the_connection_broke_is_kept_and_marked(server, tiny, tmp_path):
    other = build_tiny_model(tmp_path / "other.tflite")
    kept, measured = [], []

    def cut(text):
        if "measuring" in text:
            measured.append(text)
            if len(measured) == 4:
                server.kill_sessions()

    request = request_for(server, tiny, other, given=samples(), threads=(1, 2))
    with pytest.raises(MeasurementError, match=r"Expected a connection until the end, got: .*clos") as caught:
        measure(replace(request, on_progress=cut, on_result=kept.append))
    assert caught.value.exit_code == 3
    whole, partial = kept
    assert [len(whole.latencies), len(partial.latencies)] == [2, 1]
    assert "partial" not in [warning.kind for warning in whole.warnings]
    assert partial.evaluation is not None
    text = next(warning.text for warning in partial.warnings if warning.kind == "partial")
    assert text == "only 1 of 2 numbers of threads were measured: the connection or the host failed"


def test_a_host_that_kills_the_measurement_is_an_error(server, tiny):
    def kill(text):
        if "measuring" in text:
            os.kill(_worker_pid(server), signal.SIGKILL)

    with pytest.raises(MeasurementError, match="Expected the measuring process on the host to finish, got: signal 9"):
        measure(request_for(server, tiny, durations=LONG, on_progress=kill))


def _worker_pid(server):
    (folder,) = server.folder.glob("run-*")
    for link in Path("/proc").glob("[0-9]*"):
        try:
            command = (link / "cmdline").read_bytes()
        except OSError:
            continue
        if b"remote_worker" in command and str(folder).encode() in command:
            return int(link.name)
    raise AssertionError("no worker")


def test_a_connection_that_falls_silent_ends_the_work_on_the_host(server, tiny, monkeypatch):
    monkeypatch.setattr(target_ssh, "SILENCE_S", 0.5)
    monkeypatch.setattr("edgegender.benchmark.target_ssh_session.ALIVE_INTERVAL_S", 3600)
    with pytest.raises(MeasurementError, match="Expected a connection until the end"):
        measure(request_for(server, tiny, durations=LONG))


_CLIENT = """
import sys
from pathlib import Path
from tests.benchmark.test_target_ssh import LONG, request_for
from edgegender.benchmark.target_ssh import measure

class Server:
    address, client_config = sys.argv[1:3]

def say(text):
    print(text, flush=True)

try:
    measure(request_for(Server, Path(sys.argv[3]), durations=LONG, threads=(1,), on_progress=say))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_host_is_clean_after_ctrl_c_and_after_a_kill(server, tiny, number):
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, server.address, server.client_config, tiny], stdout=subprocess.PIPE, text=True
    )
    with client:
        for line in client.stdout:
            if "measuring" in line:
                break
        assert not server.is_clean()
        client.send_signal(number)
        rest = client.stdout.read()
    if number == signal.SIGINT:
        assert rest == "interrupted\n"
        assert server.is_clean()  # at once: the client waits for it


def test_what_the_host_refuses_is_raised_here(server, tiny):
    with pytest.raises(UsageError, match=r"Expected an engine of .* got 'nonsense'"):
        measure(request_for(server, tiny, engines=("nonsense",)))


def test_samples_that_do_not_fit_end_the_session(server, tiny):
    with pytest.raises(DataError, match="Expected photos to answer, got 1 without a picture"):
        measure(request_for(server, tiny, given=[Sample(None, 0, problem="no_face")]))


def test_a_damaged_model_is_refused_before_connecting(server, tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"TFL3")
    said = []
    with pytest.raises(ModelFileError, match="Expected"):
        measure(request_for(server, tmp_path / "bad.tflite", on_progress=said.append))
    assert said == []


# what comes back is checked


def take(tiny, document, *, sent=None, threads=(1,)):
    request = TargetRequest("ssh", "ssh://pi@pi", (tiny,), (None,), DataSource(), threads, SHORT)
    collector = Collector(request, [read_model(tiny)], [sent])
    collector.take({"event": "begin", "number": 0, "threads": threads})
    collector.take({"event": "result", "document": document})


def test_a_result_that_was_edited_is_refused(tiny):
    document = {**result_to_json(example_result()), "created": "2020-01-01T00:00:00Z"}
    with pytest.raises(MeasurementError, match=r"Expected a sound result from the host, got: .*result_sha256"):
        take(tiny, document)


def test_a_result_of_another_model_is_refused(tiny):
    with pytest.raises(MeasurementError, match="Expected the result of the model that was sent"):
        take(tiny, result_to_json(example_result()))


def test_a_result_of_other_photos_is_refused(tiny):
    model = replace(example_result().model, sha256=read_model(tiny).sha256)
    with pytest.raises(MeasurementError, match="Expected the result of the photos that were sent"):
        take(tiny, result_to_json(replace(example_result(), model=model)))


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"colour": "red"}, "Expected options of python, wheel, .* got colour"),
        ({"keep": "maybe"}, "Expected keep=yes or keep=no, got keep=maybe"),
        ({"extra": "train"}, "Expected extra=tflite-runtime, got extra=train"),
        ({"python": ""}, "Expected the path of an interpreter on the host"),
        ({"python": "a\nb"}, "Expected the path of an interpreter on the host"),
        ({"python": "python3", "keep": "yes"}, "Expected python or keep, got both"),
        ({"wheel": "/nowhere.whl"}, r"Expected a file, got none \(--option wheel=/nowhere.whl\)"),
        ({"config": "/nowhere"}, r"Expected a file, got none \(--option config=/nowhere\)"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        parse_ssh_options(options)


# installing


def _reaches_an_index(folder):
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder), "click"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)}  # as the host has it
    return subprocess.run(pip, env=environment, capture_output=True, timeout=120, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EDGEGENDER_LONG_TESTS"), reason="a minute long: set EDGEGENDER_LONG_TESTS")
def test_a_wheel_of_this_code_is_installed_kept_and_removed(server, tiny, tmp_path):
    if not _reaches_an_index(tmp_path):
        pytest.skip("no package index can be reached")
    (tmp_path / "edgegender-1-py3-none-any.whl").write_bytes(b"no zip file")
    broken = {"wheel": str(tmp_path / "edgegender-1-py3-none-any.whl")}
    python = Path(os.path.realpath(sys.executable))
    server.put_program("python3", f'exec {shlex.quote(str(python))} "$@"')  # one that can make environments
    try:
        with pytest.raises(MeasurementError, match=r"Expected pip to install edgegender, got: ERROR: ") as caught:
            measure(request_for(server, tiny, python="", more=broken))
        assert "--option python=PATH" in caught.value.hint
        assert server.is_clean()
        said = []
        name, content = pack_wheel()
        (tmp_path / name).write_bytes(content)
        packed = {"wheel": str(tmp_path / name)}
        request = request_for(server, tiny, python="", given=samples(), on_progress=said.append, more=packed)
        (kept,) = measure(replace(request, options={**request.options, "keep": "yes"}))
        assert any("installing" in line for line in said)
        (environment,) = server.folder.iterdir()
        assert environment.name.startswith("environment-")
        said.clear()
        (again,) = measure(request)
        assert not any("installing" in line for line in said)
        assert (again.evaluation, again.parity) == (kept.evaluation, kept.parity)
        wait_until(lambda: not server.folder.parent.exists(), "the environment is gone")
        server.folder.parent.parent.rmdir()  # .cache stood there before the last run: it is not that run's to remove
    finally:
        (server.programs / "python3").unlink()
