"""One process of a distributed training, for test_distribution.py: ``python -m tests.training.distributed_worker``."""

from __future__ import annotations

import json
import os
import signal
import sys

import click
import numpy as np

from edgegender.cli import main
from edgegender.cli.backend_options import BackendOptions, backend_options
from edgegender.errors import TrainingError
from edgegender.training.backend import set_seed
from edgegender.training.distribution import Processes

BATCH_SIZE = 8
NUM_STEPS = 6


def train_network(processes: Processes, file: str) -> dict[str, object]:
    """Trains a small network with all that could differ between one process and several; writes its weights."""
    import keras

    set_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(4, 3, strides=2, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(3),
            layers.Flatten(),
            layers.Dropout(0.3, seed=5),
            layers.Dense(2, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=1e-2, clipnorm=5.0)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"], weighted_metrics=[])
    rng = np.random.default_rng(0)
    losses = []
    rows = slice(processes.index * BATCH_SIZE // processes.count, (processes.index + 1) * BATCH_SIZE // processes.count)
    for step in range(NUM_STEPS):
        inputs = rng.normal(size=(BATCH_SIZE, 32, 32, 3)).astype(np.float32)
        targets = np.eye(2, dtype=np.float32)[rng.integers(0, 2, BATCH_SIZE)]
        weights = rng.uniform(0.2, 2, BATCH_SIZE).astype(np.float32)
        model.optimizer.learning_rate = 1e-3 * (step + 1)
        logs = model.train_on_batch(inputs[rows], targets[rows], sample_weight=weights[rows], return_dict=True)
        losses.append(float(logs["loss"]))
    # Uneven shares, as in a validation whose photos do not divide: 6 photos of 8 to process 0 of 2, and so on
    shares = np.array_split(inputs, [6] if processes.count == 2 else [])
    scores = processes.gather(model.predict_on_batch(shares[processes.index]))
    np.savez(file, *model.get_weights(), *[np.asarray(variable) for variable in model.optimizer.variables])
    return {"losses": losses, "scores": scores.tolist()}


def exchange(processes: Processes) -> dict[str, object]:
    """Calls each way of speaking to the others."""
    own = np.full((processes.index + 1, 2), processes.index + 0.1)
    processes.check_same("the recipe", "edge")
    return {
        "gathered": processes.gather(own).tolist(),
        "dtype": str(processes.gather(own).dtype),
        "words": processes.gather(np.asarray([f"of {processes.index}"])).tolist(),
        "empty": processes.gather(np.zeros((0, 3), np.int64)).shape,
        "one": processes.any(processes.index == 1),
        "none": processes.any(False),
        "is_main": processes.is_main,
    }


def act(processes: Processes, case: str, file: str) -> dict[str, object]:
    name, _, index = case.partition(":")
    is_meant = processes.index == int(index or -1)
    if name == "train":
        return train_network(processes, file)
    for step in range(1000 if name in ("kill", "raise") else 0):
        if is_meant and step == 3 and name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if is_meant and step == 3 and name == "raise":
            raise TrainingError("Expected this process to go on, got its end.")
        processes.any(False)
    return exchange(processes)


@click.command()
@backend_options
@click.option("--case", required=True)
@click.option("--file", default="")
def command(backend: BackendOptions, case: str, file: str) -> None:
    with backend.started() as (processes, environment):
        answer = act(processes, case, file)
        answer |= {"environment": environment, "has_tensorflow": "tensorflow" in sys.modules}
        click.echo(json.dumps(answer))
        if case == "exchange":
            processes.check_same("the manifest", f"faces{processes.index}.csv")


if __name__ == "__main__":
    main.cli.add_command(command, "worker")
    main._COMMANDS["worker"] = ("tests.training.distributed_worker", "")
    main.main()
