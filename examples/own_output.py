"""Send what a camera finds wherever you like: an output of your own beside the usual lines of JSON.

Run: python examples/own_output.py party.mp4
"""

from __future__ import annotations

import sys

from edgegender.entities import UInt8Array
from edgegender.outputs.event_lines import EventLines
from edgegender.outputs.fan_out import FanOut
from edgegender.runtime import Classifier, create_detector
from edgegender.runtime.budget import budget_named
from edgegender.runtime.camera_loop import CameraLimits, CameraLoop
from edgegender.runtime.camera_pipeline import CameraPipeline
from edgegender.runtime.capture.sources import open_source
from edgegender.runtime.outputs import Event
from edgegender.runtime.tracked import FrameResult
from edgegender.runtime.tracker import FaceTracker


class LargestFace:
    """Remembers the largest face. Must return at once: it is called from the camera's own loop."""

    name = "largest face"
    wants_picture = False  # True: the next frame comes with an annotated picture
    side_px = 0.0

    def write(self, result: FrameResult, event: Event, picture_rgb: UInt8Array | None) -> None:
        for face in result.faces:
            self.side_px = max(self.side_px, face.prediction.box.side_px if face.prediction.box else 0.0)

    def tell(self, event: Event) -> None:
        if event["type"] == "end":
            print(f"largest face: {self.side_px:.0f} px, {event['counters']}", file=sys.stderr)

    def take_problems(self) -> list[str]:
        return []

    def close(self) -> None:
        pass


def main() -> None:
    """Prints events of at most 100 frames."""
    source = open_source(sys.argv[1])
    classifier = Classifier()
    tracker = FaceTracker(classifier.metadata, budget_named("balanced"))
    pipeline = CameraPipeline(classifier, create_detector("cascade"), tracker)
    outputs = FanOut([EventLines(sys.stdout), LargestFace()], is_blurred=True)
    try:
        CameraLoop(source, pipeline, outputs, limits=CameraLimits(max_frames=100)).run()
    finally:
        outputs.close()
        source.close()


if __name__ == "__main__":
    main()
