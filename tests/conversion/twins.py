"""Small networks and smooth pictures for the tests of training through a twin."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from edgegender.entities import UInt8Array
from edgegender.preprocess import to_float
from edgegender.training.architectures import build_model
from edgegender.training.recipes import load_recipe

SIZE_PX = 32


def build_block_network():
    """A stem and one block of MobileNetV2: depthwise convolution, ReLU6, padding, a sum, batch normalization."""
    import keras

    layers = keras.layers
    keras.utils.set_random_seed(1)
    image = keras.Input((SIZE_PX, SIZE_PX, 3), name="image")
    stem = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem")(image)
    stem = layers.ReLU(6.0, name="stem_relu")(layers.BatchNormalization(name="stem_norm")(stem))
    block = layers.Conv2D(16, 1, use_bias=False, name="expand")(stem)
    block = layers.ReLU(6.0, name="expand_relu")(layers.BatchNormalization(name="expand_norm")(block))
    block = layers.ZeroPadding2D(1, name="pad")(block)
    block = layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(block)
    block = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(name="depthwise_norm")(block))
    block = layers.Conv2D(8, 1, use_bias=False, name="project")(block)
    block = layers.BatchNormalization(name="project_norm")(block)
    features = layers.GlobalAveragePooling2D(name="pool")(layers.Add(name="sum")([stem, block]))
    features = layers.Dropout(0.3, name="dropout")(features)
    model = keras.Model(image, layers.Dense(2, activation="softmax", name="scores")(features))
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.get_weights()[0].shape
            low_high = ((0.3, 2.0), (-1.0, 1.0), (-0.5, 0.5), (0.1, 2.0))  # gamma, beta, mean, variance
            layer.set_weights([generator.uniform(*limits, shape) for limits in low_high])
    _spread_scores(model)
    return model


def _spread_scores(model) -> None:
    """Moves the scores of random weights from 0 and 1 to both sides of one half: a wrong answer would be no other."""
    import keras

    last = model.get_layer("scores")
    features = keras.Model(model.input, last.input)
    values = np.asarray(features(to_float(smooth_pictures(32, seed=99)), training=False))
    direction = np.random.default_rng(7).normal(0, 1, values.shape[1])
    logits = values @ direction
    direction, offset = direction / logits.std(), -logits.mean() / logits.std()
    last.set_weights([np.stack([-direction, direction], axis=1) / 2, np.array([-offset, offset]) / 2])


def build_small_cnn():
    """The project's cnn, narrow."""
    import keras

    keras.utils.set_random_seed(2)
    recipe = load_recipe("demo", ["architecture=cnn", "alpha=0.25", f"input_size_px={SIZE_PX}", "hidden_units=8"])
    model = build_model(recipe, 2)
    _spread_scores(model)
    return model


def with_head(body: Callable[..., object]):
    """A network that ends in scores, with ``body`` between its input and its head."""
    import keras

    image = keras.Input((SIZE_PX, SIZE_PX, 3), name="image")
    features = keras.layers.GlobalAveragePooling2D(name="pool")(body(image))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax", name="scores")(features))


def smooth_pictures(count: int, seed: int = 0) -> UInt8Array:
    """Coarse random colours, enlarged: shape (count, SIZE_PX, SIZE_PX, 3)."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 4, 3), np.uint8)
    return np.stack([cv2.resize(part, (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_CUBIC) for part in coarse])


def batches(count: int, *, scaling: str = "tf", size: int = 8) -> Iterator[np.ndarray]:
    for number in range(count):
        yield to_float(smooth_pictures(size, seed=number), scaling)
