"""Perceptual hashes: near for copies, far for different pictures, and only ever 64 hexadecimal digits."""

from __future__ import annotations

import re
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.data.drawn_faces import LABELS, draw_attributes, draw_face
from edgegender.data.perceptual_hash import HASH_BITS, hash_picture, pack_hashes, require_hashing
from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError
from edgegender.images import decode_image, encode_image
from tests import pictures

digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def drawn(seed: int) -> UInt8Array:
    rng = np.random.default_rng(seed)
    return draw_face(draw_attributes(LABELS[seed % 2], rng), size_px=128, rng=rng).image_rgb


def distance(one: UInt8Array, other: UInt8Array) -> int:
    """Number of different bits, counted digit by digit."""
    return (int(hash_picture(one), 16) ^ int(hash_picture(other), 16)).bit_count()


def by_the_definition(image_rgb: UInt8Array) -> str:
    """The hash worked out from its description: grey, 64 × 64, cosine transform, median of 16 × 16 frequencies."""
    from PIL import Image

    grey = np.asarray(Image.fromarray(image_rgb).convert("L").resize((64, 64), Image.Resampling.LANCZOS), np.float64)
    low = cv2.dct(grey)[:16, :16]
    low[0] *= np.sqrt(2)  # OpenCV's transform is orthonormal, which makes the constant terms smaller
    low[:, 0] *= np.sqrt(2)
    return np.packbits(low > np.median(low)).tobytes().hex()


def test_a_hash_is_256_bits_in_hexadecimal_digits() -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", hash_picture(pictures.quarters(40, 60)))
    assert HASH_BITS == 4 * 64


@pytest.mark.parametrize("seed", range(4))
def test_the_hash_is_what_its_description_says(seed: int) -> None:
    assert hash_picture(drawn(seed)) == by_the_definition(drawn(seed))


def test_the_same_picture_has_the_same_hash() -> None:
    assert hash_picture(drawn(1)) == hash_picture(drawn(1).copy())


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_other_faces_far(seed: int) -> None:
    image = drawn(seed)
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    # measured on 80 drawn faces: 6 bits at most at this quality, 4 at half the size, 62 at least between two faces
    assert distance(image, decode_image(encode_image(image, jpeg_quality=75))) <= 12
    assert distance(image, half) <= 12
    assert distance(image, drawn(seed + 1)) > 48


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2), (16, 16), (700, 500)])
def test_a_picture_of_any_size_has_a_hash(shape: tuple[int, int]) -> None:
    assert len(hash_picture(pictures.gradient(*shape))) == 64


def test_plain_pictures_of_any_colour_look_the_same() -> None:
    hashes = {hash_picture(np.full((40, 50, 3), value, np.uint8)) for value in (1, 90, 255)}
    assert len(hashes) == 1


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    for use in (require_hashing, lambda: hash_picture(pictures.gradient(8, 8))):
        with pytest.raises(MissingDependencyError, match="Expected the package ImageHash to be installed") as caught:
            use()
        assert caught.value.hint == "pip install 'edgegender[data]'"


# Packing


@given(st.lists(digests, max_size=20))
def test_packed_hashes_hold_the_same_bits(hashes: list[str]) -> None:
    packed = pack_hashes(hashes)
    assert (packed.shape, packed.dtype) == ((len(hashes), 4), np.uint64)
    assert [row.tobytes().hex() for row in packed] == hashes


@given(digests, digests)
def test_packed_hashes_differ_in_as_many_bits_as_their_digits(one: str, other: str) -> None:
    packed = pack_hashes([one, other])
    assert sum(int(word).bit_count() for word in packed[0] ^ packed[1]) == (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize("digits", ["", "ab", "g" * 64, "٣" * 64, "a" * 65, " " + "a" * 63, "a" * 31 + "  " + "a" * 31])
def test_what_is_no_hash_is_refused(digits: str) -> None:
    with pytest.raises(ValueError, match=r"64 hexadecimal digits|non-hexadecimal"):
        pack_hashes(["0" * 64, digits])


def test_spaces_in_many_hashes_do_not_add_up_to_fewer_hashes() -> None:
    with pytest.raises(ValueError, match="got white space"):
        pack_hashes(["a" * 32 + " " * 32] * 2)
