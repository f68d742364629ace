"""One float network as ``.tflite`` and as the ``.onnx`` that edgegender exports from it, and rivals made of both."""

from __future__ import annotations

import json
from functools import cache
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegender.benchmark.engine import Engine
from edgegender.benchmark.engine_litert import LitertEngine
from edgegender.conversion.metadata import add_metadata
from edgegender.entities import FloatArray, ModelMetadata, Preprocessing, QuantizationScheme, UInt8Array
from tests.conv_model import SIZE_PX, build_conv_network

METADATA = ModelMetadata(
    labels=("female", "male"),
    positive_label="male",
    preprocessing=Preprocessing(SIZE_PX),
    architecture="conv",
    scheme=QuantizationScheme.FLOAT32,
    provenance={"seed": 1},
    license="Apache-2.0",
)
NETWORK = build_conv_network(is_float=True)


def pictures(count: int = 4) -> UInt8Array:
    return np.random.default_rng(5).integers(0, 256, (count, SIZE_PX, SIZE_PX, 3), np.uint8)


def answer(engine: Engine, images: UInt8Array) -> FloatArray:
    """Returns an engine's scores, one run a batch."""
    size = engine.batch_size
    rows = []
    for start in range(0, len(images), size):
        engine.run(engine.to_tensor(images[start : start + size]))
        rows.append(engine.read_scores())
    return np.concatenate(rows)


def litert_scores(images: UInt8Array) -> FloatArray:
    return answer(LitertEngine(NETWORK, variant="xnnpack", num_threads=1, scaling="tf"), images)


@cache
def _export() -> bytes:
    from edgegender.conversion.onnx_export import to_onnx

    return to_onnx(NETWORK, METADATA, inputs=pictures(2)).content


def write_pair(folder: Path) -> Path:
    """Writes both and returns the ``.tflite``; skips where the export is not installed."""
    for package in ("tf2onnx", "onnx", "onnxruntime", "tensorflow"):
        if util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: the [onnx] extra has it")
    path = folder / "conv.tflite"
    path.write_bytes(add_metadata(NETWORK, METADATA))
    path.with_suffix(".onnx").write_bytes(_export())
    return path


def describe(**changes: Any) -> dict[str, Any]:
    """Returns a description of the network as a rival, with keys changed."""
    values: dict[str, Any] = {
        "schema": "edgegender.rival/1",
        "model": "rival.onnx",
        "input": {"size_px": SIZE_PX, "scaling": "tf"},
        "output": {"kind": "probabilities"},
        "labels": ["female", "male"],
        "positive_label": "male",
        "license": "Apache-2.0",
        "source": "tests",
    }
    return {**values, **changes}


def write_rival(folder: Path, content: bytes, **changes: Any) -> Path:
    """Writes a network and its description, and returns the description."""
    values = describe(**changes)
    (folder / values["model"]).write_bytes(content)
    path = folder / "rival.json"
    path.write_text(json.dumps(values))
    return path
