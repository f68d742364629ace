"""``edgegender inspect``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from edgegender.cli.console import FOLDER, json_option, print_json, print_table


def _flatten(prefix: str, value: object) -> list[list[str]]:
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flatten(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, (list, tuple)):
        return [[prefix, ", ".join(map(str, value))]]
    return [[prefix, str(value)]]


@click.command(name="inspect")
@click.argument("model", required=False, type=FOLDER)
@json_option
def command(model: Path | None, as_json: bool) -> None:
    """Show what stands inside of MODEL: scheme, labels, preprocessing, threshold, provenance, operators.

    The file's digest and the sha256 beside it are checked first.
    """
    from edgegender.runtime.classifier import Classifier

    classifier = Classifier(model, num_threads=1)
    interpreter, file = classifier.interpreter, classifier.file
    metadata = dataclasses.asdict(file.metadata)
    values: dict[str, object] = {
        "file": str(file.path),
        "size_bytes": len(file.content),
        "sha256": file.sha256,
        "input": f"{interpreter.input_dtype} {list(interpreter.input_shape)} RGB",
        "output": f"{interpreter.output_dtype} [1, {interpreter.num_outputs}]",
        **{**metadata, "scheme": file.metadata.scheme.value, "labels": list(file.metadata.labels)},
        "operators": interpreter.count_operators(),
    }
    if as_json:
        print_json(values)
    else:
        print_table(["field", "value"], _flatten("", values))
