"""What is known about the faces of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgegender.entities import FacePrediction


@dataclass(frozen=True)
class TrackedFace:
    """A face that keeps its number from frame to frame.

    Args:
        track_id: Number of the track, from 1; a person who leaves and comes back gets a new one, for nobody is
            recognised.
        prediction: Where the face is in this frame, and its answer: scores averaged over the track.
        is_fresh: Whether the face was classified in this frame; otherwise the answer is that of earlier frames.
        is_detected: Whether the detector saw it in this frame; otherwise the box was followed from earlier frames.
        num_classified: How many frames the answer is averaged over.
        is_settled: Whether the answer has come to rest, so that it is asked again only now and then.
    """

    track_id: int
    prediction: FacePrediction
    is_fresh: bool
    is_detected: bool
    num_classified: int
    is_settled: bool


@dataclass(frozen=True)
class FrameResult:
    """What a camera pipeline found in one frame.

    Args:
        index: Number of the frame in its source.
        captured_ns: ``time.monotonic_ns()`` when it left the source.
        size_wh: Width and height of the frame, pixels.
        faces: Faces that are there now, the largest first.
        stage_ms: Milliseconds by stage: ``detect``, ``track``, ``classify``; a stage that was not needed is missing.
        people: How many people were seen since the start, by label, those with an unsure answer under ``unsure``.
        moment_ns: :attr:`edgegender.runtime.frames.Frame.moment_ns` of the frame; ``None`` is ``captured_ns``.
    """

    index: int
    captured_ns: int
    size_wh: tuple[int, int]
    faces: tuple[TrackedFace, ...] = ()
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    people: Mapping[str, int] = field(default_factory=dict)
    moment_ns: int | None = None
