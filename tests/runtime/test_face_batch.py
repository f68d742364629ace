"""Faces in one batch: the same answers, and only where it is quicker."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgegender.entities import FaceBox
from edgegender.errors import ModelFileError
from edgegender.runtime import face_batch
from edgegender.runtime.classifier import Classifier
from edgegender.runtime.face_batch import MAX_BATCH, FaceBatches
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import embedded_model_path
from tests.tiny_model import build_network

BOXES = [FaceBox(40.0 * number, 30.0, 40.0 * number + 90, 120.0) for number in range(7)]
PICTURE = np.random.default_rng(2).integers(0, 256, (200, 400, 3), np.uint8)


class Slow(Interpreter):
    """A network that takes its time."""

    def invoke(self) -> None:
        time.sleep(0.03)  # many times what the network takes, on a busy machine, too
        super().invoke()


def load(batch_size: int | None = None, kind: type[Interpreter] = Interpreter) -> Interpreter:
    return kind(embedded_model_path().read_bytes(), num_threads=1, batch_size=batch_size)


def test_a_batch_that_is_quicker_is_used() -> None:
    batches = FaceBatches(load(kind=Slow), load)
    chosen = batches.interpreter_for(3)
    assert chosen is not None
    assert chosen.input_shape == (3, 96, 96, 3)
    assert batches.interpreter_for(3) is chosen


def test_a_batch_that_is_slower_is_left() -> None:
    assert FaceBatches(load(), lambda size: load(size, kind=Slow)).interpreter_for(2) is None


@pytest.mark.parametrize("num_faces", [0, 1, MAX_BATCH + 1])
def test_one_face_and_more_than_the_largest_batch_are_no_batch(num_faces: int) -> None:
    assert FaceBatches(load(kind=Slow), load).interpreter_for(num_faces) is None


def test_a_network_that_answers_otherwise_in_a_batch_gets_single_runs() -> None:
    other = build_network()
    single = Slow(build_network(is_float=True), num_threads=1)
    batches = FaceBatches(single, lambda size: Interpreter(other, num_threads=1, batch_size=size))
    assert batches.interpreter_for(2) is None


def test_a_network_that_takes_no_batch_gets_single_runs() -> None:
    def refuse(size: int) -> Interpreter:
        raise ModelFileError(f"no batch of {size}")

    assert FaceBatches(load(kind=Slow), refuse).interpreter_for(2) is None
    assert FaceBatches(load(kind=Slow), lambda _: load()).interpreter_for(2) is None


@pytest.mark.parametrize("min_gain", [0.0, 1e9], ids=["one by one", "together"])
def test_the_answers_are_the_same_one_by_one_and_together(monkeypatch: pytest.MonkeyPatch, min_gain: float) -> None:
    monkeypatch.setattr(face_batch, "_MIN_GAIN", min_gain)
    classifier = Classifier(num_threads=1)
    answers = classifier.classify_faces(PICTURE, BOXES)
    assert answers == tuple(classifier.classify(PICTURE, box) for box in BOXES)
    assert [answer.box for answer in answers] == BOXES
    assert (classifier._batches.interpreter_for(3) is not None) == (min_gain > 1)


def test_no_face_is_no_answer() -> None:
    assert Classifier(num_threads=1).classify_faces(PICTURE, []) == ()


def test_an_answer_is_preprocessing_network_and_postprocessing_in_turn() -> None:
    classifier = Classifier(num_threads=1)
    for box in (*BOXES, None):
        scores = classifier.forward(classifier.pre_process(PICTURE, box))
        assert classifier.classify(PICTURE, box) == classifier.post_process(scores, box)
