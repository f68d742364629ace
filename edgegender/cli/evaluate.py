"""``edgegender evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from edgegender.cli.console import (
    FOLDER,
    data_option,
    detector_options,
    json_option,
    print_json,
    print_table,
    progress,
    require_choice,
    require_writable,
    warn,
)
from edgegender.errors import MissingDependencyError

if TYPE_CHECKING:
    from edgegender.data.manifest import Manifest
    from edgegender.metrics import Evaluation


def _evaluate_run(folder: Path, manifest: Manifest) -> tuple[Evaluation, dict[str, object]]:
    from edgegender.data.manifest import require_labels
    from edgegender.metrics import evaluate_scores
    from edgegender.training.dataset import to_samples
    from edgegender.training.run_folder import load_model, load_run
    from edgegender.training.validation import predict_scores

    run = load_run(folder)
    require_labels(manifest, where="the chosen photos", labels=run.labels)
    samples = to_samples(manifest, run.labels)
    scores, positions = predict_scores(load_model(run), samples, run.preprocessing)
    annotated = np.asarray([samples[position].label_index for position in positions])
    evaluation = evaluate_scores(
        scores, annotated, labels=run.labels, positive_label=run.positive_label, threshold=run.threshold
    )
    about = {"model": folder.name, "kind": "float run", "num_unreadable": len(samples) - len(positions)}
    return evaluation, about


def _evaluate_file(
    path: Path | None, manifest: Manifest, detector: str, detector_path: Path | None
) -> tuple[Evaluation, dict[str, object]]:
    from edgegender.metrics import evaluate_scores
    from edgegender.reporting.evaluation import score_photos, summarize_coverage
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.detector import create_detector

    classifier = Classifier(path)
    metadata = classifier.metadata
    with progress("evaluating") as update:
        scored = score_photos(
            classifier, manifest, detector=create_detector(detector, detector_path), on_progress=update
        )
    evaluation = evaluate_scores(
        scored.scores,
        scored.annotated,
        labels=metadata.labels,
        positive_label=metadata.positive_label,
        threshold=metadata.threshold,
    )
    about: dict[str, object] = {
        "model": classifier.file.path.name,
        "kind": metadata.scheme.value,
        "model_sha256": classifier.file.sha256,
        "detector": detector,
        "num_no_face": len(scored.no_face),
        "num_unreadable": len(scored.unreadable),
        "abstention": summarize_coverage(scored, metadata.unsure_below, evaluation),
    }
    return evaluation, about


def _print_evaluation(evaluation: Evaluation, about: dict[str, object]) -> None:
    from edgegender.reporting.evaluation import format_interval

    click.echo(f"{about['model']} ({about['kind']}), {evaluation.num_photos} photos, 95 % intervals in brackets\n")
    rows = [["accuracy %", format_interval(evaluation.accuracy)]]
    rows += [[f"F1 of {evaluation.positive_label} %", format_interval(evaluation.f1)]]
    for label, report in evaluation.by_label.items():
        rows.append([f"precision {label} %", format_interval(report.precision)])
        rows.append([f"recall {label} %", f"{format_interval(report.recall)}  ({report.num_photos} photos)"])
    rows.append(["calibration error %", f"{100 * evaluation.expected_calibration_error:.2f}"])
    abstention = about.get("abstention")
    if isinstance(abstention, dict) and abstention["unsure_below"]:
        rows.append(
            [
                "when sure %",
                f"{100 * abstention['accuracy_when_sure']:.2f} of the {100 * abstention['coverage']:.1f} % answered "
                f"(score ≥ {abstention['unsure_below']:.3f})",
            ]
        )
    print_table(["figure", "value"], rows)
    click.echo("\nconfusion (rows annotated, columns predicted)")
    labels = list(evaluation.labels)
    print_table(
        ["", *labels], [[label, *map(str, row)] for label, row in zip(labels, evaluation.confusion, strict=True)]
    )
    for name, text in (("num_no_face", "without a face"), ("num_unreadable", "unreadable")):
        if about.get(name):
            warn(f"{about[name]} photos {text}: they are not in the figures")


@click.command(name="evaluate")
@click.argument("model", required=False, type=FOLDER)
@data_option
@click.option("--split", default="test", show_default=True, help="train, val, test, or all.")
@detector_options("none")
@click.option("-o", "--output", type=FOLDER, help="Folder for evaluation.json and the confusion matrix.")
@json_option
def command(
    model: Path | None,
    data_path: Path,
    split: str,
    detector: str,
    detector_path: Path | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure MODEL, a run folder or a .tflite (default: the embedded model), on a manifest's photos.

    Rows with a face_box are cropped by it. For others --detector looks for the face; none takes the photo as a crop.
    """
    from edgegender import files
    from edgegender.data.manifest import SPLITS, require_labels
    from edgegender.data.manifest_file import read_manifest
    from edgegender.reporting.evaluation import evaluation_to_json
    from edgegender.reporting.figures import draw_confusion

    require_choice(split, (*SPLITS, "all"), "--split")
    if output is not None:
        require_writable(output / "evaluation.json")
    manifest = read_manifest(data_path).select(split=None if split == "all" else split)
    require_labels(manifest, where=f"{data_path}, split {split}")
    if model is not None and model.is_dir():
        evaluation, about = _evaluate_run(model, manifest)
    else:
        evaluation, about = _evaluate_file(model, manifest, detector, detector_path)
    record = evaluation_to_json(evaluation, **about, data=data_path.name, split=split)
    if output is not None:
        files.write_json(output / "evaluation.json", record)
        try:
            draw_confusion(evaluation.confusion, evaluation.labels, output / "confusion", title=str(about["model"]))
        except MissingDependencyError as error:
            warn(f"no figure: {error} {error.hint}")
    if as_json:
        print_json(record)
    else:
        _print_evaluation(evaluation, about)
