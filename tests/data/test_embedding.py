"""Faces as vectors: the alignment is exact, one person's photos stay together, and a stopped run goes on."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender import images
from edgegender.data.embedding import (
    FACE_SIDE_PX,
    NO_FACE,
    FaceEmbedder,
    PhotoEmbeddings,
    align_face,
    alignment_matrix,
    embed_photos,
)
from edgegender.entities import FaceBox, FaceLandmarks, UInt8Array
from edgegender.errors import DataError, OutputError, UsageError
from edgegender.runtime.detector import create_detector
from tests import pictures

FACE = FaceLandmarks((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (56.1396, 92.2848))


def field(number: int, content: bytes | int) -> bytes:
    """Returns a field of a protocol buffer, of which ONNX files are made."""
    if isinstance(content, int):
        return bytes([number << 3]) + varint(content)
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def tensor(name: str, shape: tuple[int, ...]) -> bytes:
    dimensions = b"".join(field(1, field(1, size)) for size in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dimensions)))


def node(operator: str, inputs: list[str], output: str) -> bytes:
    names = b"".join(field(1, name.encode()) for name in inputs)
    return names + field(2, output.encode()) + field(3, output.encode()) + field(4, operator.encode())


def write_network(file: Path, *, is_zero: bool = False) -> Path:
    """Writes an ONNX network that answers with the mean colour of its input, or with zeros."""
    nodes = [node("GlobalAveragePool", ["photo"], "mean"), node("Flatten", ["mean"], "flat")]
    nodes.append(node("Sub", ["flat", "flat"], "answer") if is_zero else node("Identity", ["flat"], "answer"))
    graph = b"".join(field(1, one) for one in nodes) + field(2, b"g")
    graph += field(11, tensor("photo", (1, 3, FACE_SIDE_PX, FACE_SIDE_PX))) + field(12, tensor("answer", (1, 3)))
    file.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return file


class CornerDetector:
    """Finds one face, in the middle; none where the top left pixel is black. Counts what it looked at."""

    name = "corner"

    def __init__(self) -> None:
        self.num_photos = 0

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        self.num_photos += 1
        if not image_rgb[0, 0].any():
            return []
        return [FaceBox(0, 0, 112, 112, 0.75, FACE)]


class BlindDetector(CornerDetector):
    """Does not look for eyes."""

    name = "blind"

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        return [replace(box, landmarks=None) for box in super().detect(image_rgb)]


class PointDetector(CornerDetector):
    """Takes one point for both eyes, nose and mouth."""

    name = "point"

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        point = FaceLandmarks((5, 5), (5, 5), (5, 5), (5, 5))
        return [replace(box, landmarks=point) for box in super().detect(image_rgb)]


class SlowDetector(CornerDetector):
    """Takes a while."""

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        time.sleep(0.05)
        return super().detect(image_rgb)


def write_photos(folder: Path, count: int) -> list[tuple[str, Path]]:
    """Writes plain pictures of random colours; the third shows no face, the fourth is cut, the fifth is missing."""
    rng = np.random.default_rng(0)
    photos = []
    for number in range(count):
        picture = np.full((120, 120, 3), rng.integers(1, 255, 3), np.uint8)
        if number == 2:
            picture[0, 0] = 0
        file = pictures.write_photo(folder / f"{number}.png", picture)
        if number == 3:
            file.write_bytes(file.read_bytes()[:60])
        if number == 4:
            file.unlink()
        photos.append((f"photo {number}", file))
    return photos


def assert_same(one: PhotoEmbeddings, other: PhotoEmbeddings) -> None:
    assert (one.paths, one.sha256, one.problems) == (other.paths, other.sha256, other.problems)
    np.testing.assert_array_equal(one.vectors, other.vectors)
    np.testing.assert_array_equal(one.scores, other.scores)


def moved(landmarks: FaceLandmarks, matrix: np.ndarray) -> FaceLandmarks:
    points = [landmarks.left_eye, landmarks.right_eye, landmarks.nose, landmarks.mouth]
    return FaceLandmarks(*(tuple((matrix @ [x, y, 1]).tolist()) for x, y in points))


@given(
    angle=st.floats(-180, 180), zoom=st.floats(0.05, 20), shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500))
)
def test_a_turned_zoomed_and_shifted_face_comes_back(angle: float, zoom: float, shift: tuple[float, float]) -> None:
    there = cv2.getRotationMatrix2D((0, 0), angle, zoom)
    there[:, 2] = shift

    back = alignment_matrix(moved(FACE, there))

    # 1e-6: a shift of 500 pixels over a zoom of 0.05 leaves ten of the sixteen digits
    np.testing.assert_allclose(back, cv2.invertAffineTransform(there), atol=1e-6)


def test_no_face_is_mirrored_or_stretched() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [tuple(point) for point in rng.uniform(0, 100, (4, 2)).tolist()]
        (a, b, _), (c, d, _) = alignment_matrix(FaceLandmarks(*points))
        assert (a, b) == (d, -c)


def test_no_other_turn_and_zoom_come_closer() -> None:
    rng = np.random.default_rng(0)
    points = np.array([FACE.left_eye, FACE.right_eye, FACE.nose, FACE.mouth]) + rng.normal(0, 4, (4, 2))
    best = alignment_matrix(FaceLandmarks(*(tuple(point) for point in points.tolist())))
    wanted = np.array([FACE.left_eye, FACE.right_eye, FACE.nose, FACE.mouth])

    def distance(matrix: np.ndarray) -> float:
        return float(((points @ matrix[:, :2].T + matrix[:, 2] - wanted) ** 2).sum())

    for _ in range(100):
        turn, zoom = rng.normal(0, 0.02, 2)
        other = best.copy()
        other[:, :2] += [[zoom, -turn], [turn, zoom]]
        other[:, 2] += rng.normal(0, 0.5, 2)
        assert distance(other) > distance(best)


@pytest.mark.parametrize(
    "landmarks",
    [
        FaceLandmarks((5, 5), (5, 5), (5, 5), (5, 5)),
        FaceLandmarks((float("nan"), 5), (9, 5), (7, 8), (7, 11)),
        FaceLandmarks((float("inf"), 5), (9, 5), (7, 8), (7, 11)),
        FaceLandmarks((0, 0), (1e9, 0), (5e8, 5e8), (5e8, 1e9)),
    ],
)
def test_points_that_are_no_face_are_refused(landmarks: FaceLandmarks) -> None:
    with pytest.raises(DataError, match="Expected four points of a face, got"):
        alignment_matrix(landmarks)


def test_a_face_in_its_place_is_not_touched() -> None:
    picture = pictures.noise(FACE_SIDE_PX, FACE_SIDE_PX, seed=0)

    np.testing.assert_array_equal(align_face(picture, FACE), picture)


@pytest.mark.parametrize("zoom", [2, 4, 8])
def test_a_large_face_is_averaged_and_not_sampled(zoom: int) -> None:
    side = FACE_SIDE_PX * zoom
    stripes = np.zeros((side, side, 3), np.uint8)
    stripes[:, ::2] = 200
    there = np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]])

    aligned = align_face(stripes, moved(FACE, there))

    # one grey level: bilinear weights are multiples of 1/32
    assert np.abs(aligned.astype(int) - 100).max() <= 1


def test_the_embedding_is_a_unit_vector_whatever_the_network(tmp_path: Path) -> None:
    embedder = FaceEmbedder(write_network(tmp_path / "mean.onnx"))

    vector = embedder.embed(pictures.gradient(120, 120), FACE)

    assert (embedder.size, vector.shape, vector.dtype) == (3, (3,), np.float32)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)  # float32


def test_the_network_sees_rgb_with_the_mean_and_deviation_of_imagenet(tmp_path: Path) -> None:
    embedder = FaceEmbedder(write_network(tmp_path / "mean.onnx"))
    color = np.array([200, 100, 50], np.uint8)

    vector = embedder.embed(np.full((120, 120, 3), color), FACE)

    seen = (color / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(vector, seen / np.linalg.norm(seen), atol=1e-4)  # float32 sums over 12,544 pixels


def test_a_network_without_an_answer_is_refused(tmp_path: Path) -> None:
    embedder = FaceEmbedder(write_network(tmp_path / "zero.onnx", is_zero=True))
    with pytest.raises(UsageError, match="Expected an embedding with a direction, got none"):
        embedder.embed(pictures.gradient(120, 120), FACE)


def test_a_missing_network_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(UsageError, match="Expected an embedding network, got"):
            FaceEmbedder(path)


def test_files_that_are_no_such_network_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = write_network(tmp_path / "whole.onnx").read_bytes()
    contents = [b"", b"no network", whole[:-1], whole[: len(whole) // 2], whole.replace(b"Flatten", b"Unknown")]
    contents.append(whole.replace(b"Flatten", b"Sigmoid"))  # answers 1 × 3 × 1 × 1
    for content in contents:
        (tmp_path / "other.onnx").write_bytes(content)
        with pytest.raises(UsageError, match=r"Expected a network of 1 × 3 × 112 × 112 → 1 × N, got another file"):
            FaceEmbedder(tmp_path / "other.onnx")
    assert capfd.readouterr().err == ""  # OpenCV's own lines are held back


def test_a_cut_network_is_refused_wherever_it_is_cut(mobilefacenet_file: Path, tmp_path: Path) -> None:
    content = mobilefacenet_file.read_bytes()
    for length in np.random.default_rng(0).integers(1, len(content), 8).tolist():
        (tmp_path / "cut.onnx").write_bytes(content[:length])
        with pytest.raises(UsageError, match="Expected a network of"):
            FaceEmbedder(tmp_path / "cut.onnx")


def test_a_detector_is_no_embedding_network(yunet_file: Path) -> None:
    with pytest.raises(UsageError, match="Expected a network of 1 × 3 × 112 × 112 → 1 × N, got another file"):
        FaceEmbedder(yunet_file)


def test_one_face_stays_itself_and_others_are_others(
    mobilefacenet_file: Path, yunet_file: Path, scene_files: list[Path]
) -> None:
    """Twelve people: each turned, shrunk, darkened and mirrored, then held against the photos of all twelve."""
    embedder = FaceEmbedder(mobilefacenet_file)
    detector = create_detector("yunet", yunet_file)
    vectors, changed = [], []
    for file in scene_files[::5]:  # neighbours may show one person
        photo = images.read_image(file)
        vectors.append(embedder.embed(photo, detector.detect(photo)[0].landmarks))
        matrix = cv2.getRotationMatrix2D((125, 125), 15, 0.8)
        other = cv2.warpAffine(photo, matrix, (250, 250))[:, ::-1] // 3 * 2
        other = images.decode_image(images.encode_image(np.ascontiguousarray(other), jpeg_quality=80))
        changed.append(embedder.embed(other, detector.detect(other)[0].landmarks))
    similar = np.stack(vectors) @ np.stack(changed).T

    assert embedder.size == 128
    # 0.45 is the threshold of a person; 27,000 photos have 0.5 between strangers once in a million pairs
    assert np.diag(similar).min() > 0.7
    assert similar[~np.eye(12, dtype=bool)].max() < 0.5


def embed(photos: list[tuple[str, Path]], folder: Path, **options: object) -> PhotoEmbeddings:
    settings = {"make_detector": CornerDetector, "cache": folder / "vectors.journal", **options}
    return embed_photos(photos, model_path=write_network(folder / "mean.onnx"), **settings)  # type: ignore[arg-type]


def test_photos_without_a_face_are_marked_and_not_lost(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 7)
    seen: list[tuple[int, int]] = []

    found = embed(photos, tmp_path, on_progress=lambda done, total: seen.append((done, total)))

    assert found.paths == tuple(name for name, _ in photos)
    assert found.problems == ("", "", NO_FACE, "unreadable: truncated", "unreadable: missing", "", "")
    has_face = [0, 1, 5, 6]
    np.testing.assert_allclose(np.linalg.norm(found.vectors[has_face], axis=1), 1, atol=1e-6)  # float32
    assert not found.vectors[[2, 3, 4]].any()
    assert found.scores.tolist() == [0.75, 0.75, 0, 0, 0, 0.75, 0.75]
    assert [bool(sha256) for sha256 in found.sha256] == [True, True, True, True, False, True, True]
    assert seen[0] == (1, 7)
    assert seen[-1] == (7, 7)


def test_several_processes_find_the_same(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 120)  # fewer are not worth a second process

    alone = embed(photos, tmp_path, cache=tmp_path / "alone")
    together = embed(photos, tmp_path, cache=tmp_path / "together", workers=2)

    assert_same(alone, together)


def test_the_same_bytes_are_looked_at_once(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    detector = CornerDetector()

    found = embed([*photos, ("again", photos[0][1])], tmp_path, make_detector=lambda: detector)

    assert detector.num_photos == 2
    np.testing.assert_array_equal(found.vectors[2], found.vectors[0])


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 20)
    first, second = CornerDetector(), CornerDetector()

    def interrupt(done: int, _: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(photos, tmp_path, make_detector=lambda: first, on_progress=interrupt)
    found = embed(photos, tmp_path, make_detector=lambda: second)

    assert first.num_photos + second.num_photos == 18  # two of the twenty cannot be decoded
    assert second.num_photos < 10
    assert_same(found, embed(photos, tmp_path, cache=tmp_path / "other"))


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 90)
    work = functools.partial(embed, photos, tmp_path, make_detector=SlowDetector)
    process = multiprocessing.get_context("spawn").Process(target=work)
    process.start()
    journal = tmp_path / "vectors.journal"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (journal.is_file() and journal.stat().st_size > 2000):
        time.sleep(0.02)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    detector = CornerDetector()

    found = embed(photos, tmp_path, make_detector=lambda: detector)

    assert 0 < detector.num_photos < 88
    assert_same(found, embed(photos, tmp_path, cache=tmp_path / "other"))


def test_another_network_starts_anew(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    embed(photos, tmp_path)
    other = write_network(tmp_path / "other.onnx")
    other.write_bytes(other.read_bytes() + field(6, b"another description"))
    detector = CornerDetector()

    embed_photos(photos, make_detector=lambda: detector, model_path=other, cache=tmp_path / "vectors.journal")

    assert detector.num_photos == 2


def test_another_file_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    (tmp_path / "faces.csv").write_text("path,label\n")

    with pytest.raises(UsageError, match=r"Expected a journal of embeddings, got another file \(.*faces.csv\)"):
        embed(photos, tmp_path, cache=tmp_path / "faces.csv")

    assert (tmp_path / "faces.csv").read_text() == "path,label\n"


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Expected a file"):
        embed(write_photos(tmp_path / "photos", 1), tmp_path, cache=tmp_path)


def test_a_detector_without_landmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a detector that finds eyes, nose and mouth, got blind"):
        embed(write_photos(tmp_path / "photos", 1), tmp_path, make_detector=BlindDetector)


def test_landmarks_on_one_spot_are_no_face(tmp_path: Path) -> None:
    found = embed(write_photos(tmp_path / "photos", 1), tmp_path, make_detector=PointDetector)

    assert found.problems == (NO_FACE,)


def test_no_worker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected at least one worker, got 0"):
        embed([], tmp_path, workers=0)


def test_no_photo_gives_no_row(tmp_path: Path) -> None:
    found = embed([], tmp_path)

    assert found.paths == ()
    assert found.vectors.shape == (0, 3)
