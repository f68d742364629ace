"""What the classifier costs beyond the resize and the network, whether it gathers memory, and threads and batches.

Run: python benchmarks/camera/classifier_overhead.py -o benchmarks/camera/classifier_overhead.json

One face in a 640 × 480 picture, MobileNetV2 1.0 at 224 px and 0.35 at 96 px, int8 with random weights, one thread. The
bare way and `Classifier.classify` take turns, so that both meet the same neighbours on the machine; the figure is the
median of the differences over the median of the bare way. Memory: the smaller network over 100,000 frames, Python's
allocations (tracemalloc) and the resident size of the process, after 1,000 frames of warm-up.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.entities import FaceBox
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.interpreter import Interpreter

NETWORKS = (("1.0", "224"), ("0.35", "96"))
PICTURE = np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8)
BOX = FaceBox(220.0, 140.0, 420.0, 340.0)


def build(alpha: str, size_px: str, folder: Path) -> Path:
    """Returns the file of a network, made in a process of its own: TensorFlow must not sit in this one."""
    path = folder / f"{alpha}-{size_px}.tflite"
    command = [sys.executable, str(Path(__file__).parent / "networks.py"), alpha, size_px, str(path)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return path


def measure_overhead(path: Path, num_runs: int) -> dict[str, float | str]:
    """Returns medians, microseconds, of the bare way, of the classifier, and of their difference."""
    classifier = Classifier(path, num_threads=1)
    size_px = classifier.metadata.preprocessing.input_size_px
    side = round(BOX.side_px * classifier.metadata.preprocessing.crop_margin)
    x, y = (round(value - side / 2) for value in BOX.center_xy)
    part = PICTURE[y : y + side, x : x + side]
    interpolation = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    native, tensor = classifier.interpreter._native, np.empty((1, size_px, size_px, 3), np.uint8)
    index = classifier.interpreter._input_index

    def bare() -> None:
        cv2.resize(part, (size_px, size_px), dst=tensor[0], interpolation=interpolation)
        native.set_tensor(index, tensor)
        native.invoke()

    clock = time.perf_counter_ns
    bare_ns, ours_ns = [], []
    for run in range(num_runs + 50):
        started = clock()
        bare()
        between = clock()
        classifier.classify(PICTURE, BOX)
        ended = clock()
        if run >= 50:
            bare_ns.append(between - started)
            ours_ns.append(ended - between)
    bare_us = statistics.median(bare_ns) / 1000
    over_us = statistics.median(ours - other for ours, other in zip(ours_ns, bare_ns, strict=True)) / 1000
    return {
        "network": classifier.metadata.name,
        "num_runs": num_runs,
        "bare_p50_us": round(bare_us, 2),
        "classify_p50_us": round(statistics.median(ours_ns) / 1000, 2),
        "overhead_p50_us": round(over_us, 2),
        "overhead_percent": round(100 * over_us / bare_us, 2),
    }


def resident_bytes() -> int:
    """Returns the resident size of this process."""
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def measure_memory(path: Path, num_frames: int) -> dict[str, int]:
    """Returns how much memory a long run gathers, bytes."""
    classifier = Classifier(path, num_threads=1)
    for _ in range(1000):
        classifier.classify(PICTURE, BOX)
    gc.collect()
    tracemalloc.start()
    resident, traced = resident_bytes(), tracemalloc.get_traced_memory()[0]
    for _ in range(num_frames):
        classifier.classify(PICTURE, BOX)
    gc.collect()
    growth = {
        "num_frames": num_frames,
        "traced_growth_bytes": tracemalloc.get_traced_memory()[0] - traced,
        "resident_growth_bytes": resident_bytes() - resident,
    }
    tracemalloc.stop()
    return growth


def measure_threads(path: Path) -> list[dict[str, float]]:
    """Returns the milliseconds a face takes, wall clock and processor time, by threads and faces in a batch."""
    content, rows = Classifier(path, num_threads=1).file.content, []
    networks = {
        (threads, batch): Interpreter(content, num_threads=threads, batch_size=batch)
        for threads in (1, 2)
        for batch in (1, 2, 3, 4)
    }
    times: dict[tuple[int, int], list[tuple[float, float]]] = {key: [] for key in networks}
    for _ in range(200):
        for key, network in networks.items():
            wall, spent = time.perf_counter(), time.process_time()
            network.invoke()
            times[key].append((time.perf_counter() - wall, time.process_time() - spent))
    for (threads, batch), values in times.items():
        wall_ms, cpu_ms = (1000 * statistics.median(column) / batch for column in zip(*values, strict=True))
        rows.append(
            {"threads": threads, "batch": batch, "p50_ms_a_face": round(wall_ms, 4), "cpu_ms_a_face": round(cpu_ms, 4)}
        )
    return rows


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=3000)
    parser.add_argument("--frames", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        paths = [build(*network, Path(name)) for network in NETWORKS]
        record = {
            "what": "Classifier.classify against the bare resize and invoke, memory, threads and batches",
            "machine": asdict(describe_machine()),
            "versions": asdict(describe_versions()),
            "overhead": [measure_overhead(path, arguments.runs) for path in paths],
            "memory": measure_memory(paths[-1], arguments.frames),
            "threads": {path.stem: measure_threads(path) for path in paths},
        }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
