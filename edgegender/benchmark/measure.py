"""Latency of one model file on this processor, measured by a process of its own while this one sleeps."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.machine import read_state
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import Durations, LatencyRecord, StageRecord
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
_STAGE_PERCENTS = (50, 90)
# The parent's own module path, so that the child sees the same packages and no file of the current folder shadows one.
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "from edgegender.benchmark.worker import main; main(int(sys.argv[1]))"
)

Numbers = npt.NDArray[np.int64]


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


def _raise_reported(values: Mapping[str, object]) -> None:
    """Raises again what the measuring process refused."""
    known = {kind.__name__: kind for kind in (ModelFileError, UsageError)}
    kind = known.get(str(values["error"]), MeasurementError)
    raise kind(str(values["message"]), hint=str(values["hint"]))


def _died(code: int, stderr: bytes, what: str) -> MeasurementError:
    lines = stderr.decode(errors="replace").strip().splitlines()
    if code < 0:
        try:
            how = signal.Signals(-code).name
        except ValueError:
            how = f"signal {-code}"
        hint = "Close other programs or measure a smaller model: the system kills what takes too much memory."
        if -code != signal.SIGKILL:
            hint = "The runtime crashed. Check the model with: edgegender inspect MODEL"
        return MeasurementError(f"Expected the measuring process to finish, got {how} ({what}).", hint=hint)
    last = lines[-1] if lines else f"exit code {code}"
    return MeasurementError(
        f"Expected the measuring process to finish, got: {last} ({what}).", hint="Run: edgegender doctor"
    )


def run_worker(
    job: Mapping[str, object], payload: Sequence[npt.NDArray[np.generic]] = (), *, what: str
) -> tuple[dict[str, object], dict[str, Numbers]]:
    """Starts a measuring process, sleeps until it has answered, and returns (values, arrays).

    The process ends with this one, whatever ends it.

    Args:
        job: See :mod:`edgegender.benchmark.worker`.
        payload: Contiguous arrays that are handed over as raw bytes.
        what: What to call the measurement in an error.

    Raises:
        MeasurementError: The process died.
        ModelFileError: It refused the model.
        UsageError: It refused an argument.
    """
    head = json.dumps({**job, "payload_bytes": sum(part.nbytes for part in payload)}).encode() + b"\n"
    message = b"".join([head, *(part.data for part in payload)])
    lifeline, held = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _BOOT, str(lifeline), "\n".join(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(lifeline,),
            start_new_session=True,  # Ctrl-C reaches the parent only, which then ends the child
        )
        try:
            answer, stderr = process.communicate(message)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
    except OSError as error:
        raise MeasurementError(
            f"Expected to start a measuring process, got {error.strerror or error} ({what}).",
            hint="Close other programs.",
        ) from error
    finally:
        os.close(lifeline)
        os.close(held)
    head, found, raw = answer.partition(b"\n")
    if process.returncode or not found:
        raise _died(process.returncode, stderr, what)
    values: dict[str, object] = json.loads(head)
    if "error" in values:
        _raise_reported(values)
    arrays, start = {}, 0
    counts = values.pop("arrays")
    if isinstance(counts, dict):
        for name, count in counts.items():
            arrays[name] = np.frombuffer(raw, np.int64, count, start)
            start += 8 * count
    return values, arrays


def _integer(values: Mapping[str, object], name: str) -> int:
    value = values[name]
    if not isinstance(value, int):
        raise MeasurementError(f"Expected a whole number as {name}, got {value!r}.")
    return value


def _require_same_model(values: Mapping[str, object], file: ModelFile) -> None:
    if values["sha256"] != file.sha256:
        raise ModelFileError(
            f"Expected sha256 {file.sha256[:12]}…, got {str(values['sha256'])[:12]}… ({file.path}).",
            hint="The model was replaced while it was measured: run it again.",
        )


def _require_threads(num_threads: int) -> None:
    if not 1 <= num_threads <= MAX_THREADS:
        raise UsageError(f"Expected 1 to {MAX_THREADS} threads, got {num_threads}.")


def measure_latency(
    file: ModelFile, inputs: SpeedInputs, *, num_threads: int, durations: Durations | None = None
) -> LatencyRecord:
    """Returns the latency of a model file with ``num_threads`` threads, measured by a fresh process.

    Args:
        file: The verified model; the measuring process reads and verifies it again.
        inputs: At least one input, and the scores that it must give.
        num_threads: 1 to 256.
        durations: How long.

    Raises:
        UsageError: The number of threads or of inputs makes no sense.
        MeasurementError: The measuring process died.
        ModelFileError: The model was replaced meanwhile.
    """
    durations = durations or Durations()
    _require_threads(num_threads)
    if not len(inputs.tensors) or len(inputs.tensors) != len(inputs.scores):
        raise UsageError(f"Expected scores for each input, got {len(inputs.tensors)} and {len(inputs.scores)}.")
    tensors, scores = np.ascontiguousarray(inputs.tensors), np.ascontiguousarray(inputs.scores, np.float64)
    job = {
        "kind": "speed",
        "model": str(file.path.absolute()),
        "num_threads": num_threads,
        "inputs_dtype": tensors.dtype.str,
        "inputs_shape": tensors.shape,
        "scores_shape": scores.shape,
        **{name: getattr(durations, name) for name in ("min_seconds", "min_runs", "max_seconds")},
        **{name: getattr(durations, name) for name in ("warmup_seconds", "warmup_runs")},
    }
    before = read_state()
    values, arrays = run_worker(job, (tensors, scores), what=f"{file.path.name}, {num_threads} threads")
    after = read_state()
    _require_same_model(values, file)
    latencies = arrays["latencies"]
    mean_ns = float(latencies.mean())
    difference = values["max_output_difference"]
    return LatencyRecord(
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
        num_inputs=len(tensors),
        is_output_equal=float(str(difference)) <= _OUTPUT_TOLERANCES.get(file.metadata.scheme, FLOAT_OUTPUT_TOLERANCE),
        max_output_difference=float(str(difference)),
        state_before=before,
        state_after=after,
    )


def measure_stages(
    file: ModelFile,
    photos: Sequence[StagePhoto],
    *,
    num_threads: int,
    detector: str = "none",
    detector_path: Path | None = None,
    min_seconds: float = 2.0,
) -> tuple[StageRecord, ...]:
    """Returns the times of each step from a photo's file to its answer, measured by a fresh process.

    Each photo is taken at least once, and all again until ``min_seconds`` are over. OpenCV gets ``num_threads``, too.

    Args:
        file: The verified model.
        photos: Photos that can be read.
        num_threads: 1 to 256.
        detector: For photos without a box; see :func:`edgegender.runtime.detector.create_detector`.
        detector_path: Its network.
        min_seconds: Least duration.

    Raises:
        UsageError: There is no photo, or the detector is unknown.
        MeasurementError: The measuring process died, or a photo has gone.
        ModelFileError: The model was replaced meanwhile.
    """
    _require_threads(num_threads)
    if not photos:
        raise UsageError("Expected photos for the end-to-end times, got none.")
    job = {
        "kind": "stages",
        "model": str(file.path.absolute()),
        "num_threads": num_threads,
        "photos": [(str(photo.path.absolute()), photo.box.box_xyxy if photo.box else None) for photo in photos],
        "detector": detector,
        "detector_path": str(detector_path.absolute()) if detector_path else "",
        "min_seconds": min_seconds,
    }
    values, arrays = run_worker(job, what=f"{file.path.name}, end to end, {num_threads} threads")
    _require_same_model(values, file)
    return tuple(
        StageRecord(name, tuple(times.tolist()), compute_percentiles(times, _STAGE_PERCENTS))
        for name, times in arrays.items()
    )


def with_stages(record: LatencyRecord, stages: tuple[StageRecord, ...], num_photos: int) -> LatencyRecord:
    """Returns a latency record with its end-to-end times."""
    return replace(record, stages=stages, num_stage_photos=num_photos)
