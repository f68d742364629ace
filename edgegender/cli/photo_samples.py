"""A manifest's photos as the benchmark's samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.cli.console import require_choice, warn
from edgegender.errors import ImageError

if TYPE_CHECKING:
    from edgegender.benchmark.run import Sample
    from edgegender.data.manifest import Manifest, ManifestRow
    from edgegender.entities import FaceBox, UInt8Array
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import FaceDetector

    PreProcess = Callable[[UInt8Array, FaceBox | None], UInt8Array]

SPLIT_CHOICES = ("train", "val", "test", "all")
_FIRST_NAMED = 3  # photos that a warning names


class PhotoSamples:
    """A manifest's photos as one model's inputs, one after the other; found boxes are kept for the next model."""

    def __init__(self, manifest: Manifest, detector: FaceDetector) -> None:
        self._manifest = manifest
        self._detector = detector
        self._found: dict[str, FaceBox | None] = {}
        self.problems: dict[str, str] = {}

    def _box(self, row: ManifestRow, image: UInt8Array) -> tuple[FaceBox | None, str]:
        """Returns (box, where it comes from)."""
        if row.face_box is not None:
            return row.face_box, "manifest"
        if self._detector.name == "none":
            return None, "none"
        if row.path not in self._found:
            boxes = self._detector.detect(image)
            self._found[row.path] = boxes[0] if boxes else None
        return self._found[row.path], self._detector.name

    def _sample(self, row: ManifestRow, labels: Sequence[str], pre_process: PreProcess) -> Sample:
        from edgegender import images
        from edgegender.benchmark.measure import StagePhoto
        from edgegender.benchmark.run import Sample

        label_index = labels.index(row.label)
        file = self._manifest.file(row)
        try:
            content = images.read_bytes(file)
            image = images.decode_image(content, where=str(file))
        except ImageError as error:
            self.problems[row.path] = str(error)
            return Sample(None, label_index, problem="unreadable")
        box, source = self._box(row, image)
        if box is None and source != "none":
            self.problems[row.path] = f"no face found ({row.path})"
            return Sample(None, label_index, problem="no_face")
        return Sample(
            pre_process(image, box),
            label_index,
            photo_sha256=hashlib.sha256(content).hexdigest(),
            photo=StagePhoto(file, row.face_box),
            box_source=source,
        )

    def __len__(self) -> int:
        return len(self._manifest)

    def of(self, classifier: Classifier) -> Iterator[Sample]:
        """Gives a sample a row, in the manifest's order."""
        return self.as_inputs(classifier.metadata.labels, classifier.pre_process)

    def as_inputs(self, labels: Sequence[str], pre_process: PreProcess) -> Iterator[Sample]:
        """Gives a sample a row, for a network with these labels and this way from photo and face to its input."""
        return (self._sample(row, labels, pre_process) for row in self._manifest)

    def warn_of_problems(self) -> None:
        """Names the first photos that gave no input, and why."""
        problems = list(self.problems.values())
        for problem in problems[:_FIRST_NAMED]:
            warn(problem)
        if len(problems) > _FIRST_NAMED:
            warn(f"and {len(problems) - _FIRST_NAMED} photos more")


def read_photos(data_path: Path, split: str, models: Sequence[Path | None], detector: FaceDetector) -> PhotoSamples:
    """Returns the chosen photos after checking their labels against each model's.

    Args:
        data_path: The manifest.
        split: train, val, test or all.
        models: Model files; ``None`` is the embedded one.
        detector: For rows without a face box.

    Raises:
        UsageError: The split is unknown.
        ManifestError: The manifest is missing or broken.
        ModelFileError: A model is missing or damaged.
        DataError: There is no photo, or a label that a model does not know.
    """
    from edgegender.runtime.model_file import embedded_model_path, read_model

    require_choice(split, SPLIT_CHOICES, "--split")
    labels = [read_model(model or embedded_model_path()).metadata.labels for model in models]
    return read_labelled_photos(data_path, split, labels, detector)


def read_labelled_photos(
    data_path: Path, split: str, label_sets: Sequence[Sequence[str]], detector: FaceDetector
) -> PhotoSamples:
    """Returns the chosen photos after checking their labels. See :func:`read_photos`.

    Args:
        data_path: The manifest.
        split: train, val, test or all.
        label_sets: Those that each model knows.
        detector: For rows without a face box.

    Raises:
        UsageError: The split is unknown.
        ManifestError: The manifest is missing or broken.
        DataError: There is no photo, or a label that a model does not know.
    """
    from edgegender.data.manifest import require_labels
    from edgegender.data.manifest_file import read_manifest

    require_choice(split, SPLIT_CHOICES, "--split")
    manifest = read_manifest(data_path).select(split=None if split == "all" else split)
    for labels in label_sets:
        require_labels(manifest, where=f"{data_path}, split {split}", labels=labels)
    return PhotoSamples(manifest, detector)
