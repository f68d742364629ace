"""``edgegender data audit-labels``: labels that the photos do not bear out, for a person to look at."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, note, percent, print_json, progress, require_writable
from edgegender.cli.data_options import require_manifest_target, require_module
from edgegender.cli.face_vectors import VectorOptions, embed_manifest, vector_options
from edgegender.errors import UsageError

if TYPE_CHECKING:
    from edgegender.data.label_audit import LabelAudit
    from edgegender.data.manifest import Manifest

_WEAK_ACCURACY = 0.9  # far below what the same vectors give on some thousand photos, 0.97
_EXPLANATION = (
    "Each label was judged from the face by a model that was trained on other photos, of other people. The first rows "
    "are those that it doubts most. It may be wrong: look at the picture. The question is whether the annotated label "
    "is what people would perceive, never who the person is."
)


def _audit(manifest: Manifest, vectors: VectorOptions, resume_path: Path) -> tuple[Manifest, LabelAudit, list[str]]:
    """Returns the manifest with the audit's columns, the audit, and the paths of its rows."""
    import numpy as np

    from edgegender.data.label_audit import audit_labels
    from edgegender.data.people import group_people, name_people

    usable = manifest.select()
    found = embed_manifest(usable, vectors, resume_path=resume_path)
    has_face = np.flatnonzero([not problem for problem in found.problems]).tolist()
    judged = usable.take(has_face)
    if "person" in manifest.column_names:
        groups = list(judged.column("person"))
    else:
        groups = list(name_people(judged.column("path"), group_people(found.vectors[has_face])))
    with progress("judging labels") as update:
        audit = audit_labels(found.vectors[has_face], judged.column("label"), groups, on_progress=update)
    paths = list(judged.column("path"))
    place = {path: index for index, path in enumerate(paths)}
    columns: dict[str, list[str]] = {"label_quality": [], "suggested_label": [], "label_issue": []}
    for path in manifest.column("path"):
        index = place.get(path)
        columns["label_quality"].append("" if index is None else f"{audit.quality[index]:.4f}")
        columns["suggested_label"].append("" if index is None else audit.suggested[index])
        columns["label_issue"].append("yes" if index is not None and audit.is_issue[index] else "")
    return manifest.with_columns(columns), audit, paths


def _write_sheet(target: Path, manifest: Manifest, audit: LabelAudit, paths: list[str], num_photos: int) -> None:
    from edgegender.reporting.review_sheet import ReviewedRow, write_review_sheet

    label_of = dict(zip(manifest.column("path"), manifest.column("label"), strict=True))
    rows = [
        ReviewedRow(
            rank,
            paths[index],
            manifest.folder / paths[index],
            label_of[paths[index]],
            audit.suggested[index],
            float(audit.quality[index]),
        )
        for rank, index in enumerate(audit.ranking[:num_photos].tolist(), start=1)
    ]
    title = f"Labels of {manifest.folder.name} to look at"
    write_review_sheet(target, rows, title=title, explanation=_EXPLANATION, score_name="label quality")


def _apply_decisions(manifest: Manifest, decisions_path: Path) -> tuple[Manifest, Counter[str]]:
    """Excludes what a person called wrong or unclear, and takes the mark off what is right."""
    from edgegender.reporting.review_sheet import read_decisions

    decisions = read_decisions(decisions_path)
    unknown = sorted(set(decisions) - set(manifest.column("path")))
    if unknown:
        raise UsageError(
            f"Expected decisions on photos of the manifest, got {unknown[0]} ({decisions_path}).",
            hint="Use the manifest that the sheet was made from.",
        )
    exclude, issue = list(manifest.column("exclude")), list(manifest.column("label_issue"))
    for index, path in enumerate(manifest.column("path")):
        decision = decisions.get(path, "")
        if decision in ("wrong", "unclear"):
            exclude[index] = exclude[index] or f"label_{decision}"
        elif decision == "right":
            issue[index] = ""
    return manifest.with_columns({"exclude": exclude, "label_issue": issue}), Counter(decisions.values())


def _exclude_issues(manifest: Manifest) -> Manifest:
    pairs = zip(manifest.column("exclude"), manifest.column("label_issue"), strict=True)
    return manifest.with_columns({"exclude": [reason or ("label_issue" if issue else "") for reason, issue in pairs]})


@click.command(name="audit-labels", short_help="Labels that the faces do not bear out.")
@click.argument("manifest_path", metavar="MANIFEST", type=FOLDER)
@click.option("-o", "--output", type=FOLDER, required=True, help="The manifest to write: .csv or .parquet.")
@click.option("--sheet", type=FOLDER, help="Write a review sheet (HTML) of the most doubtful photos. It holds photos.")
@click.option("--num-photos", default=200, show_default=True, help="Photos on the sheet.")
@click.option("--decisions", type=FOLDER, help="Apply the decisions (CSV) that a sheet saved, instead of an audit.")
@click.option("--exclude-issues", is_flag=True, help="Leave out, without a look, all that are counted as wrong.")
@vector_options
@json_option
def audit(
    manifest_path: Path,
    output: Path,
    sheet: Path | None,
    num_photos: int,
    decisions: Path | None,
    exclude_issues: bool,
    vectors: VectorOptions,
    as_json: bool,
) -> None:
    """Rank labels by how little the face bears them out; mark rows, write a sheet for a person; delete nothing.

    Columns: label_quality (0 to 1, low is doubtful), suggested_label, label_issue (yes: counted as wrong). Then look
    at the sheet in a browser, save the decisions, and run this again with --decisions: labels called wrong or unclear
    are excluded, the mark is taken off those called right.
    """
    from edgegender.data.manifest_file import read_manifest, write_manifest

    if num_photos < 1:
        raise UsageError(f"Expected --num-photos of at least 1, got {num_photos}.")
    require_manifest_target(output)
    if sheet is not None:
        require_writable(sheet)
        require_module("jinja2", "Jinja2", extra="data", instead="leave out --sheet")
    manifest = read_manifest(manifest_path)
    if decisions is not None:
        done, counts = _apply_decisions(manifest, decisions)
        write_manifest(output, done)
        if as_json:
            print_json({"manifest": str(output), "decisions": dict(sorted(counts.items()))})
        else:
            told = ", ".join(f"{count} {decision}" for decision, count in sorted(counts.items()))
            click.echo(f"{told or 'no decisions'} → {output}")
        return
    resume_path = output.with_name(f".{output.name}.journal")
    done, result, paths = _audit(manifest, vectors, resume_path)
    if sheet is not None:
        _write_sheet(sheet, manifest, result, paths, num_photos)
    write_manifest(output, _exclude_issues(done) if exclude_issues else done)
    resume_path.unlink(missing_ok=True)
    num_issues = int(result.is_issue.sum())
    if as_json:
        values = {"num_judged": len(paths), "num_issues": num_issues, "out_of_fold_accuracy": result.accuracy}
        print_json({"manifest": str(output), "sheet": str(sheet) if sheet else None, **values})
        return
    click.echo(
        f"{len(paths)} labels judged, {percent(result.accuracy)} % borne out by models that never saw the photo or the "
        f"person; {num_issues} counted as wrong → {output}"
    )
    if result.accuracy < _WEAK_ACCURACY:
        note("note: the models agree with few of the labels: most of their doubts are their own; look before excluding")
    if sheet is not None:
        note(f"hint: open {sheet}, decide, save, then: edgegender data audit-labels {output} --decisions FILE -o CLEAN")
