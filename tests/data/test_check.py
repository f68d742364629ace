"""The data check: every planted fault is found, nothing else is, and the right copy stays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import files
from edgegender.data import check
from edgegender.data.check import DataReport, FaultyPhoto, check_manifest, exclude_faults
from edgegender.data.drawn_faces import LABELS, draw_attributes, draw_face
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError, UsageError
from edgegender.images import encode_image
from tests import pictures

SIDE_PX = 48  # not tiny


def photo(
    folder: Path,
    path: str,
    label: str = "x",
    split: str = "",
    *,
    seed: int,
    exclude: str = "",
    person: str = "",
    side_px: int = SIDE_PX,
) -> ManifestRow:
    """Writes the photo of this seed; the same seed gives the same bytes."""
    file = pictures.write_photo(folder / path, pictures.noise(side_px, side_px, seed))
    extra = {"person": person} if person else {}
    return ManifestRow(path, label, split, sha256=files.hash_file(file), exclude=exclude, extra=extra)


def drawn(seed: int) -> UInt8Array:
    rng = np.random.default_rng(seed)
    return draw_face(draw_attributes(LABELS[seed % 2], rng), size_px=128, rng=rng).image_rgb


def write(folder: Path, path: str, content: bytes, *, label: str = "x", split: str = "") -> ManifestRow:
    (folder / path).write_bytes(content)
    return ManifestRow(path, label, split, sha256=files.hash_file(folder / path))


def near_copies(folder: Path, *places: tuple[str, str], seed: int = 0) -> list[ManifestRow]:
    """Writes one drawn face, encoded differently for each (label, split): ``near-90.jpg`` and so on."""
    return [
        write(folder, f"near-{quality}.jpg", encode_image(drawn(seed), jpeg_quality=quality), label=label, split=split)
        for quality, (label, split) in zip((90, 80, 70, 60), places, strict=False)
    ]


def check_rows(folder: Path, *rows: ManifestRow) -> DataReport:
    return check_manifest(Manifest.from_rows(folder, rows))


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
        photo(folder, "small.jpg", "y", "train", seed=12, side_px=31),
    ]
    rows[-2] = ManifestRow("unmeasured.jpg", "y", "train")
    whole = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no photo")
    (folder / "gone.jpg").unlink()
    pictures.write_photo(folder / "changed.jpg", pictures.noise(SIDE_PX, SIDE_PX, seed=11))
    return Manifest.from_rows(folder, tuple(rows))


def test_every_planted_fault_is_found_and_nothing_else(tmp_path: Path) -> None:
    report = check_manifest(planted(tmp_path))
    assert report == DataReport(
        num_photos=15,
        num_excluded=1,
        counts={"train": {"x": 6, "y": 6}, "val": {"x": 0, "y": 1}, "test": {"x": 0, "y": 2}},
        unreadable=(
            FaultyPhoto("cut.jpg", "truncated"),
            FaultyPhoto("text.jpg", "format"),
            FaultyPhoto("gone.jpg", "missing"),
        ),
        tiny=(FaultyPhoto("small.jpg", "31 × 31"),),
        duplicates=(("twin_a.jpg", "twin_b.jpg"), ("leak_train.jpg", "leak_test.jpg", "leak_val.jpg")),
        near_duplicates=(),
        leaks=(("leak_train.jpg", "leak_test.jpg", "leak_val.jpg"),),
        near_leaks=(),
        person_leaks=(),
        conflicts=(("conflict_x.jpg", "conflict_y.jpg"),),
        near_conflicts=(),
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
        "small.jpg": "tiny",
    }


def test_after_excluding_a_second_check_finds_nothing(tmp_path: Path) -> None:
    manifest = planted(tmp_path)
    cleaned = exclude_faults(manifest, check_manifest(manifest))
    report = check_manifest(cleaned)
    assert report.is_sound
    assert (report.unreadable, report.tiny, report.duplicates) == ((), (), ())
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
    pictures.write_photo(tmp_path / "a.jpg", pictures.noise(SIDE_PX, SIDE_PX, seed=2))
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
    assert calls == [(done, 15) for done in range(1, 16)]


# Near duplicates

CHANGES: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "half": lambda image: np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8),
    "smaller": lambda image: np.asarray(cv2.resize(image, (90, 90), interpolation=cv2.INTER_LINEAR), np.uint8),
    "double": lambda image: np.asarray(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8),
    "brighter": lambda image: np.clip(image * 1.1 + 5, 0, 255).astype(np.uint8),
    "darker": lambda image: (image * 0.9).astype(np.uint8),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_that_was_resized_or_made_brighter_is_found(tmp_path: Path, change: str) -> None:
    rows = [write(tmp_path, f"{seed}.png", encode_image(drawn(seed), suffix=".png")) for seed in range(6)]
    changed = [encode_image(CHANGES[change](drawn(seed))) for seed in range(6)]
    rows += [write(tmp_path, f"{seed}-copy.jpg", content) for seed, content in enumerate(changed)]
    report = check_rows(tmp_path, *rows)
    assert report.near_duplicates == tuple((f"{seed}.png", f"{seed}-copy.jpg") for seed in range(6))
    assert report.duplicates == ()


@pytest.mark.parametrize("quality", [95, 75, 50, 30])
def test_a_copy_that_was_encoded_again_is_found(tmp_path: Path, quality: int) -> None:
    rows = [write(tmp_path, f"{seed}.jpg", encode_image(drawn(seed), jpeg_quality=90)) for seed in range(6)]
    again = [encode_image(drawn(seed), jpeg_quality=quality) for seed in range(6)]
    rows += [write(tmp_path, f"{seed}-copy.jpg", content) for seed, content in enumerate(again)]
    pairs = tuple((f"{seed}.jpg", f"{seed}-copy.jpg") for seed in range(6))
    assert check_rows(tmp_path, *rows).near_duplicates == pairs


def test_drawn_faces_of_different_people_are_no_near_duplicates(tmp_path: Path) -> None:
    rows = [write(tmp_path, f"{seed}.jpg", encode_image(drawn(seed))) for seed in range(60)]
    assert check_rows(tmp_path, *rows).near_duplicates == ()


def test_exact_copies_of_a_near_duplicate_are_in_its_group_and_copies_alone_are_not(tmp_path: Path) -> None:
    first, second = near_copies(tmp_path, ("x", ""), ("x", ""))
    copy = write(tmp_path, "copy.jpg", (tmp_path / first.path).read_bytes())
    twins = [photo(tmp_path, name, seed=1) for name in ("twin_a.jpg", "twin_b.jpg")]
    report = check_rows(tmp_path, copy, *twins, second, first)
    assert report.near_duplicates == (("copy.jpg", "near-80.jpg", "near-90.jpg"),)
    assert report.duplicates == (("copy.jpg", "near-90.jpg"), ("twin_a.jpg", "twin_b.jpg"))


def test_a_near_duplicate_under_another_label_is_a_conflict_and_all_of_its_group_go(tmp_path: Path) -> None:
    rows = near_copies(tmp_path, ("x", "train"), ("y", "train"), ("x", "train"))
    report = check_rows(tmp_path, *rows)
    assert report.near_conflicts == (("near-90.jpg", "near-80.jpg", "near-70.jpg"),)
    assert (report.conflicts, report.near_leaks, report.is_sound) == ((), (), False)
    cleaned = exclude_faults(Manifest.from_rows(tmp_path, rows), report)
    assert set(cleaned.column("exclude")) == {"label_conflict_near_duplicate"}


def test_a_near_duplicate_in_another_split_is_a_leak_and_the_copy_in_test_stays(tmp_path: Path) -> None:
    rows = near_copies(tmp_path, ("x", "train"), ("x", "test"), ("x", "val"))
    report = check_rows(tmp_path, *rows)
    assert report.near_leaks == report.near_duplicates == (("near-90.jpg", "near-80.jpg", "near-70.jpg"),)
    assert (report.leaks, report.near_conflicts, report.is_sound) == ((), (), False)
    cleaned = exclude_faults(Manifest.from_rows(tmp_path, rows), report)
    assert list(cleaned.column("exclude")) == ["near_duplicate", "", "near_duplicate"]
    assert check_manifest(cleaned).is_sound


def test_near_duplicates_of_one_label_and_split_make_no_figure_wrong(tmp_path: Path) -> None:
    report = check_rows(tmp_path, *near_copies(tmp_path, ("x", "train"), ("x", "train")))
    assert report.near_duplicates == (("near-90.jpg", "near-80.jpg"),)
    assert report.is_sound


def test_of_near_and_exact_copies_one_stays_and_it_is_not_named_twice(tmp_path: Path) -> None:
    first, second = near_copies(tmp_path, ("x", "val"), ("x", "train"))
    copy = write(tmp_path, "copy.jpg", (tmp_path / first.path).read_bytes(), split="test")
    manifest = Manifest.from_rows(tmp_path, (first, second, copy))
    assert reasons(exclude_faults(manifest, check_manifest(manifest))) == {
        "near-90.jpg": "exact_duplicate",
        "near-80.jpg": "near_duplicate",
        "copy.jpg": "",
    }


def test_excluded_rows_take_no_part_in_any_group(tmp_path: Path) -> None:
    first, second = near_copies(tmp_path, ("x", "train"), ("y", "test"))
    same = [photo(tmp_path, f"{place}.jpg", "xy"[place], "", seed=1, person="p") for place in range(2)]
    same = [replace(row, split=split) for row, split in zip(same, ("train", "test"), strict=True)]
    rows = (first, replace(second, exclude="blurred"), same[0], replace(same[1], exclude="blurred"))
    report = check_rows(tmp_path, *rows)
    assert (report.num_photos, report.num_excluded) == (2, 2)
    assert report.is_sound
    assert (report.duplicates, report.near_duplicates) == ((), ())


def test_the_largest_distance_can_be_lowered(tmp_path: Path) -> None:
    rows = near_copies(tmp_path, ("x", ""), ("x", ""), seed=3)
    rows += [write(tmp_path, "bad.jpg", encode_image(drawn(3), jpeg_quality=10))]
    manifest = Manifest.from_rows(tmp_path, rows)
    assert check_manifest(manifest).near_duplicates == (("near-90.jpg", "near-80.jpg", "bad.jpg"),)
    # a quality of 10 changes the hash in some bits, one of 80 in next to none
    assert check_manifest(manifest, max_distance=4).near_duplicates == (("near-90.jpg", "near-80.jpg"),)


@pytest.mark.parametrize("distance", [-1, 25])
def test_a_distance_out_of_range_is_refused_before_a_photo_is_read(tmp_path: Path, distance: int) -> None:
    calls: list[int] = []
    manifest = Manifest.from_rows(tmp_path, [photo(tmp_path, "a.jpg", seed=1)])
    with pytest.raises(UsageError, match=rf"Expected a distance of 0 to 24 bits, got {distance}"):
        check_manifest(manifest, max_distance=distance, on_progress=lambda done, _: calls.append(done))
    assert calls == []


def test_without_the_search_for_near_duplicates_the_report_says_that_nobody_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)  # not needed then
    manifest = Manifest.from_rows(tmp_path, near_copies(tmp_path, ("x", "train"), ("y", "test")))
    report = check_manifest(manifest, with_near=False)
    assert report.near_duplicates is None
    assert (report.near_leaks, report.near_conflicts, report.is_sound) == ((), (), True)
    assert set(exclude_faults(manifest, report).column("exclude")) == {""}


def test_near_duplicates_without_the_library_name_the_way_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    manifest = Manifest.from_rows(tmp_path, [photo(tmp_path, "a.jpg", seed=1)])
    with pytest.raises(MissingDependencyError, match="Expected the package ImageHash to be installed") as caught:
        check_manifest(manifest)
    assert caught.value.hint == "pip install 'edgegender[data]'"


# People, splits, sizes


def test_a_person_in_two_splits_is_a_leak_and_stays(tmp_path: Path) -> None:
    rows = [
        photo(tmp_path, "a.jpg", split="train", seed=1, person="p1"),
        photo(tmp_path, "b.jpg", split="test", seed=2, person="p1"),
        photo(tmp_path, "c.jpg", split="val", seed=3, person="p2"),
        photo(tmp_path, "d.jpg", split="val", seed=4, person="p2"),
        photo(tmp_path, "e.jpg", split="val", seed=5),
        photo(tmp_path, "f.jpg", split="train", seed=6),
    ]
    report = check_rows(tmp_path, *rows)
    assert report.person_leaks == (("a.jpg", "b.jpg"),)
    assert not report.is_sound
    cleaned = exclude_faults(Manifest.from_rows(tmp_path, rows), report)
    assert set(cleaned.column("exclude")) == {""}


def test_a_copy_without_a_split_is_on_no_side_and_so_no_leak(tmp_path: Path) -> None:
    rows = [photo(tmp_path, "a.jpg", split="train", seed=1, person="p"), photo(tmp_path, "b.jpg", seed=1, person="p")]
    rows += near_copies(tmp_path, ("x", ""), ("x", "test"))
    report = check_rows(tmp_path, *rows)
    assert (report.leaks, report.near_leaks, report.person_leaks) == ((), (), ())
    assert (report.duplicates, report.near_duplicates) == ((("a.jpg", "b.jpg"),), (("near-90.jpg", "near-80.jpg"),))


def test_what_is_tiny_can_be_chosen(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "wide.jpg", pictures.gradient(40, 200))
    manifest = Manifest.from_rows(tmp_path, [ManifestRow("wide.jpg", "x")])
    assert check_manifest(manifest).tiny == ()
    assert check_manifest(manifest, min_side_px=41).tiny == (FaultyPhoto("wide.jpg", "200 × 40"),)


def test_one_and_two_workers_give_the_same_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_PHOTOS_PER_WORKER", 1)
    monkeypatch.setattr(check, "_CHUNK_PHOTOS", 2)
    rows = [*planted(tmp_path), *near_copies(tmp_path, ("x", "train"), ("y", "test"))]
    manifest = Manifest.from_rows(tmp_path, rows)
    calls: list[tuple[int, int]] = []
    alone = check_manifest(manifest, workers=1)
    assert check_manifest(manifest, workers=2, on_progress=lambda *call: calls.append(call)) == alone
    assert calls == [(done, 17) for done in range(1, 18)]


def test_a_photo_that_vanishes_while_others_are_read_is_unreadable(tmp_path: Path) -> None:
    rows = [photo(tmp_path, f"{seed}.jpg", seed=seed) for seed in range(4)]

    def remove(done: int, total: int) -> None:
        del total
        if done == 2:
            (tmp_path / "3.jpg").unlink()

    report = check_manifest(Manifest.from_rows(tmp_path, rows), on_progress=remove)
    assert report.unreadable == (FaultyPhoto("3.jpg", "missing"),)


def test_a_manifest_of_excluded_rows_only_is_sound(tmp_path: Path) -> None:
    report = check_rows(tmp_path, ManifestRow("gone.jpg", "x", exclude="blurred"))
    assert (report.num_photos, report.num_excluded, report.is_sound, report.near_duplicates) == (0, 1, True, ())


def test_the_real_sample_has_no_unreadable_photo(sample_folder: Path) -> None:
    scenes = sorted((sample_folder / "scenes").glob("*.jpg"))
    rows = tuple(ManifestRow(f"scenes/{file.name}", file.name.split("_")[0]) for file in scenes)
    report = check_manifest(Manifest.from_rows(sample_folder, rows))
    assert (report.unreadable, report.conflicts, report.num_photos) == ((), (), len(scenes))
