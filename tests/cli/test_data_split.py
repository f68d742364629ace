"""``edgegender data split``: no group stands on two sides, and what had to give is told."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgegender.data.manifest import Manifest
from edgegender.data.manifest_file import read_manifest, write_manifest
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot

Run = Callable[..., Answer]
NUM_PHOTOS = 200


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process and in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, "data", "split", *words)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """200 rows without photos: 50 people of four photos, three near duplicates, two pairs of the same bytes."""
    rng = np.random.default_rng(5)
    phashes = [rng.bytes(32).hex() for _ in range(NUM_PHOTOS)]
    phashes[11] = phashes[10][:-1] + ("0" if phashes[10][-1] != "0" else "1")
    phashes[12] = phashes[10]
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(NUM_PHOTOS)]
    digests[21], digests[31] = digests[20], digests[30]
    columns = {
        "path": [f"in/{number}.jpg" for number in range(NUM_PHOTOS)],
        "label": ["xy"[number // 4 % 2] for number in range(NUM_PHOTOS)],
        "split": ["train"] * NUM_PHOTOS,
        "sha256": digests,
        "phash": phashes,
        "exclude": ["blurred", *[""] * (NUM_PHOTOS - 1)],
        "person": [f"p{number // 4}" for number in range(NUM_PHOTOS)],
        "race": ["abc"[number // 8 % 3] for number in range(NUM_PHOTOS)],
        "age": [str(10 + number % 60) for number in range(NUM_PHOTOS)],
    }
    write_manifest(tmp_path / "faces.csv", Manifest(tmp_path, columns))
    return tmp_path / "faces.csv"


def sides(written: Manifest, column: str) -> dict[str, set[str]]:
    """Returns the splits that each value of a column stands in."""
    found = defaultdict(set)
    kept = written.select()
    for value, split in zip(kept.column(column), kept.column("split"), strict=True):
        found[value].add(split)
    found.pop("", None)
    return found


def split(run: Run, manifest: Path, *words: object) -> Manifest:
    answer = run(manifest, "-o", "split.csv", *words)
    assert answer.code == 0, answer
    return read_manifest(Path("split.csv"))


def test_people_stand_on_one_side_each_and_the_ratios_are_told(run: Run, manifest: Path, tmp_path: Path) -> None:
    answer = run(manifest, "-o", "split.csv", "--group-by", "person")
    assert (answer.code, answer.err) == (0, "")
    written = read_manifest(tmp_path / "split.csv")
    assert {len(splits) for splits in sides(written, "person").values()} == {1}
    counts = written.counts()
    lines = [line.split() for line in answer.out.splitlines()]
    assert lines[0] == ["split", "photos", "asked", "%", "got", "%"]
    for line, name, asked in zip(lines[1:4], ("train", "val", "test"), (70, 10, 20), strict=True):
        photos = sum(counts[name].values())
        assert line == [name, str(photos), f"{asked:.2f}", f"{100 * photos / 199:.2f}"]
        assert abs(100 * photos / 199 - asked) < 3  # one person has four photos: 2 %
    assert answer.out.splitlines()[4] == "50 groups of two or more photos, the largest of 4"
    assert answer.out.splitlines()[5].startswith("furthest from its share: ")
    assert lines[7] == ["split", "x", "y"]
    assert answer.out.splitlines()[-1] == "199 photos split → split.csv"


def test_the_same_bytes_stay_together_whatever_is_grouped_by(run: Run, manifest: Path) -> None:
    written = split(run, manifest, "--group-by", "person")
    assert {len(splits) for splits in sides(written, "sha256").values()} == {1}


def test_duplicates_are_grouped_where_nothing_is_said_and_the_column_is_kept(run: Run, manifest: Path) -> None:
    written = split(run, manifest)
    assert {len(splits) for splits in sides(written, "duplicates").values()} == {1}
    grouped = [row.path for row in written if row.extra["duplicates"]]
    assert grouped == [f"in/{number}.jpg" for number in (10, 11, 12, 20, 21, 30, 31)]


def test_blocks_are_made_and_several_columns_may_be_named_with_blanks(run: Run, manifest: Path) -> None:
    written = split(run, manifest, "--group-by", " person , duplicates", "--stratify", " label, race ")
    for column in ("person", "duplicates"):
        assert {len(splits) for splits in sides(written, column).values()} == {1}
    written = split(run, manifest, "--group-by", "block")
    assert sides(written, "block").keys() == {"x-00000", "y-00000"}
    assert {len(splits) for splits in sides(written, "block").values()} == {1}


def test_excluded_rows_and_all_other_columns_stay_as_they_are(run: Run, manifest: Path) -> None:
    written, before = split(run, manifest, "--group-by", "person"), read_manifest(manifest)
    for name in before.column_names:
        if name != "split":
            assert list(written.column(name)) == list(before.column(name)), name
    assert written.row(0).split == "train"


def test_two_ratios_are_train_and_test(run: Run, manifest: Path) -> None:
    assert list(split(run, manifest, "--ratios", "80,20").counts()) == ["train", "test"]


def test_a_seed_gives_the_same_bytes_and_another_seed_another_split(run: Run, manifest: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(manifest, "-o", f"{name}.csv", "--seed", seed).code == 0
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c


def test_numbers_are_stratified_in_bins_and_nothing_may_be_stratified_at_all(run: Run, manifest: Path) -> None:
    out = run(manifest, "-o", "split.csv", "--stratify", "label,age").out
    assert "furthest from its share: " in out
    assert " bin " in out
    assert "furthest from its share: all photos, by 0." in run(manifest, "-o", "split.csv", "--stratify", "").out


@pytest.mark.parametrize(
    ("num_equal", "expected"),
    [(1, "no group of two or more photos"), (2, "1 group of two or more photos, the largest of 2")],
)
def test_one_group_and_none_are_told_in_good_english(run: Run, tmp_path: Path, num_equal: int, expected: str) -> None:
    columns = {
        "path": [f"{number}.jpg" for number in range(10)],
        "label": ["x", "y"] * 5,
        "sha256": [hashlib.sha256(bytes([max(number, num_equal - 1)])).hexdigest() for number in range(10)],
        "person": [""] * 10,
    }
    write_manifest(tmp_path / "faces.csv", Manifest(tmp_path, columns))
    assert f"{expected}\n" in run("faces.csv", "-o", "split.csv", "--group-by", "person").out


def test_json_tells_what_was_asked_and_what_was_got(run: Run, manifest: Path, tmp_path: Path) -> None:
    answer = run(manifest, "-o", "split.csv", "--group-by", "person", "--seed", "3", "--json")
    document = json.loads(answer.out)
    written = read_manifest(tmp_path / "split.csv")
    assert document["counts"] == written.counts()
    assert document["num_photos"] == {name: sum(row.values()) for name, row in written.counts().items()}
    assert (document["manifest"], document["group_by"], document["stratify"], document["seed"]) == (
        "split.csv", ["person"], ["label"], 3,
    )  # fmt: skip
    assert document["asked"] == pytest.approx({"train": 0.7, "val": 0.1, "test": 0.2})
    assert sum(document["got"].values()) == pytest.approx(1)
    assert (document["num_groups"], document["largest_group"]) == (50, 4)
    assert 0 <= document["worst_difference"] < 0.1


def test_parquet_is_read_and_written(run: Run, manifest: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "faces.parquet", read_manifest(manifest))
    assert run("faces.parquet", "-o", "split.parquet").code == 0
    assert run(manifest, "-o", "split.csv").code == 0
    assert list(read_manifest(tmp_path / "split.parquet")) == list(read_manifest(tmp_path / "split.csv"))


def test_photos_without_a_perceptual_hash_are_told(run: Run, manifest: Path, tmp_path: Path) -> None:
    """``data index --no-phash`` leaves none: near duplicates cannot be kept together, and nobody would know."""
    before = read_manifest(manifest)
    write_manifest(manifest, before.with_columns({"phash": [""] * 5 + list(before.column("phash"))[5:]}))
    answer = run(manifest, "-o", "split.csv")
    assert answer.code == 0
    assert answer.err.startswith(
        "warning: 4 photos have no perceptual hash: near duplicates of theirs may stand on two"
    )
    assert run(manifest, "-o", "split.csv", "--group-by", "person").err == ""
    check_no_parts(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--group-by", ""), "Expected --group-by with names such as person,block, got ''"),
        (("--group-by", " , "), "Expected --group-by with names such as person,block, got ' , '"),
        (("--group-by", "camera"), "Expected --group-by to name columns of the manifest, got 'camera'"),
        (("--stratify", "camera"), "Expected --stratify to name columns of the manifest, got 'camera'"),
        (("--stratify", "path"), "Expected at most 12 different values, or numbers, in path"),
        (("--ratios", "70;10;20"), "Expected ratios such as 70,10,20, got '70;10;20'"),
        (("--ratios", "70"), "Train, val and test, or train and test"),
        (("--ratios", "0,1"), "Expected ratios such as 70,10,20, got '0,1'"),
        (("--ratios", "1,-1,1"), "Expected ratios such as 70,10,20"),
        (("--seed", "one"), "Invalid value for '--seed'"),
        (("-o", "split.xlsx"), "Expected a manifest's name ending in .csv or .parquet, got split.xlsx"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_nonsense_is_refused_and_nothing_is_written(
    run: Run, manifest: Path, tmp_path: Path, words: tuple[str, ...], expected: str
) -> None:
    before = snapshot(tmp_path)
    answer = run(manifest, *(() if "-o" in words else ("-o", "split.csv")), *words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert snapshot(tmp_path) == before


def test_the_way_to_a_column_of_people_is_told(run: Run, manifest: Path) -> None:
    before = read_manifest(manifest)
    columns = {name: before.column(name) for name in before.column_names if name != "person"}
    write_manifest(manifest, Manifest(before.folder, columns))
    answer = run(manifest, "-o", "split.csv", "--group-by", "person")
    check_error(answer, 2, "got 'person'", "edgegender data group MANIFEST --by person")


def test_rows_without_a_hash_cannot_be_grouped_by_duplicates(run: Run, tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("path,label\na.jpg,x\nb.jpg,y\n")
    check_error(run("faces.csv", "-o", "split.csv"), 2, "Expected a sha256 in each row", "edgegender data index")


def test_excluded_rows_alone_cannot_be_split(run: Run, tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("path,label,exclude,person\na.jpg,x,blurred,p\n")
    answer = run("faces.csv", "-o", "split.csv", "--group-by", "person")
    check_error(answer, 2, "Expected photos to split, got none", "Look at the exclude column.")


def test_a_manifest_may_be_split_in_its_own_place(run: Run, manifest: Path, tmp_path: Path) -> None:
    assert run(manifest, "-o", manifest, "--group-by", "person").code == 0
    assert {len(splits) for splits in sides(read_manifest(manifest), "person").values()} == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["faces.csv"]
