"""Which layers to leave in float32: those whose rounding moves the scores most."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgegender.conversion.measured import score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.conversion.tensors import WEIGHTED_OPERATORS, TensorReader
from edgegender.progress import Progress, no_progress

_MAX_PHOTOS = 64


def rank_layers(quantizer: Quantizer, plan: IntegerPlan, *, on_progress: Progress = no_progress) -> tuple[str, ...]:
    """Returns the layers with weights by what they do to the scores, the worst first.

    Each layer alone is left in float32, the others are quantized, and the mean squared difference of the scores to
    those of the float network is measured: the layer without which it falls most comes first.

    Args:
        quantizer: The network and its representative dataset; the first photos of it are measured on.
        plan: How the others are quantized. Biases are not corrected meanwhile.
        on_progress: Called with (done, total).

    Returns:
        Names of output tensors, for :class:`~edgegender.conversion.quantization.IntegerPlan`.
    """
    images = quantizer.representative[:_MAX_PHOTOS]
    scaling = quantizer.network.scaling
    wanted = score_inputs(quantizer.network.content, images, scaling=scaling)
    names = [name for _, name, kind in TensorReader(quantizer.network.content).outputs() if kind in WEIGHTED_OPERATORS]
    plain = dataclasses.replace(plan, is_bias_corrected=False)
    left: dict[str, float] = {}
    for done, name in enumerate(names, start=1):
        content = quantizer.integer(dataclasses.replace(plain, float_layers=(name,)))
        left[name] = float(np.square(score_inputs(content, images, scaling=scaling) - wanted).mean())
        on_progress(done, len(names))
    return tuple(sorted(names, key=left.__getitem__))
