"""Scores are read from a file's own bytes, fed as the device would feed it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from edgegender.conversion import measured
from edgegender.conversion.measured import MeasuredPhotos, score_inputs
from edgegender.errors import DataError, ImageError, ModelFileError
from edgegender.runtime.interpreter import Interpreter
from tests.tiny_model import build_network, grey_picture

CONTENT = build_network(input_size_px=16)
PICTURES = [grey_picture(value, 16) for value in (0, 60, 128, 200, 255)]


@pytest.mark.parametrize("is_float", [False, True])
def test_scores_are_those_of_the_interpreter_in_the_order_of_the_pictures(is_float: bool) -> None:
    content = build_network(input_size_px=16, is_float=is_float)
    scores = score_inputs(content, iter(PICTURES), scaling="tf")
    assert (scores.shape, scores.dtype) == ((5, 2), np.float64)
    interpreter = Interpreter(content, num_threads=1)
    np.testing.assert_array_equal(scores, [interpreter.run(picture) for picture in PICTURES])
    assert scores[:, 1].tolist() == sorted(scores[:, 1])
    assert scores[0, 1] < 0.01
    assert scores[-1, 1] > 0.99


def test_a_float_file_is_fed_by_the_scaling_and_a_quantized_one_knows_its_own() -> None:
    floating, quantized = (build_network(input_size_px=16, is_float=is_float) for is_float in (True, False))
    # softmax of ±3 times the mean: 0 is one half in "unit", and three in a thousand in "tf"
    assert score_inputs(floating, PICTURES[:1], scaling="unit")[0, 1] == pytest.approx(0.5)
    assert score_inputs(floating, PICTURES[:1], scaling="tf")[0, 1] < 0.01
    np.testing.assert_array_equal(*(score_inputs(quantized, PICTURES, scaling=scaling) for scaling in ("unit", "tf")))


@pytest.mark.parametrize("num_cores", [1, 3])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 230])
def test_many_pictures_keep_their_order_whatever_the_number_of_cores(
    monkeypatch: pytest.MonkeyPatch, num_cores: int, count: int
) -> None:
    monkeypatch.setattr(measured, "default_num_threads", lambda: num_cores)
    values = np.random.default_rng(0).permutation(256)[:count]
    scores = score_inputs(CONTENT, (grey_picture(int(value), 16) for value in values), scaling="tf")
    interpreter = Interpreter(CONTENT, num_threads=1)
    np.testing.assert_array_equal(scores, [interpreter.run(grey_picture(int(value), 16)) for value in values])


def test_pictures_do_not_pile_up_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million photos are decoded as they are answered, not before."""
    monkeypatch.setattr(measured, "default_num_threads", lambda: 2)
    alive: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()
    most = 0

    def pictures() -> Iterator[np.ndarray]:
        nonlocal most
        for number in range(800):
            picture = grey_picture(number % 256, 16)
            alive[number] = picture
            most = max(most, len(alive))
            yield picture

    assert len(score_inputs(CONTENT, pictures(), scaling="tf")) == 800
    # five batches of 16 wait or run, the sixth is being read, and the last of it may still stand in a variable
    assert most <= 6 * 16 + 2


def test_a_photo_that_cannot_be_read_ends_the_measurement_with_its_own_error() -> None:
    def pictures() -> Iterator[np.ndarray]:
        yield from PICTURES * 10
        raise ImageError("Expected a photo, got damaged data.", kind="damaged")

    with pytest.raises(ImageError, match="Expected a photo, got damaged data"):
        score_inputs(CONTENT, pictures(), scaling="tf")


def test_photos_are_given_anew_each_time() -> None:
    photos = MeasuredPhotos(lambda: iter(PICTURES), np.zeros(5, np.int64), np.zeros((5, 2)))
    content = build_network(input_size_px=16)
    first, second = (score_inputs(content, photos.inputs(), scaling="tf") for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert photos.groups == {}


def test_no_picture_at_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"Expected photos to answer, got none\."):
        score_inputs(build_network(input_size_px=16), iter([]), scaling="tf")


def test_a_file_that_the_runtime_does_not_load_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"Expected a network that .* runs, got: "):
        score_inputs(b"no network", PICTURES, scaling="tf")
