"""Two sets of results: which configurations belong together, and what differs by more than chance."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

from edgegender.benchmark.compare_figures import (
    COMPARED_PERCENTS,
    FigureComparison,
    Tolerances,
    compare_accuracy,
    compare_latency,
    compare_numbers,
    compare_parity,
)
from edgegender.benchmark.records import BenchmarkResult, LatencyRecord
from edgegender.errors import UsageError

_FIELDS: dict[str, Callable[[BenchmarkResult], Hashable]] = {
    "model": lambda result: result.model.name,
    "scheme": lambda result: result.model.scheme,
    "engine": lambda result: result.engine.label,
    "target": lambda result: result.target,
    "machine": lambda result: (result.machine.board, result.machine.cpu_model, result.machine.num_available_cores),
}


@dataclass(frozen=True)
class Difference:
    """What is not the same about two results, beside their figures.

    Args:
        name: Such as ``machine.cpu_model`` or ``versions.python``.
        first: Of A.
        second: Of B.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """Figures of one configuration, or of a whole result.

    Args:
        name: The model, and what else tells it apart.
        num_threads: ``None`` for the figures that do not depend on it: accuracy, F1, size, flips.
        batch_size: Likewise.
        differences: Beside the figures; with the whole result only.
        figures: One a figure.
    """

    name: str
    num_threads: int | None
    batch_size: int | None
    differences: tuple[Difference, ...]
    figures: tuple[FigureComparison, ...]


