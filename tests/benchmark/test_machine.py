"""The machine is described from its own files; what is missing stays blank and nothing fails."""

from __future__ import annotations

import getpass
import json
import platform
import socket
from dataclasses import asdict, replace

import pytest

from edgegender.benchmark import machine
from edgegender.benchmark.machine import describe_machine, describe_versions, read_state, was_throttled
from tests.benchmark.examples import CALM

PI_CPUINFO = """processor\t: 0
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd0b

processor\t: 1
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: d04170
Serial\t\t: 1234567890abcdef
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
X86_CPUINFO = """processor\t: 0
model name\t: AMD  EPYC 9R14
cpu MHz\t\t: 2596.142
flags\t\t: fpu vme hypervisor lahf_lm

processor\t: 1
model name\t: AMD  EPYC 9R14
cpu MHz\t\t: 3100.5
flags\t\t: fpu vme hypervisor lahf_lm
"""


def write(root, name, text):
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def pi(tmp_path):
    write(tmp_path, "proc/cpuinfo", PI_CPUINFO)
    write(tmp_path, "proc/meminfo", "MemTotal:        8257872 kB\nMemFree: 1 kB\n")
    write(tmp_path, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    write(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    for number, khz in enumerate((1_500_000, 2_400_000)):
        folder = f"sys/devices/system/cpu/cpu{number}/cpufreq"
        write(tmp_path, f"{folder}/scaling_governor", "ondemand\n")
        write(tmp_path, f"{folder}/scaling_cur_freq", f"{khz}\n")
    write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "51200\n")
    write(tmp_path, "sys/class/thermal/thermal_zone1/temp", "not a number\n")
    return tmp_path


def test_a_raspberry_pi_names_its_board_its_cores_and_its_memory(pi):
    found = describe_machine(pi)
    assert found.board == "Raspberry Pi 5 Model B Rev 1.0"
    assert found.cpu_model == "Cortex-A76"
    assert found.memory_bytes == 8_257_872 * 1024
    assert found.operating_system == "Debian GNU/Linux 12 (bookworm)"
    assert not found.is_virtual_machine


def test_the_board_is_found_in_cpuinfo_where_there_is_no_device_tree(pi):
    (pi / "proc/device-tree/model").unlink()
    assert describe_machine(pi).board == "Raspberry Pi 5 Model B Rev 1.0"


def test_the_serial_number_of_a_board_is_not_recorded(pi):
    assert "1234567890abcdef" not in json.dumps(asdict(describe_machine(pi)))


def test_an_unknown_arm_core_is_named_by_its_number(tmp_path):
    write(tmp_path, "proc/cpuinfo", "CPU part\t: 0xabc\n")
    assert describe_machine(tmp_path).cpu_model == "ARM part 0xabc"


def test_cores_of_two_kinds_are_both_named(tmp_path):
    write(tmp_path, "proc/cpuinfo", "CPU part\t: 0xd03\nCPU part\t: 0xd09\n")
    assert describe_machine(tmp_path).cpu_model == "Cortex-A53 + Cortex-A73"


def test_x86_names_its_model_once_and_its_hypervisor(tmp_path):
    write(tmp_path, "proc/cpuinfo", X86_CPUINFO)
    found = describe_machine(tmp_path)
    assert found.cpu_model == "AMD EPYC 9R14"
    assert found.is_virtual_machine


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sys/hypervisor/type", "xen\n"),
        ("sys/class/dmi/id/product_name", "KVM Virtual Machine\n"),
        ("proc/device-tree/hypervisor/compatible", "xen,xen"),
    ],
)
def test_each_sign_of_a_virtual_machine_counts(tmp_path, name, text):
    write(tmp_path, name, text)
    assert describe_machine(tmp_path).is_virtual_machine


@pytest.mark.parametrize(
    ("real", "emulator"), [("/usr/bin/qemu-aarch64-static", "qemu-aarch64"), ("/usr/bin/python3.11", "")]
)
def test_an_emulator_shows_itself_in_the_link_of_a_thread(tmp_path, real, emulator):
    write(tmp_path, "proc/cpuinfo", X86_CPUINFO)
    (tmp_path / "proc/self/task/7").mkdir(parents=True)
    (tmp_path / "proc/self/exe").symlink_to("/usr/bin/python3.11")
    (tmp_path / "proc/self/task/7/exe").symlink_to(real)
    found = describe_machine(tmp_path)
    assert (found.emulator, found.cpu_model) == (emulator, emulator or "AMD EPYC 9R14")


def test_this_machine_is_no_emulator():
    assert describe_machine().emulator == ""


def test_a_machine_without_any_of_the_files_is_described_all_the_same(tmp_path):
    found = describe_machine(tmp_path)
    assert (found.board, found.memory_bytes, found.is_virtual_machine) == ("", None, False)
    assert found.num_available_cores >= 1
    assert found.kernel == platform.release()


def test_this_machine_is_described_without_host_and_user():
    text = json.dumps([asdict(describe_machine()), asdict(describe_versions()), asdict(read_state())])
    assert socket.gethostname() not in text
    assert f'"{getpass.getuser()}"' not in text


def test_versions_name_runtime_and_libraries():
    found = describe_versions()
    assert found.python == platform.python_version()
    assert found.runtime_name in ("ai-edge-litert", "tflite-runtime")
    assert all(asdict(found).values())


def test_a_distribution_that_is_not_installed_has_no_version():
    assert machine._version("no-such-distribution-1", "no-such-distribution-2") == ""


def test_the_state_holds_governor_highest_frequency_and_highest_temperature(pi, monkeypatch):
    monkeypatch.setenv("PATH", str(pi))
    state = read_state(pi)
    assert (state.governor, state.frequency_mhz, state.temperature_c) == ("ondemand", 2400.0, 51.2)
    assert (state.throttled_flags, state.throttle_count) == (None, None)


def test_the_frequency_of_cpuinfo_stands_in_for_cpufreq(tmp_path):
    write(tmp_path, "proc/cpuinfo", X86_CPUINFO)
    assert read_state(tmp_path).frequency_mhz == 3100.5


def test_a_state_without_files_is_blank(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (_ for _ in ()).throw(OSError))
    assert set(asdict(read_state(tmp_path)).values()) == {None}


def test_throttle_counts_of_all_cores_are_added_up(tmp_path):
    for number, count in enumerate((3, 4)):
        write(tmp_path, f"sys/devices/system/cpu/cpu{number}/thermal_throttle/core_throttle_count", f"{count}\n")
    assert read_state(tmp_path).throttle_count == 7


@pytest.mark.parametrize(
    ("script", "flags"),
    [
        ("echo throttled=0x50005", 0x50005),
        ("echo VCHI initialization failed; exit 255", None),
        ("printf '\\377'", None),
        ("exec sleep 5", None),
    ],
)
def test_vcgencmd_is_asked_and_may_fail_or_hang(tmp_path, monkeypatch, script, flags):
    tool = tmp_path / "vcgencmd"
    tool.write_text(f'#!/bin/sh\n[ "$1" = get_throttled ] || exit 1\n{script}\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(machine, "_VCGENCMD_SECONDS", 0.5)
    assert read_state(tmp_path).throttled_flags == flags


@pytest.mark.parametrize(
    ("before", "after", "is_throttled"),
    [
        (0x0, 0x0, False),
        (0x50000, 0x50000, False),  # it happened before the measurement
        (0x0, 0x40000, True),  # it happened during it
        (0x50005, 0x50000, True),  # it was so when the measurement began
        (0x0, 0x2, True),
        (None, None, False),
        (None, 0x4, True),
    ],
)
def test_throttling_counts_only_when_it_touches_the_measurement(before, after, is_throttled):
    first, last = replace(CALM, throttled_flags=before), replace(CALM, throttled_flags=after)
    assert was_throttled(first, last) is is_throttled


def test_a_throttle_counter_that_moved_is_throttling():
    first = replace(CALM, throttle_count=3)
    assert was_throttled(first, replace(CALM, throttle_count=4))
    assert not was_throttled(first, first)
