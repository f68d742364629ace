"""The representative dataset: photos that show the converter which numbers the network really sees."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.data.grouping import bin_cells
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


def choose_rows(manifest: Manifest, *, num_photos: int, seed: int, group_by: Sequence[str] = ()) -> list[ManifestRow]:
    """Returns rows drawn at random, as many of each label and group as there are, and in a mixed order.

    The first half of them is mixed as the second is: a small group is not calibrated by chance alone.

    Args:
        manifest: The training split.
        num_photos: How many; all rows when there are fewer.
        seed: Another seed draws others.
        group_by: Columns; each combination of a label and their values is drawn from in turn. Numbers with many values
            are cut into bins.

    Raises:
        UsageError: ``num_photos`` is below one, or a column is missing or cannot be grouped by.
    """
    if num_photos < 1:
        raise UsageError(f"Expected at least one representative photo, got {num_photos}.")
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    cells = zip(manifest.column("label"), *group_cells(manifest, group_by).values(), strict=True)
    for index, stratum in enumerate(cells):
        strata[stratum].append(index)
    rng = np.random.default_rng(seed)
    shuffled = [[indices[place] for place in rng.permutation(len(indices))] for _, indices in sorted(strata.items())]
    chosen: list[int] = []
    for turn in range(max(map(len, shuffled), default=0)):
        chosen += [indices[turn] for indices in shuffled if turn < len(indices)]
    return [manifest.row(index) for index in chosen[:num_photos]]


def group_cells(manifest: Manifest, group_by: Sequence[str]) -> dict[str, Sequence[str]]:
    """Returns the cells of columns to group by; numbers with many values are cut into bins.

    Raises:
        UsageError: A column is missing, or has many values that are no numbers.
    """
    missing = [name for name in group_by if name not in manifest.column_names]
    if missing:
        raise UsageError(
            f"Expected --group to name columns of the manifest, got {missing[0]!r}.",
            hint=f"It has {', '.join(manifest.column_names)}.",
        )
    return {name: bin_cells(name, manifest.column(name)) for name in group_by}


def require_enough(num_photos: int, *, is_forced: bool) -> str:
    """Makes sure that there are enough representative photos, and returns a warning when fewer were asked for.

    Raises:
        DataError: There are fewer than ``MIN_PHOTOS``, and nobody insists.
    """
    if num_photos >= MIN_PHOTOS:
        return ""
    if not is_forced:
        raise DataError(
            f"Expected at least {MIN_PHOTOS} representative photos, got {num_photos}.",
            hint="A handful of photos does not show the range of the activations: raise --representative, add photos "
            "to the split, or insist with --force.",
        )
    return f"only {num_photos} representative photos; {MIN_PHOTOS} and more show the range of the activations"


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
