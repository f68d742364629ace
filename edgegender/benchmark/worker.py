"""The measuring process: a fresh one a configuration, so that threads and memory of one never touch another.

:mod:`edgegender.benchmark.measure` starts it. A job comes in on standard input: one line of JSON, then raw arrays. The
answer leaves on standard output in the same form. A thread sleeps on a pipe that the parent holds open; when the parent
ends, however it ends, the pipe closes and so does this process.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from edgegender import files
from edgegender.benchmark.energy import rapl_joules, read_rapl
from edgegender.benchmark.engines import EngineEntry, create_engine, prepare_engine
from edgegender.benchmark.presets import EarlyStop
from edgegender.entities import FaceBox, FloatArray, Preprocessing, UInt8Array
from edgegender.errors import EdgeGenderError, ModelFileError
from edgegender.memory import memory_bytes
from edgegender.metrics import apply_temperature_to_row
from edgegender.preprocess import to_input

if TYPE_CHECKING:
    from edgegender.benchmark.engine import Engine
    from edgegender.runtime.detector import FaceDetector

# Nobody reads what an orphan writes: no answer, no message.
_ORPHANED = 1
_STAGE_WARMUP_PHOTOS = 4

Answer = tuple[dict[str, object], dict[str, "array[int]"]]


def time_runs(
    engine: Engine,
    inputs: Sequence[npt.NDArray[np.generic]],
    expected: npt.NDArray[np.float64],
    *,
    min_seconds: float,
    min_runs: int,
    max_seconds: float,
    until_share: float | None = None,
) -> tuple[array[int], float]:
    """Runs the network until both limits are reached and returns raw latencies and the largest score difference.

    Measured is the writing of the input tensor and the network's run, between two readings of the monotonic clock. The
    scores are read and compared after the second reading.

    Args:
        engine: The network.
        inputs: Input tensors to cycle over.
        expected: Scores by input, shape (inputs, batch, labels).
        min_seconds: See :class:`edgegender.benchmark.records.Durations`.
        min_runs: Likewise.
        max_seconds: Likewise.
        until_share: Goes on until p90 is known this well instead, see :class:`~edgegender.benchmark.presets.EarlyStop`.
    """
    clock, run, read_scores = time.perf_counter_ns, engine.run, engine.read_scores
    latencies = array("q")
    keep = latencies.append
    pairs = [(tensor, scores, scores.tobytes()) for tensor, scores in zip(inputs, expected, strict=True)]
    difference = 0.0
    early = EarlyStop(until_share) if until_share is not None else None
    started = clock()
    enough, most = started + int(min_seconds * 1e9), started + int(max_seconds * 1e9)
    gc.disable()  # a collection inside of a timed run would be taken for the network
    try:
        for tensor, scores, wanted in cycle(pairs):
            begin = clock()
            run(tensor)
            end = clock()
            keep(end - begin)
            got = read_scores()
            if got.tobytes() != wanted:
                gap = float(np.abs(got - scores).max())
                difference = max(difference, gap if np.isfinite(gap) else 1.0)  # NaN: as far as scores can be apart
            if end >= most:
                break
            if early is None:
                if end >= enough and len(latencies) >= min_runs:
                    break
            elif len(latencies) >= early.next_look and early.is_reached(latencies):
                break
    finally:
        gc.enable()
    return latencies, difference


def _sha256_of(path: Path) -> str:
    try:
        return files.hash_file(path)
    except OSError as error:
        raise ModelFileError(f"Expected a model file, got {error.strerror or error} ({path}).") from error


def _read_arrays(
    job: Mapping[str, Any], payload: bytearray
) -> tuple[list[npt.NDArray[np.generic]], npt.NDArray[np.float64]]:
    """Returns the input tensors and the scores that they must give, as views of what came in."""
    shape, scores_shape = tuple(job["inputs_shape"]), tuple(job["scores_shape"])
    dtype, count = np.dtype(job["inputs_dtype"]), math.prod(shape)
    inputs = list(np.frombuffer(payload, dtype, count).reshape(shape))
    expected = np.frombuffer(payload[count * dtype.itemsize :], np.float64)
    return inputs, expected.reshape(scores_shape)


def run_speed(job: Mapping[str, Any], payload: bytearray) -> Answer:
    """Loads the model, runs it for the first time, warms up, and measures."""
    inputs, expected = _read_arrays(job, payload)
    entry, model = EngineEntry(**job["engine"]), Path(job["model"])
    prepare_engine(entry)
    baseline = memory_bytes("VmRSS") - len(payload)
    clock = time.perf_counter_ns
    begin = clock()
    engine = create_engine(entry, model, num_threads=job["num_threads"], batch_size=job["batch_size"])
    loaded = clock()
    engine.run(inputs[0])
    first_inference_ns = clock() - loaded
    warmup, _ = time_runs(
        engine,
        inputs,
        expected,
        min_seconds=job["warmup_seconds"],
        min_runs=max(1, job["warmup_runs"]),
        max_seconds=job["max_seconds"],
    )
    energy, began_ns = read_rapl(), time.monotonic_ns()
    latencies, difference = time_runs(
        engine,
        inputs,
        expected,
        min_seconds=job["min_seconds"],
        min_runs=job["min_runs"],
        max_seconds=job["max_seconds"],
        until_share=job["until_share"],
    )
    ended_ns = time.monotonic_ns()
    values: dict[str, object] = {
        "joules": rapl_joules(energy, read_rapl()),
        "began_ns": began_ns,
        "ended_ns": ended_ns,
        "load_time_ns": loaded - begin,
        "first_inference_ns": first_inference_ns,
        "max_output_difference": difference,
        "baseline_memory_bytes": baseline,
        "peak_memory_bytes": memory_bytes("VmHWM") - len(payload),  # the bank of inputs is the harness's own
    }
    values["sha256"] = _sha256_of(model)
    return values, {"warmup": warmup, "latencies": latencies}


class _StageModel(Protocol):
    """The steps behind a decoded photo."""

    def pre_process(self, image_rgb: UInt8Array, box: FaceBox | None) -> UInt8Array: ...

    def forward(self, inputs: UInt8Array) -> FloatArray: ...

    def post_process(self, scores: FloatArray, box: FaceBox | None) -> object: ...


class _EngineModel:
    """The steps of any engine; the device's own classifier has them already."""

    def __init__(self, engine: Engine, model: Mapping[str, Any]) -> None:
        self._engine = engine
        self._preprocessing = Preprocessing(model["input_size_px"], model["crop_margin"])
        self._temperature, self._threshold = model["temperature"], model["threshold"]
        self._positive_index = model["labels"].index(model["positive_label"])

    def pre_process(self, image_rgb: UInt8Array, box: FaceBox | None) -> UInt8Array:
        return to_input(image_rgb, box, self._preprocessing)

    def forward(self, inputs: UInt8Array) -> FloatArray:
        self._engine.run(self._engine.to_tensor(inputs[np.newaxis]))
        (scores,) = self._engine.read_scores()
        return np.asarray(scores, np.float64)

    def post_process(self, scores: FloatArray, box: FaceBox | None) -> bool:
        del box
        calibrated = apply_temperature_to_row(scores.tolist(), self._temperature)
        return bool(calibrated[self._positive_index] >= self._threshold)


