"""Augmentation: off it is the one preprocessing, on it changes pictures only as a camera would."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgegender.entities import FaceBox, Preprocessing, UInt8Array
from edgegender.preprocess import crop_square, to_input
from edgegender.training import augmentation
from edgegender.training.augmentation import augment
from edgegender.training.recipes import AUGMENTATIONS
from tests import pictures

CROP_BOX = FaceBox(20, 20, 76, 76)
PREPROCESSING = Preprocessing(48, 1.3)
changing = pytest.mark.parametrize("kind", [kind for kind in AUGMENTATIONS if kind != "none"])


def smooth(height: int, width: int, seed: int) -> UInt8Array:
    """Returns a blurred random picture: as smooth as a photo."""
    blurred = cv2.GaussianBlur(pictures.noise(height, width, seed).astype(np.float32), (0, 0), 4)
    return np.clip((blurred - 127) * 6 + 127, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("box", [None, CROP_BOX, FaceBox(-30, 50, 40, 120)], ids=["crop", "box", "box over the edge"])
@pytest.mark.parametrize("shape", [(96, 96), (80, 120), (1, 1)])
def test_without_augmentation_the_input_is_the_preprocessed_photo_byte_for_byte(
    box: FaceBox | None, shape: tuple[int, int]
) -> None:
    image = pictures.noise(*shape, seed=1)
    plain = augment(image, box, PREPROCESSING, "none", np.random.default_rng(0))
    np.testing.assert_array_equal(plain, to_input(image, box, PREPROCESSING))


def test_without_augmentation_no_random_number_is_drawn() -> None:
    rng = np.random.default_rng(2)
    augment(pictures.gradient(96, 96), CROP_BOX, PREPROCESSING, "none", rng)
    assert rng.random() == np.random.default_rng(2).random()


@changing
def test_the_same_random_state_gives_the_same_picture_and_another_another(kind: str) -> None:
    image = smooth(96, 96, seed=3)
    first, again, other = (
        augment(image, CROP_BOX, PREPROCESSING, kind, np.random.default_rng(seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@changing
@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((96, 96), CROP_BOX),
        ((96, 96), None),
        ((1, 1), None),
        ((300, 2), None),
        ((40, 60), FaceBox(-500, -500, 900, 900)),
        ((40, 60), FaceBox(10, 10, 11, 11)),
    ],
    ids=["crop", "no box", "one pixel", "two columns", "huge box", "tiny box"],
)
@pytest.mark.parametrize("size_px", [32, 96])
def test_any_photo_gives_a_picture_of_the_input_size_and_stays_as_it_is(
    kind: str, shape: tuple[int, int], box: FaceBox | None, size_px: int
) -> None:
    image = pictures.noise(*shape, seed=4)
    before = image.copy()
    for seed in range(25):
        result = augment(image, box, Preprocessing(size_px, 1.3), kind, np.random.default_rng(seed))
        assert result.shape == (size_px, size_px, 3)
        assert result.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@changing
def test_half_of_the_pictures_are_mirrored(kind: str) -> None:
    image = pictures.gradient(96, 96)
    image[..., 0] = np.linspace(0, 255, 96).astype(np.uint8)[None, :]
    results = [
        augment(image, CROP_BOX, PREPROCESSING, kind, np.random.default_rng(seed)).astype(int) for seed in range(200)
    ]
    rising = sum(result[:, 36:, 0].mean() > result[:, :12, 0].mean() for result in results)
    # binomial: 100 ± 3 × 7
    assert 79 <= rising <= 121


@changing
def test_the_face_stays_in_the_picture(kind: str) -> None:
    """The box's center stays near the middle: a dark disc there darkens the middle of the average input."""
    image = np.full((96, 96, 3), 200, np.uint8)
    cv2.circle(image, (48, 48), 14, (40, 40, 40), -1)
    results = np.stack(
        [augment(image, CROP_BOX, PREPROCESSING, kind, np.random.default_rng(seed)) for seed in range(100)]
    )
    average = results.mean(axis=(0, 3))
    darkest = np.array(np.unravel_index(cv2.GaussianBlur(average, (0, 0), 4).argmin(), average.shape))
    # shifts have a standard deviation of 4 % of 48 pixels: their mean over 100 pictures is a fifth of a pixel
    assert np.abs(darkest - 23.5).max() <= 2
    assert average[20:28, 20:28].mean() < average[:6].mean() - 50


@changing
def test_chance_does_not_depend_on_what_the_photo_shows(kind: str) -> None:
    for seed in range(20):
        states = []
        for image, box in ((smooth(96, 96, seed=1), CROP_BOX), (pictures.noise(300, 70, seed=2), None)):
            rng = np.random.default_rng(seed)
            augment(image, box, PREPROCESSING, kind, rng)
            states.append(rng.random())
        assert states[0] == states[1]


