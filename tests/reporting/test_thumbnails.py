"""Thumbnails show what a network sees, or the whole photo, or say why there is none."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from edgegender.entities import FaceBox, Preprocessing
from edgegender.images import read_image
from edgegender.preprocess import to_input
from edgegender.reporting.thumbnails import encode_data_uri, read_square, read_whole
from tests.pictures import black_png, gradient, quarters, write_photo


@pytest.mark.parametrize("box", [None, FaceBox(30, 10, 70, 50)])
def test_a_square_is_what_a_network_sees(tmp_path, box):
    file = write_photo(tmp_path / "photo.png", quarters(80, 120))
    expected = to_input(read_image(file), box, Preprocessing(input_size_px=48))
    assert np.array_equal(read_square(file, box=box, side_px=48).image_rgb, expected)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(300, 100, (60, 20, 3)), (100, 300, (20, 60, 3)), (7, 9, (7, 9, 3)), (500, 1, (60, 1, 3))],
)
def test_a_whole_photo_keeps_its_shape_and_never_grows(tmp_path, height, width, expected):
    file = write_photo(tmp_path / "photo.png", gradient(height, width))
    assert read_whole(file, longest_px=60).image_rgb.shape == expected


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 bytes"),
        (b"hello", "not a JPEG, PNG, BMP or WebP photo"),
        (black_png(8000, 8000), "too large"),
        (b"\x89PNG\r\n\x1a\n", "truncated file"),
        (None, "cannot be opened"),
    ],
    ids=["empty", "text", "huge", "truncated", "missing"],
)
def test_a_photo_that_cannot_be_read_says_why(tmp_path, content, problem):
    file = tmp_path / "photo.png"
    if content is not None:
        file.write_bytes(content)
    for thumbnail in (read_square(file, box=None, side_px=16), read_whole(file, longest_px=16)):
        assert thumbnail.image_rgb is None
        assert thumbnail.problem == problem


def test_a_picture_becomes_an_address_that_holds_a_jpeg():
    uri = encode_data_uri(gradient(40, 60))
    head, _, code = uri.partition(",")
    assert head == "data:image/jpeg;base64"
    assert cv2.imdecode(np.frombuffer(base64.b64decode(code), np.uint8), cv2.IMREAD_COLOR).shape == (40, 60, 3)