def _open_stage_model(job: Mapping[str, Any]) -> _StageModel:
    from edgegender.runtime.classifier import Classifier

    path, num_threads = Path(job["model"]), job["num_threads"]
    if job.get("engine") is None:
        return Classifier(path, num_threads=num_threads)
    return _EngineModel(create_engine(EngineEntry(**job["engine"]), path, num_threads=num_threads), job["about"])


def _time_photo(path: Path, box: FaceBox | None, model: _StageModel, detector: FaceDetector | None) -> list[int]:
    """Takes one photo file to its answer and returns the nanoseconds of each step, then their sum."""
    from edgegender import images

    clock = time.perf_counter_ns
    marks = [clock()]
    image = images.read_image(path)
    marks.append(clock())
    if detector is not None:
        if box is None:
            found = detector.detect(image)
            box = found[0] if found else None
        marks.append(clock())
    inputs = model.pre_process(image, box)
    marks.append(clock())
    scores = model.forward(inputs)
    marks.append(clock())
    model.post_process(scores, box)
    marks.append(clock())
    return [*(end - begin for begin, end in pairwise(marks)), marks[-1] - marks[0]]


def run_stages(job: Mapping[str, Any], payload: bytearray) -> Answer:
    """Takes photo files all the way to their answers and times each step. See ``StageRecord``."""
    import cv2

    from edgegender.runtime.detector import create_detector

    del payload
    cv2.setNumThreads(job["num_threads"])  # or the detector would use all cores beside a network on one
    model = _open_stage_model(job)
    detector_path = job["detector_path"]
    detector: FaceDetector | None = create_detector(job["detector"], Path(detector_path) if detector_path else None)
    photos = [(Path(name), FaceBox(*box) if box else None) for name, box in job["photos"]]
    if job["detector"] == "none" or all(box is not None for _, box in photos):
        detector = None
    names = ["decode", *(["detect"] if detector is not None else []), "preprocess", "invoke", "post", "total"]
    times = {name: array("q") for name in names}
    for path, box in photos[:_STAGE_WARMUP_PHOTOS]:
        _time_photo(path, box, model, detector)
    enough = time.perf_counter() + job["min_seconds"]
    for number, (path, box) in enumerate(cycle(photos), start=1):
        for name, nanoseconds in zip(names, _time_photo(path, box, model, detector), strict=True):
            times[name].append(nanoseconds)
        if number >= len(photos) and time.perf_counter() >= enough:
            break
    return {"sha256": _sha256_of(Path(job["model"]))}, times


