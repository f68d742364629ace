"""Recipes: all that decides a training run, in one declarative file each."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from edgegender.data.split import parse_shares
from edgegender.errors import UsageError
from edgegender.preprocess import SCALINGS

ARCHITECTURES = ("mobilenetv2", "resnet50", "inceptionv3", "cnn")
AUGMENTATIONS = ("none", "geometric", "light", "camera")
START_WEIGHTS = ("imagenet", "none")
MANIFEST_SPLIT = "manifest"
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "architecture": ARCHITECTURES,
    "scaling": ("auto", *SCALINGS),
    "start_weights": START_WEIGHTS,
    "output": ("softmax", "sigmoid"),
    "optimizer": ("adam", "adamw"),
    "schedule": ("cosine", "plateau", "constant"),
    "loss": ("cross_entropy", "focal"),
    "augmentation": AUGMENTATIONS,
    "threshold": ("half", "best_f1"),
    "validation_split": ("val", "test"),
    "precision": ("auto", "float32", "mixed_float16", "mixed_bfloat16"),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "alpha": (0.1, 2.0),
    "input_size_px": (32, 512),
    "crop_margin": (1.0, 3.0),
    "hidden_units": (0, 8192),
    "dropout": (0.0, 0.99),
    "batch_norm_momentum": (0.0, 0.9999),
    "epochs": (1, 1000),
    "frozen_epochs": (0, 1000),
    "batch_size": (1, 4096),
    "learning_rate": (1e-7, 1.0),
    "unfrozen_rate_factor": (1e-4, 1.0),
    "warmup_fraction": (0.0, 0.5),
    "plateau_factor": (0.01, 0.99),
    "plateau_patience": (1, 100),
    "weight_decay": (0.0, 1.0),
    "clip_norm": (0.0, 1000.0),
    "focal_gamma": (0.0, 10.0),
    "label_smoothing": (0.0, 0.49),
    "teacher_weight": (0.0, 1.0),
    "teacher_temperature": (0.1, 20.0),
    "weight_averaging": (0.0, 0.99999),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    Args:
        name: The recipe's name.
        about: What it does, in a sentence or two.
        source: Where it comes from.
        architecture: One of ``ARCHITECTURES``.
        alpha: Width multiplier of the convolutions (mobilenetv2 and cnn).
        input_size_px: Side of the square input, 32 to 512 (inceptionv3: from 75).
        crop_margin: Side of the crop divided by the side of the face box, 1 to 3.
        scaling: How bytes become numbers, see :func:`edgegender.preprocess.to_float`; ``auto`` is what the
            architecture's start weights expect.
        start_weights: ``imagenet`` or ``none`` (random).
        hidden_units: A dense layer with ReLU in front of the last one; 0 for none.
        dropout: Before the last layer, in [0, 1).
        output: ``softmax`` (one score a label) or ``sigmoid`` (one score in all; two labels only).
        batch_norm_momentum: Of the moving statistics; 0 keeps Keras's own. Keras builds MobileNetV2 with 0.999, which
            lags far behind in a short fine-tune: validation then looks bad while training looks good.
        is_batch_norm_trained: Whether batch normalization learns; otherwise it keeps its start weights' statistics.
        epochs: Passes over the training photos.
        frozen_epochs: The first of them, in which the base below the head keeps its start weights.
        batch_size: Photos a step, over all processes.
        optimizer: ``adam`` or ``adamw``.
        learning_rate: Peak of the schedule.
        unfrozen_rate_factor: Multiplies the rate after the frozen epochs.
        schedule: ``cosine`` (after a warm-up), ``plateau`` (lower when the validation loss stays) or ``constant``.
        warmup_fraction: Share of all steps that the rate climbs from zero, in [0, 0.5].
        plateau_factor: Multiplies the rate on a plateau.
        plateau_patience: Epochs without a better validation loss that make a plateau.
        weight_decay: AdamW's decoupled weight decay.
        clip_norm: Longest gradient of one variable, longer ones are shortened to it; 0 for no limit.
        loss: ``cross_entropy`` or ``focal``.
        focal_gamma: How much focal loss turns to hard photos; 0 is cross entropy.
        label_smoothing: Share of the target spread over all labels, in [0, 0.5).
        is_class_balanced: Whether each label weighs the same in the loss however many photos it has.
        augmentation: One of ``AUGMENTATIONS``, see :func:`edgegender.training.augmentation.augment`.
        teacher_weight: Share of the teacher's answer in the target, where there is a teacher.
        teacher_temperature: Divides the teacher's log scores; above 1 softens them.
        weight_averaging: Momentum a step of a moving average of the weights, which is then what validates and is kept;
            0 for none.
        threshold: ``half``, or ``best_f1``: the one with the best F1 on validation.
        split: ``manifest``, or shares such as ``70/15/15`` that are drawn at random by photo, and ``80/20``.
        validation_split: ``val``; ``test`` measures on what it chooses by, as papers without a third split do.
        precision: Of the arithmetic; ``auto`` is mixed_bfloat16 or mixed_float16 on a GPU that is good at it.
        seed: Of weights, order and augmentation.
    """

    name: str
    about: str
    source: str
    architecture: str
    alpha: float
    input_size_px: int
    crop_margin: float
    scaling: str
    start_weights: str
    hidden_units: int
    dropout: float
    output: str
    batch_norm_momentum: float
    is_batch_norm_trained: bool
    epochs: int
    frozen_epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    unfrozen_rate_factor: float
    schedule: str
    warmup_fraction: float
    plateau_factor: float
    plateau_patience: int
    weight_decay: float
    clip_norm: float
    loss: str
    focal_gamma: float
    label_smoothing: float
    is_class_balanced: bool
    augmentation: str
    teacher_weight: float
    teacher_temperature: float
    weight_averaging: float
    threshold: str
    split: str
    validation_split: str
    precision: str
    seed: int

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"Expected {name} in [{low:g}, {high:g}], got {value} (recipe {self.name}).")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(
                    f"Expected {name} of {', '.join(allowed)}, got {getattr(self, name)!r} (recipe {self.name}).",
                    hint=_nearest(str(getattr(self, name)), allowed),
                )
        if self.architecture == "inceptionv3" and self.input_size_px < 75:
            raise UsageError(f"Expected input_size_px from 75 for inceptionv3, got {self.input_size_px}.")
        if self.split_shares is not None and self.validation_split == "val" and self.split_shares[1] == 0:
            raise UsageError(
                f"Expected a share of validation photos, got split {self.split} (recipe {self.name}).",
                hint="Name three shares such as --set split=70/15/15, or --set validation_split=test.",
            )

    @property
    def split_shares(self) -> tuple[float, float, float] | None:
        """Shares of train, val and test that are drawn at random; ``None`` where the manifest's splits count."""
        if self.split == MANIFEST_SPLIT:
            return None
        try:
            train, val, test = parse_shares([float(part) for part in self.split.split("/")]).tolist()
        except (ValueError, IndexError) as error:
            raise UsageError(
                f"Expected split as {MANIFEST_SPLIT} or shares such as 70/15/15, got {self.split!r}."
            ) from error
        return train, val, test


# What recipes could not say before there was a key for it: runs of that time are read with these
_FIRST_VALUES: Mapping[str, object] = {
    "about": "",
    "scaling": "tf",
    "hidden_units": 0,
    "output": "softmax",
    "is_batch_norm_trained": True,
    "frozen_epochs": 0,
    "optimizer": "adamw",
    "unfrozen_rate_factor": 1.0,
    "schedule": "cosine",
    "plateau_factor": 0.1,
    "plateau_patience": 2,
    "clip_norm": 5.0,
    "loss": "cross_entropy",
    "focal_gamma": 2.0,
    "teacher_weight": 0.0,
    "teacher_temperature": 1.0,
    "weight_averaging": 0.0,
    "threshold": "half",
    "split": MANIFEST_SPLIT,
    "validation_split": "val",
    "precision": "float32",
}


def recipe_from_json(values: Mapping[str, object]) -> Recipe:
    """Returns a recipe as it was recorded, also one of an earlier version that knew fewer keys.

    Raises:
        UsageError: A value is out of range.
        TypeError: A key is unknown or missing.
    """
    return Recipe(**{**_FIRST_VALUES, **values})  # type: ignore[arg-type] # the ranges are checked there


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
