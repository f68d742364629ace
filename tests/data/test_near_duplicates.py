"""The search for near duplicates: exactly the pairs that comparing all with all would find."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegender.data import near_duplicates
from edgegender.data.near_duplicates import MAX_DISTANCE, NearPairs, find_near_pairs, group_pairs
from edgegender.data.perceptual_hash import HASH_BITS, HashArray
from edgegender.errors import UsageError

Bits = npt.NDArray[np.bool_]


def pack(bits: Bits) -> HashArray:
    return np.packbits(bits, axis=1).view(np.uint64)


def flipped(bits: Bits, num_flips: int, rng: np.random.Generator) -> Bits:
    changed = bits.copy()
    places = rng.choice(HASH_BITS, num_flips, replace=False)
    changed[places] = ~changed[places]
    return changed


def random_hashes(rng: np.random.Generator, count: int = 400) -> Bits:
    return rng.random((count, HASH_BITS)) < 0.5


def clustered_hashes(rng: np.random.Generator) -> Bits:
    """Ten pictures, each with thirty copies at distances of 0 to 40, in any order."""
    centres = random_hashes(rng, 10)
    return rng.permutation([flipped(centre, int(rng.integers(0, 41)), rng) for centre in centres for _ in range(30)])


def skewed_hashes(rng: np.random.Generator) -> Bits:
    """Hashes like those of faces: most bits are nearly always the same, so that bands tell little apart."""
    return rng.random((400, HASH_BITS)) < rng.choice([0.02, 0.5, 0.98], HASH_BITS, p=[0.46, 0.08, 0.46])


def brute_force(hashes: HashArray, max_distance: int) -> dict[tuple[int, int], int]:
    """Returns all near pairs as the docstring says: copies are paired with their first, firsts with each other."""
    bits = np.unpackbits(hashes.view(np.uint8), axis=1).astype(np.int32)
    ones = bits.sum(axis=1)
    distance = ones[:, None] + ones[None, :] - 2 * bits @ bits.T
    first_of = (distance == 0).argmax(axis=1)
    found = {}
    for low, high in np.argwhere(np.triu(distance <= max_distance, k=1)).tolist():
        if first_of[low] == low and (first_of[high] in (high, low)):
            found[low, high] = int(distance[low, high])
    return found


def as_dict(pairs: NearPairs) -> dict[tuple[int, int], int]:
    keys = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert keys == sorted(set(keys))  # each once, sorted
    return dict(zip(keys, pairs.distance.tolist(), strict=True))


@pytest.mark.parametrize("max_distance", [0, 1, 8, 23, 24])
@pytest.mark.parametrize("kind", ["random", "clustered", "skewed"])
def test_the_pairs_are_those_of_comparing_all_with_all(kind: str, max_distance: int) -> None:
    rng = np.random.default_rng(5)
    hashes = pack({"random": random_hashes, "clustered": clustered_hashes, "skewed": skewed_hashes}[kind](rng))
    expected = brute_force(hashes, max_distance)
    assert as_dict(find_near_pairs(hashes, max_distance=max_distance)) == expected
    if kind != "random" and max_distance >= 23:  # random hashes differ in about 128 bits
        assert len(expected) > 300


def test_no_pair_of_the_largest_distance_is_missed_wherever_its_bits_stand() -> None:
    # The index finds a pair by a band with one different bit at most; 24 bits in 13 bands always leave one.
    rng = np.random.default_rng(11)
    base = random_hashes(rng, 1)[0]
    copies = [flipped(base, MAX_DISTANCE, rng) for _ in range(300)]
    pairs = find_near_pairs(pack(np.stack([base, *copies])))
    assert {second for first, second in as_dict(pairs) if first == 0} == set(range(1, 301))


def test_pairs_are_found_whose_bits_are_spread_over_the_bands_as_evenly_as_can_be() -> None:
    order = np.random.default_rng(near_duplicates._SHUFFLE_SEED).permutation(HASH_BITS)
    bands = np.array_split(order, near_duplicates._NUM_BANDS)
    base = np.zeros(HASH_BITS, bool)
    rows = [base]
    for spared in range(len(bands)):
        row = base.copy()
        for index, band in enumerate(bands):
            row[band[:2]] = index != spared
        assert row.sum() == MAX_DISTANCE
        rows.append(row)
    pairs = as_dict(find_near_pairs(pack(np.stack(rows))))
    assert all(pairs[0, place] == MAX_DISTANCE for place in range(1, len(rows)))


def test_equal_hashes_make_a_star_and_not_all_pairs() -> None:
    rng = np.random.default_rng(0)
    one, other = random_hashes(rng, 2)
    near = flipped(one, 3, rng)
    hashes = pack(np.stack([other, one, one, near, one, near, other]))
    assert as_dict(find_near_pairs(hashes)) == {(0, 6): 0, (1, 2): 0, (1, 4): 0, (1, 3): 3, (3, 5): 0}


def test_ten_thousand_equal_pictures_take_no_time() -> None:
    start = time.process_time()
    pairs = find_near_pairs(np.zeros((10_000, 4), np.uint64))
    assert len(pairs.first) == 9_999
    assert set(pairs.first.tolist()) == {0}
    assert time.process_time() - start < 10  # all pairs would take minutes


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_has_no_pairs(count: int) -> None:
    pairs = find_near_pairs(np.zeros((count, 4), np.uint64))
    assert [len(part) for part in (pairs.first, pairs.second, pairs.distance)] == [0, 0, 0]


@pytest.mark.parametrize("at_once", [1, 7, 10**9])
def test_the_pairs_do_not_depend_on_how_many_are_compared_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = pack(clustered_hashes(np.random.default_rng(2))[:60])
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", at_once)
    assert as_dict(find_near_pairs(hashes)) == brute_force(hashes, MAX_DISTANCE)


@pytest.mark.parametrize("total", [6, 7, 8])
def test_no_candidate_is_lost_where_a_full_portion_ends(total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 3)
    ends = np.arange(1, total + 1)
    pairs = [
        pair for first, second in near_duplicates._pairs_of(ends - 1, ends) for pair in zip(first, second, strict=True)
    ]
    assert pairs == [(place, place) for place in range(total)]


@st.composite
def few_hashes(draw: st.DrawFn) -> HashArray:
    """A few pictures and copies of them with some bits changed, among them the first and the last."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    rows = list(random_hashes(rng, draw(st.integers(1, 4))))
    flips = draw(st.lists(st.lists(st.integers(0, HASH_BITS - 1), unique=True, max_size=30), max_size=12))
    for places in flips:
        changed = rows[int(rng.integers(len(rows)))].copy()
        changed[places] = ~changed[places]
        rows.append(changed)
    return pack(np.stack(rows))


