"""Grouping photos by person: planted people come back, and the answer is scikit-learn's without its memory."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict

import numpy as np
import pytest

from edgegender.data import people
from edgegender.data.people import DEFAULT_THRESHOLD, NO_PERSON, group_people, name_people
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

SIZE = 64


def unit_rows(table: FloatArray) -> FloatArray:
    return table / np.linalg.norm(table, axis=1, keepdims=True)


def photos_of(sizes: list[int], *, spread: float, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Returns shuffled vectors, and who is on them: random directions with noise of length ``spread`` around each."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = unit_rows(rng.standard_normal((len(sizes), SIZE)))
    return unit_rows(centres[who] + spread * rng.standard_normal((len(who), SIZE)) / np.sqrt(SIZE)), who


def partition(labels: IntArray) -> set[frozenset[int]]:
    members = defaultdict(set)
    for place, label in enumerate(labels.tolist()):
        if label != NO_PERSON:
            members[label].add(place)
    return {frozenset(group) for group in members.values()}


def vectors_with_similarity(similarity: float, count: int) -> FloatArray:
    """Returns vectors each two of which have this cosine similarity."""
    table = np.sqrt(1 - similarity) * np.eye(count, count + 1)
    table[:, -1] = np.sqrt(similarity)
    return table


def test_planted_people_come_back() -> None:
    vectors, who = photos_of([60, 25, 9, 5, 3, 2, 2, 1, 1, 1, 1], spread=0.6)

    assert partition(group_people(vectors)) == partition(who)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("threshold", [0.3, 0.45, 0.6])
def test_groups_are_those_of_scikit_learn(seed: int, threshold: float) -> None:
    from sklearn.cluster import AgglomerativeClustering

    # noise longer than the signal: people overlap, so that the order of the joins decides
    vectors, _ = photos_of([40, 30, 20, 20, 10, 10, 5, 5, 5, 3, 2, 2, 1, 1, 1], spread=1.3, seed=seed)
    reference = AgglomerativeClustering(
        n_clusters=None, metric="cosine", linkage="average", distance_threshold=1 - threshold
    ).fit(vectors)

    found = group_people(vectors, threshold=threshold)

    assert partition(found) == partition(reference.labels_)
    assert 1 < found.max() + 1 < len(vectors)


def test_small_blocks_give_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = photos_of([30, 20, 10, 5, 5, 1, 1], spread=1.2)
    whole = group_people(vectors)

    monkeypatch.setattr(people, "_BLOCK_NUMBERS", 100)
    monkeypatch.setattr(people, "_PAIRS_AT_ONCE", 7)

    assert group_people(vectors).tolist() == whole.tolist()


def test_a_person_with_more_photos_than_neighbours_are_kept_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, who = photos_of([90, 40, 3, 1], spread=0.7)

    monkeypatch.setattr(people, "_MAX_LATER_NEIGHBOURS", 3)

    assert partition(group_people(vectors)) == partition(who)


def test_many_photos_a_hair_below_the_threshold_stay_apart() -> None:
    """More near-misses than are kept of one photo, none of which may join: the search has to end."""
    count = people._MAX_LATER_NEIGHBOURS + 50
    vectors = vectors_with_similarity(DEFAULT_THRESHOLD - people._ROUNDING / 2, count)

    assert group_people(vectors).tolist() == list(range(count))


def test_the_threshold_belongs_to_those_who_are_joined() -> None:
    # 1e-9: similarities are sums of rounded numbers
    assert group_people(vectors_with_similarity(0.5, 2), threshold=0.5 - 1e-9).tolist() == [0, 0]
    assert group_people(vectors_with_similarity(0.5, 2), threshold=0.5 + 1e-9).tolist() == [0, 1]


def test_a_chain_of_look_alikes_is_no_person() -> None:
    """Average linkage: the ends of a chain pull it apart, where single linkage would join all."""
    angles = np.radians(np.arange(0, 180, 20))
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    labels = group_people(chain, threshold=0.8)

    assert labels[0] == labels[1]
    assert labels[0] != labels[-1]


def test_groups_do_not_depend_on_the_order_or_length_of_the_vectors() -> None:
    vectors, _ = photos_of([20, 10, 5, 2, 1, 1], spread=1.2)
    order = np.random.default_rng(1).permutation(len(vectors))
    longer = vectors[order] * np.random.default_rng(2).uniform(0.1, 50, (len(vectors), 1))

    shuffled = np.empty(len(vectors), np.int64)
    shuffled[order] = group_people(longer)

    assert partition(shuffled) == partition(group_people(vectors))


def test_people_are_numbered_as_they_appear() -> None:
    vectors, _ = photos_of([20, 10, 5, 2, 1, 1], spread=0.6)

    labels = group_people(vectors)

    firsts = [labels.tolist().index(label) for label in range(labels.max() + 1)]
    assert firsts == sorted(firsts)


def test_a_photo_without_a_face_is_no_person() -> None:
    vectors, who = photos_of([4, 3], spread=0.3)
    vectors[2] = vectors[5] = 0

    labels = group_people(vectors.astype(np.float32))

    assert np.flatnonzero(labels == NO_PERSON).tolist() == [2, 5]
    rest = np.array([0, 1, 3, 4, 6])
    assert partition(labels[rest]) == partition(who[rest])


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_tables_without_a_face_have_no_person(rows: int) -> None:
    assert group_people(np.zeros((rows, SIZE))).tolist() == [NO_PERSON] * rows


def test_memory_does_not_grow_with_the_square_of_the_photos() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((9000, 32)).astype(np.float32)

    tracemalloc.start()
    group_people(vectors, threshold=0.6)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # a block of 64 MiB, its comparisons and the pairs; all similarities at once would take 324 MB as float32
    assert peak < 200e6


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="Expected a threshold between 0 and 1, got"):
        group_people(np.eye(3), threshold=threshold)


@pytest.mark.parametrize(
    "vectors", [np.array([[1.0, np.nan]]), np.array([[1.0, np.inf]]), np.ones(3), np.ones((2, 2, 2))]
)
def test_vectors_that_are_no_table_of_numbers_are_refused(vectors: FloatArray) -> None:
    with pytest.raises(DataError, match="Expected vectors as rows of finite numbers"):
        group_people(vectors)


def test_names_follow_the_alphabet_and_not_the_order_of_the_rows() -> None:
    paths = ["d.jpg", "b.jpg", "a.jpg", "c.jpg", "e.jpg"]
    labels = np.array([0, 1, 2, 1, NO_PERSON])

    names = dict(zip(paths, name_people(paths, labels), strict=True))
    turned = dict(zip(paths[::-1], name_people(paths[::-1], labels[::-1]), strict=True))

    assert names == turned
    assert names == {
        "a.jpg": "person-000001",
        "b.jpg": "person-000002",
        "c.jpg": "person-000002",
        "d.jpg": "person-000003",
        "e.jpg": "",
    }


def test_names_need_one_person_a_photo() -> None:
    with pytest.raises(DataError, match="Expected one person a photo, got 2 photos and 1 persons"):
        name_people(["a.jpg", "b.jpg"], np.array([0]))
