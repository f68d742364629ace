"""Reading what TensorFlow's ``benchmark_model`` prints: summaries in microseconds, never one number a run.

Source: tensorflow/lite/tools/benchmark, README.md, benchmark_model.cc (``OnBenchmarkEnd``) and
benchmark_tflite_model.cc (delegates). Newer builds put ``INFO: `` before each line and add p5, median and p95.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgegender.errors import MeasurementError

_PREFIX = r"^(?:INFO: |VERBOSE: )?"
_NUMBER = r"([-+\d.eE]+)"
_SUMMARY = re.compile(_PREFIX + r"(?:Timings \(microseconds\): )?(count=.*)$", re.MULTILINE)
_PAIR = re.compile(rf"(\w+)={_NUMBER}")
_INIT = re.compile(_PREFIX + rf"(?:Inference|Average inference) timings in us: .*?Init: {_NUMBER}", re.MULTILINE)
_PEAK = re.compile(_PREFIX + rf"(?:Overall peak|Peak) memory footprint \(MB\).*?(?:overall=|: ){_NUMBER}", re.MULTILINE)
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
_APPLIED = re.compile(r"model graph will be (completely|partially) executed by the delegate")
_REFUSED = re.compile(r"model graph will not be executed by the delegate")
_FAILURE = re.compile(r"^(?:ERROR: |FATAL: )(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class RunSummary:
    """What the tool says of a row of runs. Microseconds.

    Args:
        count: Runs.
        first_us: Of the first run.
        last_us: Of the last run.
        min_us: Shortest.
        max_us: Longest.
        mean_us: Mean, in the six digits that the tool prints.
        median_us: ``None`` from builds that do not tell.
        p95_us: Likewise.
    """

    count: int
    first_us: int
    last_us: int
    min_us: int
    max_us: int
    mean_us: float
    median_us: int | None = None
    p95_us: int | None = None


@dataclass(frozen=True)
class ToolOutput:
    """One call of the tool.

    Args:
        init_us: Reading the file and building the interpreter.
        warmup: ``None`` without runs before.
        timed: The timed runs.
        peak_memory_mb: Where it was asked for.
        delegated: (nodes that a delegate took over, all nodes, its name), where the tool tells.
        coverage: ``completely``, ``partially`` or ``not``: how far a delegate that was asked for runs the network;
            empty where the tool does not tell.
    """

    init_us: float
    warmup: RunSummary | None
    timed: RunSummary
    peak_memory_mb: float | None
    delegated: tuple[int, int, str] | None
    coverage: str


def parse_summary(text: str) -> RunSummary | None:
    """Returns what ``count=… first=… curr=… min=… max=… avg=… std=…`` says; ``None`` for no run.

    A single run, and runs that all took the same, come as ``count=… curr=…``.

    Raises:
        MeasurementError: It says something else.

    Example:
        >>> parse_summary("count=1 curr=3512").mean_us
        3512.0
    """
    try:
        values = {name: float(number) for name, number in _PAIR.findall(text)}
        count = int(values["count"])
        if count == 0:
            return None
        last = int(values["curr"])
        return RunSummary(
            count=count,
            first_us=int(values.get("first", last)),
            last_us=last,
            min_us=int(values.get("min", last)),
            max_us=int(values.get("max", last)),
            mean_us=values.get("avg", float(last)),
            median_us=int(values["median"]) if "median" in values else None,
            p95_us=int(values["p95"]) if "p95" in values else None,
        )
    except (KeyError, ValueError, OverflowError) as error:
        raise MeasurementError(f"Expected count=…, curr=… of benchmark_model, got {text!r:.120}.") from error


def last_failure(text: str) -> str:
    """Returns the tool's last word about what went wrong, at most 200 characters."""
    found = _FAILURE.findall(text)
    lines = [line for line in text.splitlines() if line.strip()]
    return str(found[-1] if found else lines[-1] if lines else "nothing")[:200]


def parse_output(text: str) -> ToolOutput:
    """Returns what one call of the tool printed.

    Args:
        text: Standard output and standard error together.

    Raises:
        MeasurementError: The timings are missing: the tool failed or is another one.
    """
    text = text.replace("\r\n", "\n")
    init = _INIT.search(text)
    summaries = _SUMMARY.findall(text)
    if init is None or not summaries:
        raise MeasurementError(
            f"Expected the timings of benchmark_model, got: {last_failure(text)}",
            hint="Is it TensorFlow's benchmark_model for this phone, and the model one that it runs?",
        )
    timed = parse_summary(summaries[-1])
    if timed is None:
        raise MeasurementError("Expected timed runs of benchmark_model, got none.")
    replaced, applied, peak = _REPLACED.findall(text), _APPLIED.search(text), _PEAK.search(text)
    coverage = str(applied[1]) if applied else "not" if _REFUSED.search(text) else ""
    return ToolOutput(
        init_us=float(init[1]),
        warmup=parse_summary(summaries[-2]) if len(summaries) > 1 else None,
        timed=timed,
        peak_memory_mb=float(peak[1]) if peak else None,
        delegated=(int(replaced[-1][0]), int(replaced[-1][1]), replaced[-1][2]) if replaced else None,
        coverage=coverage,
    )
