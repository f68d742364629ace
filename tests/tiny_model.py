"""A real ``.tflite`` of 2 kB, built without TensorFlow, for tests that need a model that runs.

:func:`build_tiny_model` writes a network that averages the picture and answers by its brightness::

    image uint8 (1, S, S, 3) → AVERAGE_POOL_2D → RESHAPE → FULLY_CONNECTED → SOFTMAX → scores uint8 (1, labels)

It loads in LiteRT, carries edgegender's metadata and has the ``.json`` with its sha256 beside it, exactly as
``edgegender convert`` leaves them. A white picture gets a score near 1 for the positive label, a black one a score near
0, and mid-grey one half.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

from edgegender import files
from edgegender.conversion.metadata import add_metadata
from edgegender.entities import ModelMetadata, Preprocessing, QuantizationScheme
from edgegender.runtime.model_file import METADATA_SCHEMA, metadata_to_json, parse_model

_INPUT_SCALE, _INPUT_ZERO_POINT = 1 / 127.5, 128  # bytes become (x - 128) / 127.5: as in a converted network
_LOGIT_SCALE, _LOGIT_ZERO_POINT = 1 / 16, 128  # logits from -8 to 7.94
_LARGEST_LOGIT = 3.0  # of a white picture: the softmax over two labels then answers 0.998
_WEIGHT_SCALE = _LARGEST_LOGIT / 3 / 127  # three channels of one byte each add up to the largest logit


class _Network:
    """The schema's lists, and their indices, while a network is put together."""

    def __init__(self, *, is_float: bool) -> None:
        self._is_float = is_float
        self.graph = tfl.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = tfl.ModelT()
        self.model.version = 3
        self.model.buffers = [tfl.BufferT()]  # buffer 0 is the empty one by the schema's rule
        self.model.operatorCodes, self.model.subgraphs = [], [self.graph]

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        *,
        scale: float = 0.0,
        zero_point: int = 0,
        data: np.ndarray | None = None,
        kind: int | None = None,
    ) -> int:
        tensor = tfl.TensorT()
        tensor.name, tensor.shape, tensor.buffer = name, list(shape), 0
        tensor.type = kind if kind is not None else (tfl.TensorType.FLOAT32 if self._is_float else tfl.TensorType.UINT8)
        if scale and not self._is_float:
            tensor.quantization = tfl.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        if data is not None:
            buffer = tfl.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, code: int, inputs: list[int], output: int, options_type: int, options: object) -> None:
        operator_code = tfl.OperatorCodeT()
        operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
        operator_code.version = 1
        self.model.operatorCodes.append(operator_code)
        operator = tfl.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.graph.operators.append(operator)

    def pack(self, *, input_index: int, output_index: int) -> bytes:
        self.graph.inputs, self.graph.outputs = [input_index], [output_index]
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _pool_options(size_px: int) -> tfl.Pool2DOptionsT:
    options = tfl.Pool2DOptionsT()
    options.padding = tfl.Padding.VALID
    options.strideW = options.strideH = options.filterWidth = options.filterHeight = size_px
    return options


def _weights(num_labels: int, positive_index: int, *, is_float: bool, is_inverted: bool) -> np.ndarray:
    """Plus for the positive label's row and minus for the others: shape (labels, 3)."""
    signs = np.full((num_labels, 3), -1.0)
    signs[positive_index] = 1.0
    signs *= -1 if is_inverted else 1
    return (signs * _LARGEST_LOGIT / 3).astype(np.float32) if is_float else (128 + 127 * signs).astype(np.uint8)


