"""The noise of each layer, held against numpy and against ai-edge-quantizer's own comparison."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from edgegender.conversion import flatbuffer, layers
from edgegender.conversion.layers import LayerNoise, compare_layers, short_name
from edgegender.conversion.quantization import IntegerPlan
from edgegender.conversion.tensors import TensorReader, to_network_inputs
from edgegender.entities import QuantizationScheme
from tests.conversion.networks import (
    WEIGHTED,
    altered,
    block_file,
    block_network,
    block_quantizer,
    block_scheme,
    output_names,
    pictures,
)

pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

OPERATORS = [
    "CONV_2D",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "CONV_2D",
    "ADD",
    "CONV_2D",
    "MEAN",
    "FULLY_CONNECTED",
    "SOFTMAX",
]


def compared(content: bytes) -> tuple[LayerNoise, ...]:
    return compare_layers(block_network().content, content, block_quantizer().inputs, pictures())


def spoil(content: bytes, position: int) -> bytes:
    """Halves the weights of one operator's first channels."""

    def alter(model) -> None:
        graph = flatbuffer.graph_of(model)
        tensor = graph.tensors[graph.operators[position].inputs[1]]
        kind = np.int8 if tensor.type == 9 else np.float32
        buffer = model.buffers[tensor.buffer]
        weights = buffer.data.view(kind).copy()
        weights[: weights.size // 2] //= 2
        buffer.data = weights.view(np.uint8)

    return altered(content, alter)


def test_a_file_has_no_noise_against_itself() -> None:
    rows = compared(block_network().content)
    assert [row.operator for row in rows] == OPERATORS
    assert [row.position for row in rows] == list(range(9))
    assert {row.signal_to_noise_db for row in rows} == {math.inf}
    assert {row.own_noise_db for row in rows} == {0.0}


@pytest.mark.parametrize("io_type", ["uint8", "int8"])
def test_ratios_are_numpys(io_type: str) -> None:
    content = block_file(IntegerPlan(io_type=io_type))
    before, after = TensorReader(block_network().content), TensorReader(content)
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    indices = {name: index for index, name, _ in after.outputs()}
    for first, second in zip(block_quantizer().inputs, to_network_inputs(content, pictures()), strict=True):
        before.run(first)
        after.run(second)
        for index, name, _ in before.outputs():
            pairs.setdefault(name, []).append((before.value(index), after.value(indices[name])))
    rows = compared(content)
    assert [row.name for row in rows] == list(pairs)
    assert [row.operator for row in rows] == OPERATORS  # SOFTMAX is not renamed by the QUANTIZE behind it
    for row in rows:
        wanted, found = (np.concatenate([pair[side] for pair in pairs[row.name]]).astype(np.float64) for side in (0, 1))
        ratio = 10 * np.log10((wanted**2).sum() / ((found - wanted) ** 2).sum())
        assert row.signal_to_noise_db == pytest.approx(ratio, rel=1e-9)  # float64 sums in another order
        assert 10 < ratio < 80  # int8 has about 50 at its best


def test_own_noise_is_what_a_layer_adds_to_its_noisiest_input() -> None:
    rows = compared(block_file(IntegerPlan()))
    ratio = {short_name(row.name): row.signal_to_noise_db for row in rows}
    own = {short_name(row.name): row.own_noise_db for row in rows}
    assert own["expand_relu_1"] == pytest.approx(ratio["stem_relu_1"] - ratio["expand_relu_1"])
    assert own["sum_1"] == pytest.approx(min(ratio["stem_relu_1"], ratio["project_norm_1"]) - ratio["sum_1"])
    # the picture itself is read half a step of 1/127.5 too low
    image = np.stack(list(block_quantizer().inputs)).astype(np.float64)
    image_ratio = 10 * np.log10((image**2).mean() / (0.5 / 127.5) ** 2)
    assert own["stem_relu_1"] == pytest.approx(image_ratio - ratio["stem_relu_1"], abs=1e-3)  # float32 inputs


@pytest.mark.parametrize("position", [1, 2, 3, 5, 7])
def test_a_spoilt_layer_stands_out(position: int) -> None:
    """The int8 file with uint8 input has one operator in front."""
    rows = compared(spoil(block_file(IntegerPlan()), position + 1))
    worst = max(rows, key=lambda row: row.own_noise_db)
    assert worst.position == position
    sound = compared(block_file(IntegerPlan()))
    for row, other in zip(rows[:position], sound[:position], strict=True):
        assert row == other  # what comes before does not change


@pytest.mark.parametrize("position", [0, 3])
def test_a_spoilt_layer_of_a_file_that_is_exact_else_adds_all_noise(position: int) -> None:
    rows = compared(spoil(block_network().content, position))
    assert [row.own_noise_db for row in rows[: position + 1]] == [0.0] * position + [math.inf]
    assert all(math.isfinite(row.own_noise_db) for row in rows[position + 1 :])
    assert all(math.isfinite(row.signal_to_noise_db) for row in rows[position:])


def test_float_input_files_are_compared_too() -> None:
    """With weights in 16 bits each layer keeps its 11 bits and a little less: 6 dB a bit."""
    rows = compared(block_scheme(QuantizationScheme.FLOAT16))
    assert [row.operator for row in rows] == OPERATORS
    assert all(45 < row.signal_to_noise_db < math.inf for row in rows)
    assert rows[0].own_noise_db == math.inf  # the picture is exact


def test_int16_activations_have_less_noise_than_int8_ones() -> None:
    wide, narrow = (
        compared(content) for content in (block_scheme(QuantizationScheme.INT16X8), block_file(IntegerPlan()))
    )
    assert [row.name for row in wide[:8]] == [row.name for row in narrow[:8]]
    assert np.mean([row.signal_to_noise_db for row in wide]) > np.mean([row.signal_to_noise_db for row in narrow])


def test_a_mixed_files_float_layer_is_compared_with_the_others() -> None:
    (wide,) = (name for name in output_names(block_network().content, "CONV_2D") if "wide" in name)
    rows = compared(block_file(IntegerPlan(float_layers=(wide,))))
    assert [row.operator for row in rows] == OPERATORS
    row, other = (found[5] for found in (rows, compared(block_file(IntegerPlan()))))
    assert row.name == other.name == wide
    assert row.signal_to_noise_db > other.signal_to_noise_db


def test_only_so_many_photos_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    content, quantizer = block_file(IntegerPlan()), block_quantizer()
    few = compare_layers(block_network().content, content, list(quantizer.inputs)[:3], pictures()[:3])
    monkeypatch.setattr(layers, "_MAX_PHOTOS", 3)
    assert compared(content) == few


def test_ai_edge_quantizer_measures_the_same() -> None:
    """Its figures are means over photos, with float32 sums."""
    pytest.importorskip("ai_edge_quantizer", reason="the [train] extra is not installed")
    from ai_edge_quantizer import model_validator
    from ai_edge_quantizer.utils import validation_utils

    content, plain = block_scheme(QuantizationScheme.INT16X8), block_network().content
    mse, snr = validation_utils.ValidationErrorMetric.MSE, validation_utils.ValidationErrorMetric.SNR
    inputs = list(block_quantizer().inputs)[:4]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # LiteRT's own, that reading inner tensors takes memory
        result = model_validator.compare_model(
            plain, content, {"serving_default": [{"image": tensor} for tensor in inputs]}, [mse, snr], num_threads=1
        )
    theirs = result.get_all_tensor_results()
    rows = compare_layers(plain, content, inputs, pictures()[:4])
    compared_names = [row for row in rows if row.name in theirs]
    assert len(compared_names) >= len(WEIGHTED) + 4
    one_by_one = [
        {
            row.name: row.signal_to_noise_db
            for row in compare_layers(plain, content, inputs[photo : photo + 1], pictures()[photo : photo + 1])
        }
        for photo in range(4)
    ]
    for row in compared_names:
        ratios = np.asarray([10 ** (photo[row.name] / 10) for photo in one_by_one])
        power, noise = theirs[row.name]["snr"], theirs[row.name]["mse"]
        assert noise > 0
        # they add 1e-9 to the noise, which is up to a thousandth of it where there is little
        assert power == pytest.approx(ratios.mean(), rel=5e-3), row.name


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net_1/block_1_expand_BN_1/batchnorm/add_1;net_1/block_1_expand_1/convolution", "block_1_expand_BN_1"),
        ("net_1/stem_relu_1/Relu6", "stem_relu_1"),
        ("net_1/scores_1/MatMul;net_1/scores_1/BiasAdd", "scores_1"),
        ("StatefulPartitionedCall:0", "StatefulPartitionedCall:0"),
        ("batchnorm/add", "batchnorm"),
        ("", ""),
    ],
)
def test_a_short_name_is_the_layers(name: str, expected: str) -> None:
    assert short_name(name) == expected
