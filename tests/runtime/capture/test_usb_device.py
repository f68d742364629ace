"""What is said about video devices. Files stand for devices: no camera is needed to be in use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgegender.runtime.capture import usb_device


def test_devices_are_listed_by_number(tmp_path: Path) -> None:
    for name in ("video10", "video2", "video0", "videoX", "audio0"):
        (tmp_path / name).touch()
    assert [Path(path).name for path in usb_device.list_devices(tmp_path)] == ["video0", "video2", "video10"]
    assert usb_device.devices_hint(tmp_path) == f"There are: {tmp_path}/video0, {tmp_path}/video2, {tmp_path}/video10."


def test_without_devices_the_hint_speaks_of_the_cable(tmp_path: Path) -> None:
    assert "look at the cable" in usb_device.devices_hint(tmp_path)


def test_a_missing_device_is_a_fault(tmp_path: Path) -> None:
    assert usb_device.find_fault(f"{tmp_path}/video0") == f"there is no {tmp_path}/video0"
    assert usb_device.explain_failure(f"{tmp_path}/video0") == f"there is no {tmp_path}/video0"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every device")
def test_a_device_of_another_user_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "video0").touch(0o000)
    assert "may not be opened by this user" in usb_device.find_fault(f"{tmp_path}/video0")


def test_a_device_in_use_names_its_user(tmp_path: Path) -> None:
    device = tmp_path / "video0"
    device.touch()
    assert usb_device.find_fault(str(device)) == ""
    assert usb_device.explain_failure(str(device)) == ""
    hold = "import sys; stream = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(device)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert usb_device.find_fault(str(device)) == ""  # others may have it open without streaming
        said = usb_device.explain_failure(str(device))
        process.communicate()
    assert said.startswith(f"{device} is in use by python")
    assert said.endswith(f"(process {process.pid})")
