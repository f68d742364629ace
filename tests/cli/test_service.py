"""The systemd unit of the camera: what it says, what it refuses, who it runs as, and what systemd thinks of it."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegender.cli.service import connect_heartbeat, install_service, plan_service
from edgegender.cli.service_arguments import ServiceArguments
from edgegender.cli.service_unit import quote, render_unit
from edgegender.errors import OutputError, UsageError

SYSTEM_PYTHON = Path("/usr/bin/python3")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="apt-get install systemd")


@pytest.fixture(autouse=True)
def open_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that every user may read, as one below /opt."""
    if not SYSTEM_PYTHON.exists():
        pytest.skip("no Python of the system: apt-get install python3")
    monkeypatch.setattr(sys, "executable", str(SYSTEM_PYTHON))
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.delenv("SUDO_USER", raising=False)


def unit_of(*arguments: str, **options: object) -> list[str]:
    """Returns the lines of the unit."""
    return render_unit(plan_service(arguments, **options)).splitlines()  # type: ignore[arg-type]


def command_of(*arguments: str, is_user_service: bool = False) -> str:
    """Returns what stands behind the command ``camera``."""
    lines = unit_of(*arguments, is_user_service=is_user_service)
    return next(line for line in lines if line.startswith("ExecStart=")).partition(" camera ")[2]


# What it says


def test_it_is_watched_restarted_for_ever_and_started_at_boot() -> None:
    lines = unit_of("--source", "0")
    for line in ("Type=notify", "NotifyAccess=main", "WatchdogSec=30", "Restart=on-failure", "RestartSec=5"):
        assert line in lines
    assert lines.index("StartLimitIntervalSec=0") < lines.index("[Service]")
    assert lines[-1] == "WantedBy=multi-user.target"


def test_faces_do_not_reach_the_journal() -> None:
    assert "StandardOutput=null" in unit_of("--source", "0")


def test_the_command_has_whole_paths() -> None:
    lines = unit_of("--source", "0", "--install-service")
    assert f"ExecStart={SYSTEM_PYTHON} -m edgegender camera --source 0" in lines


def test_the_installed_script_is_named_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgegender").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    lines = unit_of("--source", "0", is_user_service=True)
    assert f"ExecStart={tmp_path}/edgegender camera --source 0" in lines


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/dev/video0", "/dev/video0"),
        ("rtsp://camera/a?b", '"rtsp://camera/a?b"'),
        ("a b", '"a b"'),
        ("50%", '"50%%"'),
        ("$HOME", '"$$HOME"'),
        ('"', '"\\""'),
        ("\\", '"\\\\"'),
        (";", '";"'),
        ("", '""'),
    ],
)
def test_a_word_is_quoted_by_systemds_rules(word: str, quoted: str) -> None:
    assert quote(word) == quoted


def test_without_stream_preview_or_broker_there_is_no_network() -> None:
    lines = unit_of("--source", "picamera")
    assert "RestrictAddressFamilies=AF_UNIX AF_NETLINK" in lines
    assert "IPAddressDeny=any" in lines


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source", "rtsp://camera/stream"),
        ("--source=http://camera/stream",),
        ("--preview", "0.0.0.0:8080"),
        ("--mqtt", "mqtt://broker"),
    ],
)
def test_with_one_of_them_there_is_a_network(arguments: tuple[str, ...]) -> None:
    lines = unit_of(*arguments)
    assert "RestrictAddressFamilies=AF_UNIX AF_NETLINK AF_INET AF_INET6" in lines
    assert "IPAddressDeny=any" not in lines
    assert "After=network-online.target" in lines


def test_only_groups_that_exist_are_named() -> None:
    (line,) = [line for line in unit_of("--source", "0") if line.startswith("SupplementaryGroups=")]
    assert set(line.partition("=")[2].split()) <= {"video", "render"}


def test_a_users_own_service_needs_no_rights_to_set_up() -> None:
    lines = unit_of("--source", "0", is_user_service=True)
    assert lines[-1] == "WantedBy=default.target"
    assert "NoNewPrivileges=yes" in lines
    assert not [line for line in lines if line.startswith(("DynamicUser", "User", "Protect", "Device", "IPAddress"))]


# Paths


def test_files_get_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.tflite", "yunet.onnx", "faces.mp4"):
        (tmp_path / name).touch()
    words = command_of(
        "--model",
        "net.tflite",
        "--detector-path=yunet.onnx",
        "--source",
        "faces.mp4",
        "--fps",
        "5",
        is_user_service=True,
    )
    assert words == (
        f"--model {tmp_path}/net.tflite --detector-path {tmp_path}/yunet.onnx --source {tmp_path}/faces.mp4 --fps 5"
    )


