"""The data check: every planted fault is found, nothing else is, and the right copy stays."""

from __future__ import annotations

from pathlib import Path

from edgegender import files
from edgegender.data.check import DataReport, FaultyPhoto, check_manifest, exclude_faults
from edgegender.data.manifest import Manifest, ManifestRow
from tests import pictures


def photo(folder: Path, path: str, label: str = "x", split: str = "", *, seed: int, exclude: str = "") -> ManifestRow:
    """Writes the photo of this seed; the same seed gives the same bytes."""
    file = pictures.write_photo(folder / path, pictures.noise(8, 8, seed))
    return ManifestRow(path, label, split, sha256=files.hash_file(file), exclude=exclude)


def reasons(rows: Manifest) -> dict[str, str]:
    return {row.path: row.exclude for row in rows}


def planted(folder: Path) -> Manifest:
    """Writes photos with one fault of each kind among sound ones."""
    rows = [
        photo(folder, "sound1.jpg", "x", "train", seed=1),
        photo(folder, "sound2.jpg", "y", "test", seed=2),
        photo(folder, "twin_a.jpg", "x", "train", seed=3),
        photo(folder, "twin_b.jpg", "x", "train", seed=3),
        photo(folder, "leak_train.jpg", "y", "train", seed=4),
        photo(folder, "leak_test.jpg", "y", "test", seed=4),
        photo(folder, "leak_val.jpg", "y", "val", seed=4),
        photo(folder, "conflict_x.jpg", "x", "train", seed=5),
        photo(folder, "conflict_y.jpg", "y", "train", seed=5),
        photo(folder, "cut.jpg", "x", "train", seed=6),
        photo(folder, "text.jpg", "x", "train", seed=7),
        photo(folder, "gone.jpg", "y", "train", seed=8),
        photo(folder, "changed.jpg", "y", "train", seed=9),
        photo(folder, "left_out.jpg", "y", "train", seed=1, exclude="blurred"),
        photo(folder, "unmeasured.jpg", "y", "train", seed=10),
    ]
    rows[-1] = ManifestRow("unmeasured.jpg", "y", "train")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no photo")
    (folder / "gone.jpg").unlink()
    pictures.write_photo(folder / "changed.jpg", pictures.noise(8, 8, seed=11))
    return Manifest.from_rows(folder, tuple(rows))


def test_every_planted_fault_is_found_and_nothing_else(tmp_path: Path) -> None:
    report = check_manifest(planted(tmp_path))
    assert report == DataReport(
        num_photos=14,
        num_excluded=1,
        counts={"train": {"x": 6, "y": 5}, "val": {"x": 0, "y": 1}, "test": {"x": 0, "y": 2}},
        unreadable=(
            FaultyPhoto("cut.jpg", "truncated"),
            FaultyPhoto("text.jpg", "format"),
            FaultyPhoto("gone.jpg", "missing"),
        ),
        duplicates=(("twin_a.jpg", "twin_b.jpg"), ("leak_train.jpg", "leak_test.jpg", "leak_val.jpg")),
        leaks=(("leak_train.jpg", "leak_test.jpg", "leak_val.jpg"),),
        conflicts=(("conflict_x.jpg", "conflict_y.jpg"),),
        changed=("changed.jpg",),
    )
    assert not report.is_sound


def test_excluding_keeps_one_copy_in_test_before_val_before_train(tmp_path: Path) -> None:
    manifest = planted(tmp_path)
    rows = exclude_faults(manifest, check_manifest(manifest))
    assert reasons(rows) == {
        "sound1.jpg": "",
        "sound2.jpg": "",
        "twin_a.jpg": "",
        "twin_b.jpg": "exact_duplicate",
        "leak_train.jpg": "exact_duplicate",
        "leak_test.jpg": "",
        "leak_val.jpg": "exact_duplicate",
        "conflict_x.jpg": "label_conflict",
        "conflict_y.jpg": "label_conflict",
        "cut.jpg": "unreadable: truncated",
        "text.jpg": "unreadable: format",
        "gone.jpg": "unreadable: missing",
        "changed.jpg": "sha256_mismatch",
        "left_out.jpg": "blurred",
        "unmeasured.jpg": "",
    }


