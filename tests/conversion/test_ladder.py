"""The ladder: the first rung that passes is taken, and evaluation photos are looked at as rarely as it goes.

The files are tiny networks that answer by brightness, one of them inverted; what the float network is said to have
answered decides which of them is good. No TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from edgegender.conversion.convert import Candidate, Conversion, with_metadata
from edgegender.conversion.gate import GateBars
from edgegender.conversion.ladder import Ladder, Rung, Step, climb
from edgegender.conversion.measured import MeasuredPhotos
from edgegender.entities import IntArray, ModelMetadata, Preprocessing, QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, DataError, UsageError
from edgegender.runtime.model_file import parse_model
from tests.tiny_model import build_network, grey_picture

SIZE_PX = 16
LABELS = ("female", "male")
TEMPLATE = ModelMetadata(
    labels=LABELS,
    positive_label="male",
    preprocessing=Preprocessing(SIZE_PX),
    architecture="brightness",
    scheme=QuantizationScheme.FLOAT32,
)
GOOD, INVERTED = (build_network(input_size_px=SIZE_PX, is_inverted=is_inverted) for is_inverted in (False, True))
# a third of the photos may change; the rest is for the gate's own tests
BARS = GateBars(max_drop=30, max_flips=30, max_group_drop=100)


@dataclass
class Photos:
    """Grey pictures, half of them bright, and a float network that answers some of them as the inverted one does."""

    num_photos: int = 20
    num_inverted: int = 0
    looks: int = field(default=0, init=False)

    def _inputs(self) -> Iterator[UInt8Array]:
        self.looks += 1
        for number in range(self.num_photos):
            yield grey_picture(220 if number % 2 else 30, SIZE_PX)

    def measured(self) -> MeasuredPhotos:
        annotated: IntArray = np.arange(self.num_photos) % 2
        answers = annotated.copy()
        answers[: self.num_inverted] ^= 1
        # what the float network answers is right, so that a file which answers otherwise loses accuracy, too
        return MeasuredPhotos(self._inputs, answers, np.eye(2)[answers] * 0.8 + 0.1)


def rung(name: str, content: bytes = GOOD, **how: object) -> Rung:
    return Rung(name, lambda: Candidate(content, QuantizationScheme.FULL_INTEGER, {"rung": name, **how}))


def failing(name: str, error: Exception) -> Rung:
    def make() -> Candidate:
        raise error

    return Rung(name, make)


def forbidden(name: str = "never") -> Rung:
    return Rung(name, lambda: pytest.fail("this rung is beyond the one that passed"))


def go(
    *rungs: Rung,
    validation: Photos | None = None,
    evaluation: Photos | None = None,
    is_validated_first: bool = True,
    on_step: Callable[[Step], None] | None = None,
) -> Ladder:
    return climb(
        rungs,
        TEMPLATE,
        validation=(validation or Photos()).measured(),
        evaluation=(evaluation or Photos()).measured(),
        evaluation_split="test",
        bars=BARS,
        is_validated_first=is_validated_first,
        on_step=on_step,
    )


def outcomes(ladder: Ladder) -> list[tuple[str, str]]:
    return [(step.name, step.mark) for step in ladder.steps]


def evaluations(conversion: Conversion) -> object:
    metadata = parse_model(with_metadata(conversion), where="here")
    assert metadata.provenance["conversion"] == conversion.candidate.how  # it stands in the file, too
    return conversion.candidate.how["evaluations"]


# A rung that passes


def test_rungs_are_tried_in_order_until_one_passes() -> None:
    ladder = go(rung("first", INVERTED), rung("second"), forbidden())
    assert outcomes(ladder) == [("first", "❎"), ("second", "✅")]
    assert ladder.conversion.gate.is_passed
    assert ladder.conversion.candidate.how["rung"] == "second"
    assert parse_model(ladder.conversion.content, where="here").provenance["conversion"] == {
        "rung": "second",
        "evaluations": 1,
    }


def test_a_rung_that_fails_on_validation_never_reaches_the_evaluation_photos() -> None:
    evaluation = Photos()
    ladder = go(*(rung(str(number), INVERTED) for number in range(5)), rung("good"), evaluation=evaluation)
    assert evaluation.looks == 1
    assert evaluations(ladder.conversion) == 1
    assert [step.evaluation is None for step in ladder.steps] == [*[True] * 5, False]
    assert all(step.validation is not None and not step.validation.is_passed for step in ladder.steps[:5])


def test_the_record_says_how_often_the_evaluation_photos_were_looked_at() -> None:
    """Two rungs pass on validation and fail on the evaluation photos, whose float network answers the other way."""
    evaluation = Photos(num_inverted=20)
    ladder = go(rung("one"), rung("two"), rung("three", INVERTED), evaluation=evaluation)
    assert evaluation.looks == 2
    assert [step.evaluation is not None for step in ladder.steps] == [True, True, False]
    assert not ladder.conversion.gate.is_passed
    # the first of equals is the one that is given back, and it was the first to be looked at
    assert (ladder.conversion.candidate.how["rung"], evaluations(ladder.conversion)) == ("one", 1)


def test_a_step_knows_what_it_took_and_what_came_out() -> None:
    def slow() -> Candidate:
        candidate = rung("slow").make()
        sum(range(300_000))  # some milliseconds
        return candidate

    (step,) = go(Rung("slow", slow)).steps
    assert 0.0005 < step.seconds < 60
    assert (step.size_bytes, step.error, step.mark) == (len(GOOD), "", "✅")
    assert step.validation is not None
    assert step.evaluation is not None
    assert step.validation.difference.flips == step.evaluation.difference.flips == 0


def test_validation_photos_are_scored_once_a_rung() -> None:
    validation = Photos()
    go(rung("one", INVERTED), rung("two"), validation=validation)
    assert validation.looks == 3  # once a rung, and eight of them once more by the finished file


def test_each_step_is_told_as_soon_as_it_is_done() -> None:
    told: list[tuple[str, str]] = []

    def last() -> Candidate:
        assert told == [("inverted", "❎"), ("broken", "❌")]
        return rung("good").make()

    ladder = go(
        rung("inverted", INVERTED),
        failing("broken", CheckFailedError("Expected a file, got none.")),
        Rung("good", last),
        on_step=lambda step: told.append((step.name, step.mark)),
    )
    assert told == outcomes(ladder) == [("inverted", "❎"), ("broken", "❌"), ("good", "✅")]


# Without validation first


def test_with_nothing_to_choose_the_evaluation_photos_are_looked_at_once_whatever_validation_says() -> None:
    evaluation = Photos(num_inverted=20)
    ladder = go(rung("only", INVERTED), evaluation=evaluation, is_validated_first=False)
    assert evaluation.looks == 1
    assert outcomes(ladder) == [("only", "✅")]
    (step,) = ladder.steps
    assert step.validation is not None
    assert not step.validation.is_passed
    assert evaluations(ladder.conversion) == 1
    assert ladder.conversion.content


def test_one_way_that_is_refused_is_given_back_as_it_was_judged() -> None:
    evaluation = Photos()
    ladder = go(rung("only", INVERTED), evaluation=evaluation, is_validated_first=False)
    assert evaluation.looks == 1
    assert outcomes(ladder) == [("only", "❎")]
    assert ladder.steps[0].evaluation == ladder.conversion.gate
    assert ladder.conversion.content == b""


# No rung passes


def test_when_none_passes_the_one_with_the_fewest_flips_is_given_back_refused() -> None:
    """The float network answers 7 of 20 photos as the inverted file does: the good one flips 7, the inverted one 13."""
    evaluation = Photos()
    ladder = go(
        rung("inverted", INVERTED),
        rung("good"),
        rung("good again"),
        validation=Photos(num_inverted=7),
        evaluation=evaluation,
    )
    assert outcomes(ladder) == [("inverted", "❎"), ("good", "❎"), ("good again", "❎")]
    assert [step.validation and step.validation.difference.flips for step in ladder.steps] == [13, 7, 7]
    assert ladder.conversion.candidate.how["rung"] == "good"
    assert evaluation.looks == 1  # for the record of what was refused
    assert evaluations(ladder.conversion) == 1


def test_what_validation_refused_is_refused_even_if_the_evaluation_photos_would_let_it_pass() -> None:
    """Else the evaluation photos would be a second chance, and a test set that is asked until it agrees is none."""
    ladder = go(rung("good"), validation=Photos(num_inverted=7))
    gate = ladder.conversion.gate
    assert gate.difference.flips == 0
    assert not gate.is_passed
    assert ladder.conversion.content == b""
    assert gate.problems[0] == "accuracy falls by 35.00 points, more than 30 (validation photos)"
    assert all(problem.endswith(" (validation photos)") for problem in gate.problems)


def test_what_both_refused_says_both() -> None:
    ladder = go(rung("inverted", INVERTED))
    problems = ladder.conversion.gate.problems
    assert "accuracy falls by 100.00 points, more than 30" in problems
    assert "accuracy falls by 100.00 points, more than 30 (validation photos)" in problems


def test_what_the_evaluation_photos_refused_is_not_judged_anew_at_the_end() -> None:
    evaluation = Photos(num_inverted=20)
    ladder = go(rung("good"), rung("inverted", INVERTED), evaluation=evaluation)
    assert evaluation.looks == 1
    assert ladder.conversion.gate == ladder.steps[0].evaluation


# Rungs that give no file


NAN_WEIGHTS = build_network(input_size_px=SIZE_PX, is_float=True).replace(
    np.asarray([-1, -1, -1, 1, 1, 1], np.float32).tobytes(), np.full(6, np.nan, np.float32).tobytes()
)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (failing("broken", CheckFailedError("Expected integer operators alone, got ADD.")), "integer operators alone"),
        (rung("broken", NAN_WEIGHTS), "Expected finite scores of the quantized network"),
        (rung("broken", b"no network"), "Expected a network that .* runs"),
    ],
    ids=["not converted", "no numbers", "not loaded"],
)
def test_a_rung_that_gives_no_usable_file_is_marked_and_the_climb_goes_on(broken: Rung, told: str) -> None:
    ladder = go(broken, rung("good"))
    assert outcomes(ladder) == [("broken", "❌"), ("good", "✅")]
    step = ladder.steps[0]
    assert (step.size_bytes, step.validation, step.evaluation) == (0, None, None)
    assert step.seconds >= 0
    with pytest.raises(CheckFailedError, match=f"Expected a file from broken, got none: .*{told}") as caught:
        go(broken)
    assert "float16" in caught.value.hint


def test_a_rung_that_breaks_down_on_the_evaluation_photos_is_marked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgegender.conversion import ladder as module

    real = module.finish

    def finish(candidate: Candidate, *arguments: object, **options: object) -> Conversion:
        if candidate.how["rung"] == "broken":
            raise CheckFailedError("Expected finite scores of the quantized network, got NaN or infinity.")
        return real(candidate, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "finish", finish)
    ladder = go(rung("broken"), rung("good"))
    assert outcomes(ladder) == [("broken", "❌"), ("good", "✅")]
    assert evaluations(ladder.conversion) == 2  # the first look counts, too


def test_when_all_fail_the_last_reason_is_told() -> None:
    rungs = [failing(name, CheckFailedError(f"Expected a file, got the fault of {name}.")) for name in ("one", "two")]
    message = r"Expected a file from one, two, got none: Expected a file, got the fault of two\."
    with pytest.raises(CheckFailedError, match=message):
        go(*rungs)


@pytest.mark.parametrize("error", [UsageError("Expected ranges of a, got b."), KeyboardInterrupt(), ValueError("bug")])
def test_what_is_no_failed_check_ends_the_climb(error: Exception) -> None:
    with pytest.raises(type(error)):
        go(failing("broken", error), forbidden())


# What cannot be climbed


def test_a_ladder_without_rungs_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"Expected at least one way to quantize, got none\."):
        go()


@pytest.mark.parametrize("name", ["validation", "evaluation"])
def test_photos_of_one_label_are_refused_before_the_first_rung(name: str) -> None:
    with pytest.raises(DataError, match=f"Expected {name} photos of at least two labels, got one"):
        go(forbidden(), **{name: Photos(num_photos=1)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("has_validation", "evaluation", "mark"),
    [(False, None, "❌"), (True, None, "❎"), (True, False, "❎"), (True, True, "✅")],
)
def test_marks(has_validation: bool, evaluation: bool | None, mark: str) -> None:
    passed = go(rung("good")).conversion.gate
    refused = go(rung("inverted", INVERTED)).conversion.gate
    report = None if evaluation is None else passed if evaluation else refused
    assert Step("x", 1.0, 1, passed if has_validation else None, report).mark == mark
