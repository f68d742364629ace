"""Quantization-aware training, pruning and clustering, in a process of its own.

tensorflow-model-optimization works on tf_keras, and importing it turns ``tf.keras`` of its process into tf_keras. So
that the caller's Keras 3 stays what it is, neither is ever imported here: a child does the work, on a twin of the
network, and the caller feeds it with batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.conversion.float_network import INPUT_NAME
from edgegender.conversion.quantization import IO_TYPES
from edgegender.conversion.twin import NetworkSpec, describe_network, with_input_name
from edgegender.conversion.twin_check import check_fully_integer
from edgegender.conversion.twin_child import Child, Message
from edgegender.conversion.twin_protocol import network_to_message
from edgegender.errors import CheckFailedError, DataError, MissingDependencyError, UsageError
from edgegender.preprocess import SCALINGS

if TYPE_CHECKING:
    import keras

FloatBatches = Iterable[npt.NDArray[np.float32]]
OnStep = Callable[[int, int, float], None]

MAX_CLUSTERS = 256
_NUM_PROBES = 4
_PACKAGES = {
    "tensorflow": "tensorflow",
    "tf_keras": "tf_keras",
    "tensorflow_model_optimization": "tensorflow-model-optimization",
}


@dataclass(frozen=True)
class QuantizedTwin:
    """A network that was trained with simulated rounding.

    Args:
        content: The ``.tflite``, fully integer.
        losses: Kullback–Leibler divergence from the float network's scores, in nats, by step.
        peak_memory_bytes: The most that the training process used.
    """

    content: bytes
    losses: tuple[float, ...]
    peak_memory_bytes: int


@dataclass(frozen=True)
class CompressedTwin:
    """The weights of a network that was pruned or clustered.

    Args:
        weights: For ``set_weights`` of the Keras 3 network or a clone of it.
        losses: See :class:`QuantizedTwin`.
        sparsity: The share of zeros in each treated kernel, by layer, 0 to 1.
        num_distinct: How many distinct numbers each treated kernel holds, by layer.
        peak_memory_bytes: See :class:`QuantizedTwin`.
    """

    weights: tuple[npt.NDArray[np.float32], ...]
    losses: tuple[float, ...]
    sparsity: Mapping[str, float]
    num_distinct: Mapping[str, int]
    peak_memory_bytes: int


def _ignore(step: int, num_steps: int, loss: float) -> None:
    """Hears how training goes and says nothing."""
    del step, num_steps, loss


def _require_packages() -> None:
    for module, package in _PACKAGES.items():
        if find_spec(module) is None:  # which does not import it
            raise MissingDependencyError(package, extra="train")


def _require_plan(num_steps: int, learning_rate: float) -> None:
    if num_steps < 1:
        raise UsageError(f"Expected at least one step, got {num_steps}.")
    if not 0 < learning_rate < 1:
        raise UsageError(f"Expected a learning rate between 0 and 1, got {learning_rate}.")


def _check_batch(batch: npt.NDArray[np.float32], network: NetworkSpec, step: int) -> npt.NDArray[np.float32]:
    if batch.ndim != 4 or batch.shape[1:] != network.input_shape or not len(batch) or batch.dtype != np.float32:
        raise DataError(
            f"Expected float32 batches of (inputs, {', '.join(map(str, network.input_shape))}), "
            f"got {batch.dtype} {batch.shape} (batch {step + 1})."
        )
    if not np.isfinite(batch).all():
        raise DataError(f"Expected finite inputs, got NaN or infinity (batch {step + 1}).")
    return batch


def _next_batch(
    batches: Iterator[npt.NDArray[np.float32]], network: NetworkSpec, step: int, num_steps: int
) -> npt.NDArray[np.float32]:
    batch = next(batches, None)
    if batch is None:
        raise DataError(
            f"Expected {num_steps} batches, got {step}.", hint="Ask for fewer steps, or go through the photos again."
        )
    return _check_batch(batch, network, step)


def _answer_probes(model: keras.Model, probes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(probes, training=False)), np.float32)


def _train(
    model: keras.Model, batches: FloatBatches, job: Mapping[str, object], *, num_steps: int, on_step: OnStep
) -> tuple[Message, tuple[float, ...]]:
    """Has a child do a job and returns (its answer, losses by step). The child ends with it."""
    network = with_input_name(describe_network(model), INPUT_NAME)
    _require_packages()
    stream = iter(batches)
    batch = _next_batch(stream, network, 0, num_steps)
    values, arrays = network_to_message(network)
    probes = batch[:_NUM_PROBES]
    losses: list[float] = []

    def take(message: Message) -> bool:
        """Notes a step's loss; returns whether the message is the answer instead."""
        if "loss" in message[0]:
            losses.append(message[0]["loss"])
            on_step(len(losses), num_steps, losses[-1])
        return "done" in message[0]

    child = Child()
    try:
        is_heard = child.say({**job, "num_steps": num_steps, "network": values}, arrays)
        is_heard = is_heard and child.say({}, [probes, _answer_probes(model, probes)])
        for step in range(num_steps):
            if step:
                batch = _next_batch(stream, network, step, num_steps)
            is_heard = is_heard and child.say({}, [batch])
            if not is_heard:  # it says why
                break
            while (message := child.hear(is_waiting=False)) is not None:
                take(message)
        answer = child.hear_next()
        while not take(answer):
            answer = child.hear_next()
    finally:
        child.end()
    return answer, tuple(losses)


