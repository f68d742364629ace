"""What ``edgegender convert`` prints and records."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from edgegender.cli.console import print_table, warn
from edgegender.metrics import interval_to_json

if TYPE_CHECKING:
    from edgegender.conversion.convert import Conversion
    from edgegender.conversion.gate import GateReport
    from edgegender.conversion.ladder import Step
    from edgegender.conversion.layers import LayerNoise
    from edgegender.conversion.stability import Stability

REPORT_SCHEMA = "edgegender.conversion/1"
_NUM_LAYERS_SHOWN = 10
_NUM_GROUPS_SHOWN = 8


def advice(problems: Sequence[str], how: Mapping[str, object]) -> str:
    """Returns what to try for a refused file."""
    if any("hardly ever answers" in problem for problem in problems):
        return (
            "Look at the calibration photos and the scaling: one label only means that the ranges do not fit. "
            "--ranges mse, or --scheme float16 to see that the float file is right."
        )
    tried = how.get("rung") == "qat"
    if not how.get("bias_correction") and not tried:
        return "Correct the biases (leave --no-bias-correction out), or climb the ladder with --auto."
    if not tried:
        return (
            "Climb the ladder with --auto, train with --qat 300, leave layers in float with --scheme mixed_integer, "
            "use more --representative photos, or accept it with a larger --max-drop."
        )
    return "Train longer (--qat 1000), use a wider network, --scheme float16, or accept it with a larger --max-drop."


def layers_to_json(layers: Sequence[LayerNoise]) -> list[dict[str, object]]:
    """Returns each layer's noise as it is recorded; infinite values are left out."""
    from math import isfinite

    from edgegender.conversion.layers import short_name

    return [
        {
            "layer": short_name(layer.name),
            "operator": layer.operator,
            "position": layer.position,
            "signal_to_noise_db": round(layer.signal_to_noise_db, 2) if isfinite(layer.signal_to_noise_db) else None,
            "own_noise_db": round(layer.own_noise_db, 2) if isfinite(layer.own_noise_db) else None,
        }
        for layer in layers
    ]


def gate_to_json(gate: GateReport) -> dict[str, object]:
    """Returns a gate's report as it is recorded."""
    return {
        "is_passed": gate.is_passed,
        "problems": list(gate.problems),
        "warnings": list(gate.warnings),
        "num_photos": gate.float_evaluation.num_photos,
        "float_accuracy": interval_to_json(gate.float_evaluation.accuracy),
        "accuracy": interval_to_json(gate.quantized_evaluation.accuracy),
        "accuracy_difference": interval_to_json(gate.difference.difference),
        "p_value": round(gate.difference.p_value, 6),
        "float_f1": interval_to_json(gate.float_evaluation.f1),
        "f1": interval_to_json(gate.quantized_evaluation.f1),
        "f1_difference": interval_to_json(gate.f1_difference),
        "flips": gate.difference.flips,
        "flip_rate": interval_to_json(gate.difference.flip_interval),
        "float_calibration_error": round(gate.float_evaluation.expected_calibration_error, 6),
        "calibration_error": round(gate.quantized_evaluation.expected_calibration_error, 6),
        "max_score_change": round(gate.max_score_change, 4),
        "mean_score_change": round(gate.mean_score_change, 4),
        "groups": [
            {
                "column": group.column,
                "value": group.value,
                "num_photos": group.num_photos,
                "is_judged": group.is_judged,
                "float_accuracy": round(group.float_accuracy, 6),
                "accuracy_difference": interval_to_json(group.difference.difference),
                "flips": group.difference.flips,
            }
            for group in gate.groups
        ],
    }


def step_to_json(step: Step) -> dict[str, object]:
    """Returns a rung as it is recorded."""
    return {
        "rung": step.name,
        "mark": step.mark,
        "seconds": round(step.seconds, 2),
        "size_bytes": step.size_bytes,
        "error": step.error,
        "validation": gate_to_json(step.validation) if step.validation else None,
        "evaluation": gate_to_json(step.evaluation) if step.evaluation else None,
    }


def stability_to_json(stability: Stability) -> dict[str, object]:
    """Returns how far two calibrations differ, as it is recorded."""
    return {
        "num_photos": stability.num_photos,
        "accuracy_difference": interval_to_json(stability.difference.difference),
        "flips": stability.difference.flips,
        "flip_rate": interval_to_json(stability.difference.flip_interval),
        "max_score_change": round(stability.max_score_change, 4),
        "mean_score_change": round(stability.mean_score_change, 4),
    }


def compressed_bytes(content: bytes) -> int:
    """Returns a file's size after gzip -9: what travels, and where zeros and repeated weights pay."""
    return len(gzip.compress(content, 9, mtime=0))


