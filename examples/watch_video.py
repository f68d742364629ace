"""Watch a video, a camera or a stream, and say who is new: one line a person.

Run: python examples/watch_video.py party.mp4      or 0, picamera, rtsp://…
"""

from __future__ import annotations

import sys

from edgegender.runtime import Classifier, create_detector
from edgegender.runtime.budget import budget_named
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.capture.sources import open_source
from edgegender.runtime.tracker import FaceTracker


def main() -> None:
    """Prints each face once, when its answer has come to rest."""
    source = open_source(sys.argv[1])
    classifier = Classifier()
    tracker = FaceTracker(classifier.metadata, budget_named("balanced"))
    pipeline = CameraPipeline(classifier, create_detector("cascade"), tracker)
    said: set[int] = set()
    try:
        while source.state != "finished":
            frame = source.read(timeout_s=1.0)  # None: nothing came in time, or the source is being opened again
            for face in pipeline.process(frame).faces if frame is not None else ():
                if face.is_settled and face.track_id not in said:
                    said.add(face.track_id)
                    answer = face.prediction
                    print(f"frame {frame.index}: #{face.track_id} {answer.predicted_label} {answer.score:.2f}")
    finally:
        source.close()
    print(", ".join(f"{count} {label}" for label, count in pipeline.people().items()))


if __name__ == "__main__":
    main()
