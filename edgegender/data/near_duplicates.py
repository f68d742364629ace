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


def _neighbours(values: npt.NDArray[np.uint64], is_flip: np.uint64 | None) -> Iterator[tuple[IntArray, IntArray]]:
    """Yields pairs of positions with equal ``values``, or, with ``is_flip``, with values that differ in that bit only.

    Args:
        values: One number below 2³² a position.
        is_flip: A mask of one bit.
    """
    positions = np.arange(len(values), dtype=np.uint64)
    key = values if is_flip is None else values & ~is_flip
    # value and position in one number: sorting numbers is several times as fast as sorting an index
    order = np.sort(key << np.uint64(_INDEX_BITS) | positions)
    place = (order & np.uint64(2**_INDEX_BITS - 1)).astype(np.int64)
    key = order >> np.uint64(_INDEX_BITS)
    start = np.arange(len(values) - 1)
    lag = 1
    while len(start):
        start = start[start + lag < len(values)]
        start = start[key[start] == key[start + lag]]
        first, second = place[start], place[start + lag]
        if is_flip is not None:
            is_apart = (values[first] ^ values[second]) == is_flip
            first, second = first[is_apart], second[is_apart]
        if len(first):
            yield first, second
        lag += 1


def _distinct_pairs(hashes: HashArray, max_distance: int) -> NearPairs:
    found: list[IntArray] = []
    size = len(hashes)
    for values, num_bits in _bands(hashes):
        for flip in (None, *(np.uint64(1 << bit) for bit in range(num_bits))):
            for first, second in _neighbours(values, flip):
                is_near = _distances(hashes, first, second) <= max_distance
                low, high = first[is_near], second[is_near]
                found.append(np.minimum(low, high) * size + np.maximum(low, high))
        found = [np.unique(np.concatenate(found))] if found else []  # the same pair is near in many bands
    pairs = found[0] if found else np.zeros(0, np.int64)
    first, second = np.divmod(pairs, max(size, 1))
    return NearPairs(first, second, _distances(hashes, first, second))


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
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise UsageError(f"Expected a distance of 0 to {MAX_DISTANCE} bits, got {max_distance}.")
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
