"""Faces that keep their number from frame to frame. Nobody is recognised: a number lasts while a face is in sight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgegender.entities import FaceBox, ModelMetadata
from edgegender.errors import UsageError
from edgegender.runtime.budget import Budget
from edgegender.runtime.counting import UNSURE, PeopleCounter, PeopleWindow
from edgegender.runtime.follow import BoxFollower
from edgegender.runtime.frames import Frame
from edgegender.runtime.smoothing import ScoreAverage
from edgegender.runtime.tracked import TrackedFace
from edgegender.runtime.tracks import CONFIRM_AFTER, LOST_AFTER_S, NS_PER_S, Track, Tracker


@dataclass
class _Answers:
    average: ScoreAverage
    answered_ns: int = 0
    is_fresh: bool = False


class FaceTracker:
    """What a camera knows about the faces in front of it: who is where, what the answers are, how many there were.

    For each frame: ask :meth:`wants_detection`, give :meth:`observe` what was found, classify the faces of
    :meth:`to_classify` and give each :meth:`answer`; then :meth:`faces` and :meth:`people` speak of this frame.

    A face is classified where the detector has just seen it, for the model was trained on such crops; only a face
    without any answer is classified on a box that was followed.

    Args:
        metadata: Of the model that answers.
        budget: How often to search and to classify.
        is_tracking: Whether the frames belong together; without, each has faces of its own, which count at once.
        window_s: Length of the windows in which people are counted, seconds; ``None`` for none.
        lost_after_s: Longest time that a face may go undetected, seconds.
        confirm_after: Detections until a face counts as a person.

    Raises:
        UsageError: A number is out of its range.
    """

    def __init__(
        self,
        metadata: ModelMetadata,
        budget: Budget,
        *,
        is_tracking: bool = True,
        window_s: float | None = None,
        lost_after_s: float = LOST_AFTER_S,
        confirm_after: int = CONFIRM_AFTER,
    ) -> None:
        self._metadata = metadata
        self._budget = budget
        self._is_tracking = is_tracking
        self._tracker = Tracker(lost_after_s=lost_after_s, confirm_after=confirm_after if is_tracking else 1)
        self._follower = BoxFollower()
        self._counter = PeopleCounter(metadata.labels, window_s=window_s)
        self._answers: dict[int, _Answers] = {}
        self._num_since_search: int | None = None
        self._size_wh = (0, 0)
        self._moment_ns = 0

    def wants_detection(self, frame: Frame) -> bool:
        """Whether this frame is to be searched for faces; the first one is."""
        if self._num_since_search is None or not self._is_tracking or self._size_wh != _size_wh(frame):
            return True
        tracker = self._tracker
        after = self._budget.search_after(is_empty=not tracker.tracks, is_unclear=tracker.is_unclear)
        return self._num_since_search + 1 >= after

    def observe(self, frame: Frame, boxes: Sequence[FaceBox] | None) -> None:
        """Takes the next frame.

        Args:
            frame: One whose size is another than before ends all tracks: places do not compare.
            boxes: The faces that were found, pixels of ``frame.image_rgb``; ``None`` when it was not searched.
        """
        self._num_since_search = (self._num_since_search or 0) + 1 if boxes is None else 0
        self._moment_ns = frame.moment_ns
        size_wh = _size_wh(frame)
        ended = self._tracker.end_all() if size_wh != self._size_wh or not self._is_tracking else []
        self._size_wh = size_wh
        if self._is_tracking:
            image = frame.image_rgb if frame.detection_rgb is None else frame.detection_rgb
            self._follower.see(image, width_px=size_wh[0])
        ended += self._tracker.update(boxes, moment_ns=self._moment_ns, size_wh=size_wh, follow=self._follower.follow)
        for track in ended:
            self._answers.pop(track.track_id, None)
            self._counter.leave(track.track_id)
        for track in self._tracker.tracks:
            self._answers_of(track.track_id).is_fresh = False
            self._count(track)

    def _answers_of(self, track_id: int) -> _Answers:
        if track_id not in self._answers:
            self._answers[track_id] = _Answers(ScoreAverage(self._metadata))
        return self._answers[track_id]

    def _count(self, track: Track) -> None:
        if track.is_confirmed:
            average = self._answers[track.track_id].average
            self._counter.see(track.track_id, UNSURE if average.is_unsure else average.predicted_label)

    def to_classify(self) -> list[tuple[int, FaceBox]]:
        """Returns the faces that are due in this frame: new ones, then unsettled ones, then settled ones.

        Returns:
            Number and place of each: the detector's own box where there is one of this frame.
        """
        due = []
        for track in self._tracker.tracks:
            answers = self._answers[track.track_id]
            average = answers.average
            if not average.num_averaged:
                if track.is_visible:
                    due.append((0, track.detected_ns, track))
            elif track.is_detected and not average.is_settled:
                due.append((1, answers.answered_ns, track))
            elif track.is_detected:
                waited_s = (self._moment_ns - answers.answered_ns) / NS_PER_S
                if waited_s >= self._budget.classify_settled_every_s:
                    due.append((2, answers.answered_ns, track))
        due.sort(key=lambda entry: entry[:2])
        chosen = [track for _, _, track in due][: self._budget.max_classified_per_frame]
        return [(track.track_id, track.detected_box if track.is_detected else track.box) for track in chosen]

    def answer(self, track_id: int, scores: Iterable[float]) -> None:
        """Takes the answer for a face of this frame.

        Args:
            track_id: From :meth:`to_classify`.
            scores: Calibrated scores in the order of the model's labels.

        Raises:
            UsageError: There is no such face, or not one score a label.
        """
        track = next((track for track in self._tracker.tracks if track.track_id == track_id), None)
        if track is None:
            raise UsageError(f"Expected the number of a face that is there, got {track_id}.")
        answers = self._answers[track_id]
        answers.average.add(scores)
        answers.answered_ns, answers.is_fresh = self._moment_ns, True
        self._count(track)

    def faces(self) -> tuple[TrackedFace, ...]:
        """Returns the faces of this frame, the largest first.

        A face that was never classified has an unsure answer with equal scores.
        """
        visible = [track for track in self._tracker.tracks if track.is_visible]
        visible.sort(key=lambda track: track.box.side_px, reverse=True)
        faces = []
        for track in visible:
            answers = self._answers[track.track_id]
            average = answers.average
            faces.append(
                TrackedFace(
                    track_id=track.track_id,
                    prediction=average.prediction(track.box),
                    is_fresh=answers.is_fresh,
                    is_detected=track.is_detected,
                    num_classified=average.num_averaged,
                    is_settled=average.is_settled,
                )
            )
        return tuple(faces)

    def people(self) -> dict[str, int]:
        """Returns how many people were seen since the start, by label and ``unsure``, each once."""
        return self._counter.people()

    def take_window(self, moment_ns: int | None = None, *, is_last: bool = False) -> PeopleWindow | None:
        """Returns the window of time that has ended, if one has. See :meth:`PeopleCounter.take_window`.

        Args:
            moment_ns: Now, by the clock of ``Frame.moment_ns``; ``None`` takes that of the last frame.
            is_last: Whether to end the window before its time.
        """
        return self._counter.take_window(self._moment_ns if moment_ns is None else moment_ns, is_last=is_last)


def _size_wh(frame: Frame) -> tuple[int, int]:
    height, width = frame.image_rgb.shape[:2]
    return width, height
