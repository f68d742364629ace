"""BlazeFace: MediaPipe's short-range face network, its raw answers decoded here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from edgegender.downloads import BLAZEFACE
from edgegender.entities import FaceBox, FaceLandmarks, FloatArray, UInt8Array
from edgegender.errors import ModelFileError, UsageError
from edgegender.runtime.detection_image import MIN_FACE_FRACTION, PAD_FRACTION, WorkImage, by_prominence, to_square
from edgegender.runtime.interpreter import Network

INPUT_SIZE_PX = 128
_GRIDS = (
    (16, 2),
    (8, 6),
)  # (cells a side, anchors in each): one layer of stride 8, three of stride 16, two anchors each
_NUM_ANCHORS = sum(cells**2 * anchors for cells, anchors in _GRIDS)
_NUM_PAIRS = 8  # of an answer: (x, y) of the centre, (width, height), and (x, y) of six points
_SIZE = 1  # the pair that is a size; the others are places
_PLACES = [0, 2, 3, 4, 5, 6, 7]
_MAX_LOGIT = 100.0  # beyond it the sigmoid is 0 or 1 anyway
_SAME_FACE_OVERLAP = 0.3  # intersection over union
_MAX_FILE_BYTES = 16 * 1024 * 1024  # of a network that is not the known one
# The canonical square in units of the network's own box, which ends above the brows. Medians over 1,500 training
# photos of biggest_gender against YuNet; sideways they differ by 0.003.
_SIDE, _SHIFT_Y = 1.217, -0.106
_PART = 0.6  # of the longest side: how much of the photo one look of the second search shows
_MAX_PART_FACE = 0.35  # of the longest side; a larger face would have been seen in the whole photo


def _make_anchors() -> FloatArray:
    """Returns the anchors' centres (x, y), pixels of the input, row by row, shape (896, 2)."""
    grids = []
    for cells, anchors in _GRIDS:
        y, x = np.mgrid[0:cells, 0:cells]
        centers = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) * (INPUT_SIZE_PX / cells)
        grids.append(np.repeat(centers, anchors, axis=0))
    return np.concatenate(grids)


_ANCHORS = _make_anchors()


def decode(regressors: FloatArray, logits: FloatArray, *, min_score: float) -> tuple[FloatArray, FloatArray]:
    """Returns the scores and places of the anchors that see a face.

    A place is the anchor's centre plus the network's answer, both in pixels of the input, since every anchor is as
    large as the input; the score is 1 / (1 + exp(-logit)).

    Args:
        regressors: Shape (896, 16): centre, size and six points of each anchor's face, pixels.
        logits: Shape (896,); those beyond ±100 are clipped, before exp() overflows.
        min_score: In [0, 1].

    Returns:
        Scores, shape (n,), and pairs, shape (n, 8, 2): centre, (width, height), the eye on the left of the picture,
        the other eye, nose, mouth, and the two ears. Answers that are not finite or have no area are left out.

    Source: MediaPipe v0.8.9, mediapipe/modules/face_detection/face_detection_short_range_common.pbtxt (strides, anchor
    offset 0.5, fixed anchor size, clipping, order of the values).
    """
    pairs = np.asarray(regressors, np.float64).reshape(-1, _NUM_PAIRS, 2)
    scores = 1.0 / (1.0 + np.exp(-np.clip(np.asarray(logits, np.float64), -_MAX_LOGIT, _MAX_LOGIT)))
    is_face = (scores >= min_score) & np.isfinite(pairs).all(axis=(1, 2)) & (pairs[:, _SIZE] > 0).all(axis=1)
    found = pairs[is_face]
    found[:, _PLACES] += _ANCHORS[is_face][:, np.newaxis]
    return scores[is_face], found


