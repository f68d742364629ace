"""The options of ``edgegender convert``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegender.cli.console import FOLDER, json_option
from edgegender.entities import QuantizationScheme
from edgegender.errors import UsageError
from edgegender.preprocess import SCALINGS

if TYPE_CHECKING:
    from edgegender.conversion.gate import GateBars
    from edgegender.conversion.quantization import IntegerPlan

ALL = "all"
_SCHEMES = [scheme.value for scheme in QuantizationScheme]
_OPTIONS = [
    click.option("--int8", "is_int8", is_flag=True, help="Short for --scheme full_integer, the default."),
    click.option(
        "--scheme",
        type=click.Choice([*_SCHEMES, ALL]),
        help="How to quantize; all makes every one and a table, -o being a folder.",
    ),
    click.option("--auto", "is_auto", is_flag=True, help="Climb from plain int8 to training until the gate passes."),
    click.option("-o", "--output", type=FOLDER, help="The .tflite to write.  [default: RUN/model.tflite]"),
    click.option("--io", "io_type", type=click.Choice(["uint8", "int8"]), default="uint8", show_default=True),
    click.option("--per-tensor", is_flag=True, help="One scale a tensor, for old accelerators."),
    click.option(
        "--ranges",
        type=click.Choice(["min_max", "percentile", "mse"]),
        default="min_max",
        show_default=True,
        help="How the range of an activation is chosen.",
    ),
    click.option("--bias-correction/--no-bias-correction", default=True, show_default=True),
    click.option(
        "--float-layers",
        type=click.IntRange(min=1),
        default=4,
        show_default=True,
        help="Layers left in float by --scheme mixed_integer: those that lose most.",
    ),
    click.option("--qat", "qat_steps", type=click.IntRange(min=1), help="Train with simulated rounding, steps."),
    click.option(
        "--prune",
        "sparsity",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Share of weights set to zero.",
    ),
    click.option("--cluster", "num_clusters", type=click.IntRange(2, 256), help="Distinct weights a kernel."),
    click.option(
        "--steps",
        type=click.IntRange(min=1),
        default=300,
        show_default=True,
        help="Of training for --prune, --cluster, --auto.",
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Of all training here, as a share of the weights' size.  [default: 0.001, 0.003 for --prune, --cluster]",
    ),
    click.option("--representative", default=500, show_default=True, help="Photos for calibration."),
    click.option("--representative-split", default="train", show_default=True, help="Where they are drawn from."),
    click.option("--force", "is_forced", is_flag=True, help="Calibrate even on fewer than 100 photos."),
    click.option("--stability", is_flag=True, help="Also calibrate on two disjoint halves and compare."),
    click.option(
        "--group", "group_by", multiple=True, metavar="COLUMN", help="Sensitive feature: drawn by, and judged by."
    ),
    click.option("--evaluation-split", default="test", show_default=True, help="Where float and file are compared."),
    click.option(
        "--validation-split",
        help='Where temperature and "unsure" band are fitted.  [default: what the run validated on]',
    ),
    click.option("--max-drop", default=0.5, show_default=True, help="Largest fall of accuracy and F1, points."),
    click.option("--max-flips", default=2.0, show_default=True, help="Largest share of changed answers, %."),
    click.option("--max-group-drop", default=2.0, show_default=True, help="Largest fall in a label or group, points."),
    click.option("--strict", "is_strict", is_flag=True, help="Hold the whole interval of the fall to --max-drop."),
    click.option("--seed", default=0, show_default=True, help="Of the draw and of training here."),
    click.option("--name", default="", help="Short name of the model."),
    click.option("--undated", is_flag=True, help="No time in the .json either."),
    click.option("--labels", help="Of a .keras file, in the order of its outputs, such as female,male."),
    click.option("--scaling", type=click.Choice(SCALINGS), help="Of a .keras file: the numbers that it takes."),
    click.option(
        "--crop-margin", type=click.FloatRange(1, 3), default=1.3, show_default=True, help="Of a .keras file."
    ),
    click.option("--positive-label", help="Of a .keras file: the label that F1 speaks of."),
    click.option("--onnx", "is_onnx", is_flag=True, help="Also write the float network as .onnx."),
    click.option("--c-header", "is_header", is_flag=True, help="Also write the file as a C header."),
    click.option("--edge-tpu", "is_edge_tpu", is_flag=True, help="Refuse what the Edge TPU would not run whole."),
    click.option("--report", "report_path", type=FOLDER, help="Write all figures as JSON, passed or refused."),
    json_option,
]


@dataclass(frozen=True)
class Request:
    """The command's options, see ``edgegender convert --help``."""

    is_int8: bool
    scheme: str | None
    is_auto: bool
    output: Path | None
    io_type: str
    per_tensor: bool
    ranges: str
    bias_correction: bool
    float_layers: int
    qat_steps: int | None
    sparsity: float | None
    num_clusters: int | None
    steps: int
    learning_rate: float | None
    representative: int
    representative_split: str
    is_forced: bool
    stability: bool
    group_by: tuple[str, ...]
    evaluation_split: str
    validation_split: str | None
    max_drop: float
    max_flips: float
    max_group_drop: float
    is_strict: bool
    seed: int
    name: str
    undated: bool
    labels: str | None
    scaling: str | None
    crop_margin: float
    positive_label: str | None
    is_onnx: bool
    is_header: bool
    is_edge_tpu: bool
    report_path: Path | None
    as_json: bool

    @property
    def chosen_scheme(self) -> QuantizationScheme:
        """The scheme; ``full_integer`` when nobody says."""
        return QuantizationScheme(self.scheme or "full_integer")

    @property
    def plan(self) -> IntegerPlan:
        """How integer files are made."""
        from edgegender.conversion.quantization import IntegerPlan

        return IntegerPlan(
            ranges=self.ranges,
            is_bias_corrected=self.bias_correction,
            is_per_channel=not self.per_tensor,
            io_type=self.io_type,
        )

    @property
    def bars(self) -> GateBars:
        """What may be lost."""
        from edgegender.conversion.gate import GateBars

        return GateBars(self.max_drop, self.max_flips, self.max_group_drop, self.is_strict)


def check_request(request: Request) -> None:
    """Refuses options that contradict each other.

    Raises:
        UsageError: Two of them do.
    """
    scheme = request.scheme
    is_integer = scheme in (None, "full_integer", "mixed_integer")
    contradictions = [
        (request.is_int8 and scheme not in (None, "full_integer"), f"--int8 or --scheme {scheme}"),
        (request.is_auto and scheme not in (None, "full_integer"), f"--auto or --scheme {scheme}"),
        (request.is_auto and request.qat_steps is not None, "--auto or --qat (--auto trains when nothing else helps)"),
        (request.qat_steps is not None and scheme not in (None, "full_integer", ALL), f"--qat or --scheme {scheme}"),
        (request.per_tensor and request.qat_steps is not None, "--per-tensor or --qat"),
        (request.is_edge_tpu and not is_integer, f"--edge-tpu or --scheme {scheme}"),
        (scheme == ALL and (request.is_header or request.is_onnx), f"--scheme {ALL} or --c-header and --onnx"),
        (not is_integer and scheme != ALL and request.stability, f"--stability or --scheme {scheme}"),
    ]
    for is_met, what in contradictions:
        if is_met:
            raise UsageError(f"Expected {what}, got both.", hint="Leave one of them out.")


def add_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which gets them by the names of :class:`Request`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
