"""A float32 ``.tflite`` as ONNX, held against the original on real inputs before anybody gets it.

tf2onnx does the conversion, in a process of its own: it imports all of TensorFlow, sets environment variables and
prints. What it gives has another order and other names each time; they are made anew here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgegender.entities import FloatArray, ModelMetadata, QuantizationScheme, UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.native_log import held_back_stderr
from edgegender.runtime.interpreter import Interpreter
from edgegender.runtime.model_file import metadata_to_json

if TYPE_CHECKING:
    import onnx

INPUT_NAME, OUTPUT_NAME = "image", "scores"
# Source: tf2onnx 1.17, tf2onnx/constants.py, OPSET_TO_IR_VERSION. 17 and not 18: with 18 a mean over the picture
# stays a ReduceMean behind a Transpose, where 17 has a GlobalAveragePool.
DEFAULT_OPSET = 17
OPSETS = range(13, 19)
MAX_DIFFERENCE = 1e-4  # of a score; two float32 runtimes that sum in another order differ by some 1e-6
_PACKAGES = ("tf2onnx", "onnx", "onnxruntime", "tensorflow")
_BOOT = (
    "import sys; sys.path[:] = sys.argv[2].split(chr(10)); "
    "from edgegender.conversion.onnx_export import convert_stdin; convert_stdin(int(sys.argv[1]))"
)
_HINT = "Report this with your versions: edgegender doctor names them."


@dataclass(frozen=True)
class OnnxExport:
    """A checked ONNX model.

    Args:
        content: The ``.onnx``; the same input gives the same bytes.
        max_difference: Largest difference of a score to the ``.tflite``, over all inputs that were tried.
    """

    content: bytes
    max_difference: float


def convert_stdin(opset: int) -> None:
    """Reads a ``.tflite`` from standard input and writes an ONNX model to standard output. For the child process.

    Args:
        opset: Version of the ONNX operators.
    """
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what TensorFlow prints must not get between the answer
    with os.fdopen(0, "rb", closefd=False) as stream:
        content = stream.read()
    import tf2onnx.convert  # type: ignore[import-untyped] # no type information is shipped

    # a file in memory: tf2onnx takes a path only, and nothing is left behind when the process is killed
    with os.fdopen(os.memfd_create("model.tflite"), "wb") as file:
        file.write(content)
        file.flush()
        model, _ = tf2onnx.convert.from_tflite(f"/proc/self/fd/{file.fileno()}", opset=opset)
    with os.fdopen(answer_to, "wb") as pipe:
        pipe.write(model.SerializeToString(deterministic=True))


def _convert_apart(content: bytes, opset: int) -> bytes:
    """Returns what tf2onnx makes of a ``.tflite``, with its names and without metadata."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        done = subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _BOOT, str(opset), "\n".join(sys.path)],
            input=content,
            capture_output=True,
            env=environment,
            check=False,
        )
    except OSError as error:
        raise CheckFailedError(
            f"Expected to start tf2onnx, got {error.strerror or error}.", hint="Close other programs."
        ) from error
    if done.returncode or not done.stdout:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise CheckFailedError(f"Expected tf2onnx to convert the network, got: {lines[-1]}", hint=_HINT)
    return done.stdout


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Returns the nodes that the output needs, each behind what it reads: an order that no name decides."""
    made_by = {name: node for node in graph.node for name in node.output}
    ordered: list[onnx.NodeProto] = []
    done: set[str] = set()
    stack = [(made_by[graph.output[0].name], False)]
    while stack:
        node, is_ready = stack.pop()
        if node.output[0] in done:
            continue
        if is_ready:
            done.update(node.output)
            ordered.append(node)
        else:
            stack.append((node, True))
            stack += [(made_by[name], False) for name in reversed(node.input) if name in made_by]
    return ordered


def _put_in_order(graph: onnx.GraphProto) -> None:
    """Orders and names all nodes and tensors anew, by the structure of the graph alone.

    tf2onnx walks sets of objects, so that its order and its names change from run to run.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {"": "", graph.input[0].name: INPUT_NAME, graph.output[0].name: OUTPUT_NAME}  # "": an input left out
    nodes, kept = [], []
    for index, node in enumerate(_in_order(graph)):
        node.name = f"{node.op_type}_{index}"
        for position, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = f"{node.name}/{position}"
                kept.append(constants[name])
        for position, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}:{position}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        nodes.append(node)
    for tensor in (*kept, graph.input[0], graph.output[0]):
        tensor.name = names[tensor.name]
    ordered = type(graph)(node=nodes, initializer=kept, input=graph.input, output=graph.output, name="edgegender")
    graph.CopyFrom(ordered)


