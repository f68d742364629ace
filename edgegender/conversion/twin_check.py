"""Whether a ``.tflite`` is what was asked for: whole numbers from end to end."""

from __future__ import annotations

from typing import Any

from edgegender.errors import CheckFailedError


def _names(kind: type) -> dict[int, str]:
    """Returns the names of one of the schema's enumerations by their numbers."""
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


def check_fully_integer(content: bytes, *, io_type: str) -> None:
    """Holds a network to whole numbers: no tensor of float numbers, no operator that needs TensorFlow.

    Args:
        content: A ``.tflite`` that the converter just wrote.
        io_type: The type of its input and output, ``uint8`` or ``int8``.

    Raises:
        CheckFailedError: A tensor, an operator, the input or the output is of another kind.
    """
    from ai_edge_litert import schema_py_generated as tfl

    model: Any = tfl.ModelT.InitFromPackedBuf(content)
    types = _names(tfl.TensorType)
    for code in model.operatorCodes:
        if code.customCode or code.builtinCode == tfl.BuiltinOperator.CUSTOM:
            name = (code.customCode or b"").decode(errors="replace")
            raise CheckFailedError(f"Expected built-in operators only, got the operator {name or 'CUSTOM'}.")
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if types[tensor.type].startswith("FLOAT"):
                name = tensor.name.decode(errors="replace")
                raise CheckFailedError(f"Expected whole numbers only, got {types[tensor.type]} (tensor {name}).")
    main = model.subgraphs[0]
    for index in (*main.inputs, *main.outputs):
        found = types[main.tensors[index].type].lower()
        if found != io_type:
            raise CheckFailedError(f"Expected an input and output of {io_type}, got {found}.")
