"""Classify frames that your own program has, from any camera library: here a moving crop of one photo.

Run: python examples/own_frames.py photo.jpg
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from edgegender import read_image
from edgegender.runtime import Classifier, create_detector
from edgegender.runtime.budget import budget_named
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.frames import Frame
from edgegender.runtime.tracker import FaceTracker


def main() -> None:
    """Prints what is known about the faces after each tenth frame."""
    photo = read_image(Path(sys.argv[1]))
    classifier = Classifier()  # once, not for every frame
    tracker = FaceTracker(classifier.metadata, budget_named("low"))
    pipeline = CameraPipeline(classifier, create_detector("cascade"), tracker)
    for index in range(30):
        image_rgb = np.roll(photo, index, axis=1)  # height × width × 3, uint8, RGB
        result = pipeline.process(Frame(image_rgb, index, captured_ns=time.monotonic_ns()))
        if index % 10 == 9:
            faces = [f"#{face.track_id} {face.prediction.predicted_label}" for face in result.faces]
            print(f"frame {index}: {', '.join(faces) or 'no face'}; {result.stage_ms}")


if __name__ == "__main__":
    main()
