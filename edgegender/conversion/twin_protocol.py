"""What the caller's process and the worker say to each other: lines of JSON, each with raw arrays behind it.

::

    caller → worker   job (what to do), network, probe inputs and scores, then one batch a step
    worker → caller   {"loss": …} a step, then {"weights": …} or {"content_bytes": …}, or {"error": …} at any time
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edgegender.conversion.twin import LayerSpec, NetworkSpec

FloatArrays = Sequence[npt.NDArray[np.float32]]


class CutShortError(EOFError):
    """The other side ended in the middle of a message."""


def write_message(pipe: BinaryIO, values: Mapping[str, object], arrays: FloatArrays = (), content: bytes = b"") -> None:
    """Writes one line of JSON, then arrays and raw bytes.

    Args:
        pipe: Where to.
        values: What JSON can hold.
        arrays: float32, of any shape.
        content: Bytes that are no numbers.
    """
    shapes = [array.shape for array in arrays]
    pipe.write(json.dumps({**values, "shapes": shapes, "content_bytes": len(content)}).encode() + b"\n")
    for array in arrays:
        pipe.write(np.ascontiguousarray(array, np.float32).data)
    pipe.write(content)
    pipe.flush()


def _read_exactly(pipe: BinaryIO, size: int) -> bytearray:
    buffer = bytearray(size)
    view = memoryview(buffer)
    start = 0
    while start < size:
        count = pipe.readinto(view[start:])  # type: ignore[attr-defined]
        if not count:
            raise CutShortError
        start += count
    return buffer


def read_message(pipe: BinaryIO) -> tuple[dict[str, Any], list[npt.NDArray[np.float32]], bytes]:
    """Returns the next (values, arrays, content).

    Raises:
        CutShortError: The other side has ended.
    """
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise CutShortError
    values: dict[str, Any] = json.loads(line)
    arrays = []
    for shape in values.pop("shapes"):
        raw = _read_exactly(pipe, 4 * math.prod(shape))
        arrays.append(np.frombuffer(raw, np.float32).reshape(shape))
    return values, arrays, bytes(_read_exactly(pipe, values.pop("content_bytes")))


def network_to_message(network: NetworkSpec) -> tuple[dict[str, object], list[npt.NDArray[np.float32]]]:
    """Returns a network as (values, arrays) for :func:`write_message`."""
    layers = [
        {
            "class_name": layer.class_name,
            "name": layer.name,
            "config": dict(layer.config),
            "inbound": layer.inbound,
            "num_weights": len(layer.weights),
        }
        for layer in network.layers
    ]
    values: dict[str, object] = {
        "input_name": network.input_name,
        "input_shape": network.input_shape,
        "layers": layers,
    }
    return values, [array for layer in network.layers for array in layer.weights]


def network_from_message(values: Mapping[str, Any], arrays: FloatArrays) -> NetworkSpec:
    """Returns the network that :func:`network_to_message` was given."""
    rest = iter(arrays)
    layers = tuple(
        LayerSpec(
            layer["class_name"],
            layer["name"],
            layer["config"],
            tuple(layer["inbound"]),
            tuple(next(rest) for _ in range(layer["num_weights"])),
        )
        for layer in values["layers"]
    )
    rows, columns, channels = values["input_shape"]
    return NetworkSpec(values["input_name"], (rows, columns, channels), layers)
