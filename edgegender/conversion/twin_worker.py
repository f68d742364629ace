"""The training process: tf_keras and tensorflow-model-optimization are imported here and nowhere else.

:mod:`edgegender.conversion.twin_process` starts it and speaks with it as :mod:`edgegender.conversion.twin_protocol`
says. A thread sleeps on a pipe that the parent holds open; when the parent ends, however it ends, so does this process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgegender.conversion import twin_training
from edgegender.conversion.twin import NetworkSpec, build_twin, import_or_explain
from edgegender.conversion.twin_protocol import CutShortError, network_from_message, read_message, write_message
from edgegender.conversion.twin_training import Batches, OnStep, TrainingPlan
from edgegender.errors import CheckFailedError, EdgeGenderError, MissingDependencyError, TrainingError
from edgegender.memory import memory_bytes

# Nobody reads what an orphan writes: no answer, no message.
_ORPHANED = 1
# Two libraries add up the same products in another order: 1e-6 was seen, and a wrong layer moves scores by far more
TWIN_TOLERANCE = 1e-4

Answer = tuple[dict[str, object], list[npt.NDArray[np.float32]], bytes]


def _prepare_tensorflow(seed: int) -> None:
    """Sees to it that the same stream gives the same bytes.

    Raises:
        MissingDependencyError: TensorFlow or tf_keras is not installed.
    """
    tensorflow = import_or_explain("tensorflow", "tensorflow")
    tf_keras = import_or_explain("tf_keras", "tf_keras")
    import_or_explain("tensorflow_model_optimization", "tensorflow-model-optimization")
    tf_keras.utils.set_random_seed(seed)
    tensorflow.config.experimental.enable_op_determinism()


def check_twin(network: NetworkSpec, inputs: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]) -> None:
    """Holds the twin's answers against those of the Keras 3 network.

    Raises:
        CheckFailedError: They differ by more than ``TWIN_TOLERANCE``.
    """
    answers = np.asarray(build_twin(network)(inputs, training=False))
    difference = float(np.abs(answers - scores).max()) if answers.shape == scores.shape else float("inf")
    if not difference <= TWIN_TOLERANCE:  # NaN is no agreement, either
        raise CheckFailedError(
            f"Expected the tf_keras twin to answer as the network, got scores that differ by {difference:.3g}.",
            hint="A network of 16-bit numbers has no twin: load it with the precision float32.",
        )


def _quantize(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, job: Mapping[str, Any]
) -> Answer:
    content = twin_training.train_quantized(
        network, batches, plan, on_step, scaling=job["scaling"], io_type=job["io_type"]
    )
    return {}, [], content


def _to_answer(weights: twin_training.LayerWeights, treated: Mapping[str, int]) -> Answer:
    counts = {name: len(arrays) for name, arrays in weights.items()}
    arrays = [array for arrays in weights.values() for array in arrays]
    return {"weights": counts, "treated": dict(treated)}, arrays, b""


def _prune(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, job: Mapping[str, Any]
) -> Answer:
    return _to_answer(*twin_training.train_pruned(network, batches, plan, on_step, sparsity=job["sparsity"]))


def _cluster(
    network: NetworkSpec, batches: Batches, plan: TrainingPlan, on_step: OnStep, job: Mapping[str, Any]
) -> Answer:
    return _to_answer(*twin_training.train_clustered(network, batches, plan, on_step, num_clusters=job["num_clusters"]))


_MODES: Mapping[str, Callable[[NetworkSpec, Batches, TrainingPlan, OnStep, Mapping[str, Any]], Answer]] = {
    "quantize": _quantize,
    "prune": _prune,
    "cluster": _cluster,
}


def _read_batches(stream: BinaryIO) -> Iterator[npt.NDArray[np.float32]]:
    while True:
        _, (batch,), _ = read_message(stream)
        yield batch


def run_job(stream: BinaryIO, on_step: OnStep) -> Answer:
    """Reads a job and its batches, and returns (values, arrays, content) of the answer.

    Args:
        stream: What the parent writes.
        on_step: Called with each step and its loss.

    Raises:
        EdgeGenderError: The job cannot be done.
        CutShortError: The parent stopped writing.
    """
    job, arrays, _ = read_message(stream)
    network = network_from_message(job["network"], arrays)
    _, (inputs, scores), _ = read_message(stream)
    _prepare_tensorflow(job["seed"])
    check_twin(network, inputs, scores)
    plan = TrainingPlan(job["num_steps"], job["learning_rate"])
    values, results, content = _MODES[job["mode"]](network, _read_batches(stream), plan, on_step, job)
    return {**values, "done": True, "peak_memory_bytes": memory_bytes("VmHWM")}, results, content


def _report(error: Exception) -> dict[str, object]:
    """Returns an error as the parent raises it again."""
    if isinstance(error, MissingDependencyError):
        return {"error": "MissingDependencyError", "message": error.package, "hint": error.extra}
    if isinstance(error, EdgeGenderError):
        return {"error": type(error).__name__, "message": str(error), "hint": error.hint}
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no message"
    is_memory = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
    hint = "Use smaller batches or a smaller input size." if is_memory else "Run: edgegender doctor"
    message = f"Expected the training process to finish, got {type(error).__name__}: {first}."
    return {"error": TrainingError.__name__, "message": message, "hint": hint}


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # sleeps until the parent's end is closed: nothing is ever written to it
    os._exit(_ORPHANED)


def main(lifeline: int) -> None:
    """Takes one job from standard input and answers on standard output.

    Args:
        lifeline: File descriptor of the pipe that the parent holds open.
    """
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what TensorFlow prints must not get between the answers
    with os.fdopen(0, "rb", closefd=False) as stream, os.fdopen(answer_to, "wb") as pipe:

        def on_step(step: int, loss: float) -> None:
            write_message(pipe, {"step": step, "loss": loss})

        try:
            values, arrays, content = run_job(stream, on_step)
        except CutShortError:
            return  # the parent has no more to say, and so nothing to hear
        except Exception as error:  # noqa: BLE001 - whatever it was, the parent tells it in its own words
            write_message(pipe, _report(error))
            return
        write_message(pipe, values, arrays, content)
