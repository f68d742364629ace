"""What the harness adds to a network's latency, and what it takes of the processor while it waits.

Run: python benchmarks/harness_overhead.py -o benchmarks/harness_overhead.json

The same file in three loops, one thread each: a bare one (write the input, invoke), the harness's own, and that of
LiteRT's ``litert-benchmark`` (its CompiledModel, with one input that was written before). They take turns in one
process, a few runs each and in another order each time, so that other programs on the machine hit all alike; the figure
is the median of the ratios of neighbouring blocks' medians with its 95 % interval, beside the quantiles of all runs.
Then the tool itself, as a process of its own, beside a measuring process of the harness: the lowest of several p50 and
p5 of each, for other programs only ever make a round slower; on a busy machine those say little. MobileNetV2 0.35 at 96
px and 1.0 at 288 px, int8 with random weights. Last, two measurements of the same file as ``--quick`` makes them:
medians, warnings, and the time of the processor that the parent took meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.options import CpuOptions, Options

from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.judge import MAX_DRIFT, judge_latency, judge_repeats
from edgegender.benchmark.machine import describe_machine, describe_versions, read_state
from edgegender.benchmark.measure import SpeedInputs, measure_latency, measure_repeatedly
from edgegender.benchmark.percentiles import interval_ranks
from edgegender.benchmark.presets import QUICK
from edgegender.benchmark.records import Durations
from edgegender.benchmark.worker import time_runs
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.model_file import read_model

NETWORKS = (("0.35", "96"), ("1.0", "288"))
NUM_INPUTS = 64
BLOCK_SECONDS = 0.005  # so short that the loops of a turn meet the same neighbours; two runs at least
PERCENTS = (1, 5, 25, 50)
ROUND = Durations(min_seconds=1.0, min_runs=50, max_seconds=20.0, warmup_seconds=0.2, warmup_runs=10, preset="")
TOOL = """
import sys
import ai_edge_litert.tools.benchmark_litert_model as tool
tool.round = lambda value, digits: value
sys.exit(tool.main())
"""


def build(alpha: str, size_px: str, folder: Path) -> Path:
    """Returns the file of a network, made in a process of its own: TensorFlow must not sit in this one."""
    path = folder / f"{alpha}-{size_px}.tflite"
    script = Path(__file__).parent / "camera" / "networks.py"
    subprocess.run([sys.executable, str(script), alpha, size_px, str(path)], check=True, stderr=subprocess.DEVNULL)
    return path


def make_inputs(path: Path) -> SpeedInputs:
    """Returns noise and the network's answers for it."""
    classifier = Classifier(path, num_threads=1)
    size_px = classifier.metadata.preprocessing.input_size_px
    images = np.random.default_rng(0).integers(0, 256, (NUM_INPUTS, size_px, size_px, 3), np.uint8)
    return SpeedInputs(
        np.stack([classifier.interpreter.to_tensor(image) for image in images]),
        np.stack([classifier.forward(image) for image in images]),
    )


def make_loops(path: Path, inputs: SpeedInputs) -> dict[str, Callable[[int], list[int]]]:
    """Returns the three loops by name: each takes where to begin among the inputs and returns raw nanoseconds."""
    clock, engine = time.perf_counter_ns, create_engine("litert", path, num_threads=1)
    native = Interpreter(model_path=str(path), num_threads=1)
    native.allocate_tensors()
    index = native.get_input_details()[0]["index"]
    options = Options(cpu_options=CpuOptions(num_threads=1))
    compiled = CompiledModel.from_file(str(path), options=options)
    signature = next(iter(compiled.get_signature_list()))
    names = [compiled.get_input_tensor_details(signature), compiled.get_output_tensor_details(signature)]
    ins = {name: compiled.create_input_buffer_by_name(signature, name) for name in names[0]}
    outs = {name: compiled.create_output_buffer_by_name(signature, name) for name in names[1]}
    (buffer,) = ins.values()
    buffer.write(inputs.tensors[0])
    tensors, expected = list(inputs.tensors), inputs.scores[:, np.newaxis]
    begun = clock()
    engine.run(tensors[0])
    block_runs = max(2, round(BLOCK_SECONDS * 1e9 / (clock() - begun)))

    def bare(start: int) -> list[int]:
        taken, tensor = [], tensors[start]
        for _ in range(block_runs):
            begin = clock()
            native.set_tensor(index, tensor)
            native.invoke()
            taken.append(clock() - begin)
        return taken

    def harness(start: int) -> list[int]:
        turned = tensors[start:] + tensors[:start], np.roll(expected, -start, axis=0)
        return list(time_runs(engine, *turned, min_seconds=0, min_runs=block_runs, max_seconds=100)[0])

    def tool(_: int) -> list[int]:
        taken = []
        for _ in range(block_runs):
            begin = clock()
            compiled.run_by_name(signature, ins, outs)
            taken.append(clock() - begin)
        return taken

    return {"bare": bare, "harness": harness, "litert_benchmark": tool}


