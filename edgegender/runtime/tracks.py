"""Which detection is which face, by place and size alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgegender.entities import FaceBox
from edgegender.errors import UsageError

Follow = Callable[[Sequence[FaceBox]], Sequence["FaceBox | None"]]

LOST_AFTER_S = 1.0
CONFIRM_AFTER = 2
NS_PER_S = 1e9
_MAX_GAP = 5.0  # in units of lost_after_s: after so long without any frame nobody can say who is who
_MAX_DISTANCE = 1.0  # of two centres, in units of the mean side
_MIN_SIZE_RATIO = 0.5
_MIN_OVERLAP = 0.2  # intersection over union from which one face may hide the other
_MAX_COAST_S = 0.5  # a face that is not seen goes on as it went, but not for longer
_CENTER_GAIN, _SIDE_GAIN = 0.6, 0.4  # share of a detector's jitter that is let through
_JUMP = 0.15  # of the side: what is further off is no jitter, and is believed at once
_FIRST_VELOCITY_GAIN, _VELOCITY_GAIN = 0.5, 0.3
_EDGE = 0.05  # of the side: a box that reaches further out of the frame is about to leave
_EDGE_PATIENCE = 0.25  # share of lost_after_s there


def _overlap(a: FaceBox, b: FaceBox) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - both)


def _square(x: float, y: float, side: float, like: FaceBox) -> FaceBox:
    half = side / 2
    return FaceBox(x - half, y - half, x + half, y + half, like.score)


def _affinity(expected: FaceBox, found: FaceBox) -> float | None:
    """Returns how well a detection fits a track, in (0, 2]; ``None`` where it cannot be the same face."""
    (x, y), (other_x, other_y) = expected.center_xy, found.center_xy
    side, other_side = expected.side_px, found.side_px
    distance = math.hypot(x - other_x, y - other_y) / ((side + other_side) / 2)
    if distance >= _MAX_DISTANCE or min(side, other_side) < _MIN_SIZE_RATIO * max(side, other_side):
        return None
    return 1 - distance + _overlap(expected, found)


@dataclass(eq=False)
class Track:
    """A face over time. Positions are pixels of the frame, velocities pixels a second.

    Args:
        track_id: Its number, from 1.
        detected_box: The detector's own box of the last frame in which it was detected.
        box: Where it is now: the detector's jitter is damped, motion is not.
        detected_ns: When it was last detected.
        moved_ns: The moment that ``box`` speaks of.
        velocity_xy: How fast its centre moves.
        num_detected: How often it was detected.
        num_missed: How many searches in a row did not find it.
        is_detected: Whether it was detected in this frame.
        is_visible: Whether it is known where it is in this frame.
        is_confirmed: Whether it counts as a person.
    """

    track_id: int
    detected_box: FaceBox
    box: FaceBox
    detected_ns: int
    moved_ns: int
    velocity_xy: tuple[float, float] = (0.0, 0.0)
    num_detected: int = 1
    num_missed: int = 0
    is_detected: bool = True
    is_visible: bool = True
    is_confirmed: bool = False

    def expected_box(self, moment_ns: int) -> FaceBox:
        """Returns where it would be if it went on as it went."""
        passed_s = min(max(moment_ns - self.moved_ns, 0) / NS_PER_S, _MAX_COAST_S)
        (x, y), (velocity_x, velocity_y) = self.box.center_xy, self.velocity_xy
        return _square(x + velocity_x * passed_s, y + velocity_y * passed_s, self.box.side_px, self.box)

    def detect(self, found: FaceBox, moment_ns: int) -> None:
        """Takes the detector's box of this frame."""
        expected = self.expected_box(moment_ns)
        (x, y), (found_x, found_y) = expected.center_xy, found.center_xy
        off_x, off_y, side = found_x - x, found_y - y, expected.side_px
        gain = 1.0 if math.hypot(off_x, off_y) > _JUMP * side else _CENTER_GAIN
        growth = found.side_px - side
        side += growth * (1.0 if abs(growth) > _JUMP * side else _SIDE_GAIN)
        passed_s = (moment_ns - self.moved_ns) / NS_PER_S
        if passed_s > 0:
            velocity_gain = (_FIRST_VELOCITY_GAIN if self.num_detected == 1 else _VELOCITY_GAIN) / passed_s
            velocity_x, velocity_y = self.velocity_xy
            self.velocity_xy = velocity_x + velocity_gain * off_x, velocity_y + velocity_gain * off_y
        self.box = _square(x + gain * off_x, y + gain * off_y, side, found)
        self.detected_box, self.detected_ns, self.moved_ns = found, moment_ns, moment_ns
        self.num_detected, self.num_missed = self.num_detected + 1, 0
        self.is_detected = self.is_visible = True

    def move(self, followed: FaceBox, moment_ns: int) -> None:
        """Takes the box that was followed into this frame."""
        passed_s = (moment_ns - self.moved_ns) / NS_PER_S
        if passed_s > 0:
            (x, y), (new_x, new_y) = self.box.center_xy, followed.center_xy
            velocity_x, velocity_y = self.velocity_xy
            self.velocity_xy = (
                velocity_x + _VELOCITY_GAIN * ((new_x - x) / passed_s - velocity_x),
                velocity_y + _VELOCITY_GAIN * ((new_y - y) / passed_s - velocity_y),
            )
        self.box, self.moved_ns = followed, moment_ns

    def coast(self, moment_ns: int) -> None:
        """Lets it go on as it went: nothing is seen of it."""
        self.box, self.moved_ns = self.expected_box(moment_ns), moment_ns


