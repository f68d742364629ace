"""What a page says about its device, checked: it comes from the network, and stands in a published record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgegender.benchmark.machine import Machine
from edgegender.entities import FloatArray
from edgegender.errors import UsageError

_MAX_TEXT = 60
_MAX_CORES = 4096
_MAX_MS = 1e8


def read_text(values: Mapping[str, object], name: str, *, most: int = _MAX_TEXT) -> str:
    """Returns a text of a page on one line without control characters; empty when it is missing."""
    value = values.get(name)
    text = value if isinstance(value, str) else ""
    return " ".join("".join(letter for letter in text[: 4 * most] if letter.isprintable()).split())[:most]


def read_number(values: Mapping[str, object], name: str, *, most: float = _MAX_MS) -> float:
    """Returns a number of a page.

    Raises:
        UsageError: It is none, negative, or beyond ``most``.
    """
    value = values.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= float(value) <= most:  # type: ignore[arg-type] # a number, as just checked
        raise UsageError(f"Expected a number from 0 to {most:g} as {name}, got {str(value)[:40]!r}.")
    return float(value)  # type: ignore[arg-type]


def read_matrix(values: Mapping[str, object], name: str, shape: tuple[int, int]) -> FloatArray:
    """Returns rows of finite numbers.

    Raises:
        UsageError: They have another shape, or one is no finite number.
    """
    value = values.get(name)
    try:
        rows = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"Expected rows of numbers as {name}, got others.") from error
    if rows.shape != shape or not np.isfinite(rows).all():
        raise UsageError(f"Expected {shape[0]} rows of {shape[1]} finite numbers as {name}, got {rows.shape}.")
    return rows


def read_latencies_ns(values: Mapping[str, object], *, most: int) -> list[int]:
    """Returns latencies that a page counted in milliseconds as whole nanoseconds.

    Raises:
        UsageError: They are no list of up to ``most`` durations.
    """
    value = values.get("latencies")
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise UsageError(f"Expected 1 to {most} latencies, got others.")
    shown = read_matrix({"latencies": [value]}, "latencies", (1, len(value)))[0]
    if shown.min() < 0 or shown.max() > _MAX_MS:
        raise UsageError(f"Expected latencies from 0 to {_MAX_MS:g} ms, got {shown.min():g} to {shown.max():g}.")
    return [round(1e6 * milliseconds) for milliseconds in shown.tolist()]


@dataclass(frozen=True)
class BrowserDevice:
    """A device as its browser describes it; empty where it does not tell.

    Args:
        name: What its user calls it.
        model: Its model, which Chrome on Android tells.
        platform: Such as ``Android 14``.
        browser: Such as ``Chrome 131.0.6778.39``.
        architecture: Such as ``arm-64``.
        cores: Logical processors; 0 when it does not tell.
        memory_gib: Main memory as the browser rounds it; 0 when it does not tell.
        gpu: WebGPU's name of it; empty where WebGPU is not there.
        is_isolated: Whether the page is cross-origin isolated: threads, and a clock of 5 to 20 µs.
        can_thread: Whether WebAssembly has threads there.
        resolution_ms: Smallest step of the clock that was seen.
    """

    name: str
    model: str
    platform: str
    browser: str
    architecture: str
    cores: int
    memory_gib: float
    gpu: str
    is_isolated: bool
    can_thread: bool
    resolution_ms: float

    @property
    def title(self) -> str:
        """What to call it: its name, its model, or its platform."""
        return self.name or self.model or f"{self.platform or 'unknown'} device"

    def to_machine(self, engine: str) -> Machine:
        """Returns the record of its hardware and system.

        Args:
            engine: ``wasm`` or ``webgpu``, which names the GPU.
        """
        return Machine(
            cpu_model=f"GPU {self.gpu}" if engine == "webgpu" else "",
            board=self.title,
            architecture=self.architecture,
            num_cores=max(1, self.cores),
            num_available_cores=max(1, self.cores),
            memory_bytes=round(self.memory_gib * 2**30) or None,
            operating_system=", ".join(filter(None, (self.platform, self.browser))),
            kernel="",
            is_virtual_machine=False,
        )


def read_device(name: str, about: Mapping[str, object]) -> BrowserDevice:
    """Returns what a page says about its device.

    Raises:
        UsageError: A number is out of its range.
    """

    def versioned(what: str) -> str:
        return f"{read_text(about, what)} {read_text(about, f'{what}Version', most=20)}".strip()

    cores = read_number(about, "cores", most=_MAX_CORES)
    resolution_ms = read_number(about, "resolutionMs")
    return BrowserDevice(
        name=read_text({"name": name}, "name"),
        model=read_text(about, "model"),
        platform=versioned("platform"),
        browser=versioned("browser"),
        architecture=read_text(about, "architecture", most=20),
        cores=math.floor(cores),
        memory_gib=read_number(about, "memoryGib", most=4096),
        gpu=read_text(about, "gpu"),
        is_isolated=about.get("isIsolated") is True,
        can_thread=about.get("canThread") is True,
        resolution_ms=resolution_ms,
    )
