"""What `edgegender camera` costs: processor time a frame against the bare work, budgets, and the first event.

Run: PYTHONPATH=. python benchmarks/camera/camera_cost.py -o benchmarks/camera/camera_cost.json

A 640 × 480 video with three drawn people who move, 30 frames a second, 20 seconds. For each budget the camera runs as a
process of its own; its processor time is that of the process and of the child that reads the video, less that of a run
that stops at its first frame. The bare way is a loop as anybody would write it, over the same frames: read, and for the
frames and faces that this budget searched and classified, call the same detector and classifier. Both take turns; the
lowest of the repetitions counts, for neighbours on the machine can only add. The first event is timed from the start of
the process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import cv2

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.runtime.budget import BUDGET_NAMES
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector_cascade import CascadeDetector
from tests.runtime.moving_scenes import draw_people, film, straight

SIZE_WH = (640, 480)
FPS = 30
NUM_FRAMES = 600
PATHS = [
    straight((110, 190), (3, 2)),
    straight((320, 230), (-3, 2), side=120),
    straight((530, 180), (-3, 4), side=100),
]


def write_video(path: Path) -> None:
    """Draws the video."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE_WH)
    for moving in film(draw_people(PATHS), num_frames=NUM_FRAMES, fps=FPS, size_wh=SIZE_WH):
        writer.write(cv2.cvtColor(moving.image_rgb, cv2.COLOR_RGB2BGR))
    writer.release()


def command(video: Path, *options: str) -> list[str]:
    """Returns the camera's command."""
    return [sys.executable, "-m", "edgegender", "camera", "--source", str(video), "--every-frame", *options]


def run_camera(video: Path, *options: str) -> tuple[float, list[dict]]:
    """Returns the processor seconds of the camera and its child, and the events."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command(video, *options), stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"the camera ended with {process.returncode}")
        out.seek(0)
        return usage.ru_utime + usage.ru_stime, [json.loads(line) for line in out]


def bare_seconds(video: Path, work: dict[int, tuple[bool, int]]) -> dict[str, float]:
    """Returns the processor seconds of reading all frames, and of searching and classifying as told.

    Args:
        video: The file.
        work: By frame: whether to search it, and how many faces to classify.
    """
    detector, classifier = CascadeDetector(), Classifier()
    capture, clock = cv2.VideoCapture(str(video)), time.process_time
    seconds = {"read": 0.0, "detect": 0.0, "classify": 0.0}
    boxes = []
    for index in range(NUM_FRAMES):
        started = clock()
        image = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
        ended = clock()
        seconds["read"] += ended - started
        is_searched, num_classified = work[index]
        if is_searched:
            boxes = detector.detect(image)
            seconds["detect"] += clock() - ended
        started = clock()
        if num_classified:
            classifier.classify_faces(image, (boxes * num_classified)[:num_classified])
        seconds["classify"] += clock() - started
    capture.release()
    return seconds


def measure_budget(video: Path, budget: str, repeats: int) -> dict[str, object]:
    """Returns milliseconds of processor time a frame, and what was found."""
    totals, starts, bares = [], [], []
    events: list[dict] = []
    for _ in range(repeats):
        total, events = run_camera(video, "--budget", budget)
        totals.append(total)
        starts.append(run_camera(video, "--budget", budget, "--max-frames", "1")[0])
        faces = [event for event in events if event["type"] == "faces"]
        work = {
            event["frame"]: ("detect" in event["stage_ms"], sum(face["is_fresh"] for face in event["faces"]))
            for event in faces
        }
        bares.append(bare_seconds(video, work))
    camera_ms = 1000 * (min(totals) - min(starts)) / (NUM_FRAMES - 1)
    bare = {stage: 1000 * min(bare[stage] for bare in bares) / NUM_FRAMES for stage in bares[0]}
    return {
        "budget": budget,
        "camera_ms_a_frame": round(camera_ms, 3),
        "bare_ms_a_frame": {stage: round(value, 3) for stage, value in bare.items()},
        "ratio_to_read_detect_classify": round(camera_ms / sum(bare.values()), 3),
        "ratio_to_detect_classify": round(camera_ms / (bare["detect"] + bare["classify"]), 3),
        "frames_searched": sum(is_searched for is_searched, _ in work.values()),
        "faces_classified": sum(count for _, count in work.values()),
        "people": events[-1]["people"],
        "num_people": sum(events[-1]["people"].values()),
    }


def first_event_seconds(video: Path) -> float:
    """Returns the wall-clock seconds from the start of the process to its first faces event."""
    started = time.perf_counter()
    with subprocess.Popen(
        command(video, "--max-frames", "5"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        for line in process.stdout or ():
            if json.loads(line)["type"] == "faces":
                seconds = time.perf_counter() - started
                break
        process.communicate()
    return seconds


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        video = Path(name) / "three.avi"
        write_video(video)
        first = sorted(first_event_seconds(video) for _ in range(10))
        budgets = [measure_budget(video, budget, arguments.repeats) for budget in BUDGET_NAMES]
    by_name = {str(row["budget"]): row for row in budgets}
    record = {
        "what": "processor time of edgegender camera, 640 x 480, three people, cascade, embedded model",
        "machine": asdict(describe_machine()),
        "versions": asdict(describe_versions()),
        "num_frames": NUM_FRAMES,
        "repeats": arguments.repeats,
        "first_event_seconds": {"p50": round(statistics.median(first), 3), "max": round(first[-1], 3), "runs": 10},
        "budgets": budgets,
        "full_over_low": round(
            by_name["full"]["camera_ms_a_frame"] / by_name["low"]["camera_ms_a_frame"],  # type: ignore[operator]
            2,
        ),
    }
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