def train_quantized(
    model: keras.Model,
    batches: FloatBatches,
    *,
    num_steps: int,
    scaling: str,
    io_type: str = "uint8",
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_step: OnStep = _ignore,
) -> QuantizedTwin:
    """Trains a twin of a network with simulated rounding and returns it as a fully integer ``.tflite``.

    The twin is pulled toward the float network's own scores, so that no labels are needed. The same network, batches,
    arguments and machine give the same bytes. The network itself stays as it is.

    Args:
        model: From float32 (batch, height, width, 3), scaled, to scores of a softmax.
        batches: At least ``num_steps`` arrays of (inputs, height, width, 3), float32, scaled by
            :func:`edgegender.preprocess.to_float`; more are not asked for.
        num_steps: How many steps to train, one batch each.
        scaling: How the batches are scaled, one of :data:`edgegender.preprocess.SCALINGS`. Raw RGB bytes go into the
            file's input, whose scale and zero point say the same: 1/127.5 and 127 for ``tf``, 1/255 and 0 for ``unit``,
            1 and 0 for ``raw`` and ``caffe`` (with ``int8``, zero points are 128 less).
        io_type: ``uint8`` or ``int8``, the type of the file's input and output.
        learning_rate: The largest step as a share of a weight's usual size, between 0 and 1. It falls to zero.
        seed: For what is random in training: nothing at present.
        on_step: Called with (steps done, ``num_steps``, loss).

    Raises:
        UsageError: An argument or a layer of the network makes no sense here.
        DataError: There are too few batches, or one of another shape or with NaN.
        MissingDependencyError: tensorflow-model-optimization or tf_keras is not installed.
        TrainingError: The loss is not finite, or memory ran out.
        WorkerError: The training process died.
        CheckFailedError: The twin answers otherwise than the network, or the file is not fully integer.
    """
    if scaling not in SCALINGS:
        raise UsageError(f"Expected a scaling of {', '.join(SCALINGS)}, got {scaling!r}.")
    if io_type not in IO_TYPES:
        raise UsageError(f"Expected an input and output of {' or '.join(IO_TYPES)}, got {io_type!r}.")
    _require_plan(num_steps, learning_rate)
    job = {
        "mode": "quantize",
        "scaling": scaling,
        "io_type": io_type,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    (values, _, content), losses = _train(model, batches, job, num_steps=num_steps, on_step=on_step)
    check_fully_integer(content, io_type=io_type)
    return QuantizedTwin(content, losses, values["peak_memory_bytes"])


def _compressed(model: keras.Model, message: Message, losses: tuple[float, ...]) -> CompressedTwin:
    """Returns the answer's weights in the order of the Keras 3 network."""
    values, arrays, _ = message
    rest = iter(arrays)
    by_layer = {name: [next(rest) for _ in range(count)] for name, count in values["weights"].items()}
    weights = [array for layer in model.layers for array in by_layer.get(layer.name, ())]
    wanted = [tuple(array.shape) for array in model.get_weights()]
    if [array.shape for array in weights] != wanted:
        raise CheckFailedError(
            f"Expected weights of the network's {len(wanted)} shapes in its order, got {len(weights)} others."
        )
    kernels = {name: by_layer[name][position] for name, position in values["treated"].items()}
    return CompressedTwin(
        weights=tuple(weights),
        losses=losses,
        sparsity={name: float((kernel == 0).mean()) for name, kernel in kernels.items()},
        num_distinct={name: len(np.unique(kernel)) for name, kernel in kernels.items()},
        peak_memory_bytes=values["peak_memory_bytes"],
    )


def train_pruned(
    model: keras.Model,
    batches: FloatBatches,
    *,
    sparsity: float,
    num_steps: int,
    learning_rate: float = 3e-3,
    seed: int = 0,
    on_step: OnStep = _ignore,
) -> CompressedTwin:
    """Returns weights of which the asked share is zero in each kernel of a convolution or dense layer.

    Depthwise kernels are left as they are. A ``.tflite`` becomes smaller by it only when it is compressed.

    Args:
        model: See :func:`train_quantized`.
        batches: Likewise.
        sparsity: Share of zeros, above 0 and below 1.
        num_steps: Likewise; the kernels are pruned in the first 60 % of them.
        learning_rate: Likewise.
        seed: Likewise.
        on_step: Likewise.

    Raises:
        UsageError: See :func:`train_quantized`, and the same for the other errors.
        CheckFailedError: A kernel has fewer zeros than asked.
    """
    if not 0 < sparsity < 1:
        raise UsageError(f"Expected a sparsity between 0 and 1, got {sparsity}.")
    _require_plan(num_steps, learning_rate)
    job = {"mode": "prune", "sparsity": sparsity, "learning_rate": learning_rate, "seed": seed}
    twin = _compressed(model, *_train(model, batches, job, num_steps=num_steps, on_step=on_step))
    sizes = {
        layer.name: max(int(np.prod(array.shape)) for array in layer.get_weights())
        for layer in model.layers
        if layer.weights
    }
    for name, share in twin.sparsity.items():
        if share < sparsity - 1 / sizes[name]:  # the share of a whole number of weights
            raise CheckFailedError(f"Expected {sparsity:.1%} of zeros, got {share:.1%} (layer {name}).")
    return twin


def train_clustered(
    model: keras.Model,
    batches: FloatBatches,
    *,
    num_clusters: int,
    num_steps: int,
    learning_rate: float = 3e-3,
    seed: int = 0,
    on_step: OnStep = _ignore,
) -> CompressedTwin:
    """Returns weights with few distinct numbers in each kernel of a convolution or dense layer.

    Depthwise kernels are left as they are. A ``.tflite`` becomes smaller by it only when it is compressed.

    Args:
        model: See :func:`train_quantized`.
        batches: Likewise.
        num_clusters: How many distinct numbers a kernel may hold, 2 to 256.
        num_steps: Likewise.
        learning_rate: Likewise.
        seed: Likewise.
        on_step: Likewise.

    Raises:
        UsageError: See :func:`train_quantized`, and the same for the other errors.
        CheckFailedError: A kernel has more distinct numbers than asked.
    """
    if not 2 <= num_clusters <= MAX_CLUSTERS:
        raise UsageError(f"Expected 2 to {MAX_CLUSTERS} clusters, got {num_clusters}.")
    _require_plan(num_steps, learning_rate)
    job = {"mode": "cluster", "num_clusters": num_clusters, "learning_rate": learning_rate, "seed": seed}
    twin = _compressed(model, *_train(model, batches, job, num_steps=num_steps, on_step=on_step))
    for name, count in twin.num_distinct.items():
        if count > num_clusters:
            raise CheckFailedError(f"Expected {num_clusters} distinct weights at most, got {count} (layer {name}).")
    return twin
