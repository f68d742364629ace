"""How long `edgegender report` takes for the results of 50 devices × 20 models, and how large its page is.

Run: python benchmarks/report_scale.py -o benchmarks/report_scale.json [--devices 50] [--models 20] [--threads 1]

Made-up results, recorded as real ones are: 1,024 to 5,000 raw latencies a configuration, accuracy on 5,130 photos,
answers to 64 golden inputs, warnings. Each format is made by the command itself, in a process of its own, from the
files to the file; the limit is 5 s and, for the page, 2 MB. On a machine that does other things at the same time the
processor time says what the command itself needs. Where the time goes is measured inside of one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import Machine, MachineState, describe_machine, describe_versions
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
)
from edgegender.benchmark.result import compute_result_sha256, parse_result, read_result, write_result
from edgegender.cli.result_rows import table_rows
from edgegender.metrics import evaluate_scores
from edgegender.reporting.result_page import write_result_page

FORMATS = {"markdown": "md", "csv": "csv", "latex": "tex", "html": "html"}
NUM_PHOTOS, NUM_GOLDEN = 5130, 64
STATE = MachineState("performance", 2400.0, 48.0, 0, None, 0.1)


def make_latencies(rng: np.random.Generator, typical_ns: float, num_threads: int) -> LatencyRecord:
    """Returns 1,024 to 5,000 latencies with a skewed tail."""
    num_runs = int(rng.integers(1024, 5001))
    factors = 1 + 0.01 * rng.gamma(2.0, 1.0, num_runs) + 0.2 * (rng.random(num_runs) < 0.01)
    latencies = tuple(int(value) for value in typical_ns / num_threads**0.7 * factors)
    mean_ns = float(np.mean(latencies))
    return LatencyRecord(
        num_threads=num_threads,
        load_time_ns=12_000_000,
        first_inference_ns=int(2 * mean_ns),
        warmup_latencies_ns=latencies[:100],
        latencies_ns=latencies,
        percentiles=compute_percentiles(latencies),
        mean_ns=mean_ns,
        throughput_per_s=1e9 / mean_ns,
        peak_memory_bytes=71_000_000,
        baseline_memory_bytes=60_000_000,
        num_inputs=64,
        is_output_equal=True,
        max_output_difference=0.0,
        state_before=STATE,
        state_after=STATE,
    )


def make_result(device: int, model: int, num_threads: int, rng: np.random.Generator) -> BenchmarkResult:
    """Returns the made-up result of one model on one device."""
    annotated = np.arange(NUM_PHOTOS) % 2
    is_wrong = np.arange(NUM_PHOTOS) < int((0.02 + 0.004 * model) * NUM_PHOTOS)
    positive = np.where((annotated == 1) ^ is_wrong, 0.9, 0.1)
    labels = ("female", "male")
    scores = np.stack([1 - positive, positive], axis=1)
    evaluation = evaluate_scores(scores, annotated, labels=labels, positive_label="male")
    name = f"network-{model:02d}-{96 + 32 * (model % 4)}"
    typical_ns = 5e5 * (1 + model) * (0.3 + device / 25)
    golden = np.random.default_rng(model).random(NUM_GOLDEN)
    latencies = tuple(make_latencies(rng, typical_ns, 2**step) for step in range(num_threads))
    board = f"Board {device:02d} Rev 1.0"
    return BenchmarkResult(
        created=f"2026-05-04T{model:02d}:{device:02d}:00Z",
        target="cpu",
        command_line=("edgegender", "benchmark", f"{name}.tflite", "--data", "faces.csv", "-o", "result.json"),
        durations=Durations(preset="quick"),
        versions=describe_versions(),
        machine=Machine(
            "Cortex-A76", board, "aarch64", 4, 4, 8_453_062_656, "Debian GNU/Linux 13", "6.12", is_virtual_machine=False
        ),
        model=ModelRecord(
            name=name,
            file_name=f"{name}.tflite",
            sha256=f"{model:02x}" * 32,
            size_bytes=300_000 * (1 + model * model),
            scheme="full_integer",
            architecture="mobilenetv2",
            input_size_px=96 + 32 * (model % 4),
            crop_margin=1.3,
            labels=labels,
            positive_label="male",
            threshold=0.5,
            temperature=1.0,
        ),
        data=DataRecord("faces.csv", "cd" * 32, "test", "manifest", NUM_PHOTOS, 0, 0),
        evaluation=evaluation,
        latencies=latencies,
        warnings=(BenchmarkWarning("governor", "the CPU governor is ondemand, not performance"),) if device % 3 else (),
        engine=EngineRecord("ai-edge-litert", "2.3.0", "xnnpack"),
        parity=ParityRecord("ef" * 32, tuple((float(value), float(1 - value)) for value in golden)),
    )


def write_results(folder: Path, devices: int, models: int, num_threads: int) -> list[Path]:
    """Writes the results and returns their files."""
    rng = np.random.default_rng(7)
    files = []
    for device in range(devices):
        for model in range(models):
            path = folder / f"device-{device:02d}-model-{model:02d}.json"
            write_result(path, make_result(device, model, num_threads, rng))
            files.append(path)
    return files


def time_report(files: list[Path], table_format: str, output: Path) -> tuple[float, float]:
    """Returns the seconds of the command, from its start to its end, and those of processor time."""
    command = [sys.executable, "-m", "edgegender", "report", "--format", table_format, "-o", str(output)]
    start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, *map(str, files)], check=True, capture_output=True)
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, done.ru_utime + done.ru_stime - used.ru_utime - used.ru_stime


def time_steps(files: list[Path], page: Path) -> dict[str, float]:
    """Returns the seconds of each step, all results together, within one process."""
    seconds: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> object:
        start = time.perf_counter()
        answer = work()
        seconds[name] = round(time.perf_counter() - start, 3)
        return answer

    documents = [json.loads(path.read_bytes()) for path in files]
    timed("read_and_parse_json", lambda: [json.loads(path.read_bytes()) for path in files])
    timed("check_result_sha256", lambda: [compute_result_sha256(document) for document in documents])
    timed("parse_result_with_sha256", lambda: [parse_result(document, where="x") for document in documents])
    results = [read_result(path) for path in files]
    start = time.perf_counter()
    rows = [row for result, path in zip(results, files, strict=True) for row in table_rows(result, source=path.name)]
    seconds["rows_and_histograms"] = round(time.perf_counter() - start, 3)
    timed("page", lambda: write_result_page(page, rows, title="Accuracy and latency"))
    return seconds


def main() -> None:
    """Measures and records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--devices", type=int, default=50)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1, help="configurations of a result")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    load_average = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_results(folder, options.devices, options.models, options.threads)
        formats = {}
        for table_format, suffix in FORMATS.items():
            output = folder / f"table.{suffix}"
            seconds = [time_report(files, table_format, output) for _ in range(options.repeats)]
            formats[table_format] = {
                "seconds": [round(wall, 2) for wall, _ in seconds],
                "processor_seconds": [round(processor, 2) for _, processor in seconds],
                "median_seconds": round(statistics.median(wall for wall, _ in seconds), 2),
                "bytes": output.stat().st_size,
            }
            print(table_format, formats[table_format])
        record = {
            "created": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": dataclasses.asdict(describe_machine()),
            "versions": dataclasses.asdict(describe_versions()),
            "load_average_before": load_average,
            "num_results": len(files),
            "num_configurations": len(files) * options.threads,
            "results_bytes": sum(path.stat().st_size for path in files),
            "formats": formats,
            "steps_seconds": time_steps(files, folder / "table.html"),
        }
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["steps_seconds"]))


if __name__ == "__main__":
    main()
