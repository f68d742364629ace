"""A Keras 3 network as plain data: what is read, what is refused, and that nothing is changed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import numpy as np
import pytest

from edgegender.conversion.twin import LayerSpec, describe_network, import_or_explain, with_input_name
from edgegender.conversion.twin_folding import FRONT_NAME, to_quantizable
from edgegender.conversion.twin_protocol import (
    CutShortError,
    network_from_message,
    network_to_message,
    read_message,
    write_message,
)
from edgegender.errors import MissingDependencyError, UsageError
from tests.conversion.twins import SIZE_PX, build_block_network, build_small_cnn, with_head

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow


def by_name(layers: tuple[LayerSpec, ...]) -> dict[str, LayerSpec]:
    return {layer.name: layer for layer in layers}


def test_layers_stand_after_those_they_take_their_inputs_from() -> None:
    network = describe_network(build_block_network())
    seen = {network.input_name}
    for layer in network.layers:
        assert set(layer.inbound) <= seen
        seen.add(layer.name)
    assert network.layers[-1].name == "scores"
    assert by_name(network.layers)["sum"].inbound == ("stem_relu", "project_norm")


def test_a_spec_is_numbers_and_words_that_json_gives_back() -> None:
    network = describe_network(build_block_network())
    values, arrays = network_to_message(network)
    pipe = io.BytesIO()
    write_message(pipe, values, arrays)
    pipe.seek(0)
    read, received, _ = read_message(pipe)
    again = network_from_message(read, received)
    assert [(layer.name, layer.config, layer.inbound) for layer in again.layers] == [
        (layer.name, layer.config, layer.inbound) for layer in network.layers
    ]
    for left, right in zip(again.layers, network.layers, strict=True):
        assert [array.tobytes() for array in left.weights] == [array.tobytes() for array in right.weights]
    assert not {"dtype", "registered_name", "kernel_initializer"} & set(json.dumps(values).split('"'))


def test_weights_are_those_of_the_network_in_its_order() -> None:
    model = build_block_network()
    arrays = [array for layer in describe_network(model).layers for array in layer.weights]
    for array, wanted in zip(arrays, model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_dropout_is_left_out() -> None:
    layers = by_name(describe_network(build_block_network()).layers)
    assert "dropout" not in layers
    assert layers["scores"].inbound == ("pool",)


def test_a_sequential_network_is_a_chain() -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE_PX, SIZE_PX, 3)),
            layers.Conv2D(2, 3, name="first"),
            layers.Dropout(0.1),
            layers.Flatten(name="flat"),
            layers.Dense(2, name="logits"),
            layers.Softmax(name="scores"),
        ]
    )
    network = with_input_name(describe_network(model), "image")
    assert network.input_name == "image"
    assert [(layer.name, layer.inbound) for layer in network.layers] == [
        ("first", ("image",)),
        ("flat", ("first",)),
        ("logits", ("flat",)),
        ("scores", ("logits",)),
    ]


def nested() -> keras.Model:
    inner = keras.Sequential([keras.Input((SIZE_PX, SIZE_PX, 3)), keras.layers.Conv2D(2, 3)], name="inner")
    return with_head(inner)


def shared() -> keras.Model:
    twice = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    return with_head(lambda image: twice(twice(image)))


def rescaling() -> keras.Model:
    return with_head(keras.layers.Rescaling(1 / 255, name="scale"))


def own_layer() -> keras.Model:
    class Conv2D(keras.layers.Conv2D):
        """Has the name of Keras's own layer and is another one."""

    return with_head(Conv2D(2, 3, name="mine"))


def own_activation() -> keras.Model:
    def double(x: keras.KerasTensor) -> keras.KerasTensor:
        return x * 2

    return with_head(keras.layers.Conv2D(2, 3, activation=double, name="odd"))


