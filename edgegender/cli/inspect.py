"""``edgegender inspect``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import FOLDER, json_option, print_json, print_table

if TYPE_CHECKING:
    from edgegender.runtime.interpreter import Interpreter
    from edgegender.runtime.model_file import ModelFile
    from edgegender.runtime.operators import OperatorInfo

_HEADER = ("#", "operator", "input", "output", "type", "weights", "parameters", "multiply-adds")


def _flatten(prefix: str, value: object) -> list[list[str]]:
    if isinstance(value, dict):
        return [row for key, inner in value.items() for row in _flatten(f"{prefix}.{key}" if prefix else key, inner)]
    if isinstance(value, (list, tuple)):
        return [[prefix, ", ".join(map(str, value))]]
    return [[prefix, str(value)]]


def _quantization(scale: float, zero_point: int) -> dict[str, object] | None:
    return {"scale": float(scale), "zero_point": int(zero_point)} if scale else None


def _describe(file: ModelFile, interpreter: Interpreter) -> dict[str, object]:
    metadata = dataclasses.asdict(file.metadata)
    return {
        "file": str(file.path),
        "size_bytes": len(file.content),
        "sha256": file.sha256,
        "input": f"{interpreter.input_dtype} {list(interpreter.input_shape)} RGB",
        "input_quantization": _quantization(interpreter.input_scale, interpreter.input_zero_point),
        "output": f"{interpreter.output_dtype} [1, {interpreter.num_outputs}]",
        "output_quantization": _quantization(interpreter.output_scale, interpreter.output_zero_point),
        "signatures": interpreter.signatures(),
        **{**metadata, "scheme": file.metadata.scheme.value, "labels": list(file.metadata.labels)},
        "operator_counts": interpreter.count_operators(),
    }


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " ".join("×".join(map(str, shape)) for shape in shapes)


def _row(operator: OperatorInfo) -> list[str]:
    types = dict.fromkeys((*operator.input_types, *operator.output_types))  # a set in order
    return [
        str(operator.index),
        operator.name,
        _shapes(operator.input_shapes),
        _shapes(operator.output_shapes),
        "→".join(types),
        " ".join(dict.fromkeys(operator.constant_types)),
        f"{operator.num_parameters:,}",
        f"{operator.multiply_adds:,}",
    ]


@click.command(name="inspect")
@click.argument("model", required=False, type=FOLDER)
@json_option
def command(model: Path | None, as_json: bool) -> None:
    """Show what stands inside of MODEL: scheme, labels, preprocessing, threshold, provenance, operators.

    The file's digest and the sha256 beside it are checked first. Multiply-adds are those of convolutions and matrix
    products for one picture; parameters are the numbers that were learnt.
    """
    from edgegender.runtime.classifier import Classifier
    from edgegender.runtime.operators import describe_operators, sum_operators

    classifier = Classifier(model, num_threads=1)
    operators = describe_operators(classifier.interpreter)
    totals = dataclasses.asdict(sum_operators(operators))
    values = _describe(classifier.file, classifier.interpreter)
    if as_json:
        print_json({**values, **totals, "operators": [dataclasses.asdict(operator) for operator in operators]})
        return
    # a float file has no quantization to show, and not every converter writes a signature
    print_table(["field", "value"], _flatten("", {key: value for key, value in values.items() if value is not None}))
    click.echo()
    total = ["", "total", "", "", "", "", f"{totals['num_parameters']:,}", f"{totals['multiply_adds']:,}"]
    print_table(_HEADER, [*map(_row, operators), total])
