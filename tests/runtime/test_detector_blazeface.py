"""BlazeFace: its numbers are decoded as published, small and tight faces are searched for, other files are refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.downloads import BLAZEFACE
from edgegender.entities import FloatArray, UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detector_blazeface import BlazeFaceDetector, decode, suppress
from edgegender.runtime.detector_yunet import YuNetDetector
from tests import pictures
from tests.tiny_model import build_network

NUM_ANCHORS = 896


@pytest.fixture(scope="module")
def detector(blazeface_file: Path) -> BlazeFaceDetector:
    return BlazeFaceDetector(blazeface_file)


def answers(**logits: float) -> tuple[FloatArray, FloatArray]:
    """Returns empty answers of the network: boxes of 20 pixels and no face, but for the named anchors (a5=3.0)."""
    regressors = np.zeros((NUM_ANCHORS, 16))
    regressors[:, 2:4] = 20
    scores = np.full(NUM_ANCHORS, -20.0)
    for name, logit in logits.items():
        scores[int(name[1:])] = logit
    return regressors, scores


def faces(*rows: tuple[float, float, float, float]) -> tuple[FloatArray, FloatArray]:
    """Returns scores and pairs of faces given as (score, x, y, side)."""
    pairs = np.zeros((len(rows), 8, 2))
    for pair, (_, x, y, side) in zip(pairs, rows, strict=True):
        pair[:] = (x, y)
        pair[1] = side
    return np.array([row[0] for row in rows]), pairs


# Decoding


@pytest.mark.parametrize(
    ("anchor", "center_xy"),
    [
        # two anchors in each of 16 × 16 cells of 8 pixels, row by row, then six in each of 8 × 8 cells of 16 pixels
        (0, (4, 4)),
        (1, (4, 4)),
        (2, (12, 4)),
        (32, (4, 12)),
        (511, (124, 124)),
        (512, (8, 8)),
        (517, (8, 8)),
        (518, (24, 8)),
        (560, (8, 24)),
        (895, (120, 120)),
    ],
)
def test_an_answer_of_zero_stands_at_its_anchor(anchor: int, center_xy: tuple[float, float]) -> None:
    scores, pairs = decode(*answers(**{f"a{anchor}": 3.0}), min_score=0.5)
    assert scores == pytest.approx([1 / (1 + np.exp(-3))])
    assert pairs[0, 1].tolist() == [20, 20]
    np.testing.assert_array_equal(np.delete(pairs[0], 1, axis=0), np.tile(center_xy, (7, 1)))


def test_places_are_added_to_the_anchor_and_sizes_are_not() -> None:
    regressors, logits = answers(a0=5.0)
    regressors[0] = np.arange(1, 17)
    _, pairs = decode(regressors, logits, min_score=0.5)
    assert pairs[0, :3].tolist() == [[5, 6], [3, 4], [9, 10]]
    assert pairs[0, 7].tolist() == [19, 20]


@pytest.mark.parametrize(("logit", "score"), [(0, 0.5), (1e30, 1.0), (np.inf, 1.0), (100, 1.0)])
def test_extreme_logits_are_clipped(logit: float, score: float) -> None:
    scores, _ = decode(*answers(a3=logit), min_score=0.5)
    assert scores.tolist() == [score]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_no_face(value: float) -> None:
    regressors, logits = answers(a3=5.0, a4=5.0, a5=value if value != np.inf else np.nan)
    regressors[3, 9] = value
    scores, _ = decode(regressors, logits, min_score=0.5)
    assert len(scores) == 1


@pytest.mark.parametrize("size", [(0, 20), (20, 0), (-5, -5)])
def test_a_box_without_an_area_is_no_face(size: tuple[float, float]) -> None:
    regressors, logits = answers(a3=5.0)
    regressors[3, 2:4] = size
    assert len(decode(regressors, logits, min_score=0.5)[0]) == 0


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0, 1e30]))
def test_any_numbers_are_decoded_and_suppressed(seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    regressors, logits = rng.normal(0, spread, (NUM_ANCHORS, 16)), rng.normal(-2, 3, NUM_ANCHORS)
    scores, pairs = decode(regressors, logits, min_score=0.5)
    found = suppress(scores, pairs)
    assert bool(found) == bool(len(scores))
    assert [score for score, _ in found] == sorted((score for score, _ in found), reverse=True)
    assert all(np.isfinite(pair).all() for _, pair in found)


# Suppression


def test_answers_that_overlap_become_their_mean_by_score() -> None:
    ((score, pairs),) = suppress(*faces((0.6, 50, 50, 20), (0.9, 52, 50, 20)))
    assert score == 0.9
    assert pairs[0] == pytest.approx(((0.6 * 50 + 0.9 * 52) / 1.5, 50))
    assert pairs[1] == pytest.approx((20, 20))


@pytest.mark.parametrize(
    ("shift", "expected"),
    # squares of side 20 that stand d apart share (20 - d) / (20 + d) of their union: 0.3 at d = 10.8
    [(10.7, 1), (10.8, 2), (40.0, 2)],
)
def test_answers_that_overlap_little_are_two_faces(shift: float, expected: int) -> None:
    assert len(suppress(*faces((0.9, 50, 50, 20), (0.8, 50 + shift, 50, 20)))) == expected


def test_the_best_answer_decides_what_belongs_to_it() -> None:
    # the first and the last overlap the middle one only: the best is the middle, so all three are one face
    assert len(suppress(*faces((0.7, 42, 50, 20), (0.9, 50, 50, 20), (0.8, 58, 50, 20)))) == 1
    # the best is the first: the last stands for itself
    assert len(suppress(*faces((0.9, 42, 50, 20), (0.7, 50, 50, 20), (0.8, 58, 50, 20)))) == 2


def test_nothing_stays_nothing() -> None:
    assert suppress(np.zeros(0), np.zeros((0, 8, 2))) == []


# On real photos


def test_its_landmarks_are_those_of_yunet(
    detector: BlazeFaceDetector, yunet_file: Path, scenes: list[UInt8Array]
) -> None:
    yunet = YuNetDetector(yunet_file)
    for image in scenes:
        found, expected = detector.detect(image)[0], yunet.detect(image)[0]
        assert found.landmarks is not None
        assert expected.landmarks is not None
        for name in ("left_eye", "right_eye", "nose", "mouth"):
            apart = np.subtract(getattr(found.landmarks, name), getattr(expected.landmarks, name))
            # shares of the side; medians over 1,500 other photos are 0.03 to 0.05, and 99 % are under 0.15
            assert np.linalg.norm(apart) < 0.15 * expected.side_px, name


def embed(face: UInt8Array, side_px: int, canvas_hw: tuple[int, int], at_xy: tuple[int, int]) -> UInt8Array:
    """Returns a grey picture with a photo shrunk into it."""
    canvas = np.full((*canvas_hw, 3), 110, np.uint8)
    small = cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)
    canvas[at_xy[1] : at_xy[1] + side_px, at_xy[0] : at_xy[0] + side_px] = small
    return canvas


@pytest.mark.parametrize("at_xy", [(0, 0), (430, 10), (220, 160), (480, 320)])
def test_a_small_face_is_found_in_a_part_of_the_photo(
    detector: BlazeFaceDetector, scenes: list[UInt8Array], at_xy: tuple[int, int]
) -> None:
    """The faces fill a tenth of the picture: one look at the whole finds one of twelve."""
    found = 0
    for scene in scenes:
        expected = detector.detect(scene)[0]
        scale = 160 / scene.shape[0]
        boxes = detector.detect(embed(scene, 160, (480, 640), at_xy))
        center = (expected.center_xy[0] * scale + at_xy[0], expected.center_xy[1] * scale + at_xy[1])
        found += any(np.linalg.norm(np.subtract(box.center_xy, center)) < 0.2 * box.side_px for box in boxes)
    assert found >= 10


def test_a_face_that_fills_the_picture_is_not_taken_for_its_parts(
    detector: BlazeFaceDetector, scenes: list[UInt8Array]
) -> None:
    for scene in scenes:
        expected = detector.detect(scene)[0]
        half = 0.35 * expected.side_px
        (left, top), (right, bottom) = (
            tuple(max(0, round(value + sign * half)) for value in expected.center_xy) for sign in (-1, 1)
        )
        boxes = detector.detect(np.ascontiguousarray(scene[top:bottom, left:right]))
        assert all(box.side_px > 0.5 * (right - left) for box in boxes)


def test_a_higher_least_score_leaves_faces_out(blazeface_file: Path, scenes: list[UInt8Array]) -> None:
    strict = BlazeFaceDetector(blazeface_file, min_score=0.999)
    assert all(not strict.detect(image) for image in scenes)


@pytest.mark.parametrize("seed", range(12))
def test_any_picture_gives_boxes_of_finite_numbers(detector: BlazeFaceDetector, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 500, 2))
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    image[rng.random((height, width)) < 0.5] = int(rng.integers(256))
    for box in detector.detect(image):
        assert np.isfinite(box.box_xyxy).all()
        assert 0.5 <= box.score <= 1


def test_several_threads_answer_as_one_does(blazeface_file: Path, scenes: list[UInt8Array]) -> None:
    first = BlazeFaceDetector(blazeface_file).detect(scenes[0])
    second = BlazeFaceDetector(blazeface_file, num_threads=2).detect(scenes[0])
    # float sums in another order
    assert first[0].box_xyxy == pytest.approx(second[0].box_xyxy, abs=0.01)


# Its file


def test_the_known_file_is_the_one_that_is_pulled(blazeface_file: Path) -> None:
    assert hashlib.sha256(blazeface_file.read_bytes()).hexdigest() == BLAZEFACE.sha256


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_never_reaches_native_code(tmp_path: Path, blazeface_file: Path, seed: int) -> None:
    """LiteRT itself runs half of such files with other answers, and dies of one in 150."""
    rng = np.random.default_rng(seed)
    content = bytearray(blazeface_file.read_bytes())
    if seed % 2:
        content = content[: int(rng.integers(0, len(content)))]
    else:
        content[int(rng.integers(0, len(content)))] ^= 1 << int(rng.integers(0, 8))
    file = tmp_path / "damaged.tflite"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"Expected the BlazeFace network with sha256 3bc182eb9f33…, got") as caught:
        BlazeFaceDetector(file)
    assert caught.value.hint == "Fetch it with: edgegender models pull blazeface"


def test_a_huge_file_is_refused_without_being_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.tflite"
    file.touch()
    os.truncate(file, 1 << 40)
    with pytest.raises(UsageError, match="got another file or a damaged one"):
        BlazeFaceDetector(file)


def test_a_named_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tflite")
    with pytest.raises(UsageError, match=r"Expected a BlazeFace \.tflite file, got nothing at "):
        BlazeFaceDetector(tmp_path / "pipe.tflite")


@pytest.mark.usefixtures("plain_user")
def test_a_file_that_may_not_be_read_is_refused() -> None:
    file = Path("locked.tflite")
    file.touch(mode=0o000)
    with pytest.raises(UsageError, match=r"Expected a readable BlazeFace \.tflite file, got .*Permission denied"):
        BlazeFaceDetector(file)


@pytest.mark.parametrize("content", [build_network(), b"no network"], ids=["other tensors", "text"])
def test_a_file_of_a_given_hash_must_be_a_network_of_this_kind(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.tflite"
    file.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"Expected a network with a picture of 128 × 128 in and 896 boxes out"
    ) as caught:
        BlazeFaceDetector(file, sha256=hashlib.sha256(content).hexdigest())
    assert "edgegender models pull blazeface" in caught.value.hint


@pytest.mark.parametrize("min_score", [0.0, -0.1, 1.1, float("nan")])
def test_a_least_score_out_of_range_is_refused(blazeface_file: Path, min_score: float) -> None:
    with pytest.raises(UsageError, match="Expected a least score above 0 and up to 1"):
        BlazeFaceDetector(blazeface_file, min_score=min_score)


def test_a_number_of_threads_out_of_range_is_refused(blazeface_file: Path) -> None:
    with pytest.raises(UsageError, match="Expected 1 to 256 threads, got 1000"):
        BlazeFaceDetector(blazeface_file, num_threads=1000)


def test_nothing_is_found_in_a_drawn_gradient(detector: BlazeFaceDetector) -> None:
    assert detector.detect(pictures.gradient(200, 150)) == []
