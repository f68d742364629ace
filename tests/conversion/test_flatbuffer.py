"""A file as objects and back: what is not touched survives to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion import flatbuffer
from edgegender.errors import CheckFailedError
from edgegender.runtime.interpreter import Interpreter
from tests.conv_model import SIZE_PX, alter_network, build_conv_network
from tests.tiny_model import build_network

OPERATORS = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]


@pytest.mark.parametrize("is_float", [True, False])
def test_a_file_survives_the_way_to_objects_and_back(is_float: bool) -> None:
    content = build_conv_network(is_float=is_float)
    packed = flatbuffer.pack(flatbuffer.unpack(content))
    assert flatbuffer.pack(flatbuffer.unpack(packed)) == packed  # its layout may change once
    assert packed[4:8] == b"TFL3"
    before, after = flatbuffer.unpack(content), flatbuffer.unpack(packed)
    assert flatbuffer.operator_names(after) == flatbuffer.operator_names(before) == OPERATORS
    for left, right in zip(before.buffers, after.buffers, strict=True):
        np.testing.assert_array_equal(left.data, right.data)
    for left, right in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (left.name, left.type, left.buffer, list(left.shape)) == (
            right.name,
            right.type,
            right.buffer,
            list(right.shape),
        )
    image = np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8)
    np.testing.assert_array_equal(Interpreter(packed).run(image), Interpreter(content).run(image))


def test_a_file_larger_than_the_first_buffer_is_packed_whole() -> None:
    data = np.random.default_rng(0).integers(0, 256, 3 << 20, np.uint8)  # three times what is reserved at first

    def grow(model: tfl.ModelT) -> None:
        buffer = tfl.BufferT()
        buffer.data = data
        model.buffers.append(buffer)

    model = flatbuffer.unpack(build_conv_network())
    grow(model)
    np.testing.assert_array_equal(flatbuffer.unpack(flatbuffer.pack(model)).buffers[-1].data, data)


def test_a_custom_operator_has_its_own_name() -> None:
    def rename(model: tfl.ModelT) -> None:
        code = model.operatorCodes[0]
        code.builtinCode, code.deprecatedBuiltinCode = tfl.BuiltinOperator.CUSTOM, tfl.BuiltinOperator.CUSTOM
        code.customCode = "FlexErf"

    model = flatbuffer.unpack(alter_network(build_conv_network(), rename))
    assert flatbuffer.operator_names(model)[0] == "CUSTOM:FlexErf"


@pytest.mark.parametrize(
    ("code", "deprecated", "expected"),
    [
        (0, tfl.BuiltinOperator.SOFTMAX, "SOFTMAX"),  # as files of before 2020 have it
        (tfl.BuiltinOperator.GELU, 127, "GELU"),  # above 127 the old field holds 127
        (9999, 127, "9999"),  # newer than the schema
    ],
)
def test_old_and_new_operator_codes_are_named(code: int, deprecated: int, expected: str) -> None:
    model = flatbuffer.unpack(build_conv_network())
    for entry in model.operatorCodes:
        entry.builtinCode, entry.deprecatedBuiltinCode = code, deprecated
    assert set(flatbuffer.operator_names(model)) == {expected}


@pytest.mark.parametrize(("name", "expected"), [(b"stem", "stem"), ("stem", "stem"), (None, "")])
def test_a_name_is_text(name: bytes | str | None, expected: str) -> None:
    assert flatbuffer.text(name) == expected


def test_two_subgraphs_are_refused() -> None:
    model = flatbuffer.unpack(build_network())
    model.subgraphs.append(model.subgraphs[0])
    with pytest.raises(CheckFailedError, match="Expected a network without control flow, got 2 subgraphs") as caught:
        flatbuffer.operator_names(model)
    assert "Loops" in caught.value.hint


def test_activations_are_what_the_network_is_given_and_computes() -> None:
    model = flatbuffer.unpack(build_conv_network(is_float=True))
    names = [flatbuffer.text(tensor.name) for _, tensor in flatbuffer.activations(model)]
    assert names == ["image", "stem", "depth", "point", "mean", "logits", "scores"]
    for index, tensor in flatbuffer.activations(model):
        assert model.subgraphs[0].tensors[index] is tensor
        assert not flatbuffer.has_data(model, tensor)


def test_an_integer_file_has_no_float_activations() -> None:
    assert list(flatbuffer.activations(flatbuffer.unpack(build_conv_network()))) == []


def data_places(content: bytes) -> list[int]:
    """Returns where the data of each buffer begins in a file."""
    model = tfl.Model.GetRootAs(content)
    start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    return [
        buffer.DataAsNumpy().__array_interface__["data"][0] - start for buffer in buffers if buffer.DataLength() > 0
    ]


def test_weights_begin_where_a_microcontroller_can_read_them() -> None:
    places = data_places(flatbuffer.pack(flatbuffer.unpack(build_conv_network(is_float=False))))
    assert len(places) > 5
    assert all(place % 16 == 0 for place in places)


def test_weights_that_stand_behind_the_tables_are_kept() -> None:
    """As ai-edge-quantizer writes large files: a buffer names a place in the file."""
    content = build_conv_network(is_float=True)
    model = flatbuffer.unpack(content)
    moved = [(index, bytes(buffer.data)) for index, buffer in enumerate(model.buffers) if flatbuffer_has(buffer)]
    for index, data in moved:
        model.buffers[index].data = None
        model.buffers[index].offset, model.buffers[index].size = 2**20, len(data)  # as long as the true numbers
    place = -(-len(flatbuffer.pack(model)) // 16) * 16
    tail = b""
    for index, data in moved:
        model.buffers[index].offset = place + len(tail)
        tail += data + bytes(-len(data) % 16)
    head = flatbuffer.pack(model)
    outside = head + bytes(place - len(head)) + tail
    image = np.random.default_rng(0).integers(0, 256, (SIZE_PX, SIZE_PX, 3), np.uint8)
    np.testing.assert_array_equal(Interpreter(outside).run(image), Interpreter(content).run(image))
    packed = flatbuffer.pack(flatbuffer.unpack(outside))
    np.testing.assert_array_equal(Interpreter(packed).run(image), Interpreter(content).run(image))


def flatbuffer_has(buffer: tfl.BufferT) -> bool:
    return buffer.data is not None and len(buffer.data) > 0
