"""``edgegender inspect``: fields, then a table of operators; everything in one JSON document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgegender.entities import QuantizationScheme
from edgegender.runtime.model_file import embedded_model_path
from tests.cli.commands import run_here
from tests.tiny_model import build_tiny_model


def inspect_json(capfd: pytest.CaptureFixture[str], path: Path) -> dict[str, object]:
    answer = run_here(capfd, "inspect", path, "--json")
    assert (answer.code, answer.err) == (0, "")
    document = json.loads(answer.out)
    assert isinstance(document, dict)
    return document


def test_json_holds_each_operator_and_the_totals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = inspect_json(capfd, build_tiny_model(tmp_path / "m.tflite"))
    assert document["operator_counts"] == {"AVERAGE_POOL_2D": 1, "FULLY_CONNECTED": 1, "RESHAPE": 1, "SOFTMAX": 1}
    operators = document["operators"]
    assert isinstance(operators, list)
    assert operators[2] == {
        "index": 2,
        "name": "FULLY_CONNECTED",
        "input_shapes": [[1, 3]],
        "output_shapes": [[1, 2]],
        "input_types": ["uint8"],
        "output_types": ["uint8"],
        "constant_shapes": [[2, 3], [2]],
        "constant_types": ["uint8", "int32"],
        "num_parameters": 8,
        "multiply_adds": 6,
    }
    assert (document["num_operators"], document["num_parameters"], document["multiply_adds"]) == (4, 8, 6)


def test_json_holds_quantization_and_signatures(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = inspect_json(capfd, build_tiny_model(tmp_path / "m.tflite"))
    scale = document["input_quantization"]
    assert isinstance(scale, dict)
    assert scale["scale"] == pytest.approx(1 / 127.5, rel=1e-6)  # stored as float32: 24 bits
    assert scale["zero_point"] == 128
    assert document["output_quantization"] == {"scale": 1 / 256, "zero_point": 0}
    assert document["signatures"] == {}
    embedded = inspect_json(capfd, embedded_model_path())
    assert embedded["signatures"] == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}


def test_a_float_file_has_no_quantization(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = build_tiny_model(tmp_path / "m.tflite", scheme=QuantizationScheme.FLOAT32)
    document = inspect_json(capfd, path)
    assert (document["input_quantization"], document["output_quantization"]) == (None, None)
    answer = run_here(capfd, "inspect", path)
    assert answer.code == 0
    assert "quantization" not in answer.out


def test_the_text_has_the_fields_then_the_operators_then_the_totals(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = run_here(capfd, "inspect", build_tiny_model(tmp_path / "m.tflite"))
    assert (answer.code, answer.err) == (0, "")
    fields, table = answer.out.split("\n\n")
    assert "input_quantization.zero_point" in fields
    assert "operator_counts.SOFTMAX" in fields
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["#", "operator", "input", "output", "type", "weights", "parameters", "multiply-adds"]
    assert rows[1] == ["0", "AVERAGE_POOL_2D", "1×32×32×3", "1×1×1×3", "uint8", "0", "0"]
    assert rows[3] == ["2", "FULLY_CONNECTED", "1×3", "1×2", "uint8", "uint8", "int32", "8", "6"]
    assert rows[-1] == ["total", "8", "6"]
    assert len(rows) == 4 + 2


def test_the_embedded_models_totals_are_written_in_thousands(capfd: pytest.CaptureFixture[str]) -> None:
    answer = run_here(capfd, "inspect")
    assert answer.code == 0
    document = inspect_json(capfd, embedded_model_path())
    last = answer.out.splitlines()[-1].split()
    assert last == ["total", f"{document['num_parameters']:,}", f"{document['multiply_adds']:,}"]
    assert "uint8→int8" in answer.out
