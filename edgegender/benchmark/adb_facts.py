"""What a phone is and how it does: model, processor, heat, screen. Never its serial number, account or network."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgegender.benchmark.adb_device import Adb
from edgegender.benchmark.machine import Machine, MachineState

_MARK = "---edgegender---"
_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.product.cpu.abi",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.boot.qemu",
)
_FREQUENCIES = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
# what the window manager calls the lock screen, by version of Android
_LOCKED = re.compile(
    r"\b(?:mDreamingLockscreen|mShowingLockscreen|mKeyguardShowing|isKeyguardShowing|isStatusBarKeyguard)=true\b"
)
# Source: developer.android.com, PowerManager.THERMAL_STATUS_*
THERMAL_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
THERMAL_LIGHT, THERMAL_MODERATE = 1, 2


@dataclass(frozen=True)
class PhoneState:
    """What changes while a phone is measured.

    Args:
        machine: Governor, frequency, temperature, load, as far as the phone tells.
        thermal_status: Android's own, from 0 (none) to 6 (shutdown); ``None`` before Android 10.
        is_awake: Whether the screen is on.
        is_locked: Whether the lock screen is shown.
    """

    machine: MachineState
    thermal_status: int | None
    is_awake: bool | None
    is_locked: bool | None


def _ask(adb: Adb, commands: tuple[str, ...]) -> list[str]:
    """Returns what several commands print, asked for at once; a phone that lacks one answers with nothing."""
    joined = f"; echo {_MARK}; ".join(f"{command} 2>/dev/null" for command in commands)
    parts = [part.strip() for part in adb.shell(joined, is_checked=False).replace("\r", "").split(_MARK)]
    return [*parts, *[""] * (len(commands) - len(parts))]


def read_phone(adb: Adb) -> Machine:
    """Returns what a phone is.

    Raises:
        MeasurementError: The phone went away.
    """
    commands = tuple(f"getprop {name}" for name in _PROPERTIES)
    answers = _ask(adb, (*commands, "cat /proc/meminfo", "uname -r", "ls -d /sys/devices/system/cpu/cpu[0-9]*"))
    maker, model, soc_maker, soc, platform, abi, release, sdk, qemu = answers[: len(_PROPERTIES)]
    meminfo, kernel, cores = answers[len(_PROPERTIES) :]
    total = re.search(r"MemTotal:\s*(\d+) kB", meminfo)
    num_cores = max(1, len(cores.split()))
    return Machine(
        cpu_model=" ".join(word for word in (soc_maker, soc) if word) or platform,
        board=model if model.lower().startswith(maker.lower()) else f"{maker} {model}".strip(),
        architecture=abi,
        num_cores=num_cores,
        num_available_cores=num_cores,
        memory_bytes=int(total[1]) * 1024 if total else None,
        operating_system=f"Android {release} (SDK {sdk})" if release else "Android",
        kernel=kernel,
        is_virtual_machine=qemu == "1",
    )


def read_phone_state(adb: Adb) -> PhoneState:
    """Returns how a phone does now.

    Raises:
        MeasurementError: The phone went away.
    """
    governors, frequencies, battery, thermal, power, window, load = _ask(
        adb,
        (
            f"cat {_FREQUENCIES}/scaling_governor",
            f"cat {_FREQUENCIES}/scaling_cur_freq",
            "dumpsys battery",
            "dumpsys thermalservice",
            "dumpsys power",
            "dumpsys window",
            "cat /proc/loadavg",
        ),
    )
    khz = [int(word) for word in frequencies.split() if word.isdigit()]
    tenths = re.search(r"^\s*temperature:\s*(\d+)", battery, re.MULTILINE)
    status = re.search(r"Thermal Status:\s*(\d+)", thermal)
    wakefulness = re.search(r"mWakefulness=(\w+)", power)
    average = re.match(r"\d+\.\d+", load)
    return PhoneState(
        machine=MachineState(
            governor=",".join(sorted(set(governors.split()))) or None,
            frequency_mhz=max(khz) / 1000 if khz else None,
            temperature_c=int(tenths[1]) / 10 if tenths else None,
            throttled_flags=None,
            throttle_count=None,
            load_average=float(average[0]) if average else None,
        ),
        thermal_status=int(status[1]) if status else None,
        is_awake=wakefulness[1] == "Awake" if wakefulness else None,
        is_locked=bool(_LOCKED.search(window)) if window else None,
    )
