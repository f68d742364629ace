"""The representative dataset: photos that show the converter which numbers the network really sees."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, DataError, ImageError, UsageError

MIN_PHOTOS = 100  # a handful of photos does not show the range of the activations


@dataclass(frozen=True)
class RepresentativeDataset:
    """Inputs for calibration, and what they were made from.

    Args:
        inputs: Raw bytes, shape (photos, size, size, 3), uint8.
        sha256: Over the inputs' bytes, in their order.
        counts: Photos by label.
    """

    inputs: UInt8Array
    sha256: str
    counts: dict[str, int]


def check_disjoint(calibration: Manifest, evaluation: Manifest) -> None:
    """Makes sure that no photo is both calibrated and evaluated on, by content and not by name.

    Raises:
        CheckFailedError: One is; the message counts them and names the first.
        DataError: A row has no sha256, so nobody can know.
    """
    if any(not row.sha256 for manifest in (calibration, evaluation) for row in manifest):
        raise DataError(
            "Expected a sha256 in each row, got rows without.", hint="Index the photos with edgegender data index."
        )
    measured = {row.sha256 for row in evaluation}
    both = [row.path for row in calibration if row.sha256 in measured]
    if both:
        raise CheckFailedError(
            f"Expected calibration photos that are not evaluated on, got {len(both)} that are (first: {both[0]}).",
            hint="Remove copies across splits with: edgegender data check --output clean.csv",
        )


def choose_rows(manifest: Manifest, *, num_photos: int, seed: int) -> list[ManifestRow]:
    """Returns rows drawn at random, as many of each label as there are, and in a mixed order.

    Args:
        manifest: The training split.
        num_photos: How many; all rows when there are fewer.
        seed: Another seed draws others.

    Raises:
        UsageError: ``num_photos`` is below one.
    """
    if num_photos < 1:
        raise UsageError(f"Expected at least one representative photo, got {num_photos}.")
    by_label: dict[str, list[ManifestRow]] = defaultdict(list)
    for row in manifest:
        by_label[row.label].append(row)
    rng = np.random.default_rng(seed)
    shuffled = [[rows[index] for index in rng.permutation(len(rows))] for _, rows in sorted(by_label.items())]
    chosen: list[ManifestRow] = []
    for turn in range(max(map(len, shuffled), default=0)):
        chosen += [rows[turn] for rows in shuffled if turn < len(rows)]
    return chosen[:num_photos]


def build_representative(
    rows: Sequence[ManifestRow], read_input: Callable[[ManifestRow], UInt8Array], *, on_skip: Callable[[str], None]
) -> RepresentativeDataset:
    """Returns the inputs of rows; a photo that cannot be read is told to ``on_skip`` and left out.

    Args:
        rows: From :func:`choose_rows`.
        read_input: The one preprocessing function, applied to a row's photo.
        on_skip: Called with the path of each photo left out.

    Raises:
        DataError: No photo can be read.
    """
    inputs: list[UInt8Array] = []
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        try:
            inputs.append(read_input(row))
        except ImageError:
            on_skip(row.path)
            continue
        counts[row.label] += 1
    if not inputs:
        raise DataError("Expected representative photos that can be read, got none.")
    stacked = np.stack(inputs)
    return RepresentativeDataset(stacked, hashlib.sha256(stacked.tobytes()).hexdigest(), dict(counts))