def run_probe(job: Mapping[str, Any], payload: bytearray) -> Answer:
    """Loads the model and ends: a native library that crashes takes nobody with it."""
    del payload
    create_engine(EngineEntry(**job["engine"]), Path(job["model"]), num_threads=1)
    return {}, {}


_JOBS: dict[str, Callable[[Mapping[str, Any], bytearray], Answer]] = {
    "speed": run_speed,
    "stages": run_stages,
    "probe": run_probe,
}


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # sleeps until the parent's end is closed: nothing is ever written to it
    os._exit(_ORPHANED)


def _answer(job: Mapping[str, Any], payload: bytearray) -> bytes:
    try:
        values, arrays = _JOBS[job["kind"]](job, payload)
    except EdgeGenderError as error:
        known = {name: str(getattr(error, name, "")) for name in ("package", "extra")}
        text = {"error": type(error).__name__, "message": str(error), "hint": error.hint, **known}
        return json.dumps(text).encode() + b"\n"
    values["arrays"] = {name: len(numbers) for name, numbers in arrays.items()}
    return b"".join([json.dumps(values).encode(), b"\n", *(numbers.tobytes() for numbers in arrays.values())])


def main(lifeline: int) -> None:
    """Takes one job from standard input and answers on standard output.

    Args:
        lifeline: File descriptor of the pipe that the parent holds open.
    """
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what native libraries print must not get between the answer
    with os.fdopen(0, "rb", closefd=False) as stream:
        job = json.loads(stream.readline())
        payload = bytearray(job["payload_bytes"])  # of its full size at once: joining parts would double the peak
        if stream.readinto(payload) != len(payload):
            sys.exit("the job was cut short")
    answer = _answer(job, payload)
    with os.fdopen(answer_to, "wb") as pipe:
        pipe.write(answer)
