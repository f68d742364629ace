"""Budgets: what the names stand for."""

from __future__ import annotations

import pytest

from edgegender.errors import UsageError
from edgegender.runtime.budget import BUDGET_NAMES, BUDGETS, DEFAULT_BUDGET, Budget, budget_named


def test_each_budget_has_a_name_of_its_own_and_the_default_is_one_of_them() -> None:
    assert len(set(BUDGET_NAMES)) == len(BUDGETS) == 3
    assert DEFAULT_BUDGET in BUDGET_NAMES
    assert [budget_named(name).name for name in BUDGET_NAMES] == list(BUDGET_NAMES)


def test_full_searches_and_classifies_in_every_frame() -> None:
    full = budget_named("full")
    assert (full.detect_every, full.classify_settled_every_s, full.max_classified_per_frame) == (1, 0.0, None)
    assert full.search_after(is_empty=True, is_unclear=True) == 1


def test_each_budget_searches_less_often_than_the_one_before() -> None:
    steps = [budget.detect_every for budget in BUDGETS]
    assert steps == sorted(set(steps))
    waits = [budget.classify_settled_every_s for budget in BUDGETS]
    assert waits == sorted(set(waits))


@pytest.mark.parametrize("budget", BUDGETS, ids=BUDGET_NAMES)
def test_an_empty_room_is_searched_more_often_and_an_unclear_one_more_often_still(budget: Budget) -> None:
    usual = budget.search_after(is_empty=False, is_unclear=False)
    empty = budget.search_after(is_empty=True, is_unclear=False)
    unclear = budget.search_after(is_empty=False, is_unclear=True)
    assert 1 <= unclear <= empty <= usual == budget.detect_every


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(UsageError, match=r"Expected a budget of full, balanced, low, got 'max'\."):
        budget_named("max")