def suppress(scores: FloatArray, pairs: FloatArray) -> list[tuple[float, FloatArray]]:
    """Returns one answer for each face, the highest score first.

    The best answer and all that overlap it by more than 0.3 (intersection over union) become one: the mean of their
    places, weighted by their scores, under the best one's score.

    Args:
        scores: Shape (n,), above 0.
        pairs: Shape (n, 8, 2), see :func:`decode`.

    Source: Bazarevsky et al. 2019, arXiv 1907.05047, section 3.4.
    """
    order = np.argsort(-scores, kind="stable")
    scores, pairs = scores[order], pairs[order]
    half = pairs[:, _SIZE] / 2
    low, high = pairs[:, 0] - half, pairs[:, 0] + half
    areas = np.prod(high - low, axis=1)
    left = np.arange(len(scores))
    faces = []
    while left.size:
        best = left[0]
        sides = np.minimum(high[left], high[best]) - np.maximum(low[left], low[best])
        shared = np.prod(np.clip(sides, 0, None), axis=1)
        is_same = shared > _SAME_FACE_OVERLAP * (areas[left] + areas[best] - shared)
        is_same[0] = True
        same = left[is_same]
        faces.append((float(scores[best]), np.average(pairs[same], axis=0, weights=scores[same])))
        left = left[~is_same]
    return faces


def _read(model_path: Path, sha256: str) -> bytes:
    """Returns the file's bytes once they are known: of 450 damaged copies, LiteRT ran 203 and crashed on 3."""
    try:
        is_plain = model_path.is_file()  # reading a named pipe would wait for ever
        size_bytes = model_path.stat().st_size if is_plain else 0
        content = model_path.read_bytes() if is_plain and size_bytes <= _MAX_FILE_BYTES else b""
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise UsageError(f"Expected a readable BlazeFace .tflite file, got {error} ({model_path}).") from error
    if not is_plain:
        raise UsageError(
            f"Expected a BlazeFace .tflite file, got nothing at {model_path}.",
            hint="Fetch it with: edgegender models pull blazeface. Or give a file with --detector-path.",
        )
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UsageError(
            f"Expected the BlazeFace network with sha256 {sha256[:12]}…, got another file or a damaged one "
            f"({model_path}).",
            hint="Fetch it with: edgegender models pull blazeface",
        )
    return content


def _load(content: bytes, model_path: Path, num_threads: int) -> Network:
    error = UsageError(
        f"Expected a network with a picture of {INPUT_SIZE_PX} × {INPUT_SIZE_PX} in and {_NUM_ANCHORS} boxes out, "
        f"got another ({model_path}).",
        hint="Fetch the right one with: edgegender models pull blazeface",
    )
    try:
        network = Network(content, num_threads=num_threads)
    except ModelFileError as refusal:
        raise error from refusal
    shapes = [(1, _NUM_ANCHORS, 1), (1, _NUM_ANCHORS, 2 * _NUM_PAIRS)]
    is_fitting = (
        network.inputs == (((1, INPUT_SIZE_PX, INPUT_SIZE_PX, 3), np.dtype(np.float32)),)
        and sorted(shape for shape, _ in network.outputs) == shapes
        and all(dtype == np.float32 for _, dtype in network.outputs)
    )
    if not is_fitting:
        raise error
    return network


