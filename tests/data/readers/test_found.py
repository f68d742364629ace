"""The records of a reader can be kept by the million and sent to other processes."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from edgegender.data.readers import FoundPhoto, ReadResult, SkippedFile
from edgegender.entities import FaceBox

PHOTO = FoundPhoto("x/1.jpg", "x", "train", "blurred", FaceBox(1, 2, 3, 4), {"age": "20"})


def test_a_photo_needs_a_path_and_a_label_only() -> None:
    photo = FoundPhoto("x/1.jpg", "x")
    assert (photo.split, photo.exclude, photo.face_box, dict(photo.extra)) == ("", "", None, {})


def test_a_photo_reaches_another_process_as_it_is() -> None:
    assert pickle.loads(pickle.dumps(PHOTO)) == PHOTO  # noqa: S301 - its own bytes


def test_a_photo_has_no_dictionary_of_its_own_and_cannot_be_changed() -> None:
    assert not hasattr(PHOTO, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        PHOTO.label = "y"  # type: ignore[misc]


def test_a_skipped_file_is_a_pair() -> None:
    path, reason = SkippedFile("a.gif", "a format that is not read")
    assert (path, reason) == ("a.gif", "a format that is not read")


def test_a_result_without_lists_has_nothing_unlisted() -> None:
    result = ReadResult("folders", [PHOTO], [])
    assert (result.num_unlisted, result.label_files) == (0, ())
