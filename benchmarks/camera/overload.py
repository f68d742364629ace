"""How old a frame is when its work begins, while the work cannot keep up with the source.

Run: PYTHONPATH=. python benchmarks/camera/overload.py -o benchmarks/camera/overload.json

A video plays at 60 frames a second, as a camera would, and each frame takes the given time (the detector sleeps). Two
figures are kept of each frame at the moment its work begins: how many newer frames the source has captured by then
(behind: 0 is the newest there is), and its age since it was captured, which also holds how late the source itself was.
The event is sent when the work is done.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import cv2

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.runtime.capture.child_source import ChildSource
from edgegender.runtime.capture.options import CaptureOptions
from edgegender.runtime.capture.sources import open_source
from tests.runtime.moving_scenes import draw_people, film, straight

FPS = 60
SECONDS = 12


def write_video(path: Path) -> None:
    """Writes a video; what is in it does not matter here."""
    people = draw_people([straight((120, 200), (40, 0)), straight((400, 220), (-30, 10))])
    pictures = [moving.image_rgb[..., ::-1] for moving in film(people, num_frames=60, fps=FPS)]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, (640, 480))
    for index in range(FPS * SECONDS):
        writer.write(pictures[index % 60])
    writer.release()


def measure(video: Path, work_ms: float) -> dict[str, float]:
    """Returns ages and drops of a run whose work takes ``work_ms`` a frame."""
    source = open_source(str(video), options=CaptureOptions(is_realtime=True))
    if not isinstance(source, ChildSource):
        raise SystemExit("the child that reads the video cannot be looked into")
    ages_ms, events_ms, behind = [], [], []
    try:
        while True:
            frame = source.read(1.0)
            if frame is None:
                if source.state == "finished":
                    break
                continue
            ages_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
            source._supervise()  # takes the messages about newer frames, and no frame
            child = source._child
            if child is not None:
                behind.append(child.newest_sequence - frame.index)
            time.sleep(work_ms / 1000)
            events_ms.append((time.monotonic_ns() - frame.captured_ns) / 1e6)
        counters = source.counters.to_json()
    finally:
        source.close()
    ages_ms, period_ms = sorted(ages_ms[5:]), 1000 / FPS

    def at(share: float) -> float:
        return ages_ms[min(len(ages_ms) - 1, int(share * len(ages_ms)))]

    return {
        "work_ms": work_ms,
        "frames": counters["frames"],
        "drops": counters["drops"],
        "frames_and_drops": counters["frames"] + counters["drops"],
        "age_p50_ms": round(at(0.5), 2),
        "age_p99_ms": round(at(0.99), 2),
        "age_max_ms": round(ages_ms[-1], 2),
        "age_max_frames": round(ages_ms[-1] / period_ms, 2),
        "behind_max_frames": max(behind),
        "share_behind_none": round(sum(count <= 0 for count in behind) / len(behind), 4),
        "event_p50_ms": round(sorted(events_ms)[len(events_ms) // 2], 2),
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        video = Path(name) / "noise.avi"
        write_video(video)
        runs = [measure(video, work_ms) for work_ms in (5, 50, 100, 300)]
    record = {
        "what": "age of a frame when its work begins, source at 60 frames a second",
        "machine": asdict(describe_machine()),
        "versions": asdict(describe_versions()),
        "video_frames": FPS * SECONDS,
        "runs": runs,
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
