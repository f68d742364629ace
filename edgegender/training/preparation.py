"""From a manifest to the photos of a run: splits, labels, what cannot be read; and back from a run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgegender.data.manifest import Manifest, require_labels
from edgegender.data.manifest_file import read_manifest
from edgegender.data.split import assign_splits
from edgegender.errors import UsageError
from edgegender.training.dataset import Sample, readable_samples, to_samples
from edgegender.training.recipes import Recipe
from edgegender.training.run_folder import DATA_NAME, Run


@dataclass(frozen=True)
class RunData:
    """The photos of a run.

    Args:
        manifest: All rows with the splits as used; those that cannot be read are excluded.
        labels: The network's outputs in their order.
        train: What is learnt from.
        val: What chooses the epoch.
        sha256: Of the rows that are learnt from, see :func:`hash_rows`.
    """

    manifest: Manifest
    labels: tuple[str, ...]
    train: Sequence[Sample]
    val: Sequence[Sample]
    sha256: str


def hash_rows(manifest: Manifest) -> str:
    """Returns a sha256 over (photo hash, label) of the rows, whatever their order and folder."""
    columns = (manifest.column("sha256"), manifest.column("path"), manifest.column("label"))
    lines = sorted(f"{digest or path} {label}" for digest, path, label in zip(*columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def choose_positive(labels: Sequence[str], wanted: str | None = None) -> str:
    """Returns the positive label: the wanted one, else ``male`` where it is a label (as in Hamza's F1), else the last.

    Raises:
        UsageError: The wanted label is not among the labels.
    """
    if wanted is not None:
        if wanted not in labels:
            raise UsageError(f"Expected a positive label of {', '.join(labels)}, got {wanted!r}.")
        return wanted
    return "male" if "male" in labels else labels[-1]


def _collect(manifest: Manifest, recipe: Recipe, labels: Sequence[str] | None) -> RunData:
    train_rows = manifest.select(split="train")
    val_rows = manifest.select(split=recipe.validation_split)
    known = require_labels(train_rows, where="split train", labels=labels)
    require_labels(val_rows, where=f"split {recipe.validation_split}", labels=known)
    return RunData(manifest, known, to_samples(train_rows, known), to_samples(val_rows, known), hash_rows(train_rows))


def prepare(manifest: Manifest, recipe: Recipe, *, on_skip: Callable[[Path], None]) -> RunData:
    """Returns the photos of a new run.

    Args:
        manifest: With splits, unless the recipe draws its own; then with sha256 in each row.
        recipe: Its ``split`` and ``validation_split``.
        on_skip: Called with each photo whose header cannot be read; it is left out.

    Raises:
        DataError: A split is empty or has one label only, or no photo can be read.
    """
    if recipe.split_shares is not None:
        manifest = assign_splits(manifest, ratios=recipe.split_shares, seed=recipe.seed)
    data = _collect(manifest, recipe, None)
    told = [file for samples in (data.train, data.val) for file in readable_samples(samples)[1]]
    for file in told:
        on_skip(file)
    bad = set(told)
    if not bad:
        return data
    reasons = [
        reason or ("unreadable" if manifest.folder / path in bad else "")
        for path, reason in zip(manifest.column("path"), manifest.column("exclude"), strict=True)
    ]
    return _collect(manifest.with_columns({"exclude": reasons}), recipe, None)


def prepare_again(run: Run, manifest: Manifest | None = None) -> RunData:
    """Returns the photos of a run that goes on: the rows that it wrote down, in their order.

    Args:
        run: With its copy of the manifest.
        manifest: The same rows in another folder, where the photos were moved; ``None`` for the run's own copy.

    Raises:
        ManifestError: The copy is missing or damaged.
        DataError: A split is empty or has other labels.
        UsageError: The rows are others than those that the run began with.
    """
    own = read_manifest(run.folder / DATA_NAME)
    if manifest is not None:
        own = _moved(own, manifest)
    data = _collect(own, run.recipe, run.labels)
    if data.sha256 != run.data_sha256:
        raise UsageError(
            f"Expected the rows that the run began with, got others ({own.folder}).",
            hint="A run goes on with its own photos only; train anew for others.",
        )
    return data


def _moved(own: Manifest, manifest: Manifest) -> Manifest:
    """Returns the run's rows with the paths that photos of the same content have in another manifest."""
    path_of = dict(zip(manifest.column("sha256"), manifest.column("path"), strict=True))
    missing = [
        path for path, digest in zip(own.column("path"), own.column("sha256"), strict=True) if not path_of.get(digest)
    ]
    if missing:
        raise UsageError(
            f"Expected all photos of the run in the manifest, got {len(missing)} that are not there "
            f"(first: {missing[0]}).",
            hint="Index the folder that holds them with edgegender data index; photos are found by their sha256.",
        )
    paths = [path_of[digest] for digest in own.column("sha256")]
    return Manifest(manifest.folder, {**{name: own.column(name) for name in own.column_names}, "path": paths})
