"""How long a cold start takes: importing the device side, and answering one photo with `edgegender predict`.

Run: python benchmarks/startup_time.py -o benchmarks/startup_time.json

Every repetition is a fresh process, measured by its parent's clock; a bare interpreter start is measured beside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import describe_machine
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.files import write_bytes
from edgegender.images import encode_image

IMPORT = "import time; t = time.perf_counter(); import edgegender.runtime; print(time.perf_counter() - t)"


def wall_seconds(command: list[str]) -> float:
    """Returns how long a command took from start to end."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        photo = Path(name) / "face.jpg"
        write_bytes(photo, encode_image(draw_face(draw_attributes("female", rng), size_px=320, rng=rng).image_rgb))
        predict = [sys.executable, "-m", "edgegender", "predict", str(photo)]
        wall_seconds(predict)  # once, so that files stand in the page cache
        values: dict[str, list[float]] = {"python_start": [], "import_runtime": [], "cold_predict": []}
        for _ in range(arguments.repeats):
            values["python_start"].append(wall_seconds([sys.executable, "-c", "pass"]))
            imported = subprocess.run([sys.executable, "-c", IMPORT], check=True, capture_output=True, text=True)
            values["import_runtime"].append(float(imported.stdout))
            values["cold_predict"].append(wall_seconds(predict))
    record = {
        "benchmark": "startup_time",
        "seconds": values,
        "median_seconds": {name: statistics.median(numbers) for name, numbers in values.items()},
        "machine": dataclasses.asdict(describe_machine()),
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print({name: round(value, 3) for name, value in record["median_seconds"].items()})


if __name__ == "__main__":
    main()
