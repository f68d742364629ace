"""The twin learns to answer as it did before, while it is rounded, pruned or clustered. For the worker's process only.

The targets are the float network's own answers to the same inputs, so no labels are needed, and what is minimized is
what a conversion must not do: answer otherwise. Source: Hinton et al. 2015, arXiv 1503.02531, with temperature 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.conversion.twin import NetworkSpec, build_twin, import_or_explain
from edgegender.conversion.twin_folding import to_quantizable
from edgegender.conversion.twin_quantization import build_quantized, convert_quantized, to_device_input
from edgegender.errors import TrainingError

if TYPE_CHECKING:
    import tensorflow as tf

LayerWeights = dict[str, list[npt.NDArray[np.float32]]]
OnStep = Callable[[int, float], None]
Batches = Iterator[npt.NDArray[np.float32]]

_TFMOT = ("tensorflow_model_optimization", "tensorflow-model-optimization")
# Where the kernel stands among a layer's weights; of a separable convolution it is the one of 1 × 1
_TREATED: Mapping[str, int] = {"Conv2D": 0, "Dense": 0, "SeparableConv2D": 1}
_SMALLEST_SCORE = 1e-7
_WARMUP_SHARE = 0.05
_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-7
_SMALLEST_SIZE = 1e-3  # a bias of zeros must be able to move
_MAX_GRADIENT_NORM = 1.0
# Pruning is done in this share of the steps, in at most so many parts; the others repair what it broke
_PRUNING_SHARE = 0.6
_MAX_PRUNING_PARTS = 20


@dataclass(frozen=True)
class TrainingPlan:
    """How to train.

    Args:
        num_steps: At least 1.
        learning_rate: The largest one, as a share of a weight's usual size; it rises over the first twentieth and
            falls to zero along a cosine.
    """

    num_steps: int
    learning_rate: float

    def rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0.

        Example:
            >>> [round(TrainingPlan(40, 1.0).rate_at(step), 2) for step in (0, 1, 2, 21, 39)]
            [0.5, 1.0, 1.0, 0.5, 0.0]
        """
        warmup = math.floor(self.num_steps * _WARMUP_SHARE)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.num_steps - warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def _trained_variables(student: tf.keras.Model) -> list[tf.Variable]:
    """Returns what learns, each once: kernels, biases, and scale and shift of batch normalization."""
    found = {}
    for layer in student.layers:
        inner = getattr(layer, "layer", layer)
        variables = list(layer.trainable_weights)
        if type(inner).__name__ == "BatchNormalization":
            variables = [variable for variable in (inner.gamma, inner.beta) if variable is not None]
        found.update({variable.ref(): variable for variable in variables})
    return list(found.values())


