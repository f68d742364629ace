"""``edgegender train --list-recipes``: what the recipes do, where they come from, and what each key means."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import print_json

if TYPE_CHECKING:
    from edgegender.training.recipes import Recipe

_WIDEST = 110  # letters of a line: longer ones are hard to read
_NARROWEST = 50
_PROSE = ("name", "about", "source")


def _line_width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))


def _echo_wrapped(text: str, *, first: str, rest: str) -> None:
    click.echo(textwrap.fill(text, _line_width(), initial_indent=first, subsequent_indent=rest, break_on_hyphens=False))


def _format_value(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def describe_network(recipe: Recipe) -> str:
    """Returns architecture, width and input size in a few letters.

    Example:
        >>> from edgegender.training.recipes import load_recipe
        >>> describe_network(load_recipe("edge")), describe_network(load_recipe("tareq2025-resnet50"))
        ('mobilenetv2 1.0 @ 96', 'resnet50 @ 224')
    """
    width = f" {recipe.alpha:.4}" if recipe.architecture in ("mobilenetv2", "cnn") else ""
    return f"{recipe.architecture}{width} @ {recipe.input_size_px}"


def _describe_head(recipe: Recipe) -> str:
    parts = [f"dense {recipe.hidden_units}" if recipe.hidden_units else "", f"dropout {recipe.dropout:g}"]
    return ", ".join(part for part in (*parts, recipe.output) if part)


def _describe_schedule(recipe: Recipe) -> str:
    text = f"{recipe.optimizer}, learning rate {recipe.learning_rate:g}, {recipe.schedule}"
    if recipe.schedule == "plateau":
        text += f" (× {recipe.plateau_factor:g} after {recipe.plateau_patience} epochs)"
    if recipe.warmup_fraction:
        text += f", warm-up {100 * recipe.warmup_fraction:g} %"
    if recipe.optimizer == "adamw":
        text += f", weight decay {recipe.weight_decay:g}"
    return text


def _describe_loss(recipe: Recipe) -> str:
    text = recipe.loss.replace("_", " ")
    if recipe.loss == "focal":
        text += f" (gamma {recipe.focal_gamma:g})"
    if recipe.label_smoothing:
        text += f", label smoothing {recipe.label_smoothing:g}"
    return text + (", labels weigh the same" if recipe.is_class_balanced else "")


def _describe_epochs(recipe: Recipe) -> str:
    text = f"{recipe.epochs}, batch {recipe.batch_size}"
    if recipe.frozen_epochs:
        text += f"; base frozen for {recipe.frozen_epochs}, then learning rate × {recipe.unfrozen_rate_factor:g}"
    return text


def _main_settings(recipe: Recipe) -> list[tuple[str, str]]:
    split = "the manifest's" if recipe.split == "manifest" else f"{recipe.split}, random by photo"
    threshold = {"half": "0.5", "best_f1": "the one with the best F1 on validation"}[recipe.threshold]
    return [
        ("source", recipe.source),
        ("network", f"{describe_network(recipe)} px, start weights {recipe.start_weights}, scaling {recipe.scaling}"),
        ("head", _describe_head(recipe)),
        ("epochs", _describe_epochs(recipe)),
        ("optimizer", _describe_schedule(recipe)),
        ("loss", _describe_loss(recipe)),
        ("augmentation", recipe.augmentation),
        ("split", f"{split}; validation on {recipe.validation_split}"),
        ("threshold", threshold),
    ]


def key_meanings() -> dict[str, str]:
    """Returns what each key of a recipe means: ``Recipe``'s docstring is the only place where that stands.

    Example:
        >>> key_meanings()["learning_rate"]
        'Peak of the schedule.'
    """
    from edgegender.training.recipes import Recipe

    arguments = (inspect.getdoc(Recipe) or "").partition("Args:\n")[2]
    meanings: dict[str, list[str]] = {}
    for line in arguments.splitlines():
        named = re.match(r"    (\w+): (.*)", line)
        if named:
            meanings[named[1]] = [named[2]]
        elif line.startswith("        ") and meanings:
            meanings[list(meanings)[-1]].append(line.strip())
    return {key: _plain(" ".join(lines)) for key, lines in meanings.items()}


def _plain(text: str) -> str:
    """Returns reStructuredText without its marks; what can be chosen from is written out."""
    from edgegender.training import recipes

    text = re.sub(r":\w+:`([^`]+)`", r"\1", text).replace("``", "")
    return re.sub(r"\b[A-Z_]{4,}\b", lambda name: _choices(getattr(recipes, name[0], name[0])), text)


def _choices(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _print_summary(recipe: Recipe) -> None:
    click.echo(recipe.name)
    if recipe.about:
        _echo_wrapped(recipe.about, first="  ", rest="  ")
    for name, text in _main_settings(recipe):
        _echo_wrapped(text, first=f"  {name:<13} ", rest=" " * 16)


def _print_all_keys(recipe: Recipe) -> None:
    click.echo(recipe.name)
    for text in (recipe.about, f"Source: {recipe.source}"):
        if text:
            _echo_wrapped(text, first="  ", rest="  ")
    meanings = key_meanings()
    click.echo("")
    for key, value in dataclasses.asdict(recipe).items():
        if key not in _PROSE:
            click.echo(f"  {key} = {_format_value(value)}")
            _echo_wrapped(meanings.get(key, ""), first="      ", rest="      ")


def list_recipes(*, as_json: bool, name: str | None = None, overrides: Sequence[str] = ()) -> None:
    """Prints the recipes of the package, or one with each key, its value and its meaning.

    Args:
        as_json: All values as one JSON document: ``{"recipes": […]}``, or ``{"recipe": …, "meanings": …}`` for one.
        name: One recipe; ``None`` prints all of them.
        overrides: ``key=value`` each, for the one recipe.

    Raises:
        UsageError: The recipe or a key is unknown, or a value is out of range.
    """
    from edgegender.training.recipes import load_recipe, recipe_names

    if name is not None:
        recipe = load_recipe(name, overrides)
        if as_json:
            print_json({"recipe": dataclasses.asdict(recipe), "meanings": key_meanings()})
        else:
            _print_all_keys(recipe)
        return
    recipes = [load_recipe(known) for known in recipe_names()]
    if as_json:
        print_json({"recipes": [dataclasses.asdict(recipe) for recipe in recipes]})
        return
    for recipe in recipes:
        _print_summary(recipe)
        click.echo("")
    click.echo("Every key of one, with its meaning: edgegender train --recipe NAME --list-recipes")
