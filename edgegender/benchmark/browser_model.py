"""One model and its inputs, as a page asks for them."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from edgegender.benchmark.run import NUM_SPEED_INPUTS, Sample
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import DataError, UsageError
from edgegender.preprocess import to_float
from edgegender.runtime.classifier import Classifier

_CHUNK_BYTES = 2 * 1024 * 1024  # a piece that a phone takes in a second or two over a slow Wi-Fi
_MAX_CHUNK = 64
_DTYPES = ("uint8", "float32")


@dataclass
class BrowserModel:
    """A model, the inputs of its accuracy run in a file of their own, and those of speed and parity in memory.

    Args:
        classifier: The verified model.
        samples_file: The inputs of the accuracy run, one after another, raw uint8.
        golden: Golden inputs, shape (inputs, S, S, 3), uint8.
        annotated: Label indices of the accuracy run's inputs.
        lines: "sha256-of-photo label" of each, for the data's hash.
        box_sources: Where the face boxes come from.
        problems: Photos that gave no input, by their problem.
        speed: Distinct inputs of the speed run, shape (inputs, S, S, 3), uint8.
        speed_samples: Which samples they are; empty where they are noise.
    """

    classifier: Classifier
    samples_file: IO[bytes]
    golden: UInt8Array
    annotated: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    box_sources: list[str] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    speed: UInt8Array = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))
    speed_samples: list[int] = field(default_factory=list)

    @property
    def size_px(self) -> int:
        """Side of the input, pixels."""
        return self.classifier.metadata.preprocessing.input_size_px

    @property
    def input_bytes(self) -> int:
        """Bytes of one input."""
        return self.size_px * self.size_px * 3

    @property
    def chunk_size(self) -> int:
        """Inputs that are fetched and answered at once."""
        return max(1, min(_MAX_CHUNK, _CHUNK_BYTES // self.input_bytes))

    @property
    def num_samples(self) -> int:
        """Inputs of the accuracy run."""
        return len(self.annotated)

    def read_inputs(self, which: str, start: int, count: int) -> bytes | None:
        """Returns inputs as raw bytes; ``None`` where there are none such.

        Args:
            which: ``samples``, ``speed`` or ``golden``.
            start: The first.
            count: How many.
        """
        size = self.input_bytes
        kept = {"speed": self.speed, "golden": self.golden}.get(which)
        total = self.num_samples if kept is None else len(kept)
        if which not in {"samples", "speed", "golden"} or not 0 <= start < start + count <= total:
            return None
        if kept is not None:
            return kept[start : start + count].tobytes()
        return os.pread(self.samples_file.fileno(), count * size, start * size)

    def dequantize(self, rows: FloatArray) -> FloatArray:
        """Returns raw outputs of the network as scores, to the bit as the runtime does here."""
        interpreter = self.classifier.interpreter
        if interpreter.output_dtype == np.float32:
            return rows
        scores: FloatArray = (rows - interpreter.output_zero_point) * interpreter.output_scale
        return scores

    @property
    def output_step(self) -> float:
        """What one step of a raw output is as a score."""
        interpreter = self.classifier.interpreter
        return 1.0 if interpreter.output_dtype == np.float32 else float(interpreter.output_scale)

    def describe(self) -> dict[str, object]:
        """Returns what the page must know."""
        interpreter = self.classifier.interpreter
        about: dict[str, object] = {"dtype": interpreter.input_dtype.name, "shape": list(interpreter.input_shape)}
        if interpreter.input_dtype == np.float32:
            tables, order = byte_tables(self.classifier.metadata.preprocessing.scaling)
            about |= {"tables": tables.tolist(), "order": order}
        name = self.classifier.metadata.name or self.classifier.file.path.stem
        return {"name": name, "input": about, "numSamples": self.num_samples, "numSpeed": len(self.speed)}


def byte_tables(scaling: str) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Returns what :func:`edgegender.preprocess.to_float` makes of each byte, and which channel goes where.

    Returns:
        The number for each byte, shape (3, 256), by channel that the network gets; and the channel of the picture
        (0 red, 1 green, 2 blue) that each of them comes from.
    """
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], 3, axis=1)
    black, single = to_float(np.zeros((1, 3), np.uint8), scaling), to_float(np.eye(3, dtype=np.uint8), scaling)
    order = [int(np.flatnonzero(single[:, channel] != black[0, channel])[0]) for channel in range(3)]
    return np.ascontiguousarray(to_float(ramp, scaling).T), order