def take_turns(path: Path, seconds: float) -> dict[str, object]:
    """Returns how the harness's loop compares with the other two when they take turns."""
    inputs = make_inputs(path)
    loops = make_loops(path, inputs)
    runs: dict[str, list[int]] = {name: [] for name in loops}
    medians: dict[str, list[float]] = {name: [] for name in loops}
    names, number, end = list(loops), 0, time.monotonic() + seconds
    while time.monotonic() < end or number < NUM_INPUTS:
        for name in names[number % 3 :] + names[: number % 3]:
            taken = loops[name](number % NUM_INPUTS)
            if number:  # the first block warms up
                runs[name] += taken
                medians[name].append(statistics.median(taken))
        number += 1
    against: dict[str, object] = {}
    for name in ("bare", "litert_benchmark"):
        ratios = np.sort(np.array(medians["harness"]) / np.array(medians[name]))
        ranks = interval_ranks(len(ratios), 0.5)
        ends = [round(100 * (float(ratios[rank - 1]) - 1), 2) for rank in ranks if rank is not None]
        against[f"above_{name}_percent"] = {
            "median": round(100 * (float(np.median(ratios)) - 1), 2),
            "95_percent_interval": ends,
        }
    quantiles = {
        name: {f"p{percent}_us": round(float(np.percentile(taken, percent)) / 1000, 1) for percent in PERCENTS}
        for name, taken in runs.items()
    }
    return {"network": read_model(path).metadata.name, "num_blocks": number - 1, **against, "quantiles": quantiles}


def run_tool(path: Path, num_runs: int) -> dict[str, float]:
    """Returns p50 and p5 of LiteRT's own tool, microseconds; its rounding to 0.01 ms is switched off."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        options = ["--num_threads", "1", "--num_runs", str(num_runs), "--warmup_runs", "30"]
        command = [sys.executable, "-c", TOOL, "--model", str(path), *options, "--result_json", str(result)]
        subprocess.run(command, check=True, capture_output=True)
        latency = json.loads(result.read_text())["latency"]
        return {"p50_us": 1000 * latency["median_ms"], "p5_us": 1000 * latency["p5_ms"]}


def run_harness(path: Path, inputs: SpeedInputs) -> dict[str, float]:
    """Returns p50 and p5 of one measuring process, microseconds."""
    latencies = measure_latency(read_model(path), inputs, num_threads=1, durations=ROUND).latencies_ns
    return {f"p{percent}_us": float(np.percentile(latencies, percent)) / 1000 for percent in (50, 5)}


def compare_processes(path: Path, rounds: int) -> dict[str, object]:
    """Returns the lowest figures of both tools, each as a process of its own, by turns."""
    inputs = make_inputs(path)
    ours, theirs = [run_harness(path, inputs)], []
    num_runs = max(50, round(1e6 * ROUND.min_seconds / ours[0]["p50_us"]))
    for _ in range(rounds):
        theirs.append(run_tool(path, num_runs))
        ours.append(run_harness(path, inputs))
    return {
        "network": read_model(path).metadata.name,
        "rounds": rounds,
        **{
            f"lowest_{key}": {
                "harness": round(min(entry[key] for entry in ours), 1),
                "litert_benchmark": round(min(entry[key] for entry in theirs), 1),
            }
            for key in ("p50_us", "p5_us")
        },
    }


def measure_twice(path: Path) -> dict[str, object]:
    """Returns two measurements as ``--quick`` makes them, and the parent's share of the processor's time."""
    file, inputs = read_model(path), make_inputs(path)
    machine, medians, kinds, shares = describe_machine(), [], [], []
    for _ in range(2):
        cpu, wall = time.process_time(), time.perf_counter()
        measured = measure_repeatedly(file, inputs, num_threads=1, durations=QUICK)
        shares.append(100 * (time.process_time() - cpu) / (time.perf_counter() - wall))
        medians.append(measured.record.percentile(50).value_ns / 1000)
        warnings = judge_latency(measured.record, machine, QUICK)
        warnings += judge_repeats(measured.parts, measured.conditions, machine)
        kinds.append([f"{warning.kind}: {warning.text}" for warning in warnings])
    gap = max(medians) / min(medians) - 1
    return {
        "network": file.metadata.name,
        "p50_us": medians,
        "apart_percent": round(100 * gap, 2),
        "is_within_3_percent_or_warned": gap <= MAX_DRIFT or any(kinds),
        "warnings": kinds,
        "parent_cpu_percent": [round(share, 3) for share in shares],
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the loops that take turns")
    parser.add_argument("--rounds", type=int, default=8, help="of the processes")
    parser.add_argument("--networks", type=Path, nargs="*", help="files to measure instead of building them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgegender-") as folder:
        paths = options.networks or [build(alpha, size_px, Path(folder)) for alpha, size_px in NETWORKS]
        before = read_state()
        record = {
            "what": " ".join(str(__doc__).split("\n\n")[2].split()),
            "machine": asdict(describe_machine()),
            "versions": asdict(describe_versions()),
            "state_before": asdict(before),
            "by_turns": [take_turns(path, options.seconds) for path in paths],
            "as_processes": [compare_processes(path, options.rounds) for path in paths],
            "two_quick_measurements": [measure_twice(path) for path in paths],
            "state_after": asdict(read_state()),
        }
    options.output.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for part in ("by_turns", "as_processes", "two_quick_measurements"):
        print(json.dumps(record[part], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
