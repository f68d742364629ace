"""Kills `edgegender train` at random steps, resumes it each time, and compares it with a run that nobody killed.

Run: python benchmarks/kill_and_resume.py -o benchmarks/kill_and_resume.json [--kills 10]

Drawn faces, TensorFlow on the CPU in deterministic mode. A checkpoint is written every second; SIGKILL comes at a
random moment after the first checkpoint of each process, so that all that a process did since its last checkpoint is
lost. At the end the last weights, the optimizer's state, the kept weights and the history of both runs must be the same
to the bit; a second run that nobody killed shows that the same seed gives the same history.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import describe_machine
from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import write_manifest
from edgegender.data.split import assign_splits
from edgegender.training.run_folder import describe_environment, load_model, load_run

NETWORKS = {
    "mobilenetv2 0.35 @ 64, edge": (
        "edge", "alpha=0.35", "input_size_px=64", "start_weights=none", "batch_size=16", "weight_averaging=0.99",
        "epochs=20",
    ),
    "cnn @ 96, tareq2025-cnn": ("tareq2025-cnn", "input_size_px=96", "epochs=20", "batch_size=8"),
}  # fmt: skip
TIMES = ("seconds", "images_per_second")


def command(name: str, data: Path, folder: Path) -> list[str]:
    """Returns the command that trains one of the networks."""
    recipe, *overrides = NETWORKS[name]
    settings = [word for override in overrides for word in ("--set", override)]
    return ["--recipe", recipe, *settings, "--data", str(data), "-o", str(folder)]


def start(words: list[str]) -> subprocess.Popen[bytes]:
    """Starts a training."""
    words = [sys.executable, "-m", "edgegender", "train", *words, "--backend", "tensorflow", "--deterministic"]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def stamp(path: Path) -> int:
    """Returns when a file was written last; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def progress_of(folder: Path) -> tuple[int, int]:
    """Returns (epoch, step) of the last checkpoint."""
    with np.load(folder / "checkpoint.npz") as stored:
        progress = json.loads(stored["progress"].tobytes())
    return progress["epoch"], progress["step"]


def kill_once(words: list[str], folder: Path, delay_s: float) -> dict[str, object] | None:
    """Starts a training and kills it some time after its first checkpoint; nothing when it had ended before."""
    process = start([*words, "--checkpoint-every", "1"])
    before = stamp(folder / "checkpoint.npz")
    while process.poll() is None and stamp(folder / "checkpoint.npz") == before:
        time.sleep(0.01)
    time.sleep(delay_s)
    if process.poll() is not None:
        return None
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    epoch, step = progress_of(folder)
    return {"delay_s": round(delay_s, 3), "checkpoint_epoch": epoch, "checkpoint_step": step}


def history(folder: Path) -> list[dict[str, str]]:
    """Returns the history without its times."""
    with (folder / "history.csv").open(newline="") as stream:
        return [{key: cell for key, cell in row.items() if key not in TIMES} for row in csv.DictReader(stream)]


def is_same(first: Path, second: Path) -> dict[str, bool]:
    """Returns what of two runs is the same to the bit."""
    with np.load(first / "checkpoint.npz") as left, np.load(second / "checkpoint.npz") as right:
        names = [name for name in left.files if name != "progress"]
        is_state_same = left.files == right.files and all(
            left[name].tobytes() == right[name].tobytes() for name in names
        )
    weights = [load_model(load_run(folder)).get_weights() for folder in (first, second)]
    return {
        "last_weights_and_optimizer": is_state_same,
        "kept_weights": all(a.tobytes() == b.tobytes() for a, b in zip(*weights, strict=True)),
        "history": history(first) == history(second),
    }


def measure(name: str, data: Path, base: Path, kills: int) -> dict[str, object]:
    """Returns how one network's runs compare."""
    rng = np.random.default_rng(11)
    for folder in ("whole", "again"):
        if start(command(name, data, base / folder)).wait() != 0:
            sys.exit(f"error: the run {folder} of {name} failed")
    # so that the kills are spread over the run, and it seldom ends before the last of them
    longest_s = 1.3 / kills * sum(record.seconds for record in load_run(base / "again").history)
    killed: list[dict[str, object]] = []
    words = command(name, data, base / "killed")
    while len(killed) < kills:
        found = kill_once(words, base / "killed", rng.uniform(0, longest_s))
        if found is None:
            sys.exit(f"error: {name} ended after {len(killed)} kills: give it more epochs")
        killed.append(found)
        print(f"{name}: kill {len(killed)}, last checkpoint {found}", flush=True)
        words = ["--resume", str(base / "killed")]
    if start(words).wait() != 0:
        sys.exit(f"error: the last resume of {name} failed")
    return {
        "network": name,
        "kills": killed,
        "killed_against_whole": is_same(base / "killed", base / "whole"),
        "same_seed_twice": is_same(base / "again", base / "whole"),
        "epochs": len(history(base / "whole")),
    }


def main() -> None:
    """Parses the command line, measures and records."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--faces", type=int, default=900)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        rows = write_drawn_faces(base / "faces", num_faces=arguments.faces, seed=3, size_px=96)
        manifest = assign_splits(Manifest.from_rows(base / "faces", rows), ratios=(70, 10, 20), seed=0)
        write_manifest(base / "faces" / "faces.csv", manifest)
        results = []
        for number, network in enumerate(NETWORKS):
            (base / str(number)).mkdir()
            results.append(measure(network, base / "faces" / "faces.csv", base / str(number), arguments.kills))
    record = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": dataclasses.asdict(describe_machine()),
        "versions": describe_environment(),
        "results": results,
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    is_all_same = all(
        all(result[key].values()) for result in results for key in ("killed_against_whole", "same_seed_twice")
    )
    print("all the same to the bit" if is_all_same else "NOT the same")
    sys.exit(not is_all_same)


if __name__ == "__main__":
    main()
