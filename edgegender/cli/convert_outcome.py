"""What ``edgegender convert`` does with one converted file: compares, writes, prints, refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegender.cli import convert_text as text
from edgegender.cli.console import print_json, require_writable
from edgegender.entities import QuantizationScheme
from edgegender.errors import CheckFailedError

if TYPE_CHECKING:
    from edgegender.cli.convert_options import Request
    from edgegender.cli.convert_rungs import Training
    from edgegender.cli.convert_source import Source
    from edgegender.conversion.calibration import RepresentativeDataset
    from edgegender.conversion.convert import Conversion
    from edgegender.conversion.ladder import Ladder
    from edgegender.conversion.layers import LayerNoise
    from edgegender.conversion.measured import MeasuredPhotos
    from edgegender.conversion.quantization import Quantizer
    from edgegender.conversion.stability import Stability
    from edgegender.entities import ModelMetadata


@dataclass(frozen=True)
class Job:
    """What every way of converting needs.

    Args:
        request: The options.
        source: The float network, as it came.
        quantizer: Of the float file, pruned or clustered where that was asked for.
        training: How a network is trained further.
        template: What the file says of itself, as far as it is known.
        representative: What is calibrated on.
        validation: What scores are fitted on, and rungs chosen by.
        evaluation: What the gate judges by.
        compression: What pruning or clustering did.
        conversion_seconds: From Keras to the float file.
    """

    request: Request
    source: Source
    quantizer: Quantizer
    training: Training
    template: ModelMetadata
    representative: RepresentativeDataset
    validation: MeasuredPhotos
    evaluation: MeasuredPhotos
    compression: Mapping[str, object]
    conversion_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What became of one conversion.

    Args:
        ladder: The ways tried, and the file that was chosen.
        target: Where it stands when it passed.
        peak_memory_bytes: Of this process.
        layers: Noise by layer, where somebody wants to know.
        stability: Two calibrations compared, where it was asked for.
        sizes: Size and latency before and after pruning or clustering.
        sha256: Of the written file; empty when it was refused.
        also: What was written beside it.
    """

    ladder: Ladder
    target: Path
    peak_memory_bytes: int
    layers: Sequence[LayerNoise] = ()
    stability: Stability | None = None
    sizes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    sha256: str = ""
    also: tuple[Path, ...] = field(default=())

    @property
    def conversion(self) -> Conversion:
        """The chosen file."""
        return self.ladder.conversion


def _check_edge_tpu(content: bytes) -> None:
    from edgegender.conversion.edge_tpu import check_edge_tpu

    report = check_edge_tpu(content)
    if report.problems:
        raise CheckFailedError(
            f"Expected a file that the Edge TPU runs whole, got: {'; '.join(report.problems[:3])}.",
            hint="By Coral's published list of operators; its compiler has the last word.",
        )


def _extras(job: Job, conversion: Conversion, target: Path) -> dict[Path, bytes]:
    """Returns what is written beside the file, made before anything is written."""
    from edgegender.conversion.c_header import to_c_header
    from edgegender.conversion.onnx_export import to_onnx

    extras = {}
    if job.request.is_header:
        header = to_c_header(conversion.content, conversion.metadata, name=target.stem)
        extras[target.with_suffix(".h")] = header.encode()
    if job.request.is_onnx:
        exported = to_onnx(
            job.quantizer.network.content,
            replace(conversion.metadata, scheme=QuantizationScheme.FLOAT32, metrics={}),
            inputs=job.representative.inputs[:32],
        )
        extras[target.with_suffix(".onnx")] = exported.content
    return extras


def _examine(job: Job, ladder: Ladder, target: Path) -> Outcome:
    """Compares layers and calibrations where it was asked for, or where the file is refused."""
    from edgegender.cli.convert_speed import compare_with_uncompressed
    from edgegender.conversion.convert import with_metadata
    from edgegender.conversion.layers import compare_layers
    from edgegender.conversion.stability import check_stability
    from edgegender.memory import memory_bytes

    request, quantizer = job.request, job.quantizer
    stability = None
    layers: Sequence[LayerNoise] = ()
    if request.stability:
        stability = check_stability(
            quantizer,
            request.plan,
            job.validation,
            positive_index=job.source.labels.index(job.source.positive_label),
            threshold=job.source.threshold,
        )
    if request.report_path is not None or not ladder.conversion.gate.is_passed:
        layers = compare_layers(
            quantizer.network.content,
            ladder.conversion.candidate.content,
            quantizer.inputs,
            quantizer.representative,
        )
    sizes = compare_with_uncompressed(job, with_metadata(ladder.conversion)) if job.compression else {}
    return Outcome(ladder, target, memory_bytes("VmHWM"), layers, stability, sizes)


