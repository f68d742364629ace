"""The rate of each step: what the papers and the recipe say, and the same again from a checkpoint."""

from __future__ import annotations

import json

import pytest

from edgegender.training.recipes import Recipe, load_recipe
from edgegender.training.schedules import RateSchedule


def recipe(*overrides: str) -> Recipe:
    return load_recipe("edge", ["learning_rate=0.01", "epochs=10", *overrides])


def test_the_cosine_climbs_then_falls_to_nothing() -> None:
    schedule = RateSchedule(recipe("warmup_fraction=0.1"), 10)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert max(rates) == pytest.approx(0.01, rel=1e-5)  # the floor of 1e-8 is added to it
    assert 0 < rates[-1] < 0.01 / 1000
    assert rates[0] == pytest.approx(0.001)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_rate_is_positive_in_the_shortest_runs(steps: int) -> None:
    schedule = RateSchedule(recipe("warmup_fraction=0.5", "epochs=1"), steps)
    assert all(0 < schedule.rate(step) <= 0.011 for step in range(steps))


@pytest.mark.parametrize("kind", ["constant", "plateau"])
def test_a_rate_without_a_cosine_stays_from_the_first_step_on(kind: str) -> None:
    schedule = RateSchedule(recipe(f"schedule={kind}", "warmup_fraction=0.5"), 10)
    assert {schedule.rate(step) for step in range(100)} == {0.01}


@pytest.mark.parametrize("kind", ["constant", "cosine"])
def test_the_rate_falls_by_its_factor_when_the_base_is_unfrozen(kind: str) -> None:
    changes = (f"schedule={kind}", "frozen_epochs=5", "unfrozen_rate_factor=0.01")
    frozen = RateSchedule(recipe(f"schedule={kind}"), 10)
    schedule = RateSchedule(recipe(*changes), 10)
    assert schedule.rate(49) == frozen.rate(49)
    assert schedule.rate(50) == pytest.approx(0.01 * frozen.rate(50), rel=1e-3)  # the floor is not multiplied


def end_epochs(schedule: RateSchedule, *losses: float) -> list[float]:
    rates = []
    for loss in losses:
        schedule.end_epoch(loss)
        rates.append(round(schedule.rate(0), 9))
    return rates


def test_a_plateau_lowers_the_rate_after_its_patience_and_counts_anew() -> None:
    schedule = RateSchedule(recipe("schedule=plateau", "plateau_patience=2", "plateau_factor=0.1"), 10)
    rates = end_epochs(schedule, 0.5, 0.5, 0.6, 0.4, 0.4, 0.4, 0.4, 0.4)
    assert rates == [0.01, 0.01, 0.001, 0.001, 0.001, 0.0001, 0.0001, 0.00001]


def test_a_loss_that_is_hardly_better_is_a_plateau() -> None:
    schedule = RateSchedule(recipe("schedule=plateau", "plateau_patience=1"), 10)
    # ReduceLROnPlateau of Keras has min_delta 1e-4: 0.00005 less is no improvement
    assert end_epochs(schedule, 0.5, 0.49995) == [0.01, 0.001]
    better = RateSchedule(recipe("schedule=plateau", "plateau_patience=1"), 10)
    assert end_epochs(better, 0.5, 0.4998) == [0.01, 0.01]


def test_a_plateau_lowers_no_other_schedule() -> None:
    assert end_epochs(RateSchedule(recipe("schedule=constant", "plateau_patience=1"), 10), 0.5, 0.5, 0.5) == [0.01] * 3


def test_it_goes_on_from_what_was_stored() -> None:
    losses = (0.5, 0.5, 0.6, 0.4, 0.4, 0.4, 0.4)
    whole = RateSchedule(recipe("schedule=plateau"), 10)
    expected = end_epochs(whole, *losses)
    for cut in range(len(losses)):
        first, second = (RateSchedule(recipe("schedule=plateau"), 10) for _ in range(2))
        begun = end_epochs(first, *losses[:cut])
        second.restore(json.loads(json.dumps(first.to_json(), allow_nan=False)))
        assert begun + end_epochs(second, *losses[cut:]) == expected
