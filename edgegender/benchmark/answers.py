"""Photos, the answers that a network gave for them, and what both come to: accuracy and what it was measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgegender.benchmark.engine import Engine
from edgegender.benchmark.measure import StagePhoto
from edgegender.benchmark.records import DataRecord, ModelRecord
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import DataError
from edgegender.metrics import Evaluation, apply_temperature, evaluate_scores

NUM_SPEED_INPUTS = 64  # distinct pictures that the speed run cycles over, and photos of the end-to-end times


class Sample(NamedTuple):
    """One photo as the network sees it.

    Args:
        image: Raw RGB bytes, shape (S, S, 3), uint8, S the model's input size; ``None`` when the photo gave none.
        label_index: Of the annotated label among the model's labels.
        photo_sha256: Of the photo's file; empty takes the hash of ``image``.
        photo: The file, for the end-to-end times.
        box_source: Where the face box comes from: ``manifest``, ``none``, or a detector's name.
        problem: Why there is no image: ``unreadable`` or ``no_face``.
    """

    image: UInt8Array | None
    label_index: int
    photo_sha256: str = ""
    photo: StagePhoto | None = None
    box_source: str = "none"
    problem: str = ""


@dataclass(frozen=True)
class DataSource:
    """What the samples are called, and how faces are found in photos without a box.

    Args:
        name: The manifest's file name.
        split: The split that was chosen.
        detector: For the end-to-end times of photos without a box.
        detector_path: Its network.
    """

    name: str = ""
    split: str = ""
    detector: str = "none"
    detector_path: Path | None = None


class Answers:
    """What a network answered. Of the pictures, only as many are kept as the speed run needs.

    Args:
        model: Whose answers they are.
    """

    def __init__(self, model: ModelRecord) -> None:
        self._model = model
        self._scores: list[FloatArray] = []
        self._annotated: list[int] = []
        self._lines: list[str] = []
        self._box_sources: set[str] = set()
        self._problems: dict[str, int] = {}
        self._hashes: set[str] = set()
        self.images: list[UInt8Array] = []
        self.image_scores: list[FloatArray] = []
        self.photos: list[StagePhoto] = []

    def check(self, sample: Sample) -> UInt8Array | None:
        """Returns a sample's picture; one without is counted, and ``None``.

        Raises:
            DataError: It has another shape or label than the model.
        """
        image, size_px, labels = sample.image, self._model.input_size_px, self._model.labels
        if image is None:
            self._problems[sample.problem] = self._problems.get(sample.problem, 0) + 1
            return None
        if image.shape != (size_px, size_px, 3) or image.dtype != np.uint8 or not 0 <= sample.label_index < len(labels):
            raise DataError(
                f"Expected uint8 inputs ({size_px}, {size_px}, 3) and labels below {len(labels)}, got {image.dtype} "
                f"{image.shape} and {sample.label_index}."
            )
        return np.ascontiguousarray(image)

    def add(self, sample: Sample, image: UInt8Array, scores: FloatArray) -> None:
        """Takes the scores that the network gave for a sample.

        Args:
            sample: The photo.
            image: From :meth:`check`.
            scores: The network's own, before the temperature, shape (labels,).
        """
        self._scores.append(scores)
        self._annotated.append(sample.label_index)
        image_hash, has_room = "", len(self.images) < NUM_SPEED_INPUTS
        if has_room or not sample.photo_sha256:
            image_hash = hashlib.sha256(image.tobytes()).hexdigest()
        self._lines.append(f"{sample.photo_sha256 or image_hash} {self._model.labels[sample.label_index]}\n")
        self._box_sources.add(sample.box_source)
        if has_room and image_hash not in self._hashes:
            self._hashes.add(image_hash)
            self.images.append(image)
            self.image_scores.append(scores)
            if sample.photo is not None:
                self.photos.append(sample.photo)

    def require_some(self) -> None:
        """Checks that there is an answer at all.

        Raises:
            DataError: There is none.
        """
        if not self._scores:
            found = ", ".join(f"{count} {problem}" for problem, count in self._problems.items()) or "none"
            raise DataError(f"Expected photos to answer, got {found}.", hint="Look at the photos and the detector.")

    def evaluate(self) -> Evaluation:
        """Returns accuracy, precision, recall and F1 of the calibrated scores at the model's threshold."""
        return evaluate_scores(
            apply_temperature(np.stack(self._scores), self._model.temperature),
            np.asarray(self._annotated, np.int64),
            labels=self._model.labels,
            positive_label=self._model.positive_label,
            threshold=self._model.threshold,
        )

    def describe_data(self, source: DataSource) -> DataRecord:
        """Returns what the answers were measured on."""
        return DataRecord(
            name=source.name,
            sha256=hashlib.sha256("".join(sorted(self._lines)).encode()).hexdigest(),
            split=source.split,
            detector="+".join(sorted(self._box_sources)),
            num_photos=len(self._scores),
            num_no_face=self._problems.get("no_face", 0),
            num_unreadable=self._problems.get("unreadable", 0),
        )


def answer_picture(engine: Engine, image: UInt8Array) -> FloatArray:
    """Returns an engine's scores for one picture, shape (labels,); the engine takes one at a time."""
    engine.run(engine.to_tensor(image[np.newaxis]))
    (scores,) = engine.read_scores()
    return np.asarray(scores, np.float64)


def answer_samples(
    engine: Engine, model: ModelRecord, samples: Iterable[Sample], *, on_sample: Callable[[int], None]
) -> Answers:
    """Returns an engine's answers for all samples.

    Args:
        engine: With the network of ``model``, one picture a run.
        model: The file.
        samples: Gone through once.
        on_sample: Called with the number of samples done.

    Raises:
        DataError: No sample has an image, or one does not fit the model.
    """
    answers = Answers(model)
    for done, sample in enumerate(samples, start=1):
        image = answers.check(sample)
        if image is not None:
            answers.add(sample, image, answer_picture(engine, image))
        on_sample(done)
    answers.require_some()
    return answers


def answer_noise(engine: Engine, model: ModelRecord) -> Answers:
    """Returns answers without accuracy, for a run without photos: a network takes as long for noise as for faces."""
    answers = Answers(model)
    random = np.random.default_rng(0)
    for _ in range(NUM_SPEED_INPUTS):
        image = random.integers(0, 256, (model.input_size_px, model.input_size_px, 3), dtype=np.uint8)
        answers.images.append(image)
        answers.image_scores.append(answer_picture(engine, image))
    return answers
