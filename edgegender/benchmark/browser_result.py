"""From what a device sent to results: percentiles, accuracy with intervals, parity, and what is to be known."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgegender.benchmark.browser_run import DeviceRun, EngineRun, SpeedRun
from edgegender.benchmark.golden import hash_golden
from edgegender.benchmark.judge import judge_data, judge_latency
from edgegender.benchmark.machine import Machine, MachineState, describe_versions
from edgegender.benchmark.measure import output_tolerance
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import (
    BenchmarkResult,
    BenchmarkWarning,
    DataRecord,
    EngineRecord,
    LatencyRecord,
    ParityRecord,
    describe_model,
)
from edgegender.benchmark.run import DataSource
from edgegender.benchmark.targets import TargetRequest
from edgegender.metrics import Evaluation, evaluate_scores

MAX_RESOLUTION_SHARE = 0.01  # of p50: a coarser clock moves percentiles by as much as two runs may differ
_UNKNOWN_STATE = MachineState(None, None, None, None, None, None)


def _speed_gap(run: EngineRun, speed: SpeedRun) -> float:
    """Returns the largest difference of a score between timed runs, the runs before them, and the accuracy run."""
    step = run.model.output_step
    largest = speed.gap * step
    if speed.answers is None:
        return largest
    for place, sample in enumerate(run.model.speed_samples):
        size = run.model.chunk_size
        rows = run.rows.get(sample // size * size)
        if rows is not None:
            largest = max(largest, float(np.abs(rows[sample % size] - speed.answers[place]).max()) * step)
    return largest


def _latency_record(run: EngineRun, speed: SpeedRun, engine: EngineRecord, resolution_ns: float) -> LatencyRecord:
    gap = _speed_gap(run, speed)
    # a clock that is too coarse may show nothing but zeros; the warning says so
    mean_ns = float(np.mean(speed.latencies_ns)) or max(1.0, resolution_ns)
    # WebAssembly keeps the order of additions as a processor does; a GPU may choose its own
    tolerance = output_tolerance(
        run.model.classifier.metadata.scheme.value, engine if engine.delegate == "webgpu" else None
    )
    return LatencyRecord(
        num_threads=speed.num_threads,
        load_time_ns=speed.load_ns,
        first_inference_ns=speed.first_ns,
        warmup_latencies_ns=tuple(speed.warmup_ns),
        latencies_ns=tuple(speed.latencies_ns),
        percentiles=compute_percentiles(speed.latencies_ns),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=None,
        baseline_memory_bytes=None,
        num_inputs=len(run.model.speed),
        is_output_equal=gap <= tolerance,
        max_output_difference=gap,
        state_before=_UNKNOWN_STATE,
        state_after=_UNKNOWN_STATE,
    )


def _judge_speed(record: LatencyRecord, speed: SpeedRun, resolution_ns: float) -> list[BenchmarkWarning]:
    warnings = []

    def warn(kind: str, text: str, *, is_invalidating: bool = False) -> None:
        warnings.append(BenchmarkWarning(kind, text, speed.num_threads, is_invalidating))

    median_ns = record.percentile(50).value_ns
    if resolution_ns > MAX_RESOLUTION_SHARE * median_ns:
        text = f"the browser's clock moves in steps of {resolution_ns / 1e3:.0f} µs at p50 {median_ns / 1e3:.0f} µs"
        warn("resolution", text, is_invalidating=resolution_ns > median_ns)
    if speed.is_partly:
        warn("delegate", "the GPU runs only a part of the network, WebAssembly the rest")
    if speed.num_hidden:
        warn("hidden", f"{speed.num_hidden} blocks of runs were dropped: the page left the screen meanwhile")
    if not speed.is_done:
        reason = speed.problem or "the device did not come back"
        warn("partial", f"stopped after {record.num_runs} runs: {reason}")
    return warnings


def _judge_engine(run: EngineRun, device: DeviceRun) -> list[BenchmarkWarning]:
    warnings = [BenchmarkWarning(kind, text) for kind, text in device.notes if run.engine == "wasm"]
    if not device.device.is_isolated:
        text = "the page was not cross-origin isolated (https is needed): no threads, no WebGPU, a coarse clock"
        warnings.append(BenchmarkWarning("not_isolated", text))
    missing = [speed for speed in run.speeds if not speed.latencies_ns]
    for speed in missing:
        text = f"not measured: {speed.problem or 'the device did not come back'}"
        warnings.append(BenchmarkWarning("partial", text, speed.num_threads))
    num_answered = sum(map(len, run.rows.values()))
    if num_answered < run.model.num_samples:
        reason = run.problem or "the device did not come back"
        text = f"accuracy rests on {num_answered} of {run.model.num_samples} photos: {reason}"
        warnings.append(BenchmarkWarning("partial", text))
    elif len(run.model.golden) and run.golden is None:
        reason = run.problem or "the device did not come back"
        warnings.append(BenchmarkWarning("partial", f"no answers for the golden inputs: {reason}"))
    return warnings


def _accuracy(run: EngineRun, source: DataSource) -> tuple[DataRecord, Evaluation] | tuple[None, None]:
    if not run.rows:
        return None, None
    model, metadata = run.model, run.model.classifier.metadata
    chunks = sorted(run.rows.items())
    answered = [start + offset for start, rows in chunks for offset in range(len(rows))]
    scores = model.dequantize(np.concatenate([rows for _, rows in chunks]))
    data = DataRecord(
        name=source.name,
        sha256=hashlib.sha256("".join(sorted(model.lines[index] for index in answered)).encode()).hexdigest(),
        split=source.split,
        detector="+".join(sorted({model.box_sources[index] for index in answered})),
        num_photos=len(answered),
        num_no_face=model.problems.get("no_face", 0),
        num_unreadable=model.problems.get("unreadable", 0),
    )
    evaluation = evaluate_scores(
        model.classifier.calibrate(scores),
        np.asarray([model.annotated[index] for index in answered], np.int64),
        labels=metadata.labels,
        positive_label=metadata.positive_label,
        threshold=metadata.threshold,
    )
    return data, evaluation


def _parity(run: EngineRun) -> ParityRecord | None:
    if run.golden is None:
        return None
    rows = run.model.dequantize(run.golden).tolist()
    return ParityRecord(hash_golden(run.model.golden), tuple(tuple(row) for row in rows))


def make_result(
    device: DeviceRun, run: EngineRun, request: TargetRequest, *, litertjs_version: str
) -> BenchmarkResult | None:
    """Returns the result of one model by one engine on one device; ``None`` without a single timed run.

    Args:
        device: The device.
        run: What it did, whole or in part.
        request: What was asked for.
        litertjs_version: Of the runtime.
    """
    resolution_ns = 1e6 * device.device.resolution_ms
    engine = EngineRecord("litert.js", litertjs_version, run.engine)
    machine: Machine = device.device.to_machine(run.engine)
    records, warnings = [], _judge_engine(run, device)
    for speed in run.speeds:
        if not speed.latencies_ns:
            continue
        record = _latency_record(run, speed, engine, resolution_ns)
        records.append(record)
        # what the browser hides is unknown, and a run that was cut short is told already
        judged = judge_latency(record, machine, request.durations)
        warnings += [warning for warning in judged if speed.is_done or warning.kind != "few_runs"]
        warnings += _judge_speed(record, speed, resolution_ns)
    if not records:
        return None
    data, evaluation = _accuracy(run, request.source)
    return BenchmarkResult(
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target="browser",
        command_line=request.command_line,
        durations=request.durations,
        versions=replace(describe_versions(), runtime_name="litert.js", runtime_version=litertjs_version),
        machine=machine,
        model=describe_model(run.model.classifier.file),
        data=data,
        evaluation=evaluation,
        latencies=tuple(records),
        warnings=(*warnings, *(judge_data(data) if data else ())),
        engine=engine,
        parity=_parity(run),
    )


def explain_nothing(devices: Sequence[DeviceRun]) -> Mapping[str, str]:
    """Returns why nothing came of each device, by its title."""
    return {
        device.device.title: next(
            (speed.problem for run in device.engines for speed in run.speeds if speed.problem), "it did not come back"
        )
        for device in devices
    }
