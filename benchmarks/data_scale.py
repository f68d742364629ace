"""A million rows: loading, filtering and splitting a manifest, and searching a million hashes for near duplicates.

Run: python benchmarks/data_scale.py -o benchmarks/data_scale.json

Manifest and hashes are made up. The manifest has 12 columns, 250,000 people, ages, face boxes and 2 % excluded rows;
the split keeps people together and stratifies by label and age. Two sets of hashes are searched: independent bits, and
bits that are correlated as those of drawn faces are, which fills an index unevenly. In each, 10,000 near copies (0 to
24 bits changed) are planted and must be found. Each measurement is a process of its own, so that its peak memory is,
too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgegender.benchmark.machine import describe_machine
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.data.near_duplicates import find_near_pairs
from edgegender.data.perceptual_hash import HASH_BITS, hash_picture, pack_hashes
from edgegender.data.split import split_groups
from edgegender.memory import memory_bytes

SEED = 3
NUM_DRAWN = 600
CHUNK = 50_000


def make_manifest(folder: Path, num_rows: int) -> None:
    """Writes the same made-up manifest as CSV and as Parquet."""
    rng = np.random.default_rng(SEED)
    digests = rng.integers(0, 256, (num_rows, 64), dtype=np.uint8)
    sides = rng.integers(90, 600, (num_rows, 2)).tolist()
    boxes = (rng.random((num_rows, 2)) * 50).tolist()
    columns = {
        "path": [f"faces/{number // 1000:04d}/photo_{number:07d}.jpg" for number in range(num_rows)],
        "label": np.where(rng.random(num_rows) < 0.4, "female", "male").tolist(),
        "split": [""] * num_rows,
        "source": [f"source-{number}" for number in rng.integers(0, 5, num_rows).tolist()],
        "age": [str(age) for age in rng.integers(0, 91, num_rows).tolist()],
        "person": [f"person-{number:06d}" for number in rng.integers(0, num_rows // 4, num_rows).tolist()],
        "width": [str(width) for width, _ in sides],
        "height": [str(height) for _, height in sides],
        "sha256": [row[:32].tobytes().hex() for row in digests],
        "phash": [row[32:].tobytes().hex() for row in digests],
        "face_box": [f"{x:.1f} {y:.1f} {x + 80:.1f} {y + 80:.1f}" for x, y in boxes],
        "exclude": np.where(rng.random(num_rows) < 0.02, "exact_duplicate", "").tolist(),
    }
    manifest = Manifest(folder, columns)
    write_manifest(folder / "faces.csv", manifest)
    write_manifest(folder / "faces.parquet", manifest)


def random_bits(rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Returns a maker of independent bits."""
    return lambda count: rng.random((count, HASH_BITS)) < 0.5


def face_like_bits(rng: np.random.Generator) -> Callable[[int], np.ndarray]:
    """Returns a maker of bits with the marginals and correlations of drawn faces' hashes (a Gaussian copula)."""
    faces = [
        draw_face(draw_attributes(("female", "male")[number % 2], rng), size_px=160, rng=rng).image_rgb
        for number in range(NUM_DRAWN)
    ]
    packed = pack_hashes([hash_picture(face) for face in faces])
    bits = np.unpackbits(packed.view(np.uint8).reshape(len(faces), -1), axis=1).astype(np.float64)
    covariance = np.corrcoef(bits + rng.normal(0, 1e-6, bits.shape), rowvar=False) + 0.05 * np.eye(HASH_BITS)
    root = np.linalg.cholesky(covariance)
    spread = np.sqrt(np.diag(covariance))
    thresholds = np.quantile(rng.normal(size=100_000), 1 - bits.mean(axis=0).clip(0.01, 0.99)) * spread
    return lambda count: rng.normal(size=(count, HASH_BITS)) @ root.T > thresholds


def make_hashes(file: Path, num_hashes: int, *, is_face_like: bool) -> None:
    """Writes hashes and the planted pairs."""
    rng = np.random.default_rng(SEED)
    make = face_like_bits(rng) if is_face_like else random_bits(rng)
    chunks = [np.packbits(make(min(CHUNK, num_hashes - start)), axis=1) for start in range(0, num_hashes, CHUNK)]
    hashes = np.concatenate(chunks)
    count, half = num_hashes // 100, num_hashes // 2
    first = rng.choice(half, count, replace=False)
    second = half + rng.choice(num_hashes - half, count, replace=False)
    bits = np.unpackbits(hashes[first], axis=1)
    for row, changed in zip(bits, rng.integers(0, 25, count).tolist(), strict=True):
        row[rng.choice(HASH_BITS, changed, replace=False)] ^= 1
    hashes[second] = np.packbits(bits, axis=1)
    np.savez(file, hashes=hashes, first=first, second=second)


def measure_manifest(file: Path) -> dict[str, float]:
    """Loads, filters and splits; returns seconds and bytes."""
    started = time.perf_counter()
    manifest = read_manifest(file)
    loaded = time.perf_counter()
    kept = manifest.select()
    filtered = time.perf_counter()
    done, report = split_groups(kept, group_by=["person"], ratios=(70, 10, 20), stratify=["label", "age"])
    ended = time.perf_counter()
    sides: dict[str, set[str]] = {}
    for person, split in zip(done.column("person"), done.column("split"), strict=True):
        sides.setdefault(person, set()).add(split)
    return {
        "load_seconds": loaded - started,
        "filter_seconds": filtered - loaded,
        "split_seconds": ended - filtered,
        "total_seconds": ended - started,
        "peak_memory_bytes": memory_bytes("VmHWM"),
        "num_photos": sum(report.num_photos.values()),
        "people_on_two_sides": sum(len(found) > 1 for found in sides.values()),
        "worst_difference": report.worst_difference,
    }


def measure_search(file: Path) -> dict[str, float]:
    """Searches the hashes; returns seconds, bytes, and the share of planted pairs found."""
    stored = np.load(file)
    hashes = np.ascontiguousarray(stored["hashes"]).view(np.uint64)
    planted = set(zip(stored["first"].tolist(), stored["second"].tolist(), strict=True))
    started = time.perf_counter()
    pairs = find_near_pairs(hashes)
    seconds = time.perf_counter() - started
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    return {
        "seconds": seconds,
        "peak_memory_bytes": memory_bytes("VmHWM"),
        "num_pairs": len(found),
        "recall_of_planted": len(found & planted) / len(planted),
    }


def apart(kind: str, file: Path) -> dict[str, float]:
    """Runs one measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", kind, "-o", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, float] = json.loads(done.stdout)
    print(kind, file.name, {name: round(value, 3) for name, value in values.items()}, flush=True)
    return values


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", choices=["manifest", "search"], help="For the script's own processes.")
    arguments = parser.parse_args()
    if arguments.measure:
        measure = measure_manifest if arguments.measure == "manifest" else measure_search
        print(json.dumps(measure(arguments.output)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_manifest(folder, arguments.rows)
        manifest = {
            suffix: [apart("manifest", folder / f"faces.{suffix}") for _ in range(arguments.repeats)]
            for suffix in ("csv", "parquet")
        }
        search = {}
        for kind in ("independent", "face-like"):
            make_hashes(folder / f"{kind}.npz", arguments.rows, is_face_like=kind == "face-like")
            search[kind] = [apart("search", folder / f"{kind}.npz") for _ in range(arguments.repeats)]
    record = {
        "benchmark": "data_scale",
        "num_rows": arguments.rows,
        "manifest": manifest,
        "near_duplicate_search": search,
        "machine": dataclasses.asdict(describe_machine()),
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
