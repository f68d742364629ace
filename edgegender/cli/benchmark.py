"""``edgegender benchmark``."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender import files
from edgegender.cli.console import (
    FOLDER,
    detector_options,
    json_option,
    note,
    progress,
    require_choice,
)
from edgegender.errors import CheckFailedError, OutputError, UsageError

if TYPE_CHECKING:
    from edgegender.benchmark.records import BenchmarkResult, Durations
    from edgegender.benchmark.run import DataSource
    from edgegender.cli.photo_samples import PhotoSamples


def parse_threads(text: str) -> list[int]:
    """Returns numbers of threads, each once, in the order given; ``all`` stands for the cores of this machine.

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
        found.append(available_cores() if word == "all" else int(word))
    return list(dict.fromkeys(found))


def _command_line(models: Sequence[Path], **options: object) -> list[str]:
    """Returns the command with the names of files only: their folders may name a person."""
    words = ["edgegender", "benchmark", *(model.name for model in models)]
    for name, value in options.items():
        if value is True:
            words.append(f"--{name.replace('_', '-')}")
        elif value:
            words += [f"--{name.replace('_', '-')}", value.name if isinstance(value, Path) else str(value)]
    return words


def _output_files(output: Path | None, results: Sequence[Path | None]) -> list[Path | None]:
    """Returns a file for each model: ``output`` itself for one, files in it for several."""
    if output is None or len(results) == 1:
        return [output] * len(results)
    if output.suffix == ".json" or output.is_file():
        raise UsageError(
            f"Expected a folder for the results of {len(results)} models, got {output}.",
            hint="For example: -o results",
        )
    return [output / f"{'embedded' if model is None else model.stem}.json" for model in results]


def _require_models(models: Sequence[Path]) -> list[Path | None]:
    names = [model.stem for model in models]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"Expected models with different names, got {twice[0]} twice.", hint="Measure them with one command each."
        )
    return list(models) or [None]


@dataclass(frozen=True)
class _Plan:
    """What is the same for each model."""

    threads: Sequence[int]
    durations: Durations
    source: DataSource
    command_line: Sequence[str]


def _measure(model: Path | None, photos: PhotoSamples | None, plan: _Plan) -> BenchmarkResult:
    from edgegender.benchmark.run import benchmark_model
    from edgegender.runtime.classifier import Classifier

    classifier = Classifier(model)
    with contextlib.ExitStack() as stack:
        update = stack.enter_context(progress(f"answering for {classifier.file.path.name}"))

        def start_configuration(num_threads: int) -> None:
            stack.close()  # a moving bar would take time from the processor that is measured
            if sys.stderr.isatty():
                note(f"measuring with {num_threads} thread(s), about {plan.durations.min_seconds:g} s or more …")

        return benchmark_model(
            classifier,
            None if photos is None else photos.of(classifier),
            threads=plan.threads,
            durations=plan.durations,
            source=plan.source,
            command_line=plan.command_line,
            on_sample=lambda done: update(done, len(photos) if photos is not None else done),
            on_configuration=start_configuration,
        )


def _require_writable(output: Path | None) -> None:
    """Finds out before measuring for minutes, not after."""
    if output is None:
        return
    folder = files.make_folder(output.parent)
    is_writable = os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)
    if output.is_dir() or not is_writable:
        raise OutputError(f"Expected a file that can be written, got {output}.", hint="Choose another name with -o.")


def _require_valid(results: Sequence[BenchmarkResult]) -> None:
    reasons = [warning.text for result in results for warning in result.warnings if warning.is_invalidating]
    if reasons:
        raise CheckFailedError(
            f"Expected a valid measurement, got: {reasons[0]}.", hint="Measure again, on a calm, cool machine."
        )


@click.command(name="benchmark")
@click.argument("models", nargs=-1, type=FOLDER, metavar="[MODEL]...")
@click.option("--target", default="cpu", show_default=True, help="cpu: this machine's processor.")
@click.option("--data", "data_path", type=FOLDER, help="Manifest (CSV) of the photos; without it only latency.")
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@detector_options("none")
@click.option("--threads", default="1,all", show_default=True, help="Numbers of threads, each measured by itself.")
@click.option("--quick", is_flag=True, help="1 s and 100 runs a configuration instead of 5 s and 500.")
@click.option("-o", "--output", type=FOLDER, help="Where to record the result (.json); a folder for several models.")
@json_option
def command(
    models: tuple[Path, ...],
    target: str,
    data_path: Path | None,
    split: str,
    detector: str,
    detector_path: Path | None,
    threads: str,
    quick: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure MODELs (default: the embedded model): accuracy, F1 and latency, from one file in one run.

    Each number of threads is measured by a fresh process, and its scores must equal those of the accuracy run.
    Rows with a face_box are cropped by it. For others --detector looks for the face; none takes the photo as a crop.
    """
    from edgegender.benchmark.records import QUICK, Durations
    from edgegender.benchmark.result import format_document, result_to_json, write_result
    from edgegender.benchmark.run import TARGETS, DataSource
    from edgegender.cli.benchmark_text import print_result, warn_of_result
    from edgegender.cli.photo_samples import read_photos
    from edgegender.runtime.detector import create_detector

    require_choice(target, TARGETS, "a target")
    numbers = parse_threads(threads)
    chosen = _require_models(models)
    outputs = _output_files(output, chosen)
    for path in outputs:
        _require_writable(path)
    photos = read_photos(data_path, split, chosen, create_detector(detector, detector_path)) if data_path else None
    options = {"target": target, "data": data_path, "split": split if data_path else "", "detector": detector}
    words = _command_line(models, **options, detector_path=detector_path, threads=threads, quick=quick, output=output)
    source = DataSource(data_path.name if data_path else "", split, detector, detector_path)
    plan = _Plan(numbers, QUICK if quick else Durations(), source, words)
    results: list[BenchmarkResult] = []
    for model, path in zip(chosen, outputs, strict=True):
        result = _measure(model, photos, plan)
        try:
            if path is not None:
                write_result(path, result)
        finally:  # a full disk must not take the figures along
            if not as_json:
                click.echo("\n" if results else "", nl=False)
                print_result(result)
            warn_of_result(result)
        results.append(result)
    if photos is not None:
        photos.warn_of_problems()
    if as_json:
        documents = [format_document(result_to_json(result)) for result in results]
        click.echo(documents[0] if len(documents) == 1 else f"[{','.join(documents)}]\n", nl=False)
    _require_valid(results)