def print_gate(conversion: Conversion) -> None:
    """Prints float and quantized figures side by side, and what the gate says."""
    from edgegender.reporting.evaluation import format_change, format_interval

    gate = conversion.gate
    before, after = gate.float_evaluation, gate.quantized_evaluation
    calibration_error = 100 * (after.expected_calibration_error - before.expected_calibration_error)
    rows = [
        [
            "accuracy %",
            format_interval(before.accuracy),
            format_interval(after.accuracy),
            format_change(gate.difference.difference),
        ],
        [
            f"F1 of {before.positive_label} %",
            format_interval(before.f1),
            format_interval(after.f1),
            format_change(gate.f1_difference),
        ],
        [
            "calibration error %",
            f"{100 * before.expected_calibration_error:.2f}",
            f"{100 * after.expected_calibration_error:.2f}",
            f"{calibration_error:+.2f}",
        ],
    ]
    for group in gate.groups[:_NUM_GROUPS_SHOWN]:
        rows.append(
            [
                f"{group.column} {group.value} %",
                f"{100 * group.float_accuracy:.2f}",
                f"{100 * (group.float_accuracy + group.difference.difference.value):.2f}",
                format_change(group.difference.difference)
                + ("" if group.is_judged else f"  ({group.num_photos} photos: not judged)"),
            ]
        )
    print_table(["", "float", conversion.metadata.scheme.value, "change, points"], rows)
    if len(gate.groups) > _NUM_GROUPS_SHOWN:
        click.echo(f"and {len(gate.groups) - _NUM_GROUPS_SHOWN} groups that lose less: --report has them")
    click.echo(
        f"\n{gate.difference.flips} of {before.num_photos} answers flipped "
        f"({format_interval(gate.difference.flip_interval)} %), McNemar p = {gate.difference.p_value:.3g}, largest "
        f"score change {gate.max_score_change:.2f}"
    )
    for warning in gate.warnings:
        warn(warning)


def print_steps(steps: Sequence[Step]) -> None:
    """Prints what each rung of the ladder gave."""
    from edgegender.reporting.evaluation import format_change

    rows = []
    for step in steps:
        report = step.evaluation or step.validation
        if report is None:
            rows.append([step.mark, step.name, "", "", "", f"{step.seconds:.1f}", step.error])
            continue
        rows.append(
            [
                step.mark,
                step.name,
                f"{step.size_bytes / 1e6:.2f}",
                format_change(report.difference.difference),
                f"{100 * report.difference.flip_rate:.2f}",
                f"{step.seconds:.1f}",
                ("evaluation" if step.evaluation else "validation") + ("" if report.is_passed else ": refused"),
            ]
        )
    print_table(["", "rung", "size MB", "accuracy change, points", "flips %", "s", "judged on"], rows)
    click.echo("")


def print_layers(layers: Sequence[LayerNoise]) -> None:
    """Prints the layers that lost most."""
    from edgegender.conversion.layers import short_name

    worst = sorted(layers, key=lambda layer: layer.signal_to_noise_db)[:_NUM_LAYERS_SHOWN]
    click.echo("\nlayers with the lowest signal-to-noise ratio between float and quantized output")
    print_table(
        ["layer", "operator", "position", "dB", "lost here, dB"],
        [
            [
                short_name(layer.name),
                layer.operator,
                str(layer.position),
                f"{layer.signal_to_noise_db:.1f}",
                f"{layer.own_noise_db:+.1f}",
            ]
            for layer in worst
        ],
    )


def print_stability(stability: Stability) -> None:
    """Prints how far two calibrations differ."""
    from edgegender.reporting.evaluation import format_change

    click.echo(
        f"calibrated on two disjoint halves of {stability.num_photos} photos: {stability.difference.flips} validation "
        f"answers differ ({100 * stability.difference.flip_rate:.2f} %), accuracy "
        f"{format_change(stability.difference.difference)} points, largest score change "
        f"{stability.max_score_change:.2f}"
    )


def print_sizes(sizes: Mapping[str, Mapping[str, float]]) -> None:
    """Prints what pruning or clustering did to size and speed: each weight still has its byte, zeros are multiplied."""
    rows = [
        [
            name,
            f"{values['size_bytes'] / 1e6:.2f}",
            f"{values['compressed_bytes'] / 1e6:.2f}",
            f"{values['p50_ms']:.3f}",
            f"{values['p90_ms']:.3f}",
        ]
        for name, values in sizes.items()
    ]
    click.echo("\npruned or clustered: only the compressed file is smaller, and no file is faster")
    print_table(["", "file MB", "gzip MB", "p50 ms", "p90 ms"], rows)
