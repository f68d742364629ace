"""One model on this machine by one engine: accuracy and latency from the same file in the same run."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegender.benchmark.answers import (
    NUM_SPEED_INPUTS,
    Answers,
    DataSource,
    Sample,
    answer_noise,
    answer_samples,
)
from edgegender.benchmark.engine import Engine
from edgegender.benchmark.engines import DEFAULT_ENGINE, EngineEntry, create_engine, find_engine
from edgegender.benchmark.golden import answer_golden
from edgegender.benchmark.judge import judge_data, judge_latency, judge_machine, judge_repeats
from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.benchmark.measure import (
    Measured,
    SpeedInputs,
    Subject,
    measure_repeatedly,
    measure_stages,
    subject_of,
    with_stages,
)
from edgegender.benchmark.presets import DEFAULT, SHORT
from edgegender.benchmark.records import BenchmarkResult, BenchmarkWarning, Durations, LatencyRecord
from edgegender.errors import UsageError
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.interpreter import default_num_threads
from edgegender.runtime.model_file import embedded_model_path, read_model

__all__ = ["NUM_SPEED_INPUTS", "DataSource", "Sample", "benchmark_model", "speed_inputs"]


def _no_progress(done: int) -> None:
    del done


def speed_inputs(engine: Engine, answers: Answers) -> SpeedInputs:
    """Returns what the speed run is fed and must answer: the kept pictures, as many a run as the engine takes.

    The last run is filled up with the first pictures.

    Args:
        engine: Of any batch size.
        answers: With the pictures, and the scores that were given for each of them alone.
    """
    size = engine.batch_size
    places = [place % len(answers.images) for place in range(-(-len(answers.images) // size) * size)]
    batches = [places[start : start + size] for start in range(0, len(places), size)]
    return SpeedInputs(
        np.stack([engine.to_tensor(np.stack([answers.images[place] for place in batch])) for batch in batches]),
        np.stack([np.stack([answers.image_scores[place] for place in batch]) for batch in batches]),
    )


@dataclass(frozen=True)
class _Plan:
    """How each configuration is measured."""

    subject: Subject
    entry: EngineEntry
    durations: Durations
    until_share: float | None
    source: DataSource


def _measure(engine: Engine, answers: Answers, plan: _Plan, num_threads: int) -> Measured:
    return measure_repeatedly(
        plan.subject,
        speed_inputs(engine, answers),
        num_threads=num_threads,
        durations=plan.durations,
        until_share=plan.until_share,
        entry=plan.entry,
        engine=engine.record,
    )


def _with_stages(record: LatencyRecord, answers: Answers, plan: _Plan) -> LatencyRecord:
    if not answers.photos:
        return record
    stages = measure_stages(
        plan.subject,
        answers.photos,
        num_threads=record.num_threads,
        detector=plan.source.detector,
        detector_path=plan.source.detector_path,
        min_seconds=min(2.0, plan.durations.min_seconds),
        entry=plan.entry,
    )
    return with_stages(record, stages, len(answers.photos))


def _find_subject(model: Path | Classifier | Subject | None) -> Subject:
    if isinstance(model, Subject):
        return model
    return subject_of(model.file if isinstance(model, Classifier) else read_model(model or embedded_model_path()))


def _require_threads(threads: Sequence[int]) -> None:
    if not threads or len(set(threads)) != len(threads) or min(threads) < 1:
        raise UsageError(
            f"Expected different numbers of threads from 1 on, got {', '.join(map(str, threads)) or 'none'}."
        )


def benchmark_model(
    model: Path | Classifier | Subject | None,
    samples: Iterable[Sample] | None,
    *,
    threads: Sequence[int],
    durations: Durations | None = None,
    until_share: float | None = None,
    engine: str | EngineEntry = DEFAULT_ENGINE,
    source: DataSource | None = None,
    command_line: Sequence[str] = (),
    on_sample: Callable[[int], None] = _no_progress,
    on_configuration: Callable[[int], None] = _no_progress,
) -> BenchmarkResult:
    """Returns accuracy and latency of one model file on this machine's CPU, by one engine.

    First this process answers every sample and the golden inputs by the engine; then, for each number of threads, fresh
    processes measure the latency on the first 64 distinct inputs and compare their scores with those answers.

    Args:
        model: A ``.tflite`` made by edgegender, a classifier that has loaded it, or another file with what is to be
            recorded about it; ``None`` takes the embedded one.
        samples: Photos as network inputs with their labels, read once; ``None`` measures latency on noise only.
        threads: Numbers of threads, each measured by itself.
        durations: How long to measure; an engine that is made for exact answers is measured for a second.
        until_share: Ends each measurement when p90 is known this well.
        engine: What runs the network: a name of :func:`edgegender.benchmark.engines.engine_names`, or its entry.
        source: What the samples are called.
        command_line: What to record as the command; without folders and user names.
        on_sample: Called with the number of samples done.
        on_configuration: Called with each number of threads before it is measured.

    Raises:
        UsageError: No number of threads, or one that makes no sense; an unknown engine.
        DataError: No sample has an image, or one has another shape than the model's input.
        ModelFileError: The model is missing, damaged, altered, or was replaced meanwhile.
        MeasurementError: A measuring process died.
        MissingDependencyError: The engine is not installed.
    """
    _require_threads(threads)
    entry = find_engine(engine) if isinstance(engine, str) else engine
    durations = SHORT if entry.is_parity_only else durations or DEFAULT
    plan = _Plan(_find_subject(model), entry, durations, until_share, source or DataSource())
    record, machine = plan.subject.record, describe_machine()
    loaded = create_engine(entry, plan.subject.path, num_threads=default_num_threads())
    data, evaluation, warnings = None, None, list[BenchmarkWarning]()
    if samples is None:
        answers = answer_noise(loaded, record)
    else:
        answers = answer_samples(loaded, record, samples, on_sample=on_sample)
        data, evaluation = answers.describe_data(plan.source), answers.evaluate()
        warnings += judge_data(data)
    parity = answer_golden(loaded)
    latencies = []
    for num_threads in threads:
        on_configuration(num_threads)
        measured = _measure(loaded, answers, plan, num_threads)
        latencies.append(_with_stages(measured.record, answers, plan))
        warnings += judge_latency(measured.record, machine, durations, until_share=until_share)
        warnings += judge_repeats(measured.parts, measured.conditions, machine)
    return BenchmarkResult(
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target="cpu",
        command_line=tuple(command_line),
        durations=durations,
        versions=describe_versions(),
        machine=machine,
        model=record,
        data=data,
        evaluation=evaluation,
        latencies=tuple(latencies),
        warnings=(*judge_machine(machine, latencies), *warnings),
        engine=loaded.record,
        parity=parity,
    )
