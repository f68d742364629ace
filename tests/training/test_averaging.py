"""Averaged weights: the formula, the slow start, and a network that gets its own weights back."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.training.averaging import STEPS_BETWEEN_UPDATES, AveragedWeights

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow


def make_model() -> keras.Model:
    image = keras.Input((2,))
    return keras.Model(image, keras.layers.Dense(1, use_bias=False)(image))


def fill(model: keras.Model, value: float) -> None:
    model.set_weights([np.full((2, 1), value, np.float32)])


def test_an_average_follows_the_weights_with_its_momentum() -> None:
    model, averaged = make_model(), AveragedWeights(0.9)
    fill(model, 1.0)
    averaged.start(model)
    fill(model, 2.0)
    step = 10_000 * STEPS_BETWEEN_UPDATES - 1  # late enough that the slow start is over
    averaged.update(model, step)
    kept = 0.9**STEPS_BETWEEN_UPDATES
    np.testing.assert_allclose(averaged.arrays[0], kept * 1.0 + (1 - kept) * 2.0, rtol=1e-6)  # float32


def test_the_first_updates_are_quick_so_that_the_start_is_forgotten() -> None:
    model, averaged = make_model(), AveragedWeights(0.9999)
    fill(model, 0.0)
    averaged.start(model)
    fill(model, 1.0)
    averaged.update(model, STEPS_BETWEEN_UPDATES - 1)
    assert averaged.arrays[0][0, 0] > 0.9


def test_between_updates_nothing_moves() -> None:
    model, averaged = make_model(), AveragedWeights(0.5)
    fill(model, 1.0)
    averaged.start(model)
    fill(model, 2.0)
    for step in range(STEPS_BETWEEN_UPDATES - 1):
        averaged.update(model, step)
    assert averaged.arrays[0][0, 0] == 1.0


def test_the_network_has_the_averages_in_the_block_and_its_own_weights_afterwards() -> None:
    model, averaged = make_model(), AveragedWeights(0.5)
    fill(model, 1.0)
    averaged.start(model)
    fill(model, 3.0)
    with averaged.in_place(model):
        assert model.get_weights()[0][0, 0] == 1.0
    assert model.get_weights()[0][0, 0] == 3.0


def test_the_network_gets_its_own_weights_back_when_validation_fails() -> None:
    model, averaged = make_model(), AveragedWeights(0.5)
    fill(model, 1.0)
    averaged.start(model)
    fill(model, 3.0)
    with pytest.raises(ZeroDivisionError), averaged.in_place(model):
        _ = 1 / 0
    assert model.get_weights()[0][0, 0] == 3.0


def test_without_averaging_nothing_is_kept_and_nothing_changes() -> None:
    model, averaged = make_model(), AveragedWeights(0.0)
    fill(model, 1.0)
    averaged.start(model)
    averaged.update(model, STEPS_BETWEEN_UPDATES - 1)
    with averaged.in_place(model):
        assert model.get_weights()[0][0, 0] == 1.0
    assert not averaged.arrays


def test_restored_averages_are_not_begun_anew() -> None:
    model, averaged = make_model(), AveragedWeights(0.5)
    fill(model, 1.0)
    averaged.restore([np.full((2, 1), 7.0, np.float32)])
    averaged.start(model)
    assert averaged.arrays[0][0, 0] == 7.0