@dataclass(frozen=True)
class ComparisonReport:
    """All that two sets of results say against each other.

    Args:
        comparisons: First a whole result, then its configurations, and so on.
        only_first: What only A has.
        only_second: What only B has.
        problems: Results whose figures must not be used.
    """

    comparisons: tuple[Comparison, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def regressions(self) -> tuple[tuple[Comparison, FigureComparison], ...]:
        """The figures that are worse beyond the tolerance, and not by chance."""
        return tuple(
            (comparison, figure)
            for comparison in self.comparisons
            for figure in comparison.figures
            if figure.verdict == "regression"
        )


def _distinguishing(firsts: Sequence[BenchmarkResult], seconds: Sequence[BenchmarkResult]) -> list[str]:
    """Returns the fields that results are matched by: not those that have one value on each side.

    So one result compares with another one whatever they are of, and the differences say what they are.
    """
    return [
        name
        for name, of in _FIELDS.items()
        if max(len({of(result) for result in side}) for side in (firsts, seconds)) > 1
    ]


def _name(result: BenchmarkResult, names: Sequence[str]) -> str:
    parts = [result.model.name]
    parts += [str(_FIELDS[name](result)) for name in names if name in ("scheme", "engine", "target")]
    if "machine" in names:
        parts.append(result.machine.board or result.machine.cpu_model or result.machine.architecture)
    return ", ".join(parts)


def _by_key(
    results: Sequence[BenchmarkResult], names: Sequence[str], side: str
) -> dict[tuple[Hashable, ...], BenchmarkResult]:
    found: dict[tuple[Hashable, ...], BenchmarkResult] = {}
    for result in results:
        key = tuple(_FIELDS[name](result) for name in names)
        if key in found:
            raise UsageError(
                f"Expected one result of each model, scheme, engine, target and machine, "
                f"got two of {_name(result, names)} in {side}.",
                hint="Compare them one by one, or keep the newer one.",
            )
        found[key] = result
    return found


def _text(value: object) -> str:
    return "unknown" if value in (None, "") else str(value)


def _describe_differences(first: BenchmarkResult, second: BenchmarkResult) -> Iterator[Difference]:
    pairs: list[tuple[str, object, object]] = []
    for part in ("machine", "versions", "engine"):
        one, other = getattr(first, part), getattr(second, part)
        pairs += [
            (f"{part}.{field.name}", getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        ]
    pairs.append(("target", first.target, second.target))
    for name in ("name", "sha256", "scheme", "architecture", "input_size_px", "threshold"):
        pairs.append((f"model.{name}", getattr(first.model, name), getattr(second.model, name)))
    for name in ("sha256", "split", "detector", "num_photos"):
        pairs.append((f"data.{name}", getattr(first.data, name, None), getattr(second.data, name, None)))
    for name, one, other in pairs:
        if one != other:
            yield Difference(name, _text(one), _text(other))


def _configurations(result: BenchmarkResult) -> dict[tuple[int, int], LatencyRecord]:
    return {(record.num_threads, record.batch_size): record for record in result.latencies}


def name_configuration(num_threads: int, batch_size: int) -> str:
    """Returns a configuration in words."""
    threads = f"{num_threads} thread{'s' if num_threads != 1 else ''}"
    return threads if batch_size == 1 else f"{threads}, batch {batch_size}"


def _invalid(result: BenchmarkResult, num_threads: int) -> str:
    return next((warning.text for warning in result.warnings_for(num_threads) if warning.is_invalidating), "")


def _compare_configuration(
    first: BenchmarkResult,
    second: BenchmarkResult,
    records: tuple[LatencyRecord, LatencyRecord],
    tolerances: Tolerances,
) -> tuple[tuple[FigureComparison, ...], list[str]]:
    one, other = records
    reasons = {side: _invalid(result, one.num_threads) for side, result in (("A", first), ("B", second))}
    problems = [f"{side} is invalid: {reason}" for side, reason in reasons.items() if reason]
    latencies = [
        compare_latency(one, other, percent, tolerances=tolerances, problem="; ".join(problems))
        for percent in COMPARED_PERCENTS
    ]
    memory = compare_numbers(
        "peak_memory_bytes", one.peak_memory_bytes, other.peak_memory_bytes, is_exact=False, tolerances=tolerances
    )
    return (*latencies, memory), problems


def _compare_pair(
    first: BenchmarkResult, second: BenchmarkResult, name: str, tolerances: Tolerances
) -> tuple[list[Comparison], list[str], list[str], list[str]]:
    """Returns (comparisons, configurations of A only, of B only, problems)."""
    parity = compare_parity(first, second, tolerances=tolerances)
    whole = [
        *compare_accuracy(first, second, tolerances=tolerances),
        compare_numbers(
            "size_bytes", first.model.size_bytes, second.model.size_bytes, is_exact=True, tolerances=tolerances
        ),
        *([parity] if parity else []),
    ]
    differences = tuple(_describe_differences(first, second))
    comparisons = [Comparison(name, None, None, differences, tuple(whole))]
    one, other = _configurations(first), _configurations(second)
    problems = []
    for key in [key for key in one if key in other]:
        figures, found = _compare_configuration(first, second, (one[key], other[key]), tolerances)
        comparisons.append(Comparison(name, *key, (), figures))
        problems += [f"{name}, {name_configuration(*key)}: {problem}" for problem in found]
    lonely = (_lonely(name, one, other), _lonely(name, other, one))
    return comparisons, *lonely, problems


def _lonely(name: str, side: Iterable[tuple[int, int]], opposite: Container[tuple[int, int]]) -> list[str]:
    return [f"{name}, {name_configuration(*key)}" for key in side if key not in opposite]


def compare_results(
    firsts: Sequence[BenchmarkResult], seconds: Sequence[BenchmarkResult], *, tolerances: Tolerances | None = None
) -> ComparisonReport:
    """Returns what differs between results A and B, configuration by configuration.

    Results belong together by model, scheme, engine, target and machine, as far as a side has several of them; within
    them, configurations by threads and batch.

    Args:
        firsts: A, at least one.
        seconds: B, at least one.
        tolerances: What is still no regression.

    Raises:
        UsageError: A side is empty, or has two results that cannot be told apart.
    """
    if not firsts or not seconds:
        raise UsageError("Expected results to compare, got none.")
    tolerances = tolerances or Tolerances()
    names = _distinguishing(firsts, seconds)
    one, other = _by_key(firsts, names, "A"), _by_key(seconds, names, "B")
    comparisons: list[Comparison] = []
    only_first = [_name(result, names) for key, result in one.items() if key not in other]
    only_second = [_name(result, names) for key, result in other.items() if key not in one]
    problems: list[str] = []
    for key in [key for key in one if key in other]:
        pair, lonely_first, lonely_second, found = _compare_pair(
            one[key], other[key], _name(one[key], names), tolerances
        )
        comparisons += pair
        only_first += lonely_first
        only_second += lonely_second
        problems += found
    return ComparisonReport(tuple(comparisons), tuple(only_first), tuple(only_second), tuple(problems))
