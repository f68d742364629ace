"""Every tensor of a network for an input: what a range is chosen from and layers are compared by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgegender.conversion import flatbuffer
from edgegender.entities import UInt8Array
from edgegender.errors import ModelFileError
from edgegender.native_log import held_back_stderr
from edgegender.runtime.interpreter import default_num_threads, import_runtime

WEIGHTED_OPERATORS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


class TensorReader:
    """Runs a network and shows its inner tensors, with the same kernels as the finished file.

    Args:
        content: A ``.tflite``.
        num_threads: ``None`` chooses as the runtime does.

    Raises:
        ModelFileError: The runtime refuses the network.
        MissingDependencyError: No runtime is installed.
    """

    def __init__(self, content: bytes, *, num_threads: int | None = None) -> None:
        import warnings

        module, name, version = import_runtime()
        try:
            with held_back_stderr(), warnings.catch_warnings():
                # LiteRT warns that this takes memory; some MB here, and inner tensors are what it is for
                warnings.simplefilter("ignore", UserWarning)
                self._native = module.Interpreter(
                    model_content=content,
                    num_threads=num_threads or default_num_threads(),
                    experimental_preserve_all_tensors=True,
                )
                self._native.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(
                f"Expected a network that {name} {version} runs, got: {error}", hint="Run: edgegender doctor"
            ) from error
        self._input = self._native.get_input_details()[0]
        self._details = {int(detail["index"]): detail for detail in self._native.get_tensor_details()}

    def run(self, tensor: npt.NDArray[np.generic]) -> None:
        """Runs the network on an input tensor of its own type."""
        self._native.set_tensor(self._input["index"], tensor)
        self._native.invoke()

    def raw(self, index: int) -> npt.NDArray[np.generic]:
        """Returns a copy of a tensor as it is stored."""
        return np.asarray(self._native.get_tensor(index))

    def value(self, index: int) -> npt.NDArray[np.float32]:
        """Returns a tensor as numbers: (value - zero_point) * scale where it is quantized by one scale."""
        raw = self.raw(index)
        scale, zero_point = self._details[index]["quantization"]
        if raw.dtype == np.float32 or not scale:
            return raw.astype(np.float32)
        return np.asarray((raw.astype(np.float32) - np.float32(zero_point)) * np.float32(scale), np.float32)

    @property
    def input_index(self) -> int:
        """The index of the tensor that the network is given."""
        return int(self._input["index"])

    @property
    def is_float_input(self) -> bool:
        """Whether the network takes float32."""
        return bool(np.dtype(self._input["dtype"]) == np.float32)

    def input_names(self) -> dict[str, tuple[str, ...]]:
        """Returns the names of what each operator is given, by the name of what it computes."""
        named = {index: str(detail["name"]) for index, detail in self._details.items()}
        return {
            named[int(output)]: tuple(named[int(index)] for index in operator["inputs"] if int(index) >= 0)
            for operator in self._native._get_ops_details()
            if operator["op_name"] != "DELEGATE"
            for output in operator["outputs"]
        }

    def name(self, index: int) -> str:
        """Returns a tensor's name."""
        return str(self._details[index]["name"])

    def shape(self, index: int) -> tuple[int, ...]:
        """Returns a tensor's sides."""
        return tuple(int(side) for side in self._details[index]["shape"])

    def outputs(self) -> Iterator[tuple[int, str, str]]:
        """Yields (tensor index, tensor name, operator) for what each operator computes, in the network's order."""
        for operator in self._native._get_ops_details():
            name = str(operator["op_name"])
            if name != "DELEGATE":
                for index in operator["outputs"]:
                    yield int(index), str(self._details[int(index)]["name"]), name


def to_network_inputs(content: bytes, images: UInt8Array) -> list[npt.NDArray[np.generic]]:
    """Returns raw pictures (photos, size, size, 3) as an integer file takes them: uint8, or int8 less 128."""
    from ai_edge_litert import schema_py_generated as schema

    graph = flatbuffer.graph_of(flatbuffer.unpack(content))
    is_signed = graph.tensors[graph.inputs[0]].type == schema.TensorType.INT8
    inputs = (images ^ 0x80).view(np.int8) if is_signed else images
    return [image[np.newaxis] for image in inputs]
