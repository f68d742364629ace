"""Ranges: what was seen equals numpy's count of it, what is chosen equals a search by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegender.conversion import flatbuffer, ranges
from edgegender.conversion.ranges import (
    RANGE_METHODS,
    ActivationHistogram,
    choose_range,
    collect_histograms,
    with_ranges,
)
from edgegender.conversion.tensors import TensorReader
from edgegender.errors import CheckFailedError, UsageError
from edgegender.preprocess import to_float
from tests.conv_model import SIZE_PX, alter_network, build_conv_network
from tests.conversion.networks import constants

CONTENT = build_conv_network(is_float=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, SIZE_PX, SIZE_PX, 3), np.uint8)
INPUTS = [to_float(image)[np.newaxis] for image in IMAGES]


def histogram_of(values: np.ndarray, *, num_bins: int = 2048) -> ActivationHistogram:
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, num_bins, (low, high))[0] if high > low else np.zeros(0)
    return ActivationHistogram("layer", low, high, counts.astype(np.float64))


def rounding_error(values: np.ndarray, low: float, high: float) -> float:
    """Returns the mean squared error of int8 over a range, with values rounded and clipped one by one."""
    step = (high - low) / 255
    zero_point = np.round(-low / step)
    stored = np.clip(np.round(values / step) + zero_point, 0, 255)
    return float(np.square((stored - zero_point) * step - values).mean())


GENERATOR = np.random.default_rng(7)
NORMAL = GENERATOR.normal(size=100_000)
VALUES = {
    "uniform": GENERATOR.uniform(-1, 1, 100_000),
    "normal": NORMAL,
    "one far outlier": np.append(NORMAL, 100.0),
    "ReLU": np.maximum(NORMAL, 0),
    "ReLU with an outlier": np.append(np.maximum(NORMAL, 0), 50.0),
    "heavy tails": GENERATOR.laplace(size=100_000),
    "all negative": -np.abs(NORMAL) - 1,
    "all positive": np.abs(NORMAL) + 1,
}


# What was seen


@pytest.fixture(scope="module")
def seen() -> dict[int, np.ndarray]:
    """All values of each activation, by tensor index."""
    reader = TensorReader(CONTENT)
    found: dict[int, list[np.ndarray]] = {index: [] for index, _ in flatbuffer.activations(flatbuffer.unpack(CONTENT))}
    for tensor in INPUTS:
        reader.run(tensor)
        for index, values in found.items():
            values.append(reader.raw(index).ravel())
    return {index: np.concatenate(values) for index, values in found.items()}


def test_ends_and_counts_are_numpys(seen: dict[int, np.ndarray]) -> None:
    histograms = collect_histograms(CONTENT, INPUTS, has_counts=True)
    assert [histogram.name for histogram in histograms.values()] == [
        "image", "stem", "depth", "point", "mean", "logits", "scores",
    ]  # fmt: skip
    for index, histogram in histograms.items():
        values = seen[index].astype(np.float64)
        assert (histogram.low, histogram.high) == (values.min(), values.max())
        expected = np.histogram(values, len(histogram.counts), (histogram.low, histogram.high))[0]
        assert histogram.counts.sum() == values.size
        # the upper end is one float32 higher here, so that a value on an edge may fall to either side of it
        assert np.abs(np.cumsum(histogram.counts) - np.cumsum(expected)).max() <= 1


def test_min_max_needs_no_counts() -> None:
    counted = collect_histograms(CONTENT, INPUTS, has_counts=True)
    for index, histogram in collect_histograms(CONTENT, INPUTS, has_counts=False).items():
        assert len(histogram.counts) == 0
        assert (histogram.low, histogram.high) == (counted[index].low, counted[index].high)


def test_values_are_counted_on_the_first_photos_and_ends_seen_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_MAX_COUNTED", 3)
    quiet = [tensor / 8 for tensor in INPUTS[:3]]
    histograms = collect_histograms(CONTENT, [*quiet, INPUTS[3]], has_counts=True)
    image = histograms[0]
    assert image.counts.sum() == 3 * SIZE_PX * SIZE_PX * 3
    assert (image.low, image.high) == (-1, 1)
    assert not image.counts[np.abs(image.centers) > 0.2].any()


def test_a_highest_value_of_zero_is_counted() -> None:
    """The float32 above 0 is so small that a bin's edge beyond it is the edge itself."""
    dark = [np.minimum(tensor, 0) for tensor in INPUTS]
    image = collect_histograms(CONTENT, dark, has_counts=True)[0]
    assert image.high == 0
    assert image.counts.sum() == sum(tensor.size for tensor in dark)
    assert image.counts[-1] >= sum(int((tensor == 0).sum()) for tensor in dark)


def test_a_tensor_that_never_changes_has_no_counts() -> None:
    grey = [np.full_like(INPUTS[0], 0.25)] * 2
    image = collect_histograms(CONTENT, grey, has_counts=True)[0]
    assert (image.low, image.high, len(image.counts)) == (0.25, 0.25, 0)
    for method in RANGE_METHODS:
        assert choose_range(image, method) == (0, 0.25)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_one_broken_activation_in_one_photo_is_refused(value: float, position: int) -> None:
    inputs = [tensor.copy() for tensor in INPUTS[:3]]
    inputs[position][0, 3, 3, 1] = value
    with pytest.raises(CheckFailedError, match="got NaN or infinity in image") as caught:
        collect_histograms(CONTENT, inputs, has_counts=False)
    assert "train the network again" in caught.value.hint