def test_a_fifo_gets_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("frames")
    assert command_of("--source", "fifo:frames", is_user_service=True) == f"--source fifo:{tmp_path}/frames"


@pytest.mark.parametrize("source", ["0", "picamera", "/dev/null", "/dev/video7"])
def test_a_camera_is_named_as_it_was(source: str) -> None:
    assert command_of("--source", source) == f"--source {source}"


@pytest.mark.parametrize("option", ["--model", "--detector-path", "--token-file"])
def test_a_file_that_is_not_there_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=rf"Expected a file, got none at /no/such/file \({option}\)"):
        plan_service([option, "/no/such/file"])


def test_a_detector_without_its_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="Expected the file of yunet, got none in") as caught:
        plan_service(["--detector", "yunet"])
    assert caught.value.hint.startswith("edgegender models pull yunet")


def test_a_pulled_detector_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yunet_file: Path) -> None:
    from edgegender.downloads import DOWNLOADABLE

    folder = tmp_path / "edgegender" / "models"
    folder.mkdir(parents=True)
    shutil.copy(yunet_file, folder / DOWNLOADABLE["yunet"].file_name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    words = command_of("--detector=yunet", is_user_service=True)
    assert words == f'"--detector=yunet" --detector-path {folder}/{DOWNLOADABLE["yunet"].file_name}'


def test_a_relative_recording_lands_in_the_state_folder() -> None:
    lines = unit_of("--record", "faces.mp4")
    assert "WorkingDirectory=%S/edgegender-camera" in lines
    assert "StateDirectory=edgegender-camera" in lines
    assert "DynamicUser=yes" in lines


# Who it runs as


def test_it_runs_as_nobody_in_particular() -> None:
    assert "DynamicUser=yes" in unit_of("--source", "0")


def test_it_runs_as_the_user_that_was_named() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    lines = unit_of("--source", "0", user=name)
    assert f"User={name}" in lines
    assert "DynamicUser=yes" not in lines


def test_an_unknown_user_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a user of this machine, got 'no-such-user'"):
        plan_service([], user="no-such-user")


@pytest.fixture
def owner(tmp_path: Path) -> str:
    """Somebody who is not the superuser and owns the folder, which is closed to others."""
    tmp_path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    return pwd.getpwuid(tmp_path.stat().st_uid).pw_name


def test_a_recording_elsewhere_is_written_by_that_folders_owner(tmp_path: Path, owner: str) -> None:
    lines = unit_of("--record", f"{tmp_path}/faces.mp4")
    assert f"User={owner}" in lines
    assert f"ReadWritePaths={tmp_path}" in lines


def test_a_model_that_is_closed_to_others_is_read_by_its_owner(tmp_path: Path, owner: str) -> None:
    model = tmp_path / "net.tflite"
    model.touch()
    os.chown(model, tmp_path.stat().st_uid, -1)
    assert f"User={owner}" in unit_of("--model", str(model))


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser has files that are closed to all others")
def test_it_never_runs_as_the_superuser(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match="Expected files that a service without the superuser's rights can use"
    ) as caught:
        plan_service(["--record", f"{tmp_path}/faces.mp4"])
    assert "/var/lib" in caught.value.hint


@pytest.mark.parametrize("name", ["", "a b", "../x", "x.service", "-x"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Expected a name of letters, digits, - and _"):
        plan_service([], name=name)


# Secrets


@pytest.mark.parametrize("arguments", [("--token", "s3cret"), ("--token=s3cret",)], ids=["apart", "joined"])
def test_a_token_is_refused_with_the_way_out(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="Expected no secret among the arguments of a service, got --token") as caught:
        plan_service(arguments)
    assert "--token-file FILE" in caught.value.hint
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("option", ["--source", "--mqtt"])
@pytest.mark.parametrize("address", ["rtsp://me:s3cret@camera/stream", "rtsp://me:s3cret@[::1/stream"])
def test_a_password_in_an_address_is_refused_and_not_repeated(option: str, address: str) -> None:
    with pytest.raises(UsageError, match=rf"Expected no password .*\({option}\)") as caught:
        plan_service([option, address])
    assert caught.value.hint.endswith(f"{option} @FILE.")
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"


def test_secret_files_are_handed_over_by_systemd(tmp_path: Path) -> None:
    for name in ("token 1%", "source", "broker"):
        (tmp_path / name).write_text("s3cret")
        (tmp_path / name).chmod(0o600)
    arguments = (
        "--token-file",
        f"{tmp_path}/token 1%",
        "--source",
        f"@{tmp_path}/source",
        f"--mqtt=@{tmp_path}/broker",
    )
    lines = unit_of(*arguments)
    assert f"LoadCredential=token:{tmp_path}/token 1%%" in lines
    assert f"LoadCredential=source:{tmp_path}/source" in lines
    assert command_of(*arguments) == "--token-file %d/token --source @%d/source --mqtt @%d/mqtt"
    assert "s3cret" not in "\n".join(lines)


def test_a_users_own_service_opens_its_secrets_itself(tmp_path: Path) -> None:
    (tmp_path / "my token").touch()
    words = command_of("--token-file", f"{tmp_path}/my token", is_user_service=True)
    assert words == f'--token-file "{tmp_path}/my token"'


# What a service cannot have


def test_standard_input_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a source that a service can open, got standard input"):
        plan_service(["--source", "-"])


def test_a_window_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected arguments that a service can have, got --window") as caught:
        plan_service(["--source", "0", "--window"])
    assert "--preview" in caught.value.hint


def test_an_option_without_its_value_is_left_to_the_camera() -> None:
    assert ServiceArguments(["--preview"], is_user_service=False).words == ["--preview", '""']


# Installing


def test_it_is_written_whole_and_the_next_steps_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = install_service(["--source", "0"], unit_folder=tmp_path)
    assert path == tmp_path / "edgegender-camera.service"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "sudo systemctl daemon-reload" in printed.err
    assert "sudo systemctl enable --now edgegender-camera" in printed.err


def test_a_users_own_service_lands_in_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    path = install_service(["--source", "0"], name="door", is_user_service=True)
    assert path == tmp_path / ".config/systemd/user/door.service"
    assert path.is_file()
    printed = capsys.readouterr().err
    assert "systemctl --user enable --now door" in printed
    assert "enable-linger" in printed


def test_a_dry_run_prints_it_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = install_service(["--source", "0"], unit_folder=tmp_path / "units", is_dry_run=True)
    assert not path.parent.exists()
    assert capsys.readouterr().out == render_unit(plan_service(["--source", "0"]))


@pytest.mark.usefixtures("plain_user")
def test_without_the_superusers_rights_the_line_with_sudo_is_named() -> None:
    with pytest.raises(OutputError, match="Expected a unit that can be written, got no right to") as caught:
        install_service(["--source", "my cam", "--install-service"])
    assert caught.value.exit_code == 3
    assert caught.value.hint == f"sudo {SYSTEM_PYTHON} -m edgegender camera --source 'my cam' --install-service"


# What systemd says


@needs_systemd
@pytest.mark.parametrize(
    ("arguments", "is_user_service", "most"),
    [
        (("--source", "picamera"), False, 1.5),
        (("--source", "rtsp://camera/a b?c=%20", "--preview", "0.0.0.0:8080", "--mqtt", "mqtt://broker"), False, 2.0),
        (("--source", "0"), True, 6.0),  # a user's manager cannot give rights away
    ],
    ids=["local", "network", "user"],
)
def test_systemd_finds_no_fault_and_little_exposure(
    tmp_path: Path, arguments: tuple[str, ...], is_user_service: bool, most: float
) -> None:
    path = install_service(arguments, name="proof", unit_folder=tmp_path, is_user_service=is_user_service)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for proof\.service: ([\d.]+)", judged.stdout)
    assert found is not None, judged
    assert float(found[1]) <= most


# The process's side


def test_the_watchdogs_time_is_taken_where_it_is_meant_for_this_process() -> None:
    own = str(os.getpid())
    for pid, interval_s in ((own, 15.0), (None, 15.0), ("1", None)):
        environment = {"NOTIFY_SOCKET": "@edgegender-test", "WATCHDOG_USEC": "30000000"}
        environment |= {} if pid is None else {"WATCHDOG_PID": pid}
        with connect_heartbeat(environment) as heartbeat:
            assert heartbeat.is_heard
            assert heartbeat._interval_s == interval_s


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"WATCHDOG_USEC": "soon"}])
def test_without_systemd_there_is_no_heartbeat(environment: dict[str, str]) -> None:
    assert not connect_heartbeat(environment).is_heard
