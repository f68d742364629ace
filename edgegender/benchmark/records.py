"""What a benchmark records: frozen dataclasses, one to one with ``result.schema.json``."""

from __future__ import annotations

from dataclasses import dataclass

from edgegender.benchmark.machine import Machine, MachineState, Versions
from edgegender.benchmark.percentiles import Percentile
from edgegender.entities import ModelMetadata
from edgegender.errors import UsageError
from edgegender.metrics import Evaluation
from edgegender.runtime.model_file import ModelFile


@dataclass(frozen=True)
class Durations:
    """How long to measure: until ``min_seconds`` AND ``min_runs`` are reached, at most ``max_seconds``.

    Args:
        min_seconds: Of the timed runs.
        min_runs: Of the timed runs.
        max_seconds: A slow network ends here, with fewer runs and a warning.
        warmup_seconds: Of the runs before, which are kept apart.
        warmup_runs: Likewise; both are reached, unless ``max_seconds`` is.
        preset: What it is called: ``default``, ``short``, ``quick``, ``publishable``; empty for another choice.
    """

    min_seconds: float = 5.0
    min_runs: int = 500
    max_seconds: float = 120.0
    warmup_seconds: float = 0.5
    warmup_runs: int = 20
    preset: str = "default"

    def __post_init__(self) -> None:
        is_sound = 0 <= self.min_seconds <= self.max_seconds < 1e6 and self.max_seconds > 0
        if not is_sound or self.min_runs < 1 or self.warmup_seconds < 0 or self.warmup_runs < 0:
            raise UsageError(f"Expected positive runs and seconds, the least below the most, got {self}.")


@dataclass(frozen=True)
class ModelRecord:
    """The file that was measured."""

    name: str
    file_name: str
    sha256: str
    size_bytes: int
    scheme: str
    architecture: str
    input_size_px: int
    crop_margin: float
    labels: tuple[str, ...]
    positive_label: str
    threshold: float
    temperature: float


@dataclass(frozen=True)
class EngineRecord:
    """What ran the network.

    Args:
        name: ``ai-edge-litert``, ``tflite-runtime``, ``onnxruntime``, ``openvino``, ``keras``, ``litert.js`` or
            ``benchmark_model``.
        version: Its version; empty where it does not tell.
        delegate: What it hands operators to: ``xnnpack``, ``none``, ``reference``, ``gpu``, ``wasm``, ``webgpu``,
            ``tensorflow``, ``jax``, ``torch``; empty where there is no choice.
        precision: Of the arithmetic: ``as_stored`` (that of the file), ``float32``, ``float16`` or ``bfloat16``.
    """

    name: str
    version: str
    delegate: str
    precision: str = "as_stored"

    @property
    def label(self) -> str:
        """One word for tables: ``ai-edge-litert+xnnpack``, ``keras+jax bfloat16``."""
        named = f"{self.name}+{self.delegate}" if self.delegate else self.name
        return named if self.precision == "as_stored" else f"{named} {self.precision}"


@dataclass(frozen=True)
class ParityRecord:
    """What the network answers for the golden inputs on this target, by this engine.

    Args:
        golden_sha256: Of the input bytes: answers compare only where it is the same.
        scores: The network's own, before the temperature: one row an input, one number a label.
    """

    golden_sha256: str
    scores: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class DataRecord:
    """The photos that accuracy was measured on.

    Args:
        name: The manifest's file name.
        sha256: Of the sorted lines "sha256-of-photo label" of the photos that were answered: the same for the same
            photos and labels, in whatever order and folder they stand.
        split: The split that was asked for.
        detector: Where the face boxes come from: ``manifest``, a detector's name, ``none``, or several joined by ``+``.
        num_photos: Photos answered.
        num_no_face: Photos without a face: left out of the figures.
        num_unreadable: Photos that cannot be read: left out of the figures.
    """

    name: str
    sha256: str
    split: str
    detector: str
    num_photos: int
    num_no_face: int
    num_unreadable: int


@dataclass(frozen=True)
class StageRecord:
    """Raw times of one step on the way from a photo's file to its answer.

    Args:
        name: ``decode`` (read and decode), ``detect``, ``preprocess`` (crop and resize), ``invoke`` (input to scores),
            ``post`` (temperature and threshold), or ``total``.
        latencies_ns: Nanoseconds, one a photo.
        percentiles: p50 and p90.
    """

    name: str
    latencies_ns: tuple[int, ...]
    percentiles: tuple[Percentile, ...]