def _add_metadata(model: onnx.ModelProto, content: bytes, metadata: ModelMetadata) -> None:
    """Writes the metadata of the ``.tflite`` as text by name; what is no text stands as JSON."""
    values = {**metadata_to_json(metadata, digest=""), "source_sha256": hashlib.sha256(content).hexdigest()}
    del values["digest"], values["schema"]  # both speak of the .tflite
    del model.metadata_props[:]
    for name, value in sorted(values.items()):
        entry = model.metadata_props.add()
        entry.key = name
        entry.value = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _finish(converted: bytes, content: bytes, metadata: ModelMetadata) -> bytes:
    import onnx

    model = onnx.load_model_from_string(converted)
    _put_in_order(model.graph)
    _add_metadata(model, content, metadata)
    finished = bytes(model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(finished, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckFailedError(f"Expected a valid ONNX model from tf2onnx, got: {first}", hint=_HINT) from error
    return finished


def _run_onnx(content: bytes, tensors: list[npt.NDArray[np.generic]]) -> FloatArray:
    with held_back_stderr():  # warnings about the machine's graphics card
        import onnxruntime  # type: ignore[import-untyped] # no type information is shipped

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run([OUTPUT_NAME], {INPUT_NAME: tensor})[0] for tensor in tensors]).astype(
            np.float64
        )


def _compare(content: bytes, network: Interpreter, inputs: UInt8Array) -> float:
    tensors = [network.to_tensor(image) for image in inputs]
    expected = np.stack([network.run(image) for image in inputs])
    scores = _run_onnx(content, tensors)
    if not (np.isfinite(expected).all() and np.isfinite(scores).all()):
        raise CheckFailedError("Expected finite scores of both networks, got NaN or infinity.", hint=_HINT)
    difference = float(np.abs(scores - expected).max())
    if difference > MAX_DIFFERENCE:
        raise CheckFailedError(
            f"Expected scores within {MAX_DIFFERENCE:g} of the .tflite, got a difference of {difference:.2g}.",
            hint=f"Try another opset. {_HINT}",
        )
    return difference


def _require(network: Interpreter, metadata: ModelMetadata, inputs: UInt8Array, opset: int) -> None:
    if opset not in OPSETS:
        raise UsageError(f"Expected an opset from {OPSETS[0]} to {OPSETS[-1]}, got {opset}.")
    if metadata.scheme is not QuantizationScheme.FLOAT32 or network.input_dtype != np.float32:
        raise UsageError(
            f"Expected a float32 network, got {metadata.scheme.value} with {network.input_dtype} input.",
            hint="Convert the run as float32 first and export that file; a quantized one stays a .tflite.",
        )
    if inputs.dtype != np.uint8 or len(inputs) == 0 or inputs.shape[1:] != network.input_shape[1:]:
        raise UsageError(
            f"Expected one input or more of {network.input_shape[1:]} bytes, got {inputs.shape} of {inputs.dtype}."
        )


def to_onnx(content: bytes, metadata: ModelMetadata, *, inputs: UInt8Array, opset: int = DEFAULT_OPSET) -> OnnxExport:
    """Returns a float32 ``.tflite`` as ONNX, after both have answered the same inputs.

    The input ``image`` is float32 (1, size, size, 3): height, width, channels, scaled as the metadata's preprocessing
    says. The output ``scores`` is float32 (1, labels). Labels, preprocessing, threshold, temperature, scheme and the
    source's sha256 stand in ``metadata_props``.

    Args:
        content: A float32 ``.tflite``.
        metadata: What it says about itself.
        inputs: Raw bytes to compare both on, shape (photos, size, size, 3), uint8, RGB. A handful will do.
        opset: Version of the ONNX operators, one of ``OPSETS``.

    Raises:
        UsageError: The network is not float32, ``inputs`` do not fit it, or the opset is unknown.
        CheckFailedError: tf2onnx fails, its model is invalid, or a score is not finite or differs by more than
            ``MAX_DIFFERENCE``.
        MissingDependencyError: tf2onnx, onnx, onnxruntime or TensorFlow is not installed.
        ModelFileError: The runtime refuses the ``.tflite``.
    """
    network = Interpreter(content, num_threads=1, scaling=metadata.preprocessing.scaling)
    _require(network, metadata, inputs, opset)
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, extra="onnx")
    finished = _finish(_convert_apart(content, opset), content, metadata)
    return OnnxExport(finished, _compare(finished, network, inputs))