@given(few_hashes(), st.integers(0, MAX_DISTANCE))
@settings(max_examples=60)
def test_a_few_hashes_give_the_same_pairs_as_comparing_all(hashes: HashArray, max_distance: int) -> None:
    assert as_dict(find_near_pairs(hashes, max_distance=max_distance)) == brute_force(hashes, max_distance)


@pytest.mark.parametrize("distance", [-1, 25, 256])
def test_a_distance_that_the_index_cannot_do_is_refused(distance: int) -> None:
    with pytest.raises(UsageError, match=rf"Expected a distance of 0 to 24 bits, got {distance}\.") as caught:
        find_near_pairs(np.zeros((2, 4), np.uint64), max_distance=distance)
    assert caught.value.hint


# Counting bits


def test_bits_are_counted_alike_with_and_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    special = [0, 1, 2**63, 2**64 - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA, 0x0F0F0F0F0F0F0F0F]
    drawn = np.random.default_rng(0).integers(0, 2**64, 10_000, np.uint64)
    words = np.concatenate([np.asarray(special, np.uint64), drawn])
    expected = [int(word).bit_count() for word in words]
    assert near_duplicates._count_bits(words).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)  # numpy 1.26 has none
    assert near_duplicates._count_bits(words).tolist() == expected
    assert near_duplicates._count_bits(words[:0]).tolist() == []


# Groups


def union_find(size: int, pairs: list[tuple[int, int]]) -> list[int]:
    members = [{place} for place in range(size)]
    for first, second in pairs:
        joined = members[first] | members[second]
        for place in joined:
            members[place] = joined
    return [min(group) for group in members]


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(
    st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60)
)))  # fmt: skip
def test_linked_positions_have_the_lowest_of_them(problem: tuple[int, list[tuple[int, int]]]) -> None:
    size, pairs = problem
    first, second = (np.asarray([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    assert group_pairs(size, first, second).tolist() == union_find(size, pairs)


def test_a_long_chain_in_any_order_is_one_group() -> None:
    order = np.random.default_rng(0).permutation(100_000)
    start = time.process_time()
    assert set(group_pairs(len(order), order[:-1], order[1:]).tolist()) == {0}
    assert time.process_time() - start < 20  # a step for each link would take hours


def test_nothing_to_link_leaves_each_position_alone() -> None:
    empty = np.zeros(0, np.int64)
    assert group_pairs(3, empty, empty).tolist() == [0, 1, 2]
    assert group_pairs(0, empty, empty).tolist() == []
