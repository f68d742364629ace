"""A ``.tflite`` as objects that can be changed, and back. Operators and weights survive the way to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgegender.errors import CheckFailedError

_FILE_IDENTIFIER = b"TFL3"  # of the TensorFlow Lite schema, version 3
_GROWTH_BYTES = 1 << 20
_ALIGNMENT = 16  # force_align of table Buffer's data
CUSTOM_OPERATOR = "CUSTOM"
_OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


def unpack(content: bytes) -> Any:  # noqa: ANN401 - generated code without types
    """Returns the ``ModelT`` of a ``.tflite``: its tables as objects, its buffers as numpy arrays.

    Large files keep their weights behind the tables, where a buffer names their place: those are put into the buffers,
    since the generated code would leave them behind.

    Args:
        content: A ``.tflite`` as a converter wrote it, not one of a stranger: nothing is checked.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


class _AlignedBuffer:
    """A buffer whose data begins at a multiple of 16 bytes, which the schema demands and the generated code forgets.

    A microcontroller that reads the file where it lies faults on numbers at other places.
    """

    def __init__(self, buffer: Any) -> None:  # noqa: ANN401 - generated code without types
        self._buffer = buffer

    def Pack(self, builder: Any) -> Any:  # noqa: ANN401, N802 - as the generated code calls it
        """Writes the buffer."""
        data = self._buffer.data
        if data is None or not len(data):
            return self._buffer.Pack(builder)
        stored = np.ascontiguousarray(data, np.uint8)
        builder.StartVector(1, len(stored), _ALIGNMENT)
        builder.head -= len(stored)
        builder.Bytes[builder.head : builder.head + len(stored)] = stored.tobytes()
        vector = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)


def pack(model: Any) -> bytes:  # noqa: ANN401 - generated code without types
    """Returns a ``ModelT`` as a ``.tflite``."""
    builder = flatbuffers.Builder(_GROWTH_BYTES)
    buffers = model.buffers
    model.buffers = [_AlignedBuffer(buffer) for buffer in buffers]
    try:
        builder.Finish(model.Pack(builder), file_identifier=_FILE_IDENTIFIER)
    finally:
        model.buffers = buffers
    return bytes(builder.Output())


def text(name: bytes | str | None) -> str:
    """Returns a name as text: the generated code gives bytes, and takes both."""
    return name.decode() if isinstance(name, bytes) else name or ""


def graph_of(model: object) -> Any:  # noqa: ANN401 - generated code without types
    """Returns the one subgraph of a model.

    Raises:
        CheckFailedError: There are more: control flow, which no classifier here has.
    """
    graphs = model.subgraphs  # type: ignore[attr-defined] # generated code
    if len(graphs) != 1:
        raise CheckFailedError(
            f"Expected a network without control flow, got {len(graphs)} subgraphs.",
            hint="Loops and conditions cannot be quantized here: build the network without them.",
        )
    return graphs[0]


def operator_names(model: object) -> list[str]:
    """Returns the name of each operator in its order; a custom one is ``CUSTOM:name``."""
    codes = model.operatorCodes  # type: ignore[attr-defined] # generated code
    names = []
    for operator in graph_of(model).operators:
        code = codes[operator.opcodeIndex]
        # old files have the code in the deprecated field only, new ones in both unless it is above 127
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = _OPERATOR_NAMES.get(number, str(number))
        names.append(f"{CUSTOM_OPERATOR}:{text(code.customCode)}" if name == CUSTOM_OPERATOR else name)
    return names


def has_data(model: object, tensor: object) -> bool:
    """Returns whether a tensor is a constant, whose numbers stand in the file."""
    buffer = model.buffers[tensor.buffer]  # type: ignore[attr-defined] # generated code
    return buffer.data is not None and len(buffer.data) > 0


def activations(model: object) -> Iterator[tuple[int, Any]]:
    """Yields (index, tensor) of each float tensor that the network computes or is given."""
    for index, tensor in enumerate(graph_of(model).tensors):
        if tensor.type == schema.TensorType.FLOAT32 and not has_data(model, tensor):
            yield index, tensor
