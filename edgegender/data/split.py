"""Train, validation and test sides that no person, block or duplicate stands on twice.

scikit-learn's StratifiedGroupKFold knows equal folds only and takes 90 s for a million photos of 250,000 people. The
rule here is the same, sides of any size, and a million rows in seconds: large groups first, each to the side that
lacks most of what it brings; photos without a group come last and fill what is left to a photo.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.data.grouping import encode_cells, link_equal_cells, require_hashes
from edgegender.data.manifest import SPLITS, Manifest
from edgegender.data.near_duplicates import group_pairs
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

_MAX_VALUES = 12  # a column of numbers with more different values is cut into bins
_NUM_BINS = 5


@dataclass(frozen=True)
class SplitReport:
    """How far the ratios had to give, because groups cannot be cut.

    Args:
        asked: Share of each split as asked for.
        got: Share of the photos that it got.
        num_photos: Photos of each split.
        num_groups: Groups of two or more photos.
        largest_group: Photos of the largest group.
        worst_stratum: The stratum with the largest difference between its share and the asked one.
        worst_difference: That difference, of the stratum's photos, in [0, 1].
    """

    asked: Mapping[str, float]
    got: Mapping[str, float]
    num_photos: Mapping[str, int]
    num_groups: int
    largest_group: int
    worst_stratum: str
    worst_difference: float


def parse_shares(ratios: Sequence[float]) -> FloatArray:
    """Returns the shares of train, val and test, which sum to one; two ratios mean train and test.

    Raises:
        UsageError: They are not two or three numbers of zero or more with a positive share of train.
    """
    values = [ratios[0], 0.0, ratios[1]] if len(ratios) == 2 else list(ratios)
    if len(values) != 3 or not all(0 <= ratio < math.inf for ratio in values) or values[0] <= 0:
        raise UsageError(f"Expected three ratios such as 70,10,20, got {','.join(map(str, ratios))}.")
    shares = np.asarray(values, np.float64)
    return np.asarray(shares / shares.sum(), np.float64)


def _order(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def assign_splits(manifest: Manifest, *, ratios: Sequence[float], seed: int) -> Manifest:
    """Returns the manifest with a split in each row that is not excluded; the same bytes never stand on two sides.

    Within each label the contents are ordered by a hash of (seed, sha256) and cut by the ratios, so that the same
    photos get the same split wherever they lie.

    Args:
        manifest: Rows with sha256.
        ratios: Shares of train, val and test, or of train and test; they need not sum to one.
        seed: Another seed gives another cut.

    Raises:
        UsageError: The ratios are none.
        DataError: A row that is not excluded has no sha256.
    """
    shares = parse_shares(ratios)
    require_hashes(manifest)
    digests, excluded = manifest.column("sha256"), manifest.column("exclude")
    label_of: dict[str, str] = {}
    for digest, label, reason in zip(digests, manifest.column("label"), excluded, strict=True):
        if not reason:
            label_of.setdefault(digest, label)
    of_label: dict[str, list[str]] = defaultdict(list)
    for digest, label in label_of.items():
        of_label[label].append(digest)
    split_of: dict[str, str] = {}
    for contents in of_label.values():
        contents.sort(key=lambda digest: _order(seed, digest))
        train_end, val_end = (round(len(contents) * share) for share in (shares[0], shares[0] + shares[1]))
        for position, digest in enumerate(contents):
            split_of[digest] = "train" if position < train_end else "val" if position < val_end else "test"
    splits = [
        old if reason else split_of[digest]
        for old, digest, reason in zip(manifest.column("split"), digests, excluded, strict=True)
    ]
    return manifest.with_columns({"split": splits})


def _strata(manifest: Manifest, names: Sequence[str]) -> tuple[IntArray, list[str]]:
    """Returns the stratum of each photo, one for each combination of values that occurs, and the strata's names."""
    code, texts = np.zeros(len(manifest), np.int64), [""]
    for name in names:
        own, own_texts = encode_cells(_binned(name, manifest.column(name)))
        both, code = np.unique(code * len(own_texts) + own, return_inverse=True)
        pairs = [divmod(pair, len(own_texts)) for pair in both.tolist()]
        texts = [f"{texts[old]}{', ' if texts[old] else ''}{own_texts[new] or 'no ' + name}" for old, new in pairs]
    return code, texts


