"""Pairs of hashes that differ in few bits, found through an index and not by comparing all pairs.

The 256 bits are cut into 13 bands. Two hashes with at most 24 different bits have a band with at most one different
bit (12 bands with two each would make 24, and one is left). So the search sorts the hashes by each band once for each
of its bits, with that bit masked out: what stands side by side then is compared in full. No pair is missed, and the
work grows with n log n as long as bands tell hashes apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.data.perceptual_hash import HASH_BITS, HashArray
from edgegender.entities import IntArray
from edgegender.errors import UsageError

MAX_DISTANCE = 24
_NUM_BANDS = 13
_SHUFFLE_SEED = 7  # neighbouring frequencies go together: mixed bands tell hashes apart better
_INDEX_BITS = 32
_PAIRS_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class NearPairs:
    """Pairs of positions whose hashes are near, each once, ``first`` < ``second``, sorted.

    Args:
        first: Shape (n,).
        second: Shape (n,).
        distance: Number of different bits, shape (n,).
    """

    first: IntArray
    second: IntArray
    distance: IntArray


def _count_bits(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """Returns the number of set bits of each word."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(words), np.uint8)
    pairs = words - ((words >> np.uint64(1)) & np.uint64(0x5555555555555555))
    nibbles = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    octets = (nibbles + (nibbles >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((octets * np.uint64(0x0101010101010101)) >> np.uint64(56), np.uint8)


def _distances(hashes: HashArray, first: IntArray, second: IntArray) -> npt.NDArray[np.int64]:
    total = np.zeros(len(first), np.int64)
    for word in range(hashes.shape[1]):
        column = hashes[:, word]
        total += _count_bits(column[first] ^ column[second])
    return total


def _bands(hashes: HashArray) -> Iterator[tuple[npt.NDArray[np.uint64], int]]:
    """Yields each band as one number a hash, and its number of bits."""
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(HASH_BITS)
    for chosen in np.array_split(order, _NUM_BANDS):
        values = np.zeros(len(hashes), np.uint64)
        for place, bit in enumerate(chosen.tolist()):
            values |= (hashes[:, bit // 64] >> np.uint64(bit % 64) & np.uint64(1)) << np.uint64(place)
        yield values, len(chosen)


def _pairs_of(starts: IntArray, ends: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yields each index with each of the indices from its start to its end, some hundred thousand pairs at once."""
    counts = ends - starts
    owners = np.flatnonzero(counts > 0)
    last = np.cumsum(counts[owners])
    total = int(last[-1]) if len(last) else 0
    cuts = np.searchsorted(last, np.arange(0, total + _PAIRS_AT_ONCE, _PAIRS_AT_ONCE), side="right")
    for low, high in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        part = owners[low:high]
        if len(part):
            before = np.cumsum(counts[part]) - counts[part]
            first = np.repeat(part, counts[part])
            yield first, np.arange(len(first)) + np.repeat(starts[part] - before, counts[part])


def _runs(keys: npt.NDArray[np.uint64]) -> tuple[IntArray, IntArray]:
    """Returns for each place of sorted keys where the run of equal ones begins and where it ends."""
    is_first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    bounds = np.append(np.flatnonzero(is_first), len(keys))
    run = np.cumsum(is_first) - 1
    return bounds[run], bounds[run + 1]


def _neighbours(values: npt.NDArray[np.uint64], bit: int | None) -> Iterator[tuple[IntArray, IntArray]]:
    """Yields pairs of positions with equal ``values``, or, with ``bit``, with values that differ in that bit only.

    Args:
        values: One number below 2³¹ a position.
        bit: Place of the bit, the lowest being 0.
    """
    key = values
    if bit is not None:  # the bit goes to the end: runs that are equal but for it stand side by side, zeros before ones
        one = np.uint64(1)
        own_bit = values >> np.uint64(bit) & one
        key = (values ^ own_bit << np.uint64(bit)) << one | own_bit
    # value and position in one number: sorting numbers is several times as fast as sorting an index
    order = np.sort(key << np.uint64(_INDEX_BITS) | np.arange(len(values), dtype=np.uint64))
    place = (order & np.uint64(2**_INDEX_BITS - 1)).astype(np.int64)
    key = order >> np.uint64(_INDEX_BITS)
    _, end = _runs(key)
    if bit is None:
        starts, ends = np.arange(1, len(key) + 1), end
    else:
        starts, ends = end, _runs(key >> np.uint64(1))[1]  # none for a one: its own run ends there, too
    for first, second in _pairs_of(starts, ends):
        yield place[first], place[second]


def _distinct_pairs(hashes: HashArray, max_distance: int) -> NearPairs:
    size = len(hashes)
    found, num_new = [np.zeros(0, np.int64)], 0
    for values, num_bits in _bands(hashes):
        for bit in (None, *range(num_bits)):
            for first, second in _neighbours(values, bit):
                is_near = _distances(hashes, first, second) <= max_distance
                low, high = first[is_near], second[is_near]
                found.append(np.minimum(low, high) * size + np.maximum(low, high))
                num_new += len(low)
                if num_new > max(_PAIRS_AT_ONCE, 3 * len(found[0])):  # the same pair is near in many bands
                    found, num_new = [np.unique(np.concatenate(found))], 0
    pairs = np.unique(np.concatenate(found))
    first, second = np.divmod(pairs, max(size, 1))
    return NearPairs(first, second, _distances(hashes, first, second))


def require_distance(max_distance: int) -> None:
    """Raises UsageError when ``max_distance`` is out of the range that the search can do."""
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise UsageError(
            f"Expected a distance of 0 to {MAX_DISTANCE} bits, got {max_distance}.",
            hint="Pictures that differ in more bits have too little in common to be copies.",
        )


def find_near_pairs(hashes: HashArray, *, max_distance: int = MAX_DISTANCE) -> NearPairs:
    """Returns all pairs of hashes that differ in at most ``max_distance`` bits.

    Equal hashes are compared with others once: the first stands for all of them, and each of the others is paired with
    the first only. So ten thousand black pictures make 9,999 pairs and not fifty million.

    Args:
        hashes: Shape (n, 4), uint64, from :func:`edgegender.data.perceptual_hash.pack_hashes`; n below 2³¹.
        max_distance: 0 to 24.

    Raises:
        UsageError: ``max_distance`` is out of range.
    """
    require_distance(max_distance)
    _, representative, group = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    distinct = _distinct_pairs(np.ascontiguousarray(hashes[representative]), max_distance)
    head = representative[group]
    copies = np.flatnonzero(head != np.arange(len(hashes)))
    near = np.sort(np.stack([representative[distinct.first], representative[distinct.second]]), axis=0)
    first = np.concatenate([head[copies], near[0]])
    second = np.concatenate([copies, near[1]])
    distance = np.concatenate([np.zeros(len(copies), np.int64), distinct.distance])
    order = np.lexsort((second, first))
    return NearPairs(first[order], second[order], distance[order])


def group_pairs(size: int, first: IntArray, second: IntArray) -> IntArray:
    """Returns for each of ``size`` positions the lowest position that it is linked to, over any number of pairs.

    Example:
        >>> group_pairs(5, np.array([1, 3]), np.array([3, 4])).tolist()
        [0, 1, 2, 1, 1]
    """
    parent = np.arange(size)
    while True:
        low = np.minimum(parent[first], parent[second])
        np.minimum.at(parent, parent[first], low)
        np.minimum.at(parent, parent[second], low)
        while not np.array_equal(parent, shorter := parent[parent]):
            parent = shorter
        if np.array_equal(parent[first], parent[second]):
            return parent
