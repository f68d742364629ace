"""What a measurement says against itself."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgegender.benchmark.machine import Machine, was_throttled
from edgegender.benchmark.records import BenchmarkWarning, DataRecord, Durations, LatencyRecord

# An idle board stays under 1.2; beyond 1.5 the tail is made by something else than the network.
MAX_SPREAD = 1.5
MAX_DRIFT = 0.03  # of the median between the two halves: what two runs of the same file may differ by
MIN_ACCURACY_PHOTOS = 100  # with fewer, the 95 % interval of 90 % accuracy is wider than ± 6 points


def median_drift(latencies_ns: Iterable[int]) -> float:
    """Returns how far the median of the second half lies from that of the first, as a share of the whole median.

    Example:
        >>> median_drift([100, 100, 110, 110])
        0.09523809523809523
    """
    values = np.asarray(list(latencies_ns), np.float64)
    if len(values) < 2:
        return 0.0
    half = len(values) // 2
    return abs(float(np.median(values[half:]) - np.median(values[:half]))) / float(np.median(values))


def judge_latency(record: LatencyRecord, machine: Machine, durations: Durations) -> tuple[BenchmarkWarning, ...]:
    """Returns the warnings about one configuration's figures.

    Args:
        record: The figures.
        machine: What they were measured on.
        durations: What was asked for.
    """
    warnings: list[BenchmarkWarning] = []

    def warn(kind: str, text: str, *, is_invalidating: bool = False) -> None:
        warnings.append(BenchmarkWarning(kind, text, record.num_threads, is_invalidating))

    if not record.is_output_equal:
        gap = record.max_output_difference
        warn("output", f"the speed run's scores differ from the accuracy run's by {gap:.4f}", is_invalidating=True)
    if was_throttled(record.state_before, record.state_after):
        warn("throttled", "the machine slowed itself down (heat or low voltage)", is_invalidating=True)
    spread = record.percentile(99).value_ns / max(1, record.percentile(50).value_ns)
    if spread > MAX_SPREAD:
        warn("spread", f"p99 is {spread:.2f} times p50: other programs or a changing clock take part")
    drift = median_drift(record.latencies_ns)
    if drift > MAX_DRIFT:
        warn("drift", f"the median of the second half differs from the first half's by {100 * drift:.1f} %")
    if record.num_runs < durations.min_runs:
        warn("few_runs", f"only {record.num_runs} of {durations.min_runs} runs in {durations.max_seconds:g} s")
    if record.percentile(99).high_ns is None:
        warn("few_runs", f"{record.num_runs} runs do not bound p99 (368 do)")
    load = record.state_before.load_average
    if load is not None and load > machine.num_available_cores:
        warn("load", f"load average {load:.2f} on {machine.num_available_cores} cores before it began")
    if record.num_threads > machine.num_available_cores:
        warn("threads", f"{record.num_threads} threads on {machine.num_available_cores} cores")
    return tuple(warnings)


def judge_machine(machine: Machine, latencies: Iterable[LatencyRecord]) -> tuple[BenchmarkWarning, ...]:
    """Returns the warnings about the machine itself."""
    warnings = []
    governors = {record.state_before.governor for record in latencies} - {None, "performance"}
    for governor in sorted(map(str, governors)):
        warnings.append(BenchmarkWarning("governor", f"the CPU governor is {governor}, not performance"))
    if machine.is_virtual_machine:
        warnings.append(BenchmarkWarning("virtual_machine", "a virtual machine: other guests share the processor"))
    return tuple(warnings)


def judge_data(data: DataRecord) -> tuple[BenchmarkWarning, ...]:
    """Returns the warnings about the photos behind the accuracy."""
    warnings = []
    left_out = data.num_no_face + data.num_unreadable
    if left_out:
        text = (
            f"{left_out} of {left_out + data.num_photos} photos are not in the figures: "
            f"{data.num_no_face} without a face, {data.num_unreadable} unreadable"
        )
        warnings.append(BenchmarkWarning("left_out", text))
    if data.num_photos < MIN_ACCURACY_PHOTOS:
        warnings.append(BenchmarkWarning("few_photos", f"accuracy rests on {data.num_photos} photos only"))
    return tuple(warnings)
