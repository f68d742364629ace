"""How long `convert --int8` takes for MobileNetV2 1.0 at 128 px with 500 representative photos, and its peak memory.

Run: python benchmarks/convert_time.py -o benchmarks/convert_time.json

The photos are drawn and the network has seen one epoch of them: neither changes how much work the converter has. Each
repetition is a process of its own, so that peak memory is its own too. Times: TensorFlow's import apart, then from
Keras to the float file, then from there to int8 (ranges, quantizer, bias correction), then the whole command (float
evaluation, int8 evaluation, gate and writing included).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgegender.benchmark.machine import describe_machine
from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.data.split import assign_splits
from edgegender.training.loop import train
from edgegender.training.recipes import load_recipe

INPUT_SIZE_PX = 128
NUM_REPRESENTATIVE = 500


def prepare(folder: Path, num_faces: int) -> None:
    """Makes photos with splits, and a run of one epoch from random weights."""
    rows = write_drawn_faces(folder, num_faces=num_faces, seed=5)
    write_manifest(folder / "faces.csv", assign_splits(Manifest.from_rows(folder, rows), ratios=(70, 10, 20), seed=0))
    recipe = load_recipe("edge", [f"input_size_px={INPUT_SIZE_PX}", "start_weights=none", "epochs=1"])
    train(read_manifest(folder / "faces.csv"), recipe, folder / "run")


def measure(folder: Path) -> dict[str, float]:
    """Returns seconds and bytes of one conversion in a fresh process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import tensorflow, keras"], check=True, stderr=subprocess.DEVNULL)
    import_seconds = time.perf_counter() - started
    options = ["--data", "faces.csv", "--int8", "--representative", str(NUM_REPRESENTATIVE)]
    options += ["--max-drop", "100", "--max-flips", "100", "--max-group-drop", "100"]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "edgegender", "convert", "run", *options, "--json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,  # the gate may refuse a hardly trained network; its times still count
    )
    whole = time.perf_counter() - started
    if not done.stdout:
        raise SystemExit(done.stderr)
    summary = json.loads(done.stdout)
    return {
        "import_seconds": import_seconds,
        "conversion_seconds": summary["conversion_seconds"],
        "quantization_seconds": summary["quantization_seconds"],
        "whole_command_seconds": whole,
        "peak_memory_bytes": summary["peak_memory_bytes"],
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--faces", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), arguments.faces)
        runs = [measure(Path(name)) for _ in range(arguments.repeats)]
    record = {
        "benchmark": "convert_time",
        "input_size_px": INPUT_SIZE_PX,
        "num_representative": NUM_REPRESENTATIVE,
        "num_faces": arguments.faces,
        "runs": runs,
        "machine": dataclasses.asdict(describe_machine()),
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    for run in runs:
        print({key: round(value, 2) for key, value in run.items()})


if __name__ == "__main__":
    main()
