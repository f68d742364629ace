"""From a manifest to a run's photos: splits that a recipe draws, and files that cannot be read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.errors import DataError, UsageError
from edgegender.training.preparation import choose_positive, hash_rows, prepare
from edgegender.training.recipes import Recipe, load_recipe
from tests.pictures import noise, write_photo


def recipe(*overrides: str) -> Recipe:
    return load_recipe("edge", list(overrides))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """60 photos of two labels; the manifest's own split is 30 train, 15 val, 15 test."""
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number in range(60):
        file = write_photo(folder / f"{number}.png", noise(8, 8, seed=number))
        split = ("train", "val", "train", "test")[number // 2 % 4]
        rows.append(ManifestRow(file.name, "ab"[number % 2], split, sha256=f"{number:064d}"))
    return Manifest.from_rows(folder, rows)


def refuse(file: Path) -> None:
    pytest.fail(f"{file} was left out")


def test_the_manifests_splits_count_unless_a_recipe_draws_its_own(photos: Manifest) -> None:
    data = prepare(photos, recipe(), on_skip=refuse)
    assert data.manifest.column("split") == photos.column("split")
    assert [sample.file.name for sample in data.train] == [row.path for row in photos if row.split == "train"]
    assert data.sha256 == hash_rows(photos.select(split="train"))


@pytest.mark.parametrize(
    ("split", "validation", "shares"),
    [("70/15/15", "val", (42, 8, 10)), ("80/20", "test", (48, 0, 12)), ("1/1", "test", (30, 0, 30))],
)
def test_a_recipe_draws_its_shares_by_label(
    photos: Manifest, split: str, validation: str, shares: tuple[int, int, int]
) -> None:
    changed = recipe(f"split={split}", f"validation_split={validation}")
    data = prepare(photos, changed, on_skip=refuse)
    counts = data.manifest.counts()
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        # each label is cut by itself: 21, 4.5 and 4.5 of 30 is 21, 4 or 5, and the rest
        assert sum(counts.get(name, {}).values()) == pytest.approx(share, abs=2)
        assert len(set(counts.get(name, {"a": 0}).values())) == 1
    assert len(data.val) == sum(counts[validation].values())
    assert not {sample.file for sample in data.train} & {sample.file for sample in data.val}


def test_another_seed_draws_another_split(photos: Manifest) -> None:
    splits = [prepare(photos, recipe("split=70/15/15", f"seed={seed}"), on_skip=refuse).manifest for seed in (1, 1, 2)]
    assert splits[0].column("split") == splits[1].column("split") != splits[2].column("split")


def test_a_split_is_not_drawn_without_hashes(photos: Manifest) -> None:
    unhashed = photos.with_columns({"sha256": [""] * len(photos)})
    with pytest.raises(DataError, match="sha256"):
        prepare(unhashed, recipe("split=70/15/15"), on_skip=refuse)


def test_files_that_cannot_be_read_are_told_and_excluded_with_the_reason(photos: Manifest, tmp_path: Path) -> None:
    rows = [dataclasses.replace(row, path=str(photos.folder / row.path)) for row in photos]
    (tmp_path / "bad.png").write_text("no photo")
    rows[0] = dataclasses.replace(rows[0], path="bad.png")
    told: list[Path] = []
    data = prepare(Manifest.from_rows(tmp_path, rows), recipe(), on_skip=told.append)
    assert told == [tmp_path / "bad.png"]
    assert data.manifest.row(0).exclude == "unreadable"
    assert len(data.train) == 29 + 1 - 1 or len(data.train) == 29
    assert tmp_path / "bad.png" not in {sample.file for sample in data.train}


def test_a_validation_split_without_photos_is_refused(photos: Manifest) -> None:
    with pytest.raises(DataError, match=r"Expected photos, got none \(split val\)"):
        prepare(photos.where(split != "val" for split in photos.column("split")), recipe(), on_skip=refuse)


def test_a_positive_label_must_be_a_label() -> None:
    with pytest.raises(UsageError, match="Expected a positive label of a, b, got 'c'"):
        choose_positive(("a", "b"), "c")
