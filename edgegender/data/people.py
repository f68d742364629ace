"""Photos of one person get one name, so that a split can keep a person on one side.

The names are numbers of this set of photos. They say which photos show the same face, never whose it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

# Chosen on biggest_gender, nearly half of which is LFW (5,749 people; 5,796 found). Of looked-at joins between 0.45 and
# 0.48 four of five were right, between 0.42 and 0.45 two of five.
DEFAULT_THRESHOLD = 0.45
NO_PERSON = -1
_BLOCK_NUMBERS = 1 << 24  # of one block of similarities: 64 MiB
_MAX_LATER_NEIGHBOURS = 128  # of one photo: a person with 10,000 photos must not ask for 50 million pairs
_ROUNDING = 1e-4  # of a product of two float32 vectors, with room to spare
_PAIRS_AT_ONCE = 1 << 16


def group_people(vectors: npt.NDArray[np.float32] | FloatArray, *, threshold: float = DEFAULT_THRESHOLD) -> IntArray:
    """Returns the number of each photo's person: average linkage on the cosine similarity.

    Two groups become one as long as the mean similarity between their photos is at least ``threshold``, the most
    similar groups first. This is ``AgglomerativeClustering(linkage="average", metric="cosine")`` of scikit-learn (a
    test compares them), which needs 8 n² bytes: 320 GB for 200,000 photos. Here memory grows with n, because

    - the mean similarity of two groups is the product of their mean vectors;
    - it never exceeds the similarity of their most similar parts, so that groups without a similar pair of photos
      need not be looked at;
    - groups that are each other's nearest can be joined at once, in any order (average linkage is "reducible").

    Of a person with more than 128 look-alikes some pairs wait for a second round, which may change the order of the
    joins; the groups of 27,167 photos, one of 529 among them, came out the same as from SciPy's all pairs.

    Args:
        vectors: Shape (photos, size), of any length; a row of zeros is a photo without a face.
        threshold: Mean cosine similarity, in (0, 1). Lower joins more photos: safer against leaks, but strangers who
            look alike fall into one group. The default suits photos of adults from the press and the web; small
            children and generated faces look alike to MobileFaceNet: 0.6 and more is needed to tell those apart.

    Returns:
        Shape (photos,), int64: 0, 1, … in the order of first appearance; ``NO_PERSON`` for a row of zeros.

    Raises:
        UsageError: ``threshold`` is out of range.
        DataError: ``vectors`` is no table of finite numbers.

    Source: Bruynooghe 1978 (reducibility); Murtagh 1983, doi 10.1093/comjnl/26.4.354 (reciprocal nearest neighbours).
    """
    if not 0 < threshold < 1:
        raise UsageError(f"Expected a threshold between 0 and 1, got {threshold}.")
    table = np.asarray(vectors)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise DataError(
            f"Expected vectors as rows of finite numbers, got shape {table.shape}.", hint="Embed the photos again."
        )
    lengths = np.linalg.norm(table.astype(np.float64), axis=1)
    faces = np.flatnonzero(lengths > 0)
    units = table[faces] / lengths[faces, None]
    groups = _Groups(units, np.ones(len(faces)))
    members = np.arange(len(faces))
    is_whole = False
    while not is_whole:
        pairs, is_whole = _similar_pairs(groups.means().astype(np.float32), threshold)
        joined = _join(groups, pairs, threshold)
        before = len(groups.sizes)
        groups, numbers = groups.compacted(joined)
        members = numbers[members]
        # A photo with too many neighbours: pairs were left out. What was joined made room, so look again.
        is_whole |= len(groups.sizes) == before
    labels = np.full(len(table), NO_PERSON, np.int64)
    labels[faces] = _by_appearance(members)
    return labels


@dataclass
class _Groups:
    """Sums of the unit vectors of each group, and how many there are."""

    sums: FloatArray
    sizes: FloatArray

    def means(self) -> FloatArray:
        return self.sums / self.sizes[:, None]

    def similarities(self, pairs: IntArray) -> FloatArray:
        """Returns the mean similarity between the photos of the two groups of each pair."""
        result = np.empty(len(pairs))
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            first, second = pairs[start : start + _PAIRS_AT_ONCE].T
            products = np.einsum("ij,ij->i", self.sums[first], self.sums[second])
            result[start : start + len(first)] = products / (self.sizes[first] * self.sizes[second])
        return result

    def compacted(self, joined: IntArray) -> tuple[_Groups, IntArray]:
        """Returns the groups that are left, and the new number of each old one."""
        kept, numbers = np.unique(joined, return_inverse=True)
        return _Groups(self.sums[kept], self.sizes[kept]), numbers.astype(np.int64)


def _similar_pairs(means: npt.NDArray[np.float32], threshold: float) -> tuple[IntArray, bool]:
    """Returns pairs (i, j), i < j, whose product may reach ``threshold``, and whether these are all."""
    found = [np.zeros((0, 2), np.int64)]
    is_whole = True
    rows_at_once = max(1, _BLOCK_NUMBERS // max(1, len(means)))
    for start in range(0, len(means), rows_at_once):
        block = means[start : start + rows_at_once] @ means[start:].T
        is_similar = np.triu(block >= threshold - _ROUNDING, k=1)
        for row in np.flatnonzero(is_similar.sum(axis=1) > _MAX_LATER_NEIGHBOURS):
            is_whole = False
            nearest = np.argsort(-np.where(is_similar[row], block[row], -np.inf), kind="stable")
            is_similar[row, nearest[_MAX_LATER_NEIGHBOURS:]] = False
        found.append(np.argwhere(is_similar) + start)
    return np.concatenate(found), is_whole


def _join(groups: _Groups, pairs: IntArray, threshold: float) -> IntArray:
    """Joins groups, in place, until no pair reaches ``threshold``; returns where each group went."""
    parent = np.arange(len(groups.sizes))
    similarities = groups.similarities(pairs)
    while True:
        is_near = similarities >= threshold
        pairs, similarities = pairs[is_near], similarities[is_near]
        if not len(pairs):
            return _roots(parent)
        first, second = _reciprocal(pairs, similarities, len(parent))
        groups.sums[first] += groups.sums[second]
        groups.sizes[first] += groups.sizes[second]
        parent[second] = first
        has_changed = np.zeros(len(parent), bool)
        has_changed[first] = True
        pairs, similarities = _renamed(pairs, similarities, parent)
        is_stale = has_changed[pairs].any(axis=1)
        similarities[is_stale] = groups.similarities(pairs[is_stale])


def _reciprocal(pairs: IntArray, similarities: FloatArray, num_groups: int) -> tuple[IntArray, IntArray]:
    """Returns the pairs of groups that are each other's nearest; equal similarities go by the lower number."""
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -similarities))
    best = np.full(num_groups, len(pairs))
    ranks = np.arange(len(pairs))
    np.minimum.at(best, pairs[order, 0], ranks)
    np.minimum.at(best, pairs[order, 1], ranks)
    is_mutual = (best[pairs[order, 0]] == ranks) & (best[pairs[order, 1]] == ranks)
    first, second = pairs[order[is_mutual]].T
    return first, second


