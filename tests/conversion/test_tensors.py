"""Inner tensors of a network, held against the same operators in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgegender.conversion import flatbuffer
from edgegender.conversion.tensors import TensorReader, to_network_inputs
from edgegender.errors import ModelFileError
from edgegender.preprocess import to_float
from edgegender.runtime.interpreter import Interpreter
from tests.conv_model import SIZE_PX, build_conv_network
from tests.tiny_model import build_network

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE_PX, SIZE_PX, 3), np.uint8)
CHAIN = ["image", "stem", "depth", "point", "mean", "logits", "scores"]


def read_all(content: bytes, tensor: np.ndarray) -> dict[str, np.ndarray]:
    reader = TensorReader(content)
    reader.run(tensor)
    return {name: reader.value(index) for index, name, _ in reader.outputs()}


def test_outputs_come_in_the_networks_order_with_their_operators() -> None:
    """A delegate's own node, which stands beside what it takes over, is left out."""
    outputs = list(TensorReader(build_conv_network()).outputs())
    assert [name for _, name, _ in outputs] == CHAIN[1:]
    assert [kind for _, _, kind in outputs] == flatbuffer.operator_names(flatbuffer.unpack(build_conv_network()))


def test_inner_tensors_are_those_of_the_layers() -> None:
    """Without ``experimental_preserve_all_tensors`` the memory of a layer's output is used again by a later one."""
    content = build_conv_network(is_float=True)
    model = flatbuffer.unpack(content)
    constants = {
        flatbuffer.text(tensor.name): model.buffers[tensor.buffer].data.view(np.float32).reshape(tensor.shape)
        for tensor in model.subgraphs[0].tensors
        if flatbuffer.has_data(model, tensor) and tensor.type == 0
    }
    values = read_all(content, to_float(IMAGES[:1]))
    point = np.einsum("bhwi,oi->bhwo", values["depth"], constants["point/w"][:, 0, 0]) + constants["point/b"]
    logits = values["mean"] @ constants["head/w"].T + constants["head/b"]
    # float32 sums of at most 64 numbers in another order
    np.testing.assert_allclose(values["point"], point, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values["mean"], values["point"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(values["logits"], logits, rtol=1e-5, atol=1e-5)
    exponents = np.exp(values["logits"])
    np.testing.assert_allclose(values["scores"], exponents / exponents.sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_float", [True, False])
def test_the_last_tensor_is_the_interpreters_answer(is_float: bool) -> None:
    """The same kernels: to the bit."""
    content = build_conv_network(is_float=is_float)
    interpreter = Interpreter(content)
    for image in IMAGES:
        scores = read_all(content, interpreter.to_tensor(image))["scores"][0]
        np.testing.assert_array_equal(scores, interpreter.run(image).astype(np.float32))


def test_stored_numbers_become_values_by_scale_and_zero_point() -> None:
    reader = TensorReader(build_conv_network())
    (tensor,) = to_network_inputs(build_conv_network(), IMAGES[:1])
    reader.run(tensor)
    index = next(index for index, name, _ in reader.outputs() if name == "stem")
    raw = reader.raw(index)
    assert raw.dtype == np.int8
    assert raw.min() == -128  # ReLU6's zero
    assert np.unique(raw).size > 10
    np.testing.assert_allclose(reader.value(index), (raw.astype(np.float64) + 128) * 6 / 255, rtol=1e-6)  # float32


def test_a_tensor_that_was_read_is_a_copy() -> None:
    reader = TensorReader(build_conv_network(is_float=True))
    index = next(iter(reader.outputs()))[0]
    reader.run(to_float(IMAGES[:1]))
    first = reader.raw(index)
    before = first.copy()
    reader.run(to_float(IMAGES[1:2]))
    np.testing.assert_array_equal(first, before)
    assert (reader.raw(index) != before).any()


def test_what_an_operator_is_given_is_named() -> None:
    names = TensorReader(build_conv_network()).input_names()
    assert names["stem"] == ("image", "stem/w", "stem/b")
    assert names["scores"] == ("logits",)
    assert [names[name][0] for name in CHAIN[1:]] == CHAIN[:-1]


@pytest.mark.parametrize("is_float", [True, False])
def test_the_input_is_named_and_has_a_type(is_float: bool) -> None:
    reader = TensorReader(build_conv_network(is_float=is_float))
    assert reader.name(reader.input_index) == "image"
    assert reader.is_float_input is is_float


@pytest.mark.parametrize(("content", "dtype"), [(build_network(), np.uint8), (build_conv_network(), np.int8)])
def test_bytes_become_what_an_integer_file_takes(content: bytes, dtype: type) -> None:
    every_byte = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    (tensor,) = to_network_inputs(content, every_byte)
    assert tensor.dtype == dtype
    assert tensor.shape == (1, 16, 16, 3)
    offset = 128 if dtype == np.int8 else 0
    np.testing.assert_array_equal(tensor[0].astype(int) + offset, every_byte[0])


@pytest.mark.parametrize("content", [b"", b"hello", build_conv_network()[:300]])
def test_what_is_no_network_is_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError, match="Expected a network that") as caught:
        TensorReader(content)
    assert caught.value.hint == "Run: edgegender doctor"
