"""What doctor says of cameras: there or not, closed to this user, in use; on machines that are built from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.cli import doctor_camera
from tests.cli.surroundings import machine, write, write_program

LISTED = """Available cameras
-----------------
0 : imx708 [4608x2592 10-bit RGGB] (/base/axi/pcie@120000/rp1/i2c@88000/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
"""


def add_node(root: Path, number: int, name: str, *, index: int = 0) -> None:
    write(root, f"sys/class/video4linux/video{number}/name", f"{name}\n")
    write(root, f"sys/class/video4linux/video{number}/index", f"{index}\n")
    write(root, f"dev/video{number}")


def add_codecs(root: Path) -> None:
    for number, name in (
        (10, "bcm2835-codec-decode"),
        (13, "bcm2835-isp-output0"),
        (19, "rpi-hevc-dec"),
        (20, "pispbe-tdn"),
    ):
        add_node(root, number, name)


def test_a_pi_without_a_camera_gets_the_hint_of_the_ribbon_cable(tmp_path: Path) -> None:
    add_codecs(tmp_path)  # video nodes, but no cameras
    write_program(tmp_path / "bin", "rpicam-hello", "No cameras available!")
    finding = doctor_camera.camera(machine(tmp_path))
    assert (finding.status, finding.detail) == ("note", "none on the ribbon cable, none on USB")
    assert "rpicam-hello --list-cameras" in finding.fix


def test_none_is_a_problem_where_one_is_wanted(tmp_path: Path) -> None:
    assert doctor_camera.camera(machine(tmp_path, is_camera_wanted=True)).status == "problem"
    finding = doctor_camera.camera(machine(tmp_path / "pc", board="", is_camera_wanted=True))
    assert (finding.status, finding.detail) == ("problem", "no capture device")
    assert "/dev/video0" in finding.fix


@pytest.mark.parametrize("program", ["rpicam-hello", "libcamera-hello"])
def test_a_sensor_that_libcamera_lists_is_named(tmp_path: Path, program: str) -> None:
    write_program(tmp_path / "bin", program, LISTED)
    finding = doctor_camera.camera(machine(tmp_path))
    assert (finding.status, finding.detail) == ("ok", "imx708 (picamera)")


@pytest.mark.parametrize("receiver", ["unicam-image", "rp1-cfe-csi2_ch0"])
def test_without_libcameras_program_the_receiver_tells(tmp_path: Path, receiver: str) -> None:
    add_codecs(tmp_path)
    add_node(tmp_path, 0, receiver)
    assert doctor_camera.camera(machine(tmp_path)).detail == "a sensor on the ribbon cable (picamera)"


def test_a_program_that_cannot_be_run_is_taken_for_none(tmp_path: Path) -> None:
    write(tmp_path, "bin/rpicam-hello", "#!/no/such/interpreter\n").chmod(0o755)
    assert doctor_camera.camera(machine(tmp_path)).status == "note"


def test_a_usb_camera_is_named_once_and_its_metadata_node_is_not(tmp_path: Path) -> None:
    add_codecs(tmp_path)
    add_node(tmp_path, 0, "HD Pro Webcam C920")
    add_node(tmp_path, 1, "HD Pro Webcam C920", index=1)
    finding = doctor_camera.camera(machine(tmp_path))
    assert (finding.status, finding.detail) == ("ok", "/dev/video0 (HD Pro Webcam C920)")


@pytest.mark.usefixtures("plain_user")
def test_a_closed_device_gets_the_group() -> None:
    add_node(Path(), 0, "HD Pro Webcam C920")
    Path("dev/video0").chmod(0)
    finding = doctor_camera.camera_rights(machine(Path(), groups=frozenset({"users"})))
    assert finding is not None
    assert (finding.status, finding.fix) == ("problem", 'sudo usermod -aG video "$USER", and log in again')
    assert finding.detail == "this user may not open /dev/video0: not in the group video"


@pytest.mark.usefixtures("plain_user")
def test_a_device_that_is_closed_to_the_group_as_well_gets_another_fix() -> None:
    add_node(Path(), 0, "HD Pro Webcam C920")
    Path("dev/video0").chmod(0)
    finding = doctor_camera.camera_rights(machine(Path()))
    assert finding is not None
    assert "ls -l /dev/video0" in finding.fix


def test_a_device_that_can_be_opened_is_not_worth_a_word(tmp_path: Path) -> None:
    add_node(tmp_path, 0, "HD Pro Webcam C920")
    assert doctor_camera.camera_rights(machine(tmp_path, groups=frozenset())) is None


def test_who_has_a_camera_open_is_named(tmp_path: Path) -> None:
    add_node(tmp_path, 0, "HD Pro Webcam C920")
    write(tmp_path, "proc/1234/comm", "motion\n")
    for process, target in (("1234", "/dev/video0"), ("99", "/dev/null")):
        (tmp_path / "proc" / process / "fd").mkdir(parents=True)
        (tmp_path / "proc" / process / "fd" / "5").symlink_to(target)
    (tmp_path / "proc/77").mkdir()  # of somebody else: its descriptors cannot be seen
    finding = doctor_camera.camera_in_use(machine(tmp_path))
    assert finding is not None
    assert (finding.status, finding.detail) == ("note", "motion (1234) has /dev/video0 open")
    assert "sudo fuser -v /dev/video*" in finding.fix


def test_a_camera_that_nobody_has_open_is_not_worth_a_word(tmp_path: Path) -> None:
    add_node(tmp_path, 0, "HD Pro Webcam C920")
    assert doctor_camera.camera_in_use(machine(tmp_path)) is None


def test_without_a_display_the_browser_shows_the_picture(tmp_path: Path) -> None:
    finding = doctor_camera.display(machine(tmp_path))
    assert finding.status == "note"
    assert "--preview 127.0.0.1:8080" in finding.fix
    assert doctor_camera.display(machine(tmp_path, has_display=True)).status == "ok"
