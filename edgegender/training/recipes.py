"""Recipes: all that decides a training run, in one declarative file each."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from edgegender.errors import UsageError

ARCHITECTURES = ("mobilenetv2", "cnn")
AUGMENTATIONS = ("none", "light", "camera")
START_WEIGHTS = ("imagenet", "none")


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Args:
        name: The recipe's name.
        source: Where it comes from.
        architecture: One of ``ARCHITECTURES``.
        alpha: Width multiplier of the convolutions.
        input_size_px: Side of the square input, 32 to 512.
        crop_margin: Side of the crop divided by the side of the face box, 1 to 3.
        start_weights: ``imagenet`` or ``none`` (random).
        epochs: Passes over the training photos.
        batch_size: Photos a step.
        learning_rate: Peak of the cosine schedule.
        warmup_fraction: Share of all steps that the rate climbs from zero, in [0, 0.5].
        weight_decay: AdamW's decoupled weight decay.
        label_smoothing: Share of the target spread over all labels, in [0, 0.5).
        dropout: Before the last layer, in [0, 1).
        batch_norm_momentum: Of the moving statistics. Keras builds MobileNetV2 with 0.999, which lags far behind in a
            short fine-tune: validation then looks bad while training looks good.
        is_class_balanced: Whether each label weighs the same in the loss however many photos it has.
        augmentation: One of ``AUGMENTATIONS``.
        seed: Of weights, order and augmentation.
    """

    name: str
    source: str
    architecture: str
    alpha: float
    input_size_px: int
    crop_margin: float
    start_weights: str
    epochs: int
    batch_size: int
    learning_rate: float
    warmup_fraction: float
    weight_decay: float
    label_smoothing: float
    dropout: float
    batch_norm_momentum: float
    is_class_balanced: bool
    augmentation: str
    seed: int

    def __post_init__(self) -> None:
        ranges: tuple[tuple[str, float, float], ...] = (
            ("alpha", 0.1, 2.0),
            ("input_size_px", 32, 512),
            ("crop_margin", 1.0, 3.0),
            ("epochs", 1, 1000),
            ("batch_size", 1, 4096),
            ("learning_rate", 1e-7, 1.0),
            ("warmup_fraction", 0.0, 0.5),
            ("weight_decay", 0.0, 1.0),
            ("label_smoothing", 0.0, 0.49),
            ("dropout", 0.0, 0.99),
            ("batch_norm_momentum", 0.0, 0.9999),
            ("seed", 0, 2**31 - 1),
        )
        for name, low, high in ranges:
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"Expected {name} in [{low:g}, {high:g}], got {value} (recipe {self.name}).")
        choices = (
            ("architecture", ARCHITECTURES),
            ("augmentation", AUGMENTATIONS),
            ("start_weights", START_WEIGHTS),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"Expected {name} of {', '.join(allowed)}, got {getattr(self, name)!r} (recipe {self.name})."
                )


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."


def recipe_names() -> list[str]:
    """Returns the names of the recipes in the package."""
    folder = resources.files("edgegender.training") / "recipes"
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def _convert(name: str, text: str, kind: type) -> object:
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text)
    except (KeyError, ValueError) as error:
        raise UsageError(f"Expected {name} as {kind.__name__}, got {text!r}.") from error


def load_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Returns a recipe with some values changed.

    Args:
        name: One of :func:`recipe_names`.
        overrides: ``key=value`` each.

    Raises:
        UsageError: The recipe or a key is unknown (the hint has the nearest one), or a value is out of range.

    Example:
        >>> load_recipe("edge", ["epochs=2"]).epochs
        2
    """
    names = recipe_names()
    if name not in names:
        raise UsageError(f"Expected a recipe of {', '.join(names)}, got {name!r}.", hint=_nearest(name, names))
    values = json.loads((resources.files("edgegender.training") / "recipes" / f"{name}.json").read_text("utf-8"))
    kinds = {field.name: type(values[field.name]) for field in dataclasses.fields(Recipe)}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or key not in kinds:
            raise UsageError(
                f"Expected --set key=value with a recipe's key, got {override!r}.", hint=_nearest(key, list(kinds))
            )
        values[key] = _convert(key, text, kinds[key])
    return Recipe(**values)
