"""Which layers lose most: the float network and its quantized file, tensor by tensor, on the same photos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgegender.conversion.tensors import TensorReader, to_network_inputs
from edgegender.entities import UInt8Array

_MAX_PHOTOS = 32
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")  # between types: no layers of the network


@dataclass(frozen=True)
class LayerNoise:
    """How far a layer's output is from the float network's.

    Args:
        name: The output tensor's name.
        operator: Such as ``CONV_2D``, in the float network.
        position: In the network, from 0.
        signal_to_noise_db: 10 log10 of (sum of squares of the float output / sum of squared differences); 20 means that
            a tenth of the amplitude is noise. Infinite where there is none.
        own_noise_db: How much lower it is than at the layer's noisiest input, the picture among them: what this layer
            adds. Negative where it averages noise away; infinite where all its inputs are exact and its output is not.
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


class _Pair(NamedTuple):
    """A tensor that stands in both files: its name and operator in the float one."""

    name: str
    operator: str
    float_index: int
    other_index: int


def _match(before: TensorReader, after: TensorReader) -> list[_Pair]:
    """Returns the outputs that both files compute, in the network's order.

    Names alone would lie: where weights are unpacked, the converter gives a bias the name that the layer's output had.
    """
    wanted = [entry for entry in before.outputs() if entry[2] not in _CONVERSIONS]
    found = [entry for entry in after.outputs() if entry[2] not in _CONVERSIONS]
    if [kind for *_, kind in wanted] == [kind for *_, kind in found]:
        return [_Pair(name, kind, first, index) for (first, name, kind), (index, *_) in zip(wanted, found, strict=True)]
    by_name = {name: index for index, name, _ in found}
    return [
        _Pair(name, kind, index, by_name[name])
        for index, name, kind in wanted
        if name in by_name and before.shape(index) == after.shape(by_name[name])
    ]


def _own_noise(ratios: Mapping[str, float], sources: Sequence[str], ratio: float) -> float:
    """Returns by how much the ratio fell; 0 where no input stands in both files."""
    known = [ratios[source] for source in sources if source in ratios]
    if not known or min(known) == ratio:  # equal, and maybe both infinite
        return 0.0
    return min(known) - ratio


def compare_layers(
    float_content: bytes,
    content: bytes,
    float_inputs: Sequence[npt.NDArray[np.float32]],
    images: UInt8Array,
) -> tuple[LayerNoise, ...]:
    """Returns the noise of each layer whose output stands in both files, in the float network's order.

    Args:
        float_content: The float ``.tflite``.
        content: Made from it; integer in (uint8 or int8), or float32 in.
        float_inputs: What the float file takes, (1, size, size, 3) each.
        images: The same pictures as raw bytes, (photos, size, size, 3).
    """
    before, after = TensorReader(float_content), TensorReader(content)
    # the picture is the first row: what rounds it is not the first layer's noise
    found = [_Pair(before.name(before.input_index), "", before.input_index, after.input_index)]
    found += _match(before, after)
    count = min(_MAX_PHOTOS, len(images))
    inputs = (
        [float_inputs[position] for position in range(count)]
        if after.is_float_input
        else to_network_inputs(content, images[:count])
    )
    signal, noise = np.zeros(len(found)), np.zeros(len(found))
    for position in range(count):
        before.run(float_inputs[position])
        after.run(inputs[position])
        for row, pair in enumerate(found):
            wanted = before.value(pair.float_index).astype(np.float64)
            signal[row] += float(np.square(wanted).sum())
            noise[row] += float(np.square(after.value(pair.other_index) - wanted).sum())
    ratios = {pair.name: _decibel(signal[row], noise[row]) for row, pair in enumerate(found)}
    sources = before.input_names()
    return tuple(
        LayerNoise(name, kind, position, ratios[name], _own_noise(ratios, sources.get(name, ()), ratios[name]))
        for position, (name, kind, *_) in enumerate(found[1:])
    )
