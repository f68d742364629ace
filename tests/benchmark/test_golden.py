"""The golden inputs are the same bytes on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from edgegender.benchmark import golden
from edgegender.benchmark.engines import create_engine
from edgegender.benchmark.golden import NUM_GOLDEN, SHEET_FILE, TILE_PX, answer_golden, golden_images, hash_golden
from edgegender.errors import DataError, ImageError, UsageError
from tests.pictures import write_photo
from tests.tiny_model import build_tiny_model

# Held fast here: another value means that answers of before and after can no longer be compared.
HASH_OF_96 = "4680e0d22f14e1032fe8cef95eb6d261abc6aef80bd0cd507557ad511f7b8ff4"


def test_the_pictures_for_a_size_never_change():
    assert hash_golden(golden_images(96)) == HASH_OF_96


@pytest.mark.parametrize("size_px", [1, 47, 48, 49, 96, 112, 128, 160, 224, 299])
def test_each_size_has_64_distinct_pictures(size_px):
    images = golden_images(size_px)
    assert (images.shape, images.dtype) == ((NUM_GOLDEN, size_px, size_px, 3), np.uint8)
    if size_px >= 47:
        assert len({image.tobytes() for image in images}) == NUM_GOLDEN


def test_pixels_are_repeated_and_never_mixed():
    small, large = golden_images(TILE_PX), golden_images(2 * TILE_PX)
    assert np.array_equal(large, small.repeat(2, axis=1).repeat(2, axis=2))


def test_the_middle_is_cut_out():
    whole, cut = golden_images(3 * TILE_PX), golden_images(3 * TILE_PX - 16)
    assert np.array_equal(cut, whole[:, 8:-8, 8:-8])


def test_the_sheet_is_small_enough_to_be_packaged():
    assert SHEET_FILE.stat().st_size < 300_000


@pytest.mark.parametrize("size_px", [0, -1, 2049])
def test_a_size_that_makes_no_sense_is_refused(size_px):
    with pytest.raises(UsageError, match="Expected a size from 1 to 2048 pixels"):
        golden_images(size_px)


def test_a_changed_or_missing_sheet_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(golden, "SHEET_FILE", write_photo(tmp_path / "sheet.png", np.zeros((384, 384, 3), np.uint8)))
    with pytest.raises(DataError, match="Expected the golden pictures"):
        golden_images(96)
    monkeypatch.setattr(golden, "SHEET_FILE", tmp_path / "none.png")
    with pytest.raises(ImageError, match="Expected"):
        golden_images(96)


def test_an_engine_answers_for_each_picture(tmp_path):
    engine = create_engine("litert", build_tiny_model(tmp_path / "tiny.tflite"), num_threads=1)
    record = answer_golden(engine)
    assert len(record.scores) == NUM_GOLDEN
    assert {len(row) for row in record.scores} == {2}
    assert len(set(record.scores)) > 5  # brightness differs between the faces
    assert record.golden_sha256 == hashlib.sha256(golden_images(32).tobytes()).hexdigest()
