"""Latency of the files that ``edgegender convert`` makes, side by side."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgegender.cli.console import note

if TYPE_CHECKING:
    from edgegender.cli.convert_outcome import Job
    from edgegender.entities import UInt8Array

_NUM_INPUTS = 16
_MIN_SECONDS, _MIN_RUNS = 1.0, 100  # of a round
_ROUNDS = 3  # by turns, so that a busy moment does not hit one file alone


def measure_by_turns(
    contents: Mapping[str, bytes], images: UInt8Array, *, num_threads: int = 1
) -> dict[str, dict[str, float]]:
    """Returns ``p50_ms`` and ``p90_ms`` of each file: those of its round with the lowest median.

    Each is run by a process of its own, on photos, and has to give the same answers there.

    Args:
        contents: Name → ``.tflite`` with metadata.
        images: Raw pictures of the networks' size, (photos, size, size, 3).
        num_threads: Threads of the interpreter.

    Raises:
        MeasurementError: A measuring process died.
    """
    import numpy as np

    from edgegender.benchmark.measure import SpeedInputs, measure_latency
    from edgegender.benchmark.records import Durations
    from edgegender.runtime.interpreter import Interpreter
    from edgegender.runtime.model_file import read_model

    durations = Durations(
        min_seconds=_MIN_SECONDS, min_runs=_MIN_RUNS, max_seconds=10.0, warmup_seconds=0.2, warmup_runs=5
    )
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgegender-") as folder:
        files = {}
        for name, content in contents.items():
            path = Path(folder) / f"{name}.tflite"
            path.write_bytes(content)
            file = read_model(path)
            interpreter = Interpreter(content, num_threads=1, scaling=file.metadata.preprocessing.scaling)
            chosen = images[:_NUM_INPUTS]
            inputs = SpeedInputs(
                np.stack([interpreter.to_tensor(image) for image in chosen]),
                np.stack([interpreter.run(image) for image in chosen]),
            )
            files[name] = (file, inputs)
        for _ in range(_ROUNDS):
            for name, (file, inputs) in files.items():
                record = measure_latency(file, inputs, num_threads=num_threads, durations=durations)
                value = {item.percent: item.value_ns / 1e6 for item in record.percentiles}
                if name not in found or value[50] < found[name]["p50_ms"]:
                    found[name] = {"p50_ms": round(value[50], 4), "p90_ms": round(value[90], 4)}
    return found


def compare_with_uncompressed(job: Job, content: bytes) -> dict[str, dict[str, float]]:
    """Returns file size, compressed size and latency of a pruned or clustered file beside the same without it.

    Args:
        job: With the network as it came.
        content: The compressed network's file, with metadata.

    Raises:
        CheckFailedError: The network as it came cannot be converted.
        MeasurementError: A measuring process died.
    """
    from edgegender.cli.convert_text import compressed_bytes
    from edgegender.conversion.float_network import build_float_network
    from edgegender.conversion.metadata import add_metadata
    from edgegender.conversion.quantization import Quantizer

    note("measuring size and latency beside the network as it came …")
    network = build_float_network(job.source.model, scaling=job.source.preprocessing.scaling)
    scheme = job.request.chosen_scheme
    plain = Quantizer(network, job.representative.inputs).make(scheme, job.request.plan)
    contents = {"before": add_metadata(plain, job.template), "after": content}
    latency = measure_by_turns(contents, job.representative.inputs)
    return {
        name: {"size_bytes": len(own), "compressed_bytes": compressed_bytes(own), **latency[name]}
        for name, own in contents.items()
    }