def dots(size_px: int) -> UInt8Array:
    """Returns a black picture with a red dot in the middle and a green one right of it, a fifth of the side away."""
    image = np.zeros((size_px, size_px, 3), np.uint8)
    middle, radius = size_px // 2, size_px // 16
    cv2.circle(image, (middle, middle), radius, (255, 0, 0), -1)
    cv2.circle(image, (middle + size_px // 5, middle), radius, (0, 255, 0), -1)
    return image


def from_red_to_green(image: UInt8Array) -> complex:
    """Returns the way between the dots: its length in pixels, its direction."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    red, green = (
        complex((columns * weight).sum(), (rows * weight).sum()) / weight.sum()
        for weight in (image[..., channel].astype(float) for channel in (0, 1))
    )
    return green - red


def test_geometric_augmentation_mirrors_turns_and_zooms_within_its_ranges_and_does_nothing_else() -> None:
    image = dots(160)
    box = FaceBox(20, 20, 140, 140)
    plain = abs(from_red_to_green(to_input(image, box, Preprocessing(96, 1.0))))
    results = [
        augment(image, box, Preprocessing(96, 1.0), "geometric", np.random.default_rng(seed)) for seed in range(300)
    ]
    ways = np.array([from_red_to_green(result) for result in results])
    is_mirrored = ways.real < 0
    assert 124 <= is_mirrored.sum() <= 176  # binomial: 150 ± 3 × 8.7
    angles_deg = np.degrees(np.angle(np.where(is_mirrored, -ways.conj(), ways)))
    zooms = plain / np.abs(ways)
    # evenly spread: of 300 numbers, some fall within a twentieth of each end; half a degree and a hundredth for the
    # dots, which are found to a tenth of a pixel in twenty
    assert -18.5 <= angles_deg.min() < -16
    assert 16 < angles_deg.max() <= 18.5
    assert 0.89 <= zooms.min() < 0.92
    assert 1.08 < zooms.max() <= 1.11
    assert np.std(angles_deg) == pytest.approx(36 / np.sqrt(12), rel=0.1)  # of an even spread; 300 numbers give ± 3 %
    assert all(result[..., 2].max() == 0 and result[..., 0].max() >= 250 for result in results)


@pytest.mark.parametrize("is_mirrored", [False, True])
@pytest.mark.parametrize("angle_deg", [-17.0, 10.0])
def test_a_turned_crop_is_the_crop_of_the_turned_photo(angle_deg: float, is_mirrored: bool) -> None:
    image = smooth(176, 176, seed=9)
    view = augmentation._View(1.05, (0.05, -0.03), angle_deg, is_mirrored)
    found = augmentation._crop(image, FaceBox(39, 39, 137, 137), Preprocessing(96, 1.3), view)
    turn = cv2.getRotationMatrix2D((87.5, 87.5), angle_deg, 1.0)
    turned = np.asarray(cv2.warpAffine(image, turn, (176, 176), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    side = 98 * 1.3
    expected = crop_square(turned, center_xy=(88 + 0.05 * side, 88 - 0.03 * side), side=1.05 * side, size_px=96)
    if is_mirrored:
        expected = np.asarray(cv2.flip(expected, 1), np.uint8)
    # the expected crop starts at a whole pixel, half a pixel off at most; neighbours differ by 4 on average
    assert np.abs(found.astype(int) - expected).mean() < 2.5


@pytest.mark.parametrize("box", [FaceBox(240, 160, 640, 560), FaceBox(-100, 500, 300, 900)], ids=["inside", "edge"])
def test_a_photo_that_is_large_gives_the_same_crop_as_the_photo_shrunk_before(box: FaceBox) -> None:
    large = cv2.resize(smooth(100, 120, seed=10), (960, 800), interpolation=cv2.INTER_CUBIC)
    shrunk = cv2.resize(large, (240, 200), interpolation=cv2.INTER_AREA)
    view = augmentation._View(1.0, (0.02, 0.03), 12.0, False)
    shrunk_box = FaceBox(*(value / 4 for value in box.box_xyxy))
    first = augmentation._crop(np.asarray(large, np.uint8), box, PREPROCESSING, view)
    second = augmentation._crop(np.asarray(shrunk, np.uint8), shrunk_box, PREPROCESSING, view)
    # 520 pixels to 48 either way, by other steps
    assert np.abs(first.astype(int) - second).mean() < 1.5


def test_light_augmentation_changes_less_than_that_of_a_camera() -> None:
    image = smooth(96, 96, seed=7)
    plain = to_input(image, CROP_BOX, PREPROCESSING).astype(int)
    change = {
        kind: np.mean(
            [
                np.abs(augment(image, CROP_BOX, PREPROCESSING, kind, np.random.default_rng(seed)) - plain).mean()
                for seed in range(80)
            ]
        )
        for kind in ("light", "camera")
    }
    assert 0 < change["light"] < change["camera"]


def test_only_a_camera_sees_grey_and_plain_areas() -> None:
    image = smooth(96, 96, seed=8)
    grey, plain = {}, {}
    for kind in ("light", "camera"):
        results = [augment(image, CROP_BOX, PREPROCESSING, kind, np.random.default_rng(seed)) for seed in range(200)]
        grey[kind] = sum(bool((np.ptp(result.astype(int), axis=2) <= 1).all()) for result in results)
        most = [np.unique(result.reshape(-1, 3), axis=0, return_counts=True)[1].max() for result in results]
        plain[kind] = sum(count >= 16 for count in most)
    assert grey["light"] == plain["light"] == 0
    assert 5 <= grey["camera"] <= 35  # a tenth: binomial, 20 ± 3 × 4.2; noise or JPEG behind it hides a few
    assert 20 <= plain["camera"] <= 80  # something in front in a tenth, JPEG's flat blocks in a fifth: 56 ± 3 × 6.3
