"""What doctor says of a Raspberry Pi: each situation is built from files, and each fault gets its exact fix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgegender.cli import doctor, doctor_pi
from edgegender.cli.doctor_findings import Surroundings, look_around
from tests.cli.commands import run_here
from tests.cli.surroundings import PI_5, machine, write, write_program

PACKAGES = "usr/lib/python3/dist-packages"


@pytest.fixture
def vcgencmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is first on the path, for the Pi's own tool: hardware that is not here."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def with_picamera2(root: Path, numpy: str = "numpy-1.24.2.egg-info") -> None:
    write(root, f"{PACKAGES}/picamera2/__init__.py")
    write(root, f"{PACKAGES}/{numpy}/PKG-INFO")


# The system


def test_64_bit_throughout_is_not_worth_a_word(tmp_path: Path) -> None:
    assert doctor_pi.userland(machine(tmp_path)) is None


def test_32_bit_programs_on_a_64_bit_kernel_get_two_ways_out(tmp_path: Path) -> None:
    finding = doctor_pi.userland(machine(tmp_path, userland_bits=32))
    assert finding is not None
    assert "32 bit on a 64-bit kernel" in finding.detail
    assert "64-bit Raspberry Pi OS" in finding.fix
    assert "pip install 'edgegender[tflite-runtime]'" in finding.fix


def test_a_board_that_is_32_bit_itself_is_left_to_the_check_of_the_system(tmp_path: Path) -> None:
    assert doctor_pi.userland(machine(tmp_path, userland_bits=32, kernel_architecture="armv7l")) is None


# picamera2 and numpy


def test_a_missing_picamera2_gets_the_apt_line(tmp_path: Path) -> None:
    finding = doctor_pi.picamera2(machine(tmp_path))
    assert finding.status == "note"
    assert finding.fix == "sudo apt install -y python3-picamera2 --no-install-recommends"


def test_a_virtual_environment_that_does_not_see_picamera2_needs_no_fix(tmp_path: Path) -> None:
    with_picamera2(tmp_path)
    finding = doctor_pi.picamera2(machine(tmp_path))
    assert (finding.status, finding.fix) == ("ok", "")
    assert "in a process of its own; this virtual environment does not see it, and need not" in finding.detail


@pytest.mark.parametrize("config", [None, "include-system-site-packages = true\n"])
def test_an_environment_that_sees_picamera2_is_fine_too(tmp_path: Path, config: str | None) -> None:
    with_picamera2(tmp_path)
    pi = machine(tmp_path)
    (pi.prefix / "pyvenv.cfg").unlink() if config is None else (pi.prefix / "pyvenv.cfg").write_text(config)
    finding = doctor_pi.picamera2(pi)
    assert finding.status == "ok"
    assert "need not" not in finding.detail


@pytest.mark.parametrize("numpy", ["numpy-1.24.2.egg-info", "numpy-1.26.4.dist-info", "numpy-1.24.2-py3.11.egg-info"])
def test_numpy_2_of_pip_in_the_system_hides_the_one_of_picamera2(tmp_path: Path, numpy: str) -> None:
    with_picamera2(tmp_path, numpy)
    write(tmp_path, "usr/local/lib/python3.11/dist-packages/numpy-2.2.6.dist-info/METADATA")
    finding = doctor_pi.numpy_beside_picamera2(machine(tmp_path))
    assert finding is not None
    assert (finding.status, finding.detail.split(" in ")[0]) == ("problem", "2.2.6")
    assert finding.fix == "sudo /usr/bin/python3 -m pip uninstall --break-system-packages -y numpy"


def test_numpy_2_in_an_environment_that_sees_picamera2_is_named_but_no_problem_here(tmp_path: Path) -> None:
    with_picamera2(tmp_path)
    pi = machine(tmp_path)
    (pi.prefix / "pyvenv.cfg").write_text("include-system-site-packages = true\n")
    finding = doctor_pi.numpy_beside_picamera2(pi)
    assert finding is not None
    assert finding.status == "note"
    assert finding.detail.startswith("2.2.6 in here, 1.24.2 for picamera2: edgegender keeps them apart")
    assert "'numpy<2'" in finding.fix


def test_numpy_apart_from_picamera2_is_not_worth_a_word(tmp_path: Path) -> None:
    with_picamera2(tmp_path)
    assert doctor_pi.numpy_beside_picamera2(machine(tmp_path)) is None


def test_where_the_system_has_numpy_2_itself_nothing_clashes(tmp_path: Path) -> None:
    with_picamera2(tmp_path, "numpy-2.2.4.dist-info")
    write(tmp_path, "usr/local/lib/python3.13/dist-packages/numpy-2.3.0.dist-info/METADATA")
    assert doctor_pi.numpy_beside_picamera2(machine(tmp_path)) is None


def test_without_picamera2_numpy_cannot_clash(tmp_path: Path) -> None:
    write(tmp_path, "usr/local/lib/python3.11/dist-packages/numpy-2.2.6.dist-info/METADATA")
    assert doctor_pi.numpy_beside_picamera2(machine(tmp_path)) is None


# Power and heat


@pytest.mark.parametrize(
    ("flags", "status", "detail", "fix"),
    [
        ("0x0", "ok", "never throttled since boot", ""),
        ("0x1", "problem", "now: under-voltage", "power supply"),
        ("0x50005", "problem", "now: under-voltage, throttled", "power supply"),
        ("0x50000", "note", "since boot: under-voltage, throttled", "power supply"),
        ("0xe0008", "problem", "now: soft temperature limit", "heat sink"),
        ("0xe0000", "note", "since boot: frequency capped, throttled, soft temperature limit", "heat sink"),
    ],
)
def test_the_flags_of_the_firmware_are_put_in_words(  # noqa: PLR0917 - four cells of a table
    tmp_path: Path, vcgencmd: Path, flags: str, status: str, detail: str, fix: str
) -> None:
    write_program(vcgencmd, "vcgencmd", f"throttled={flags}")
    finding = doctor_pi.power(machine(tmp_path))
    assert (finding.status, finding.detail) == (status, detail)
    assert fix in finding.fix


def test_a_firmware_that_does_not_answer_is_a_note(tmp_path: Path, vcgencmd: Path) -> None:
    write_program(vcgencmd, "vcgencmd", "VCHI initialization failed", exit_code=255)
    finding = doctor_pi.power(machine(tmp_path))
    assert (finding.status, finding.fix) == ("note", 'sudo usermod -aG video "$USER", and log in again')


@pytest.mark.parametrize(("millidegrees", "status"), [(51_200, "ok"), (74_000, "note"), (82_500, "problem")])
def test_a_hot_board_is_told_before_it_slows_down(tmp_path: Path, millidegrees: int, status: str) -> None:
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", f"{millidegrees}\n")
    finding = doctor_pi.temperature(machine(tmp_path))
    assert finding is not None
    assert finding.status == status
    assert bool(finding.fix) == (status != "ok")


def test_a_board_without_a_sensor_says_nothing_of_heat(tmp_path: Path) -> None:
    assert doctor_pi.temperature(machine(tmp_path)) is None


# Memory


def with_memory(root: Path, total_kb: int, swap_kb: int) -> Surroundings:
    write(root, "proc/meminfo", f"MemTotal:       {total_kb} kB\nSwapTotal:      {swap_kb} kB\n")
    return machine(root)


def test_a_gigabyte_without_swap_gets_a_swap_file(tmp_path: Path) -> None:
    finding = doctor_pi.swap(with_memory(tmp_path, 930_000, 0))
    assert finding is not None
    assert finding.detail == "none, with 908 MB of memory: a peak ends a program"
    assert "mkswap /swapfile" in finding.fix


def test_a_gigabyte_with_swap_is_fine(tmp_path: Path) -> None:
    finding = doctor_pi.swap(with_memory(tmp_path, 930_000, 524_288))
    assert finding is not None
    assert (finding.status, finding.detail) == ("ok", "512 MB")


def test_a_larger_board_needs_no_swap(tmp_path: Path) -> None:
    assert doctor_pi.swap(with_memory(tmp_path, 4_000_000, 0)) is None


def test_a_machine_that_tells_nothing_of_its_memory_gets_no_advice(tmp_path: Path) -> None:
    assert doctor_pi.swap(machine(tmp_path)) is None


# Which checks run, and the command


def names(surroundings: Surroundings) -> set[str]:
    checks = doctor._device_checks(surroundings)
    return {finding.name for check in checks if (finding := check(surroundings)) is not None}


def test_a_pc_or_a_virtual_machine_is_not_asked_for_a_pis_things(tmp_path: Path) -> None:
    assert names(machine(tmp_path, board="")) == {"disk"}
    assert names(machine(tmp_path, board="linux,dummy-virt")) == {"disk"}


def test_a_pc_that_wants_a_camera_is_asked_for_one(tmp_path: Path) -> None:
    assert names(machine(tmp_path, board="", is_camera_wanted=True)) == {"disk", "camera", "display"}


def test_a_pi_is_looked_at_whole(tmp_path: Path, vcgencmd: Path) -> None:
    write_program(vcgencmd, "vcgencmd", "throttled=0x0")
    assert names(machine(tmp_path)) == {"disk", "power", "picamera2", "camera", "display"}


def test_little_room_on_the_disk_is_a_note(tmp_path: Path) -> None:
    assert doctor._disk(machine(tmp_path)).status == "ok"
    finding = doctor._disk(machine(tmp_path, free_bytes=123_456_789))
    assert (finding.status, finding.detail) == ("note", "123 MB free in this folder")


def test_the_facts_of_this_machine_are_read() -> None:
    here = look_around({"PATH": "/bin", "WAYLAND_DISPLAY": "wayland-0"}, numpy_version="2.0.0")
    assert here.userland_bits in (32, 64)
    assert here.has_display
    assert here.free_bytes > 0
    assert here.find_program("no-such-program", "sh") == "/bin/sh"
    assert here.read("proc/no-such-file") == ""
    assert not look_around({}, numpy_version="").has_display


def test_the_command_names_board_problem_and_fix(
    tmp_path: Path, vcgencmd: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_program(vcgencmd, "vcgencmd", "throttled=0x50005")
    pi = machine(tmp_path)
    monkeypatch.setattr(doctor, "look_around", lambda *_, **__: pi)  # hardware that is not there
    answer = run_here(capfd, "doctor")
    assert answer.code == 1
    assert f"✅ board: {PI_5}\n" in answer.out
    assert "❌ power: now: under-voltage, throttled\n   fix: Use the board's own power supply" in answer.out
    assert "got 1 problem(s): power." in answer.err
    found = json.loads(run_here(capfd, "doctor", "--json").out)["findings"]
    power = next(finding for finding in found if finding["name"] == "power")
    assert power == {
        "name": "power",
        "status": "problem",
        "detail": "now: under-voltage, throttled",
        "fix": power["fix"],
    }
