"""The ladder: from plain quantization to training, as far up as it takes until the gate passes.

A rung is judged on the validation photos first. Only one that passes there is judged on the evaluation photos, and how
often that happened stands in the record: who looks at a test set until it agrees has no test set.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgegender.conversion.convert import Candidate, Conversion, finish, judge_candidate
from edgegender.conversion.gate import GateBars, GateReport, require_two_labels
from edgegender.conversion.measured import MeasuredPhotos
from edgegender.entities import FloatArray, ModelMetadata
from edgegender.errors import CheckFailedError, ModelFileError, UsageError


@dataclass(frozen=True)
class Rung:
    """One way to quantize.

    Args:
        name: Short.
        make: Makes the file; may take minutes.
    """

    name: str
    make: Callable[[], Candidate]


@dataclass(frozen=True)
class Step:
    """What a rung gave.

    Args:
        name: The rung's.
        seconds: Making the file.
        size_bytes: Of the file; 0 where none came out.
        validation: Its answers to the validation photos beside the float network's; ``None`` where none came out.
        evaluation: The same for the evaluation photos; ``None`` where the rung did not get that far.
        error: Why no file came out; empty where one did.
    """

    name: str
    seconds: float
    size_bytes: int
    validation: GateReport | None
    evaluation: GateReport | None = None
    error: str = ""

    @property
    def mark(self) -> str:
        """✅ passed, ❎ converted but refused, ❌ failed."""
        if self.validation is None:
            return "❌"
        return "✅" if self.evaluation is not None and self.evaluation.is_passed else "❎"


@dataclass(frozen=True)
class Ladder:
    """How far the ladder was climbed.

    Args:
        steps: What each rung gave, in order.
        conversion: The first that passed, else the one that changes the fewest validation answers; the latter is
            refused, whatever the evaluation photos say of it.
    """

    steps: tuple[Step, ...]
    conversion: Conversion


class _Climber:
    """Judges rungs, and remembers the one that changes the fewest validation answers."""

    def __init__(self, finish_candidate: Callable[[Candidate, FloatArray], Conversion]) -> None:
        self._finish = finish_candidate
        self._looks = 0
        self._best: tuple[GateReport, Candidate, FloatArray, Conversion | None] | None = None

    def _finished(self, candidate: Candidate, scores: FloatArray) -> Conversion:
        self._looks += 1
        return self._finish(dataclasses.replace(candidate, how={**candidate.how, "evaluations": self._looks}), scores)

    def try_rung(
        self, rung: Rung, judge: Callable[[Candidate], tuple[FloatArray, GateReport]], *, is_validated_first: bool
    ) -> tuple[Step, Conversion | None]:
        """Returns what a rung gave, and its conversion where the evaluation photos were looked at."""
        started = time.perf_counter()
        try:
            candidate = rung.make()
            seconds = time.perf_counter() - started
            scores, report = judge(candidate)
            conversion = self._finished(candidate, scores) if report.is_passed or not is_validated_first else None
        except (CheckFailedError, ModelFileError) as error:  # the latter: this runtime does not load the file
            return Step(rung.name, time.perf_counter() - started, 0, None, error=str(error)), None
        if self._best is None or report.difference.flip_rate < self._best[0].difference.flip_rate:
            self._best = (report, candidate, scores, conversion)
        gate = conversion.gate if conversion is not None else None
        return Step(rung.name, seconds, len(candidate.content), report, gate), conversion

    def best(self) -> Conversion | None:
        """Returns the conversion of the rung with the fewest flips; ``None`` where no rung gave a file.

        One that the validation photos refused stays refused: the evaluation photos are no second chance.
        """
        if self._best is None:
            return None
        report, candidate, scores, conversion = self._best
        if conversion is not None:
            return conversion
        conversion = self._finished(candidate, scores)
        problems = (*conversion.gate.problems, *(f"{problem} (validation photos)" for problem in report.problems))
        return dataclasses.replace(
            conversion, content=b"", gate=dataclasses.replace(conversion.gate, problems=problems)
        )


def climb(
    rungs: Sequence[Rung],
    template: ModelMetadata,
    *,
    validation: MeasuredPhotos,
    evaluation: MeasuredPhotos,
    evaluation_split: str,
    bars: GateBars,
    is_validated_first: bool = True,
    on_step: Callable[[Step], None] | None = None,
) -> Ladder:
    """Returns the first rung whose file passes the gate, and what each rung below it gave.

    Args:
        rungs: From the cheapest.
        template: See :func:`edgegender.conversion.convert.finish`.
        validation: What decides whether a rung is good enough to be looked at.
        evaluation: What the gate judges by.
        evaluation_split: Its name.
        bars: What may be lost.
        is_validated_first: Whether a rung has to pass on the validation photos before the evaluation photos are looked
            at; with one rung there is nothing to choose, and no need.
        on_step: Called after each rung.

    Raises:
        UsageError: There is no rung.
        CheckFailedError: No rung gave a file.
        DataError: The photos have fewer than two labels.
    """
    if not rungs:
        raise UsageError("Expected at least one way to quantize, got none.")
    require_two_labels(validation.annotated, name="validation")
    require_two_labels(evaluation.annotated)

    def finish_candidate(candidate: Candidate, scores: FloatArray) -> Conversion:
        return finish(
            candidate,
            template,
            validation=validation,
            evaluation=evaluation,
            evaluation_split=evaluation_split,
            bars=bars,
            validation_scores=scores,
        )

    climber = _Climber(finish_candidate)
    steps: list[Step] = []
    for rung in rungs:
        step, conversion = climber.try_rung(
            rung,
            lambda candidate: judge_candidate(candidate, validation, template, bars),
            is_validated_first=is_validated_first,
        )
        steps.append(step)
        if on_step is not None:
            on_step(step)
        if conversion is not None and conversion.gate.is_passed:
            return Ladder(tuple(steps), conversion)
    best = climber.best()
    if best is None:
        raise CheckFailedError(
            f"Expected a file from {', '.join(rung.name for rung in rungs)}, got none: {steps[-1].error}",
            hint="Replace layers that cannot be quantized, or use --scheme float16.",
        )
    return Ladder(tuple(steps), best)
