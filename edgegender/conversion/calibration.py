"""The representative dataset: photos that show the converter which numbers the network really sees."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgegender.data.grouping import bin_cells
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, DataError, ImageError, UsageError

_MIN_CONTRAST = 2.0  # standard deviation of the bytes of a channel; a face has some dozens
_MAX_PLAIN_SHARE = 0.05
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
    """Returns rows drawn at random: as many of each label, within a label as many of each group, as far as there are.

    They are in a mixed order: the first half has as many of each label and group as the second, give or take one.

    Args:
        manifest: The training split.
        num_photos: How many; all rows when there are fewer.
        seed: Another seed draws others.
        group_by: Columns; the labels are drawn from in turn, and so is, within a label, each combination of their
            values. Numbers with many values are cut into bins.

    Raises:
        UsageError: ``num_photos`` is below one, or a column is missing or cannot be grouped by.
    """
    if num_photos < 1:
        raise UsageError(f"Expected at least one representative photo, got {num_photos}.")
    strata = list(zip(manifest.column("label"), *group_cells(manifest, group_by).values(), strict=True))
    members: dict[str, dict[tuple[str, ...], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, stratum in enumerate(strata):
        members[stratum[0]][stratum].append(index)
    rng = np.random.default_rng(seed)
    by_label = []
    for _, groups in sorted(members.items()):
        drawn = [[own[place] for place in rng.permutation(len(own))] for _, own in sorted(groups.items())]
        # with more groups than photos, which groups are drawn is left to chance, not to the alphabet
        by_label.append(_in_turn([drawn[place] for place in rng.permutation(len(drawn))] if group_by else drawn))
    chosen = _in_turn(by_label)[:num_photos]
    by_group = _spread(chosen, {index: strata[index] for index in chosen})
    return [manifest.row(index) for index in _spread(by_group, {index: strata[index][0] for index in chosen})]


def _in_turn(lists: Sequence[Sequence[int]]) -> list[int]:
    """Returns the first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [items[turn] for turn in range(longest) for items in lists if turn < len(items)]


def _spread(indices: Sequence[int], stratum_of: Mapping[int, Hashable]) -> list[int]:
    """Returns indices in an order in which each stratum is spread evenly from the first to the last."""
    counts = Counter(stratum_of[index] for index in indices)
    seen: Counter[Hashable] = Counter()
    places = {}
    for index in indices:
        places[index] = (seen[stratum_of[index]] + 0.5) / counts[stratum_of[index]]
        seen[stratum_of[index]] += 1
    return sorted(indices, key=places.__getitem__)


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


def check_content(dataset: RepresentativeDataset, labels: Sequence[str]) -> None:
    """Makes sure that the calibration photos are of all labels, and that they show something.

    A file that was calibrated on black pictures, or on one label, may pass by luck: the evaluation photos say how it
    answers, not how it came about.

    Args:
        dataset: The representative dataset.
        labels: The network's.

    Raises:
        CheckFailedError: A label has no photo, or more than a twentieth of the photos are of one colour.
    """
    missing = [label for label in labels if not dataset.counts.get(label)]
    if missing:
        raise CheckFailedError(
            f"Expected calibration photos of each label, got none of {', '.join(missing)}.",
            hint="The ranges of the activations would be those of the other labels: add photos to that split.",
        )
    contrast = dataset.inputs.reshape(len(dataset.inputs), -1, 3).std(axis=1).max(axis=1)
    plain = int((contrast < _MIN_CONTRAST).sum())
    if plain > _MAX_PLAIN_SHARE * len(dataset.inputs):
        raise CheckFailedError(
            f"Expected calibration photos that show something, got {plain} of {len(dataset.inputs)} in one colour.",
            hint="Look at them with: edgegender data show. Black crops come from face boxes outside of the photo.",
        )
