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
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgegender.entities import FaceBox
from edgegender.errors import EdgeGenderError
from edgegender.memory import memory_bytes
from edgegender.runtime.interpreter import Interpreter, import_runtime
from edgegender.runtime.model_file import read_model

if TYPE_CHECKING:
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import FaceDetector

# Nobody reads what an orphan writes: no answer, no message.
_ORPHANED = 1
_STAGE_WARMUP_PHOTOS = 4

Answer = tuple[dict[str, object], dict[str, "array[int]"]]


def time_runs(
    interpreter: Interpreter,
    inputs: Sequence[npt.NDArray[np.generic]],
    expected: npt.NDArray[np.float64],
    *,
    min_seconds: float,
    min_runs: int,
    max_seconds: float,
) -> tuple[array[int], float]:
    """Runs the network until both limits are reached and returns raw latencies and the largest score difference.

    Measured is the writing of the input tensor and the network's run, between two readings of the monotonic clock. The
    scores are read and compared after the second reading.

    Args:
        interpreter: The network.
        inputs: Input tensors to cycle over.
        expected: Scores by input, shape (inputs, labels).
        min_seconds: See :class:`edgegender.benchmark.records.Durations`.
        min_runs: Likewise.
        max_seconds: Likewise.
    """
    clock, invoke, read_scores = time.perf_counter_ns, interpreter.invoke_raw, interpreter.read_scores
    latencies = array("q")
    keep = latencies.append
    pairs = [(tensor, scores, scores.tobytes()) for tensor, scores in zip(inputs, expected, strict=True)]
    difference = 0.0
    started = clock()
    enough, most = started + int(min_seconds * 1e9), started + int(max_seconds * 1e9)
    gc.disable()  # a collection inside of a timed run would be taken for the network
    try:
        for tensor, scores, wanted in cycle(pairs):
            begin = clock()
            invoke(tensor)
            end = clock()
            keep(end - begin)
            got = read_scores()
            if got.tobytes() != wanted:
                gap = float(np.abs(got - scores).max())
                difference = max(difference, gap if np.isfinite(gap) else 1.0)  # NaN: as far as scores can be apart
            if (end >= enough and len(latencies) >= min_runs) or end >= most:
                break
    finally:
        gc.enable()
    return latencies, difference


def run_speed(job: Mapping[str, Any], payload: bytearray) -> Answer:
    """Loads the model, runs it for the first time, warms up, and measures."""
    shape, scores_shape = tuple(job["inputs_shape"]), tuple(job["scores_shape"])
    dtype = np.dtype(job["inputs_dtype"])
    count = math.prod(shape)
    inputs = list(np.frombuffer(payload, dtype, count).reshape(shape))
    expected = np.frombuffer(payload[count * dtype.itemsize :], np.float64).reshape(scores_shape)
    import_runtime()
    baseline = memory_bytes("VmRSS") - len(payload)
    clock = time.perf_counter_ns
    begin = clock()
    file = read_model(Path(job["model"]))
    interpreter = Interpreter(file.content, num_threads=job["num_threads"], scaling=file.metadata.preprocessing.scaling)
    loaded = clock()
    interpreter.invoke_raw(inputs[0])
    first_inference_ns = clock() - loaded
    warmup, _ = time_runs(
        interpreter,
        inputs,
        expected,
        min_seconds=job["warmup_seconds"],
        min_runs=max(1, job["warmup_runs"]),
        max_seconds=job["max_seconds"],
    )
    latencies, difference = time_runs(
        interpreter,
        inputs,
        expected,
        min_seconds=job["min_seconds"],
        min_runs=job["min_runs"],
        max_seconds=job["max_seconds"],
    )
    values: dict[str, object] = {
        "sha256": file.sha256,
        "load_time_ns": loaded - begin,
        "first_inference_ns": first_inference_ns,
        "max_output_difference": difference,
        "baseline_memory_bytes": baseline,
        "peak_memory_bytes": memory_bytes("VmHWM") - len(payload),  # the bank of inputs is the harness's own
    }
    return values, {"warmup": warmup, "latencies": latencies}


def _time_photo(path: Path, box: FaceBox | None, classifier: Classifier, detector: FaceDetector | None) -> list[int]:
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
    inputs = classifier.pre_process(image, box)
    marks.append(clock())
    scores = classifier.forward(inputs)
    marks.append(clock())
    classifier.post_process(scores, box)
    marks.append(clock())
    return [*(end - begin for begin, end in pairwise(marks)), marks[-1] - marks[0]]


def run_stages(job: Mapping[str, Any], payload: bytearray) -> Answer:
    """Takes photo files all the way to their answers and times each step. See ``StageRecord``."""
    import cv2

    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import create_detector

    del payload
    cv2.setNumThreads(job["num_threads"])  # or the detector would use all cores beside a network on one
    classifier = Classifier(Path(job["model"]), num_threads=job["num_threads"])
    detector_path = job["detector_path"]
    detector: FaceDetector | None = create_detector(job["detector"], Path(detector_path) if detector_path else None)
    photos = [(Path(name), FaceBox(*box) if box else None) for name, box in job["photos"]]
    if job["detector"] == "none" or all(box is not None for _, box in photos):
        detector = None
    names = ["decode", *(["detect"] if detector is not None else []), "preprocess", "invoke", "post", "total"]
    times = {name: array("q") for name in names}
    for path, box in photos[:_STAGE_WARMUP_PHOTOS]:
        _time_photo(path, box, classifier, detector)
    enough = time.perf_counter() + job["min_seconds"]
    for number, (path, box) in enumerate(cycle(photos), start=1):
        for name, nanoseconds in zip(names, _time_photo(path, box, classifier, detector), strict=True):
            times[name].append(nanoseconds)
        if number >= len(photos) and time.perf_counter() >= enough:
            break
    return {"sha256": classifier.file.sha256}, times


_JOBS: dict[str, Callable[[Mapping[str, Any], bytearray], Answer]] = {"speed": run_speed, "stages": run_stages}


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # sleeps until the parent's end is closed: nothing is ever written to it
    os._exit(_ORPHANED)


def _answer(job: Mapping[str, Any], payload: bytearray) -> bytes:
    try:
        values, arrays = _JOBS[job["kind"]](job, payload)
    except EdgeGenderError as error:
        return json.dumps({"error": type(error).__name__, "message": str(error), "hint": error.hint}).encode() + b"\n"
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
