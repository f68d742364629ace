"""``edgegender benchmark``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.benchmark_loadgen import run_scenarios
from edgegender.cli.benchmark_plan import (
    ResultFiles,
    choose_durations,
    command_words,
    parse_options,
    parse_threads,
)
from edgegender.cli.console import FOLDER, detector_options, json_option, models_folder, note, progress
from edgegender.errors import CheckFailedError, UsageError

if TYPE_CHECKING:
    from edgegender.benchmark.records import BenchmarkResult, Durations
    from edgegender.benchmark.run import DataSource
    from edgegender.cli.benchmark_models import BenchmarkedModel
    from edgegender.cli.photo_samples import PhotoSamples

_CPU = "cpu"


def _require_models(models: Sequence[Path]) -> list[Path | None]:
    names = [model.stem for model in models]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"Expected models with different names, got {twice[0]} twice.", hint="Measure them with one command each."
        )
    return list(models) or [None]


def _require_engines(models: Sequence[BenchmarkedModel], engines: Sequence[str]) -> None:
    """Finds a wrong name before anything is measured."""
    for model in models:
        for engine in engines or ("",):
            model.find_entry(engine)


@dataclass(frozen=True)
class _Plan:
    """What is the same for each model."""

    address: str
    threads: Sequence[int]
    durations: Durations
    until_share: float | None
    engines: Sequence[str]
    options: Sequence[str]
    source: DataSource
    command_line: Sequence[str]
    loadgen: Path | None


class _Recorder:
    """Records and prints each result as soon as it is there: what was measured before a failure is kept."""

    def __init__(self, *, is_silent: bool) -> None:
        self.results: list[BenchmarkResult] = []
        self._is_silent = is_silent

    def take(self, result: BenchmarkResult, path: Path | None) -> None:
        from edgegender.benchmark.result import write_result
        from edgegender.cli.benchmark_text import print_result, warn_of_result

        self.results.append(result)
        try:
            if path is not None:
                write_result(path, result)
        finally:  # a full disk must not take the figures along
            if not self._is_silent:
                click.echo("\n" if len(self.results) > 1 else "", nl=False)
                print_result(result)
            warn_of_result(result)

    def finish(self) -> None:
        """Prints one JSON document where that was asked for, and says whether the figures may be used."""
        from edgegender.benchmark.result import format_document, result_to_json

        if self._is_silent:
            documents = [format_document(result_to_json(result)) for result in self.results]
            click.echo(documents[0] if len(documents) == 1 else f"[{','.join(documents)}]\n", nl=False)
        reasons = [warning.text for result in self.results for warning in result.warnings if warning.is_invalidating]
        if reasons:
            raise CheckFailedError(
                f"Expected a valid measurement, got: {reasons[0]}.", hint="Measure again, on a calm, cool machine."
            )


def _measure_here(model: BenchmarkedModel, engine: str, photos: PhotoSamples | None, plan: _Plan) -> BenchmarkResult:
    from edgegender.benchmark.run import benchmark_model
    from edgegender.cli.benchmark_models import ModelSamples

    entry = model.find_entry(engine)
    by_engine = f" by {engine}" if engine else ""
    with contextlib.ExitStack() as stack:
        update = stack.enter_context(progress(f"answering for {model.subject.path.name}{by_engine}"))

        def start_configuration(num_threads: int) -> None:
            stack.close()  # a moving bar would take time from the processor that is measured
            if sys.stderr.isatty():
                note(f"measuring with {num_threads} thread(s), about {plan.durations.min_seconds:g} s or more …")

        return benchmark_model(
            model.subject,
            None if photos is None else ModelSamples(photos, model),
            threads=plan.threads,
            durations=plan.durations,
            until_share=plan.until_share,
            engine=entry,
            source=plan.source,
            command_line=plan.command_line,
            on_sample=lambda done: update(done, len(photos) if photos is not None else done),
            on_configuration=start_configuration,
        )


def _measure_all_here(
    models: Sequence[BenchmarkedModel],
    photos: PhotoSamples | None,
    plan: _Plan,
    outputs: ResultFiles,
    recorder: _Recorder,
) -> None:
    if plan.options:
        raise UsageError(f"Expected no --option for the target cpu, got {plan.options[0]!r}.")
    for model in models:
        for engine in plan.engines or ("",):
            result = _measure_here(model, engine, photos, plan)
            recorder.take(result, outputs.path_of(model.stem, engine))
            if plan.loadgen is not None:
                name = f"{model.stem}-{engine}" if engine else model.stem
                run_scenarios(model.subject.path, model.find_entry(engine), result, plan.loadgen / name)


def _measure_elsewhere(
    models: Sequence[BenchmarkedModel],
    photos: PhotoSamples | None,
    plan: _Plan,
    outputs: ResultFiles,
    recorder: _Recorder,
) -> None:
    from edgegender.benchmark.targets import TargetRequest, measure_on_target, parse_target
    from edgegender.cli.benchmark_models import ModelSamples

    if plan.loadgen is not None:
        raise UsageError("Expected --loadgen on this processor, got another target.", hint="--target cpu")
    rivals = [model.stem for model in models if model.is_rival]
    if rivals:
        raise UsageError(
            f"Expected .tflite files of edgegender on another target, got {rivals[0]}.json.",
            hint="Networks of others are measured on this processor: --target cpu",
        )
    options = dict(parse_options(plan.options))
    if parse_target(plan.address) == "browser" and not {"litertjs", "cache"} & set(options):
        options["cache"] = str(models_folder())
    stems = {model.subject.record.sha256: model.stem for model in models}

    def take_once(result: BenchmarkResult) -> None:
        if not any(result is other for other in recorder.results):
            stem = stems.get(result.model.sha256, models[0].stem)
            recorder.take(result, outputs.path_for(stem, result))

    request = TargetRequest(
        target=parse_target(plan.address),
        address=plan.address,
        models=tuple(model.subject.path for model in models),
        samples=tuple(None if photos is None else ModelSamples(photos, model) for model in models),
        num_samples=0 if photos is None else len(photos),
        source=plan.source,
        threads=tuple(plan.threads),
        durations=plan.durations,
        until_share=plan.until_share,
        engines=tuple(plan.engines),
        options=options,
        command_line=tuple(plan.command_line),
        on_progress=note,
        on_result=take_once,
    )
    for result in measure_on_target(request):
        take_once(result)


@click.command(name="benchmark")
@click.argument("models", nargs=-1, type=FOLDER, metavar="[MODEL]...")
@click.option(
    "--target",
    default=_CPU,
    show_default=True,
    help="Where: cpu or gpu (this machine), ssh://user@host, adb:// or adb://serial, browser (any phone).",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="What runs the network, again for several: litert (default), litert-no-xnnpack, litert-reference (exact), "
    "tflite-runtime, onnxruntime, openvino, keras-jax, …",
)
@click.option("--data", "data_path", type=FOLDER, help="Manifest (CSV) of the photos; without it only latency.")
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@detector_options("none")
@click.option("--threads", default="1,all", show_default=True, help="Numbers of threads, each measured by itself.")
@click.option("--short", is_flag=True, help="A look: 1 s and 100 runs a configuration instead of 5 s and 500.")
@click.option("--quick", is_flag=True, help="10 s and 1,024 runs.")
@click.option("--publishable", is_flag=True, help="600 s and 24,576 runs, as MLPerf's single stream.")
@click.option("--until", default="", metavar="SHARE", help="Until p90's 95 % interval is this narrow, such as 0.5%.")
@click.option(
    "--loadgen", type=FOLDER, metavar="DIR", help="Run it under MLPerf's LoadGen, too, and leave its logs in DIR."
)
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="What only this target understands.")
@click.option("-o", "--output", type=FOLDER, help="Where to record the result (.json); a folder for several.")
@json_option
def command(
    models: tuple[Path, ...],
    target: str,
    engines: tuple[str, ...],
    data_path: Path | None,
    split: str,
    detector: str,
    detector_path: Path | None,
    threads: str,
    short: bool,
    quick: bool,
    publishable: bool,
    until: str,
    loadgen: Path | None,
    options: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure MODELs (default: the embedded model): accuracy, F1 and latency, from one file in one run.

    A MODEL is a .tflite of edgegender, or the description (.json) of a network of somebody else. Each number of threads
    is measured by fresh processes, and their scores must equal those of the accuracy run. Rows with a face_box are
    cropped by it. For others --detector looks for the face; none takes the photo as a crop.
    """
    from edgegender.benchmark.run import DataSource
    from edgegender.benchmark.targets import parse_target
    from edgegender.cli.benchmark_models import open_model
    from edgegender.cli.photo_samples import read_labelled_photos
    from edgegender.runtime.detector import create_detector

    place = parse_target(target)
    engines = tuple(dict.fromkeys(engines))
    durations, until_share = choose_durations(until=until, short=short, quick=quick, publishable=publishable)
    numbers = parse_threads(threads, is_elsewhere=place not in (_CPU, "gpu"))
    chosen = [open_model(path) for path in _require_models(models)]
    if place == _CPU:
        _require_engines(chosen, engines)
    outputs = ResultFiles(output, [model.stem for model in chosen], engines if place == _CPU else ())
    photos = None
    if data_path:
        labels = [model.subject.record.labels for model in chosen]
        photos = read_labelled_photos(data_path, split, labels, create_detector(detector, detector_path))
    words = command_words(
        models,
        target=place,
        engine=engines,
        data=data_path,
        split=split if data_path else "",
        detector=detector,
        detector_path=detector_path,
        threads=threads,
        short=short,
        quick=quick,
        publishable=publishable,
        until=until,
        loadgen=loadgen,
        output=output,
    )
    source = DataSource(data_path.name if data_path else "", split, detector, detector_path)
    plan = _Plan(target, numbers, durations, until_share, engines, options, source, words, loadgen)
    recorder = _Recorder(is_silent=as_json)
    measure_all = _measure_all_here if place == _CPU else _measure_elsewhere
    measure_all(chosen, photos, plan, outputs, recorder)
    if photos is not None:
        photos.warn_of_problems()
    recorder.finish()
