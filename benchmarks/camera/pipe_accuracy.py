"""Accuracy at the end of the pipe (source, detector, crop, classifier), against the classifier on our own crops.

Run: python benchmarks/camera/pipe_accuracy.py SAMPLE MODELS -o benchmarks/camera/pipe_accuracy.json

SAMPLE is a folder with sample.csv (path, label) and the photos; MODELS has yunet_n_640_640.onnx and
face_detection_short_range.tflite. The photos go through `edgegender camera` as a folder source, with each detector; the
most prominent face is the answer, as in `predict`, and a photo without one counts as wrong. Beside it stands the same
classifier on the crops that `edgegender data crop --detector yunet` made of the same photos, by the code of `edgegender
evaluate`. Unsure answers count by their label.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from edgegender.benchmark.machine import describe_machine, describe_versions
from edgegender.data.manifest_file import read_manifest
from edgegender.metrics import interval_to_json, wilson_interval
from edgegender.reporting.evaluation import score_photos
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import WholeImageDetector

FILES = {"cascade": None, "yunet": "yunet_n_640_640.onnx", "blazeface": "face_detection_short_range.tflite"}


def run(*arguments: object, cwd: Path) -> str:
    """Returns what a command prints."""
    command = [sys.executable, "-m", "edgegender", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def most_prominent(event: dict) -> str | None:
    """Returns the label of a large and central face, as edgegender.runtime.detection_image.by_prominence has it."""
    width, height = event["size_wh"]

    def prominence(face: dict) -> float:
        x1, y1, x2, y2 = face["box_xyxy"]
        return (x2 - x1) - 0.5 * math.hypot((x1 + x2 - width) / 2, (y1 + y2 - height) / 2)

    return max(event["faces"], key=prominence)["predicted_label"] if event["faces"] else None


def answers_of_camera(folder: Path, detector: str, models: Path) -> list[str | None]:
    """Returns the label of each photo's most prominent face, in the order of their names."""
    file = FILES[detector]
    options = [] if file is None else ["--detector-path", models / file]
    printed = run("camera", "--source", folder, "--detector", detector, "--every-frame", *options, cwd=folder)
    events = [json.loads(line) for line in printed.splitlines()]
    return [most_prominent(event) for event in events if event["type"] == "faces"]


def summarize(num_right: int, num_photos: int, num_found: int, own: float) -> dict[str, object]:
    """Returns one row of the record."""
    accuracy = 100 * num_right / num_photos
    return {
        "accuracy_percent": round(accuracy, 2),
        "interval": interval_to_json(wilson_interval(num_right, num_photos)),
        "photos_with_a_face": num_found,
        "difference_points": round(accuracy - own, 2),
    }


def main() -> None:
    """Measures and writes the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sample", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    sample, models = arguments.sample.resolve(), arguments.models.resolve()
    with (sample / "sample.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["path"].startswith("faces/")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "all").mkdir()
        with (folder / "labels.csv").open("w") as stream:
            stream.write("path,label,split\n")
            for index, row in enumerate(rows):
                link = folder / "all" / f"{index:05d}{Path(row['path']).suffix}"
                link.symlink_to(sample / row["path"])
                stream.write(f"all/{link.name},{row['label']},test\n")
        labels = ["--labels", "labels.csv"]
        run("data", "index", ".", *labels, "-o", "faces.csv", "--no-phash", cwd=folder)
        yunet = models / str(FILES["yunet"])
        run("data", "crop", "faces.csv", "-o", "crops", "--detector", "yunet", "--detector-path", yunet, cwd=folder)
        cropped = read_manifest(folder / "crops" / "faces.csv")
        scored = score_photos(Classifier(), cropped, detector=WholeImageDetector())
        num_right = int((scored.scores.argmax(axis=1) == scored.annotated).sum())
        own = 100 * num_right / len(rows)
        record = {
            "what": "accuracy of edgegender camera on photos of faces, by detector, against the project's own crops",
            "machine": asdict(describe_machine()),
            "versions": asdict(describe_versions()),
            "num_photos": len(rows),
            "own_crops": summarize(num_right, len(rows), len(scored.annotated), own),
            "camera": {},
        }
        for detector in FILES:
            answers = answers_of_camera(folder / "all", detector, models)
            right = sum(answer == row["label"] for answer, row in zip(answers, rows, strict=True))
            found = sum(answer is not None for answer in answers)
            record["camera"][detector] = summarize(right, len(rows), found, own)  # type: ignore[index]
    arguments.output.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