def build_network(
    *, input_size_px: int = 32, num_labels: int = 2, positive_index: int = 1, is_float: bool = False, is_inverted=False
) -> bytes:
    """Returns the network alone, without metadata: what a converter would give. See :func:`build_tiny_model`."""
    network = _Network(is_float=is_float)
    size, count = input_size_px, num_labels
    image = network.tensor("image", (1, size, size, 3), scale=_INPUT_SCALE, zero_point=_INPUT_ZERO_POINT)
    mean = network.tensor("mean", (1, 1, 1, 3), scale=_INPUT_SCALE, zero_point=_INPUT_ZERO_POINT)
    shape = network.tensor("shape", (2,), data=np.array([1, 3], np.int32), kind=tfl.TensorType.INT32)
    flat = network.tensor("flat", (1, 3), scale=_INPUT_SCALE, zero_point=_INPUT_ZERO_POINT)
    rows = _weights(count, positive_index, is_float=is_float, is_inverted=is_inverted)
    weights = network.tensor("weights", (count, 3), scale=_WEIGHT_SCALE, zero_point=128, data=rows)
    bias = network.tensor(
        "bias",
        (count,),
        scale=_INPUT_SCALE * _WEIGHT_SCALE,
        data=np.zeros(count, np.float32 if is_float else np.int32),
        kind=tfl.TensorType.FLOAT32 if is_float else tfl.TensorType.INT32,
    )
    logits = network.tensor("logits", (1, count), scale=_LOGIT_SCALE, zero_point=_LOGIT_ZERO_POINT)
    scores = network.tensor("scores", (1, count), scale=1 / 256)
    operators, options = tfl.BuiltinOperator, tfl.BuiltinOptions
    reshape, softmax = tfl.ReshapeOptionsT(), tfl.SoftmaxOptionsT()
    reshape.newShape, softmax.beta = [1, 3], 1.0
    network.operator(operators.AVERAGE_POOL_2D, [image], mean, options.Pool2DOptions, _pool_options(size))
    network.operator(operators.RESHAPE, [mean, shape], flat, options.ReshapeOptions, reshape)
    network.operator(
        operators.FULLY_CONNECTED,
        [flat, weights, bias],
        logits,
        options.FullyConnectedOptions,
        tfl.FullyConnectedOptionsT(),
    )
    network.operator(operators.SOFTMAX, [logits], scores, options.SoftmaxOptions, softmax)
    return network.pack(input_index=image, output_index=scores)


def build_tiny_model(
    path: Path,
    *,
    input_size_px: int = 32,
    labels: tuple[str, ...] = ("female", "male"),
    positive_label: str = "male",
    scheme: QuantizationScheme = QuantizationScheme.FULL_INTEGER,
    crop_margin: float = 1.3,
    threshold: float = 0.5,
    temperature: float = 1.0,
    unsure_below: float = 0.0,
    name: str = "tiny",
    is_inverted: bool = False,
    has_sidecar: bool = True,
) -> Path:
    """Writes a tiny working model and its ``.json``, and returns ``path``.

    The brighter the picture, the higher the positive label's score: about 0.998 for a white picture, 0.002 for a black
    one. With more than two labels the others share what is left.

    Args:
        path: Where to write the ``.tflite``; the ``.json`` takes the same name.
        input_size_px: Side of the square input, 16 to 2048 pixels.
        labels: Names of the outputs, at least two.
        positive_label: The label of bright pictures.
        scheme: ``FULL_INTEGER`` has uint8 in and out; ``FLOAT32`` has float32 in [-1, 1] in and float32 out.
        crop_margin: Of the metadata's preprocessing.
        threshold: Of the metadata.
        temperature: Of the metadata.
        unsure_below: Of the metadata.
        name: Of the metadata.
        is_inverted: Whether dark pictures get the positive label instead: a model that is always wrong.
        has_sidecar: Whether the ``.json`` is written.
    """
    network = build_network(
        input_size_px=input_size_px,
        num_labels=len(labels),
        positive_index=labels.index(positive_label),
        is_float=scheme is QuantizationScheme.FLOAT32,
        is_inverted=is_inverted,
    )
    metadata = ModelMetadata(
        labels=labels,
        positive_label=positive_label,
        preprocessing=Preprocessing(input_size_px, crop_margin),
        architecture="brightness",
        scheme=scheme,
        threshold=threshold,
        temperature=temperature,
        unsure_below=unsure_below,
        name=name,
        license="Apache-2.0",
        intended_use="Tests.",
    )
    content = add_metadata(network, metadata)
    files.write_bytes(path, content)
    if has_sidecar:
        values = metadata_to_json(parse_model(content, where=str(path)), digest="")
        del values["digest"]
        record = {
            "schema": METADATA_SCHEMA,
            "file": path.name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            **values,
        }
        files.write_json(path.with_suffix(".json"), record)
    return path


def grey_picture(value: int, size_px: int = 32) -> np.ndarray:
    """Returns a picture of one grey, shape (size_px, size_px, 3), uint8."""
    return np.full((size_px, size_px, 3), value, np.uint8)
