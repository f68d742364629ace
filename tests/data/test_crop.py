"""The crop step: the same crops whatever the number of workers, and the same network input as from the photo."""

from __future__ import annotations

import functools
import os
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgegender import files, images
from edgegender.data.crop import CropSettings, CropSummary, Detector, crop_faces
from edgegender.data.manifest import Manifest, ManifestRow
from edgegender.data.manifest_file import read_manifest, write_manifest
from edgegender.entities import FaceBox, FaceLandmarks, Preprocessing, UInt8Array
from edgegender.errors import DataError, OutputError, UsageError
from edgegender.preprocess import MAX_SIDE_RATIO, to_input
from edgegender.runtime.detector_cascade import CascadeDetector
from tests import pictures
from tests.data.crop_scenes import (
    CENTER,
    LEFT_EYE,
    RIGHT_EYE,
    FixedDetector,
    MarkedEyesDetector,
    NoDetector,
    RedSquareDetector,
    ShySightedDetector,
    SignedDetector,
    find_dot,
    marked_face,
    one_face_each,
    scene,
    tree,
)

NUM_FOR_TWO = 100  # the fewest photos that two processes share


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """As many photos as two processes are started for. Nobody writes into their folder."""
    return one_face_each(tmp_path_factory.mktemp("hundred"), NUM_FOR_TWO)


def crop_one(
    folder: Path,
    image: UInt8Array,
    settings: CropSettings | None = None,
    make_detector: Callable[[], Detector] = RedSquareDetector,
) -> tuple[ManifestRow, UInt8Array]:
    pictures.write_photo(folder / "photo.png", image)
    manifest = Manifest.from_rows(folder, (ManifestRow("photo.png", "x"),))
    (row,), _ = crop_faces(manifest, folder / "crops", make_detector=make_detector, settings=settings)
    return row, images.read_image(folder / "crops" / row.path)


def test_one_and_two_processes_make_the_same_files_and_rows(hundred: Manifest, tmp_path: Path) -> None:
    answers = []
    for workers in (1, 2):
        signed = tmp_path / f"processes {workers}"
        signed.mkdir()
        output = tmp_path / f"crops {workers}"
        rows, summary = crop_faces(
            hundred, output, make_detector=functools.partial(SignedDetector, signed), workers=workers
        )
        write_manifest(output / "faces.csv", rows)
        assert {file.name for file in signed.iterdir()} >= {str(os.getpid())}
        assert len(list(signed.iterdir())) == (1 if workers == 1 else 3)  # with two, this one only tries it
        answers.append((summary, tree(output)))
    assert answers[0] == answers[1]
    assert answers[0][0].num_cropped == len(answers[0][1]) - 1 == 68  # less faces.csv


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
        assert row.extra["original"] == f"../photos/{photo.path}"
        assert row.extra["num_faces"] == ("0" if row.exclude else "1")
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
    assert [row.extra["original"] for row in rows] == ["../a.png"]


def test_the_stored_face_box_frames_the_face_in_the_crop(tmp_path: Path) -> None:
    row, crop = crop_one(tmp_path, scene((80, 70, 60)), CropSettings(suffix=".png"))
    assert row.face_box is not None
    (found,) = RedSquareDetector().detect(crop)
    # edges fall between pixels of the crop: the red square is found to a pixel
    np.testing.assert_allclose(row.face_box.box_xyxy, found.box_xyxy, atol=1)


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
    assert row.face_box == FaceBox(20, 20, 60, 60)


def test_a_large_face_is_shrunk_to_the_stored_size(tmp_path: Path) -> None:
    row, crop = crop_one(tmp_path, scene((80, 70, 80)), CropSettings(context=1.5, size_px=60, suffix=".png"))
    assert crop.shape == (60, 60, 3)
    assert row.face_box == FaceBox(10, 10, 50, 50)


def test_of_several_faces_the_first_is_cut_and_the_photo_is_named(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "two.png", scene((20, 20, 30), (100, 60, 80)))
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("two.png", "x"),))
    (row,), summary = crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert summary.several_faces == ("two.png",)
    assert row.extra["num_faces"] == "2"
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


def test_photos_of_which_none_can_be_read_are_refused_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("a.png", "x"), ManifestRow("gone.png", "x")))
    with pytest.raises(DataError, match=r"Expected photos that can be read, got 2 that cannot") as caught:
        crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert caught.value.hint == "The first: a.png is unreadable: empty."


def test_a_manifest_whose_rows_are_all_excluded_is_refused(tmp_path: Path) -> None:
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("a.png", "x", exclude="blurred"),))
    with pytest.raises(DataError, match=r"Expected photos to crop, got none"):
        crop_faces(manifest, tmp_path / "crops", make_detector=RedSquareDetector)
    assert not (tmp_path / "crops").exists()


