"""This machine's GPU as a target: LiteRT's GPU accelerator on the same file, or Keras on CUDA on the run behind it.

``--engine``: ``litert-gpu`` (float16, the accelerator's own choice; without ``--engine`` this one),
``litert-gpu-float32``, ``keras-tensorflow``, ``keras-jax``, ``keras-torch``, each also with ``-bfloat16``.

Options (``--option KEY=VALUE``), for Keras only:

- ``run``: the run folder that the model was converted from.
- ``batch``: pictures a run, such as ``1,64``, beside the one that is always measured.

Bringing the picture to the GPU and the answer back is part of every time: a camera's picture starts in main memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from edgegender.benchmark.answers import Sample, answer_noise
from edgegender.benchmark.engine_gpu import explain_no_gpu
from edgegender.benchmark.engines import EngineEntry, create_engine, entry_to_job
from edgegender.benchmark.judge import judge_latency
from edgegender.benchmark.measure import Subject, measure_repeatedly, subject_of
from edgegender.benchmark.records import BenchmarkResult
from edgegender.benchmark.run import benchmark_model, speed_inputs
from edgegender.benchmark.targets import TargetRequest
from edgegender.benchmark.worker_process import WorkerDiedError, run_worker
from edgegender.errors import MeasurementError, UsageError
from edgegender.runtime.model_file import read_model

_LITERT = {"litert-gpu": "float16", "litert-gpu-float32": "float32"}
_KERAS_MODULE = "edgegender.keras_engine"  # above this package, for a device never reaches Keras: found by its name
_KERAS = {
    f"keras-{backend}{suffix}": f"{backend} {precision} gpu"
    for backend in ("tensorflow", "jax", "torch")
    for suffix, precision in (("", "float32"), ("-bfloat16", "bfloat16"))
}
ENGINES = (*_LITERT, *_KERAS)
_KEYS = ("batch", "run")
_ROOT = Path("/")
MAX_BATCH = 4096


@dataclass(frozen=True)
class _Options:
    """The options of this target, read."""

    run: Path | None
    larger_batches: tuple[int, ...]


def _read_options(request: TargetRequest) -> _Options:
    unknown = sorted(set(request.options) - set(_KEYS))
    if unknown:
        raise UsageError(f"Expected options of {', '.join(_KEYS)}, got {unknown[0]} (target gpu).")
    words = request.options.get("batch", "1").split(",")
    is_sound = all(word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= MAX_BATCH for word in words)
    if not is_sound or len(set(words)) != len(words):
        raise UsageError(f"Expected batch sizes from 1 to {MAX_BATCH}, got {request.options['batch']!r}.")
    run = request.options.get("run")
    return _Options(Path(run) if run else None, tuple(int(word) for word in words if int(word) > 1))


def _engines(request: TargetRequest, options: _Options) -> tuple[str, ...]:
    engines = request.engines or ("litert-gpu",)
    for name in engines:
        if name not in ENGINES:
            raise UsageError(f"Expected an engine of {', '.join(ENGINES)}, got {name!r} (target gpu).")
    has_keras = any(name in _KERAS for name in engines)
    if has_keras and (options.run is None or len(request.models) != 1):
        raise UsageError(
            "Expected one model and the run that it was converted from for Keras, got others.",
            hint="--option run=FOLDER",
        )
    if options.larger_batches and any(name in _LITERT for name in engines):
        raise UsageError("Expected one picture a run on LiteRT's GPU accelerator, got a larger batch.")
    return engines


def name_gpu(root: Path = _ROOT) -> str:
    """Returns what this machine's GPU is called; empty where its driver does not tell.

    Args:
        root: Where ``/proc`` and ``/sys`` are read from.
    """
    for file in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        for line in file.read_text("utf-8", errors="replace").splitlines():
            if line.startswith("Model:"):
                return line.partition(":")[2].strip()
    for file in sorted(root.glob("sys/class/drm/card*/device/uevent")):
        found = dict(line.split("=", 1) for line in file.read_text("utf-8").splitlines() if "=" in line)
        if "DRIVER" in found:
            return f"{found['DRIVER']} {found.get('PCI_ID', '')}".strip()
    return ""


def _keras_subject(options: _Options, model: Path) -> Subject:
    """Returns the run's network, after making sure that the model was made from one of the same labels and inputs."""
    module: Any = import_module(_KERAS_MODULE)
    found = module.run_subject(options.run)
    if not isinstance(found, Subject):
        raise MeasurementError(f"Expected a subject from {_KERAS_MODULE}, got {type(found).__name__}.")
    wanted = subject_of(read_model(model)).record
    for name in ("labels", "input_size_px", "crop_margin"):
        if getattr(found.record, name) != getattr(wanted, name):
            raise UsageError(
                f"Expected the run that {model.name} was converted from, got one with other {name} ({options.run}).",
                hint="--option run=FOLDER",
            )
    return found


