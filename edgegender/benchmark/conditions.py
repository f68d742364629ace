"""What else happened on the machine while it measured: other programs, other guests, a changing clock."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from edgegender.benchmark.machine import MachineState, was_throttled

_ROOT = Path("/")
_IDLE_FIELDS = (3, 4)  # idle and iowait of /proc/stat's first line
_STEAL_FIELD = 7
_COUNTED_FIELDS = 8  # guest time, behind them, is counted in user time already
MAX_OTHER_CORES = 0.25  # of work by other programs; an idle desktop stays under 0.1
MAX_STOLEN_CORES = 0.01
MAX_FREQUENCY_CHANGE = 0.03


@dataclass(frozen=True)
class ProcessorTimes:
    """Seconds of all cores together since the machine started; own time is that of this process's ended children.

    Args:
        at_s: When it was read, seconds of the monotonic clock.
        busy_s: Not idle, by whatever program.
        stolen_s: Given to other guests by the hypervisor.
        own_s: Of this process and those it started and waited for.
    """

    at_s: float
    busy_s: float
    stolen_s: float
    own_s: float


@dataclass(frozen=True)
class Conditions:
    """What the machine did beside the measuring process. ``None`` where it does not tell.

    Args:
        other_cores: Cores that other programs kept busy, on average.
        stolen_cores: Cores' worth of time that other guests got.
        state_before: Of the machine.
        state_after: Of the machine.
    """

    other_cores: float | None
    stolen_cores: float | None
    state_before: MachineState
    state_after: MachineState


def read_processor_times(root: Path = _ROOT) -> ProcessorTimes | None:
    """Returns the times up to now; ``None`` without ``/proc/stat``.

    Args:
        root: Where ``/proc`` is read from.

    Source: proc_stat(5).
    """
    try:
        first = (root / "proc/stat").read_text("ascii").splitlines()[0].split()
        ticks = [int(word) for word in first[1 : 1 + _COUNTED_FIELDS]]
    except (OSError, ValueError, IndexError):
        return None
    if first[0] != "cpu" or len(ticks) < _COUNTED_FIELDS:
        return None
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    own = os.times()
    idle = sum(ticks[field] for field in _IDLE_FIELDS)
    return ProcessorTimes(
        time.monotonic(),
        (sum(ticks) - idle - ticks[_STEAL_FIELD]) / ticks_per_s,
        ticks[_STEAL_FIELD] / ticks_per_s,
        own.user + own.system + own.children_user + own.children_system,
    )


def compare_times(before: ProcessorTimes | None, after: ProcessorTimes | None) -> tuple[float | None, float | None]:
    """Returns (cores kept busy by others, cores' worth of stolen time) between two readings.

    Example:
        >>> compare_times(ProcessorTimes(0, 10, 1, 5), ProcessorTimes(10, 25, 2, 14))
        (0.6, 0.1)
    """
    if before is None or after is None or after.at_s <= before.at_s:
        return None, None
    wall = after.at_s - before.at_s
    other = (after.busy_s - before.busy_s - (after.own_s - before.own_s)) / wall
    return max(0.0, other), max(0.0, (after.stolen_s - before.stolen_s) / wall)


def find_causes(parts: tuple[Conditions, ...] | list[Conditions], *, is_virtual_machine: bool) -> tuple[str, ...]:
    """Returns what can have moved the figures between parts of a measurement, the likeliest first; may be empty.

    Args:
        parts: What the machine did beside each of them.
        is_virtual_machine: Whether other guests may share the processor unseen.
    """
    causes = []
    if any(was_throttled(part.state_before, part.state_after) for part in parts):
        causes.append("the machine slowed itself down")
    other = max((part.other_cores or 0.0 for part in parts), default=0.0)
    if other > MAX_OTHER_CORES:
        causes.append(f"other programs kept up to {other:.1f} cores busy")
    stolen = max((part.stolen_cores or 0.0 for part in parts), default=0.0)
    if stolen > MAX_STOLEN_CORES:
        causes.append(f"other guests took {100 * stolen:.0f} % of a core")
    clocks = [part.state_after.frequency_mhz for part in parts if part.state_after.frequency_mhz]
    if clocks and min(clocks) < (1 - MAX_FREQUENCY_CHANGE) * max(clocks):
        causes.append(f"the clock was between {min(clocks):.0f} and {max(clocks):.0f} MHz")
    if not causes and is_virtual_machine:
        causes.append("other guests share the processor")
    return tuple(causes)
