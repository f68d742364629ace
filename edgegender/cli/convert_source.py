"""What ``edgegender convert`` starts from: a run, or any Keras classifier that somebody brings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.entities import Preprocessing
from edgegender.errors import UsageError

if TYPE_CHECKING:
    import keras

_OWN_AUGMENTATION = "light"  # for a network whose recipe nobody knows


@dataclass(frozen=True)
class Source:
    """A float network and all that its file has to say.

    Args:
        model: From scaled float32 pictures to one softmax score a label.
        labels: Its outputs in their order.
        positive_label: The label that threshold and F1 speak of.
        preprocessing: What it takes.
        architecture: For people.
        threshold: The positive label is answered from this score on.
        validation_split: What its threshold and epoch were chosen on.
        augmentation: What it was trained with, for training it further.
        provenance: Where it comes from.
    """

    model: keras.Model
    labels: tuple[str, ...]
    positive_label: str
    preprocessing: Preprocessing
    architecture: str
    threshold: float
    validation_split: str
    augmentation: str
    provenance: Mapping[str, object]


def _from_run(folder: Path) -> Source:
    from edgegender.training.run_folder import load_model, load_run

    run = load_run(folder)
    return Source(
        model=load_model(run),
        labels=run.labels,
        positive_label=run.positive_label,
        preprocessing=run.preprocessing,
        architecture=f"{run.recipe.architecture} {run.recipe.alpha:g}",
        threshold=run.threshold,
        validation_split=run.recipe.validation_split,
        augmentation=run.recipe.augmentation,
        provenance={"recipe": run.recipe.name, "seed": run.recipe.seed, "train_data_sha256": run.data_sha256},
    )


def _from_file(
    path: Path, labels: str | None, scaling: str | None, crop_margin: float, positive_label: str | None
) -> Source:
    from edgegender.files import hash_file
    from edgegender.training.network_file import as_classifier, has_scaling_inside, input_size_px, load_network
    from edgegender.training.preparation import choose_positive

    network = load_network(path)
    is_scaled_inside = has_scaling_inside(network)
    names = tuple(part.strip() for part in (labels or "").split(",") if part.strip())
    if len(names) < 2 or len(set(names)) != len(names):
        raise UsageError(
            f"Expected --labels with the network's labels in the order of its outputs, got {labels or 'none'}.",
            hint="Such as --labels female,male.",
        )
    if scaling is None:
        raise UsageError(
            "Expected --scaling, which says what numbers the network takes, got none.",
            hint="It scales inside, so: --scaling raw"
            if is_scaled_inside
            else "tf: -1 to 1; unit: 0 to 1; caffe: BGR less ImageNet's means; raw: 0 to 255.",
        )
    if is_scaled_inside != (scaling == "raw"):
        raise UsageError(
            f"Expected --scaling {'raw for a network that scales inside' if is_scaled_inside else 'tf, unit or caffe'}"
            f", got {scaling} ({path}).",
            hint="A network that is fed the wrong numbers still answers, and wrongly.",
        )
    return Source(
        model=as_classifier(network, len(names)),
        labels=names,
        positive_label=choose_positive(names, positive_label),
        preprocessing=Preprocessing(input_size_px(network), crop_margin, scaling),
        architecture=network.name,
        threshold=0.5,
        validation_split="val",
        augmentation=_OWN_AUGMENTATION,
        provenance={"network": path.name, "network_sha256": hash_file(path)},
    )


def load_source(
    path: Path, *, labels: str | None, scaling: str | None, crop_margin: float, positive_label: str | None
) -> Source:
    """Returns the network of a run folder or of a ``.keras`` file; the options describe the latter.

    Raises:
        UsageError: There is no network, a run has no finished epoch or says already what an option names, or the
            options do not fit the network.
    """
    if path.is_dir():
        if labels or scaling or positive_label:
            raise UsageError(
                "Expected --labels, --scaling and --positive-label with a .keras file only: a run knows its own.",
                hint="Leave them out.",
            )
        return _from_run(path)
    return _from_file(path, labels, scaling, crop_margin, positive_label)
