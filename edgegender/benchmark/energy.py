"""Energy, where the machine tells: Intel's and AMD's RAPL counters, and the Raspberry Pi 5's power chip.

Energy is that of the whole processor package (RAPL) or of the board's rails (Pi 5) while the network ran, idle power
included: nothing is subtracted. What else ran at the same time is in it, too.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_PACKAGES = "sys/class/powercap/intel-rapl:[0-9]*"  # AMD's counters stand under the same name since Linux 5.11
_SAMPLE_SECONDS = 2.0  # vcgencmd takes 5 ms of one core
_VCGENCMD_SECONDS = 2.0
# such as "     3V7_WL_SW_A current(0)=0.09269140A" and "     3V7_WL_SW_V volt(8)=3.71046100V"
# Source: https://www.raspberrypi.com/documentation/computers/os.html#vcgencmd
_ADC_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(\d+(?:\.\d+)?)[AV]\s*$", re.MULTILINE)


@dataclass(frozen=True)
class EnergyCounter:
    """One package's counter.

    Args:
        energy_uj: Microjoules since it last began at zero.
        range_uj: It begins again at zero after this many.
    """

    energy_uj: int
    range_uj: int


def _whole_number(path: Path) -> int | None:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None


def read_rapl(root: Path = _ROOT) -> dict[str, EnergyCounter]:
    """Returns the counter of each processor package; empty where there is none or it may not be read (root may).

    Counters inside of a package (cores, graphics) are left out: they are parts of it. So is ``psys``.

    Args:
        root: Where ``/sys`` is read from.

    Source: Linux ``Documentation/power/powercap/powercap.rst``.
    """
    counters = {}
    for folder in sorted(root.glob(_PACKAGES)):
        try:
            name = (folder / "name").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            continue
        energy_uj, range_uj = _whole_number(folder / "energy_uj"), _whole_number(folder / "max_energy_range_uj")
        if name.startswith("package") and ":" not in folder.name.partition(":")[2] and energy_uj is not None:
            counters[folder.name] = EnergyCounter(energy_uj, range_uj or 0)
    return counters


def rapl_joules(before: Mapping[str, EnergyCounter], after: Mapping[str, EnergyCounter]) -> float | None:
    """Returns the energy between two readings, joules; ``None`` without a counter or with another set of them.

    A counter that went back began again at zero once; twice in between cannot be seen (a range lasts minutes at least).

    Example:
        >>> rapl_joules({"0": EnergyCounter(900_000, 1_000_000)}, {"0": EnergyCounter(100_000, 1_000_000)})
        0.2
    """
    if not before or before.keys() != after.keys():
        return None
    total_uj = 0
    for name, first in before.items():
        difference = after[name].energy_uj - first.energy_uj
        total_uj += difference if difference >= 0 else difference + first.range_uj
    return total_uj / 1e6 if total_uj >= 0 else None


def parse_pmic_watts(text: str) -> float | None:
    r"""Returns the power of all rails in the output of ``vcgencmd pmic_read_adc``; ``None`` where there is none.

    A rail counts when both its voltage and its current are told; what hangs on the 5 V input itself (USB) does not.

    Example:
        >>> parse_pmic_watts("VDD_CORE_A current(7)=2.0A\n VDD_CORE_V volt(15)=0.75V\n EXT5V_V volt(24)=5.1V")
        1.5
    """
    rails: dict[str, dict[str, float]] = {}
    for name, unit, value in _ADC_LINE.findall(text):
        rails.setdefault(name, {})[unit] = float(value)
    powers = [rail["A"] * rail["V"] for rail in rails.values() if len(rail) == 2]
    return sum(powers) if powers else None


def read_pmic_watts(command: str | None = None) -> float | None:
    """Returns the power that a Raspberry Pi 5 measures on its own rails, watts; ``None`` on other machines.

    Args:
        command: The Pi's ``vcgencmd``; ``None`` looks for it.
    """
    command = command or shutil.which("vcgencmd")
    if command is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the Pi's own tool, without input of a user
            [command, "pmic_read_adc"], capture_output=True, text=True, timeout=_VCGENCMD_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return parse_pmic_watts(answer.stdout)


def mean_watts(samples: Sequence[tuple[int, float]], begin_ns: int, end_ns: int) -> float | None:
    """Returns the mean power of the samples (time, watts) in a stretch of time; ``None`` without one."""
    watts = [value for at_ns, value in samples if begin_ns <= at_ns <= end_ns]
    return sum(watts) / len(watts) if watts else None


class PowerSampler:
    """Reads the power now and then while another process measures; does nothing where the machine does not tell.

    Args:
        read_watts: Returns the power, or ``None``.
        interval_s: Between two readings.
    """

    def __init__(
        self, read_watts: Callable[[], float | None] = read_pmic_watts, *, interval_s: float = _SAMPLE_SECONDS
    ) -> None:
        self._read_watts, self._interval_s = read_watts, interval_s
        self._samples: list[tuple[int, float]] = []
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PowerSampler:
        if self._read_watts() is not None:
            self._thread = threading.Thread(target=self._sample, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(self._interval_s):
            watts = self._read_watts()
            if watts is not None:
                self._samples.append((time.monotonic_ns(), watts))

    def watts_between(self, begin_ns: int, end_ns: int) -> float | None:
        """Returns the mean power between two readings of the monotonic clock; ``None`` without a sample."""
        return mean_watts(self._samples, begin_ns, end_ns)
