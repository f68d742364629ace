"""Recipes: each shipped one loads, and what is wrong with a changed one is named."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import get_type_hints

import pytest

from edgegender.errors import UsageError
from edgegender.training.recipes import ARCHITECTURES, AUGMENTATIONS, START_WEIGHTS, Recipe, load_recipe, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_loads_under_its_own_name_and_says_where_it_comes_from(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.source


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_holds_each_value_in_its_own_type(name: str) -> None:
    """A whole number where a float belongs would make --set refuse a float for it."""
    recipe = load_recipe(name)
    types = get_type_hints(Recipe)
    assert {field: type(value) for field, value in dataclasses.asdict(recipe).items()} == types


@pytest.mark.parametrize("name", recipe_names())
def test_a_shipped_recipe_has_the_fields_of_a_recipe_and_no_others(name: str) -> None:
    text = (resources.files("edgegender.training") / "recipes" / f"{name}.json").read_text("utf-8")
    assert list(json.loads(text)) == [field.name for field in dataclasses.fields(Recipe)]


def test_the_recipes_of_the_documentation_are_shipped() -> None:
    assert {"demo", "edge"} <= set(recipe_names())


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("epochs=2", "epochs", 2),
        ("learning_rate=1e-3", "learning_rate", 1e-3),
        ("weight_decay=0", "weight_decay", 0.0),
        ("is_class_balanced=False", "is_class_balanced", False),
        ("is_class_balanced=true", "is_class_balanced", True),
        ("augmentation=none", "augmentation", "none"),
        ("source=a=b", "source", "a=b"),
    ],
)
def test_an_override_changes_one_value_in_its_type(override: str, field: str, value: object) -> None:
    changed, plain = load_recipe("edge", [override]), load_recipe("edge")
    assert getattr(changed, field) == value
    assert type(getattr(changed, field)) is type(value)
    assert dataclasses.replace(changed, **{field: getattr(plain, field)}) == plain


def test_the_last_of_two_overrides_counts() -> None:
    assert load_recipe("edge", ["epochs=2", "epochs=3"]).epochs == 3


def test_an_unknown_recipe_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"Expected a recipe of .*edge.*, got 'egde'") as caught:
        load_recipe("egde")
    assert caught.value.hint == "Did you mean edge?"
    with pytest.raises(UsageError, match="got 'xyz'") as caught:
        load_recipe("xyz")
    assert caught.value.hint == f"Known: {', '.join(recipe_names())}."


def test_a_recipe_is_no_path() -> None:
    with pytest.raises(UsageError, match=r"got '\.\./recipes/edge'"):
        load_recipe("../recipes/edge")


@pytest.mark.parametrize(("override", "nearest"), [("epoch=2", "epochs"), ("learningrate=1", "learning_rate")])
def test_an_unknown_key_is_refused_with_the_nearest_one(override: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=f"Expected --set key=value with a recipe's key, got '{override}'") as caught:
        load_recipe("edge", [override])
    assert caught.value.hint == f"Did you mean {nearest}?"


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected --set key=value with a recipe's key, got 'epochs'"):
        load_recipe("edge", ["epochs"])


@pytest.mark.parametrize(
    ("override", "kind"),
    [("epochs=two", "int"), ("epochs=2.5", "int"), ("dropout=", "float"), ("is_class_balanced=yes", "bool")],
)
def test_a_value_of_another_type_is_refused(override: str, kind: str) -> None:
    key, _, text = override.partition("=")
    with pytest.raises(UsageError, match=f"Expected {key} as {kind}, got '{text}'"):
        load_recipe("edge", [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("alpha=0.05", r"Expected alpha in \[0\.1, 2\], got 0\.05 \(recipe edge\)"),
        ("input_size_px=16", r"Expected input_size_px in \[32, 512\], got 16"),
        ("crop_margin=0.9", r"Expected crop_margin in \[1, 3\], got 0\.9"),
        ("epochs=0", r"Expected epochs in \[1, 1000\], got 0"),
        ("batch_size=-1", r"Expected batch_size in \[1, 4096\], got -1"),
        ("learning_rate=nan", r"Expected learning_rate in \[1e-07, 1\], got nan"),
        ("warmup_fraction=0.6", r"Expected warmup_fraction in \[0, 0\.5\], got 0\.6"),
        ("weight_decay=inf", r"Expected weight_decay in \[0, 1\], got inf"),
        ("label_smoothing=0.5", r"Expected label_smoothing in \[0, 0\.49\], got 0\.5"),
        ("dropout=1", r"Expected dropout in \[0, 0\.99\], got 1\.0"),
        ("batch_norm_momentum=1", r"Expected batch_norm_momentum in \[0, 0\.9999\], got 1\.0"),
        ("seed=-1", r"Expected seed in \[0, 2\.14748e\+09\], got -1"),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe("edge", [override])


@pytest.mark.parametrize(
    ("field", "known"),
    [("architecture", ARCHITECTURES), ("augmentation", AUGMENTATIONS), ("start_weights", START_WEIGHTS)],
)
def test_a_choice_that_does_not_exist_is_refused_with_the_known_ones(field: str, known: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=f"Expected {field} of {', '.join(known)}, got 'other'"):
        load_recipe("edge", [f"{field}=other"])
