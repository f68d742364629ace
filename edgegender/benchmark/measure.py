"""Latency of one model file on this processor, measured by a process of its own while this one sleeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.conditions import Conditions, compare_times, read_processor_times
from edgegender.benchmark.energy import PowerSampler
from edgegender.benchmark.engines import DEFAULT_ENGINE, EngineEntry, entry_to_job, find_engine
from edgegender.benchmark.machine import read_state
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.presets import DEFAULT, count_repeats, share_out
from edgegender.benchmark.records import (
    Durations,
    EngineRecord,
    LatencyRecord,
    ModelRecord,
    StageRecord,
    describe_model,
)
from edgegender.benchmark.worker_process import run_worker
from edgegender.entities import FaceBox, FloatArray, QuantizationScheme
from edgegender.errors import MeasurementError, ModelFileError, UsageError
from edgegender.runtime.model_file import ModelFile

MAX_THREADS = 256
# A float network may add in another order on another number of threads; an integer one may not differ at all. Where
# float numbers are rounded to integers in between, a difference in the last bit can become a whole step.
FLOAT_OUTPUT_TOLERANCE = 1e-5
_ROUNDED_OUTPUT_TOLERANCE = 0.05
_OUTPUT_TOLERANCES = {
    QuantizationScheme.FULL_INTEGER: 0.0,
    QuantizationScheme.INT16X8: 0.0,
    QuantizationScheme.MIXED_INTEGER: _ROUNDED_OUTPUT_TOLERANCE,
    QuantizationScheme.DYNAMIC_RANGE: _ROUNDED_OUTPUT_TOLERANCE,
}
_DEVICE_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
# another library adds in an order of its own choosing, and may choose anew in each process
_OTHER_OUTPUT_TOLERANCE = 1e-4
_STAGE_PERCENTS = (50, 90)


@dataclass(frozen=True)
class SpeedInputs:
    """What the speed run is fed, and what it must answer.

    Args:
        tensors: Input tensors of the network, shape (inputs, 1, S, S, 3), uint8, int8 or float32.
        scores: The accuracy run's scores for them, before the temperature, shape (inputs, labels).
    """

    tensors: npt.NDArray[np.generic]
    scores: FloatArray


@dataclass(frozen=True)
class StagePhoto:
    """A photo file for the end-to-end times.

    Args:
        path: The photo.
        box: Its annotated face; ``None`` lets the detector look.
    """

    path: Path
    box: FaceBox | None = None


def _integer(values: Mapping[str, object], name: str) -> int:
    value = values[name]
    if not isinstance(value, int):
        raise MeasurementError(f"Expected a whole number as {name}, got {value!r}.")
    return value


def _require_same_model(values: Mapping[str, object], subject: Subject) -> None:
    wanted = subject.record.sha256
    if values["sha256"] != wanted:
        raise ModelFileError(
            f"Expected sha256 {wanted[:12]}…, got {str(values['sha256'])[:12]}… ({subject.path}).",
            hint="The model was replaced while it was measured: run it again.",
        )


def _require_threads(num_threads: int) -> None:
    if not 1 <= num_threads <= MAX_THREADS:
        raise UsageError(f"Expected 1 to {MAX_THREADS} threads, got {num_threads}.")


@dataclass(frozen=True)
class Subject:
    """What is measured: a file, and what is recorded about it.

    Args:
        path: The file; the measuring process reads it again.
        record: With the sha256 that it must still have then.
    """

    path: Path
    record: ModelRecord


@dataclass(frozen=True)
class Measured:
    """One configuration.

    Args:
        record: All runs together, in the order that they were made.
        parts: One a measuring process.
        conditions: What the machine did beside each part.
    """

    record: LatencyRecord
    parts: tuple[LatencyRecord, ...]
    conditions: tuple[Conditions, ...]


def subject_of(model: ModelFile | Subject) -> Subject:
    """Returns a verified model file as a subject."""
    return model if isinstance(model, Subject) else Subject(model.path, describe_model(model))


def output_tolerance(scheme: str, engine: EngineRecord | None = None) -> float:
    """Returns by how much a score may differ between two processes that run the same network.

    Args:
        scheme: Of the file.
        engine: What runs it; ``None`` is the device's own runtime.
    """
    known = {kind.value: tolerance for kind, tolerance in _OUTPUT_TOLERANCES.items()}
    own = known.get(scheme, FLOAT_OUTPUT_TOLERANCE)
    if engine is None or engine.name in _DEVICE_RUNTIMES:
        return own
    return max(own, _OTHER_OUTPUT_TOLERANCE if engine.precision == "float32" else _ROUNDED_OUTPUT_TOLERANCE)


def _speed_job(
    subject: Subject, inputs: SpeedInputs, durations: Durations, *, num_threads: int, entry: EngineEntry
) -> tuple[dict[str, object], tuple[npt.NDArray[np.generic], ...]]:
    tensors, scores = np.ascontiguousarray(inputs.tensors), np.ascontiguousarray(inputs.scores, np.float64)
    batch_size = tensors.shape[1]
    scores = scores.reshape(len(tensors), batch_size, -1)
    names = ("min_seconds", "min_runs", "max_seconds", "warmup_seconds", "warmup_runs")
    job = {
        "kind": "speed",
        "engine": entry_to_job(entry),
        "model": str(subject.path.absolute()),
        "num_threads": num_threads,
        "batch_size": batch_size,
        "inputs_dtype": tensors.dtype.str,
        "inputs_shape": tensors.shape,
        "scores_shape": scores.shape,
        **{name: getattr(durations, name) for name in names},
    }
    return job, (tensors, scores)


def _joules_per_run(values: Mapping[str, object], num_runs: int, mean_ns: float, sampler: PowerSampler) -> float | None:
    joules = values["joules"]
    if isinstance(joules, float):
        return joules / num_runs
    watts = sampler.watts_between(_integer(values, "began_ns"), _integer(values, "ended_ns"))
    return None if watts is None else watts * mean_ns / 1e9


def _measure_part(
    subject: Subject,
    job: Mapping[str, object],
    payload: Sequence[npt.NDArray[np.generic]],
    *,
    num_threads: int,
    tolerance: float,
) -> tuple[LatencyRecord, Conditions]:
    """Returns what one fresh process measured, and what the machine did beside it."""
    before, times_before = read_state(), read_processor_times()
    with PowerSampler() as sampler:
        values, arrays = run_worker(job, payload, what=f"{subject.path.name}, {num_threads} threads")
    after, times_after = read_state(), read_processor_times()
    _require_same_model(values, subject)
    latencies = arrays["latencies"]
    mean_ns = float(latencies.mean())
    difference = float(str(values["max_output_difference"]))
    record = LatencyRecord(
        num_threads=num_threads,
        load_time_ns=_integer(values, "load_time_ns"),
        first_inference_ns=_integer(values, "first_inference_ns"),
        warmup_latencies_ns=tuple(arrays["warmup"].tolist()),
        latencies_ns=tuple(latencies.tolist()),
        percentiles=compute_percentiles(latencies),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=_integer(values, "peak_memory_bytes"),
        baseline_memory_bytes=_integer(values, "baseline_memory_bytes"),
        num_inputs=len(payload[0]),
        is_output_equal=difference <= tolerance,
        max_output_difference=difference,
        state_before=before,
        state_after=after,
        batch_size=payload[0].shape[1],
        joules_per_run=_joules_per_run(values, len(latencies), mean_ns, sampler),
    )
    return record, Conditions(*compare_times(times_before, times_after), before, after)


def merge_parts(parts: Sequence[LatencyRecord]) -> LatencyRecord:
    """Returns the runs of several processes as one record: the largest memory, the middle load time and first run.

    Args:
        parts: One or more, in their order.
    """
    if len(parts) == 1:
        return parts[0]
    latencies = tuple(value for part in parts for value in part.latencies_ns)
    mean_ns = sum(latencies) / len(latencies)
    joules = [(part.joules_per_run, part.num_runs) for part in parts]
    known = [value * runs for value, runs in joules if value is not None]
    middle = len(parts) // 2
    return replace(
        parts[0],
        load_time_ns=sorted(part.load_time_ns for part in parts)[middle],
        first_inference_ns=sorted(part.first_inference_ns for part in parts)[middle],
        warmup_latencies_ns=tuple(value for part in parts for value in part.warmup_latencies_ns),
        latencies_ns=latencies,
        percentiles=compute_percentiles(latencies),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=max((part.peak_memory_bytes or 0 for part in parts), default=0) or None,
        baseline_memory_bytes=max((part.baseline_memory_bytes or 0 for part in parts), default=0) or None,
        is_output_equal=all(part.is_output_equal for part in parts),
        max_output_difference=max(part.max_output_difference for part in parts),
        state_after=parts[-1].state_after,
        joules_per_run=sum(known) / len(latencies) if len(known) == len(parts) else None,
    )


def measure_repeatedly(
    model: ModelFile | Subject,
    inputs: SpeedInputs,
    *,
    num_threads: int,
    durations: Durations | None = None,
    repeats: int | None = None,
    until_share: float | None = None,
    entry: EngineEntry | None = None,
    engine: EngineRecord | None = None,
) -> Measured:
    """Returns the latency of a model with ``num_threads`` threads, measured by fresh processes one after another.

    Args:
        model: Each measuring process reads it again.
        inputs: At least one input, and the scores that it must give.
        num_threads: 1 to 256.
        durations: How long, all processes together.
        repeats: How many processes; ``None`` takes three, or one where there is little time.
        until_share: Ends each process when p90 is known this well; see :class:`edgegender.benchmark.presets.EarlyStop`.
        entry: The engine; ``None`` is the device's own.
        engine: What it calls itself, for what its scores may differ by.

    Raises:
        UsageError: The number of threads or of inputs makes no sense.
        MeasurementError: The measuring process died.
        ModelFileError: The model was replaced meanwhile.
        MissingDependencyError: The engine is not installed.
    """
    durations = durations or DEFAULT
    _require_threads(num_threads)
    if not len(inputs.tensors) or len(inputs.tensors) != len(inputs.scores):
        raise UsageError(f"Expected scores for each input, got {len(inputs.tensors)} and {len(inputs.scores)}.")
    subject, count = subject_of(model), repeats or count_repeats(durations)
    share = share_out(durations, count)
    job, payload = _speed_job(
        subject, inputs, share, num_threads=num_threads, entry=entry or find_engine(DEFAULT_ENGINE)
    )
    job["until_share"] = until_share
    tolerance = output_tolerance(subject.record.scheme, engine)
    measured = [
        _measure_part(subject, job, payload, num_threads=num_threads, tolerance=tolerance) for _ in range(count)
    ]
    parts = tuple(record for record, _ in measured)
    return Measured(merge_parts(parts), parts, tuple(conditions for _, conditions in measured))


def measure_latency(
    model: ModelFile | Subject, inputs: SpeedInputs, *, num_threads: int, durations: Durations | None = None
) -> LatencyRecord:
    """Returns the latency of a model with ``num_threads`` threads, measured by one fresh process.

    Args:
        model: The measuring process reads and verifies it again.
        inputs: At least one input, and the scores that it must give.
        num_threads: 1 to 256.
        durations: How long.

    Raises:
        UsageError: The number of threads or of inputs makes no sense.
        MeasurementError: The measuring process died.
        ModelFileError: The model was replaced meanwhile.
    """
    return measure_repeatedly(model, inputs, num_threads=num_threads, durations=durations, repeats=1).record


def measure_stages(
    model: ModelFile | Subject,
    photos: Sequence[StagePhoto],
    *,
    num_threads: int,
    detector: str = "none",
    detector_path: Path | None = None,
    min_seconds: float = 2.0,
    entry: EngineEntry | None = None,
) -> tuple[StageRecord, ...]:
    """Returns the times of each step from a photo's file to its answer, measured by a fresh process.

    Each photo is taken at least once, and all again until ``min_seconds`` are over. OpenCV gets ``num_threads``, too.

    Args:
        model: The model.
        photos: Photos that can be read.
        num_threads: 1 to 256.
        detector: For photos without a box; see :func:`edgegender.runtime.detector.create_detector`.
        detector_path: Its network.
        min_seconds: Least duration.
        entry: The engine; ``None`` is the device's own classifier.

    Raises:
        UsageError: There is no photo, or the detector is unknown.
        MeasurementError: The measuring process died, or a photo has gone.
        ModelFileError: The model was replaced meanwhile.
    """
    _require_threads(num_threads)
    if not photos:
        raise UsageError("Expected photos for the end-to-end times, got none.")
    subject = subject_of(model)
    has_classifier = entry is None or entry.is_device_path
    job = {
        "kind": "stages",
        "engine": None if entry is None or has_classifier else entry_to_job(entry),
        "about": asdict(subject.record),
        "model": str(subject.path.absolute()),
        "num_threads": num_threads,
        "photos": [(str(photo.path.absolute()), photo.box.box_xyxy if photo.box else None) for photo in photos],
        "detector": detector,
        "detector_path": str(detector_path.absolute()) if detector_path else "",
        "min_seconds": min_seconds,
    }
    values, arrays = run_worker(job, what=f"{subject.path.name}, end to end, {num_threads} threads")
    _require_same_model(values, subject)
    return tuple(
        StageRecord(name, tuple(times.tolist()), compute_percentiles(times, _STAGE_PERCENTS))
        for name, times in arrays.items()
    )


def with_stages(record: LatencyRecord, stages: tuple[StageRecord, ...], num_photos: int) -> LatencyRecord:
    """Returns a latency record with its end-to-end times."""
    return replace(record, stages=stages, num_stage_photos=num_photos)