def other_activation() -> keras.Model:
    return with_head(keras.layers.Conv2D(2, 3, activation="gelu", name="smooth"))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (nested, r"a network inside of the network \(layer inner, Sequential\)"),
        (shared, r"a layer that is used 2 times \(layer twice, Conv2D\)"),
        (rescaling, r"a layer that quantization-aware training cannot treat \(layer scale, Rescaling\)"),
        (own_layer, r"a layer that quantization-aware training cannot treat \(layer mine, Conv2D\)"),
        (own_activation, r"the activation a function of its own \(layer odd, Conv2D\)"),
        (other_activation, r"the activation gelu \(layer smooth, Conv2D\)"),
    ],
)
def test_a_layer_that_cannot_be_treated_is_named(build: Callable[[], keras.Model], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        describe_network(build())


def test_channels_before_rows_are_refused() -> None:
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    features = keras.layers.Flatten(data_format="channels_first", name="flat")(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(features))
    with pytest.raises(UsageError, match=r"channels before rows \(layer flat, Flatten\)"):
        describe_network(model)


def test_one_input_and_one_output_are_needed() -> None:
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    features = keras.layers.Flatten()(image)
    outputs = [keras.layers.Dense(2, activation="softmax")(features) for _ in range(2)]
    with pytest.raises(UsageError, match="Expected one input and one output, got 1 and 2"):
        describe_network(keras.Model(image, outputs))


def test_an_input_of_any_size_is_refused() -> None:
    image = keras.Input((None, None, 3))
    features = keras.layers.GlobalAveragePooling2D()(image)
    with pytest.raises(UsageError, match=r"Expected an input of \(height, width, 3\), got \(None, None, 3\)"):
        describe_network(keras.Model(image, keras.layers.Dense(2, activation="softmax")(features)))


def test_a_network_without_softmax_is_refused() -> None:
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    features = keras.layers.GlobalAveragePooling2D()(image)
    model = keras.Model(image, keras.layers.Dense(1, activation="sigmoid", name="score")(features))
    with pytest.raises(UsageError, match="Expected a softmax in the last layer, got score"):
        describe_network(model)


def test_what_is_no_network_is_refused() -> None:
    with pytest.raises(UsageError, match="Expected a Keras network, got Dense"):
        describe_network(keras.layers.Dense(2))


def test_batch_normalization_becomes_part_of_the_layer_before_it() -> None:
    model = build_block_network()
    folded = by_name(to_quantizable(describe_network(model), scaling="tf").layers)
    assert not {layer.class_name for layer in folded.values()} & {"BatchNormalization"}
    kernel, bias = folded["depthwise_norm"].weights
    gamma, beta, mean, variance = model.get_layer("depthwise_norm").get_weights()
    original = model.get_layer("depthwise").get_weights()[0]
    scale = gamma / np.sqrt(variance + model.get_layer("depthwise_norm").epsilon)
    # 1e-5: both are rounded to float32 once
    np.testing.assert_allclose(kernel, original * scale[:, np.newaxis], rtol=1e-5)
    np.testing.assert_allclose(bias, beta - mean * scale, rtol=1e-4, atol=1e-6)
    assert folded["depthwise_norm"].inbound == ("pad",)


@pytest.mark.parametrize("between", ["ReLU", "Add"])
def test_batch_normalization_elsewhere_is_refused(between: str) -> None:
    def body(image: keras.KerasTensor) -> keras.KerasTensor:
        features = keras.layers.Conv2D(3, 3, padding="same", name="conv")(image)
        middle = keras.layers.ReLU(name="middle")(features) if between == "ReLU" else features
        normalized = keras.layers.BatchNormalization(name="norm")(middle)
        return normalized if between == "ReLU" else keras.layers.Add(name="sum")([normalized, features])

    with pytest.raises(UsageError, match=r"right after a linear convolution or dense layer.*\(layer norm\)"):
        to_quantizable(describe_network(with_head(body)), scaling="tf")


def test_a_separable_convolution_and_relu6_are_taken_apart() -> None:
    def body(image: keras.KerasTensor) -> keras.KerasTensor:
        features = keras.layers.SeparableConv2D(4, 3, activation="relu6", name="both")(image)
        return keras.layers.Activation("relu6", name="again")(features)

    layers = to_quantizable(describe_network(with_head(body)), scaling="tf").layers
    assert [(layer.class_name, layer.name, layer.inbound) for layer in layers[:4]] == [
        ("DepthwiseConv2D", "both_depthwise", ("image",)),
        ("Conv2D", "both_linear", ("both_depthwise",)),
        ("ReLU", "both", ("both_linear",)),
        ("ReLU", "again", ("both",)),
    ]


def test_caffe_has_a_convolution_in_front_that_takes_raw_bytes() -> None:
    layers = to_quantizable(describe_network(build_small_cnn()), scaling="caffe").layers
    assert layers[0].name == FRONT_NAME
    assert layers[1].inbound == (FRONT_NAME,)
    kernel, bias = layers[0].weights
    np.testing.assert_array_equal(np.array([10.0, 20.0, 30.0]) @ kernel[0, 0], [30.0, 20.0, 10.0])
    np.testing.assert_allclose(bias, [-103.939, -116.779, -123.68], rtol=1e-6)  # float32 has 24 bits


@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_message_that_ends_early_is_told_from_a_whole_one(size: int) -> None:
    pipe = io.BytesIO()
    write_message(pipe, {"step": 1}, [np.ones((2, 3), np.float32)], b"bytes")
    content = pipe.getvalue()
    values, arrays, rest = read_message(io.BytesIO(content))
    assert (values, arrays[0].shape, rest) == ({"step": 1}, (2, 3), b"bytes")
    with pytest.raises(CutShortError):
        read_message(io.BytesIO(content[:size]))


def test_a_module_that_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(MissingDependencyError, match="Expected the package some-package to be installed") as caught:
        import_or_explain("no_such_module", "some-package")
    assert caught.value.hint == "pip install 'edgegender[train]'"


def test_distutils_comes_with_setuptools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 has none, and tensorflow-model-optimization imports it."""

    def fail(name: str) -> None:
        raise ModuleNotFoundError(name, name="distutils.version")

    monkeypatch.setattr("edgegender.conversion.twin.import_module", fail)
    with pytest.raises(MissingDependencyError, match="Expected the package setuptools to be installed"):
        import_or_explain("tensorflow_model_optimization", "tensorflow-model-optimization")