def test_after_excluding_a_second_check_finds_nothing(tmp_path: Path) -> None:
    manifest = planted(tmp_path)
    cleaned = exclude_faults(manifest, check_manifest(manifest))
    report = check_manifest(cleaned)
    assert report.is_sound
    assert (report.unreadable, report.duplicates) == ((), ())
    assert report.num_photos == 5


def test_a_sound_set_stays_as_it_is(tmp_path: Path) -> None:
    rows = tuple(photo(tmp_path, f"{seed}.jpg", "xy"[seed % 2], "train", seed=seed) for seed in range(4))
    report = check_manifest(Manifest.from_rows(tmp_path, rows))
    assert report.is_sound
    assert list(exclude_faults(Manifest.from_rows(tmp_path, rows), report)) == list(rows)


def test_a_conflict_across_splits_is_a_leak_too_and_no_copy_stays(tmp_path: Path) -> None:
    rows = (photo(tmp_path, "a.jpg", "x", "train", seed=1), photo(tmp_path, "b.jpg", "y", "test", seed=1))
    report = check_manifest(Manifest.from_rows(tmp_path, rows))
    assert report.leaks == report.conflicts == (("a.jpg", "b.jpg"),)
    assert report.duplicates == ()
    assert set(reasons(exclude_faults(Manifest.from_rows(tmp_path, rows), report)).values()) == {"label_conflict"}


def test_duplicates_alone_make_no_figure_wrong(tmp_path: Path) -> None:
    rows = (photo(tmp_path, "a.jpg", "x", "train", seed=1), photo(tmp_path, "b.jpg", "x", "train", seed=1))
    report = check_manifest(Manifest.from_rows(tmp_path, rows))
    assert report.duplicates == (("a.jpg", "b.jpg"),)
    assert report.is_sound


def test_of_two_copies_the_changed_one_goes_and_the_sound_one_stays(tmp_path: Path) -> None:
    changed = photo(tmp_path, "a.jpg", "x", "test", seed=1)
    sound = photo(tmp_path, "b.jpg", "x", "train", seed=2)
    pictures.write_photo(tmp_path / "a.jpg", pictures.noise(8, 8, seed=2))
    manifest = Manifest.from_rows(tmp_path, (changed, sound))
    report = check_manifest(manifest)
    assert (report.changed, report.duplicates) == (("a.jpg",), (("a.jpg", "b.jpg"),))
    assert reasons(exclude_faults(manifest, report)) == {"a.jpg": "sha256_mismatch", "b.jpg": ""}


def test_an_excluded_copy_is_no_duplicate(tmp_path: Path) -> None:
    rows = (photo(tmp_path, "a.jpg", seed=1), photo(tmp_path, "b.jpg", seed=1, exclude="blurred"))
    assert check_manifest(Manifest.from_rows(tmp_path, rows)).duplicates == ()


def test_progress_counts_every_photo_once(tmp_path: Path) -> None:
    manifest = planted(tmp_path)
    calls: list[tuple[int, int]] = []
    check_manifest(manifest, on_progress=lambda done, total: calls.append((done, total)))
    assert calls == [(done, 14) for done in range(1, 15)]


def test_the_real_sample_has_no_unreadable_photo(sample_folder: Path) -> None:
    scenes = sorted((sample_folder / "scenes").glob("*.jpg"))
    rows = tuple(ManifestRow(f"scenes/{file.name}", file.name.split("_")[0]) for file in scenes)
    report = check_manifest(Manifest.from_rows(sample_folder, rows))
    assert (report.unreadable, report.conflicts, report.num_photos) == ((), (), len(scenes))
