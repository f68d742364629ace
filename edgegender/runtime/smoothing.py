"""One steady answer out of many answers for the same face."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

from edgegender.entities import FaceBox, FacePrediction, ModelMetadata
from edgegender.errors import UsageError

NUM_AVERAGED = 15  # half a second of a 30 FPS camera where each frame is classified
SETTLED_AFTER = 5
MARGIN = 0.03  # of a score: answers of one face move by about so much from frame to frame
_MIN_SCORE = 1e-6  # one answer that is sure of itself cannot outvote all others


class ScoreAverage:
    """The mean answer of one face over its latest frames.

    Calibrated scores are averaged as their logs are, then made to sum to one:
    ``score[label] ∝ exp(mean(log(score_i[label])))``, the mean logit of the frames. A single answer is given as it
    is, and its label is the one that :class:`edgegender.runtime.classifier.Classifier` gives.

    From then on the label changes only when the mean score is past the threshold by a margin, and an answer that was
    unsure is sure again only when it is past that band by a margin: answers at the border do not flicker.

    Args:
        metadata: Labels, positive label, threshold and "unsure" band.
        num_averaged: Latest answers that count, at least 1.
        settled_after: Answers in a row with one label, and a sure one, until the face is settled.
    """

    def __init__(
        self, metadata: ModelMetadata, *, num_averaged: int = NUM_AVERAGED, settled_after: int = SETTLED_AFTER
    ) -> None:
        self._labels = metadata.labels
        self._positive = metadata.labels.index(metadata.positive_label)
        self._threshold = metadata.threshold
        self._unsure_below = metadata.unsure_below
        self._settled_after = settled_after
        self._logs: deque[list[float]] = deque(maxlen=num_averaged)
        self._scores = [1 / len(self._labels)] * len(self._labels)
        self._chosen = 0
        self._num_with_label = 0
        self._is_unsure = True

    @property
    def num_averaged(self) -> int:
        """How many answers the mean is taken of."""
        return len(self._logs)

    @property
    def predicted_label(self) -> str:
        """The label of the mean answer; of no meaning before the first answer."""
        return self._labels[self._chosen]

    @property
    def is_unsure(self) -> bool:
        """Whether the model abstains; also before the first answer."""
        return self._is_unsure

    @property
    def is_settled(self) -> bool:
        """Whether the last answers left the label as it is, and it is a sure one."""
        return self._num_with_label >= self._settled_after and not self._is_unsure

    def add(self, scores: Iterable[float]) -> None:
        """Takes one more answer.

        Args:
            scores: Calibrated scores in the order of the model's labels; they sum to one.

        Raises:
            UsageError: There is not one finite score a label.
        """
        given = [float(score) for score in scores]
        if len(given) != len(self._labels) or not all(map(math.isfinite, given)):
            raise UsageError(f"Expected {len(self._labels)} scores, one a label, got {given}.")
        self._logs.append([math.log(max(score, _MIN_SCORE)) for score in given])
        is_first = len(self._logs) == 1
        self._scores = given if is_first else self._mean()
        chosen = self._choose(0.0 if is_first else MARGIN)
        self._num_with_label = self._num_with_label + 1 if is_first or chosen == self._chosen else 1
        self._chosen = chosen
        self._is_unsure = self._scores[chosen] < self._sure_from(is_first=is_first)

    def _mean(self) -> list[float]:
        raised = [math.exp(sum(column) / len(self._logs)) for column in zip(*self._logs, strict=True)]
        total = sum(raised)
        return [value / total for value in raised]

    def _choose(self, margin: float) -> int:
        """Returns the label's index: as :func:`edgegender.metrics.predict_labels` has it, but for the margin."""
        scores = self._scores
        if len(scores) != 2:
            best = scores.index(max(scores))
            return best if scores[best] >= scores[self._chosen] + margin or not margin else self._chosen
        border = self._threshold
        if margin:  # a border close to 0 or 1 must stay within reach
            border += min(margin, (1 - border) / 2) if self._chosen != self._positive else -min(margin, border / 2)
        return self._positive if scores[self._positive] >= border else 1 - self._positive

    def _sure_from(self, *, is_first: bool) -> float:
        if is_first or not self._is_unsure:
            return self._unsure_below
        return self._unsure_below + min(MARGIN, (1 - self._unsure_below) / 2)

    def prediction(self, box: FaceBox | None) -> FacePrediction:
        """Returns the mean answer; before the first one an unsure answer with equal scores.

        Args:
            box: Where the face is now.
        """
        return FacePrediction(
            box=box,
            predicted_label=self.predicted_label,
            score=self._scores[self._chosen],
            scores=dict(zip(self._labels, self._scores, strict=True)),
            is_unsure=self._is_unsure,
        )
