"""Following face boxes from one frame to the next by optical flow, at a fiftieth of a detector's cost."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.entities import FaceBox, UInt8Array

_Float32Array = npt.NDArray[np.float32]

WORK_WIDTH_PX = 320  # flow of faces needs no more, and costs a quarter of 640
_POINTS_A_SIDE = 6
_WINDOW_WH = (9, 9)  # twice as fast as 7 or 11: a row of 8 + 1 pixels is what OpenCV computes at once
_MAX_LEVEL = 3  # eight times smaller at the top: jumps of 30 pixels of the work picture are found
_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
# The limits are shares of the face's side; below, a change of 1 pixel of the work picture is noise.
_MAX_RETURN_ERROR = 0.05
_MAX_SPREAD = 0.12
_MIN_LIMIT_PX = 1.0
_MAX_GROWTH = 1.25  # from one frame to the next; a face that comes at the camera grows by a few percent


def _grid() -> _Float32Array:
    """Returns points in the face's own square, in units of its side: inside of the head, away from the background."""
    steps = (np.arange(_POINTS_A_SIDE) + 0.5) / _POINTS_A_SIDE
    x, y = np.meshgrid(0.15 + 0.7 * steps, 0.1 + 0.8 * steps)
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)


_GRID = _grid()
_NUM_KEPT = len(_GRID) // 2
_FIRST, _SECOND = np.triu_indices(_NUM_KEPT, k=1)


def _middle(values: _Float32Array) -> _Float32Array:
    """Returns the median along axis 1 (the upper one of two middle values), several times faster than numpy's."""
    middle = values.shape[1] // 2
    return np.asarray(np.partition(values, middle, axis=1)[:, middle], np.float32)


class BoxFollower:
    """Median Flow: points of a face vote for how its box moved and grew, and tell when they lost it.

    A grid of points is followed to the next frame and back again (pyramidal Lucas-Kanade). The half that comes back
    closest to where it began decides: the median of the shifts moves the box, the median change of the distances
    between the points scales it. All faces of a frame are followed at once.

    Source: Kalal, Mikolajczyk, Matas 2010, "Forward-Backward Error: Automatic Detection of Tracking Failures";
    Bouguet 2001 (pyramidal Lucas-Kanade).
    """

    def __init__(self) -> None:
        self._earlier: UInt8Array | None = None
        self._latest: UInt8Array | None = None
        self._scale = 1.0

    def see(self, image_rgb: UInt8Array, *, width_px: int | None = None) -> None:
        """Takes the next frame.

        Args:
            image_rgb: Shape (height, width, 3), uint8; may be a smaller copy of the frame. Not kept.
            width_px: Width of the frame whose pixels boxes speak of; ``None`` when it is that of ``image_rgb``.
        """
        height, width = image_rgb.shape[:2]
        work_wh = (min(width, WORK_WIDTH_PX), max(1, round(height * min(1.0, WORK_WIDTH_PX / width))))
        small = image_rgb if work_wh == (width, height) else cv2.resize(image_rgb, work_wh)
        # green is most of a grey picture, at no arithmetic
        self._earlier, self._latest = self._latest, np.asarray(cv2.extractChannel(small, 1), np.uint8)
        if self._earlier is not None and self._earlier.shape != self._latest.shape:
            self._earlier = None
        self._scale = work_wh[0] / (width_px or width)

    def follow(self, boxes: Sequence[FaceBox]) -> list[FaceBox | None]:
        """Returns where boxes of the frame before stand in the latest one, ``None`` for each that was lost.

        Args:
            boxes: Squares, pixels of the frame. Their landmarks are not followed.
        """
        if not boxes or self._earlier is None or self._latest is None:
            return [None] * len(boxes)
        corners = np.array([(box.x1, box.y1) for box in boxes], np.float32) * np.float32(self._scale)
        sides = np.array([box.side_px for box in boxes], np.float32) * np.float32(self._scale)
        before = corners[:, None] + _GRID * sides[:, None, None]
        after, errors = self._flow(self._earlier, self._latest, before)
        best = np.argsort(errors, axis=1)[:, :_NUM_KEPT, None]
        before, after = np.take_along_axis(before, best, axis=1), np.take_along_axis(after, best, axis=1)
        worst_kept = np.take_along_axis(errors, best[:, -1], axis=1)[:, 0]
        shifts = after - before
        shift = np.stack([_middle(shifts[..., 0]), _middle(shifts[..., 1])], axis=1)
        spread = _middle(np.abs(shifts - shift[:, None]).max(axis=2))
        apart = np.linalg.norm(before[:, _FIRST] - before[:, _SECOND], axis=2)
        growth = _middle(np.linalg.norm(after[:, _FIRST] - after[:, _SECOND], axis=2) / np.maximum(apart, 1e-6))
        is_lost = (
            ~(worst_kept <= np.maximum(_MIN_LIMIT_PX, _MAX_RETURN_ERROR * sides))
            | (spread > np.maximum(_MIN_LIMIT_PX, _MAX_SPREAD * sides))
            | ~((growth < _MAX_GROWTH) & (growth > 1 / _MAX_GROWTH))
        )
        moves = zip(boxes, (shift / self._scale).tolist(), growth.tolist(), is_lost.tolist(), strict=True)
        return [None if lost else _moved(box, x, y, scale) for box, (x, y), scale, lost in moves]

    @staticmethod
    def _flow(earlier: UInt8Array, latest: UInt8Array, before: _Float32Array) -> tuple[_Float32Array, _Float32Array]:
        """Returns the points in the latest picture, and how far from their start they come back, infinite if lost."""
        shape = before.shape
        start = before.reshape(-1, 1, 2)
        there, found, _ = cv2.calcOpticalFlowPyrLK(
            earlier, latest, start, np.empty_like(start), winSize=_WINDOW_WH, maxLevel=_MAX_LEVEL, criteria=_CRITERIA
        )
        back, found_back, _ = cv2.calcOpticalFlowPyrLK(
            latest, earlier, there, np.empty_like(start), winSize=_WINDOW_WH, maxLevel=_MAX_LEVEL, criteria=_CRITERIA
        )
        errors = np.linalg.norm(back - start, axis=2)[:, 0]
        errors[(found[:, 0] == 0) | (found_back[:, 0] == 0)] = np.inf
        return np.asarray(there, np.float32).reshape(shape), np.asarray(errors, np.float32).reshape(shape[:2])


def _moved(box: FaceBox, shift_x: float, shift_y: float, growth: float) -> FaceBox:
    x, y = box.center_xy
    x, y, half = x + shift_x, y + shift_y, box.side_px * growth / 2
    return FaceBox(x - half, y - half, x + half, y + half, box.score)
