"""What a measurement says against itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from edgegender.benchmark.conditions import MAX_OTHER_CORES, MAX_STOLEN_CORES, Conditions, find_causes
from edgegender.benchmark.machine import Machine, was_throttled
from edgegender.benchmark.presets import p90_uncertainty
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


def median_gap(parts: Iterable[LatencyRecord]) -> float:
    """Returns how far the medians of several processes lie apart, as a share of the lowest."""
    medians = [part.percentile(50).value_ns for part in parts]
    return max(medians) / max(1, min(medians)) - 1 if medians else 0.0


def judge_repeats(
    parts: Sequence[LatencyRecord], conditions: Sequence[Conditions], machine: Machine
) -> tuple[BenchmarkWarning, ...]:
    """Returns the warnings about what several processes measured one after another, and about what ran beside them.

    Args:
        parts: One a process.
        conditions: Likewise.
        machine: What they were measured on.
    """
    warnings: list[BenchmarkWarning] = []
    num_threads = parts[0].num_threads
    gap = median_gap(parts)
    if gap > MAX_DRIFT:
        causes = find_causes(list(conditions), is_virtual_machine=machine.is_virtual_machine)
        reason = ", ".join(causes) or "no cause shows itself: measure for longer"
        values = ", ".join(f"{part.percentile(50).value_ns / 1e6:.3g}" for part in parts)
        text = f"p50 of {len(parts)} processes differs by {100 * gap:.1f} % ({values} ms): {reason}"
        warnings.append(BenchmarkWarning("repeats", text, num_threads))
    other = max((part.other_cores or 0.0 for part in conditions), default=0.0)
    if other > MAX_OTHER_CORES:
        text = f"other programs kept {other:.1f} of {machine.num_cores} cores busy while it ran"
        warnings.append(BenchmarkWarning("load", text, num_threads))
    stolen = max((part.stolen_cores or 0.0 for part in conditions), default=0.0)
    if stolen > MAX_STOLEN_CORES:
        text = f"other guests of the host took {100 * stolen:.0f} % of a core while it ran"
        warnings.append(BenchmarkWarning("steal", text, num_threads))
    return tuple(warnings)


def _judge_length(record: LatencyRecord, durations: Durations, until_share: float | None) -> Iterator[tuple[str, str]]:
    """Yields (kind, text) of what is to be said about how long it was measured."""
    runs = record.num_runs
    if until_share is not None:
        reached = p90_uncertainty(record.latencies_ns)
        if reached <= until_share:
            yield "early_stop", f"ended when p90 was known to {100 * until_share:g} %, after {runs} runs"
        else:
            yield "until", f"p90 is known to {100 * reached:.2g} %, not to {100 * until_share:g} %, after {runs} runs"
    elif runs < durations.min_runs:
        yield "few_runs", f"only {runs} of {durations.min_runs} runs in {durations.max_seconds:g} s"
    if record.percentile(99).high_ns is None:
        yield "few_runs", f"{runs} runs do not bound p99 (368 do)"


def judge_latency(
    record: LatencyRecord, machine: Machine, durations: Durations, *, until_share: float | None = None
) -> tuple[BenchmarkWarning, ...]:
    """Returns the warnings about one configuration's figures.

    Args:
        record: The figures.
        machine: What they were measured on.
        durations: What was asked for.
        until_share: How well p90 was to be known instead of the least runs and seconds; ``None`` where it was not.
    """
    warnings: list[BenchmarkWarning] = []

    def warn(kind: str, text: str, *, is_invalidating: bool = False) -> None:
        warnings.append(BenchmarkWarning(kind, text, record.num_threads, is_invalidating))

    if not record.is_output_equal:
        gap = record.max_output_difference
        warn("output", f"the speed run's scores differ from the accuracy run's by {gap:.4f}", is_invalidating=True)
    if machine.emulator:
        warn("emulated", f"{machine.emulator} imitates the processor: its times say nothing", is_invalidating=True)
    if was_throttled(record.state_before, record.state_after):
        warn("throttled", "the machine slowed itself down (heat or low voltage)", is_invalidating=True)
    spread = record.percentile(99).value_ns / max(1, record.percentile(50).value_ns)
    if spread > MAX_SPREAD:
        warn("spread", f"p99 is {spread:.2f} times p50: other programs or a changing clock take part")
    drift = median_drift(record.latencies_ns)
    if drift > MAX_DRIFT:
        warn("drift", f"the median of the second half differs from the first half's by {100 * drift:.1f} %")
    for kind, text in _judge_length(record, durations, until_share):
        warn(kind, text)
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
