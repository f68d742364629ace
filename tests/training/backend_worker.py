"""A tiny training on one backend, for test_backend.py: prints what happened as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np

from edgegender.errors import TrainingError
from edgegender.training import backend


def error_of(action: Callable[[], object]) -> dict[str, str]:
    try:
        action()
    except TrainingError as error:
        return {"message": str(error), "hint": error.hint, "cause": type(error.__cause__).__name__}
    return {}


def ask_for_a_gpu() -> None:
    with backend.use_device("gpu"):
        pass


def ask_for_a_petabyte() -> None:
    import keras

    with backend.told_memory(64):
        np.asarray(keras.ops.ones((1 << 24, 1 << 24)) + 1)


def initial_weights() -> np.ndarray:
    import keras

    backend.set_seed(11)
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    return np.asarray(keras.ops.convert_to_numpy(layer.kernel))


def step(file: str) -> list[float]:
    """Trains one step, saves the weights, loads them into a second network, and compares the two networks' answers."""
    import keras

    layers = keras.layers

    def build() -> keras.Model:
        image = keras.Input((8, 8, 3))
        features = layers.BatchNormalization()(layers.Conv2D(2, 3, use_bias=False)(image))
        dropped = layers.Dropout(0.2, seed=1)(layers.Flatten()(layers.MaxPooling2D()(features)))
        return keras.Model(image, layers.Dense(2, activation="softmax", dtype="float32")(dropped))

    model, other = build(), build()
    model.compile(optimizer=keras.optimizers.AdamW(1e-3, clipnorm=5.0), loss="categorical_crossentropy")
    inputs = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    targets = np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    model.train_on_batch(inputs, targets, sample_weight=np.ones(4, np.float32), return_dict=True)
    model.save_weights(file)
    other.load_weights(file)
    return [float(abs(model.predict_on_batch(inputs) - other.predict_on_batch(inputs)).max())]


def main(file: str) -> None:
    backend.import_keras()
    import keras

    with backend.use_device("cpu"), backend.precision_scope(backend.choose_precision("auto", device="cpu")):
        inside = keras.config.dtype_policy().name
        difference = step(file)
    with backend.precision_scope("mixed_bfloat16"):
        mixed = keras.config.dtype_policy().name
    answer = {
        "backend": backend.backend_name(),
        "difference": difference,
        "policies": [inside, mixed, keras.config.dtype_policy().name],
        "devices": backend.describe_devices(),
        "gpus": backend.list_gpus(),
        "gpu": error_of(ask_for_a_gpu) if not backend.list_gpus() else {},
        "memory": error_of(ask_for_a_petabyte),
        "is_seeded": bool((initial_weights() == initial_weights()).all()),
        "imported": [name for name in backend.BACKENDS if name in sys.modules],
    }
    print(json.dumps(answer))  # noqa: T201 - to the test


if __name__ == "__main__":
    main(sys.argv[1])
