"""The picture that detectors look at: its size, and that points come back to where they were in the photo."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.detection_image import (
    MAX_WORK_SIDE_PX,
    MIN_WORK_SIDE_PX,
    WorkImage,
    by_prominence,
    prepare,
    to_square,
)

SIDES = st.integers(1, 900)


def with_dot(height: int, width: int, x: int, y: int, radius: int) -> UInt8Array:
    """Returns a black picture with a white square around a point."""
    image = np.zeros((height, width, 3), np.uint8)
    image[y - radius : y + radius, x - radius : x + radius] = 255
    return image


def dot_in_photo(work: WorkImage) -> tuple[float, float]:
    """Returns the middle of what is white, in pixels of the photo."""
    y, x = np.nonzero(work.image[:, :, 0] > 127)
    return work.point_to_photo(float(x.mean()) + 0.5, float(y.mean()) + 0.5)


@given(SIDES, SIDES)
def test_a_photo_is_prepared_between_the_least_and_the_largest_side(height: int, width: int) -> None:
    work = prepare(np.zeros((height, width), np.uint8))
    assert MIN_WORK_SIDE_PX <= work.longest_px <= MAX_WORK_SIDE_PX
    assert max(work.image.shape) == work.longest_px + 2 * work.left_px
    assert work.left_px == work.top_px


@given(SIDES, SIDES, st.sampled_from([0.0, 0.15, 0.5]))
def test_a_square_is_a_square_with_the_photo_in_its_middle(height: int, width: int, pad_fraction: float) -> None:
    work = to_square(np.zeros((height, width, 3), np.uint8), side_px=128, pad_fraction=pad_fraction)
    assert work.image.shape == (128, 128, 3)
    # the centre of the photo is that of the square, up to a pixel of rounding on each side
    x, y = work.point_to_photo(64, 64)
    assert x * work.scale == pytest.approx(width * work.scale / 2, abs=1.01)
    assert y * work.scale == pytest.approx(height * work.scale / 2, abs=1.01)


@pytest.mark.parametrize("size_hw", [(300, 200), (90, 120), (1000, 1400)])
def test_a_point_comes_back_to_where_it_was(size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    x, y, radius = width // 3, height // 2, min(height, width) // 8
    image = with_dot(height, width, x, y, radius)
    part = (width // 6, height // 4, width * 5 // 6, height)
    for work in (
        prepare(image),
        to_square(image, side_px=128),
        to_square(image, side_px=128, pad_fraction=0.15),
        to_square(image, side_px=128, part_xyxy=part),
    ):
        # a pixel of the work image, as pixels of the photo: the edge of the dot is rounded to one
        assert dot_in_photo(work) == pytest.approx((x, y), abs=1.0 / work.scale)


def test_a_square_of_the_work_image_becomes_a_box_of_the_photo() -> None:
    work = WorkImage(np.zeros((20, 20), np.uint8), scale=0.5, left_px=2, top_px=-3, longest_px=10)
    assert work.to_photo(7, 7, 4, 0.9) == FaceBox(6, 16, 14, 24, 0.9)


def test_a_photo_of_the_right_size_is_not_resampled() -> None:
    image = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    work = prepare(image)
    np.testing.assert_array_equal(work.image[60:360, 60:460], image)


def test_large_and_central_faces_come_first() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    middle, corner = FaceBox(80, 30, 120, 70), FaceBox(0, 0, 44, 44)
    large = FaceBox(0, 0, 100, 100)
    assert by_prominence([corner, middle, large], image) == [large, middle, corner]
