"""Counts by label and by any column, in the order in which a reader expects them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.data.manifest import Manifest
from edgegender.errors import UsageError
from edgegender.reporting.counting import (
    EMPTY_NAME,
    MAX_BINS,
    MAX_DRAWN_LABELS,
    MAX_DRAWN_VALUES,
    count_groups,
    count_labels,
    group_columns,
    group_values,
    simplify,
    simplify_labels,
)


def manifest_of(values, *, column="age", labels=None):
    return Manifest(
        Path(),
        {
            "path": [f"{index}.jpg" for index in range(len(values))],
            "label": list(labels or ["cat"] * len(values)),
            column: list(values),
        },
    )


def test_labels_are_counted_by_name():
    manifest = manifest_of(["", "", ""], labels=["dog", "cat", "dog"])
    assert count_labels(manifest) == {"cat": 1, "dog": 2}
    assert list(count_labels(manifest)) == ["cat", "dog"]


def test_a_group_counts_each_label_even_where_there_is_none():
    manifest = manifest_of(["b", "a", "b"], labels=["dog", "cat", "dog"])
    assert count_groups(manifest, "age") == {"a": {"cat": 1, "dog": 0}, "b": {"cat": 0, "dog": 2}}


def test_columns_that_differ_from_photo_to_photo_make_no_groups():
    columns = ("path", "label", "split", "source", "sha256", "phash", "face_box", "exclude", "age", "")
    manifest = Manifest(Path(), {name: ["x"] for name in columns})
    assert group_columns(manifest) == ("label", "split", "source", "age")


@pytest.mark.parametrize("column", ["colour", "path", ""])
def test_an_unknown_column_is_answered_with_those_that_are_there(column):
    with pytest.raises(UsageError, match=rf"Expected a column of label, age, got '{column}'\."):
        count_groups(manifest_of(["1"]), column)


def order_of(values, column="age"):
    return list(group_values(manifest_of(values, column=column), column)[1])


def test_few_numbers_stand_as_they_are_in_their_order():
    assert order_of(["10", "9", "-1", "2.5"]) == ["-1", "2.5", "9", "10"]


def test_ranges_stand_by_the_numbers_in_them():
    fairface = ["more than 70", "3-9", "20-29", "0-2", "10-19"]
    assert order_of(fairface) == ["0-2", "3-9", "10-19", "20-29", "more than 70"]


def test_splits_stand_as_train_val_test_and_empty_cells_last():
    assert order_of(["test", "", "val", "train"], column="split") == ["train", "val", "test", EMPTY_NAME]
    assert order_of(["", "z", "a"]) == ["a", "z", EMPTY_NAME]


def test_many_ages_are_put_into_decades():
    values, ordered = group_values(manifest_of([str(age) for age in range(1, 117)]), "age")
    assert ordered == tuple(f"{start}–{start + 9}" for start in range(0, 120, 10))
    assert (values[0], values[8], values[9], values[-1]) == ("0–9", "0–9", "10–19", "110–119")


def test_a_word_among_the_ages_stays_a_value_of_its_own():
    values, ordered = group_values(manifest_of([*map(str, range(20)), "unknown", ""]), "age")
    assert ordered[-2:] == ("unknown", EMPTY_NAME)
    assert ordered[0] == "0–1"
    assert values[-2:] == ["unknown", EMPTY_NAME]


def test_many_words_are_no_numbers():
    words = [f"person {index}" for index in range(20)]
    assert order_of([*words, "7"]) == ["7", *words]


def test_fractions_get_bins_with_a_lower_and_an_upper_end():
    values, ordered = group_values(manifest_of([f"{index / 20}" for index in range(21)]), "age")
    assert ordered[:2] == ("0 to < 0.1", "0.1 to < 0.2")
    assert ordered[-1] == "1 to < 1.1"
    assert values[6] == "0.3 to < 0.4"  # 0.3 / 0.1 is a little less than 3 to a computer


@given(st.lists(st.integers(-(10**9), 10**9), min_size=13, max_size=60, unique=True))
def test_whole_numbers_lie_in_the_bin_that_names_them(numbers):
    values, ordered = group_values(manifest_of([str(number) for number in numbers]), "age")
    assert len(ordered) <= MAX_BINS
    for number, value in zip(numbers, values, strict=True):
        low, high = (int(part) for part in value.split("–"))
        assert low <= number <= high


def test_no_photo_is_lost_when_rare_values_and_labels_are_put_together():
    counts = {f"v{value}": {f"l{label}": value * label for label in range(15)} for value in range(40)}
    drawn = simplify(counts)
    assert len(drawn) == MAX_DRAWN_VALUES
    assert {len(row) for row in drawn.values()} == {MAX_DRAWN_LABELS}
    assert next(iter(drawn)) == "v17"
    assert list(drawn)[-1] == "(17 other values)"
    assert list(drawn["v20"])[-1] == "(6 other labels)"
    assert sum(map(sum, (row.values() for row in drawn.values()))) == sum(
        map(sum, (r.values() for r in counts.values()))
    )


def test_few_values_stay_as_they_are():
    counts = {"train": {"a": 1, "b": 0}}
    assert simplify(counts) == counts
    assert simplify({}) == {}
    assert simplify_labels({"a": 1}) == {"a": 1}


def test_rare_labels_are_put_together():
    drawn = simplify_labels({f"l{index}": index for index in range(30)})
    assert len(drawn) == MAX_DRAWN_VALUES
    assert drawn["(7 other labels)"] == sum(range(7))
