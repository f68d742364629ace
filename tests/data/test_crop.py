"""The crop step: the same crops whatever the number of workers, and the same network input as from the photo."""

from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import files, images
from edgegender.data.crop import CropSettings, CropSummary, crop_faces
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.errors import DataError, OutputError, UsageError
from edgegender.preprocess import to_input
from edgegender.runtime.detector_cascade import CascadeDetector
from tests import pictures

RED = (230, 20, 20)


class RedSquareDetector:
    """Finds the red squares of a test picture, the largest first: a face is whatever its detector finds."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        is_red = (image_rgb[..., 0] > 150) & (image_rgb[..., 1] < 90) & (image_rgb[..., 2] < 90)
        _, _, stats, _ = cv2.connectedComponentsWithStats(is_red.astype(np.uint8))
        found = sorted((row for row in stats[1:].tolist() if row[4] > 20), key=lambda row: -row[4])
        return [FaceBox(x, y, x + w, y + h, 0.75) for x, y, w, h, _ in found]


class NoDetector:
    """Cannot be made."""

    def __init__(self) -> None:
        raise UsageError("Expected a detector, got none.")

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        raise NotImplementedError


def scene(*squares: tuple[int, int, int], height: int = 200, width: int = 240) -> UInt8Array:
    """Returns a grey-blue gradient with red squares (left, top, side) that have a smooth pattern inside."""
    image = pictures.gradient(height, width)
    image[..., 0] = image[..., 0] // 3
    for left, top, side in squares:
        image[top : top + side, left : left + side] = RED
        image[top : top + side, left : left + side, 1] += np.linspace(0, 60, side).astype(np.uint8)[:, None]
        image[top : top + side, left : left + side, 2] += np.linspace(0, 60, side).astype(np.uint8)[None, :]
    return image


def one_face_each(folder: Path, count: int) -> Manifest:
    """Writes ``count`` scenes, every fifth without a face, every seventh cut."""
    rng = np.random.default_rng(count)
    rows = []
    for number in range(count):
        side = int(rng.integers(40, 90))
        left, top = int(rng.integers(0, 240 - side)), int(rng.integers(0, 200 - side))
        file = pictures.write_photo(folder / f"{number}.png", scene() if number % 5 == 4 else scene((left, top, side)))
        if number % 7 == 6:
            file.write_bytes(file.read_bytes()[:500])
        rows.append(ManifestRow(file.name, "xy"[number % 2], "train", extra={"age": str(number)}))
    return Manifest.from_rows(folder, tuple(rows))


def tree(folder: Path) -> dict[str, str]:
    """Returns the hash of each file below a folder."""
    return {
        str(file.relative_to(folder)): files.hash_file(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }


def crop_one(folder: Path, image: UInt8Array, settings: CropSettings | None = None) -> tuple[ManifestRow, UInt8Array]:
    pictures.write_photo(folder / "photo.png", image)
    manifest = Manifest.from_rows(folder, (ManifestRow("photo.png", "x"),))
    (row,), _ = crop_faces(manifest, folder / "crops", make_detector=RedSquareDetector, settings=settings)
    return row, images.read_image(folder / "crops" / row.path)


def test_one_and_two_workers_make_the_same_files_and_rows(tmp_path: Path) -> None:
    manifest = one_face_each(tmp_path / "photos", 40)
    alone = crop_faces(manifest, tmp_path / "one", make_detector=RedSquareDetector, workers=1)
    together = crop_faces(manifest, tmp_path / "two", make_detector=RedSquareDetector, workers=2)
    assert alone == together
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert alone[1].num_cropped == len(tree(tmp_path / "one")) == 28


def test_the_photos_are_not_touched(tmp_path: Path) -> None:
    manifest = one_face_each(tmp_path / "photos", 8)
    before = tree(tmp_path / "photos")
    crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert tree(tmp_path / "photos") == before


def test_rows_without_a_face_or_a_readable_photo_stay_with_a_reason(tmp_path: Path) -> None:
    manifest = one_face_each(tmp_path / "photos", 8)
    rows, summary = crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert [row.exclude for row in rows] == ["", "", "", "", "no_face", "", "unreadable: truncated", ""]
    assert summary == CropSummary(6, no_face=("4.png",), several_faces=(), unreadable=("6.png",))
    assert [(row.label, row.split) for row in rows] == [(row.label, row.split) for row in manifest]
    for row, photo in zip(rows, manifest, strict=True):
        assert row.extra["age"] == photo.extra["age"]
        assert row.extra["original"] == photo.path
        assert (tmp_path / "crops" / row.path).exists() == (not row.exclude)
        assert (row.face_box is None) == bool(row.exclude)


def test_the_rows_are_a_manifest_of_the_output_folder_with_true_hashes_and_sizes(tmp_path: Path) -> None:
    rows, _ = crop_faces(one_face_each(tmp_path / "photos", 6), tmp_path / "crops", make_detector=RedSquareDetector)
    write_manifest(tmp_path / "crops" / "faces.csv", rows)
    manifest = read_manifest(tmp_path / "crops" / "faces.csv")
    assert len(manifest.select()) == 5
    for row in manifest.select():
        assert files.hash_file(manifest.file(row)) == row.sha256
        height, width = images.read_image(manifest.file(row)).shape[:2]
        assert (row.extra["width"], row.extra["height"]) == (str(width), str(height))


def test_excluded_rows_are_neither_read_nor_kept(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "a.png", scene((50, 50, 60)))
    manifest = Manifest.from_rows(
        tmp_path, (ManifestRow("a.png", "x"), ManifestRow("none.png", "x", exclude="blurred"))
    )
    rows, _ = crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert [row.extra["original"] for row in rows] == ["a.png"]


def test_the_stored_face_box_frames_the_face_in_the_crop(tmp_path: Path) -> None:
    row, crop = crop_one(tmp_path, scene((80, 70, 60)), CropSettings(suffix=".png"))
    assert row.face_box is not None
    (found,) = RedSquareDetector().detect(crop)
    # edges fall between pixels of the crop: the red square is found to a pixel
    np.testing.assert_allclose(row.face_box.box_xyxy, found.box_xyxy, atol=1)
    assert row.face_box.score == 0.75


@pytest.mark.parametrize("square", [(80, 70, 60), (90, 60, 90), (0, 0, 70), (190, 150, 50), (100, 90, 24)])
@pytest.mark.parametrize("input_size_px", [32, 96])
def test_a_stored_crop_gives_the_same_network_input_as_its_photo(
    tmp_path: Path, square: tuple[int, int, int], input_size_px: int
) -> None:
    image = scene(*[square])
    row, crop = crop_one(tmp_path, image, CropSettings(suffix=".png"))
    preprocessing = Preprocessing(input_size_px, 1.3)
    (box,) = RedSquareDetector().detect(image)
    from_photo = to_input(image, box, preprocessing).astype(int)
    from_crop = to_input(crop, row.face_box, preprocessing).astype(int)
    # Both squares are rounded to whole pixels, half a pixel apart at most: only the sharp edge of the red square and
    # its neighbours may differ, a tenth of all pixels; a box off by two pixels differs by 5 levels on average.
    difference = np.abs(from_photo - from_crop)
    assert difference.mean() < 3
    assert np.median(difference) <= 2


def test_a_face_smaller_than_the_stored_size_is_stored_as_it_is(tmp_path: Path) -> None:
    image = scene((80, 70, 40))
    row, crop = crop_one(tmp_path, image, CropSettings(context=2.0, size_px=176, suffix=".png"))
    assert crop.shape == (80, 80, 3)
    np.testing.assert_array_equal(crop, image[50:130, 60:140])
    assert row.face_box == FaceBox(20, 20, 60, 60, 0.75)


def test_a_large_face_is_shrunk_to_the_stored_size(tmp_path: Path) -> None:
    row, crop = crop_one(tmp_path, scene((80, 70, 80)), CropSettings(context=1.5, size_px=60, suffix=".png"))
    assert crop.shape == (60, 60, 3)
    assert row.face_box == FaceBox(10, 10, 50, 50, 0.75)


def test_of_several_faces_the_first_is_cut_and_the_photo_is_named(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "two.png", scene((20, 20, 30), (100, 60, 80)))
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("two.png", "x"),))
    (row,), summary = crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert summary.several_faces == ("two.png",)
    assert row.extra["width"] == str(round(80 * 1.8))


def test_photos_of_the_same_name_in_two_folders_do_not_overwrite_each_other(tmp_path: Path) -> None:
    for folder, side in (("a", 40), ("b", 50)):
        pictures.write_photo(tmp_path / folder / "same.png", scene((60, 60, side)))
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("a/same.png", "x"), ManifestRow("b/same.png", "x")))
    rows, _ = crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert [row.extra["width"] for row in rows] == ["72", "90"]
    assert len(tree(tmp_path / "crops")) == 2
    assert all(Path(row.path).name.startswith("same-") for row in rows)


@pytest.mark.parametrize("label", ["../outside", "/absolute", "a/b", "..", "žena 1"])
def test_no_label_leads_out_of_the_output_folder(tmp_path: Path, label: str) -> None:
    pictures.write_photo(tmp_path / "in" / "a.png", scene((50, 50, 60)))
    manifest = Manifest.from_rows(tmp_path / "in", (ManifestRow("a.png", label),))
    (row,), _ = crop_faces(manifest, tmp_path / "out" / "crops", make_detector=RedSquareDetector)
    (file,) = (tmp_path / "out").rglob("*.jpg")
    assert file == tmp_path / "out" / "crops" / row.path
    assert file.parent.parent == tmp_path / "out" / "crops"
    assert row.label == label


def test_a_name_of_250_bytes_still_gives_a_crop(tmp_path: Path) -> None:
    name = "顔" * 82 + ".png"
    pictures.write_photo(tmp_path / name, scene((50, 50, 60)))
    (row,), _ = crop_faces(
        Manifest.from_rows(tmp_path, (ManifestRow(name, "x"),)), tmp_path / "crops", make_detector=RedSquareDetector
    )
    assert (tmp_path / "crops" / row.path).is_file()


def test_progress_counts_up_to_the_number_of_photos(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    crop_faces(
        one_face_each(tmp_path / "photos", 3),
        tmp_path / "crops",
        make_detector=RedSquareDetector,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_photos_without_any_face_are_refused(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "a.png", scene())
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("a.png", "x"),))
    with pytest.raises(DataError, match=r"Expected faces, got none in 1 photos") as caught:
        crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert caught.value.hint == "When the photos are face crops already, train on them as they are."


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        (CropSettings(context=0.9), 1),
        (CropSettings(context=float("nan")), 1),
        (CropSettings(size_px=15), 1),
        (CropSettings(suffix=".gif"), 1),
        (CropSettings(), 0),
    ],
    ids=["context", "NaN", "size", "format", "workers"],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: CropSettings, workers: int) -> None:
    with pytest.raises(UsageError, match=r"Expected context ≥ 1, size ≥ 16, \.jpg or \.png and workers ≥ 1, got"):
        crop_faces(
            Manifest.from_rows(tmp_path, ()),
            tmp_path,
            make_detector=RedSquareDetector,
            settings=settings,
            workers=workers,
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_detector_that_cannot_be_made_says_why_with_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    manifest = one_face_each(tmp_path / "photos", 3)
    with pytest.raises(UsageError, match=r"Expected a detector, got none\."):
        crop_faces(manifest, tmp_path / "crops", make_detector=NoDetector, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_output_that_cannot_be_written_says_why_with_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    manifest = one_face_each(tmp_path / "photos", 3)
    (tmp_path / "crops").touch()
    with pytest.raises(OutputError, match=r"Expected to write .*crops") as caught:
        crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector, workers=workers)
    assert caught.value.hint == "Choose a folder that you may write to and that has room."


def test_the_cascade_crops_real_scenes_and_the_crops_keep_their_faces(tmp_path: Path, scene_files: list[Path]) -> None:
    chosen = random.Random(0).sample(scene_files, 8)
    manifest = Manifest.from_rows(
        chosen[0].parent, tuple(ManifestRow(file.name, file.name.split("_")[0]) for file in chosen)
    )
    rows, summary = crop_faces(manifest, tmp_path, make_detector=CascadeDetector, settings=CropSettings(suffix=".png"))
    assert summary.num_cropped == 8
    preprocessing = Preprocessing(96, 1.3)
    for row, file in zip(rows, chosen, strict=True):
        photo = images.read_image(file)
        box = CascadeDetector().detect(photo)[0]
        moved = FaceBox(box.x1 + 2, box.y1 + 2, box.x2 + 2, box.y2 + 2)
        from_photo = to_input(photo, box, preprocessing).astype(int)
        from_crop = to_input(images.read_image(tmp_path / row.path), row.face_box, preprocessing)
        # three squares rounded to whole pixels, half a pixel each: less than a box two pixels off does
        assert np.abs(from_photo - from_crop).mean() < np.abs(from_photo - to_input(photo, moved, preprocessing)).mean()
