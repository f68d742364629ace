"""An Android phone as a target: TensorFlow's ``benchmark_model`` runs the same file there, on CPU and GPU.

Options (``--option KEY=VALUE``):

- ``benchmark_model``: the program for the phone's processor; needed. No address is built in: TensorFlow publishes a
  nightly build under a name that is always the newest, and no release of it that stays the same.
- ``adb``: another adb program than the one on the path.

``--engine`` is ``xnnpack``, ``none`` (the runtime's own kernels), ``gpu``, or several; without it ``xnnpack`` and
``gpu``.

What is measured: accuracy and the golden answers by the tool on the phone, one run a picture, the same file and
delegate (``--input_layer_value_files``, ``--output_filepath``). Latency by ``NUM_CALLS`` fresh processes. The tool
prints summaries only, so that ``latencies_ns`` holds what it says of single runs: the first and the last timed run of
each process, in microseconds. Percentiles are of these; ``mean_ns`` is over all runs. The warning ``summary_only`` says
so, with the tool's own median and maximum. Not measured: end-to-end stages, energy, the memory before the model.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgegender.benchmark.adb_device import Adb
from edgegender.benchmark.adb_facts import (
    THERMAL_LIGHT,
    THERMAL_MODERATE,
    THERMAL_NAMES,
    PhoneState,
    read_phone,
    read_phone_state,
)
from edgegender.benchmark.adb_output import ToolOutput
from edgegender.benchmark.adb_tool import (
    CHUNK,
    DELEGATES,
    MODEL,
    TOOL,
    PhoneModel,
    PhoneTool,
    answer_samples_on_phone,
    require_tool,
    share,
)
from edgegender.benchmark.answers import Answers, Sample
from edgegender.benchmark.golden import golden_images, hash_golden
from edgegender.benchmark.judge import judge_data, judge_latency
from edgegender.benchmark.machine import Machine, describe_versions
from edgegender.benchmark.measure import output_tolerance
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import (
    BenchmarkResult,
    BenchmarkWarning,
    EngineRecord,
    LatencyRecord,
    ParityRecord,
    describe_model,
)
from edgegender.benchmark.targets import TargetRequest
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import MeasurementError, UsageError
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import read_model

NUM_CALLS = 16  # processes a configuration: 32 single runs bound p50 and p90
_KEYS = ("adb", "benchmark_model")
_DEFAULT_ENGINES = ("xnnpack", "gpu")
_NAME = "benchmark_model"
_WHERE = "Build it with Bazel (docs/rivals.md), then: --option benchmark_model=PATH"


@dataclass(frozen=True)
class _Phone:
    """A phone that is ready, with the tool on it."""

    adb: Adb
    machine: Machine
    tool_version: str


@dataclass(frozen=True)
class _Measured:
    """One configuration: its figures and what is to be known about them."""

    record: LatencyRecord
    warnings: tuple[BenchmarkWarning, ...]


def _engines(request: TargetRequest) -> tuple[str, ...]:
    unknown = [name for name in request.engines if name not in DELEGATES]
    if unknown:
        raise UsageError(f"Expected an engine of {', '.join(DELEGATES)}, got {unknown[0]!r} (target adb).")
    return request.engines or _DEFAULT_ENGINES


def _tool_path(request: TargetRequest) -> Path:
    unknown = sorted(set(request.options) - set(_KEYS))
    if unknown:
        raise UsageError(f"Expected options of {', '.join(_KEYS)}, got {unknown[0]} (target adb).")
    if "benchmark_model" not in request.options:
        raise UsageError("Expected TensorFlow's benchmark_model for the phone, got none.", hint=_WHERE)
    return Path(request.options["benchmark_model"])


def _open_phone(request: TargetRequest, tool: Path) -> _Phone:
    serial = request.address.partition("://")[2].strip("/")
    adb = Adb(serial, program=request.options.get("adb", "adb"))
    try:
        machine = read_phone(adb)
        require_tool(tool, machine.architecture)
        adb.push(tool, TOOL)
        adb.shell(f"chmod 755 {adb.folder}/{TOOL}")
        digest = hashlib.sha256(tool.read_bytes()).hexdigest()
    except BaseException:
        adb.close()
        raise
    # the tool does not tell its version: its hash does
    return _Phone(adb, machine, f"sha256 {digest[:12]}")


def _gap(scores: FloatArray, expected: FloatArray) -> float:
    gap = float(np.abs(scores - expected).max())
    return gap if np.isfinite(gap) else 1.0


def _nanoseconds(outputs: Sequence[ToolOutput], *, is_warmup: bool) -> tuple[int, ...]:
    """Returns the single runs that the tool names: the first and the last of each call."""
    found: list[int] = []
    for output in outputs:
        summary = output.warmup if is_warmup else output.timed
        if summary is not None:
            found += [1000 * summary.first_us, *([1000 * summary.last_us] if summary.count > 1 else [])]
    return tuple(found)


def _describe_summaries(outputs: Sequence[ToolOutput], num_threads: int) -> BenchmarkWarning:
    count = sum(output.timed.count for output in outputs)
    shortest, longest = min(output.timed.min_us for output in outputs), max(output.timed.max_us for output in outputs)
    medians = [output.timed.median_us for output in outputs if output.timed.median_us is not None]
    own = f", medians of {min(medians)} to {max(medians)} µs" if medians else ""
    text = (
        f"benchmark_model tells no single latencies but the first and the last of each of {len(outputs)} processes: "
        f"percentiles rest on these, the mean on all {count} runs, which took {shortest} to {longest} µs{own}"
    )
    return BenchmarkWarning("summary_only", text, num_threads)


def _judge_phone(before: PhoneState, after: PhoneState, num_threads: int) -> list[BenchmarkWarning]:
    warnings = []
    statuses = [state.thermal_status for state in (before, after) if state.thermal_status is not None]
    hottest = max(statuses, default=0)
    if hottest >= THERMAL_LIGHT:
        name = THERMAL_NAMES[min(hottest, len(THERMAL_NAMES) - 1)]
        is_invalid = hottest >= THERMAL_MODERATE
        text = f"the phone was throttled for heat: Android's thermal status was {name}"
        warnings.append(BenchmarkWarning("throttled", text, num_threads, is_invalid))
    if before.is_awake and after.is_awake is False:
        text = "the phone's screen went off meanwhile, and its clocks with it"
        warnings.append(BenchmarkWarning("screen", text, num_threads, is_invalidating=True))
    elif before.is_awake is False or after.is_locked:
        text = "the phone's screen was off or locked: phones may slow down then"
        warnings.append(BenchmarkWarning("screen", text, num_threads))
    return warnings


def _measure_threads(
    tool: PhoneTool,
    answers: Answers,
    phone: _Phone,
    request: TargetRequest,
    *,
    engine: EngineRecord,
    scheme: str,
    num_threads: int,
) -> _Measured:
    durations = share(request.durations, NUM_CALLS)
    before = read_phone_state(phone.adb)
    outputs, gaps = [], []
    names = tool.send(answers.images[:NUM_CALLS])
    for call in range(NUM_CALLS):
        place = call % len(names)
        request.on_progress(f"{engine.delegate}, {num_threads} thread(s): process {call + 1} of {NUM_CALLS}")
        output, scores = tool.time(names[place], num_threads=num_threads, durations=durations)
        outputs.append(output)
        gaps.append(_gap(scores, answers.image_scores[place]))
    after = read_phone_state(phone.adb)
    brief = replace(durations, min_seconds=0.0, min_runs=10, warmup_seconds=0.0, warmup_runs=1)
    memory, _ = tool.time(names[0], num_threads=num_threads, durations=brief, is_memory=True)
    latencies = _nanoseconds(outputs, is_warmup=False)
    count = sum(output.timed.count for output in outputs)
    mean_ns = 1000 * sum(output.timed.mean_us * output.timed.count for output in outputs) / count
    record = LatencyRecord(
        num_threads=num_threads,
        load_time_ns=round(1000 * outputs[0].init_us),
        first_inference_ns=1000 * (outputs[0].warmup or outputs[0].timed).first_us,
        warmup_latencies_ns=_nanoseconds(outputs, is_warmup=True),
        latencies_ns=latencies,
        percentiles=compute_percentiles(latencies),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=None if memory.peak_memory_mb is None else round(memory.peak_memory_mb * 2**20),
        baseline_memory_bytes=None,
        num_inputs=len(names),
        is_output_equal=max(gaps) <= output_tolerance(scheme, engine if engine.delegate == "gpu" else None),
        max_output_difference=max(gaps),
        state_before=before.machine,
        state_after=after.machine,
    )
    # few_runs counts what stands in the record, not what the phone ran: summary_only says both
    judged = [found for found in judge_latency(record, phone.machine, request.durations) if found.kind != "few_runs"]
    own = [_describe_summaries(outputs, num_threads), *_judge_phone(before, after, num_threads)]
    return _Measured(record, (*judged, *own, *_judge_delegate(outputs[0], engine, num_threads)))


def _judge_delegate(output: ToolOutput, engine: EngineRecord, num_threads: int) -> list[BenchmarkWarning]:
    if engine.delegate != "gpu" or output.coverage == "completely":
        return []
    nodes = f"{output.delegated[0]} of {output.delegated[1]}" if output.delegated else "an unknown number of"
    text = f"the GPU delegate runs {nodes} operators, the CPU the others"
    return [BenchmarkWarning("partial_delegate", text, num_threads)]


def _why_no_gpu(tool: PhoneTool) -> str:
    """Returns why the GPU delegate does not run a network; empty where it does."""
    try:
        output = tool.probe()
    except MeasurementError as error:
        return str(error)
    has_gpu = output.delegated is not None and "Gpu" in output.delegated[2]
    if output.coverage in ("completely", "partially") or (not output.coverage and has_gpu):
        return ""
    return "the delegate takes no operator of this network"


@dataclass(frozen=True)
class _Job:
    """One model by one delegate."""

    model: PhoneModel
    samples: Iterable[Sample] | None
    delegate: str
    notes: tuple[BenchmarkWarning, ...]


def _noise(tool: PhoneTool, answers: Answers, size_px: int, num_threads: int) -> None:
    random = np.random.default_rng(0)
    images: list[UInt8Array] = [random.integers(0, 256, (size_px, size_px, 3), np.uint8) for _ in range(NUM_CALLS)]
    answers.images += images
    answers.image_scores += tool.answer(images, num_threads=num_threads)


def _golden(tool: PhoneTool, size_px: int, num_threads: int) -> ParityRecord:
    images = golden_images(size_px)
    scores = [
        row
        for start in range(0, len(images), CHUNK)
        for row in tool.answer(list(images[start : start + CHUNK]), num_threads=num_threads)
    ]
    return ParityRecord(hash_golden(images), tuple(tuple(map(float, row)) for row in scores))


def _measure_job(phone: _Phone, request: TargetRequest, job: _Job) -> BenchmarkResult:
    tool = PhoneTool(phone.adb, job.model, job.delegate)
    is_gpu = job.delegate == "gpu"
    threads = (1,) if is_gpu else request.threads or (1,)
    # the tool's default for the GPU delegate: --gpu_precision_loss_allowed
    engine = EngineRecord(_NAME, phone.tool_version, job.delegate, "float16" if is_gpu else "as_stored")
    about = describe_model(job.model.file)
    answers, warnings = Answers(about), list(job.notes)
    data, evaluation = None, None
    if job.samples is None:
        _noise(tool, answers, about.input_size_px, threads[0])
    else:
        answer_samples_on_phone(
            tool,
            answers,
            job.samples,
            num_threads=threads[0],
            on_sample=lambda done: request.on_progress(f"{job.delegate}: answered {done} of {request.num_samples}"),
        )
        data, evaluation = answers.describe_data(request.source), answers.evaluate()
        warnings += judge_data(data)
    parity = _golden(tool, about.input_size_px, threads[0])
    records: list[LatencyRecord] = []
    for num_threads in threads:
        try:
            measured = _measure_threads(
                tool, answers, phone, request, engine=engine, scheme=about.scheme, num_threads=num_threads
            )
        except MeasurementError as error:
            if not records:
                raise
            text = f"not measured, and none after it: {error}"
            warnings.append(BenchmarkWarning("partial", text, num_threads, is_invalidating=True))
            break
        records.append(measured.record)
        warnings += measured.warnings
    if phone.machine.is_virtual_machine:
        warnings.append(BenchmarkWarning("virtual_machine", "an emulator, not a phone"))
    return BenchmarkResult(
        created=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        target="adb",
        command_line=request.command_line,
        durations=request.durations,
        versions=replace(describe_versions(), runtime_name=_NAME, runtime_version=phone.tool_version),
        machine=phone.machine,
        model=about,
        data=data,
        evaluation=evaluation,
        latencies=tuple(records),
        warnings=tuple(warnings),
        engine=engine,
        parity=parity,
    )


def _plan(
    phone: _Phone, request: TargetRequest, model: PhoneModel, engines: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[BenchmarkWarning, ...]]:
    """Returns the delegates that run a model, and what to say about those that do not."""
    if "gpu" not in engines:
        return engines, ()
    reason = _why_no_gpu(PhoneTool(phone.adb, model, "gpu"))
    if not reason:
        return engines, ()
    if request.engines == ("gpu",):
        raise MeasurementError(f"Expected a network that the phone's GPU delegate runs, got: {reason}")
    rest = tuple(name for name in engines if name != "gpu")
    return rest, (BenchmarkWarning("no_gpu", f"not measured on the phone's GPU: {reason}"),)


def measure(request: TargetRequest) -> list[BenchmarkResult]:
    """Returns what a phone measured: one result a model and delegate, models first.

    Raises:
        UsageError: An option, an engine or the address makes no sense, or the tool is for another processor.
        MeasurementError: adb is not installed; the phone is away, not allowed, or went away; the tool failed.
        DataError: The samples do not fit the model.
        ModelFileError: A model is damaged.
    """
    engines, path = _engines(request), _tool_path(request)
    models = [read_model(model) for model in request.models]
    phone = _open_phone(request, path)
    results = []
    with contextlib.closing(phone.adb):
        for file, samples in zip(models, request.samples, strict=True):
            scaling = file.metadata.preprocessing.scaling
            model = PhoneModel(file, Interpreter(file.content, num_threads=1, scaling=scaling))
            phone.adb.push_bytes(file.content, MODEL)
            delegates, notes = _plan(phone, request, model, engines)
            for delegate in delegates:
                result = _measure_job(phone, request, _Job(model, samples, delegate, notes))
                request.on_result(result)
                results.append(result)
    return results
