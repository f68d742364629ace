"""What a benchmark needs, sent as files to another machine: models, pictures as raw bytes, photos for their stages."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgegender.benchmark.run import NUM_SPEED_INPUTS, Sample
from edgegender.benchmark.targets import TargetRequest
from edgegender.entities import UInt8Array
from edgegender.errors import DataError, ImageError
from edgegender.runtime.model_file import ModelFile

JOB_FILE = "job.json"
_CHUNK_BYTES = 16 << 20  # of pictures that are held at once, here and there
_PROGRESS_ROWS = 50

Send = Callable[[str, bytes], None]


@dataclass
class SentData:
    """One model's samples after they were sent.

    Args:
        rows: See :class:`edgegender.benchmark.remote_worker.SentSamples`.
        chunks: Names of the files with pictures.
        num_speed_rows: Rows that hold the first distinct pictures, which the speed runs take.
        sha256: The data hash that the result must have.
        num_photos: Rows with a picture.
    """

    rows: list[tuple[object, ...]] = field(default_factory=list)
    chunks: list[str] = field(default_factory=list)
    num_speed_rows: int = 0
    sha256: str = ""
    num_photos: int = 0


class Sender:
    """Sends files, the same bytes only once.

    Args:
        send: Takes a name and the bytes.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._names: dict[str, str] = {}

    def send_once(self, name: str, content: bytes) -> str:
        """Returns the name under which ``content`` lies there."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self._names:
            self._send(name, content)
            self._names[digest] = name
        return self._names[digest]

    def send_photo(self, path: Path) -> str:
        """Returns the name of a photo there, which says nothing about whose it is.

        Raises:
            ImageError: The photo has gone.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError(f"Expected a photo, got {error.strerror or error} ({path}).", kind="missing") from error
        return self.send_once(f"photos/{len(self._names)}{path.suffix.lower()}", content)


class _Chunks:
    """Gathers pictures and sends them as ``.npy`` files of a bounded size."""

    def __init__(self, sender: Sender, folder: str) -> None:
        self._sender, self._folder = sender, folder
        self._images: list[UInt8Array] = []
        self.names: list[str] = []

    def add(self, image: UInt8Array) -> None:
        self._images.append(image)
        if len(self._images) * image.nbytes >= _CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._images:
            stream = io.BytesIO()
            np.save(stream, np.stack(self._images))
            self.names.append(self._sender.send_once(f"{self._folder}/{len(self.names)}.npy", stream.getvalue()))
            self._images.clear()


def _require_fitting(sample: Sample, size_px: int, num_labels: int) -> UInt8Array:
    image = sample.image
    is_fitting = image is not None and image.shape == (size_px, size_px, 3) and image.dtype == np.uint8
    if image is None or not is_fitting or not 0 <= sample.label_index < num_labels:
        got = "none" if image is None else f"{image.dtype} {image.shape}"
        raise DataError(
            f"Expected uint8 inputs ({size_px}, {size_px}, 3) and labels below {num_labels}, got {got} and "
            f"{sample.label_index}."
        )
    return np.ascontiguousarray(image)


def send_samples(
    samples: Iterable[Sample], file: ModelFile, sender: Sender, folder: str, on_progress: Callable[[int], None]
) -> SentData:
    """Sends one model's samples in blocks, whatever their number.

    Args:
        samples: Read once.
        file: The model that they are for.
        sender: Takes the files.
        folder: Where to put them there.
        on_progress: Takes the number of rows done, now and then.

    Raises:
        DataError: A sample does not fit the model.
        ImageError: A photo for the end-to-end times has gone.
    """
    labels, size_px = file.metadata.labels, file.metadata.preprocessing.input_size_px
    data, chunks, lines = SentData(), _Chunks(sender, folder), []
    distinct: set[str] = set()
    for number, sample in enumerate(samples, start=1):
        if number % _PROGRESS_ROWS == 0:
            on_progress(number)
        if sample.problem:
            data.rows.append((sample.label_index, "", None, None, sample.box_source, sample.problem))
            continue
        image = _require_fitting(sample, size_px, len(labels))
        image_hash = hashlib.sha256(image.tobytes()).hexdigest()
        lines.append(f"{sample.photo_sha256 or image_hash} {labels[sample.label_index]}\n")
        photo, box = None, None
        if len(distinct) < NUM_SPEED_INPUTS and image_hash not in distinct:
            distinct.add(image_hash)
            data.num_speed_rows = number
            if sample.photo is not None:
                photo, found = sender.send_photo(sample.photo.path), sample.photo.box
                box = (*found.box_xyxy, found.score) if found else None
        chunks.add(image)
        data.rows.append((sample.label_index, sample.photo_sha256, photo, box, sample.box_source, ""))
    chunks.flush()
    data.chunks, data.num_photos = chunks.names, len(lines)
    data.sha256 = hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()
    return data


def _send_model(file: ModelFile, number: int, send: Send) -> str:
    """Sends a model with the ``.json`` beside it and returns its name there."""
    name = f"models/{number}/{file.path.name}"
    send(name, file.content)
    sidecar = file.path.with_suffix(".json")
    if sidecar.is_file():
        send(f"models/{number}/{sidecar.name}", sidecar.read_bytes())
    return name


def send_job(request: TargetRequest, files: list[ModelFile], send: Send) -> list[SentData | None]:
    """Sends models, pictures and the job itself, and returns what was sent for each model.

    Args:
        request: What to measure.
        files: Its models, read.
        send: Takes a name and the bytes.

    Raises:
        DataError: A sample does not fit a model, or none gave a picture.
        ImageError: A photo has gone.
    """
    sender, models, sent = Sender(send), [], []
    for number, (file, samples) in enumerate(zip(files, request.samples, strict=True)):
        data = None
        if samples is not None:
            name = file.path.name

            def tell(done: int, name: str = name) -> None:
                request.on_progress(f"bringing pictures for {name}: {done} of {request.num_samples or '?'}")

            data = send_samples(samples, file, sender, f"inputs/{number}", tell)
            if not data.num_photos:
                raise DataError(
                    f"Expected photos to answer, got {len(data.rows)} without a picture.",
                    hint="Look at the photos and the detector.",
                )
        sent.append(data)
        entry = {"number": number, "file": _send_model(file, number, send)}
        models.append({**entry, "data": dataclasses.asdict(data) if data else None})
    detector = request.source.detector_path
    job = {
        "models": models,
        "threads": request.threads,
        "durations": dataclasses.asdict(request.durations),
        "until_share": request.until_share,
        "engines": request.engines,
        "source": {name: getattr(request.source, name) for name in ("name", "split", "detector")},
        "detector": sender.send_once(f"detector/{detector.name}", detector.read_bytes()) if detector else "",
    }
    send(JOB_FILE, json.dumps(job).encode())
    return sent