def _binned(name: str, cells: Sequence[str]) -> Sequence[str]:
    """Returns the cells of a column of numbers with many values as bins of about equal count; others as they are."""
    distinct = sorted(set(cells) - {""})
    if len(distinct) <= _MAX_VALUES:
        return cells
    try:
        numbers = {cell: float(cell) for cell in distinct}
    except ValueError:
        raise UsageError(
            f"Expected at most {_MAX_VALUES} different values, or numbers, in {name}, got {len(distinct)} such as "
            f"{distinct[0]!r}.",
            hint="Stratify by a column that has few values.",
        ) from None
    edges = np.quantile([numbers[cell] for cell in cells if cell], np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    names = {cell: f"bin {int(np.searchsorted(edges, number, side='right')) + 1}" for cell, number in numbers.items()}
    return [names.get(cell, "") for cell in cells]


def _require_columns(manifest: Manifest, names: Sequence[str], option: str) -> None:
    missing = [name for name in names if name not in manifest.column_names]
    if missing:
        hint = f"Columns there: {', '.join(manifest.column_names)}"
        if missing[0] == "person":
            hint = "Find people first: edgegender data group MANIFEST --by person -o people.csv"
        raise UsageError(f"Expected {option} to name columns of the manifest, got {missing[0]!r}.", hint=hint)


def _place_groups(group: IntArray, stratum: IntArray, shares: FloatArray, order: npt.NDArray[np.uint64]) -> IntArray:
    """Returns the side (0 train, 1 val, 2 test) of each group.

    Args:
        group: Group of each photo, 0 to G - 1.
        stratum: Stratum of each photo, 0 to C - 1.
        shares: Of the three sides, summing to one.
        order: Rank of each group among groups of its size, shape (G,).
    """
    num_groups, num_strata = int(group.max()) + 1, int(stratum.max()) + 1
    cells, counts = np.unique(group * num_strata + stratum, return_counts=True)
    cell_group, cell_stratum = np.divmod(cells, num_strata)
    sizes = np.bincount(group, minlength=num_groups)
    totals = np.bincount(stratum, minlength=num_strata)
    lack = [(totals * share).tolist() for share in shares.tolist()]
    weight = (1 / totals).tolist()
    sides = np.full(num_groups, -1, np.int64)
    usable = [side for side in range(3) if shares[side] > 0]
    starts = np.searchsorted(cell_group, np.arange(num_groups + 1)).tolist()
    strata, amounts = cell_stratum.tolist(), counts.tolist()
    several = np.flatnonzero(sizes > 1)
    for index in several[np.lexsort((order[several], -sizes[several]))].tolist():
        brings = range(starts[index], starts[index + 1])
        # the step that lowers the sum of squared differences to the wanted counts most, each weighed by its stratum
        best = max(
            usable, key=lambda side: sum(amounts[at] * lack[side][strata[at]] * weight[strata[at]] for at in brings)
        )
        sides[index] = best
        for at in brings:
            lack[best][strata[at]] -= amounts[at]
    alone = np.flatnonzero(sizes == 1)
    stratum_of = cell_stratum[np.asarray(starts[:-1])[alone]]
    for code in range(num_strata):
        chosen = alone[stratum_of == code]
        chosen = chosen[np.argsort(order[chosen], kind="stable")]
        wanted = np.maximum([lack[side][code] for side in range(3)], 0.0)
        wanted = wanted if wanted.sum() > 0 else shares
        ends = np.rint(np.cumsum(wanted / wanted.sum()) * len(chosen)).astype(np.int64)
        sides[chosen] = np.searchsorted(ends, np.arange(len(chosen)), side="right")
    return sides


def split_groups(
    manifest: Manifest,
    *,
    group_by: Sequence[str],
    ratios: Sequence[float],
    seed: int = 0,
    stratify: Sequence[str] = ("label",),
) -> tuple[Manifest, SplitReport]:
    """Returns the manifest with splits that no group stands on two sides of, and how far the ratios had to give.

    Photos with an equal, non-empty cell in any of the ``group_by`` columns belong together, and so do photos with the
    same bytes: groups that share a photo are one group. The same groups get the same split however the rows are
    ordered. Excluded rows keep what they have.

    Args:
        manifest: The photos.
        group_by: Columns such as person, block or duplicates.
        ratios: Shares of train, val and test, or of train and test.
        seed: Another seed gives another split.
        stratify: Columns whose values shall have the same share on each side; numbers with many values are binned.

    Raises:
        UsageError: A column is missing or cannot be stratified by, or the ratios are none.
        DataError: There is no photo to split.
    """
    shares = parse_shares(ratios)
    _require_columns(manifest, group_by, "--group-by")
    _require_columns(manifest, stratify, "--stratify")
    kept = np.flatnonzero([not reason for reason in manifest.column("exclude")])
    if not len(kept):
        raise DataError(f"Expected photos to split, got none ({manifest.folder}).", hint="Look at the exclude column.")
    usable = manifest.select()
    group, keys = _group_photos(usable, group_by)
    strata, stratum_names = _strata(usable, stratify)
    side = _place_groups(group, strata, shares, _mixed(keys, seed))[group]
    splits = list(manifest.column("split"))
    for index, number in zip(kept.tolist(), side.tolist(), strict=True):
        splits[index] = SPLITS[number]
    return manifest.with_columns({"split": splits}), _report(side, group, strata, stratum_names, shares)


def _group_photos(usable: Manifest, group_by: Sequence[str]) -> tuple[IntArray, npt.NDArray[np.uint64]]:
    """Returns the group of each photo, and a number for each group that does not depend on the order of the rows."""
    links = [link_equal_cells(usable.column(name)) for name in (*group_by, "sha256")]
    first, second = (np.concatenate([link[side] for link in links]) for side in (0, 1))
    _, group = np.unique(group_pairs(len(usable), first, second), return_inverse=True)
    if all(usable.column("sha256")):
        own = (digest[:16] for digest in usable.column("sha256"))
    else:
        own = (hashlib.sha256(path.encode()).hexdigest()[:16] for path in usable.column("path"))
    try:
        photo_keys = np.fromiter((int(digits, 16) for digits in own), np.uint64, len(usable))
    except ValueError as error:
        raise DataError(
            f"Expected sha256 as hexadecimal digits, got others ({usable.folder}).",
            hint="Make the manifest anew with: edgegender data index",
        ) from error
    keys = np.full(int(group.max()) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(keys, group, photo_keys)
    return group, keys


def _mixed(keys: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Returns numbers that order ``keys`` in another way for each seed. Source: Steele et al. 2014, SplitMix64."""
    mixed = keys ^ np.uint64(int.from_bytes(_order(seed, "")[:8], "big"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)  # wraps around, as it should
    return np.asarray(mixed ^ mixed >> np.uint64(31), np.uint64)


def _report(
    side: IntArray, group: IntArray, strata: IntArray, stratum_names: Sequence[str], shares: FloatArray
) -> SplitReport:
    counts = np.zeros((3, len(stratum_names)), np.int64)
    np.add.at(counts, (side, strata), 1)
    differences = np.abs(counts / counts.sum(axis=0) - shares[:, None]).max(axis=0)
    worst = int(differences.argmax())
    sizes = np.bincount(group)
    num_photos = counts.sum(axis=1)
    return SplitReport(
        asked=dict(zip(SPLITS, shares.tolist(), strict=True)),
        got=dict(zip(SPLITS, (num_photos / num_photos.sum()).tolist(), strict=True)),
        num_photos=dict(zip(SPLITS, num_photos.tolist(), strict=True)),
        num_groups=int((sizes > 1).sum()),
        largest_group=int(sizes.max()),
        worst_stratum=stratum_names[worst],
        worst_difference=float(differences[worst]),
    )
