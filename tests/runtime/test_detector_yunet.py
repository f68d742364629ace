"""YuNet: landmarks where they belong, and files that are no YuNet network."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgegender.entities import UInt8Array
from edgegender.errors import UsageError
from edgegender.runtime.detector_yunet import YuNetDetector
from tests import pictures


@pytest.mark.parametrize("content", [b"", b"a text file", bytes(5000)], ids=["empty", "text", "zeros"])
def test_a_file_that_is_no_network_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "yunet.onnx"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"Expected a YuNet network, got another file \(.*yunet\.onnx\)") as caught:
        YuNetDetector(file)
    assert caught.value.hint == "Use yunet_n_640_640.onnx."


@pytest.mark.parametrize("name", ["MobileFaceNet.onnx", "face_detection_short_range.tflite"])
def test_another_network_is_refused(yunet_file: Path, name: str) -> None:
    other = yunet_file.parent / name
    if not other.is_file():
        pytest.skip(f"no {name} beside YuNet")
    with pytest.raises(UsageError, match="Expected a YuNet network, got another file"):
        YuNetDetector(other)


def test_a_cut_network_is_refused(tmp_path: Path, yunet_file: Path) -> None:
    cut = tmp_path / "yunet.onnx"
    cut.write_bytes(yunet_file.read_bytes()[:200_000])
    with pytest.raises(UsageError, match="Expected a YuNet network, got another file"):
        YuNetDetector(cut)


def test_the_network_may_lie_below_any_name(tmp_path: Path, yunet_file: Path) -> None:
    file = tmp_path / "síť 顔.onnx"
    shutil.copy(yunet_file, file)
    assert YuNetDetector(file).detect(pictures.gradient(64, 64)) == []


def test_a_higher_least_score_leaves_faces_out(yunet_file: Path, scenes: list[UInt8Array]) -> None:
    strict = YuNetDetector(yunet_file, min_score=0.99)
    assert all(not strict.detect(image) for image in scenes)


def test_eyes_nose_and_mouth_stand_in_their_order(yunet_file: Path, scenes: list[UInt8Array]) -> None:
    detector = YuNetDetector(yunet_file)
    for image in scenes:
        face = detector.detect(image)[0]
        marks = face.landmarks
        assert marks is not None
        assert face.x1 < marks.left_eye[0] < marks.right_eye[0] < face.x2
        assert face.y1 < max(marks.left_eye[1], marks.right_eye[1]) < marks.nose[1] < marks.mouth[1] < face.y2
