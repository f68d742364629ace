"""The events that a camera sends, as JSON objects: the documented, versioned form of all that leaves it.

``camera_event.schema.json`` beside this module describes them (JSON Schema 2020-12).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone

from edgegender.runtime.frames import FrameSource
from edgegender.runtime.tracked import FrameResult, TrackedFace

CAMERA_SCHEMA = "edgegender.camera/1"


def timestamp(moment_ns: int | None = None) -> str:
    """Returns a moment of monotonic time as ISO 8601 in UTC, milliseconds; now without one."""
    ago_ns = 0 if moment_ns is None else time.monotonic_ns() - moment_ns
    moment = datetime.fromtimestamp((time.time_ns() - ago_ns) / 1e9, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _face(face: TrackedFace) -> dict[str, object]:
    answer = face.prediction
    box = answer.box
    return {
        "track_id": face.track_id,
        "box_xyxy": None if box is None else [round(value, 1) for value in box.box_xyxy],
        "predicted_label": answer.predicted_label,
        "score": round(answer.score, 4),
        "scores": {label: round(score, 4) for label, score in answer.scores.items()},
        "is_unsure": answer.is_unsure,
        "is_fresh": face.is_fresh,
        "is_detected": face.is_detected,
        "num_classified": face.num_classified,
        "is_settled": face.is_settled,
    }


def faces_event(result: FrameResult) -> dict[str, object]:
    """Returns the event of one frame, type ``faces``."""
    return {
        "schema": CAMERA_SCHEMA,
        "type": "faces",
        "time": timestamp(result.captured_ns),
        "frame": result.index,
        "latency_ms": round((time.monotonic_ns() - result.captured_ns) / 1e6, 2),
        "size_wh": list(result.size_wh),
        "faces": [_face(face) for face in result.faces],
        "stage_ms": {stage: round(value, 3) for stage, value in result.stage_ms.items()},
        "people": dict(result.people),
    }


def counts_event(*, window_s: float, people: Mapping[str, int], people_in_all: Mapping[str, int]) -> dict[str, object]:
    """Returns how many people were seen in a time window, type ``counts``.

    Args:
        window_s: Length of the window that ends now, seconds.
        people: People first seen in it, by label.
        people_in_all: People seen since the start, by label.
    """
    return {
        "schema": CAMERA_SCHEMA,
        "type": "counts",
        "time": timestamp(),
        "window_s": round(window_s, 3),
        "people": dict(people),
        "people_in_all": dict(people_in_all),
    }


def source_event(source: FrameSource) -> dict[str, object]:
    """Returns what became of the source, type ``source``."""
    return {
        "schema": CAMERA_SCHEMA,
        "type": "source",
        "time": timestamp(),
        "source": source.name,
        "state": source.state,
        "problem": source.problem or None,
        "counters": source.counters.to_json(),
    }


def output_event(name: str, problem: str) -> dict[str, object]:
    """Returns what went wrong with an output that is tried again, type ``output``."""
    return {"schema": CAMERA_SCHEMA, "type": "output", "time": timestamp(), "output": name, "problem": problem}


def end_event(source: FrameSource, *, people: Mapping[str, int], reason: str) -> dict[str, object]:
    """Returns the last event, type ``end``.

    Args:
        source: Its counters are in it.
        people: People seen since the start, by label.
        reason: ``finished``, ``stopped``, ``max_frames`` or ``max_seconds``.
    """
    return {
        "schema": CAMERA_SCHEMA,
        "type": "end",
        "time": timestamp(),
        "source": source.name,
        "reason": reason,
        "counters": source.counters.to_json(),
        "people": dict(people),
    }