def test_the_first_broken_layer_is_named() -> None:
    def spoil(model) -> None:
        bias = next(tensor for tensor in model.subgraphs[0].tensors if flatbuffer.text(tensor.name) == "depth/b")
        model.buffers[bias.buffer].data = np.full(4, np.nan, np.float32).view(np.uint8)

    with pytest.raises(
        CheckFailedError, match=r"^Expected finite activations of the float network, got NaN .* in depth\.$"
    ):
        collect_histograms(alter_network(CONTENT, spoil), INPUTS[:2], has_counts=True)


# What is chosen


@pytest.mark.parametrize("name", VALUES)
def test_min_max_is_what_was_seen_and_zero(name: str) -> None:
    values = VALUES[name]
    assert choose_range(histogram_of(values), "min_max") == (min(0, values.min()), max(0, values.max()))


@pytest.mark.parametrize("name", VALUES)
def test_mse_finds_what_a_search_by_hand_finds(name: str) -> None:
    """The same candidates, the same error, written as a loop."""
    histogram = histogram_of(VALUES[name])
    weights = histogram.counts / histogram.counts.sum()
    shares = [0.3 + 0.7 * step / 23 for step in range(24)]
    best = (np.inf, 0.0, 0.0)
    for low_share, high_share in itertools.product(shares, shares):
        low, high = low_share * min(0, histogram.low), high_share * max(0, histogram.high)
        clipped = np.clip(histogram.centers, low, high)
        error = (weights * (clipped - histogram.centers) ** 2).sum() + ((high - low) / 255) ** 2 / 12
        best = min(best, (error, low, high))
    assert choose_range(histogram, "mse") == pytest.approx(best[1:], rel=1e-9)  # other order of float64 sums


@pytest.mark.parametrize("name", VALUES)
def test_mse_is_nearly_the_best_range_for_values_that_are_really_rounded(name: str) -> None:
    values = VALUES[name][-20_000:]  # the outliers are the last
    low, high = min(0.0, values.min()), max(0.0, values.max())
    shares = np.linspace(0.3, 1, 24)
    best = min(rounding_error(values, *ends) for ends in itertools.product(shares * low, shares * high))
    chosen = rounding_error(values, *choose_range(histogram_of(values), "mse"))
    # rounding is taken to be uniform noise of step² / 12: the zeros of ReLU, half of all, have none, and values that
    # fill a few steps only are no uniform ones
    assert chosen <= 1.15 * best
    assert chosen <= 1.02 * rounding_error(values, low, high)


def test_mse_keeps_the_whole_range_of_a_uniform_layer() -> None:
    values = VALUES["uniform"]
    assert choose_range(histogram_of(values), "mse") == (values.min(), values.max())


@pytest.mark.parametrize("name", ["one far outlier", "ReLU with an outlier"])
def test_an_outlier_is_cut(name: str) -> None:
    histogram = histogram_of(VALUES[name])
    assert choose_range(histogram, "min_max")[1] == histogram.high
    assert choose_range(histogram, "mse")[1] < 0.9 * histogram.high
    assert choose_range(histogram, "percentile")[1] < 0.1 * histogram.high


def test_percentile_leaves_out_one_in_twenty_thousand_at_each_end() -> None:
    low, high = choose_range(histogram_of(NORMAL), "percentile")
    width = (NORMAL.max() - NORMAL.min()) / 2048
    for sign, end in ((-1, -low), (1, high)):
        assert (sign * NORMAL > end).mean() <= 0.00005
        assert (sign * NORMAL > end - 2 * width).mean() >= 0.00005  # no more than the bin's width is given away


@pytest.mark.parametrize("method", RANGE_METHODS)
@pytest.mark.parametrize("name", ["ReLU", "ReLU with an outlier", "all positive"])
def test_behind_relu_the_low_end_stays_at_zero(name: str, method: str) -> None:
    low, high = choose_range(histogram_of(VALUES[name]), method)
    assert low == 0
    assert high > 3  # of a normal distribution, nearly all


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_a_layer_below_zero_ends_at_zero(method: str) -> None:
    low, high = choose_range(histogram_of(VALUES["all negative"]), method)
    assert high == 0
    assert low < -3


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=50),
    st.sampled_from(RANGE_METHODS),
)
def test_a_range_holds_zero_and_lies_within_what_was_seen(values: list[float], method: str) -> None:
    array = np.asarray(values, np.float64)
    histogram = ActivationHistogram("layer", float(array.min()), float(array.max()), np.zeros(0))
    if histogram.high > histogram.low:
        bins = np.minimum((array - histogram.low) / (histogram.high - histogram.low) * 64, 63).astype(int)
        counts = np.bincount(bins, minlength=64).astype(np.float64)
        histogram = ActivationHistogram("layer", histogram.low, histogram.high, counts)
    low, high = choose_range(histogram, method)
    assert min(0, histogram.low) <= low <= 0 <= high <= max(0, histogram.high)


def test_an_unknown_method_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match="Expected ranges of min_max, percentile, mse, got 'entropy'"):
        choose_range(histogram_of(NORMAL), "entropy")


# What the file says


def test_a_file_carries_its_ranges_and_nothing_else_changes() -> None:
    index = {
        flatbuffer.text(tensor.name): index for index, tensor in flatbuffer.activations(flatbuffer.unpack(CONTENT))
    }
    content = with_ranges(CONTENT, {index["stem"]: (0.0, 6.0), index["depth"]: (-1.5, 2.5)})
    tensors = flatbuffer.graph_of(flatbuffer.unpack(content)).tensors
    carried = {
        flatbuffer.text(tensor.name): (tensor.quantization.min[0], tensor.quantization.max[0])
        for tensor in tensors
        if tensor.quantization is not None and tensor.quantization.min is not None
    }
    assert carried == {"stem": (0.0, 6.0), "depth": (-1.5, 2.5)}
    assert constants(content) == constants(CONTENT)
