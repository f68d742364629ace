"""``edgegender convert``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegender.cli.backend_options import use_backend
from edgegender.cli.console import (
    FOLDER,
    data_option,
    note,
    require_choice,
    require_writable,
    warn,
)
from edgegender.cli.convert_options import ALL, Request, add_options, check_request
from edgegender.cli.convert_outcome import Job, settle
from edgegender.entities import QuantizationScheme
from edgegender.errors import DataError, UsageError

if TYPE_CHECKING:
    from edgegender.cli.convert_source import Source
    from edgegender.conversion.calibration import RepresentativeDataset
    from edgegender.conversion.ladder import Ladder
    from edgegender.data.manifest import Manifest
    from edgegender.entities import ModelMetadata


def _template(request: Request, source: Source, dataset: RepresentativeDataset, evaluation: Manifest) -> ModelMetadata:
    from edgegender.entities import ModelMetadata
    from edgegender.training.preparation import hash_rows
    from edgegender.training.run_folder import describe_environment

    return ModelMetadata(
        labels=source.labels,
        positive_label=source.positive_label,
        preprocessing=source.preprocessing,
        architecture=source.architecture,
        scheme=request.chosen_scheme if request.scheme != ALL else QuantizationScheme.FLOAT32,
        threshold=source.threshold,
        name=request.name or (request.output.stem if request.output else "model"),
        provenance={
            **source.provenance,
            "evaluation_data_sha256": hash_rows(evaluation),
            "representative_sha256": dataset.sha256,
            "representative_counts": dataset.counts,
            "representative_seed": request.seed,
            "versions": describe_environment(),
        },
    )


def _prepare(request: Request, path: Path, data_path: Path) -> Job:
    from edgegender.cli.convert_photos import measure, read_representative, training_inputs
    from edgegender.cli.convert_rungs import Training, compress
    from edgegender.cli.convert_source import load_source
    from edgegender.conversion.calibration import group_cells
    from edgegender.conversion.float_network import build_float_network
    from edgegender.conversion.gate import require_two_labels
    from edgegender.conversion.quantization import Quantizer
    from edgegender.data.manifest import SPLITS
    from edgegender.data.manifest_file import read_manifest

    manifest = read_manifest(data_path)
    # numbers such as age are cut into bins once, over all splits: a group is the same people everywhere
    manifest = manifest.with_columns(group_cells(manifest, request.group_by))
    source = load_source(
        path,
        labels=request.labels,
        scaling=request.scaling,
        crop_margin=request.crop_margin,
        positive_label=request.positive_label,
    )
    validation_split = require_choice(request.validation_split or source.validation_split, SPLITS, "--validation-split")
    if validation_split == request.evaluation_split:
        warn(f"temperature and band are fitted on the photos they are measured on (split {validation_split})")
    evaluation_rows = manifest.select(split=request.evaluation_split)
    if not len(evaluation_rows):
        raise DataError(f"Expected photos in split {request.evaluation_split}, got none ({data_path}).")
    dataset = read_representative(
        manifest,
        source,
        split=request.representative_split,
        evaluation=evaluation_rows,
        num_photos=request.representative,
        seed=request.seed,
        group_by=request.group_by,
        is_forced=request.is_forced,
    )
    note("measuring the float network …")
    evaluation = measure(source, manifest, split=request.evaluation_split, group_by=request.group_by)
    require_two_labels(evaluation.annotated)
    validation = measure(source, manifest, split=validation_split, group_by=request.group_by)
    training = Training(
        lambda: training_inputs(manifest, source, batch_size=64, seed=request.seed),
        request.qat_steps or request.steps,
        request.learning_rate,
        request.seed,
    )
    model, compression = compress(source, training, sparsity=request.sparsity, num_clusters=request.num_clusters)
    note("converting …")
    started = time.perf_counter()
    network = build_float_network(model, scaling=source.preprocessing.scaling)
    conversion_seconds = time.perf_counter() - started
    template = _template(request, source, dataset, evaluation_rows)
    template = replace(template, preprocessing=replace(template.preprocessing, scaling=network.scaling))
    if compression:
        template = replace(template, provenance={**template.provenance, "compression": compression})
    return Job(
        request,
        source,
        Quantizer(network, dataset.inputs),
        training,
        template,
        dataset,
        validation,
        evaluation,
        compression,
        conversion_seconds,
    )


def _climb(job: Job) -> Ladder:
    from edgegender.cli.convert_rungs import ladder_rungs, qat_rung, scheme_rung
    from edgegender.conversion.ladder import climb

    request = job.request
    if request.is_auto:
        rungs = ladder_rungs(
            job.source, job.quantizer, job.training, request.plan, is_mixed_allowed=not request.is_edge_tpu
        )
    elif request.qat_steps is not None:
        rungs = [qat_rung(job.source, job.training, request.plan)]
    else:
        rungs = [scheme_rung(request.chosen_scheme, job.quantizer, request.plan, float_layers=request.float_layers)]
    note("quantizing …")
    return climb(
        rungs,
        job.template,
        validation=job.validation,
        evaluation=job.evaluation,
        evaluation_split=request.evaluation_split,
        bars=request.bars,
        is_validated_first=request.is_auto,
        on_step=(lambda step: note(f"{step.mark} {step.name}")) if request.is_auto else None,
    )


@click.command(name="convert")
@click.argument("source_path", metavar="RUN", type=FOLDER)
@data_option
@add_options
def command(source_path: Path, data_path: Path, **options: Any) -> None:  # noqa: ANN401 - click passes them by name
    """Quantize RUN, a run folder or a .keras file, to a .tflite that takes raw RGB bytes.

    Refused with exit 1, and nothing is written, when accuracy or F1 falls by more than --max-drop, when more than
    --max-flips of the answers change, when a group loses more than --max-group-drop, when one label is hardly ever
    answered any more, or when a calibration photo is also evaluated on.
    """
    from edgegender.data.manifest import SPLITS

    use_backend("tensorflow")  # whatever trained the run: the converter is TensorFlow's
    request = Request(**options)
    check_request(request)
    _ = request.bars  # a bar out of its range is refused before the work
    require_choice(request.representative_split, SPLITS, "--representative-split")
    require_choice(request.evaluation_split, SPLITS, "--evaluation-split")
    if request.report_path is not None:
        require_writable(request.report_path)
    if request.scheme == ALL:
        from edgegender.cli.convert_table import run_all, table_folder

        folder = table_folder(request.output, source_path)
        run_all(_prepare(request, source_path, data_path), folder)
        return
    target = request.output or (source_path if source_path.is_dir() else source_path.parent) / "model.tflite"
    if target.suffix != ".tflite" or target.is_dir():
        raise UsageError(f"Expected a file name ending in .tflite, got {target}.")
    require_writable(target)
    job = _prepare(request, source_path, data_path)
    settle(job, _climb(job), target)
