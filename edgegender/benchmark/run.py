"""One model on this machine: accuracy and latency from the same file in the same run."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgegender.benchmark.judge import judge_data, judge_latency, judge_machine
from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.benchmark.measure import (
    SpeedInputs,
    StagePhoto,
    measure_latency,
    measure_stages,
    with_stages,
)
from edgegender.benchmark.records import (
    BenchmarkResult,
    DataRecord,
    Durations,
    LatencyRecord,
    describe_model,
)
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import DataError, UsageError
from edgegender.metrics import Evaluation, evaluate_scores
from edgegender.runtime.classifier import Classifier

NUM_SPEED_INPUTS = 64  # distinct pictures that the speed run cycles over, and photos of the end-to-end times
TARGETS = ("cpu",)


class Sample(NamedTuple):
    """One photo as the network sees it.

    Args:
        image: Raw RGB bytes, shape (S, S, 3), uint8, S the model's input size; ``None`` when the photo gave none.
        label_index: Of the annotated label among the model's labels.
        photo_sha256: Of the photo's file; empty takes the hash of ``image``.
        photo: The file, for the end-to-end times.
        box_source: Where the face box comes from: ``manifest``, ``none``, or a detector's name.
        problem: Why there is no image: ``unreadable`` or ``no_face``.
    """

    image: UInt8Array | None
    label_index: int
    photo_sha256: str = ""
    photo: StagePhoto | None = None
    box_source: str = "none"
    problem: str = ""


@dataclass(frozen=True)
class DataSource:
    """What the samples are called, and how faces are found in photos without a box.

    Args:
        name: The manifest's file name.
        split: The split that was chosen.
        detector: For the end-to-end times of photos without a box.
        detector_path: Its network.
    """

    name: str = ""
    split: str = ""
    detector: str = "none"
    detector_path: Path | None = None


@dataclass
class _Gathered:
    """What the accuracy run leaves; inputs are kept of a bounded number of pictures only."""

    scores: list[FloatArray] = field(default_factory=list)
    annotated: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    box_sources: set[str] = field(default_factory=set)
    problems: dict[str, int] = field(default_factory=dict)
    images: list[UInt8Array] = field(default_factory=list)
    image_scores: list[FloatArray] = field(default_factory=list)
    image_hashes: set[str] = field(default_factory=set)
    photos: list[StagePhoto] = field(default_factory=list)


def _no_progress(done: int) -> None:
    del done


def _take(sample: Sample, classifier: Classifier, gathered: _Gathered) -> None:
    labels = classifier.metadata.labels
    size_px = classifier.metadata.preprocessing.input_size_px
    image = sample.image
    if image is None:
        gathered.problems[sample.problem] = gathered.problems.get(sample.problem, 0) + 1
        return
    if image.shape != (size_px, size_px, 3) or image.dtype != np.uint8 or not 0 <= sample.label_index < len(labels):
        raise DataError(
            f"Expected uint8 inputs ({size_px}, {size_px}, 3) and labels below {len(labels)}, got {image.dtype} "
            f"{image.shape} and {sample.label_index}."
        )
    image = np.ascontiguousarray(image)
    scores = classifier.forward(image)
    gathered.scores.append(scores)
    gathered.annotated.append(sample.label_index)
    image_hash = ""
    if len(gathered.images) < NUM_SPEED_INPUTS or not sample.photo_sha256:
        image_hash = hashlib.sha256(image.tobytes()).hexdigest()
    gathered.lines.append(f"{sample.photo_sha256 or image_hash} {labels[sample.label_index]}\n")
    gathered.box_sources.add(sample.box_source)
    if len(gathered.images) < NUM_SPEED_INPUTS and image_hash not in gathered.image_hashes:
        gathered.image_hashes.add(image_hash)
        gathered.images.append(image)
        gathered.image_scores.append(scores)
        if sample.photo is not None:
            gathered.photos.append(sample.photo)


def _evaluate(gathered: _Gathered, classifier: Classifier) -> Evaluation:
    metadata = classifier.metadata
    return evaluate_scores(
        classifier.calibrate(np.stack(gathered.scores)),
        np.asarray(gathered.annotated, np.int64),
        labels=metadata.labels,
        positive_label=metadata.positive_label,
        threshold=metadata.threshold,
    )


def _describe_data(gathered: _Gathered, source: DataSource) -> DataRecord:
    return DataRecord(
        name=source.name,
        sha256=hashlib.sha256("".join(sorted(gathered.lines)).encode()).hexdigest(),
        split=source.split,
        detector="+".join(sorted(gathered.box_sources)),
        num_photos=len(gathered.scores),
        num_no_face=gathered.problems.get("no_face", 0),
        num_unreadable=gathered.problems.get("unreadable", 0),
    )


def _noise(classifier: Classifier) -> _Gathered:
    """Inputs for a run without photos: a network takes as long for noise as for faces."""
    size_px = classifier.metadata.preprocessing.input_size_px
    gathered = _Gathered()
    random = np.random.default_rng(0)
    for _ in range(NUM_SPEED_INPUTS):
        image = random.integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
        gathered.images.append(image)
        gathered.image_scores.append(classifier.forward(image))
    return gathered


def _measure(
    classifier: Classifier, gathered: _Gathered, source: DataSource, num_threads: int, durations: Durations
) -> LatencyRecord:
    tensors = np.concatenate([classifier.interpreter.to_tensor(image)[np.newaxis] for image in gathered.images])
    inputs = SpeedInputs(tensors, np.stack(gathered.image_scores))
    record = measure_latency(classifier.file, inputs, num_threads=num_threads, durations=durations)
    if not gathered.photos:
        return record
    stages = measure_stages(
        classifier.file,
        gathered.photos,
        num_threads=num_threads,
        detector=source.detector,
        detector_path=source.detector_path,
        min_seconds=min(2.0, durations.min_seconds),
    )
    return with_stages(record, stages, len(gathered.photos))


def benchmark_model(
    model: Path | Classifier | None,
    samples: Iterable[Sample] | None,
    *,
    threads: Sequence[int],
    durations: Durations | None = None,
    source: DataSource | None = None,
    command_line: Sequence[str] = (),
    on_sample: Callable[[int], None] = _no_progress,
    on_configuration: Callable[[int], None] = _no_progress,
) -> BenchmarkResult:
    """Returns accuracy and latency of one model file on this machine's CPU.

    First every sample is answered by this process; then, for each number of threads, a fresh process measures the
    latency on the first 64 distinct inputs and compares its scores with those answers.

    Args:
        model: A ``.tflite`` made by edgegender, or a classifier that has loaded it; ``None`` takes the embedded one.
        samples: Photos as network inputs with their labels, read once; ``None`` measures latency on noise only.
        threads: Numbers of threads, each measured by itself.
        durations: How long to measure.
        source: What the samples are called.
        command_line: What to record as the command; without folders and user names.
        on_sample: Called with the number of samples done.
        on_configuration: Called with each number of threads before it is measured.

    Raises:
        UsageError: No number of threads, or one that makes no sense.
        DataError: No sample has an image, or one has another shape than the model's input.
        ModelFileError: The model is missing, damaged, altered, or was replaced meanwhile.
        MeasurementError: A measuring process died.
    """
    if not threads or len(set(threads)) != len(threads) or min(threads) < 1:
        raise UsageError(
            f"Expected different numbers of threads from 1 on, got {', '.join(map(str, threads)) or 'none'}."
        )
    durations, source = durations or Durations(), source or DataSource()
    classifier = model if isinstance(model, Classifier) else Classifier(model)
    machine = describe_machine()
    data, evaluation = None, None
    if samples is None:
        gathered = _noise(classifier)
    else:
        gathered = _Gathered()
        for done, sample in enumerate(samples, start=1):
            _take(sample, classifier, gathered)
            on_sample(done)
        if not gathered.scores:
            found = ", ".join(f"{count} {problem}" for problem, count in gathered.problems.items()) or "none"
            raise DataError(f"Expected photos to answer, got {found}.", hint="Look at the photos and the detector.")
        data, evaluation = _describe_data(gathered, source), _evaluate(gathered, classifier)
    records = []
    for num_threads in threads:
        on_configuration(num_threads)
        records.append(_measure(classifier, gathered, source, num_threads, durations))
    warnings = [*judge_machine(machine, records), *(judge_data(data) if data else ())]
    for record in records:
        warnings += judge_latency(record, machine, durations)
    return BenchmarkResult(
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target="cpu",
        command_line=tuple(command_line),
        durations=durations,
        versions=describe_versions(),
        machine=machine,
        model=describe_model(classifier.file),
        data=data,
        evaluation=evaluation,
        latencies=tuple(records),
        warnings=tuple(warnings),
    )