def _require_types(classifier: Classifier) -> None:
    interpreter = classifier.interpreter
    for what, dtype in (("input", interpreter.input_dtype), ("output", interpreter.output_dtype)):
        if dtype.name not in _DTYPES:
            raise UsageError(
                f"Expected a uint8 or float32 {what} for a browser, got {dtype.name} ({classifier.file.path.name}).",
                hint="LiteRT.js refuses other types; edgegender convert makes uint8 inputs and outputs.",
            )


def _take(sample: Sample, model: BrowserModel, speed: dict[str, UInt8Array]) -> None:
    labels = model.classifier.metadata.labels
    image = sample.image
    if image is None:
        model.problems[sample.problem] = model.problems.get(sample.problem, 0) + 1
        return
    shape = (model.size_px, model.size_px, 3)
    if image.shape != shape or image.dtype != np.uint8 or not 0 <= sample.label_index < len(labels):
        raise DataError(
            f"Expected uint8 inputs {shape} and labels below {len(labels)}, got {image.dtype} {image.shape} and "
            f"{sample.label_index}."
        )
    content = np.ascontiguousarray(image).tobytes()
    image_hash = hashlib.sha256(content).hexdigest()
    if len(speed) < NUM_SPEED_INPUTS and image_hash not in speed:
        speed[image_hash] = image.copy()
        model.speed_samples.append(model.num_samples)
    model.samples_file.write(content)
    model.annotated.append(sample.label_index)
    model.lines.append(f"{sample.photo_sha256 or image_hash} {labels[sample.label_index]}\n")
    model.box_sources.append(sample.box_source)


def gather_model(
    path: Path,
    samples: Iterable[Sample] | None,
    make_golden: Callable[[int], UInt8Array],
    *,
    on_sample: Callable[[int], None] = lambda _: None,
) -> BrowserModel:
    """Returns a model with its inputs; close its ``samples_file``.

    Args:
        path: The ``.tflite``.
        samples: Photos; ``None`` measures the speed on noise only.
        make_golden: Draws the golden inputs for a side in pixels.
        on_sample: Called with the number of samples done.

    Raises:
        ModelFileError: The model is missing, damaged or altered.
        UsageError: A browser cannot take its inputs or outputs.
        DataError: No sample has an image, or one has another shape than the model's input.
    """
    classifier = Classifier(path, num_threads=1)
    _require_types(classifier)
    size_px = classifier.metadata.preprocessing.input_size_px
    model = BrowserModel(classifier, tempfile.TemporaryFile(), make_golden(size_px))  # noqa: SIM115 - the caller's
    try:
        _fill(model, samples, on_sample)
    except BaseException:
        model.samples_file.close()
        raise
    return model


def _fill(model: BrowserModel, samples: Iterable[Sample] | None, on_sample: Callable[[int], None]) -> None:
    size_px = model.size_px
    if samples is None:
        noise = np.random.default_rng(0)
        model.speed = noise.integers(0, 256, (NUM_SPEED_INPUTS, size_px, size_px, 3), dtype=np.uint8)
        return
    speed: dict[str, UInt8Array] = {}
    for done, sample in enumerate(samples, start=1):
        _take(sample, model, speed)
        on_sample(done)
    if not model.annotated:
        found = ", ".join(f"{count} {problem}" for problem, count in model.problems.items()) or "none"
        raise DataError(f"Expected photos to answer, got {found}.", hint="Look at the photos and the detector.")
    model.speed = np.stack(list(speed.values()))
    model.samples_file.flush()
