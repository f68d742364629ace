"""What doctor looks at on a Raspberry Pi: the system, power and heat, memory, and picamera2 beside this environment."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edgegender.benchmark.machine import THROTTLED_NOW, read_state
from edgegender.cli.doctor_findings import Finding, Surroundings

_APT_PACKAGES = "usr/lib/python3/dist-packages"  # of Debian's Python
_INSTALL_PICAMERA2 = "sudo apt install -y python3-picamera2 --no-install-recommends"
_SMALL_MEMORY_KB = 1_200_000  # a 1 GB board keeps some for its GPU
_WARM_C, _HOT_C = 70, 80  # from 80 °C on the cores are slowed down
# Source: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
_THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE_BOOT_SHIFT = 16
_BETTER_SUPPLY = (
    "Use the board's own power supply (Pi 5: 5 V 5 A, Pi 4: 5 V 3 A) and a short cable; unplug what it feeds."
)
_BETTER_COOLING = "Fit a heat sink or a fan, and leave room for air."


def _major(version: str) -> int:
    found = re.match(r"\d+", version)
    return int(found[0]) if found else 0


def _installed_numpy(surroundings: Surroundings, pattern: str) -> str:
    """Returns the version of the numpy that lies in a folder of packages, empty without one."""
    infos = sorted(surroundings.root.glob(f"{pattern}/numpy-*-info")) + sorted(
        surroundings.root.glob(f"{pattern}/numpy-*.egg-info")
    )
    found = [re.match(r"numpy-([0-9][^-]*?)(?:\.dist-info|\.egg-info|-)", info.name) for info in infos]
    return next((match[1] for match in found if match), "")


def userland(surroundings: Surroundings) -> Finding | None:
    """Returns a problem where programs of 32 bits run on a kernel of 64: LiteRT has no wheel for them."""
    if surroundings.userland_bits == 64 or surroundings.kernel_architecture not in ("aarch64", "armv8l"):
        return None
    return Finding(
        "userland",
        "note",
        "32 bit on a 64-bit kernel: slower, and without LiteRT",
        "Install the 64-bit Raspberry Pi OS; or stay, with: pip install 'edgegender[tflite-runtime]'",
    )


def _sees_system_packages(prefix: Path) -> bool:
    try:
        config = (prefix / "pyvenv.cfg").read_text("utf-8", errors="replace")
    except OSError:
        return True  # no virtual environment
    return bool(re.search(r"^include-system-site-packages\s*=\s*true\s*$", config, re.MULTILINE | re.IGNORECASE))


def picamera2(surroundings: Surroundings) -> Finding:
    """Returns whether the system's Python has picamera2, which is all that the Pi's camera needs."""
    if not (surroundings.root / _APT_PACKAGES / "picamera2").is_dir():
        return Finding("picamera2", "note", "not installed: no Raspberry Pi camera", _INSTALL_PICAMERA2)
    detail = "installed for /usr/bin/python3, which the camera runs in a process of its own"
    if not _sees_system_packages(surroundings.prefix):
        detail += "; this virtual environment does not see it, and need not"
    return Finding("picamera2", "ok", detail)


def numpy_beside_picamera2(surroundings: Surroundings) -> Finding | None:
    """Returns a problem where picamera2, built for numpy 1, would find numpy 2."""
    of_apt = _installed_numpy(surroundings, _APT_PACKAGES)
    if not (surroundings.root / _APT_PACKAGES / "picamera2").is_dir() or _major(of_apt) != 1:
        return None
    of_pip = _installed_numpy(surroundings, "usr/local/lib/python3*/dist-packages")
    if _major(of_pip) >= 2:
        return Finding(
            "numpy of the system",
            "problem",
            f"{of_pip} in /usr/local hides {of_apt}, which picamera2 and simplejpeg were built for",
            "sudo /usr/bin/python3 -m pip uninstall --break-system-packages -y numpy",
        )
    if _major(surroundings.numpy_version) >= 2 and _sees_system_packages(surroundings.prefix):
        return Finding(
            "numpy beside picamera2",
            "note",
            f"{surroundings.numpy_version} in here, {of_apt} for picamera2: edgegender keeps them apart, a script of "
            "your own that imports picamera2 in this environment fails",
            "For such scripts: pip install 'numpy<2' 'opencv-python-headless<4.12'",
        )
    return None


def _throttled_names(flags: int) -> str:
    return ", ".join(name for bit, name in _THROTTLED.items() if flags >> bit & 1)


def power(surroundings: Surroundings) -> Finding:
    """Returns whether the board is, or was, short of power or too hot (``vcgencmd get_throttled``)."""
    flags = read_state(surroundings.root).throttled_flags
    if flags is None:
        return Finding("power", "note", "vcgencmd does not tell", 'sudo usermod -aG video "$USER", and log in again')
    now, since_boot = flags & THROTTLED_NOW, flags >> _SINCE_BOOT_SHIFT & THROTTLED_NOW
    if not now and not since_boot:
        return Finding("power", "ok", "never throttled since boot")
    fix = _BETTER_SUPPLY if (now or since_boot) & 1 else _BETTER_COOLING
    if now:
        return Finding("power", "problem", f"now: {_throttled_names(now)}", fix)
    return Finding("power", "note", f"since boot: {_throttled_names(since_boot)}", fix)


def temperature(surroundings: Surroundings) -> Finding | None:
    """Returns how hot the board is."""
    celsius = read_state(surroundings.root).temperature_c
    if celsius is None:
        return None
    if celsius < _WARM_C:
        return Finding("temperature", "ok", f"{celsius:.0f} °C")
    if celsius < _HOT_C:
        return Finding("temperature", "note", f"{celsius:.0f} °C, slowed down from {_HOT_C} °C on", _BETTER_COOLING)
    return Finding("temperature", "problem", f"{celsius:.0f} °C: slowed down", _BETTER_COOLING)


def swap(surroundings: Surroundings) -> Finding | None:
    """Returns a note where a board with 1 GB or less has no swap."""
    values = dict(re.findall(r"^(\w+):\s*(\d+) kB$", surroundings.read("proc/meminfo"), re.MULTILINE))
    total_kb = int(values.get("MemTotal", 0))
    if not total_kb or total_kb > _SMALL_MEMORY_KB:
        return None
    if int(values.get("SwapTotal", 0)):
        return Finding("swap", "ok", f"{int(values['SwapTotal']) // 1024} MB")
    return Finding(
        "swap",
        "note",
        f"none, with {total_kb // 1024} MB of memory: a peak ends a program",
        "sudo sh -c 'fallocate -l 512M /swapfile && chmod 600 /swapfile && mkswap /swapfile && swapon /swapfile'",
    )


PI_CHECKS: tuple[Callable[[Surroundings], Finding | None], ...] = (
    userland,
    power,
    temperature,
    swap,
    picamera2,
    numpy_beside_picamera2,
)
