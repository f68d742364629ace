"""Classifiers of random shape: whatever is put together from the usual layers converts, and answers as before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from edgegender.conversion import flatbuffer
from edgegender.conversion.float_network import build_float_network
from edgegender.conversion.layers import LayerNoise, compare_layers
from edgegender.conversion.measured import score_inputs
from edgegender.conversion.quantization import IntegerPlan, Quantizer, require_integer
from edgegender.conversion.tensors import TensorReader
from edgegender.entities import QuantizationScheme
from edgegender.preprocess import SCALINGS
from edgegender.runtime.interpreter import Interpreter
from tests.conversion.networks import pictures, settle

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

SEEDS = range(8)
PLANS = (
    IntegerPlan(),
    IntegerPlan("mse"),
    IntegerPlan("percentile", is_bias_corrected=True),
    IntegerPlan("mse", is_bias_corrected=True, io_type="int8"),
)


def activation(features, generator: np.random.Generator):
    kind = generator.choice(["relu", "relu6", "linear", "leaky"])
    if kind == "relu6":
        return keras.layers.ReLU(6.0)(features)
    if kind == "leaky":
        return keras.layers.LeakyReLU(negative_slope=0.1)(features)
    return keras.layers.Activation(kind)(features)


def block(features, generator: np.random.Generator):
    """Adds a convolution, a depthwise one or a residual sum, with or without batch normalization, maybe a pooling."""
    layers = keras.layers
    channels = int(generator.integers(4, 13))
    kind = generator.choice(["conv", "depthwise", "residual"])
    padding = str(generator.choice(["same", "valid"])) if features.shape[1] > 8 else "same"
    has_norm = bool(generator.random() < 0.7)
    if kind == "conv":
        size, stride = int(generator.integers(1, 4)), int(generator.integers(1, 3))
        found = layers.Conv2D(channels, size, strides=stride, padding=padding, use_bias=not has_norm)(features)
    elif kind == "depthwise":
        found = layers.DepthwiseConv2D(3, padding=padding, use_bias=not has_norm)(features)
    else:
        found = layers.Conv2D(features.shape[-1], 3, padding="same", use_bias=not has_norm)(features)
    if has_norm:
        found = layers.BatchNormalization()(found)
    if kind == "residual":
        found = layers.Add()([features, found])
    found = activation(found, generator)
    if found.shape[1] > 8 and generator.random() < 0.5:
        pool = layers.MaxPooling2D if generator.random() < 0.5 else layers.AveragePooling2D
        found = pool(2)(found)
    return found


def build_random(seed: int):
    """Returns (network, scaling, pictures), all decided by the seed."""
    generator = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    size_px, scaling = int(generator.integers(16, 41)), SCALINGS[seed % len(SCALINGS)]
    image = keras.Input((size_px, size_px, 3), name="image")
    # the first weights bring raw bytes to about one, as a trained network's do
    features = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    features = activation(layers.BatchNormalization()(features), generator)
    for _ in range(int(generator.integers(2, 5))):
        features = block(features, generator)
    features = layers.GlobalAveragePooling2D()(features)
    if generator.random() < 0.5:
        features = layers.Dense(int(generator.integers(6, 17)), activation="relu")(features)
    scores = layers.Dense(int(generator.integers(2, 5)), activation="softmax", name="scores")(features)
    images = pictures(24, size_px=size_px, seed=seed)
    return settle(keras.Model(image, scores), images, scaling=scaling, seed=seed), scaling, images


@dataclass(frozen=True)
class Case:
    """One random network in float, full_integer and float16."""

    quantizer: Quantizer
    plan: IntegerPlan
    integer: bytes
    float16: bytes
    logits: np.ndarray


@cache
def case(seed: int) -> Case:
    model, scaling, images = build_random(seed)
    network = build_float_network(model, scaling=scaling)
    quantizer, plan = Quantizer(network, images), PLANS[seed // 2 % len(PLANS)]
    reader = TensorReader(network.content)
    index = [index for index, _, kind in reader.outputs() if kind == "FULLY_CONNECTED"][-1]
    logits = []
    for tensor in quantizer.inputs:
        reader.run(tensor)
        logits.append(reader.value(index)[0])
    float16 = quantizer.make(QuantizationScheme.FLOAT16)
    return Case(quantizer, plan, quantizer.integer(plan), float16, np.stack(logits).astype(np.float64))


def noise_of(found: Case, content: bytes) -> tuple[LayerNoise, ...]:
    return compare_layers(
        found.quantizer.network.content, content, found.quantizer.inputs, found.quantizer.representative
    )


def check_scores(found: Case, content: bytes, noise: tuple[LayerNoise, ...], *, step: float) -> None:
    """Makes sure that scores differ by what the noise of the logits allows, and answers only where they are close.

    Softmax changes by half of its input's change at most (in the Euclidean norm), and each score is rounded once to
    half a ``step`` inside of it and once behind it.
    """
    quantizer = found.quantizer
    scaling, images = quantizer.network.scaling, quantizer.representative
    plain, scores = (score_inputs(file, images, scaling=scaling) for file in (quantizer.network.content, content))
    assert np.isfinite(scores).all()
    labels = scores.shape[1]
    assert np.abs(scores.sum(axis=1) - 1).max() <= labels * step + 1e-6
    (ratio,) = (row.signal_to_noise_db for row in noise if row.position == max(r.position for r in noise) - 1)
    shift = np.sqrt(np.square(found.logits).sum(axis=1).mean() * 10 ** (-ratio / 10))  # root of the mean |Δ logits|²
    bound = shift / 2 + np.sqrt(labels) * step
    assert np.linalg.norm(scores - plain, axis=1).mean() <= bound
    top = np.sort(plain, axis=1)
    margin = top[:, -1] - top[:, -2]
    is_clear = margin > 3 * bound  # noise is rarely three times its root mean square
    assert is_clear.mean() > 1 / 6  # or nothing would be tested
    np.testing.assert_array_equal(scores[is_clear].argmax(axis=1), plain[is_clear].argmax(axis=1))


@pytest.mark.parametrize("seed", SEEDS)
def test_full_integer_answers_as_float_within_the_noise_of_its_layers(seed: int) -> None:
    found = case(seed)
    require_integer(found.integer)
    assert Interpreter(found.integer).input_dtype == found.plan.io_type
    noise = noise_of(found, found.integer)
    # int8 has 50 dB for a layer that fills its range, about 35 for one whose peak is five times its root mean square;
    # some ten layers add up, and a head that takes the mean away loses what the mean had: 20 less
    assert min(row.signal_to_noise_db for row in noise) > 15
    check_scores(found, found.integer, noise, step=1 / 256)


@pytest.mark.parametrize("seed", SEEDS)
def test_float16_answers_as_float_within_the_noise_of_its_layers(seed: int) -> None:
    found = case(seed)
    noise = noise_of(found, found.float16)
    # 11 bits are 66 dB; some ten layers add up, and a head that takes the mean away has 20 less
    assert min(row.signal_to_noise_db for row in noise) > 40
    check_scores(found, found.float16, noise, step=0)


def test_the_random_networks_are_of_all_kinds() -> None:
    """Whoever changes how they are drawn sees what is tested no more."""
    operators: set[str] = set()
    for seed in SEEDS:
        operators |= set(flatbuffer.operator_names(flatbuffer.unpack(case(seed).quantizer.network.content)))
    assert operators >= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX", "MAX_POOL_2D"}
    assert {case(seed).quantizer.network.num_outputs for seed in SEEDS} == {2, 3, 4}
    assert {case(seed).plan for seed in SEEDS} == set(PLANS)
    assert {case(seed).quantizer.network.scaling for seed in SEEDS} == {"tf", "unit", "raw"}  # caffe takes raw bytes
