"""Which layers lose most: the float network and its quantized file, tensor by tensor, on the same photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegender.conversion.tensors import TensorReader, to_network_inputs
from edgegender.entities import UInt8Array

_MAX_PHOTOS = 32


@dataclass(frozen=True)
class LayerNoise:
    """How far a layer's output is from the float network's.

    Args:
        name: The output tensor's name.
        operator: Such as ``CONV_2D``.
        position: In the network, from 0.
        signal_to_noise_db: 10 log10 of (sum of squares of the float output / sum of squared differences); 20 means that
            a tenth of the amplitude is noise. Infinite where there is none.
        own_noise_db: How much lower it is than at the layer's noisiest input: what this layer adds; 0 or more where it
            adds nothing.
    """

    name: str
    operator: str
    position: int
    signal_to_noise_db: float
    own_noise_db: float


def short_name(name: str) -> str:
    """Returns the layer's part of a tensor's name: the converter joins the names of all that it fused.

    Example:
        >>> short_name("mobilenetv2_1/block_1_expand_BN_1/batchnorm/add_1;mobilenetv2_1/block_1_expand_1/convolution")
        'block_1_expand_BN_1'
    """
    parts = name.split(";", maxsplit=1)[0].split("/")
    kept = [part for part in parts[:-1] if part != "batchnorm"]
    return kept[-1] if kept else parts[0]


def _decibel(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def compare_layers(
    float_content: bytes,
    content: bytes,
    float_inputs: Sequence[npt.NDArray[np.float32]],
    images: UInt8Array,
) -> tuple[LayerNoise, ...]:
    """Returns the noise of each layer whose output stands in both files, in the network's order.

    Args:
        float_content: The float ``.tflite``.
        content: Made from it; integer in (uint8 or int8), or float32 in.
        float_inputs: What the float file takes, (1, size, size, 3) each.
        images: The same pictures as raw bytes, (photos, size, size, 3).
    """
    before, after = TensorReader(float_content), TensorReader(content)
    float_index = {name: index for index, name, _ in before.outputs()}
    found = [(name, kind, float_index[name], index) for index, name, kind in after.outputs() if name in float_index]
    count = min(_MAX_PHOTOS, len(images))
    inputs = (
        [float_inputs[position] for position in range(count)]
        if after.is_float_input
        else to_network_inputs(content, images[:count])
    )
    signal, noise = np.zeros(len(found)), np.zeros(len(found))
    for float_tensor, tensor in zip(float_inputs, inputs, strict=False):
        before.run(float_tensor)
        after.run(tensor)
        for position, (_, _, first, second) in enumerate(found):
            wanted = before.value(first).astype(np.float64)
            signal[position] += float(np.square(wanted).sum())
            noise[position] += float(np.square(after.value(second) - wanted).sum())
    sources = before.input_names()
    by_name: dict[str, float] = {}
    rows = []
    for position, (name, kind, _, _) in enumerate(found):
        ratio = _decibel(signal[position], noise[position])
        worst_input = min((by_name[source] for source in sources.get(name, ()) if source in by_name), default=math.inf)
        by_name[name] = ratio
        own = worst_input - ratio if math.isfinite(worst_input) else 0.0
        rows.append(LayerNoise(name, kind, position, ratio, own))
    return tuple(rows)
