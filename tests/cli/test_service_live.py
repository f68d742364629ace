"""The unit under a real systemd: arguments arrive as they were, a hang is ended, and life is not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgegender.cli.service_unit import WATCHDOG_S, ServicePlan, quote, render_unit

SYSTEMD = Path("/lib/systemd/systemd")
DEADLINE_S = 60  # a busy machine is no failure
PRINTER = "import json, os, sys; open('arguments.json', 'w').write(json.dumps([sys.argv[1:], os.getcwd()]))"
WORKER = """
import os, time
from edgegender.cli.service import connect_heartbeat
heartbeat = connect_heartbeat(os.environ)
heartbeat.ready("running")
while not os.path.exists("hang"):
    heartbeat.beat(f"alive for {time.monotonic():.0f} s")
    time.sleep(0.05)
os.rename("hang", "hung")
while True:
    time.sleep(1)
"""
AWKWARD = (
    "a b", "50%", "%d/x", "$HOME", "${HOME}", 'say "hi"', "it's", "back\\slash", ";", "a;b", "tab\tnew\nline",
    "-", "", "größe", "--size=640x480", "#no comment", "rtsp://10.0.0.7:554/a?b=c&d=%20",
)  # fmt: skip


class Manager:
    """A service manager of its own, of a user, that knows the units of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.runtime.mkdir(mode=0o700)
        home = folder / "home"
        home.mkdir()
        # systemd wants to see that the machine was started with systemd: in a mount namespace it does
        booted = 'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec "$@"'
        self.environment = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(self.runtime),
            "SYSTEMD_UNIT_PATH": f"{folder}:/usr/lib/systemd/user",
        }
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", booted, "sh", str(SYSTEMD), "--user", "--unit=basic.target"],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def is_up(self) -> bool:
        return (self.runtime / "systemd/private").exists()

    def control(self, *arguments: str) -> str:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        return self.control("show", unit, "--property", name, "--value")

    def close(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "the deadline is over"
        time.sleep(0.05)


def write_unit(folder: Path, words: tuple[str, ...], *, watchdog_s: int = WATCHDOG_S, kind: str = "notify") -> None:
    plan = ServicePlan(name="proof", words=tuple(map(quote, words)), is_user_service=True)
    unit = render_unit(plan).replace(f"WatchdogSec={WATCHDOG_S}", f"WatchdogSec={watchdog_s}")
    (folder / "proof.service").write_text(
        unit.replace("RestartSec=5", "RestartSec=0").replace("Type=notify", f"Type={kind}")
    )


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        pytest.skip("no systemd: apt-get install systemd")
    if os.geteuid() != 0 or subprocess.run(["unshare", "--mount", "true"], check=False).returncode:
        pytest.skip("only the superuser may make a mount namespace")
    made = Manager(tmp_path)
    try:
        wait_for(lambda: made.is_up() or made.process.poll() is not None)
        if made.process.poll() is not None:
            pytest.skip("systemd --user does not start here")
        yield made
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            made.control("stop", "proof")
        made.close()


def test_arguments_arrive_as_they_were_typed(manager: Manager) -> None:
    write_unit(manager.folder, (sys.executable, "-c", PRINTER, *AWKWARD), kind="oneshot")
    manager.control("start", "proof")
    (answer,) = manager.folder.rglob("arguments.json")
    arguments, working_folder = json.loads(answer.read_text())
    assert arguments == list(AWKWARD)
    assert Path(working_folder).name == "proof"  # its state folder


def test_a_hang_is_ended_and_restarted_and_a_living_loop_is_not(manager: Manager) -> None:
    write_unit(manager.folder, (sys.executable, "-c", WORKER), watchdog_s=2)
    manager.control("start", "proof")  # returns when READY=1 has arrived
    first = manager.show("proof", "MainPID")
    state = next(path for path in manager.folder.rglob("proof") if path.is_dir())
    begin = time.monotonic()
    wait_for(lambda: time.monotonic() - begin > 3)  # longer than the watchdog allows to be silent
    assert manager.show("proof", "MainPID") == first
    assert manager.show("proof", "StatusText").startswith("alive for")
    (state / "hang").touch()
    wait_for(lambda: manager.show("proof", "NRestarts") == "1")
    wait_for(lambda: manager.show("proof", "ActiveState") == "active")
    assert manager.show("proof", "MainPID") not in (first, "0")
    assert (state / "hung").exists()