class Tracker:
    """Which detection is which face, by place and size.

    Detections go to the tracks that they fit best, the best pair first. A track that a search did not find is
    followed further, if that works, until it was not detected for ``lost_after_s`` and in two searches; sooner at the
    frame's edge. A track that was detected fewer than ``confirm_after`` times ends with the first search that does not
    find it, so that a false detection does not live on. Where two faces overlap, points of one would be followed on
    the other: a face that is not detected there goes on as it went.

    Args:
        lost_after_s: Longest time that a face may go undetected, seconds.
        confirm_after: Detections until a face counts as a person.

    Raises:
        UsageError: A number is out of its range.
    """

    def __init__(self, *, lost_after_s: float = LOST_AFTER_S, confirm_after: int = CONFIRM_AFTER) -> None:
        if not 0 < lost_after_s < math.inf or confirm_after < 1:
            raise UsageError(
                f"Expected a time above 0 s and at least 1 detection, got {lost_after_s:g} s and {confirm_after}."
            )
        self.tracks: list[Track] = []
        self._lost_after_ns = lost_after_s * NS_PER_S
        self._confirm_after = confirm_after
        self._next_id = 1
        self._moment_ns: int | None = None
        self._has_lost_sight = False

    @property
    def is_unclear(self) -> bool:
        """Whether a search is wanted soon: a face is unconfirmed, or was lost from sight since the last search."""
        return self._has_lost_sight or any(not track.is_confirmed for track in self.tracks)

    def end_all(self) -> list[Track]:
        """Ends all tracks and returns them."""
        ended, self.tracks, self._has_lost_sight = self.tracks, [], False
        return ended

    def update(
        self, boxes: Sequence[FaceBox] | None, *, moment_ns: int, size_wh: tuple[int, int], follow: Follow
    ) -> list[Track]:
        """Takes one frame.

        Args:
            boxes: What a search found; ``None`` when this frame was not searched.
            moment_ns: When the frame was taken, nanoseconds.
            size_wh: Width and height of the frame, pixels.
            follow: Returns where boxes of the frame before are in this one, ``None`` for what it lost.

        Returns:
            The tracks that ended.
        """
        is_gap = self._moment_ns is not None and moment_ns - self._moment_ns > _MAX_GAP * self._lost_after_ns
        self._moment_ns = moment_ns
        ended = self.end_all() if is_gap else []
        for track in self.tracks:
            track.is_detected = False
        if boxes is not None:
            self._has_lost_sight = False
            self._match(boxes, moment_ns)
        self._carry(moment_ns, follow, is_searched=boxes is not None)
        over = [track for track in self.tracks if self._is_over(track, moment_ns, size_wh)]
        self.tracks = [track for track in self.tracks if track not in over]
        return ended + over

    def _match(self, boxes: Sequence[FaceBox], moment_ns: int) -> None:
        expected = [track.expected_box(moment_ns) for track in self.tracks]
        pairs = []
        for index, place in enumerate(expected):
            for number, box in enumerate(boxes):
                affinity = _affinity(place, box)
                if affinity is not None:
                    pairs.append((affinity, index, number))
        left, free = set(range(len(boxes))), set(range(len(expected)))
        for _, index, number in sorted(pairs, reverse=True):
            if index in free and number in left:
                free.remove(index)
                left.remove(number)
                self.tracks[index].detect(boxes[number], moment_ns)
        for index in free:
            self.tracks[index].num_missed += 1
        for number in sorted(left):
            box = boxes[number]
            self.tracks.append(Track(self._next_id, box, box, moment_ns, moment_ns))
            self._next_id += 1
        for track in self.tracks:
            track.is_confirmed = track.num_detected >= self._confirm_after

    def _carry(self, moment_ns: int, follow: Follow, *, is_searched: bool) -> None:
        """Brings the faces that were not detected into this frame."""
        visible = [track for track in self.tracks if track.is_visible]
        left = [track for track in visible if not track.is_detected]
        covered = [
            track
            for track in left
            if any(_overlap(track.box, other.box) > _MIN_OVERLAP for other in visible if other is not track)
        ]
        apart = [track for track in left if track not in covered]
        unseen = list(covered)
        for track, box in zip(apart, follow([track.box for track in apart]) if apart else (), strict=True):
            if box is None:
                unseen.append(track)
            else:
                track.move(box, moment_ns)
        for track in unseen:
            if track in covered:
                track.coast(moment_ns)
            if is_searched:
                track.is_visible = False
            else:  # it is shown where it was until a search has looked: who blurs faces must not miss it
                self._has_lost_sight = True

    def _is_over(self, track: Track, moment_ns: int, size_wh: tuple[int, int]) -> bool:
        if track.is_detected:
            return False
        if not track.is_confirmed and track.num_missed:
            return True
        width, height = size_wh
        box, (x, y) = track.box, track.box.center_xy
        if not (0 <= x < width and 0 <= y < height):
            return True
        out_px = max(-box.x1, -box.y1, box.x2 - width, box.y2 - height)
        is_at_edge = out_px > _EDGE * box.side_px
        patience_ns = self._lost_after_ns * (_EDGE_PATIENCE if is_at_edge else 1)
        return moment_ns - track.detected_ns > patience_ns and track.num_missed >= (1 if is_at_edge else 2)