def _renamed(pairs: IntArray, similarities: FloatArray, parent: IntArray) -> tuple[IntArray, FloatArray]:
    """Returns each pair of different groups once, by the groups' new numbers."""
    ordered = np.sort(parent[pairs], axis=1)
    keys = ordered[:, 0] * len(parent) + ordered[:, 1]
    _, places = np.unique(keys, return_index=True)
    places = places[ordered[places, 0] != ordered[places, 1]]
    return ordered[places], similarities[places]


def _roots(parent: IntArray) -> IntArray:
    while (parent[parent] != parent).any():
        parent = parent[parent]
    return parent


def _by_appearance(numbers: IntArray) -> IntArray:
    _, firsts, inverse = np.unique(numbers, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[inverse].astype(np.int64)


def name_people(paths: Sequence[str], labels: IntArray) -> tuple[str, ...]:
    """Returns a stable name for each photo's person: ``person-000001`` holds the first path in alphabetical order.

    Args:
        paths: One a photo.
        labels: From :func:`group_people`.

    Returns:
        One name a photo; empty for ``NO_PERSON``.

    Raises:
        DataError: The lengths differ.

    Example:
        >>> name_people(["b.jpg", "c.jpg", "a.jpg"], np.array([0, -1, 1]))
        ('person-000002', '', 'person-000001')
    """
    if len(paths) != len(labels):
        raise DataError(f"Expected one person a photo, got {len(paths)} photos and {len(labels)} persons.")
    names = {NO_PERSON: ""}
    for place in sorted(range(len(paths)), key=paths.__getitem__):
        names.setdefault(int(labels[place]), f"person-{len(names):06d}")
    return tuple(names[int(label)] for label in labels)
