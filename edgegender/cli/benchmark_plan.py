"""What the words of ``edgegender benchmark`` ask for: threads, durations, options, and files for the results."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender import files
from edgegender.errors import OutputError, UsageError

if TYPE_CHECKING:
    from edgegender.benchmark.records import BenchmarkResult, Durations

ALL_CORES = 0  # of another machine: only that machine knows how many it has


def parse_threads(text: str, *, is_elsewhere: bool = False) -> list[int]:
    """Returns numbers of threads, each once, in the order given.

    Args:
        text: Numbers and ``all`` with commas in between; ``all`` stands for the cores of the machine that measures.
        is_elsewhere: Whether that is another machine: ``all`` is 0 then.

    Raises:
        UsageError: A part is neither ``all`` nor a whole number from 1 to 256.
    """
    from edgegender.benchmark.measure import MAX_THREADS
    from edgegender.runtime.interpreter import available_cores

    found: list[int] = []
    for part in text.split(","):
        word = part.strip()
        is_number = word.isascii() and word.isdigit() and 1 <= int(word[:9]) <= MAX_THREADS
        if word != "all" and not is_number:
            raise UsageError(
                f"Expected threads from 1 to {MAX_THREADS} or all, got {word!r}.", hint="For example: --threads 1,all"
            )
        cores = ALL_CORES if is_elsewhere else available_cores()
        found.append(cores if word == "all" else int(word))
    return list(dict.fromkeys(found))


def choose_durations(*, until: str, **is_chosen: bool) -> tuple[Durations, float | None]:
    """Returns (how long to measure, how well p90 is to be known instead).

    Args:
        until: Such as ``0.5%``; empty for the preset's own bounds.
        is_chosen: Preset → whether it was asked for; none is the default.

    Raises:
        UsageError: Two presets at once, or no share.
    """
    from edgegender.benchmark import presets

    chosen = [name for name, is_asked in is_chosen.items() if is_asked]
    if len(chosen) > 1:
        raise UsageError(f"Expected one duration, got {' and '.join(f'--{name}' for name in chosen)}.")
    durations = presets.PRESETS[chosen[0] if chosen else "default"]
    if not until:
        return durations, None
    return replace(durations, preset=""), presets.parse_share(until)


def parse_options(words: Sequence[str]) -> Mapping[str, str]:
    """Returns ``KEY=VALUE`` words as a mapping.

    Raises:
        UsageError: A word has no key, or a key comes twice.
    """
    options: dict[str, str] = {}
    for word in words:
        key, separator, value = word.partition("=")
        if not separator or not key or key in options:
            raise UsageError(f"Expected --option KEY=VALUE, each key once, got {word!r}.")
        options[key] = value
    return options


def command_words(models: Sequence[Path], **options: object) -> list[str]:
    """Returns the command with the names of files only: their folders may name a person."""
    words = ["edgegender", "benchmark", *(model.name for model in models)]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [word for entry in value for word in (option, str(entry))]
        elif value:
            words += [option, value.name if isinstance(value, Path) else str(value)]
    return words


def require_writable(output: Path | None) -> None:
    """Finds out before measuring for minutes, not after.

    Raises:
        OutputError: The file cannot be written.
    """
    if output is None:
        return
    folder = files.make_folder(output.parent)
    is_writable = os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if output.is_dir() or not is_writable:
        raise OutputError(f"Expected a file that can be written, got {output}.", hint="Choose another name with -o.")


def _suffix_of(path: Path) -> str:
    from edgegender.benchmark.result import RESULT_SUFFIXES

    return next((suffix for suffix in RESULT_SUFFIXES if path.name.endswith(suffix)), "")


class ResultFiles:
    """Where results are recorded: ``output`` itself for one, files in it for several.

    Args:
        output: From ``-o``; ``None`` records nothing.
        stems: The models, by the names of their files.
        engines: Those that were asked for; results of several are told apart by their engine's name.

    Raises:
        UsageError: Several results into one file.
        OutputError: The place cannot be written.
    """

    def __init__(self, output: Path | None, stems: Sequence[str], engines: Sequence[str]) -> None:
        self._output, self._engines = output, tuple(engines)
        self._is_folder = len(stems) * max(1, len(self._engines)) > 1
        if output is not None and self._is_folder and (_suffix_of(output) or output.is_file()):
            raise UsageError(
                f"Expected a folder for the results of {len(stems)} models by {max(1, len(self._engines))} engines, "
                f"got {output}.",
                hint="For example: -o results",
            )
        self._given: set[Path] = set()
        for stem in stems:
            for engine in self._engines or ("",):
                require_writable(self.path_of(stem, engine))

    def path_of(self, stem: str, engine: str = "") -> Path | None:
        """Returns the file for one model and engine."""
        if self._output is None or not self._is_folder:
            return self._output
        named = f"{stem}-{engine}" if engine and len(self._engines) > 1 else stem
        return self._output / f"{named}.json"

    def path_for(self, stem: str, result: BenchmarkResult) -> Path | None:
        """Returns the file for a result of another target, which may give several a model: each gets its own.

        The first takes the model's file; the others are told apart by what ran them and, where that is the same, by a
        number.
        """
        path = self.path_of(stem)
        if path is None:
            return None
        label = re.sub(r"[^a-z0-9]+", "-", result.engine.label.lower()).strip("-")
        suffix = _suffix_of(path)
        name = path.name.removesuffix(suffix)
        names = [name, f"{name}-{label}", *(f"{name}-{label}-{number}" for number in range(2, 1000))]
        places = (path.with_name(f"{name}{suffix}") for name in names)
        chosen = next(place for place in places if place not in self._given)
        self._given.add(chosen)
        return chosen