class BlazeFaceDetector:
    """BlazeFace, short range, through LiteRT: for faces near to the camera, and the fastest of the networks here.

    The whole photo is looked at in 128 × 128 pixels. Where it shows nothing, a second search looks at the photo with
    an edge around it (a tight crop) and at overlapping parts of 60 % of its longest side (a small face).

    Measured against YuNet on 1,500 training photos of biggest_gender, whose faces fill 30 % of the longest side or
    more: all of YuNet's most prominent faces are found. On 150 of them shrunk and set into a blurred picture, the
    first look finds 87 % of the faces that fill 15 % of the longest side, 35 % at 12 % and 9 % at 10 %; with the
    second search it is 99 %, 95 % and 90 %. So beside a large face, which ends the search, faces under about 15 % are
    missed. Of tight crops the first look finds 80 %, both 97 %, YuNet 98 %.

    Args:
        model_path: ``face_detection_short_range.tflite``.
        min_score: Faces below this confidence are left out, in (0, 1].
        sha256: Of the file, checked before native code sees it. By default that of the file that ``edgegender models
            pull`` fetches, for which alone the figures above hold; give its own for another variant with the same
            inputs and outputs.
        num_threads: One by default: the network takes a millisecond, and crops are made by several processes.

    Raises:
        UsageError: The file is missing, another one, or damaged.
        MissingDependencyError: No runtime is installed.

    Source: Bazarevsky et al. 2019, arXiv 1907.05047; https://github.com/google-ai-edge/mediapipe
    """

    name = "blazeface"

    def __init__(
        self,
        model_path: Path,
        *,
        min_score: float = 0.5,
        sha256: str = BLAZEFACE.sha256,
        num_threads: int = 1,
    ) -> None:
        if not 0 < min_score <= 1:
            raise UsageError(f"Expected a least score above 0 and up to 1, got {min_score}.")
        self._min_score = min_score
        self._network = _load(_read(model_path, sha256), model_path, num_threads)
        self._logits = next(rank for rank, (shape, _) in enumerate(self._network.outputs) if shape[-1] == 1)

    def _look(self, work: WorkImage) -> tuple[FloatArray, FloatArray]:
        """Returns scores and pairs as :func:`decode` does, in pixels of the photo."""
        tensor = (work.image.astype(np.float32) - 127.5) / 127.5
        answers = [np.asarray(answer[0], np.float64) for answer in self._network.infer(tensor[np.newaxis])]
        logits, regressors = answers[self._logits][:, 0], answers[1 - self._logits]
        scores, pairs = decode(regressors, logits, min_score=self._min_score)
        pairs[:, _PLACES] -= (work.left_px, work.top_px)
        return scores, pairs / work.scale

    def _search_harder(self, image_rgb: UInt8Array) -> list[tuple[float, FloatArray]]:
        longest = max(image_rgb.shape[:2])
        looks = [self._look(to_square(image_rgb, side_px=INPUT_SIZE_PX, pad_fraction=PAD_FRACTION))]
        for part_xyxy in _parts(image_rgb):
            scores, pairs = self._look(to_square(image_rgb, side_px=INPUT_SIZE_PX, part_xyxy=part_xyxy))
            is_small = _SIDE * pairs[:, _SIZE].mean(axis=1) < _MAX_PART_FACE * longest
            looks.append((scores[is_small], pairs[is_small]))
        scores, pairs = (np.concatenate(values) for values in zip(*looks, strict=True))
        return suppress(scores, pairs)

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first."""
        found = suppress(*self._look(to_square(image_rgb, side_px=INPUT_SIZE_PX)))
        boxes = _to_boxes(found, image_rgb) or _to_boxes(self._search_harder(image_rgb), image_rgb)
        return by_prominence(boxes, image_rgb)


def _parts(image_rgb: UInt8Array) -> list[tuple[int, int, int, int]]:
    """Returns two or four overlapping parts (x1, y1, x2, y2) that cover the photo, pixels."""
    height, width = image_rgb.shape[:2]
    side = max(1, round(_PART * max(height, width)))

    def spans(length: int) -> list[tuple[int, int]]:
        return [(0, length)] if length <= side else [(0, side), (length - side, length)]

    return [(left, top, right, bottom) for top, bottom in spans(height) for left, right in spans(width)]


def _to_boxes(faces: list[tuple[float, FloatArray]], image_rgb: UInt8Array) -> list[FaceBox]:
    """Returns the canonical squares of the faces that :func:`suppress` gave, without those that are too small."""
    boxes = []
    for score, pairs in faces:
        (x, y), size, left_eye, right_eye, nose, mouth, *_ = ((float(first), float(second)) for first, second in pairs)
        own_side = sum(size) / 2
        y += _SHIFT_Y * own_side
        half = _SIDE * own_side / 2
        if 2 * half >= MIN_FACE_FRACTION * max(image_rgb.shape[:2]):
            landmarks = FaceLandmarks(left_eye, right_eye, nose, mouth)
            boxes.append(FaceBox(x - half, y - half, x + half, y + half, score, landmarks))
    return boxes
