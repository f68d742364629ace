"""``edgegender compare``."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, print_json, print_table, warn
from edgegender.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from edgegender.benchmark.compare import Comparison, ComparisonReport
    from edgegender.benchmark.compare_figures import FigureComparison
    from edgegender.benchmark.records import BenchmarkResult

COMPARISON_SCHEMA = "edgegender.comparison/1"
_NAMES = {
    "p50_ns": "p50 ms",
    "p90_ns": "p90 ms",
    "peak_memory_bytes": "peak MB",
    "size_bytes": "size MB",
    "accuracy": "accuracy %",
    "f1": "F1 %",
    "flips": "flips",
}
_VERDICTS = {"regression": "REGRESSION", "not_compared": "not compared"}


def parse_percent(text: str) -> float:
    """Returns a share from text such as ``3%``.

    Raises:
        UsageError: It is not a number from 0 on with a percent sign.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s?%", text.strip(), re.ASCII)
    if found is None or not math.isfinite(float(found[1])):
        raise UsageError(f"Expected a percentage, got {text!r}.", hint="For example: --tolerance 3%")
    return float(found[1]) / 100


def _read(path: Path) -> list[BenchmarkResult]:
    from edgegender.benchmark.result import RESULT_SUFFIXES, read_result

    files = sorted(file for kind in RESULT_SUFFIXES for file in path.glob(f"*{kind}")) if path.is_dir() else [path]
    if not files:
        raise UsageError(
            f"Expected results, got a folder without any ({path}).",
            hint="Record one with: edgegender benchmark -o result.json",
        )
    return [read_result(file) for file in files]


def _value(figure: FigureComparison, value: float | None) -> str:
    from edgegender.reporting.tables import NOT_MEASURED, format_megabytes, format_ms

    if value is None:
        return NOT_MEASURED
    if figure.name.endswith("_ns"):
        return format_ms(value)
    if figure.name.endswith("_bytes"):
        return format_megabytes(int(value))
    return f"{value:.0f}" if figure.name == "flips" else f"{100 * value:.2f}"


def _change(figure: FigureComparison) -> str:
    change = figure.change
    if change is None:
        return figure.reason
    unit = " points" if figure.name in ("accuracy", "f1") else " %"
    text = f"{100 * change.value:+.2f}"
    interval = f" [{100 * change.low:+.2f}, {100 * change.high:+.2f}]" if change.low != change.high else ""
    about = f", {figure.reason}" if figure.name == "flips" else ""
    return f"{text}{interval}{unit}{about}"


def _print_comparison(comparison: Comparison) -> None:
    from edgegender.benchmark.compare import name_configuration

    where = (
        ""
        if comparison.num_threads is None
        else f", {name_configuration(comparison.num_threads, comparison.batch_size or 1)}"
    )
    click.echo(f"\n{comparison.name}{where}")
    print_table(
        ["figure", "A", "B", "verdict", "change"],
        [
            [
                _NAMES[figure.name],
                _value(figure, figure.first),
                _value(figure, figure.second),
                _VERDICTS.get(figure.verdict, figure.verdict),
                _change(figure),
            ]
            for figure in comparison.figures
        ],
    )


def _print_report(report: ComparisonReport) -> None:
    from edgegender.reporting.tables import clean_text

    for comparison in report.comparisons:
        for difference in comparison.differences:
            first, second = clean_text(difference.first), clean_text(difference.second)
            click.echo(f"{comparison.name}: {difference.name}: {first} -> {second}")
        if any(difference.name == "data.sha256" for difference in comparison.differences):
            click.echo(f"{comparison.name}: different photos: accuracy and F1 do not compare")
    for comparison in report.comparisons:
        if comparison.figures:
            _print_comparison(comparison)
    click.echo(
        "\nBrackets are 95 % intervals: of latency by a bootstrap of blocks of successive runs, of accuracy and F1 for "
        "independent samples,\nbecause a result holds no answers to single photos. Peak MB is judged by the tolerance "
        "alone."
    )


def _judge(report: ComparisonReport) -> None:
    if not report.comparisons:
        raise CheckFailedError(
            "Expected configurations that both sides have, got none.",
            hint="Model, scheme, engine, target, machine and threads must agree where a side has several.",
        )
    if report.regressions:
        comparison, figure = report.regressions[0]
        more = f", and {len(report.regressions) - 1} more" if len(report.regressions) > 1 else ""
        raise CheckFailedError(
            f"Expected no regression, got {_NAMES[figure.name]} {_value(figure, figure.first)} -> "
            f"{_value(figure, figure.second)} ({comparison.name}{more}).",
            hint="Measure both again to be sure, or allow more with --tolerance.",
        )
    if report.problems:
        raise CheckFailedError(
            f"Expected valid measurements, got an invalid one: {report.problems[0]}.",
            hint="Measure again, on a calm, cool machine.",
        )
    if not any(comparison.num_threads is not None for comparison in report.comparisons):
        raise CheckFailedError(
            "Expected a number of threads that both sides have, got none.", hint="Measure both with the same --threads."
        )


def _warn(report: ComparisonReport, sides: Sequence[tuple[str, Sequence[BenchmarkResult]]]) -> None:
    for side, only in (("A", report.only_first), ("B", report.only_second)):
        for name in only:
            warn(f"only {side} has {name}")
    for side, results in sides:
        for result in results:
            for warning in result.warnings:
                where = "" if warning.num_threads is None else f", {warning.num_threads} thread(s)"
                warn(f"{side}, {result.model.name}{where}: {warning.text}")


@click.command(name="compare")
@click.argument("first", type=FOLDER, metavar="A")
@click.argument("second", type=FOLDER, metavar="B")
@click.option("--tolerance", default="3%", show_default=True, help="Of latency, memory, size and flips.")
@click.option("--accuracy-tolerance", default="0%", show_default=True, help="Points of accuracy and F1.")
@json_option
def command(first: Path, second: Path, tolerance: str, accuracy_tolerance: str, as_json: bool) -> None:
    """Say what differs between two recorded results A and B by more than chance; fail when B is a regression.

    A and B are files, or folders of them: their results are matched by model, scheme, engine, target and machine as
    far as a side has several of them, then by threads and batch. What differs beside the figures is said first.

    A regression is worse beyond the tolerance, and not by chance. Latency is compared by its raw values, accuracy and
    F1 only on the same photos.

    Exit codes: 0 no regression; 1 a regression, an invalid measurement, nothing in common, or a result that is
    edited, damaged or of a newer schema; 2 wrong usage.
    """
    from edgegender.benchmark.compare import compare_results
    from edgegender.benchmark.compare_figures import Tolerances

    tolerances = Tolerances(parse_percent(tolerance), parse_percent(accuracy_tolerance))
    firsts, seconds = _read(first), _read(second)
    report = compare_results(firsts, seconds, tolerances=tolerances)
    if as_json:
        values = {
            "schema": COMPARISON_SCHEMA,
            "tolerances": dataclasses.asdict(tolerances),
            "is_regression": bool(report.regressions),
            **dataclasses.asdict(report),
        }
        print_json(values)
    elif report.comparisons:
        _print_report(report)
    _warn(report, (("A", firsts), ("B", seconds)))
    _judge(report)
