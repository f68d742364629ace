"""OpenCV's bundled Haar cascades: the detector that works offline and needs no file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgegender.entities import FaceBox, UInt8Array
from edgegender.runtime.detection_image import MIN_FACE_FRACTION, by_prominence, prepare

_CASCADE_FOLDER = Path(cv2.__file__).parent / "data"
_CASCADE_MIN_NEIGHBORS = 3
_CASCADE_SCALE_FACTOR = 1.1
_MIN_HARD_FACE_FRACTION = 0.2  # smaller finds of the harder search are mostly wrong
_SAME_FACE_OVERLAP = 0.35  # intersection over union
_SURE_VOTES = 12  # of the harder search's finds with so many votes, 81 of 82 were faces


@dataclass(frozen=True)
class _View:
    """A cascade, and where the canonical square lies in units of its own box side.

    Medians over 1,500 training photos of biggest_gender on which YuNet and the cascade agree (IoU > 0.25).
    """

    file_name: str
    side: float
    shift_x: float
    shift_y: float


_FRONTAL_ALT2 = _View("haarcascade_frontalface_alt2.xml", side=1.138, shift_x=0.0, shift_y=0.016)
_FRONTAL_DEFAULT = _View("haarcascade_frontalface_default.xml", side=1.116, shift_x=0.0, shift_y=0.015)
_PROFILE = _View("haarcascade_profileface.xml", side=0.931, shift_x=-0.023, shift_y=0.025)


@dataclass(frozen=True)
class _Candidate:
    """A square in the work image and how many neighbouring windows agreed on it."""

    center_x: float
    center_y: float
    side: float
    votes: int

    def overlap(self, other: _Candidate) -> float:
        """Intersection over union of the two squares, in [0, 1]."""
        half = (self.side + other.side) / 2
        smaller = min(self.side, other.side)
        width = min(smaller, half - abs(self.center_x - other.center_x))
        height = min(smaller, half - abs(self.center_y - other.center_y))
        if width <= 0 or height <= 0:
            return 0.0
        return width * height / (self.side**2 + other.side**2 - width * height)


def _merge(candidates: list[_Candidate]) -> list[_Candidate]:
    """Clusters overlapping candidates; each cluster is their mean, weighted and summed by votes. Most votes first."""
    left = sorted(candidates, key=lambda candidate: candidate.votes, reverse=True)
    clusters = []
    while left:
        seed = left[0]
        members = [other for other in left if other.overlap(seed) > _SAME_FACE_OVERLAP or other is seed]
        left = [other for other in left if other not in members]
        total = sum(member.votes for member in members)
        center_x, center_y, side = (
            sum(getattr(member, name) * member.votes for member in members) / total
            for name in ("center_x", "center_y", "side")
        )
        clusters.append(_Candidate(center_x, center_y, side, total))
    return sorted(clusters, key=lambda cluster: cluster.votes, reverse=True)


class CascadeDetector:
    """OpenCV's bundled Haar cascades. Works offline.

    An upright frontal cascade comes first: one pass, and enough for nine photos of ten. Where it finds nothing, four
    other views are searched (a second frontal cascade, the first one on the photo turned by 20° either way, profiles
    left and right) for faces of at least a fifth of the photo, and their candidates vote: what several views see is
    a face. Measured on 182 photos that the first pass misses: voting finds 128 faces and 8 wrong places, taking the
    first view that answers 110 and 30.

    Source: Viola and Jones 2001; Lienhart and Maydt 2002 (the cascade files).
    """

    name = "cascade"

    def __init__(self) -> None:
        self._loaded: dict[str, cv2.CascadeClassifier] = {}

    def _cascade(self, file_name: str) -> cv2.CascadeClassifier:
        if file_name not in self._loaded:  # 10-40 ms each: most photos need the first only
            self._loaded[file_name] = cv2.CascadeClassifier(str(_CASCADE_FOLDER / file_name))
        return self._loaded[file_name]

    def _search(
        self, view: _View, grey: UInt8Array, *, min_size: int, angle_deg: float = 0.0, is_mirrored: bool = False
    ) -> list[_Candidate]:
        """Returns canonical squares in pixels of ``grey``."""
        height, width = grey.shape[:2]
        seen = grey
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle_deg, 1.0)
        if angle_deg:
            seen = np.asarray(cv2.warpAffine(grey, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
        if is_mirrored:
            seen = np.asarray(cv2.flip(seen, 1), np.uint8)
        found, votes = self._cascade(view.file_name).detectMultiScale2(
            seen, _CASCADE_SCALE_FACTOR, _CASCADE_MIN_NEIGHBORS, 0, (min_size, min_size)
        )
        back = cv2.invertAffineTransform(matrix)
        candidates = []
        boxes = np.asarray(found, np.float64).reshape(-1, 4).tolist()
        for (x, y, w, h), count in zip(boxes, np.asarray(votes).ravel().tolist(), strict=True):
            center_x = x + w / 2 + view.shift_x * w
            center_y = y + h / 2 + view.shift_y * w
            if is_mirrored:
                center_x = width - center_x
            if angle_deg:
                center_x, center_y = (back @ np.array([center_x, center_y, 1.0])).tolist()
            candidates.append(_Candidate(center_x, center_y, w * view.side, int(count)))
        return candidates

    def _search_harder(self, grey: UInt8Array, min_size: int) -> list[_Candidate]:
        candidates = self._search(_FRONTAL_DEFAULT, grey, min_size=min_size)
        for angle_deg in (20.0, -20.0):
            candidates += self._search(_FRONTAL_ALT2, grey, min_size=min_size, angle_deg=angle_deg)
        for is_mirrored in (False, True):
            candidates += self._search(_PROFILE, grey, min_size=min_size, is_mirrored=is_mirrored)
        clusters = _merge(candidates)
        return [cluster for rank, cluster in enumerate(clusters) if rank == 0 or cluster.votes >= _SURE_VOTES]

    def detect(self, image_rgb: UInt8Array) -> list[FaceBox]:
        """Returns the faces, the most prominent first. Empty when every view found nothing.

        A Haar cascade has no probability: the score is votes / (votes + 4), which only orders boxes.
        """
        work = prepare(np.asarray(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY), np.uint8))
        found = self._search(_FRONTAL_ALT2, work.image, min_size=max(24, round(MIN_FACE_FRACTION * work.longest_px)))
        if not found:
            found = self._search_harder(work.image, round(_MIN_HARD_FACE_FRACTION * work.longest_px))
        boxes = [
            work.to_photo(face.center_x, face.center_y, face.side, face.votes / (face.votes + 4.0)) for face in found
        ]
        return by_prominence(boxes, image_rgb)
