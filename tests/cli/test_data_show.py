"""``edgegender data show`` draws a manifest's photos and counts, and says what it shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgegender.cli import data_show
from edgegender.data.drawn_faces import write_drawn_faces
from edgegender.data.manifest_file import read_manifest, write_manifest
from tests.cli.commands import Answer, check_error, check_no_parts, run_here, snapshot

FIGURES = ["class_distribution", "labels_and_distribution", "sample_grid", "split_distribution"]


@pytest.fixture
def show(capfd, tmp_path, monkeypatch):
    """Runs the command in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_here(capfd, "data", "show", *words)


@pytest.fixture
def manifest(tmp_path) -> Path:
    rows = write_drawn_faces(tmp_path / "photos", num_faces=16, seed=2, size_px=64)
    splits = ["train", "train", "train", "test"]
    ages = ["0-2", "20-29", "more than 70"]
    listed = [
        replace(row, split=splits[index // 2 % 4], extra={"age": ages[index % 3], "a/b c": "x"})
        for index, row in enumerate(rows)
    ]
    listed[1] = replace(listed[1], exclude="no_face")
    write_manifest(tmp_path / "photos" / "faces.csv", listed)
    return tmp_path / "photos" / "faces.csv"


def figures_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_figures_are_written_and_the_counts_printed(show, manifest, tmp_path):
    answer = show(manifest, "-o", "out/new")
    assert answer.code == 0
    assert figures_in(tmp_path / "out" / "new") == [f"{name}.{suffix}" for name in FIGURES for suffix in ("png", "svg")]
    lines = answer.out.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["split", "female", "male"],
        ["train", "6", "5"],
        ["test", "2", "2"],
    ]
    assert lines[-1] == "15 photos, 15 on the sheet; 8 figures → out/new"
    assert "keep them where the photos may be kept" in answer.err
    check_no_parts(tmp_path)


def test_json_lists_files_and_counts(show, manifest, tmp_path):
    answer = show(manifest, "-o", "out", "--by", "age", "--by", "a/b c", "--by", "age", "--photos", "4", "--json")
    printed = json.loads(answer.out)
    assert sorted(Path(file).name for file in printed["files"]) == figures_in(tmp_path / "out")
    assert len(printed["files"]) == 12
    assert "distribution_age.svg" in figures_in(tmp_path / "out")
    assert "distribution_a_b_c.png" in figures_in(tmp_path / "out")
    assert (printed["num_photos"], printed["num_shown"], printed["unreadable"]) == (15, 4, {})
    assert printed["counts"] == {"train": {"female": 6, "male": 5}, "test": {"female": 2, "male": 2}}
    assert list(printed["by"]["age"]) == ["0-2", "20-29", "more than 70"]
    assert sum(printed["by"]["age"]["20-29"].values()) == 4
    assert answer.err == ""


def test_of_a_column_with_many_values_the_rare_ones_are_printed_as_one(show, tmp_path):
    (row,) = write_drawn_faces(tmp_path, num_faces=2, seed=2, size_px=32)[:1]
    rows = [replace(row, path=f"{index}.jpg", extra={"person": f"p{index}"}) for index in range(40)]
    write_manifest(tmp_path / "faces.csv", rows)
    lines = show("faces.csv", "-o", "out", "--photos", "1", "--by", "person").out.splitlines()
    assert ["(17", "other", "values)", "17"] in [line.split() for line in lines]
    assert len(lines) < 35


def test_columns_with_like_names_get_files_of_their_own():
    assert data_show._stems(("a b", "a/b", "ä", "../x")) == {
        "a b": "distribution_a_b",
        "a/b": "distribution_a_b_",
        "ä": "distribution_ä",
        "../x": "distribution__x",
    }


def test_one_split_is_shown_alone(show, manifest):
    printed = json.loads(show(manifest, "-o", "out", "--split", "test", "--json").out)
    assert printed["counts"] == {"test": {"female": 2, "male": 2}}
    assert printed["num_shown"] == 4


def test_a_seed_gives_the_same_bytes_and_another_seed_another_sheet(show, manifest, tmp_path):
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        show(manifest, "-o", folder, "--photos", "4", "--seed", seed)
    first, same, other = (snapshot(tmp_path / folder) for folder in "abc")
    assert first == same
    assert first["sample_grid.png"] != other["sample_grid.png"]
    assert first["class_distribution.png"] == other["class_distribution.png"]


def test_an_unreadable_photo_is_an_empty_cell_and_a_warning(show, manifest):
    (manifest.parent / "male" / "male_00003.jpg").write_bytes(b"")
    (manifest.parent / "female" / "female_00001.jpg").unlink()
    answer = show(manifest, "-o", "out")
    assert answer.code == 0
    assert "warning: male/male_00003.jpg: 0 bytes, an empty cell on the sheet" in answer.err
    printed = json.loads(show(manifest, "-o", "out", "--json").out)
    assert printed["unreadable"] == {
        "female/female_00001.jpg": "cannot be opened",
        "male/male_00003.jpg": "0 bytes",
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--by", "colour"), "Expected a column of label, split, age, a/b c, got 'colour'"),
        (("--split", "val"), "Expected photos, got none (split val of"),
        (("--photos", "0"), "Expected 1 to 300 photos, got 0"),
        (("--photos", "301"), "Expected 1 to 300 photos, got 301"),
        (("--photos", "some"), "Invalid value for '--photos'"),
        (("--columns", "0"), "Expected 1 to 300 columns, got 0"),
        (("--seed", "-1"), "Expected a seed of zero or more, got -1"),
        (("--split", "all"), "Invalid value for '--split'"),
    ],
)
def test_a_wrong_option_is_told_and_nothing_is_written(show, manifest, tmp_path, words, expected):
    answer = show(manifest, "-o", "out", *words)
    check_error(answer, 2, expected)
    assert answer.out == ""
    assert not (tmp_path / "out").exists()


def test_the_splits_that_have_photos_are_named(show, manifest):
    check_error(show(manifest, "-o", "out", "--split", "val"), 2, "Splits with photos: train, test.")


def test_a_manifest_whose_photos_are_all_excluded_is_told(show, manifest):
    rows = [replace(row, exclude="no_face") for row in read_manifest(manifest)]
    write_manifest(manifest, rows)
    check_error(show(manifest, "-o", "out"), 2, "Expected photos, got none", "all photos are excluded")


def test_a_missing_manifest_is_told(show):
    check_error(show("none.csv", "-o", "out"), 2, "none.csv")


def test_an_output_that_cannot_be_written_is_told_before_any_photo_is_read(show, manifest, tmp_path):
    (tmp_path / "file").touch()
    answer = show(manifest, "-o", "file")
    check_error(answer, 3, "Expected a file that can be written")
    (tmp_path / "out" / "sample_grid.svg").mkdir(parents=True)
    check_error(show(manifest, "-o", "out"), 3, "Expected a file that can be written", "sample_grid.svg")
    assert figures_in(tmp_path / "out") == ["sample_grid.svg"]


def test_help_says_that_the_sheets_hold_photos(show):
    answer: Answer = show("--help")
    assert answer.code == 0
    assert "The sheets hold photos, which may be of real people" in " ".join(answer.out.split())