def _entry(name: str) -> EngineEntry:
    if name in _LITERT:
        return EngineEntry("edgegender.benchmark.engine_gpu", _LITERT[name])
    return EngineEntry(_KERAS_MODULE, _KERAS[name])


def _on_gpu(result: BenchmarkResult, gpu: str) -> BenchmarkResult:
    board = ", ".join(name for name in (result.machine.board, gpu) if name)
    return replace(result, target="gpu", machine=replace(result.machine, board=board))


def probe(subject: Subject, entry: EngineEntry) -> None:
    """Loads a model on LiteRT's GPU accelerator in a process of its own, for its native code may crash.

    Seen with LiteRT 2.3 on a machine without a GPU; see also google-ai-edge/LiteRT-LM issue 2225.

    Raises:
        MeasurementError: There is no GPU that LiteRT can use, or its accelerator crashed.
        ModelFileError: The GPU does not run the whole network.
        MissingDependencyError: LiteRT 2 is not installed.
    """
    job = {"kind": "probe", "engine": entry_to_job(entry), "model": str(subject.path.absolute())}
    try:
        run_worker(job, what=f"{subject.path.name} on the GPU")
    except WorkerDiedError as error:
        raise explain_no_gpu(f"its accelerator crashed ({error.signal_name})") from error


def _measure(
    subject: Subject, samples: Iterable[Sample] | None, entry: EngineEntry, request: TargetRequest
) -> BenchmarkResult:
    return benchmark_model(
        subject,
        samples,
        threads=(1,),  # what waits for the GPU is one thread
        durations=request.durations,
        until_share=request.until_share,
        engine=entry,
        source=request.source,
        command_line=request.command_line,
        on_sample=lambda done: request.on_progress(f"answering {done} of {request.num_samples}"),
    )


def _with_batches(
    result: BenchmarkResult, subject: Subject, entry: EngineEntry, sizes: tuple[int, ...], request: TargetRequest
) -> BenchmarkResult:
    """Adds the latency of larger batches, on noise: a network takes as long for noise as for faces."""
    answers = answer_noise(create_engine(entry, subject.path, num_threads=1), subject.record)
    for size in sizes:
        request.on_progress(f"measuring with {size} pictures a run")
        engine = create_engine(entry, subject.path, num_threads=1, batch_size=size)
        measured = measure_repeatedly(
            subject,
            speed_inputs(engine, answers),
            num_threads=1,
            durations=request.durations,
            until_share=request.until_share,
            entry=entry,
            engine=engine.record,
        )
        judged = judge_latency(measured.record, result.machine, request.durations, until_share=request.until_share)
        result = replace(
            result,
            latencies=(*result.latencies, measured.record),
            warnings=(*result.warnings, *(replace(found, text=f"{size} a run: {found.text}") for found in judged)),
        )
    return result


def measure(request: TargetRequest) -> list[BenchmarkResult]:
    """Returns what this machine's GPU measured: one result a model and engine, models first.

    Raises:
        UsageError: An option or an engine makes no sense.
        MeasurementError: There is no GPU that LiteRT can use; the hint names what is missing.
        TrainingError: There is none that Keras's backend can use; likewise.
        MissingDependencyError: An engine is not installed.
        DataError: The samples do not fit the model.
        ModelFileError: A model is damaged, or the GPU does not run the whole network.
    """
    options = _read_options(request)
    engines, gpu = _engines(request, options), name_gpu()
    results = []
    for model, samples in zip(request.models, request.samples, strict=True):
        for name in engines:
            subject = subject_of(read_model(model)) if name in _LITERT else _keras_subject(options, model)
            entry = _entry(name)
            if name in _LITERT:
                probe(subject, entry)
            result = _measure(subject, samples, entry, request)
            result = _with_batches(result, subject, entry, options.larger_batches, request)
            result = _on_gpu(result, gpu)
            request.on_result(result)
            results.append(result)
    return results
