"""Splits of groups: none stands on two sides, never; ratios and strata are kept as far as groups allow."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegender.data.manifest import SPLITS, Manifest, ManifestRow
from edgegender.data.split import SplitReport, parse_shares, split_groups
from edgegender.entities import FloatArray, IntArray
from edgegender.errors import DataError, UsageError

RATIOS = (70, 10, 20)


def splits(rows: Sequence[ManifestRow]) -> dict[str, str]:
    return {row.path: row.split for row in rows}


def digest(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def grouped(columns: dict[str, list[str]]) -> Manifest:
    """Returns a manifest with these columns; path, label and sha256 are made where they are missing."""
    count = len(next(iter(columns.values())))
    made = {
        "path": [f"{n}.jpg" for n in range(count)],
        "label": ["x"] * count,
        "sha256": [digest(n) for n in range(count)],
    }
    return Manifest(Path(), {**made, **columns})


def connected(manifest: Manifest, names: Sequence[str]) -> list[set[int]]:
    """Returns the rows that belong together, found by joining sets one cell after the other."""
    groups = {index: {index} for index, row in enumerate(manifest) if not row.exclude}
    for name in (*names, "sha256"):
        first: dict[str, int] = {}
        for index in list(groups):
            cell = manifest.column(name)[index]
            if cell:
                joined = groups[first.setdefault(cell, index)] | groups[index]
                for member in joined:
                    groups[member] = joined
    return [set(members) for members in {frozenset(members) for members in groups.values()}]


def report_by_hand(done: Manifest, strata: Sequence[str], names: Sequence[str], shares: FloatArray) -> SplitReport:
    usable = done.select()
    sides = list(usable.column("split"))
    num_photos = {split: sides.count(split) for split in SPLITS}
    worst: tuple[float, str] = (-1.0, "")
    for stratum in sorted(set(strata)):
        own = [side for side, its in zip(sides, strata, strict=True) if its == stratum]
        for split, share in zip(SPLITS, shares, strict=True):
            worst = max(worst, (abs(own.count(split) / len(own) - share), stratum), key=lambda pair: pair[0])
    sizes = [len(members) for members in connected(usable, names)]
    return SplitReport(
        asked=dict(zip(SPLITS, shares.tolist(), strict=True)),
        got={split: count / len(sides) for split, count in num_photos.items()},
        num_photos=num_photos,
        num_groups=sum(size > 1 for size in sizes),
        largest_group=max(sizes),
        worst_stratum=worst[1],
        worst_difference=worst[0],
    )


small = st.sampled_from(["", "", "1", "2", "3", "4", "5", "6", "7"])
problems = st.lists(
    st.tuples(small, small, st.sampled_from("xyz"), st.integers(0, 60), st.sampled_from(["", "", "", "blurred"])),
    min_size=1,
    max_size=60,
).filter(lambda rows: any(not row[-1] for row in rows))
ratios_of_any_kind = st.sampled_from([(70, 10, 20), (1, 1, 1), (80, 20), (1, 0, 0), (50, 0, 50), (98, 1, 1)])


def as_manifest(rows: Sequence[tuple[str, str, str, int, str]]) -> Manifest:
    person, block, label, content, exclude = (list(cells) for cells in zip(*rows, strict=True))
    splits_before = ["val" if reason else "" for reason in exclude]
    hashes = [digest(number) for number in content]
    names = ("person", "block", "label", "sha256", "exclude", "split")
    return grouped(dict(zip(names, (person, block, label, hashes, exclude, splits_before), strict=True)))


@given(problems, ratios_of_any_kind, st.integers(0, 3))
@settings(max_examples=150)
def test_no_group_ever_stands_on_two_sides(
    rows: list[tuple[str, str, str, int, str]], ratios: tuple[float, ...], seed: int
) -> None:
    manifest = as_manifest(rows)
    done, report = split_groups(manifest, group_by=["person", "block"], ratios=ratios, seed=seed)
    sides = list(done.column("split"))
    for members in connected(manifest, ["person", "block"]):
        assert len({sides[index] for index in members}) == 1
    shares = parse_shares(ratios)
    allowed = {split for split, share in zip(SPLITS, shares, strict=True) if share > 0}
    for side, reason in zip(sides, done.column("exclude"), strict=True):
        assert side == "val" if reason else side in allowed
    unchanged = [name for name in manifest.column_names if name != "split"]
    assert all(list(done.column(name)) == list(manifest.column(name)) for name in unchanged)
    expected = report_by_hand(done, list(done.select().column("label")), ["person", "block"], shares)
    assert report.worst_difference == pytest.approx(expected.worst_difference)
    # several strata may be equally far off
    assert replace(report, worst_stratum="", worst_difference=0) == replace(
        expected, worst_stratum="", worst_difference=0
    )


@given(problems, st.randoms(use_true_random=False))
@settings(max_examples=80)
def test_the_order_of_the_rows_does_not_matter(rows: list[tuple[str, str, str, int, str]], random: object) -> None:
    manifest = as_manifest(rows)
    order = list(range(len(manifest)))
    random.shuffle(order)  # type: ignore[attr-defined]
    options = {"group_by": ["person"], "ratios": RATIOS, "stratify": ["label", "block"]}
    done, report = split_groups(manifest, **options)  # type: ignore[arg-type]
    shuffled, shuffled_report = split_groups(manifest.take(order), **options)  # type: ignore[arg-type]
    assert splits(list(shuffled)) == splits(list(done))
    assert shuffled_report == report


def test_groups_of_two_columns_that_share_a_photo_are_one() -> None:
    manifest = grouped({"person": ["a", "a", "", "b", "b", ""], "block": ["", "1", "1", "", "2", "2"]})
    for seed in range(20):
        done, report = split_groups(manifest, group_by=["person", "block"], ratios=(1, 1, 1), seed=seed)
        first, second = list(done.column("split"))[:3], list(done.column("split"))[3:]
        assert len(set(first)) == len(set(second)) == 1
        assert (report.num_groups, report.largest_group) == (2, 3)


def test_the_same_bytes_stay_together_without_being_asked() -> None:
    rows = [digest(n // 2) for n in range(100)]
    done, report = split_groups(grouped({"sha256": rows}), group_by=[], ratios=RATIOS)
    sides = list(done.column("split"))
    assert sides[::2] == sides[1::2]
    assert (report.num_groups, report.largest_group) == (50, 2)
    assert report.num_photos == {"train": 70, "val": 10, "test": 20}


def test_excluded_rows_do_not_join_groups() -> None:
    columns = {"person": ["a", "a", "b"], "block": ["", "1", "1"], "exclude": ["", "blurred", ""]}
    sides = {
        tuple(split_groups(grouped(columns), group_by=["person", "block"], ratios=(1, 1), seed=seed)[0].column("split"))
        for seed in range(20)
    }
    assert ("train", "", "test") in sides or ("test", "", "train") in sides


@pytest.mark.parametrize("count", [1, 10, 99, 1_000])
@pytest.mark.parametrize("ratios", [(70, 10, 20), (0.7, 0.1, 0.2), (1, 1, 1), (80, 20), (98, 1, 1), (5, 0, 1)])
def test_photos_without_groups_meet_the_ratios_within_each_label(count: int, ratios: tuple[float, ...]) -> None:
    manifest = grouped({"label": ["x"] * count + ["y"] * 3 * count})
    done, report = split_groups(manifest, group_by=[], ratios=ratios, seed=1)
    shares = dict(zip(SPLITS, parse_shares(ratios), strict=True))
    for label, number in (("x", count), ("y", 3 * count)):
        counts = Counter(row.split for row in done if row.label == label)
        for split, share in shares.items():
            # what the first label lost by rounding, the second gets: less than two photos in all
            assert abs(counts[split] - number * share) < 2
    assert all(abs(report.num_photos[split] - 4 * count * share) < 2 for split, share in shares.items())


@pytest.mark.parametrize(("photos_a_person", "slip"), [(1, 0.01), (2, 0.06), (3, 0.06)])
def test_many_small_strata_do_not_all_give_their_photos_to_the_largest_side(photos_a_person: int, slip: float) -> None:
    # 100 strata, each with one person (or, for 1, with three): a stratum by itself would always choose train
    count = 100 * max(3, photos_a_person) if photos_a_person == 1 else 100 * photos_a_person
    manifest = grouped(
        {
            "person": [str(n // photos_a_person) for n in range(count)],
            "place": [f"place {n * 100 // count // 10}" for n in range(count)],
            "hour": [str(n * 100 // count % 10) for n in range(count)],
        }
    )
    done, report = split_groups(manifest, group_by=["person"], ratios=RATIOS, stratify=["place", "hour"])
    assert len(set(zip(done.column("place"), done.column("hour"), strict=True))) == 100
    for split, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
        assert report.got[split] == pytest.approx(share, abs=slip)


def random_problem(rng: np.random.Generator, num_strata: int, *, is_skewed: bool) -> tuple[IntArray, IntArray]:
    """Returns people and strata of 1,000 photos; people mostly stay within one stratum, as they do in photos."""
    weight = rng.pareto(1.2, 300) + 0.1 if is_skewed else np.ones(300)
    person = rng.choice(300, 1_000, p=weight / weight.sum())
    home = rng.integers(0, num_strata, 300)
    return person, np.where(rng.random(1_000) < 0.8, home[person], rng.integers(0, num_strata, 1_000))


def misplaced(side: IntArray, stratum: IntArray, shares: FloatArray) -> float:
    """Returns the share of photos that would have to move for each stratum to have its shares on all sides."""
    counts = np.zeros((3, stratum.max() + 1))
    np.add.at(counts, (side, stratum), 1)
    return float(np.abs(counts - np.outer(shares, counts.sum(axis=0))).sum() / 2 / len(side))


@pytest.mark.parametrize("is_skewed", [False, True], ids=["even people", "some large people"])
@pytest.mark.parametrize("num_strata", [2, 12, 60])
def test_the_balance_is_as_good_as_that_of_scikit_learn(num_strata: int, is_skewed: bool) -> None:
    from sklearn.model_selection import StratifiedGroupKFold

    shares = np.asarray([0.6, 0.2, 0.2])  # equal folds are all that StratifiedGroupKFold knows: three of five train
    own, theirs = [], []
    for seed in range(6):
        person, stratum = random_problem(np.random.default_rng(seed), num_strata, is_skewed=is_skewed)
        cells = {"person": [str(number) for number in person], "a": [f"a{code % 8}" for code in stratum]}
        manifest = grouped({**cells, "b": [f"b{code // 8}" for code in stratum]})
        done, _ = split_groups(manifest, group_by=["person"], ratios=(60, 20, 20), seed=seed, stratify=["a", "b"])
        own.append(misplaced(np.asarray([SPLITS.index(side) for side in done.column("split")]), stratum, shares))
        fold = np.zeros(len(person), np.int64)
        folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of strata with fewer photos than folds
            for number, (_, chosen) in enumerate(folds.split(person, stratum, person)):
                fold[chosen] = number
        theirs.append(misplaced(np.asarray([1, 2, 0, 0, 0])[fold], stratum, shares))
    # measured: 0.3 to 1.1 times theirs; the latter is 0.06 % of the photos, where both solve the problem all but fully
    assert np.mean(own) <= np.mean(theirs) + 0.001


def test_another_seed_gives_another_split_of_the_same_groups() -> None:
    manifest = grouped({"person": [str(n // 3) for n in range(300)]})
    first, again, other = (split_groups(manifest, group_by=["person"], ratios=RATIOS, seed=seed) for seed in (4, 4, 5))
    assert list(first[0].column("split")) == list(again[0].column("split")) != list(other[0].column("split"))
    assert first[1].num_photos == other[1].num_photos == {"train": 210, "val": 30, "test": 60}


def test_a_split_stays_what_it_is_from_version_to_version() -> None:
    manifest = grouped({"person": [str(n * n % 97) for n in range(400)], "label": ["xyz"[n % 3] for n in range(400)]})
    done, _ = split_groups(manifest, group_by=["person"], ratios=RATIOS, seed=0)
    letters = "".join(side[1] for side in done.column("split"))
    assert hashlib.sha256(letters.encode()).hexdigest()[:16] == "363d7a7dbcc97490"


def test_photos_without_a_hash_are_ordered_by_their_paths() -> None:
    hashes = ["", *(digest(n) for n in range(1, 100))]
    done, report = split_groups(grouped({"sha256": hashes}), group_by=[], ratios=RATIOS)
    assert report.num_photos == {"train": 70, "val": 10, "test": 20}
    assert set(done.column("split")) == set(SPLITS)


def test_a_group_that_is_larger_than_its_side_is_not_cut() -> None:
    done, report = split_groups(grouped({"person": ["p"] * 95 + [""] * 5}), group_by=["person"], ratios=RATIOS)
    assert set(list(done.column("split"))[:95]) == {"train"}
    assert (report.largest_group, report.got["train"]) == (95, 0.95)
    assert report.worst_difference == pytest.approx(0.25)


# Strata


def test_a_column_of_many_numbers_is_balanced_in_five_bins() -> None:
    ages = [str(n % 90) for n in range(1_800)]
    _, report = split_groups(grouped({"age": ages}), group_by=[], ratios=(1, 1), stratify=["age"])
    assert report.worst_stratum in {f"bin {number}" for number in range(1, 6)}
    done, _ = split_groups(grouped({"age": ages}), group_by=[], ratios=(1, 1), stratify=["age"])
    young = Counter(row.split for row in done if int(row.extra["age"]) < 18)
    assert abs(young["train"] - young["test"]) <= 2


def test_a_column_of_few_numbers_is_balanced_number_by_number() -> None:
    columns = {"age": ["1", "", "30"] * 40, "label": ["x", "y"] * 60}
    done, report = split_groups(grouped(columns), group_by=[], ratios=(1, 1), stratify=["age", "label"])
    counts = Counter((row.extra["age"], row.label, row.split) for row in done)
    assert set(counts.values()) == {10}
    assert (report.worst_stratum, report.worst_difference) == ("no age, x", 0.0)


def test_no_strata_at_all_are_one(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, dict(grouped({"label": ["x", "y"] * 50})._columns))
    _, report = split_groups(manifest, group_by=[], ratios=RATIOS, stratify=[])
    assert (report.worst_stratum, report.worst_difference) == ("", 0.0)


@pytest.mark.parametrize("odd", ["word", "nan", "inf", "12 years"])
def test_a_column_of_many_words_is_refused_as_a_stratum(odd: str) -> None:
    cells = [odd, *(str(n) for n in range(20))]
    message = rf"Expected at most 12 different values, or numbers, in age, got 21 such as '{odd}'\."
    with pytest.raises(UsageError, match=message) as caught:
        split_groups(grouped({"age": cells}), group_by=[], ratios=RATIOS, stratify=["age"])
    assert caught.value.hint == "Stratify by a column that has few values."


# What cannot be split


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"group_by": ["block"]}, "Expected --group-by to name columns .*, got 'block'", "Columns there: path, label"),
        (
            {"group_by": ["person"]},
            "Expected --group-by to name .*, got 'person'",
            "Find people first: edgegender data",
        ),
        ({"group_by": [], "stratify": ["age"]}, "Expected --stratify to name .*, got 'age'", "Columns there: path"),
    ],
)
def test_a_column_that_is_not_there_is_named(options: dict[str, list[str]], message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        split_groups(grouped({"label": ["x"]}), ratios=RATIOS, **options)  # type: ignore[arg-type]
    assert caught.value.hint.startswith(hint)


def test_nothing_to_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"Expected photos to split, got none \(\.\)") as caught:
        split_groups(grouped({"exclude": ["blurred"]}), group_by=[], ratios=RATIOS)
    assert caught.value.hint == "Look at the exclude column."


@pytest.mark.parametrize("sha256", ["x" * 64, "-5", "ab", "a b c d e f g h i ", "٣" * 64])
def test_a_hash_that_is_none_is_refused(sha256: str) -> None:
    manifest = grouped({"sha256": [digest(0), sha256]})
    with pytest.raises(DataError, match=r"Expected sha256 as 64 hexadecimal digits, got another \(\.\)") as caught:
        split_groups(manifest, group_by=[], ratios=RATIOS)
    assert caught.value.hint == "Make the manifest anew with: edgegender data index"


@pytest.mark.parametrize("ratios", [(70,), (0, 100), (70, -1), (float("nan"), 1, 1)])
def test_ratios_of_groups_that_are_none_are_refused(ratios: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"Expected three ratios such as 70,10,20, got "):
        split_groups(grouped({"label": ["x"]}), group_by=[], ratios=ratios)


def test_two_ratios_are_train_and_test_and_need_not_sum_to_one() -> None:
    assert parse_shares((80, 20)).tolist() == pytest.approx([0.8, 0, 0.2])
    assert parse_shares((3, 1, 1)).tolist() == pytest.approx([0.6, 0.2, 0.2])
