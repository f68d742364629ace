"""With ranges by min_max the integer file is the one that TensorFlow's converter makes of the same pictures."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from edgegender.conversion import flatbuffer
from edgegender.conversion.float_network import _converter, run_converter
from edgegender.conversion.quantization import IntegerPlan
from edgegender.preprocess import to_float
from tests.conversion.networks import (
    SIZE_PX,
    TYPE_NAMES,
    WEIGHTED,
    block_file,
    block_model,
    block_network,
    block_quantizer,
    output_names,
    pictures,
    quantization_of,
)

pytest.importorskip("keras", reason="the [train] extra is not installed")
tf = pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow


def own_file(model, *, is_per_channel: bool, io_type: object) -> bytes:
    """What TensorFlow's converter makes of the same pictures, in one call."""
    converter = _converter(model, SIZE_PX, "tf")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = io_type
    converter._experimental_disable_per_channel = not is_per_channel
    converter._experimental_disable_per_channel_quantization_for_dense_layers = not is_per_channel
    # a black and a white corner stand in the first picture: its input range is that of all bytes
    converter.representative_dataset = lambda: ([to_float(image)[np.newaxis]] for image in pictures())
    return run_converter(converter.convert)


def same_scale(left: tuple[float, ...], right: tuple[float, ...]) -> bool:
    # TensorFlow sees its ranges with other kernels, whose float32 sums run in another order
    return np.allclose(left, right, rtol=1e-5, atol=0)


def union_scale(names: list[str]) -> tuple[float]:
    """The scale of a range that holds two activations."""
    seen = [histogram for histogram in block_quantizer()._seen.values() if histogram.name in names]
    assert len(seen) == 2
    return ((max(entry.high for entry in seen) - min(entry.low for entry in seen)) / 255,)


@pytest.mark.parametrize(("is_per_channel", "io_type"), [(True, "uint8"), (False, "int8")])
def test_with_ranges_by_min_max_the_file_is_tensorflows_own(is_per_channel: bool, io_type: str) -> None:
    own = flatbuffer.unpack(own_file(block_model(), is_per_channel=is_per_channel, io_type=getattr(tf, io_type)))
    here = flatbuffer.unpack(block_file(IntegerPlan(is_per_channel=is_per_channel, io_type=io_type)))
    assert flatbuffer.operator_names(here) == flatbuffer.operator_names(own)
    own_tensors = {flatbuffer.text(tensor.name): tensor for tensor in own.subgraphs[0].tensors}
    tensors = {flatbuffer.text(tensor.name): tensor for tensor in here.subgraphs[0].tensors}
    assert tensors.keys() == own_tensors.keys()
    total = output_names(block_network().content, "ADD")[0]
    project = next(name for name in output_names(block_network().content, "CONV_2D") if "project" in name)
    compared: Counter[str] = Counter()
    for name, tensor in tensors.items():
        other = own_tensors[name]
        assert (tensor.type, list(tensor.shape)) == (other.type, list(other.shape))
        (scales, zero_points), (other_scales, other_zero_points) = quantization_of(tensor), quantization_of(other)
        if not flatbuffer.has_data(here, tensor):
            if name == project and not same_scale(scales, other_scales):
                # while TensorFlow calibrates, ADD writes into this tensor's memory, and the values of both are seen as
                # this one's: a range that is wider than need be
                assert same_scale(union_scale([project, total]), other_scales)
                assert scales < other_scales
                continue
            assert same_scale(scales, other_scales)
            assert np.abs(np.subtract(zero_points, other_zero_points)).max(initial=0) <= 1
            compared["activation"] += 1
            continue
        data, other_data = here.buffers[tensor.buffer].data, own.buffers[other.buffer].data
        if (
            TYPE_NAMES[tensor.type] == "INT32" and scales
        ):  # a bias: in the scale of the layer's input times the weights'
            assert same_scale(scales, other_scales)
            steps, other_steps = data.view(np.int32).astype(np.float64), other_data.view(np.int32)
            # 1e-5 of some thousand steps, and a rounding that falls to the other side
            assert np.abs(steps - other_steps).max() <= 1 + 1e-5 * np.abs(steps).max()
            compared["bias"] += 1
        else:
            assert (scales, zero_points) == (other_scales, other_zero_points)
            np.testing.assert_array_equal(data, other_data)
            compared["constant"] += 1
    assert compared["activation"] >= 9
    assert compared["bias"] == len(WEIGHTED) + 3
    assert compared["constant"] == len(WEIGHTED) + 3 + 1  # and the axes of MEAN
