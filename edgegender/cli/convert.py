"""``edgegender convert``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edgegender.cli.backend_options import use_backend
from edgegender.cli.console import (
    FOLDER,
    data_option,
    json_option,
    note,
    print_json,
    print_table,
    require_choice,
    require_writable,
    warn,
)
from edgegender.errors import CheckFailedError, DataError, UsageError

if TYPE_CHECKING:
    import keras

    from edgegender.conversion.convert import Conversion, MeasuredPhotos
    from edgegender.data.manifest import Manifest
    from edgegender.entities import UInt8Array
    from edgegender.training.run_folder import Run


def _measure(run: Run, model: keras.Model, manifest: Manifest) -> MeasuredPhotos:
    from edgegender.conversion.convert import MeasuredPhotos
    from edgegender.data.manifest import require_labels
    from edgegender.training.dataset import evaluation_batches, to_samples
    from edgegender.training.validation import predict_scores

    require_labels(manifest, where="the photos to measure on", labels=run.labels)
    samples = to_samples(manifest, run.labels)
    scores, positions = predict_scores(model, samples, run.preprocessing)
    readable = [samples[position] for position in positions]

    def inputs() -> Iterator[UInt8Array]:
        for batch, _ in evaluation_batches(readable, run.preprocessing):
            yield from batch

    return MeasuredPhotos(inputs, np.asarray([sample.label_index for sample in readable]), scores)


def _summary(conversion: Conversion, path: Path, sha256: str) -> dict[str, object]:
    gate = conversion.gate
    return {
        "is_passed": gate.is_passed,
        "problems": list(gate.problems),
        "model": str(path) if gate.is_passed else None,
        "sha256": sha256 or None,
        "size_bytes": len(conversion.content) or None,
        "quantization_seconds": round(conversion.seconds, 2),
        "peak_memory_bytes": conversion.peak_memory_bytes,
        "temperature": conversion.metadata.temperature,
        "unsure_below": conversion.metadata.unsure_below,
        "max_score_change": round(gate.max_score_change, 4),
        "mean_score_change": round(gate.mean_score_change, 4),
        "p_value": round(gate.difference.p_value, 6),
        **conversion.metadata.metrics,
    }


def _print_conversion(conversion: Conversion) -> None:
    from edgegender.reporting.evaluation import format_interval

    gate = conversion.gate
    print_table(
        ["", "float", "int8"],
        [
            [
                "accuracy %",
                format_interval(gate.float_evaluation.accuracy),
                format_interval(gate.quantized_evaluation.accuracy),
            ],
            [
                f"F1 of {gate.float_evaluation.positive_label} %",
                format_interval(gate.float_evaluation.f1),
                format_interval(gate.quantized_evaluation.f1),
            ],
        ],
    )
    click.echo(
        f"\naccuracy change {format_interval(gate.difference.difference)} points, {gate.difference.flips} of "
        f"{gate.float_evaluation.num_photos} answers flipped ({100 * gate.difference.flip_rate:.2f} %), McNemar p = "
        f"{gate.difference.p_value:.3g}, largest score change {gate.max_score_change:.2f}"
    )
    click.echo(f"quantized in {conversion.seconds:.1f} s, peak memory {conversion.peak_memory_bytes / 2**20:.0f} MiB")


@click.command(name="convert")
@click.argument("run_folder", metavar="RUN", type=FOLDER)
@data_option
@click.option("--int8", "is_int8", is_flag=True, default=True, help="Integer weights and activations (the default).")
@click.option("-o", "--output", type=FOLDER, help="The .tflite to write.  [default: RUN/model.tflite]")
@click.option("--representative", default=500, show_default=True, help="Photos for calibration, drawn by label.")
@click.option("--representative-split", default="train", show_default=True, help="Where they are drawn from.")
@click.option("--evaluation-split", default="test", show_default=True, help="Where float and int8 are compared.")
@click.option(
    "--validation-split", help='Where temperature and "unsure" band are fitted.  [default: what the run validated on]'
)
@click.option("--max-drop", default=0.5, show_default=True, help="Largest accepted fall of accuracy, points.")
@click.option("--seed", default=0, show_default=True, help="Of the draw.")
@click.option("--name", default="", help="Short name of the model.")
@click.option("--undated", is_flag=True, help="No time inside: the same inputs give the same bytes.")
@json_option
def command(
    run_folder: Path,
    data_path: Path,
    is_int8: bool,
    output: Path | None,
    representative: int,
    representative_split: str,
    evaluation_split: str,
    validation_split: str | None,
    max_drop: float,
    seed: int,
    name: str,
    undated: bool,
    as_json: bool,
) -> None:
    """Quantize RUN to a .tflite with uint8 in and out; raw RGB bytes go straight in.

    Refused with exit 1, and nothing is written, when accuracy falls by more than --max-drop, when one label is hardly
    ever answered any more, or when a calibration photo is also evaluated on.
    """
    from edgegender.conversion.calibration import MIN_PHOTOS, build_representative, check_disjoint, choose_rows
    from edgegender.conversion.convert import convert, write_model
    from edgegender.data.manifest import SPLITS, Manifest
    from edgegender.data.manifest_file import read_manifest
    from edgegender.entities import ModelMetadata, QuantizationScheme
    from edgegender.images import read_image
    from edgegender.preprocess import to_input
    from edgegender.training.preparation import hash_rows
    from edgegender.training.run_folder import describe_environment, load_model, load_run

    use_backend("tensorflow")  # whatever trained the run: the converter is TensorFlow's
    del is_int8  # the only scheme there is, so far; the flag is kept in scripts that name it
    for value, option in ((representative_split, "--representative-split"), (evaluation_split, "--evaluation-split")):
        require_choice(value, SPLITS, option)
    target = output or run_folder / "model.tflite"
    if target.suffix != ".tflite" or target.is_dir():
        raise UsageError(f"Expected a file name ending in .tflite, got {target}.")
    require_writable(target)
    run = load_run(run_folder)
    validation_split = require_choice(validation_split or run.recipe.validation_split, SPLITS, "--validation-split")
    if validation_split == evaluation_split:
        warn(f"temperature and band are fitted on the photos they are measured on (split {evaluation_split})")
    manifest = read_manifest(data_path)
    evaluation_rows = manifest.select(split=evaluation_split)
    if not len(evaluation_rows):
        raise DataError(f"Expected photos in split {evaluation_split}, got none ({data_path}).")
    chosen = choose_rows(manifest.select(split=representative_split), num_photos=representative, seed=seed)
    check_disjoint(Manifest.from_rows(manifest.folder, chosen), evaluation_rows)
    if len(chosen) < MIN_PHOTOS:
        warn(f"only {len(chosen)} representative photos; {MIN_PHOTOS} and more show the range of the activations")
    dataset = build_representative(
        chosen,
        lambda row: to_input(read_image(manifest.file(row)), row.face_box, run.preprocessing),
        on_skip=_warn_skipped,
    )
    model = load_model(run)
    note("measuring the float network …")
    validation = _measure(run, model, manifest.select(split=validation_split))
    evaluation = _measure(run, model, evaluation_rows)
    note("quantizing …")
    template = ModelMetadata(
        labels=run.labels,
        positive_label=run.positive_label,
        preprocessing=run.preprocessing,
        architecture=f"{run.recipe.architecture} {run.recipe.alpha:g}",
        scheme=QuantizationScheme.FULL_INTEGER,
        threshold=run.threshold,
        name=name or target.stem,
        provenance={
            "recipe": run.recipe.name,
            "seed": run.recipe.seed,
            "train_data_sha256": run.data_sha256,
            "evaluation_data_sha256": hash_rows(evaluation_rows),
            "versions": describe_environment(),
        },
    )
    conversion = convert(
        model,
        template,
        dataset,
        validation=validation,
        evaluation=evaluation,
        evaluation_split=evaluation_split,
        max_drop=max_drop,
        is_dated=not undated,
    )
    sha256 = write_model(conversion, target) if conversion.gate.is_passed else ""
    if as_json:
        print_json(_summary(conversion, target, sha256))
    else:
        _print_conversion(conversion)
    if not conversion.gate.is_passed:
        if not as_json:
            click.echo("❎ converted but refused: nothing was written")
        raise CheckFailedError(
            f"Expected the int8 network to be as good as the float one, but {'; '.join(conversion.gate.problems)}.",
            hint="Use more --representative photos, a wider network, or accept it with a larger --max-drop.",
        )
    if not as_json:
        click.echo(f"✅ passed → {target} ({len(conversion.content) / 1e6:.2f} MB, sha256 {sha256[:12]}…)")


def _warn_skipped(path: str) -> None:
    warn(f"{path}: unreadable, not calibrated on")
