"""The photos of ``edgegender convert``: what is calibrated on, what scores are fitted on, what is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.cli.console import warn, warn_each
from edgegender.errors import DataError

if TYPE_CHECKING:
    from edgegender.cli.convert_source import Source
    from edgegender.conversion.calibration import RepresentativeDataset
    from edgegender.conversion.measured import MeasuredPhotos
    from edgegender.data.manifest import Manifest
    from edgegender.entities import UInt8Array


def read_representative(
    manifest: Manifest,
    source: Source,
    *,
    split: str,
    evaluation: Manifest,
    num_photos: int,
    seed: int,
    group_by: Sequence[str],
    is_forced: bool,
) -> RepresentativeDataset:
    """Returns the representative dataset: drawn by label and group, and shown to be no evaluation photo.

    Raises:
        CheckFailedError: A photo is evaluated on, too; a label has none; or many are of one colour.
        DataError: There are too few, or none can be read.
        UsageError: A group is no column.
    """
    from edgegender.conversion.calibration import (
        build_representative,
        check_content,
        check_disjoint,
        choose_rows,
        require_enough,
    )
    from edgegender.data.manifest import Manifest
    from edgegender.images import read_image
    from edgegender.preprocess import to_input

    chosen = choose_rows(manifest.select(split=split), num_photos=num_photos, seed=seed, group_by=group_by)
    check_disjoint(Manifest.from_rows(manifest.folder, chosen), evaluation)
    skipped: list[str] = []
    if warning := require_enough(len(chosen), is_forced=is_forced):
        warn(warning)
    dataset = build_representative(
        chosen,
        lambda row: to_input(read_image(manifest.file(row)), row.face_box, source.preprocessing),
        on_skip=skipped.append,
    )
    warn_each([f"{path}: unreadable, not calibrated on" for path in skipped], " unreadable")
    require_enough(len(dataset.inputs), is_forced=is_forced)
    check_content(dataset, source.labels)
    return dataset


def measure(source: Source, manifest: Manifest, *, split: str, group_by: Sequence[str]) -> MeasuredPhotos:
    """Returns a split's photos with the float network's answers.

    Raises:
        DataError: The split is empty, has labels that the network has not, or cannot be read.
        UsageError: A group is no column.
    """
    from edgegender.conversion.calibration import group_cells
    from edgegender.conversion.measured import MeasuredPhotos
    from edgegender.data.manifest import require_labels
    from edgegender.training.dataset import evaluation_batches, to_samples
    from edgegender.training.validation import predict_scores

    rows = manifest.select(split=split)
    if not len(rows):
        raise DataError(f"Expected photos in split {split}, got none ({manifest.folder}).")
    require_labels(rows, where=f"split {split}", labels=source.labels)
    samples = to_samples(rows, source.labels)
    scores, positions = predict_scores(source.model, samples, source.preprocessing)
    readable = [samples[position] for position in positions]
    if len(readable) < len(samples):
        warn(f"{len(samples) - len(readable)} photos of split {split} are unreadable: they are not in the figures")

    def inputs() -> Iterator[UInt8Array]:
        for batch, _ in evaluation_batches(readable, source.preprocessing):
            yield from batch

    groups = {name: [cells[position] for position in positions] for name, cells in group_cells(rows, group_by).items()}
    return MeasuredPhotos(inputs, np.asarray([sample.label_index for sample in readable]), scores, groups)


def training_inputs(
    manifest: Manifest, source: Source, *, batch_size: int, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields batches of augmented training photos without end, as the network takes them; labels are not needed.

    Raises:
        DataError: There are none, or too many cannot be read.
    """
    from edgegender.training.batches import TrainingBatches
    from edgegender.training.dataset import readable_samples, to_samples

    samples, bad = readable_samples(to_samples(manifest.select(split="train"), source.labels))
    warn_each([f"{path}: unreadable, not learnt from" for path in bad], " unreadable")
    batches = TrainingBatches(
        samples,
        source.preprocessing,
        num_labels=len(source.labels),
        batch_size=batch_size,
        augmentation=source.augmentation,
        label_weights=[1.0] * len(source.labels),
        seed=seed,
        on_skip=_warn_vanished,
    )
    for batch in batches.run(num_epochs=1_000_000):
        yield batch.inputs


def _warn_vanished(path: Path) -> None:
    warn(f"{path}: unreadable, not learnt from")
