"""What `edgegender data check` finds of faults that were planted in a made-up set: recall and precision of each kind.

Run: python benchmarks/planted_faults.py -o benchmarks/planted_faults.json

Drawn faces, all different. Planted: 1 % exact duplicates, 1 % near duplicates (encoded again at quality 30 to 90,
resized to a half up to twice the size, or both), 0.5 % conflicts (the same picture under the other label, half of them
encoded again), 0.5 % damaged files (cut off, emptied, zeros instead of the rest, another format, bytes overwritten at
the start). A second kind of damage, some bytes overwritten in the middle of the picture, is planted and told apart:
part of it decodes without a complaint of the decoder, so nobody can find it in the file itself.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from edgegender.benchmark.machine import describe_machine
from edgegender.data.check import check_manifest
from edgegender.data.drawn_faces import draw_attributes, draw_face
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.workers import map_in_processes
from edgegender.images import decode_image, encode_image

LABELS = ("female", "male")
SEED = 11


def draw(job: tuple[str, int, int]) -> None:
    """Draws the face of a number into a file."""
    file, number, size_px = job
    rng = np.random.default_rng([SEED, number])
    face = draw_face(draw_attributes(LABELS[number % 2], rng), size_px=size_px, rng=rng)
    Path(file).write_bytes(encode_image(face.image_rgb))


def changed_a_little(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns the picture encoded again, resized, or both."""
    image = decode_image(content)
    kind = rng.integers(3)
    if kind > 0:
        scale = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=interpolation), np.uint8)
    return encode_image(image, jpeg_quality=int(rng.integers(30, 91)) if kind != 1 else 95)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns a file that no viewer shows whole."""
    cut = int(rng.integers(len(content) // 10, len(content) * 9 // 10))
    kind = rng.integers(5)
    if kind == 0:
        return content[:cut]
    if kind == 1:
        return b""
    if kind == 2:
        return content[:cut] + bytes(len(content) - cut)
    if kind == 3:
        return b"<html><body>404 Not Found</body></html>"
    return rng.integers(0, 256, 64, dtype=np.uint8).tobytes() + content[64:]


def overwritten(content: bytes, rng: np.random.Generator) -> bytes:
    """Returns a file with 8 to 40 other bytes in the middle of the picture."""
    length = int(rng.integers(8, 41))
    start = int(rng.integers(len(content) // 4, len(content) - length - 16))
    return content[:start] + rng.integers(0, 256, length, dtype=np.uint8).tobytes() + content[start + length :]


def plant(folder: Path, num_faces: int) -> tuple[list[ManifestRow], dict[str, set[tuple[str, ...]]]]:
    """Writes the copies and the damage, and returns all rows and what was planted where."""
    rng = np.random.default_rng(SEED)
    rows = [ManifestRow(f"{number:06d}.jpg", LABELS[number % 2]) for number in range(num_faces)]
    chosen = rng.permutation(num_faces).tolist()
    one_percent, half_percent = num_faces // 100, num_faces // 200
    planted: dict[str, set[tuple[str, ...]]] = {
        name: set() for name in ("exact", "near", "conflict", "near_conflict", "damaged", "overwritten")
    }

    def take(count: int) -> list[ManifestRow]:
        return [rows[chosen.pop()] for _ in range(count)]

    def add_copy(row: ManifestRow, kind: str, content: bytes, label: str) -> None:
        name = f"{kind}-{row.path}"
        (folder / name).write_bytes(content)
        rows.append(ManifestRow(name, label))
        planted[kind].add((row.path, name))

    for row in take(one_percent):
        add_copy(row, "exact", (folder / row.path).read_bytes(), row.label)
    for row in take(one_percent):
        add_copy(row, "near", changed_a_little((folder / row.path).read_bytes(), rng), row.label)
    for count, row in enumerate(take(half_percent)):
        content = (folder / row.path).read_bytes()
        other = LABELS[1 - LABELS.index(row.label)]
        if count % 2:
            add_copy(row, "conflict", content, other)
        else:
            add_copy(row, "near_conflict", changed_a_little(content, rng), other)
    for kind, damage in (("damaged", damaged), ("overwritten", overwritten)):
        for row in take(half_percent):
            (folder / row.path).write_bytes(damage((folder / row.path).read_bytes(), rng))
            planted[kind].add((row.path,))
    return rows, planted


def score(found: Iterable[tuple[str, ...]], planted: set[tuple[str, ...]]) -> dict[str, float]:
    """Returns how many groups were planted and found, recall and precision."""
    groups = {tuple(sorted(group)) for group in found}
    wanted = {tuple(sorted(group)) for group in planted}
    right = len(groups & wanted)
    return {
        "planted": len(wanted),
        "found": len(groups),
        "recall": right / len(wanted) if wanted else 1.0,
        "precision": right / len(groups) if groups else 1.0,
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=160, help="Side of the drawings, pixels.")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        jobs = [(str(folder / f"{number:06d}.jpg"), number, arguments.size) for number in range(arguments.faces)]
        for _ in map_in_processes(draw, jobs, workers=arguments.workers, chunk_items=50):
            pass
        rows, planted = plant(folder, arguments.faces)
        started = time.perf_counter()
        report = check_manifest(Manifest.from_rows(folder, rows), workers=arguments.workers)
        seconds = time.perf_counter() - started
    unreadable = {(photo.path,) for photo in report.unreadable}
    conflicts = {tuple(sorted(group)) for group in report.near_conflicts}
    near = [group for group in report.near_duplicates or () if tuple(sorted(group)) not in conflicts]
    scores = {
        "exact duplicates": score(report.duplicates, planted["exact"]),
        "near duplicates": score(near, planted["near"]),
        "conflicts, the same bytes": score(report.conflicts, planted["conflict"]),
        "conflicts, near duplicates": score(report.near_conflicts, planted["near_conflict"]),
        "damaged files": score(unreadable - planted["overwritten"], planted["damaged"]),
        "bytes overwritten in the middle": score(unreadable - planted["damaged"], planted["overwritten"]),
    }
    record = {
        "benchmark": "planted_faults",
        "num_photos": len(rows),
        "scores": scores,
        "check_seconds": seconds,
        "workers": arguments.workers,
        "machine": dataclasses.asdict(describe_machine()),
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    for kind, values in scores.items():
        print(f"{kind}: {values}")


if __name__ == "__main__":
    main()
