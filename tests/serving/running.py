"""Servers that run, and a camera for them whose frames are drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx
import numpy as np

from edgegender.data.drawn_faces import draw_attributes, draw_scene
from edgegender.entities import FacePrediction, UInt8Array
from edgegender.images import encode_image
from edgegender.runtime.annotate import annotate_faces
from edgegender.runtime.camera_events import faces_event
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.detector import create_detector
from edgegender.runtime.frames import Frame, SourceCounters
from edgegender.runtime.model_file import embedded_model_path, read_model
from edgegender.runtime.photos import PhotoPredictor
from edgegender.runtime.tracked import FrameResult, TrackedFace
from edgegender.serving.access import AccessRules
from edgegender.serving.app import PreviewApp, ServingLimits
from edgegender.serving.hub import PreviewHub
from edgegender.serving.predictions import PhotoDesk
from edgegender.serving.server import PhotoModel, PreviewServer

DEADLINE_S = 30  # a hang is a failure, a busy machine is none


@dataclass
class ToldSource:
    """A camera that is in whatever state it was told to be in."""

    name: str = "drawn film"
    is_live: bool = True
    counters: SourceCounters = field(default_factory=SourceCounters)
    state: str = "running"
    problem: str = ""

    def read(self, timeout_s: float) -> Frame | None:
        """Gives no frame: a test writes results itself."""
        del timeout_s

    def close(self) -> None:
        """Ends nothing."""


def create_predictor() -> PhotoPredictor:
    """Returns what the embedded model answers with."""
    return PhotoPredictor(Classifier(num_threads=1), create_detector("cascade"))


@cache
def photo_model() -> PhotoModel:
    """Returns the embedded model for photos."""
    return PhotoModel(read_model(embedded_model_path()), create_predictor)


@contextlib.contextmanager
def serving(
    *,
    hub: PreviewHub | None = None,
    has_photos: bool = False,
    rules: AccessRules | None = None,
    limits: ServingLimits | None = None,
    port: int = 0,
) -> Iterator[PreviewServer]:
    """Runs a server on this machine for the block."""
    photos = PhotoDesk(photo_model().file, create_predictor) if has_photos else None
    app = PreviewApp(hub=hub, photos=photos, rules=rules or AccessRules(), limits=limits or ServingLimits())
    server = PreviewServer(app, host="127.0.0.1", port=port)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def client(server: PreviewServer) -> Iterator[httpx.Client]:
    """Gives what asks a server."""
    base = f"http://127.0.0.1:{server.port}"
    # verify: nothing here is TLS, and reading the system's certificates takes longer than a test
    with httpx.Client(base_url=base, timeout=DEADLINE_S, trust_env=False, verify=False) as asking:  # noqa: S501
        yield asking


def connect(server: PreviewServer, request: str = "") -> socket.socket:
    """Returns a bare connection with a request sent on it."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE_S)
    connection.sendall(request.encode())
    return connection


def read_until(connection: socket.socket, marker: bytes) -> bytes:
    """Returns what comes on a connection until a text has come, or the end."""
    received = b""
    while marker not in received and (block := connection.recv(65536)):
        received += block
    return received


def wait_until(is_so: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@cache
def scene(num_people: int = 2) -> tuple[UInt8Array, tuple[TrackedFace, ...]]:
    """Returns a drawn scene and what a camera would tell of it."""
    rng = np.random.default_rng(5)
    labels = [("female", "male")[index % 2] for index in range(num_people)]
    drawn = draw_scene([draw_attributes(label, rng) for label in labels], size_wh=(640, 480), rng=rng)
    faces = []
    for index, (label, box) in enumerate(zip(labels, drawn.boxes, strict=True)):
        other = "male" if label == "female" else "female"
        score = 0.97 if index else 0.71
        answer = FacePrediction(box, label, score, {label: score, other: 1 - score}, is_unsure=score < 0.9)
        faces.append(TrackedFace(index + 1, answer, bool(index), True, 6 + index, bool(index)))
    return drawn.image_rgb, tuple(faces)


def result(index: int = 0, *, num_people: int = 2, is_aggregate_only: bool = False) -> FrameResult:
    """Returns a camera's result of one frame."""
    _, faces = scene(num_people)
    return FrameResult(
        index=index,
        captured_ns=time.monotonic_ns(),
        size_wh=(640, 480),
        faces=() if is_aggregate_only else faces,
        stage_ms={"detect": 12.5, "track": 0.4, "classify": 3.25},
        people={"female": 3, "male": 4, "unsure": 1},
    )


def write(hub: PreviewHub, index: int = 0, picture_rgb: UInt8Array | None = None) -> None:
    """Gives a hub one frame."""
    found = result(index)
    hub.write(found, faces_event(found), picture_rgb)


def jpeg_of_people(num_people: int = 2) -> bytes:
    """Returns a photo of drawn people."""
    return encode_image(scene(num_people)[0])


class Film:
    """A camera that shows the drawn people while they move to the right, at a steady rate.

    Args:
        hub: What gets the frames.
        source: What is counted.
        rate_per_s: Frames a second.
    """

    def __init__(self, hub: PreviewHub, source: ToldSource, *, rate_per_s: float = 12.0) -> None:
        self._hub = hub
        self._source = source
        self._interval_s = 1 / rate_per_s
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._play, name="film")

    def __enter__(self) -> Film:
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends."""
        self._is_over.set()
        self._thread.join()

    def _play(self) -> None:
        index = 0
        while not self._is_over.wait(self._interval_s):
            picture_rgb = self._draw(index) if self._hub.wants_picture else None
            self._source.counters.frames += 1
            found = result(index, is_aggregate_only=self._hub.is_aggregate_only)
            self._hub.write(found, faces_event(found), picture_rgb)
            index += 1

    def _draw(self, index: int) -> UInt8Array:
        image_rgb, faces = scene()
        shift_px = 4 * index % 160
        moved = []
        for face in faces:
            box = face.prediction.box
            assert box is not None
            there = dataclasses.replace(box, x1=box.x1 + shift_px, x2=box.x2 + shift_px)
            moved.append(dataclasses.replace(face.prediction, box=there))
        return annotate_faces(np.roll(image_rgb, shift_px, axis=1), moved)


def write_photo_of_people(folder: Path, num_people: int = 2) -> Path:
    """Writes a photo of drawn people and returns its file."""
    file = folder / f"people-{num_people}.jpg"
    file.write_bytes(jpeg_of_people(num_people))
    return file