@dataclass(frozen=True)
class LatencyRecord:
    """One configuration, measured in a process of its own.

    Args:
        num_threads: Threads of the interpreter.
        batch_size: Pictures of one run; latencies are those of the whole run.
        load_time_ns: Reading the file (from the page cache), checking its hashes, building the interpreter.
        first_inference_ns: Writing the input and running the network for the first time.
        warmup_latencies_ns: Raw, of the runs that are in no figure.
        latencies_ns: Raw, nanoseconds, in the order of the runs: writing the input tensor and running the network.
        percentiles: p50, p90, p95 and p99 of ``latencies_ns``.
        mean_ns: Their mean.
        throughput_per_s: Runs a second, one after another: 1e9 / ``mean_ns``.
        peak_memory_bytes: Largest resident memory of the process: Python, edgegender's device side (numpy, OpenCV),
            runtime and model, without the bank of inputs that the harness holds; ``None`` where it does not tell.
        baseline_memory_bytes: Resident memory before the model was read, likewise.
        num_inputs: Distinct inputs that the runs cycle over.
        is_output_equal: Whether each timed run gave the scores of the accuracy run.
        max_output_difference: Largest difference of a score.
        state_before: Of the machine.
        state_after: Of the machine.
        stages: End to end on photo files; empty without photos.
        num_stage_photos: Distinct photos behind ``stages``.
        joules_per_run: Energy of one run; ``None`` where the machine does not tell.
    """

    num_threads: int
    load_time_ns: int
    first_inference_ns: int
    warmup_latencies_ns: tuple[int, ...]
    latencies_ns: tuple[int, ...]
    percentiles: tuple[Percentile, ...]
    mean_ns: float
    throughput_per_s: float
    peak_memory_bytes: int | None
    baseline_memory_bytes: int | None
    num_inputs: int
    is_output_equal: bool
    max_output_difference: float
    state_before: MachineState
    state_after: MachineState
    stages: tuple[StageRecord, ...] = ()
    num_stage_photos: int = 0
    batch_size: int = 1
    joules_per_run: float | None = None

    @property
    def num_runs(self) -> int:
        """Timed runs."""
        return len(self.latencies_ns)

    def percentile(self, percent: int) -> Percentile:
        """Returns one of the recorded percentiles; :class:`KeyError` for another one."""
        return {entry.percent: entry for entry in self.percentiles}[percent]


@dataclass(frozen=True)
class BenchmarkWarning:
    """What a reader must know beside a figure.

    Args:
        kind: One word for programs, such as ``spread``.
        text: One sentence for people.
        num_threads: The configuration that it speaks of; ``None`` for all.
        is_invalidating: Whether the figures must not be used.
    """

    kind: str
    text: str
    num_threads: int | None = None
    is_invalidating: bool = False


@dataclass(frozen=True)
class BenchmarkResult:
    """One model on one target. Everything that a table says can be derived from it.

    Args:
        created: UTC, ISO 8601, to the second.
        target: ``cpu``, ``gpu``, ``ssh``, ``adb`` or ``browser``; no address of a machine.
        command_line: The command and its arguments, files without their folders.
        durations: How long was to be measured.
        versions: Software.
        machine: Hardware and system.
        model: The file.
        data: The photos; ``None`` when accuracy was not measured.
        evaluation: Accuracy, precision, recall, F1 with intervals, on ``data``, by this file, on this target.
        latencies: One entry a number of threads.
        warnings: What to know beside the figures.
        engine: What ran the network.
        parity: Its answers for the golden inputs; ``None`` where they were not asked for.
    """

    created: str
    target: str
    command_line: tuple[str, ...]
    durations: Durations
    versions: Versions
    machine: Machine
    model: ModelRecord
    data: DataRecord | None
    evaluation: Evaluation | None
    latencies: tuple[LatencyRecord, ...]
    warnings: tuple[BenchmarkWarning, ...]
    engine: EngineRecord
    parity: ParityRecord | None = None

    @property
    def is_valid(self) -> bool:
        """Whether no warning invalidates a figure."""
        return not any(warning.is_invalidating for warning in self.warnings)

    def warnings_for(self, num_threads: int) -> tuple[BenchmarkWarning, ...]:
        """Returns the warnings of one configuration and those of all."""
        return tuple(warning for warning in self.warnings if warning.num_threads in (None, num_threads))


def describe_model(file: ModelFile) -> ModelRecord:
    """Returns what is recorded about a verified model file; its folder is not."""
    metadata: ModelMetadata = file.metadata
    return ModelRecord(
        name=metadata.name or file.path.stem,
        file_name=file.path.name,
        sha256=file.sha256,
        size_bytes=len(file.content),
        scheme=metadata.scheme.value,
        architecture=metadata.architecture,
        input_size_px=metadata.preprocessing.input_size_px,
        crop_margin=metadata.preprocessing.crop_margin,
        labels=metadata.labels,
        positive_label=metadata.positive_label,
        threshold=metadata.threshold,
        temperature=metadata.temperature,
    )