def _write(job: Job, outcome: Outcome) -> Outcome:
    """Writes the file and what belongs beside it, all of it made before the first is written."""
    from edgegender import files
    from edgegender.conversion.convert import write_model

    if job.request.is_edge_tpu:
        _check_edge_tpu(outcome.conversion.content)
    extras = _extras(job, outcome.conversion, outcome.target)
    for path in extras:
        require_writable(path)
    sha256 = write_model(outcome.conversion, outcome.target, is_dated=not job.request.undated)
    for path, content in extras.items():
        files.write_bytes(path, content)
    return replace(outcome, sha256=sha256, also=tuple(extras))


def _to_json(job: Job, outcome: Outcome) -> dict[str, object]:
    conversion = outcome.conversion
    gate = conversion.gate
    metrics: Mapping[str, object] = conversion.metadata.metrics
    return {
        "schema": text.REPORT_SCHEMA,
        "is_passed": gate.is_passed,
        "problems": list(gate.problems),
        "model": str(outcome.target) if gate.is_passed else None,
        "also": [str(path) for path in outcome.also],
        "sha256": outcome.sha256 or None,
        "scheme": conversion.metadata.scheme.value,
        "size_bytes": len(conversion.content) or len(conversion.candidate.content),
        "compressed_bytes": text.compressed_bytes(conversion.candidate.content),
        "conversion_seconds": round(job.conversion_seconds, 2),
        "quantization_seconds": round(sum(step.seconds for step in outcome.ladder.steps), 2),
        "peak_memory_bytes": outcome.peak_memory_bytes,
        "temperature": conversion.metadata.temperature,
        "unsure_below": conversion.metadata.unsure_below,
        "conversion": dict(conversion.candidate.how),
        "compression": dict(job.compression),
        "sizes": {name: dict(values) for name, values in outcome.sizes.items()},
        "gate": text.gate_to_json(gate),
        "steps": [text.step_to_json(step) for step in outcome.ladder.steps],
        "stability": text.stability_to_json(outcome.stability) if outcome.stability else None,
        "layers": text.layers_to_json(outcome.layers),
        **metrics,
    }


def _print(job: Job, outcome: Outcome) -> None:
    conversion = outcome.conversion
    if job.request.is_auto:
        text.print_steps(outcome.ladder.steps)
    text.print_gate(conversion)
    if outcome.stability is not None:
        text.print_stability(outcome.stability)
    if outcome.sizes:
        text.print_sizes(outcome.sizes)
    if not conversion.gate.is_passed:
        text.print_layers(outcome.layers)
        click.echo("\n❎ converted but refused: nothing was written")
        return
    size = f"{len(conversion.content) / 1e6:.2f} MB, sha256 {outcome.sha256[:12]}…"
    click.echo(f"✅ passed → {outcome.target} ({size})")
    for path in outcome.also:
        click.echo(f"   also → {path}")


def settle(job: Job, ladder: Ladder, target: Path) -> None:
    """Writes a file that passed, records and prints what was measured, and refuses one that did not.

    Raises:
        CheckFailedError: The gate refused, or the Edge TPU would not run the file whole; nothing was written.
        OutputError: A file cannot be written.
    """
    from edgegender import files

    outcome = _examine(job, ladder, target)
    gate = ladder.conversion.gate
    if gate.is_passed:
        outcome = _write(job, outcome)
    record = _to_json(job, outcome)
    if job.request.report_path is not None:
        files.write_json(job.request.report_path, record)
    if job.request.as_json:
        print_json(record)
    else:
        _print(job, outcome)
    if not gate.is_passed:
        raise CheckFailedError(
            f"Expected the {ladder.conversion.metadata.scheme.value} network to be as good as the float one, but "
            f"{'; '.join(gate.problems)}.",
            hint=text.advice(gate.problems, ladder.conversion.candidate.how),
        )
