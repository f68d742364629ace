"""Train, validation and test sides that no person, block or duplicate stands on twice.

scikit-learn's StratifiedGroupKFold knows equal folds only and takes 90 s for a million photos of 250,000 people. The
rule here is the same, sides of any size, and a million rows in seconds: large groups first, each to the side that
lacks most of what it brings; photos without a group come last and fill what is left to a photo.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.data.grouping import bin_cells, encode_cells, link_equal_cells, require_hashes
from edgegender.data.manifest import SPLITS, Manifest
from edgegender.data.near_duplicates import group_pairs
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

_KEYS_AT_ONCE = 1 << 14  # a million short strings at once would take 65 MB


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
        own, own_texts = encode_cells(bin_cells(name, manifest.column(name)))
        both, code = np.unique(code * len(own_texts) + own, return_inverse=True)
        pairs = [divmod(pair, len(own_texts)) for pair in both.tolist()]
        texts = [f"{texts[old]}{', ' if texts[old] else ''}{own_texts[new] or 'no ' + name}" for old, new in pairs]
    return np.asarray(code, np.int64), texts


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
    # A last stratum holds all photos. Without it, where strata are not much larger than groups, each of them would
    # give its few groups to the side with the largest share. Its weight lies between that of a stratum of its size,
    # with which the ratios slip by 8 points in the worst of the tests' problems, and that of a usual stratum, with
    # which the strata lose their balance.
    both = np.concatenate([group * (num_strata + 1) + stratum, group * (num_strata + 1) + num_strata])
    cells, counts = np.unique(both, return_counts=True)
    cell_group, cell_stratum = np.divmod(cells, num_strata + 1)
    starts = np.searchsorted(cell_group, np.arange(num_groups + 1))
    totals = np.bincount(stratum, minlength=num_strata)
    lack = np.outer(shares, np.append(totals, len(group)))
    weight = np.append(1 / totals, math.sqrt(num_strata) / len(group))
    sizes = np.bincount(group, minlength=num_groups)
    several, alone = np.flatnonzero(sizes > 1), np.flatnonzero(sizes == 1)
    several = several[np.lexsort((order[several], -sizes[several]))]
    sides = np.empty(num_groups, np.int64)
    bounds = zip(starts[several].tolist(), starts[several + 1].tolist(), strict=True)
    sides[several], lack = _place_large(bounds, cell_stratum, counts, lack, weight)
    sides[alone] = _place_alone(cell_stratum[starts[alone]], lack[:, :-1], shares, order[alone])
    return sides


def _place_large(
    bounds: Iterable[tuple[int, int]], stratum: IntArray, count: IntArray, lack: FloatArray, weight: FloatArray
) -> tuple[list[int], FloatArray]:
    """Returns the side of each group, and what the sides lack then.

    Args:
        bounds: For each group, the largest first, where its cells begin and end.
        stratum: Of each cell.
        count: Photos of each cell.
        lack: Photos that each side lacks of each stratum, shape (3, C).
        weight: Of the strata, shape (C,).
    """
    strata, counts, weights = stratum.tolist(), count.tolist(), weight.tolist()
    left = (lack * weight).tolist()
    usable = [(side, left[side]) for side in range(3) if lack[side].any()]
    sides = []
    for start, end in bounds:
        best, best_gain = -1, -math.inf
        for side, own in usable:
            # the step that lowers the sum of squared differences to the wanted counts most, each weighed by its stratum
            gain = 0.0
            for at in range(start, end):
                gain += counts[at] * own[strata[at]]
            if gain > best_gain:
                best, best_gain = side, gain
        sides.append(best)
        own = left[best]
        for at in range(start, end):
            own[strata[at]] -= counts[at] * weights[strata[at]]
    return sides, np.asarray(left, np.float64) / weight


def _place_alone(stratum: IntArray, lack: FloatArray, shares: FloatArray, order: npt.NDArray[np.uint64]) -> IntArray:
    """Returns the side of each photo without a group: its stratum's photos fill what each side lacks of the stratum.

    What rounding takes from a side in one stratum, the side gets in the next ones: a hundred strata of three photos
    would all give them to the side with the largest share.
    """
    sides = np.empty(len(stratum), np.int64)
    arranged = np.lexsort((order, stratum))
    starts = np.searchsorted(stratum[arranged], np.arange(lack.shape[1] + 1))
    owed = np.zeros(3)
    for code in range(lack.shape[1]):
        chosen = arranged[starts[code] : starts[code + 1]]
        wanted = np.maximum(lack[:, code], 0.0)
        wanted = wanted if wanted.sum() > 0 else shares
        exact = wanted / wanted.sum() * len(chosen)
        counts = np.floor(exact).astype(np.int64)
        owed += exact - counts
        for _ in range(len(chosen) - int(counts.sum())):
            side = int(owed.argmax())
            counts[side] += 1
            owed[side] -= 1
        sides[chosen] = np.repeat(np.arange(3), counts)
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
    is_kept = [not reason for reason in manifest.column("exclude")]
    if not any(is_kept):
        raise DataError(f"Expected photos to split, got none ({manifest.folder}).", hint="Look at the exclude column.")
    needed = dict.fromkeys(("path", "label", "sha256", *group_by, *stratify))
    usable = Manifest(manifest.folder, {name: manifest.column(name) for name in needed}).where(is_kept)
    group, keys = _group_photos(usable, group_by)
    strata, stratum_names = _strata(usable, stratify)
    side = _place_groups(group, strata, shares, _mixed(keys, seed))[group]
    splits = list(manifest.column("split"))
    for index, number in zip(np.flatnonzero(is_kept).tolist(), side.tolist(), strict=True):
        splits[index] = SPLITS[number]
    return manifest.with_columns({"split": splits}), _report(side, group, strata, stratum_names, shares)


def _group_photos(usable: Manifest, group_by: Sequence[str]) -> tuple[IntArray, npt.NDArray[np.uint64]]:
    """Returns the group of each photo, and a number for each group that does not depend on the order of the rows."""
    links = [link_equal_cells(usable.column(name)) for name in (*group_by, "sha256")]
    first, second = (np.concatenate([link[side] for link in links]) for side in (0, 1))
    _, group = np.unique(group_pairs(len(usable), first, second), return_inverse=True)
    own = usable.column("sha256")
    if not all(own):
        own = [hashlib.sha256(path.encode()).hexdigest() for path in usable.column("path")]
    try:
        parts = (own[start : start + _KEYS_AT_ONCE] for start in range(0, len(own), _KEYS_AT_ONCE))
        content = b"".join(bytes.fromhex("".join(digest[:16] for digest in part)) for part in parts)
    except ValueError:
        content = b""
    if len(content) != 8 * len(usable):
        raise DataError(
            f"Expected sha256 as 64 hexadecimal digits, got another ({usable.folder}).",
            hint="Make the manifest anew with: edgegender data index",
        )
    photo_keys = np.frombuffer(content, ">u8").astype(np.uint64)
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
    num_strata = len(stratum_names)
    counts = np.bincount(side * num_strata + strata, minlength=3 * num_strata).reshape(3, num_strata)
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