class _RelativeAdam:
    """Adam whose steps are shares of the size of what it moves.

    Folding batch normalization into a kernel multiplies it by anything between a hundredth and a hundred: steps of one
    size would shake the one and not move the other.

    Source: Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; Shazeer and Stern 2018, arXiv 1804.04235, section 8, for
    the steps in proportion to the root mean square.
    """

    def __init__(self, variables: Sequence[tf.Variable]) -> None:
        import tensorflow as tf

        self.rate = tf.Variable(0.0, trainable=False)
        self._count = tf.Variable(0.0, trainable=False)
        self._variables = variables
        self._means = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]
        self._squares = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Moves each variable one step. To be called in a ``tf.function``."""
        import tensorflow as tf

        count = self._count.assign_add(1.0)
        correction = tf.sqrt(1.0 - tf.pow(_SQUARE_DECAY, count)) / (1.0 - tf.pow(_MEAN_DECAY, count))
        for variable, gradient, mean, square in zip(
            self._variables, gradients, self._means, self._squares, strict=True
        ):
            mean.assign(_MEAN_DECAY * mean + (1.0 - _MEAN_DECAY) * gradient)
            square.assign(_SQUARE_DECAY * square + (1.0 - _SQUARE_DECAY) * tf.square(gradient))
            size = tf.maximum(tf.sqrt(tf.reduce_mean(tf.square(variable))), _SMALLEST_SIZE)
            variable.assign_sub(self.rate * correction * size * mean / (tf.sqrt(square) + _EPSILON))


def _do_nothing(step: int) -> None:
    del step


def _distil(
    student: tf.keras.Model,
    teacher: tf.keras.Model,
    batches: Batches,
    plan: TrainingPlan,
    on_step: OnStep,
    *,
    to_student: Callable[[tf.Tensor], tf.Tensor] = lambda batch: batch,
    after_step: Callable[[int], None] = _do_nothing,
) -> None:
    """Pulls the student's scores to the teacher's, one step a batch.

    Raises:
        TrainingError: The loss is not finite.
    """
    import tensorflow as tf

    variables = _trained_variables(student)
    optimizer = _RelativeAdam(variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def run_step(batch: tf.Tensor) -> tf.Tensor:
        wanted = teacher(batch, training=False)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            scores = student(to_student(batch), training=True)
            # Kullback–Leibler divergence: zero where the answers are the same. A sum, as clipping would hide a NaN
            gap = tf.math.log(wanted + _SMALLEST_SCORE) - tf.math.log(scores + _SMALLEST_SCORE)
            loss = tf.reduce_mean(tf.reduce_sum(wanted * gap, axis=-1))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), _MAX_GRADIENT_NORM)
        optimizer.apply([tf.convert_to_tensor(gradient) for gradient in gradients])  # that of a look-up is sparse
        return loss

    for step in range(plan.num_steps):
        optimizer.rate.assign(plan.rate_at(step))
        loss = float(run_step(tf.constant(next(batches))))
        if not math.isfinite(loss):
            raise TrainingError(
                f"Expected a finite loss, got {loss} at step {step + 1} of {plan.num_steps}.",
                hint="Train with a smaller learning rate, and check that the inputs are finite.",
            )
        after_step(step)
        on_step(step, loss)


def train_quantized(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, *, scaling: str, io_type: str
) -> bytes:
    """Returns the ``.tflite`` of a network that was trained with simulated rounding.

    Raises:
        UsageError: A layer cannot be treated.
        TrainingError: The loss is not finite.
        CheckFailedError: The converter fails.
    """
    folded = to_quantizable(network, scaling=scaling)
    student, phase = build_quantized(folded, scaling=scaling)
    _distil(
        student,
        build_twin(network),
        batches,
        plan,
        on_step,
        to_student=lambda batch: to_device_input(batch, scaling),
        after_step=lambda step: phase.num_steps.assign(step + 1),
    )
    return convert_quantized(student, phase, folded, io_type=io_type)


def treated_kernels(network: NetworkSpec, num_distinct: int = 0) -> dict[str, int]:
    """Returns which kernels pruning and clustering treat: by layer, the position among its weights.

    Args:
        network: The network.
        num_distinct: Only kernels with more distinct numbers than this.
    """
    return {
        layer.name: _TREATED[layer.class_name]
        for layer in network.layers
        if layer.class_name in _TREATED and np.unique(layer.weights[_TREATED[layer.class_name]]).size > num_distinct
    }


def _compress(
    network: NetworkSpec,
    wrap: Callable[[tf.keras.layers.Layer], tf.keras.layers.Layer],
    treated: Mapping[str, int],
) -> tf.keras.Model:
    """Returns a twin whose treated layers are wrapped."""
    clone = import_or_explain("tf_keras", "tf_keras").models.clone_model
    return clone(build_twin(network), clone_function=lambda layer: wrap(layer) if layer.name in treated else layer)


def _weights_by_layer(model: tf.keras.Model) -> LayerWeights:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def train_pruned(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, *, sparsity: float
) -> tuple[LayerWeights, dict[str, int]]:
    """Returns, by layer, weights whose kernels have the asked share of zeros, and which kernels these are.

    Kernels of convolutions and dense layers are pruned, smallest numbers first, along a cubic; depthwise kernels are
    not: they are small and a channel hangs on each number.

    Source: Zhu and Gupta 2017, arXiv 1710.01878, section 3.
    """
    sparse = import_or_explain(*_TFMOT).sparsity.keras
    ramp = max(1, round(plan.num_steps * _PRUNING_SHARE))
    frequency = max(1, ramp // _MAX_PRUNING_PARTS)
    # a multiple of the frequency: otherwise the last part is never pruned
    schedule = sparse.PolynomialDecay(0.0, sparsity, 0, ramp // frequency * frequency, frequency=frequency)
    treated = treated_kernels(network)
    student = _compress(network, lambda layer: sparse.prune_low_magnitude(layer, pruning_schedule=schedule), treated)
    update = sparse.UpdatePruningStep()
    update.set_model(student)
    update.on_train_begin()
    _distil(student, build_twin(network), batches, plan, on_step)
    update.on_epoch_end(0)  # the last step moved what had been set to zero
    return _weights_by_layer(sparse.strip_pruning(student)), treated


def train_clustered(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, *, num_clusters: int
) -> tuple[LayerWeights, dict[str, int]]:
    """Returns, by layer, weights whose kernels hold ``num_clusters`` distinct numbers at most, and which these are.

    Kernels with fewer numbers than that are left as they are, and so are depthwise kernels, whose few numbers a channel
    lose too much (tfmot leaves them out, too).
    """
    clustering = import_or_explain(*_TFMOT).clustering.keras
    options = {
        "number_of_clusters": num_clusters,
        "cluster_centroids_init": clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    treated = treated_kernels(network, num_clusters)
    student = _compress(network, lambda layer: clustering.cluster_weights(layer, **options), treated)
    _distil(student, build_twin(network), batches, plan, on_step)
    return _weights_by_layer(clustering.strip_clustering(student)), treated
