"""From a photo and a box to a network's input: the same shape for any box, little memory, exact where it can be."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.preprocess import crop_square, to_float, to_input
from tests import pictures

coordinates = st.one_of(st.floats(-400, 400), st.floats(-1e6, 1e6), st.sampled_from([0.0, 0.5, 1.0, -0.5]))
sides = st.one_of(st.floats(0, 400), st.floats(0, 2e6), st.sampled_from([0.0, 0.4, 1.0, 1e-9]))
lengths = st.one_of(st.integers(1, 60), st.sampled_from([1, 2, 3, 500]))


shapes = st.tuples(lengths, lengths)
centers = st.tuples(coordinates, coordinates)
boxes = st.builds(
    lambda x1, y1, width, height: FaceBox(x1, y1, x1 + width, y1 + height), coordinates, coordinates, sides, sides
)


@given(shapes, boxes, st.integers(1, 70), st.floats(1, 3))
@example((1, 1), FaceBox(0, 0, 0, 0), 32, 1.3)
@example((1, 500), FaceBox(1e6, -1e6, 3e6, 1e6), 32, 3.0)
@example((500, 1), FaceBox(-1e6, 250, -1e6, 650), 33, 1.0)
@settings(max_examples=300)
def test_any_box_gives_contiguous_bytes_of_the_wanted_shape(
    shape: tuple[int, int], box: FaceBox, size_px: int, margin: float
) -> None:
    image = pictures.noise(*shape, seed=1)
    before = image.copy()
    result = to_input(image, box, Preprocessing(size_px, margin))
    assert result.shape == (size_px, size_px, 3)
    assert result.dtype == np.uint8
    out = np.zeros_like(result)
    assert to_input(image, box, Preprocessing(size_px, margin), out=out) is out
    np.testing.assert_array_equal(out, result)
    assert result.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(to_input(image, box, Preprocessing(size_px, margin)), result)


@given(shapes, centers, sides, st.integers(1, 70))
@settings(max_examples=200)
def test_a_crop_shows_no_color_that_the_photo_has_not(
    shape: tuple[int, int], center_xy: tuple[float, float], side: float, size_px: int
) -> None:
    """Repeated edges and averages stay between the darkest and the brightest pixel: nothing is padded with black."""
    image = np.clip(pictures.noise(*shape, seed=2), 100, 180)
    crop = crop_square(image, center_xy=center_xy, side=side, size_px=size_px)
    assert image.min() <= crop.min()
    assert crop.max() <= image.max()


@pytest.mark.parametrize(
    "box",
    [
        FaceBox(-1e6, -1e6, 1e6, 1e6),
        FaceBox(-4000, -4000, 5000, 5000),
        FaceBox(9e5, 9e5, 1e6, 1e6),
        FaceBox(0, 0, 1000, 1200),
        FaceBox(500, 500, 500, 500),
    ],
    ids=["endless", "much larger", "far away", "the photo", "a point"],
)
def test_no_box_needs_more_memory_than_the_photo_and_a_border(box: FaceBox) -> None:
    image = pictures.gradient(1200, 1000)
    tracemalloc.start()
    try:
        to_input(image, box, Preprocessing(96, 1.3))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # a third of the photo for its halved copies, and at most (4 × 96)² × 3 bytes of border around the last
    assert peak_bytes < image.nbytes / 3 + 2 * (4 * 96) ** 2 * 3


def test_a_square_of_the_input_size_is_copied_pixel_by_pixel() -> None:
    image = pictures.noise(80, 100, seed=3)
    crop = crop_square(image, center_xy=(50, 40), side=32, size_px=32)
    np.testing.assert_array_equal(crop, image[24:56, 34:66])


@pytest.mark.parametrize(("center", "left"), [(50.4, 34), (50.5, 35), (50.6, 35), (50.0, 34), (49.6, 34), (49.4, 33)])
def test_a_square_is_laid_on_the_nearest_whole_pixels(center: float, left: int) -> None:
    image = pictures.noise(100, 100, seed=14)
    crop = crop_square(image, center_xy=(center, 50), side=32, size_px=32)
    np.testing.assert_array_equal(crop, image[34:66, left : left + 32])
    crop = crop_square(image, center_xy=(50, center), side=32, size_px=32)
    np.testing.assert_array_equal(crop, image[left : left + 32, 34:66])


def test_a_photo_of_the_input_size_without_a_box_is_the_input() -> None:
    image = pictures.noise(48, 48, seed=4)
    np.testing.assert_array_equal(to_input(image, None, Preprocessing(48, 1.3)), image)


def test_without_a_box_the_central_square_is_taken_whole() -> None:
    image = pictures.noise(40, 100, seed=5)
    np.testing.assert_array_equal(to_input(image, None, Preprocessing(40, 1.3)), image[:, 30:70])
    np.testing.assert_array_equal(
        to_input(np.ascontiguousarray(image.transpose(1, 0, 2)), None, Preprocessing(40)),
        image[:, 30:70].transpose(1, 0, 2),
    )


def test_the_margin_widens_the_box_around_its_center() -> None:
    image = pictures.noise(100, 100, seed=6)
    box = FaceBox(40, 30, 60, 50)
    np.testing.assert_array_equal(to_input(image, box, Preprocessing(20, 1.0)), image[30:50, 40:60])
    np.testing.assert_array_equal(to_input(image, box, Preprocessing(40, 2.0)), image[20:60, 30:70])


def test_a_box_that_is_no_square_is_taken_as_the_square_of_its_longer_side() -> None:
    image = pictures.noise(100, 100, seed=7)
    tall = to_input(image, FaceBox(45, 30, 55, 50), Preprocessing(20, 1.0))
    np.testing.assert_array_equal(tall, image[30:50, 40:60])


@pytest.mark.parametrize(
    ("center_xy", "rows", "columns"),
    [
        ((0, 50), slice(34, 66), [0] * 16 + [*range(16)]),
        ((100, 50), slice(34, 66), [*range(84, 100)] + [99] * 16),
    ],
    ids=["left", "right"],
)
def test_what_lies_beside_the_photo_repeats_its_edge(
    center_xy: tuple[float, float], rows: slice, columns: list[int]
) -> None:
    image = pictures.noise(100, 100, seed=8)
    np.testing.assert_array_equal(crop_square(image, center_xy=center_xy, side=32, size_px=32), image[rows][:, columns])
    turned = np.ascontiguousarray(image.transpose(1, 0, 2))
    np.testing.assert_array_equal(
        crop_square(turned, center_xy=center_xy[::-1], side=32, size_px=32),
        image[rows][:, columns].transpose(1, 0, 2),
    )


def test_a_box_far_outside_shows_the_nearest_edge() -> None:
    image = pictures.noise(50, 50, seed=9)
    left = crop_square(image, center_xy=(-1e5, 25), side=32, size_px=32)
    np.testing.assert_array_equal(left, np.repeat(image[9:41, :1], 32, axis=1))


@given(st.integers(-60, 160), st.integers(-60, 160), st.sampled_from([16, 32, 33]))
@settings(max_examples=60)
def test_a_mirrored_photo_gives_the_mirrored_crop(left: int, top: int, side: int) -> None:
    image = pictures.noise(100, 100, seed=10)
    x, y = left + side / 2, top + side / 2
    crop = crop_square(image, center_xy=(x, y), side=side, size_px=side)
    mirrored = crop_square(np.ascontiguousarray(image[:, ::-1]), center_xy=(100 - x, y), side=side, size_px=side)
    np.testing.assert_array_equal(mirrored, crop[:, ::-1])


def test_shrinking_averages_areas() -> None:
    image = pictures.noise(64, 64, seed=11)
    crop = crop_square(image, center_xy=(32, 32), side=64, size_px=16)
    means = image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, means, atol=0.5 + 1e-6)  # rounding to whole levels


def test_growing_interpolates_between_pixels() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[:, 1] = 200
    crop = crop_square(image, center_xy=(1, 1), side=2, size_px=4)
    # bilinear: the four samples lie at -1/4, 1/4, 3/4, 5/4 of the way from the left to the right pixel
    assert crop[0, :, 0].tolist() == [0, 50, 150, 200]


def test_a_huge_box_is_shrunk_first_and_shows_the_same_scene() -> None:
    """The way through smaller copies may blur, but not shift."""
    image = pictures.gradient(400, 400)
    crop = crop_square(image, center_xy=(200, 200), side=1200, size_px=48)
    expected: UInt8Array = np.pad(image, ((400, 400), (400, 400), (0, 0)), mode="edge")
    means = expected.reshape(48, 25, 48, 25, 3).mean(axis=(1, 3))
    # a shift by half a pixel of the result would move the gradient by 8 levels
    assert np.abs(crop - means).max() < 4


def test_a_box_wider_than_four_photos_is_taken_as_four_photos_wide() -> None:
    image = pictures.noise(30, 40, seed=12)
    wide = crop_square(image, center_xy=(20, 15), side=160, size_px=64)
    np.testing.assert_array_equal(crop_square(image, center_xy=(20, 15), side=1e9, size_px=64), wide)


def test_a_view_into_a_larger_array_gives_the_same_input_as_its_copy() -> None:
    image = pictures.noise(90, 120, seed=13)[::-1, 10:110:2]
    box = FaceBox(-5, 10, 40, 60)
    np.testing.assert_array_equal(
        to_input(image, box, Preprocessing(32)), to_input(np.ascontiguousarray(image), box, Preprocessing(32))
    )


def test_floats_span_minus_one_to_one_and_give_the_bytes_back() -> None:
    values = np.arange(256, dtype=np.uint8)
    floats = to_float(values)
    assert floats.dtype == np.float32
    assert (floats[0], floats[255]) == (-1.0, 1.0)
    np.testing.assert_array_equal(np.rint(floats * 127.5 + 127.5), values)
    assert to_float(np.zeros((2, 3, 3, 3), np.uint8)).shape == (2, 3, 3, 3)