@pytest.mark.parametrize(
    ("settings", "workers"),
    [
        (CropSettings(context=0.9), 1),
        (CropSettings(context=10.1), 1),
        (CropSettings(context=float("nan")), 1),
        (CropSettings(size_px=15), 1),
        (CropSettings(size_px=4097), 1),
        (CropSettings(suffix=".gif"), 1),
        (CropSettings(), 0),
    ],
    ids=["context", "wide", "NaN", "small", "large", "format", "workers"],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: CropSettings, workers: int) -> None:
    with pytest.raises(UsageError, match=r"Expected a context of 1 to 10, a size of 16 to 4096 pixels, \.jpg or \.png"):
        crop_faces(
            Manifest.from_rows(tmp_path, ()),
            tmp_path,
            make_detector=RedSquareDetector,
            settings=settings,
            workers=workers,
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_detector_that_cannot_be_made_says_why_with_any_number_of_processes(
    hundred: Manifest, tmp_path: Path, workers: int
) -> None:
    with pytest.raises(UsageError, match=r"Expected a detector, got none\."):
        crop_faces(hundred, tmp_path / "crops", make_detector=NoDetector, workers=workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_output_that_cannot_be_written_says_why_with_any_number_of_processes(
    hundred: Manifest, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "crops").touch()
    with pytest.raises(OutputError, match=r"Expected to write .*crops") as caught:
        crop_faces(hundred, tmp_path / "crops", make_detector=RedSquareDetector, workers=workers)
    assert caught.value.hint == "Choose a folder that you may write to and that has room."


# Boxes that no well-behaved detector gives


def test_a_context_that_reaches_far_beyond_the_photo_is_told_truly_by_the_face_box(tmp_path: Path) -> None:
    """A square is at most four photos wide: the crop shows less than ten faces, and its box says so."""
    row, crop = crop_one(tmp_path, scene((20, 20, 160)), CropSettings(context=10, suffix=".png"))
    assert row.face_box is not None
    assert row.face_box.side_px == pytest.approx(176 * 160 / (MAX_SIDE_RATIO * 240), abs=0.1)
    (found,) = RedSquareDetector().detect(crop)
    np.testing.assert_allclose(row.face_box.box_xyxy, found.box_xyxy, atol=1.5)  # a pixel, and the box's own rounding


@pytest.mark.parametrize("is_aligned", [False, True])
@pytest.mark.parametrize(
    "box_xyxy",
    [(-1e5, -1e5, 1e5, 1e5), (100, 100, 100.2, 100.2), (-30, -30, 40, 40), (230, 190, 300, 260)],
    ids=["huge", "tiny", "left above", "right below"],
)
def test_a_box_of_any_size_and_place_gives_a_square_crop_that_a_manifest_can_hold(
    tmp_path: Path, box_xyxy: tuple[float, float, float, float], is_aligned: bool
) -> None:
    eyes = FaceLandmarks((90, 90), (110, 100), (100, 110), (100, 120))
    detector = FixedDetector(FaceBox(*box_xyxy, 0.9, eyes))
    settings = CropSettings(is_aligned=is_aligned, suffix=".png")
    row, crop = crop_one(tmp_path, scene((80, 70, 60)), settings, lambda: detector)
    side = str(len(crop))
    assert crop.shape == (len(crop), len(crop), 3)
    assert (row.extra["width"], row.extra["height"]) == (side, side)
    write_manifest(tmp_path / "crops" / "faces.csv", [row])
    assert read_manifest(tmp_path / "crops" / "faces.csv").row(0).face_box == row.face_box != None  # noqa: E711
    if box_xyxy[2] - box_xyxy[0] == 70:
        assert len(crop) == 126  # 70 pixels and their context: as it is, wherever it lies


# Alignment


def tilt_deg(image_rgb: UInt8Array) -> float:
    """Returns the tilt of the dots on the eyes."""
    (left_x, left_y), (right_x, right_y) = (find_dot(image_rgb, color) for color in (LEFT_EYE, RIGHT_EYE))
    return float(np.degrees(np.arctan2(right_y - left_y, right_x - left_x)))


ALIGNED = CropSettings(is_aligned=True, suffix=".png", size_px=288)


@pytest.mark.parametrize("turn_deg", [-20.0, -3.0, 5.0, 20.0])
@pytest.mark.parametrize("size_px", [288, 96], ids=["as it is", "shrunk"])
def test_eyes_are_level_after_alignment_and_the_face_stays_in_the_middle(
    tmp_path: Path, turn_deg: float, size_px: int
) -> None:
    image = marked_face(turn_deg)
    assert tilt_deg(image) == pytest.approx(turn_deg, abs=0.5)  # the picture is what it is meant to be
    row, crop = crop_one(
        tmp_path, image, CropSettings(is_aligned=True, suffix=".png", size_px=size_px), MarkedEyesDetector
    )
    assert crop.shape == (size_px, size_px, 3)
    left, right = find_dot(crop, LEFT_EYE), find_dot(crop, RIGHT_EYE)
    # The eyes are 60 pixels apart, 20 in the small crop. Dots are found to a third of a pixel, in the photo, which
    # says by how much to turn, and in the crop. Not turned, it would be 3 degrees at least.
    assert abs(tilt_deg(crop)) < np.degrees(0.33 / (right[0] - left[0]))
    # crop_square rounds a square to whole pixels of the photo: half a pixel, twice
    np.testing.assert_allclose(find_dot(crop, CENTER), (size_px / 2, size_px / 2), atol=1.0)
    assert right[0] - left[0] == pytest.approx(60 * size_px / 288, rel=0.03)  # turned, and neither grown nor shrunk
    assert row.face_box is not None
    assert row.face_box.side_px == pytest.approx(160 * size_px / 288, abs=0.1)


@pytest.mark.parametrize("center_xy", [(40.0, 40.0), (270.0, 60.0)])
def test_a_face_at_the_edge_of_its_photo_is_levelled_too(tmp_path: Path, center_xy: tuple[float, float]) -> None:
    _, crop = crop_one(tmp_path, marked_face(15.0, center_xy=center_xy), ALIGNED, MarkedEyesDetector)
    assert abs(tilt_deg(crop)) < 0.5  # a third of a pixel of 60, and a little for the repeated edge
    np.testing.assert_allclose(find_dot(crop, CENTER), (144, 144), atol=1.0)


def test_a_second_look_finds_most_of_what_the_first_one_missed(tmp_path: Path) -> None:
    _, crop = crop_one(tmp_path, marked_face(20.0), ALIGNED, ShySightedDetector)
    # four tenths of 20 degrees are left after one look, and four tenths of those after two
    assert tilt_deg(crop) == pytest.approx(0.16 * 20, abs=0.7)


@pytest.mark.parametrize(("turn_deg", "is_same"), [(0.0, True), (0.3, True), (2.0, False)])
def test_only_a_tilt_that_can_be_seen_changes_the_crop(tmp_path: Path, turn_deg: float, is_same: bool) -> None:
    image = marked_face(turn_deg)
    crop_one(tmp_path / "plain", image, CropSettings(), MarkedEyesDetector)
    crop_one(tmp_path / "aligned", image, CropSettings(is_aligned=True), MarkedEyesDetector)
    assert (tree(tmp_path / "plain" / "crops") == tree(tmp_path / "aligned" / "crops")) == is_same


def test_a_detector_that_finds_no_eyes_cannot_align(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected a detector that finds eyes, got one that does not") as caught:
        crop_one(tmp_path, scene((80, 70, 60)), CropSettings(is_aligned=True))
    assert caught.value.hint == "Use --detector yunet or blazeface, or crop without --align."


def test_a_face_that_fills_a_large_photo_is_turned_in_little_memory(tmp_path: Path) -> None:
    pictures.write_photo(tmp_path / "large.jpg", pictures.gradient(2400, 2400))
    eyes = FaceLandmarks((800, 800), (1600, 1200), (1200, 1300), (1200, 1700))
    detector = FixedDetector(FaceBox(0, 0, 2400, 2400, 0.9, eyes))
    manifest = Manifest.from_rows(tmp_path, (ManifestRow("large.jpg", "x"),))
    tracemalloc.start()  # it knows of numpy's arrays, those that OpenCV fills, too
    try:
        crop_faces(manifest, tmp_path / "crops", make_detector=lambda: detector, settings=CropSettings(is_aligned=True))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # decoding holds the photo twice, 35 MB; the square around the turned face would be 126 MB, and 126 MB turned
    assert peak_bytes < 80e6


def test_yunet_finds_the_eyes_that_alignment_needs(tmp_path: Path, yunet_file: Path, scene_files: list[Path]) -> None:
    from edgegender.runtime.detector_yunet import YuNetDetector

    turn = cv2.getRotationMatrix2D((125, 125), -20, 1.0)
    rows = []
    for file in random.Random(1).sample(scene_files, 8):
        image = cv2.warpAffine(images.read_image(file), turn, (250, 250), borderMode=cv2.BORDER_REPLICATE)
        pictures.write_photo(tmp_path / file.name, np.asarray(image, np.uint8))
        rows.append(ManifestRow(file.name, "x"))
    tilts = {}
    for is_aligned in (False, True):
        crops, _ = crop_faces(
            Manifest.from_rows(tmp_path, rows),
            tmp_path / str(is_aligned),
            make_detector=lambda: YuNetDetector(yunet_file),
            settings=CropSettings(is_aligned=is_aligned, suffix=".png"),
        )
        detector = YuNetDetector(yunet_file)
        tilts[is_aligned] = [_found_tilt(detector, tmp_path / str(is_aligned) / crop.path) for crop in crops]
    assert np.mean(tilts[False]) > 15
    # found anew in the crop, an eye moves by a pixel or two of some 50 between them: 2 degrees
    assert np.mean(np.abs(tilts[True])) < 3


def _found_tilt(detector: Detector, file: Path) -> float:
    landmarks = detector.detect(images.read_image(file))[0].landmarks
    assert landmarks is not None
    (left_x, left_y), (right_x, right_y) = landmarks.left_eye, landmarks.right_eye
    return float(np.degrees(np.arctan2(right_y - left_y, right_x - left_x)))


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
