"""A complete benchmark result that nobody had to measure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgegender.benchmark.machine import Machine, MachineState, Versions
from edgegender.benchmark.percentiles import compute_percentiles
from edgegender.benchmark.records import (
    BenchmarkResult,
    BenchmarkWarning,
    DataRecord,
    Durations,
    EngineRecord,
    LatencyRecord,
    ModelRecord,
    ParityRecord,
    StageRecord,
)
from edgegender.metrics import evaluate_scores

CALM = MachineState(
    governor="performance",
    frequency_mhz=2400.0,
    temperature_c=48.3,
    throttled_flags=0,
    throttle_count=None,
    load_average=0.4,
)
PI = Machine(
    cpu_model="Cortex-A76",
    board="Raspberry Pi 5 Model B Rev 1.0",
    architecture="aarch64",
    num_cores=4,
    num_available_cores=4,
    memory_bytes=8_453_062_656,
    operating_system="Debian GNU/Linux 12 (bookworm)",
    kernel="6.6.31+rpt-rpi-2712",
    is_virtual_machine=False,
)
VERSIONS = Versions("0.1.0", "3.11.2", "ai-edge-litert", "2.3.0", "4.14.0.94", "2.4.6")
ENGINE = EngineRecord("ai-edge-litert", "2.3.0", "xnnpack")
MODEL = ModelRecord(
    name="edge",
    file_name="edge.tflite",
    sha256="ab" * 32,
    size_bytes=2_712_345,
    scheme="full_integer",
    architecture="mobilenetv2",
    input_size_px=96,
    crop_margin=1.3,
    labels=("female", "male"),
    positive_label="male",
    threshold=0.5,
    temperature=1.2,
)
DATA = DataRecord("faces.csv", "cd" * 32, "test", "manifest", 400, 0, 0)


def latency_record(*, num_threads: int = 1, around_ns: int = 9_000_000, num_runs: int = 500) -> LatencyRecord:
    """Returns a calm measurement: latencies within two percent of ``around_ns``."""
    noise = np.random.default_rng(num_threads).uniform(0.99, 1.01, num_runs)
    latencies = tuple(int(around_ns * factor) for factor in noise)
    stages = tuple(
        StageRecord(name, latencies[:64], compute_percentiles(latencies[:64], (50, 90))) for name in ("decode", "total")
    )
    mean_ns = float(np.mean(latencies))
    return LatencyRecord(
        num_threads=num_threads,
        load_time_ns=12_000_000,
        first_inference_ns=15_000_000,
        warmup_latencies_ns=latencies[:20],
        latencies_ns=latencies,
        percentiles=compute_percentiles(latencies),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=71_000_000,
        baseline_memory_bytes=60_000_000,
        num_inputs=64,
        is_output_equal=True,
        max_output_difference=0.0,
        state_before=CALM,
        state_after=replace(CALM, temperature_c=55.0),
        stages=stages,
        num_stage_photos=64,
    )


def example_result() -> BenchmarkResult:
    """Returns a result with accuracy 97.5 % on 400 photos and one and four threads."""
    annotated = np.arange(400) % 2
    right = np.where(annotated == 1, 0.9, 0.1)
    positive = np.where(np.arange(400) < 10, 1 - right, right)
    evaluation = evaluate_scores(
        np.stack([1 - positive, positive], axis=1), annotated, labels=MODEL.labels, positive_label="male"
    )
    return BenchmarkResult(
        created="2026-05-04T10:11:12Z",
        target="cpu",
        command_line=("edgegender", "benchmark", "edge.tflite", "--data", "faces.csv"),
        durations=Durations(),
        versions=VERSIONS,
        machine=PI,
        model=MODEL,
        data=DATA,
        evaluation=evaluation,
        latencies=(latency_record(), latency_record(num_threads=4, around_ns=4_000_000)),
        warnings=(BenchmarkWarning("spread", "p99 is 1.60 times p50", 4),),
        engine=ENGINE,
        parity=ParityRecord("ef" * 32, ((0.25, 0.75), (0.9, 0.1))),
    )


def without_accuracy() -> BenchmarkResult:
    """Returns a result of a run without photos."""
    return replace(example_result(), data=None, evaluation=None, created="2026-05-04T11:00:00Z")
