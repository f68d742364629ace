"""The recipes explain themselves: each key with its meaning, within the terminal's width."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from edgegender.cli.recipe_list import describe_network, key_meanings, list_recipes
from edgegender.errors import UsageError
from edgegender.training.recipes import ARCHITECTURES, Recipe, load_recipe, recipe_names

KEYS = [field.name for field in dataclasses.fields(Recipe)]


@pytest.fixture
def printed(capsys, monkeypatch):
    """Prints on a terminal of so many letters a line, and returns the lines."""

    def run(columns=80, **options):
        monkeypatch.setenv("COLUMNS", str(columns))
        list_recipes(**{"as_json": False, **options})
        return capsys.readouterr().out.splitlines()

    return run


def on_one_line(lines):
    return " ".join(" ".join(lines).split())


def test_each_recipe_is_there_with_what_it_does_and_where_it_comes_from(printed):
    lines = printed()
    names = [line for line in lines if line and not line.startswith(" ")]
    assert names[:-1] == recipe_names()
    assert names[-1].startswith("Every key of one")
    text = on_one_line(lines)
    for recipe in map(load_recipe, recipe_names()):
        assert on_one_line([recipe.about]) in text
        assert on_one_line([recipe.source]) in text


def test_the_main_settings_of_a_recipe_are_said_in_words(printed):
    text = on_one_line(printed())
    hamza = text.partition("hamza2025")[2].partition("tareq2025-cnn")[0]
    assert "network mobilenetv2 1.0 @ 224 px, start weights imagenet, scaling unit head" in hamza
    assert "epochs 8, batch 32 optimizer adam, learning rate 0.0001, plateau (× 0.1 after 2 epochs) loss" in hamza
    assert "loss focal (gamma 2) augmentation geometric" in hamza
    assert "split 80/20, random by photo; validation on test" in hamza
    assert "threshold the one with the best F1 on validation" in hamza
    tareq = text.partition("tareq2025-resnet50")[2]
    assert "head dense 128, dropout 0.5, sigmoid epochs 10, batch 32; base frozen for 5, then learning rate ×" in tareq


@pytest.mark.parametrize(("columns", "widest"), [(50, 50), (80, 80), (300, 110), (20, 50)])
@pytest.mark.parametrize("name", [None, "edge"])
def test_lines_are_as_wide_as_the_terminal_and_no_wider_than_one_can_read(printed, columns, widest, name):
    lines = printed(columns, name=name)
    wrapped = [line for line in lines if line.startswith(" ")]
    assert max(map(len, wrapped)) <= widest
    assert max(map(len, wrapped)) > 0.8 * widest


def test_json_has_all_values_of_all_recipes(printed):
    values = json.loads("\n".join(printed(as_json=True)))
    assert values == {"recipes": [dataclasses.asdict(load_recipe(name)) for name in recipe_names()]}


# One recipe


def test_each_key_has_a_meaning_and_no_meaning_lacks_its_key():
    meanings = key_meanings()
    assert list(meanings) == KEYS
    for key, meaning in meanings.items():
        assert len(meaning) > 8, key
        assert not {"`", ":func:"} & set(meaning.split()), key
        assert "`" not in meaning, key


def test_a_meaning_on_two_lines_is_whole_and_ends_before_the_next_key():
    text = key_meanings()["scaling"]
    assert text.startswith("How bytes become numbers, see edgegender.preprocess.to_float; auto is what")
    assert text.endswith("start weights expect.")


def test_names_of_constants_are_written_out():
    assert key_meanings()["architecture"] == f"One of {', '.join(ARCHITECTURES)}."


def test_one_recipe_is_shown_with_each_key_and_its_value(printed):
    lines = printed(name="edge", overrides=["epochs=3", "is_class_balanced=false", "learning_rate=0.00001"])
    shown = dict(line.strip().split(" = ") for line in lines if " = " in line)
    assert list(shown) == [key for key in KEYS if key not in ("name", "about", "source")]
    assert (shown["epochs"], shown["is_class_balanced"], shown["learning_rate"]) == ("3", "false", "1e-05")
    assert shown["architecture"] == "mobilenetv2"
    assert "Passes over the training photos." in on_one_line(lines)


def test_values_can_be_given_back_to_set(printed):
    shown = [line.strip() for line in printed(name="hamza2025") if " = " in line]
    overrides = [line.replace(" = ", "=") for line in shown]
    assert load_recipe("hamza2025", overrides) == load_recipe("hamza2025")


def test_json_of_one_recipe_has_values_and_meanings(printed):
    values = json.loads("\n".join(printed(as_json=True, name="edge", overrides=["seed=9"])))
    assert values["recipe"] == dataclasses.asdict(load_recipe("edge", ["seed=9"]))
    assert list(values["meanings"]) == KEYS


def test_an_unknown_recipe_has_the_nearest_one_as_a_hint(printed):
    with pytest.raises(UsageError, match="Expected a recipe of") as caught:
        printed(name="hamza")
    assert caught.value.hint == "Did you mean hamza2025?"


def test_without_docstrings_the_values_are_still_shown(printed, monkeypatch):
    """Python -OO strips them."""
    monkeypatch.setattr(Recipe, "__doc__", None)
    assert key_meanings() == {}
    assert "  epochs = 8" in printed(name="edge")


# A network in a few letters


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"alpha": 0.35, "input_size_px": 128}, "mobilenetv2 0.35 @ 128"),
        ({"architecture": "cnn", "alpha": 1.0}, "cnn 1.0 @ 96"),
        ({"architecture": "inceptionv3", "alpha": 0.5}, "inceptionv3 @ 96"),
    ],
)
def test_width_is_named_where_it_counts(changes, text):
    assert describe_network(replace(load_recipe("edge"), **changes)) == text
