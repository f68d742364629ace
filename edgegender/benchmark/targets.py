"""What to measure somewhere else than on this processor, and who does it: one interface for every target.

A target is a module ``edgegender.benchmark.target_NAME`` with one function::

    def measure(request: TargetRequest) -> list[BenchmarkResult]: ...

It is imported when it is asked for, so that nobody pays for a target that is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from edgegender.errors import UsageError

if TYPE_CHECKING:
    from edgegender.benchmark.records import BenchmarkResult, Durations
    from edgegender.benchmark.run import DataSource, Sample

TARGETS = ("cpu", "gpu", "ssh", "adb", "browser")
_WITH_ADDRESS = ("ssh", "adb")  # adb:// alone is the only phone that is connected
_EXAMPLES = "cpu, gpu, browser, ssh://user@host, adb://serial"


def say_nothing(text: str) -> None:
    """Takes a line for a person and drops it."""
    del text


def keep_nothing(result: BenchmarkResult) -> None:
    """Takes a result and drops it."""
    del result


@dataclass(frozen=True)
class TargetRequest:
    """What one call of a target measures.

    Args:
        target: One of ``TARGETS``.
        address: What was asked for, whole: ``ssh://pi@host:22``, ``adb://serial``, ``browser``, ``gpu``. It is used to
            reach the target and never recorded.
        models: ``.tflite`` files of edgegender, each to be read by :func:`edgegender.runtime.model_file.read_model`.
        samples: One a model, in the same order: the photos as that model's network sees them, raw uint8 RGB of its
            input size. It can be gone through several times, from the start each time, and makes the pictures as it
            goes; ``None`` where accuracy is not measured.
        num_samples: Rows behind each of ``samples``, for progress; 0 without photos.
        source: What the samples are called, for :class:`edgegender.benchmark.records.DataRecord`.
        threads: Numbers of threads, each measured by itself, 0 for all cores of the target; a target without that
            choice measures once.
        durations: How long.
        until_share: End early when p90's 95 % interval lies within this share of p90 on both sides; ``None`` never.
        engines: Names as ``--engine`` has them; empty takes the target's own.
        options: ``--option KEY=VALUE`` of the command: what only this target understands. An unknown key is a
            :class:`~edgegender.errors.UsageError`.
        command_line: What to record as the command, without folders and addresses.
        on_progress: Takes one line for a person, such as ``answering 120 of 400``.
        on_result: Takes each result as soon as it is whole, so that what was measured before a failure is kept.
    """

    target: str
    address: str
    models: tuple[Path, ...]
    samples: tuple[Iterable[Sample] | None, ...]
    source: DataSource
    threads: tuple[int, ...]
    durations: Durations
    num_samples: int = 0
    until_share: float | None = None
    engines: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    command_line: tuple[str, ...] = ()
    on_progress: Callable[[str], None] = say_nothing
    on_result: Callable[[BenchmarkResult], None] = keep_nothing


def parse_target(text: str) -> str:
    """Returns the name of the target that an address speaks of.

    Raises:
        UsageError: It is none.

    Example:
        >>> parse_target("ssh://pi@raspberrypi.local"), parse_target("browser")
        ('ssh', 'browser')
    """
    name, separator, rest = text.partition("://")
    is_sound = name in TARGETS and bool(separator) == (name in _WITH_ADDRESS) and (name != "ssh" or bool(rest))
    if not is_sound:
        # an address may hold a password: only its kind is repeated
        got = f"{name}://…" if separator else repr(text)
        raise UsageError(f"Expected a target of {_EXAMPLES}, got {got}.")
    return name


def _module_of(target: str) -> ModuleType:
    name = f"edgegender.benchmark.target_{target}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(f"Expected a target of this version, got {target}.") from error


def measure_on_target(request: TargetRequest) -> list[BenchmarkResult]:
    """Returns what the request's target measured: one result a model and engine, models first.

    Raises:
        UsageError: This version does not have the target, or a value makes no sense there.
        MissingDependencyError: A package that the target needs is not installed.
        MeasurementError: The target is away, refused, or went away meanwhile.
        DataError: The samples do not fit the model.
        ModelFileError: A model is damaged.
    """
    return cast("list[BenchmarkResult]", _module_of(request.target).measure(request))
