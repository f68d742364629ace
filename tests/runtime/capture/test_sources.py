"""What may be named as a source, and what is said where it is none."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgegender.errors import SourceError, UsageError
from edgegender.runtime.capture import CaptureOptions, open_source
from edgegender.runtime.capture.folder_source import FolderSource
from edgegender.runtime.capture.sources import _small_size
from tests.pictures import gradient, write_photo
from tests.runtime.capture.reading import flat, opened, write_film

PATIENT = CaptureOptions()
IMPATIENT = CaptureOptions(keep_trying=False)


@pytest.mark.parametrize(
    "spec", ["", "nothing-here.mp4", "/no/such/folder/", "webcam", "usb:", "12345", "picamera:x", "a\0b"]
)
def test_what_is_no_source_is_refused_at_once(spec: str) -> None:
    with pytest.raises(UsageError, match=r"Expected a source of frames, got .*not there") as caught:
        open_source(spec)
    assert caught.value.hint.startswith("Sources are 0, usb:0, picamera, rtsp://")


@pytest.mark.parametrize(
    "spec", ["ftp://h/file", "rtsp://", "rtsp://h/a b", "file:///etc/passwd", "concat://a", "rtsp://h/\n"]
)
def test_an_address_of_another_kind_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match=r"Expected an address such as rtsp://192\.0\.2\.7/live, got"):
        open_source(spec)


def test_a_refused_address_is_named_without_its_password() -> None:
    with pytest.raises(UsageError, match=r"ftp://me:\*\*\*@h/"):
        open_source("ftp://me:secret@h/")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.mp4"
    file.touch()
    with pytest.raises(UsageError, match=r"Expected a video that can be read, got one that is empty .*empty.mp4"):
        open_source(str(file))


def test_a_folder_without_photos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected photos in the folder, got none") as caught:
        open_source(str(tmp_path))
    assert ".jpg" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(UsageError, match="Expected a folder that can be read, got: Permission denied"):
            open_source(str(tmp_path))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("spec", ["-", "fifo:{}"])
def test_raw_frames_without_a_size_are_refused(spec: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected the size of raw frames, got none"):
        open_source(spec.format(tmp_path))


def test_a_fifo_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a FIFO, got another file or none") as caught:
        open_source(f"fifo:{tmp_path / 'pipe'}", options=CaptureOptions(size_wh=(8, 8)))
    assert caught.value.hint == f"Make it: mkfifo {tmp_path / 'pipe'}"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every FIFO")
def test_a_fifo_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o200)
    with pytest.raises(UsageError, match="Expected a FIFO that can be read, got: Permission denied"):
        open_source(str(tmp_path / "pipe"), options=CaptureOptions(size_wh=(8, 8)))


@pytest.mark.parametrize("spec", ["97", "usb:97", "/dev/video97", "/dev/v4l/by-id/no-camera"])
def test_a_usb_camera_that_is_not_there_is_refused_or_waited_for(spec: str) -> None:
    with pytest.raises(SourceError, match="Expected a camera, got none: there is no /dev/v"):
        open_source(spec, options=IMPATIENT)
    with opened(spec, PATIENT) as source:
        begin_s = time.monotonic()
        assert source.read(0.05) is None
        assert time.monotonic() - begin_s < 1
        assert source.state == "lost"
        assert source.problem.startswith("Expected a camera, got none: there is no /dev/v")
        assert source.counters.losses == 0  # it was never there
        assert source.is_live


def test_a_usb_camera_that_never_comes_is_looked_for_again() -> None:
    with opened("97", CaptureOptions(retry_first_s=0.02, retry_max_s=0.04)) as source:
        assert source.read(0.2) is None
        assert source.state == "lost"


def test_a_photo_is_a_source_of_one_frame(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.png", gradient(20, 30))
    with opened(tmp_path / "a.png") as source:
        frame = source.read(1)
        assert frame is not None
        assert frame.image_rgb.shape == (20, 30, 3)
        assert source.read(1) is None
        assert (source.state, source.name, source.is_live) == ("finished", "a.png", False)


def test_a_fifo_is_known_by_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with opened(tmp_path / "pipe", CaptureOptions(size_wh=(8, 8))) as source:
        assert source.name == f"fifo:{tmp_path / 'pipe'}"
        assert source.state == "opening"


def test_names_hide_folders_and_passwords(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", [flat(10)])
    with opened(film) as source:
        assert source.name == "film.avi"
    with opened("rtsp://me:secret@127.0.0.1:9/x") as source:
        assert source.name == "rtsp://me:***@127.0.0.1:9/x"
    write_photo(tmp_path / "photos" / "a.png", gradient(20, 30))
    with opened(tmp_path / "photos") as source:
        assert isinstance(source, FolderSource)
        assert source.name == "photos"


@pytest.mark.parametrize(
    ("size_wh", "small_wh"),
    [((1280, 720), (320, 180)), ((480, 640), (240, 320)), ((1000, 333), (320, 106)), ((320, 240), None)],
)
def test_small_pictures_keep_the_proportions(size_wh: tuple[int, int], small_wh: tuple[int, int] | None) -> None:
    assert _small_size(size_wh, CaptureOptions(lores_px=320)) == small_wh
