"""What the machine is, and the state it is in. Standard library only; a file that is missing leaves a blank.

Neither host nor user names are read: results are made to be published.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import edgegender
from edgegender.runtime.interpreter import available_cores, import_runtime

_ROOT = Path("/")
_VCGENCMD_SECONDS = 2.0
_OPENCV_DISTRIBUTIONS = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
# CPU part numbers of implementer 0x41. Source: Arm MIDR_EL1, as listed in util-linux sys-utils/lscpu-arm.c
_ARM_PARTS = {
    0xC07: "Cortex-A7",
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD41: "Cortex-A78",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}
_VIRTUAL_PRODUCTS = re.compile(r"kvm|qemu|virtualbox|vmware|hvm|virtual machine|bochs|google compute", re.IGNORECASE)
# Source: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
THROTTLED_NOW = 0x0000F  # under-voltage, frequency capped, throttled, soft temperature limit
_THROTTLED_SINCE_BOOT_SHIFT = 16


@dataclass(frozen=True)
class Machine:
    """What does not change while measuring. Empty text and ``None`` stand for "not known".

    Args:
        cpu_model: Such as ``AMD EPYC`` or ``Cortex-A76``.
        board: Such as ``Raspberry Pi 5 Model B Rev 1.0``.
        architecture: Such as ``x86_64`` or ``aarch64``.
        num_cores: Cores of the machine.
        num_available_cores: Cores that this process may use.
        memory_bytes: Main memory.
        operating_system: Name and version.
        kernel: Its release.
        is_virtual_machine: Whether a hypervisor shows itself.
        emulator: The program that imitates the processor, such as ``qemu-aarch64``; empty on a real one.
    """

    cpu_model: str
    board: str
    architecture: str
    num_cores: int
    num_available_cores: int
    memory_bytes: int | None
    operating_system: str
    kernel: str
    is_virtual_machine: bool
    emulator: str = ""


@dataclass(frozen=True)
class Versions:
    """The software that a measurement rests on; empty where it is not installed as a distribution."""

    edgegender: str
    python: str
    runtime_name: str
    runtime_version: str
    opencv: str
    numpy: str


@dataclass(frozen=True)
class MachineState:
    """What changes while measuring. ``None`` where the machine does not tell.

    Args:
        governor: Frequency governors of the cores, joined by commas.
        frequency_mhz: Highest current frequency of a core.
        temperature_c: Highest temperature of a thermal zone.
        throttled_flags: ``vcgencmd get_throttled`` of a Raspberry Pi.
        throttle_count: How often the cores were throttled for heat since the machine started (x86).
        load_average: Running processes, mean of the last minute.
    """

    governor: str | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttled_flags: int | None
    throttle_count: int | None
    load_average: float | None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip("\0 \n\t")
    except OSError:
        return ""


def _numbers(root: Path, pattern: str) -> list[int]:
    """Returns the whole numbers in the files that match; others are left out."""
    texts = [_read(path) for path in sorted(root.glob(pattern))]
    return [int(text) for text in texts if re.fullmatch(r"-?\d+", text)]


def _cpu_model(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    if found:
        return " ".join(found[1].split())
    parts = {int(text, 16) for text in re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)$", cpuinfo, re.MULTILINE)}
    named = [_ARM_PARTS.get(part, f"ARM part {part:#x}") for part in sorted(parts)]
    return " + ".join(named) or platform.processor()


def _memory_bytes(root: Path) -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _operating_system(root: Path) -> str:
    for name in ("etc/os-release", "usr/lib/os-release"):
        found = re.search(r'^PRETTY_NAME="?([^"\n]+)"?$', _read(root / name), re.MULTILINE)
        if found:
            return found[1]
    return platform.system()


def _is_virtual(root: Path, cpuinfo: str) -> bool:
    if re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) or _read(root / "sys/hypervisor/type"):
        return True
    if (root / "proc/device-tree/hypervisor").exists():
        return True
    product = f"{_read(root / 'sys/class/dmi/id/sys_vendor')} {_read(root / 'sys/class/dmi/id/product_name')}"
    return bool(_VIRTUAL_PRODUCTS.search(product))


def _emulator(root: Path) -> str:
    """Returns what runs this process in place of a processor.

    QEMU's user mode shows a program its own name in /proc/self/exe, and leaves the same link of a thread as it is.
    """
    try:
        shown = (root / "proc/self/exe").readlink()
        real = next(root.glob("proc/self/task/*/exe")).readlink()
    except (OSError, StopIteration):
        return ""
    return "" if real == shown else real.name.removesuffix("-static")


def describe_machine(root: Path = _ROOT) -> Machine:
    """Returns what this machine is.

    Args:
        root: Where ``/proc``, ``/sys`` and ``/etc`` are read from.
    """
    cpuinfo = _read(root / "proc/cpuinfo")
    board = _read(root / "proc/device-tree/model")
    if not board:
        found = re.search(r"^Model\s*:\s*(.+)$", cpuinfo, re.MULTILINE)  # Raspberry Pi kernels
        board = found[1].strip() if found else ""
    emulator = _emulator(root)
    return Machine(
        cpu_model=emulator or _cpu_model(cpuinfo),  # /proc/cpuinfo is the host's
        board=board,
        architecture=platform.machine(),
        num_cores=os.cpu_count() or 1,
        num_available_cores=available_cores(),
        memory_bytes=_memory_bytes(root),
        operating_system=_operating_system(root),
        kernel=platform.release(),
        is_virtual_machine=_is_virtual(root, cpuinfo),
        emulator=emulator,
    )


def _version(*distributions: str) -> str:
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return ""


def describe_versions() -> Versions:
    """Returns the versions of all that takes part in a measurement.

    Raises:
        MissingDependencyError: No runtime is installed.
    """
    _, runtime_name, runtime_version = import_runtime()
    return Versions(
        edgegender=edgegender.__version__,
        python=platform.python_version(),
        runtime_name=runtime_name,
        runtime_version=runtime_version,
        opencv=_version(*_OPENCV_DISTRIBUTIONS),
        numpy=_version("numpy"),
    )


def _throttled_flags() -> int | None:
    command = shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the Pi's own tool, found on the path, without input of a user
            [command, "get_throttled"], capture_output=True, text=True, timeout=_VCGENCMD_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    found = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", answer.stdout.strip())
    return int(found[1], 16) if found else None


def _frequency_mhz(root: Path) -> float | None:
    khz = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    if khz:
        return max(khz) / 1000
    mhz = re.findall(r"^cpu MHz\s*:\s*(\d+(?:\.\d+)?)\s*$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    return max(map(float, mhz)) if mhz else None


def read_state(root: Path = _ROOT) -> MachineState:
    """Returns the state that this machine is in now.

    Args:
        root: Where ``/proc`` and ``/sys`` are read from.
    """
    governors = {_read(path) for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")}
    thousandths = _numbers(root, "sys/class/thermal/thermal_zone*/temp")
    counts = _numbers(root, "sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count")
    try:
        load_average: float | None = os.getloadavg()[0]
    except OSError:
        load_average = None
    return MachineState(
        governor=",".join(sorted(governors - {""})) or None,
        frequency_mhz=_frequency_mhz(root),
        temperature_c=max(thousandths) / 1000 if thousandths else None,
        throttled_flags=_throttled_flags(),
        throttle_count=sum(counts) if counts else None,
        load_average=None if load_average is None else round(load_average, 2),
    )


def was_throttled(before: MachineState, after: MachineState) -> bool:
    """Returns whether the machine slowed itself down between two states, or is doing so in one of them."""
    first, last = before.throttled_flags or 0, after.throttled_flags or 0
    newly_set = (last & ~first) >> _THROTTLED_SINCE_BOOT_SHIFT
    is_counted = (after.throttle_count or 0) > (before.throttle_count or 0)
    return bool(first & THROTTLED_NOW or last & THROTTLED_NOW or newly_set or is_counted)
