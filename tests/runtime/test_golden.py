"""The golden files: the same bytes in give the same bytes out, on every machine, with the reference kernels."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from edgegender import files, images
from edgegender.entities import UInt8Array
from edgegender.runtime.classifier import Classifier
from tests.golden import make

Record = dict[str, list[object]]


@pytest.fixture(scope="module")
def expected() -> Record:
    record: Record = json.loads(make.EXPECTED.read_text())
    return record


@pytest.fixture(scope="module")
def inputs() -> UInt8Array:
    return images.read_image(make.INPUTS).reshape(-1, make.SIZE_PX, make.SIZE_PX, 3)


def test_the_files_are_the_ones_that_were_recorded(expected: Record, inputs: UInt8Array) -> None:
    assert files.hash_file(make.MODEL) == expected["model_sha256"]
    assert hashlib.sha256(inputs.tobytes()).hexdigest() == expected["inputs_sha256"]


def test_the_inputs_are_still_drawn_as_they_were(inputs: UInt8Array) -> None:
    np.testing.assert_array_equal(make.draw_inputs(), inputs)


def test_the_reference_kernels_answer_exactly_what_was_recorded(expected: Record, inputs: UInt8Array) -> None:
    classifier = Classifier(make.MODEL, num_threads=1, is_reference=True)
    steps = [(classifier.forward(picture) * 256).tolist() for picture in inputs]
    assert steps == expected["scores_by_256"]


def test_the_fast_kernels_answer_within_a_step_of_the_logits(expected: Record, inputs: UInt8Array) -> None:
    classifier = Classifier(make.MODEL, num_threads=1)
    scores = np.stack([classifier.forward(picture) for picture in inputs])
    # a logit step of 1/16 on either side moves a score by at most 2 · 1/4 · 1/16
    np.testing.assert_allclose(scores, np.asarray(expected["scores_by_256"]) / 256, atol=0.035)


def test_the_labels_are_the_recorded_ones(expected: Record, inputs: UInt8Array) -> None:
    classifier = Classifier(make.MODEL, num_threads=1, is_reference=True)
    assert [classifier.classify(picture).predicted_label for picture in inputs] == expected["labels"]


def test_the_metadata_read_back() -> None:
    metadata = Classifier(make.MODEL, num_threads=1).metadata
    assert (metadata.name, metadata.temperature, metadata.unsure_below) == ("golden", 1.5, 0.6)
