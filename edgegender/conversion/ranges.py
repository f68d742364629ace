"""Which range of an activation int8 has to cover: seen on the representative dataset, chosen by one of three rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
import numpy.typing as npt

from edgegender.conversion import flatbuffer
from edgegender.conversion.tensors import TensorReader
from edgegender.entities import FloatArray
from edgegender.errors import CheckFailedError, UsageError

RANGE_METHODS = ("min_max", "percentile", "mse")
_NUM_BINS = 2048
_MAX_COUNTED = 200  # photos; a tensor has thousands of values in each, while one photo more may move the ends
_PERCENTILE = 99.99  # of all values of a tensor; the rest saturates
_NUM_CANDIDATES = 24  # of each end, for mse
_SMALLEST_SHARE = 0.3  # of the seen range, for mse
_LEVELS = 255  # steps of int8


@dataclass(frozen=True)
class ActivationHistogram:
    """The values that one tensor took over the representative dataset.

    Args:
        name: The tensor's.
        low: The lowest.
        high: The highest.
        counts: Values in each of equally wide bins from ``low`` to ``high``; empty where they are equal.
    """

    name: str
    low: float
    high: float
    counts: FloatArray

    @property
    def centers(self) -> FloatArray:
        """The middle of each bin."""
        step = (self.high - self.low) / len(self.counts)
        return np.asarray(self.low + step * (np.arange(len(self.counts)) + 0.5), np.float64)


def collect_histograms(
    content: bytes, inputs: Iterable[npt.NDArray[np.float32]], *, has_counts: bool
) -> dict[int, ActivationHistogram]:
    """Returns what each activation of a float network took on, by tensor index.

    Where counts are wanted, the first inputs are run twice: once for the ends, once for what lies between.

    Args:
        content: The float ``.tflite``.
        inputs: Iterable more than once, each (1, size, size, 3) float32.
        has_counts: Whether to count; ``min_max`` needs the ends only.

    Raises:
        CheckFailedError: An activation is NaN or infinite.
    """
    model = flatbuffer.unpack(content)
    names = {index: flatbuffer.text(tensor.name) for index, tensor in flatbuffer.activations(model)}
    reader = TensorReader(content)
    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    for tensor in inputs:
        reader.run(tensor)
        for index in names:
            value = reader.raw(index)
            # Python's min and max would lose a NaN that is not the first
            low[index] = float(np.minimum(low[index], value.min()))
            high[index] = float(np.maximum(high[index], value.max()))
    broken = [names[index] for index in names if not np.isfinite([low[index], high[index]]).all()]
    if broken:
        raise CheckFailedError(
            f"Expected finite activations of the float network, got NaN or infinity in {broken[0]}.",
            hint="The weights are broken: train the network again.",
        )
    counts = {index: np.zeros(_NUM_BINS if has_counts and high[index] > low[index] else 0) for index in names}
    spread = [index for index, counted in counts.items() if len(counted)]
    for tensor in islice(inputs, _MAX_COUNTED) if has_counts else ():
        reader.run(tensor)
        for index in spread:
            # the upper end is excluded by OpenCV
            ends = [low[index], float(np.nextafter(np.float32(high[index]), np.float32(np.inf)))]
            flat = np.ascontiguousarray(reader.raw(index).reshape(-1, 1))
            counted = cv2.calcHist([flat], [0], None, [_NUM_BINS], ends)[:, 0].astype(np.float64)
            counted[-1] += flat.size - counted.sum()  # a highest value that rounding put beyond the end, as at 0
            counts[index] += counted
    return {index: ActivationHistogram(names[index], low[index], high[index], counts[index]) for index in names}


def _percentile_range(histogram: ActivationHistogram) -> tuple[float, float]:
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    rest = (1 - _PERCENTILE / 100) / 2
    step = (histogram.high - histogram.low) / len(histogram.counts)
    first, last = int(np.searchsorted(share, rest)), int(np.searchsorted(share, 1 - rest))
    # a tail that is not there, such as below the zero of ReLU, is not cut
    low = histogram.low if histogram.low >= 0 else histogram.low + first * step
    return low, min(histogram.high, histogram.low + (last + 1) * step)


def _mse_range(histogram: ActivationHistogram) -> tuple[float, float]:
    """Least mean squared error of rounding and clipping, over shrunken ends."""
    centers, weights = histogram.centers, histogram.counts / histogram.counts.sum()
    shares = np.linspace(_SMALLEST_SHARE, 1, _NUM_CANDIDATES)
    lows = shares * min(0.0, histogram.low) if histogram.low < 0 else np.zeros(1)
    highs = shares * max(0.0, histogram.high) if histogram.high > 0 else np.zeros(1)
    # clipping at each end does not depend on the other; rounding depends on their distance
    below = np.asarray([(weights * np.clip(low - centers, 0, None) ** 2).sum() for low in lows])
    above = np.asarray([(weights * np.clip(centers - high, 0, None) ** 2).sum() for high in highs])
    rounding = ((highs[None, :] - lows[:, None]) / _LEVELS) ** 2 / 12
    error = below[:, None] + above[None, :] + rounding
    best_low, best_high = np.unravel_index(int(error.argmin()), error.shape)
    return float(lows[best_low]), float(highs[best_high])


def choose_range(histogram: ActivationHistogram, method: str) -> tuple[float, float]:
    """Returns the range that int8 is to cover; it holds zero, which padding needs.

    - ``min_max``: all that was seen; one outlier makes all steps wide.
    - ``percentile``: 99.99 % of the values.
    - ``mse``: the range with the least mean squared error of rounding within and clipping beyond.

    Args:
        histogram: With counts for the last two.
        method: One of ``RANGE_METHODS``.

    Raises:
        UsageError: The method is unknown.

    Source: Krishnamoorthi 2018, arXiv 1806.08342, section 3; Nagel et al. 2021, arXiv 2106.08295, section 3.1.
    """
    if method not in RANGE_METHODS:
        raise UsageError(f"Expected ranges of {', '.join(RANGE_METHODS)}, got {method!r}.")
    low, high = histogram.low, histogram.high
    if len(histogram.counts) and method == "percentile":
        low, high = _percentile_range(histogram)
    if len(histogram.counts) and method == "mse":
        low, high = _mse_range(histogram)
    return min(0.0, low), max(0.0, high)


def with_ranges(content: bytes, ranges: Mapping[int, tuple[float, float]]) -> bytes:
    """Returns a float ``.tflite`` that says of each activation which range to quantize.

    Args:
        content: The float ``.tflite``.
        ranges: (low, high) by tensor index.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = flatbuffer.unpack(content)
    tensors = flatbuffer.graph_of(model).tensors
    for index, (low, high) in ranges.items():
        quantization = schema.QuantizationParametersT()
        quantization.min, quantization.max = [low], [high]
        tensors[index].quantization = quantization
    return flatbuffer.pack(model)
