"""Whether the camera gathers memory: 100,000 frames through the whole of it, with events and a viewer.

Run: PYTHONPATH=. python benchmarks/camera/soak.py -o benchmarks/camera/soak.json

`edgegender camera` reads a looped 320 × 240 video of two people who come and go, as fast as it goes, with events on
standard output, the preview on, and one client that reads the live picture. The resident size of the camera and of the
child that reads the video is sampled every two seconds. Growth is the median of the last tenth of the samples less that
of the third tenth.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import asdict
from pathlib import Path

import cv2

from edgegender.benchmark.machine import describe_machine, describe_versions
from tests.runtime.moving_scenes import draw_people, film, only_while, straight

PATHS = [
    only_while(straight((90, 110), (10, 0), side=80), (0.0, 3.0)),
    only_while(straight((230, 120), (-5, 4), side=80), (1.0, 4.0)),
]


def write_video(path: Path) -> None:
    """Draws five seconds, in the last of which nobody is there."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 30, (320, 240))
    for moving in film(draw_people(PATHS), num_frames=150, size_wh=(320, 240)):
        writer.write(cv2.cvtColor(moving.image_rgb, cv2.COLOR_RGB2BGR))
    writer.release()


def resident_bytes(pid: int) -> int:
    """Returns the resident size of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024


def children_of(pid: int) -> list[int]:
    """Returns the processes that a process started."""
    return [int(number) for number in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def watch(url: str) -> None:
    """Reads the live picture until the server ends."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}stream.mjpg") as stream:  # noqa: S310 - loopback
        while stream.read(65536):
            time.sleep(0.05)


def growth(samples: list[int]) -> int:
    """Returns how much larger the end is than the time after the warm-up, bytes."""
    tenth = max(1, len(samples) // 10)
    return round(statistics.median(samples[-tenth:]) - statistics.median(samples[2 * tenth : 3 * tenth]))


def soak(video: Path, num_frames: int) -> dict[str, object]:
    """Runs the camera for so many frames and returns how its memory went."""
    command = [sys.executable, "-m", "edgegender", "camera", "--source", str(video), "--loop", "--budget", "low"]
    command += ["--preview", ":0", "--window-s", "60", "--max-frames", str(num_frames)]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        if process.stderr is None:
            raise SystemExit("no standard error")
        url = process.stderr.readline().split()[-1]
        threading.Thread(target=watch, args=(url,), daemon=True).start()
        own, child = [], []
        started = time.monotonic()
        while process.poll() is None:
            with contextlib.suppress(OSError, StopIteration):
                own.append(resident_bytes(process.pid))
                child += [resident_bytes(pid) for pid in children_of(process.pid)[:1]]
            time.sleep(2)
        seconds = time.monotonic() - started
        out.seek(0)
        last = json.loads(out.read().splitlines()[-1])
    if process.returncode:
        raise SystemExit(f"the camera ended with {process.returncode}: {signal.Signals(-process.returncode).name}")
    return {
        "num_frames": last["counters"]["frames"],
        "seconds": round(seconds, 1),
        "people": sum(last["people"].values()),
        "camera_resident_mb": round(statistics.median(own) / 1e6, 1),
        "camera_growth_bytes": growth(own),
        "reader_resident_mb": round(statistics.median(child) / 1e6, 1),
        "reader_growth_bytes": growth(child),
        "num_samples": len(own),
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        video = Path(name) / "two.avi"
        write_video(video)
        record = {
            "what": "memory of edgegender camera over many frames, with preview and a viewer",
            "machine": asdict(describe_machine()),
            "versions": asdict(describe_versions()),
            **soak(video, arguments.frames),
        }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
