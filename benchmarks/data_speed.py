"""How much of a bare loop's speed `data index` and `data crop` keep, and what memory indexing takes.

Run: python benchmarks/data_speed.py -o benchmarks/data_speed.json [--yunet yunet_n_640_640.onnx]

Drawn photos. Each of our steps is measured beside a bare loop that does the same to the same files with the same
number of processes and nothing else: for `index`, reading and hashing (sha256, and with the perceptual hash decoding
and hashing what is shown); for `crop`, reading and finding faces. The two take turns; the ratio is that of the medians.
Memory: peak of the process that indexes, for a folder and for one of ten times as many files (hard links).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image

from edgegender.benchmark.machine import describe_machine
from edgegender.data.crop import crop_faces
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.index import index_folder
from edgegender.data.manifest import Manifest
from edgegender.data.workers import map_in_processes
from edgegender.images import encode_image
from edgegender.memory import memory_bytes
from edgegender.runtime.detector import create_detector

LABELS = ("female", "male")


def draw(job: tuple[str, int, int]) -> None:
    """Draws the face of a number into a file."""
    file, number, size_px = job
    rng = np.random.default_rng([5, number])
    face = draw_face(draw_attributes(LABELS[number % 2], rng), size_px=size_px, rng=rng)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_bytes(encode_image(face.image_rgb))


def bare_hash(file: str, *, with_phash: bool) -> str:
    """Reads and hashes one file."""
    with open(file, "rb") as stream:  # noqa: PTH123 - the bare loop is as bare as can be
        content = stream.read()
    digest = hashlib.sha256(content).hexdigest()
    if not with_phash:
        return digest
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return digest + str(imagehash.phash(Image.fromarray(image), hash_size=16))


_detector = None


def bare_start(make_detector: Callable[[], object], *, is_alone: bool) -> None:
    """Makes a bare process's detector."""
    global _detector  # noqa: PLW0603 - one a process
    if not is_alone:
        cv2.setNumThreads(1)
    _detector = make_detector()


def bare_detect(file: str) -> int:
    """Reads one photo and finds its faces."""
    image = cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB)
    return len(_detector.detect(image))  # type: ignore[union-attr]


def bare_loop(function: Callable[[str], object], files: list[str], workers: int, start: Callable[[], None]) -> None:
    """Applies a function to all files, in one process or in a plain pool."""
    if workers == 1:
        start()
        for file in files:
            function(file)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), start) as pool:
        for _ in pool.map(function, files, chunksize=16):
            pass


def nothing() -> None:
    """Starts a process that needs no start."""


def seconds(work: Callable[[], object]) -> float:
    """Returns how long a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def side_by_side(
    ours: Callable[[], object], bare: Callable[[], object], repeats: int, num_photos: int
) -> dict[str, object]:
    """Measures both by turns, which of them is first by turns, too, and returns all seconds and the ratio of speeds."""
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(repeats):
        pair = [("ours", ours), ("bare", bare)]
        for name, work in pair if turn % 2 else reversed(pair):
            times[name].append(seconds(work))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "seconds": times,
        "photos_per_second": {name: num_photos / value for name, value in medians.items()},
        "speed_ratio": medians["bare"] / medians["ours"],
    }


def measure_index(folder: Path, files: list[str], workers: int, *, with_phash: bool, repeats: int) -> dict[str, object]:
    """Measures indexing beside the bare loop."""

    def ours() -> None:
        journal = folder.parent / ".journal"
        index_folder(folder, output_folder=folder.parent, with_phash=with_phash, workers=workers, journal_path=journal)
        journal.unlink()

    bare = functools.partial(bare_hash, with_phash=with_phash)
    return side_by_side(ours, lambda: bare_loop(bare, files, workers, nothing), repeats, len(files))


def measure_crop(
    manifest: Manifest, make_detector: Callable[[], object], workers: int, *, repeats: int
) -> dict[str, object]:
    """Measures cropping beside the bare loop."""
    files = [str(manifest.folder / path) for path in manifest.column("path")]

    def ours() -> None:
        with tempfile.TemporaryDirectory(dir=manifest.folder.parent) as name:
            crop_faces(
                manifest,
                Path(name),
                make_detector=make_detector,  # type: ignore[arg-type]
                workers=workers,
                journal_path=Path(name) / ".journal",
            )

    start = functools.partial(bare_start, make_detector, is_alone=workers == 1)
    return side_by_side(ours, lambda: bare_loop(bare_detect, files, workers, start), repeats, len(files))


def index_memory(folder: Path) -> int:
    """Returns the peak memory of a process that indexes a folder, bytes."""
    command = [sys.executable, __file__, "--measure-memory", str(folder), "-o", "unused"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--crop-photos", type=int, default=1000)
    parser.add_argument("--size", type=int, default=250, help="Side of the drawings, pixels.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--yunet", type=Path, help="Measure cropping with YuNet, too.")
    parser.add_argument("--measure-memory", type=Path, help="For the script's own processes.")
    arguments = parser.parse_args()
    if arguments.measure_memory:
        index_folder(arguments.measure_memory, output_folder=arguments.measure_memory.parent)
        print(memory_bytes("VmHWM"))
        return
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        files = [str(folder / LABELS[number % 2] / f"{number:06d}.jpg") for number in range(arguments.photos)]
        jobs = [(file, number, arguments.size) for number, file in enumerate(files)]
        for _ in map_in_processes(draw, jobs, workers=cores, chunk_items=20):
            pass
        record: dict[str, object] = {"benchmark": "data_speed", "photos": arguments.photos, "size_px": arguments.size}
        for workers in sorted({1, cores}):
            for with_phash in (True, False):
                key = f"index, {'sha256 and phash' if with_phash else 'sha256'}, {workers} processes"
                record[key] = measure_index(folder, files, workers, with_phash=with_phash, repeats=arguments.repeats)
                print(key, record[key], flush=True)
        manifest = index_folder(folder, output_folder=folder, with_phash=False).manifest
        manifest = manifest.take(range(arguments.crop_photos))
        for detector in ("cascade", "yunet") if arguments.yunet else ("cascade",):
            make = functools.partial(create_detector, detector, arguments.yunet if detector == "yunet" else None)
            for workers in sorted({1, cores}):
                key = f"crop, {detector}, {workers} processes"
                record[key] = measure_crop(manifest, make, workers, repeats=arguments.repeats)
                print(key, record[key], flush=True)
        many = Path(name) / "many"
        for number, file in enumerate(files):
            for copy in range(10):
                target = many / LABELS[number % 2] / f"{number:06d}-{copy}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(file)
        record["index_peak_memory_bytes"] = {
            str(arguments.photos): index_memory(folder),
            str(10 * arguments.photos): index_memory(many),
        }
        print(record["index_peak_memory_bytes"])
    record["machine"] = dataclasses.asdict(describe_machine())
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
