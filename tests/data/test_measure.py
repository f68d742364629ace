"""What a photo's file holds: size, hashes and problems, one photo at a time."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from edgegender.data.measure import Measured, measure_photo, stamp_file
from edgegender.data.perceptual_hash import hash_picture
from edgegender.errors import MissingDependencyError
from edgegender.images import read_image
from tests import pictures


def whole(file: Path) -> Path:
    return pictures.write_photo(file, pictures.gradient(30, 40))


@pytest.mark.parametrize("name", pictures.ALL_FORMATS)
def test_a_sound_photo_is_measured_in_any_format(tmp_path: Path, name: str) -> None:
    file = tmp_path / "photo"
    file.write_bytes(pictures.encode_as(name, pictures.gradient(30, 40)))
    measured = measure_photo(str(file), is_decoded=True, with_phash=True)
    assert measured == Measured(
        size_bytes=file.stat().st_size,
        mtime_ns=file.stat().st_mtime_ns,
        width=40,
        height=30,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        phash=hash_picture(read_image(file)),
        problem="",
    )


def test_a_perceptual_hash_is_worked_out_when_asked_for_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(whole(tmp_path / "a.jpg"))
    assert len(measure_photo(file, is_decoded=False, with_phash=True).phash) == 64
    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert measure_photo(file, is_decoded=True, with_phash=False).phash == ""
    with pytest.raises(MissingDependencyError, match="Expected the package ImageHash to be installed"):
        measure_photo(file, is_decoded=True, with_phash=True)


def cut(file: Path) -> None:
    file.write_bytes(whole(file).read_bytes()[:-200])


def damage(file: Path) -> None:
    """Overwrites the picture within, so that header and end are as they were."""
    content = bytearray(pictures.encode_as("png", pictures.noise(64, 64, seed=0)))
    content[200:1200] = bytes(1000)
    file.write_bytes(content)


def make_nothing(file: Path) -> None:
    del file


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (Path.touch, "empty"),
        (lambda file: file.write_text("no photo"), "format"),
        (cut, "truncated"),
        (damage, "damaged"),
        (make_nothing, "missing"),
        (Path.mkdir, "missing"),
        (os.mkfifo, "missing"),
        (lambda file: file.symlink_to(file), "missing"),
        (lambda file: file.write_bytes(pictures.black_png(9_000, 9_000)), "too_large"),
    ],
    ids=["empty", "text", "cut", "damaged", "nothing", "folder", "pipe", "loop", "huge"],
)
def test_a_photo_that_cannot_be_read_is_measured_as_its_problem(
    tmp_path: Path, make: Callable[[Path], object], problem: str
) -> None:
    make(tmp_path / "a.jpg")
    measured = measure_photo(str(tmp_path / "a.jpg"), is_decoded=True, with_phash=True)
    assert measured.problem == problem
    assert (measured.width, measured.height, measured.sha256, measured.phash) == (0, 0, "", "")
    assert (measured.size_bytes, measured.mtime_ns) == stamp_file(str(tmp_path / "a.jpg"))


def test_damage_within_a_photo_is_found_by_decoding_it_only(tmp_path: Path) -> None:
    damage(tmp_path / "a.png")
    assert measure_photo(str(tmp_path / "a.png"), is_decoded=True, with_phash=False).problem == "damaged"
    quick = measure_photo(str(tmp_path / "a.png"), is_decoded=False, with_phash=False)
    assert (quick.problem, quick.width, quick.height) == ("", 64, 64)
    assert quick.sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()


def test_overwritten_bytes_that_only_the_decoder_complains_about_are_found(tmp_path: Path) -> None:
    # libjpeg decodes on after such damage and says so on stderr only, and not of all places
    content = bytearray(pictures.encode_as("jpeg", pictures.noise(200, 200, seed=1)))
    found = 0
    for place in range(20):
        start = 2_000 + place * 900
        damaged = content.copy()
        damaged[start : start + 40] = b"\xa5" * 40
        (tmp_path / "a.jpg").write_bytes(damaged)
        found += measure_photo(str(tmp_path / "a.jpg"), is_decoded=True, with_phash=False).problem == "damaged"
    assert found >= 10


def test_the_stamp_changes_with_the_file_and_says_when_there_is_none(tmp_path: Path) -> None:
    file = whole(tmp_path / "a.jpg")
    before = stamp_file(str(file))
    assert before == (file.stat().st_size, file.stat().st_mtime_ns)
    os.utime(file, ns=(0, before[1] + 1))
    assert stamp_file(str(file)) == (before[0], before[1] + 1)
    for name in ("none.jpg", "nul\0.jpg", "long" * 100):
        assert stamp_file(str(tmp_path / name)) == (-1, -1)
