"""What ``edgegender benchmark`` measures: files of edgegender and described networks of others, seen alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgegender.benchmark.engines import EngineEntry
    from edgegender.benchmark.measure import Subject
    from edgegender.benchmark.run import Sample
    from edgegender.cli.photo_samples import PhotoSamples
    from edgegender.entities import FaceBox, UInt8Array

_RIVAL_SUFFIX = ".json"


@dataclass(frozen=True)
class BenchmarkedModel:
    """One model.

    Args:
        stem: What its result's file is called.
        subject: The file and what is recorded about it.
        pre_process: From a photo and a face box to its input.
        find_entry: From an engine's name to the engine; an empty name is the model's own.
        is_rival: Whether somebody else made it.
    """

    stem: str
    subject: Subject
    pre_process: Callable[[UInt8Array, FaceBox | None], UInt8Array]
    find_entry: Callable[[str], EngineEntry]
    is_rival: bool = False


@dataclass(frozen=True)
class ModelSamples:
    """A manifest's photos as one model sees them, from the start each time that they are gone through."""

    photos: PhotoSamples
    model: BenchmarkedModel

    def __iter__(self) -> Iterator[Sample]:
        return self.photos.as_inputs(self.model.subject.record.labels, self.model.pre_process)


def _open_rival(path: Path) -> BenchmarkedModel:
    from edgegender.benchmark.rival_source import rival_entry, rival_subject
    from edgegender.benchmark.rivals import read_rival
    from edgegender.preprocess import to_input

    rival = read_rival(path)
    preprocessing = rival.description.preprocessing
    return BenchmarkedModel(
        path.stem,
        rival_subject(rival),
        lambda image_rgb, box: to_input(image_rgb, box, preprocessing),
        lambda engine: rival_entry(rival, engine),
        is_rival=True,
    )


def open_model(path: Path | None) -> BenchmarkedModel:
    """Returns a model, verified.

    Args:
        path: A ``.tflite`` of edgegender, or the description (``.json``) of another network; ``None`` is the embedded
            model.

    Raises:
        ModelFileError: It is missing, damaged or altered.
        UsageError: The description is wrong.
    """
    from edgegender.benchmark.engines import DEFAULT_ENGINE, find_engine
    from edgegender.benchmark.measure import subject_of
    from edgegender.runtime.classifier import Classifier

    if path is not None and path.suffix == _RIVAL_SUFFIX:
        return _open_rival(path)
    classifier = Classifier(path)
    return BenchmarkedModel(
        "embedded" if path is None else path.stem,
        subject_of(classifier.file),
        classifier.pre_process,
        lambda engine: find_engine(engine or DEFAULT_ENGINE),
    )
