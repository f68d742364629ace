"""Photos made by strangers: whole ones come out upright and in RGB, all others as an ImageError and nothing else."""

from __future__ import annotations

import base64
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegender import images
from edgegender.entities import UInt8Array
from edgegender.errors import ImageError
from tests import pictures

# 32 × 16 pixels with the Adobe marker (inverted CMYK), left half red, right half cyan under a quarter of black.
# Made once with Pillow: Image.fromarray(..., "CMYK").save(..., quality=90).
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwADAgIDAgIDAwMDBAMDBAUIBQUEBAUKBwcGCAwKDAwLCgsLDQ4SEA0OEQ4LCxAWEBETFBUVFQwPFxgWFBgS"
    "FBUU/8AAFAgAEAAgBEMRAE0RAFkRAEsRAP/EAB8AAAEFAQEBAQEBAAAAAAAAAAABAgMEBQYHCAkKC//EALUQAAIBAwMCBAMFBQQEAAABfQECAwAE"
    "EQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6"
    "g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+v/aAA4EQwBNAFkA"
    "SwAAPwD9U6/Kqvyqr9U6KKKK/lXr+qiv6qK+VKKKKK/qor+Vev5V6+q6KKKK/lXr+qiv6qK+VKKKKK//2Q=="
)

READ_BOMB = """
import sys
from pathlib import Path
from edgegender import errors, images
try:
    images.read_image(Path(sys.argv[1]))
except errors.ImageError as error:
    print(error.kind)
# VmHWM, not getrusage: ru_maxrss starts with the peak of the process that started this one
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""

every_format = pytest.mark.parametrize("name", list(pictures.ALL_FORMATS))


def mean_difference(first: UInt8Array, second: UInt8Array) -> float:
    return float(np.abs(first.astype(int) - second.astype(int)).mean())


def kind_of(content: bytes) -> str:
    """Returns the kind of the ImageError that the content raises, or "decoded"."""
    try:
        images.decode_image(content)
    except ImageError as error:
        return error.kind
    return "decoded"


# What is whole comes out right


@pytest.mark.parametrize("name", ["png", "bmp", "lossless webp"])
def test_a_lossless_format_gives_the_same_rgb_pixels_back(name: str) -> None:
    image = pictures.noise(33, 47, seed=1)
    np.testing.assert_array_equal(images.decode_image(pictures.encode_as(name, image)), image)


@every_format
def test_every_format_gives_contiguous_rgb_of_the_right_shape(name: str) -> None:
    image = pictures.quarters(64, 96)
    decoded = images.decode_image(pictures.encode_as(name, image))
    assert decoded.shape == (64, 96, 3)
    assert decoded.dtype == np.uint8
    assert decoded.flags["C_CONTIGUOUS"]
    # flat quarters of 32 × 48 pixels: lossy formats err at the edges between them only, by a level or two on average
    assert mean_difference(decoded, image) < 3


@every_format
def test_the_size_is_read_from_the_header_alone(name: str) -> None:
    assert images.read_size(pictures.encode_as(name, pictures.gradient(37, 91))) == (91, 37)


@every_format
def test_one_pixel_is_a_photo(name: str) -> None:
    assert images.decode_image(pictures.encode_as(name, pictures.noise(1, 1, seed=2))).shape == (1, 1, 3)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_grey_photo_becomes_rgb_with_three_equal_channels(suffix: str) -> None:
    grey = pictures.gradient(40, 40)[..., 0]
    decoded = images.decode_image(cv2.imencode(suffix, grey)[1].tobytes())
    assert decoded.shape == (40, 40, 3)
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 1])
    np.testing.assert_array_equal(decoded[..., 0], decoded[..., 2])
    assert mean_difference(decoded[..., 0], grey) < 2  # JPEG at quality 95 moves a smooth gradient by about a level


def test_a_16_bit_png_keeps_its_upper_8_bits() -> None:
    image = pictures.noise(20, 30, seed=3)
    deep = image.astype(np.uint16) * 256 + 17
    content = cv2.imencode(".png", cv2.cvtColor(deep, cv2.COLOR_RGB2BGR))[1].tobytes()
    np.testing.assert_array_equal(images.decode_image(content), image)


def test_the_alpha_of_a_png_is_dropped_and_its_colors_stay() -> None:
    image = pictures.noise(20, 30, seed=4)
    alpha = np.random.default_rng(5).integers(0, 256, (20, 30, 1), dtype=np.uint8)
    content = cv2.imencode(".png", np.concatenate([image[..., ::-1], alpha], axis=2))[1].tobytes()
    np.testing.assert_array_equal(images.decode_image(content), image)


def test_a_palette_png_gives_its_colors() -> None:
    header = struct.pack(">IIBBBBB", 2, 1, 8, 3, 0, 0, 0)
    chunks = pictures.png_chunk(b"IHDR", header) + pictures.png_chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    chunks += pictures.png_chunk(b"IDAT", zlib.compress(bytes([0, 1, 0]))) + pictures.png_chunk(b"IEND", b"")
    decoded = images.decode_image(b"\x89PNG\r\n\x1a\n" + chunks)
    assert decoded.tolist() == [[[200, 100, 50], [10, 20, 30]]]


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    decoded = images.decode_image(CMYK_JPEG)
    assert decoded.shape == (16, 32, 3)
    # JPEG at quality 90 moves a flat color by a level or two; inverted channels would move it by 255
    np.testing.assert_allclose(decoded[8, 4], (255, 0, 0), atol=4)
    np.testing.assert_allclose(decoded[8, 25], (0, 191, 191), atol=4)


UPRIGHT_TO_STORED: dict[int, Callable[[UInt8Array], UInt8Array]] = {
    # EXIF 2.3, tag 274: where the stored first row and first column are to be seen
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.transpose(1, 0, 2),  # left, top
    6: lambda upright: upright[:, ::-1].transpose(1, 0, 2),  # right, top
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: lambda upright: upright[::-1].transpose(1, 0, 2),  # left, bottom
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_turned_upright(orientation: int) -> None:
    upright = pictures.quarters(64, 96)
    stored = np.ascontiguousarray(UPRIGHT_TO_STORED[orientation](upright))
    content = pictures.insert_segment(pictures.encode_as("jpeg", stored), pictures.exif_segment(orientation))
    decoded = images.decode_image(content)
    assert decoded.shape == upright.shape
    # about 1 for the right turn (JPEG's edges between the quarters), above 40 for each of the seven others
    assert mean_difference(decoded, upright) < 3


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_leaves_the_photo_as_it_is(orientation: int) -> None:
    plain = pictures.encode_as("jpeg", pictures.quarters(32, 48))
    content = pictures.insert_segment(plain, pictures.exif_segment(orientation))
    np.testing.assert_array_equal(images.decode_image(content), images.decode_image(plain))


def test_damaged_exif_does_not_keep_a_photo_from_being_read() -> None:
    plain = pictures.encode_as("jpeg", pictures.quarters(32, 48))
    broken = b"\xff\xe1" + struct.pack(">H", 20) + b"Exif\0\0II*\0" + b"\xff" * 8
    np.testing.assert_array_equal(
        images.decode_image(pictures.insert_segment(plain, broken)), images.decode_image(plain)
    )


@every_format
def test_trailing_bytes_behind_a_whole_photo_do_no_harm(name: str) -> None:
    content = pictures.encode_as(name, pictures.gradient(30, 40))
    np.testing.assert_array_equal(images.decode_image(content + b"\0 trailing" * 50), images.decode_image(content))


def test_garbage_between_the_segments_of_a_jpeg_is_skipped() -> None:
    plain = pictures.encode_as("jpeg", pictures.gradient(30, 40))
    first_end = 4 + struct.unpack_from(">H", plain, 4)[0]
    padded = plain[:first_end] + b"garbage" + b"\xff\xff\xff" + plain[first_end + 1 :]
    np.testing.assert_array_equal(images.decode_image(padded), images.decode_image(plain))


# What is cut is refused


@every_format
def test_a_photo_cut_anywhere_is_refused(name: str) -> None:
    content = pictures.encode_as(name, pictures.gradient(40, 56))
    step = max(1, len(content) // 400)
    kinds = {
        cut: kind_of(content[:cut]) for cut in [*range(0, len(content), step), *range(len(content) - 12, len(content))]
    }
    assert "decoded" not in kinds.values()
    assert kinds[0] == "empty"
    assert kind_of(content) == "decoded"


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png", "lossy webp", "lossless webp"])
def test_a_photo_cut_in_half_is_called_truncated(name: str) -> None:
    content = pictures.encode_as(name, pictures.noise(40, 56, seed=6))
    with pytest.raises(ImageError, match=r"Expected a complete photo, got a truncated file \(here\)") as caught:
        images.decode_image(content[: len(content) // 2], where="here")
    assert (caught.value.kind, caught.value.hint) == ("truncated", "Copy or download the photo again.")


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg"])
def test_a_jpeg_is_refused_until_its_end_marker_and_decoded_from_there_on(name: str) -> None:
    content = pictures.encode_as(name, pictures.gradient(40, 56))
    trailed = content + b"trailing garbage"
    assert kind_of(trailed[: len(content) - 1]) == "truncated"
    for cut in range(len(content), len(trailed) + 1):
        np.testing.assert_array_equal(images.decode_image(trailed[:cut]), images.decode_image(content))


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg"])
def test_the_end_marker_of_a_thumbnail_does_not_make_a_cut_photo_whole(name: str) -> None:
    thumbnail = pictures.encode_as("jpeg", pictures.gradient(12, 16))
    content = pictures.insert_segment(
        pictures.encode_as(name, pictures.noise(64, 64, seed=7)), pictures.exif_segment(1, thumbnail)
    )
    assert images.decode_image(content).shape == (64, 64, 3)
    assert content.find(b"\xff\xd9") < len(content) - 2
    for cut in range(4, len(content), 29):
        assert kind_of(content[:cut]) == "truncated"


@every_format
def test_a_file_that_ends_inside_of_its_header_is_an_image_error(name: str) -> None:
    content = pictures.encode_as(name, pictures.noise(40, 40, seed=8))
    for cut in range(1, 26):
        with pytest.raises(ImageError, match="Expected a"):
            images.read_size(content[:cut])


# What is too large is refused before it is decoded


def test_a_png_bomb_is_refused_within_little_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(pictures.black_png(20_000, 20_000))
    assert bomb.stat().st_size < 2_000_000  # decoded: 1.2 GB
    answer = subprocess.run([sys.executable, "-c", READ_BOMB, str(bomb)], capture_output=True, text=True, check=True)
    kind, peak_kib = answer.stdout.split()
    assert kind == "too_large"
    # numpy and OpenCV alone take about 100 MB; a decoded bomb 1,200 MB more
    assert int(peak_kib) * 1024 < 300e6


def test_the_bomb_of_these_tests_is_a_valid_png_when_small() -> None:
    decoded = images.decode_image(pictures.black_png(700, 900))
    assert decoded.shape == (700, 900, 3)
    assert not decoded.any()


def test_the_limit_of_pixels_is_exact_and_named() -> None:
    content = pictures.encode_as("png", pictures.gradient(20, 30))
    assert images.decode_image(content, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(ImageError, match=r"Expected at most 599 pixels, got 30 × 20 \(here\)") as caught:
        images.decode_image(content, where="here", max_pixels=599)
    assert (caught.value.kind, caught.value.hint) == ("too_large", "Make the photo smaller first.")


@every_format
def test_every_format_is_held_to_the_limit_of_pixels(name: str) -> None:
    content = pictures.encode_as(name, pictures.gradient(20, 30))
    with pytest.raises(ImageError, match="Expected at most 100 pixels, got 30 × 20"):
        images.decode_image(content, max_pixels=100)


def test_a_large_jpeg_behind_a_stuffed_zero_cannot_pass_for_a_small_one() -> None:
    """A decoder skips FF 00 in front of a segment; read as a marker with a length, it hides the real frame."""
    large = pictures.encode_as("jpeg", pictures.gradient(60, 80))[2:]
    small = pictures.encode_as("jpeg", pictures.gradient(8, 8))[2:]
    hidden = b"\xff\xd8" + b"\xff\x00" + struct.pack(">H", len(large) + 2) + large + small
    assert images.read_size(hidden) == (80, 60)
    with pytest.raises(ImageError, match="got 80 × 60"):
        images.decode_image(hidden, max_pixels=100)


def test_a_webp_frame_without_a_chunk_of_its_own_is_refused() -> None:
    """The decoder takes such a frame, but its size stands where the header has none."""
    whole = pictures.encode_as("lossless webp", pictures.gradient(60, 80))
    bare = b"RIFF" + struct.pack("<I", len(whole) - 16) + b"WEBP" + whole[20:]
    assert cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_COLOR).shape == (60, 80, 3)
    assert kind_of(bare + bytes(20)) == "damaged"


def test_a_png_that_does_not_begin_with_its_header_is_refused() -> None:
    whole = pictures.encode_as("png", pictures.gradient(60, 80))
    assert kind_of(whole[:8] + pictures.png_chunk(b"teXt", bytes(8)) + whole[8:]) == "damaged"


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    sparse = tmp_path / "huge.jpg"
    with sparse.open("wb") as stream:
        stream.truncate(images.MAX_FILE_BYTES + 1)
    with pytest.raises(ImageError, match=r"Expected at most 104,857,600 bytes, got 104,857,601") as caught:
        images.read_image(sparse)
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0)])
def test_a_photo_without_pixels_is_refused(width: int, height: int) -> None:
    whole = pictures.encode_as("png", pictures.gradient(4, 4))
    header = pictures.png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    with pytest.raises(ImageError, match=f"Expected at least 1 × 1 pixels, got {width} × {height}"):
        images.decode_image(whole[:8] + header + whole[33:])


# What is no photo is refused


@pytest.mark.parametrize(
    "content",
    [b"a text file called .jpg\n", b"GIF89a" + bytes(100), b"<svg/>", b"\xff\xd8", b"%PDF-1.7", bytes(1000)],
    ids=["text", "gif", "svg", "two bytes of a jpeg", "pdf", "zeros"],
)
def test_another_format_is_named_as_such(content: bytes) -> None:
    with pytest.raises(ImageError, match="Expected a JPEG, PNG, BMP or WebP photo, got another format") as caught:
        images.decode_image(content)
    assert (caught.value.kind, caught.value.hint) == ("format", "Convert the file to JPEG or PNG.")


def test_an_empty_file_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError, match=r"Expected a photo, got 0 bytes \(.*a\.jpg\)") as caught:
        images.read_image(tmp_path / "a.jpg")
    assert caught.value.kind == "empty"


def test_a_whole_header_with_rubbish_behind_it_is_damaged() -> None:
    whole = pictures.encode_as("png", pictures.gradient(40, 40))
    rubbish = whole[:60] + bytes(len(whole) - 80) + whole[-20:]
    with pytest.raises(ImageError, match=r"Expected a (photo, got damaged data|complete photo)"):
        images.decode_image(rubbish)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    with pytest.raises(ImageError, match=r"Expected a photo, got damaged data \(here\)"):
        images.decode_image(bytes(flipped), where="here")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_content_of_another_format_than_the_ending_is_read_all_the_same(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").write_bytes(pictures.encode_as("lossless webp", pictures.gradient(9, 9)))
    assert images.read_image(tmp_path / f"a{suffix}").shape == (9, 9, 3)


def test_a_missing_file_is_an_image_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"got No such file or directory \(.*none\.jpg\)") as caught:
        images.read_image(tmp_path / "none.jpg")
    assert caught.value.kind == "missing"


def test_a_folder_called_like_a_photo_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(ImageError, match=r"Expected a photo's file, got a folder or a device \(.*x\.jpg\)"):
        images.read_image(tmp_path / "x.jpg")


def test_a_named_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="got a folder or a device"):
        images.read_image(tmp_path / "x.jpg")


@pytest.mark.parametrize("name", ["a\0b.jpg", "a" * 300 + ".jpg"], ids=["NUL", "too long"])
def test_a_name_that_no_file_can_have_is_an_image_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"Expected a readable file, got .*(embedded null|File name too long)"):
        images.read_image(tmp_path / name)


@pytest.mark.usefixtures("plain_user")
def test_a_file_that_may_not_be_read_is_an_image_error() -> None:
    pictures.write_photo(Path("a.jpg"), pictures.gradient(8, 8)).chmod(0)
    with pytest.raises(ImageError, match="got Permission denied"):
        images.read_image(Path("a.jpg"))


def test_a_link_to_itself_is_an_image_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(ImageError, match="got Too many levels of symbolic links"):
        images.read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "name", ["Žofie 顔 😀.jpg", " a .jpg", "a'b\"c.jpg", "-o.jpg", "x" * 250 + ".jpg", os.fsdecode(b"\xff\xfe.jpg")]
)
def test_any_name_that_the_file_system_takes_can_be_read(tmp_path: Path, name: str) -> None:
    file = pictures.write_photo(tmp_path / name, pictures.gradient(8, 8))
    assert images.read_image(file).shape == (8, 8, 3)


# Only ImageError may come out, whatever goes in


@given(st.binary(max_size=300))
@settings(max_examples=150)
def test_random_bytes_raise_nothing_but_image_errors(content: bytes) -> None:
    assert kind_of(content) in {"empty", "format", "truncated", "damaged"}


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF\x40\0\0\0WEBP"]), st.binary(max_size=200))
@settings(max_examples=200)
def test_random_bytes_behind_a_signature_raise_nothing_but_image_errors(signature: bytes, rest: bytes) -> None:
    assert kind_of(signature + rest) in {"truncated", "damaged", "too_large", "decoded"}


@every_format
def test_a_photo_with_changed_bytes_is_refused_or_has_the_size_of_its_header(name: str) -> None:
    """What the decoder makes of a header must be what was held against the limit: else a bomb could pass."""
    rng = np.random.default_rng(9)
    whole = pictures.encode_as(name, pictures.gradient(30, 40))
    decoded = 0
    for _ in range(250):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 4))):
            position = int(rng.integers(2, min(len(content), 700)))
            match int(rng.integers(0, 3)):
                case 0:
                    content[position] = int(rng.integers(0, 256))
                case 1:
                    content[position:position] = (
                        rng.choice([0, 1, 0xC0, 0xD8, 0xD9, 0xDA, 0xFF], 3).astype(np.uint8).tobytes()
                    )
                case _:
                    del content[position : position + int(rng.integers(1, 6))]
        try:
            size_wh = images.read_size(bytes(content))
            height, width = images.decode_image(bytes(content), max_pixels=1_000_000).shape[:2]
        except ImageError:
            continue
        decoded += 1
        assert sorted(size_wh) == sorted((width, height))
    assert decoded < 250


# Encoding


def test_png_is_lossless_and_jpeg_nearly_so() -> None:
    image = pictures.gradient(50, 60)
    np.testing.assert_array_equal(images.decode_image(images.encode_image(image, suffix=".png")), image)
    assert mean_difference(images.decode_image(images.encode_image(image)), image) < 2  # a level at quality 95


def test_a_lower_quality_makes_a_smaller_jpeg() -> None:
    image = pictures.noise(50, 60, seed=10)
    assert len(images.encode_image(image, jpeg_quality=40)) < len(images.encode_image(image, jpeg_quality=95)) / 2


def test_every_ending_that_is_looked_for_is_lower_case_with_a_dot() -> None:
    assert all(re.fullmatch(r"\.[a-z]+", suffix) for suffix in images.IMAGE_SUFFIXES)
