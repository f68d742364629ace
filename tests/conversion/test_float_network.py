"""The converter's silent traps: an unfrozen file, other inputs and outputs, operators that a device does not have."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

from edgegender.conversion import flatbuffer, float_network
from edgegender.conversion.float_network import build_float_network, check_structure, run_converter
from edgegender.conversion.quantization import IntegerPlan, Quantizer
from edgegender.entities import QuantizationScheme
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.preprocess import SCALINGS, to_float
from edgegender.runtime.interpreter import Interpreter
from edgegender.training.architectures import build_model
from edgegender.training.recipes import load_recipe
from tests.conversion.networks import (
    SIZE_PX,
    altered,
    block_model,
    block_network,
    block_scheme,
    build_block,
    constants,
    operator_types,
    pictures,
)
from tests.tiny_model import build_network

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
tf = pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

CNN_SIZE_PX = 32


def build_cnn(architecture: str = "cnn"):
    keras.utils.set_random_seed(1)
    recipe = load_recipe(
        "demo", [f"architecture={architecture}", "alpha=0.35", f"input_size_px={CNN_SIZE_PX}", "hidden_units=8"]
    )
    return build_model(recipe, 2)


def network_scores(content: bytes, images: np.ndarray, scaling: str = "tf") -> np.ndarray:
    interpreter = Interpreter(content, num_threads=1, scaling=scaling)
    return np.stack([interpreter.run(image) for image in images])


# What a sound network becomes


@pytest.fixture(scope="module")
def mobilenet():
    """A whole MobileNetV2 with its float file."""
    model = build_cnn("mobilenetv2")
    return model, build_float_network(model)


def test_a_mobilenet_answers_as_keras_does(mobilenet) -> None:
    model, network = mobilenet
    images = pictures(4, size_px=CNN_SIZE_PX, seed=9)
    expected = np.asarray(model(to_float(images), training=False))
    # float32 sums in another order: 7 digits, a hundred layers
    np.testing.assert_allclose(network_scores(network.content, images), expected, atol=1e-4)
    assert (network.size_px, network.num_outputs, network.scaling) == (CNN_SIZE_PX, 2, "tf")


def test_the_file_holds_the_weights(mobilenet) -> None:
    """An unfrozen network has some kilobytes of graph, NaN answers, and exit code 0."""
    model, network = mobilenet
    stored = sum(len(data) for _, data, _, _ in constants(network.content).values())
    # batch normalization folds gamma and two statistics into its neighbour: what is trained, less gamma, stays
    kernels = sum(int(np.prod(weight.shape)) for weight in model.weights if "kernel" in weight.path)
    assert kernels * 4 <= stored <= model.count_params() * 4


def test_no_operator_but_plain_ones_is_in_a_mobilenet(mobilenet) -> None:
    operators = set(flatbuffer.operator_names(flatbuffer.unpack(mobilenet[1].content)))
    assert operators == {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}


def test_a_network_of_half_a_hundred_layers_as_integer_follows_keras(mobilenet) -> None:
    model, network = mobilenet
    images = pictures(12, size_px=CNN_SIZE_PX)
    content = Quantizer(network, images).integer(IntegerPlan())
    stored = [data for kind, data, _, _ in constants(content).values() if kind == "INT8"]
    kernels = sum(int(np.prod(weight.shape)) for weight in model.weights if "kernel" in weight.path)
    assert sum(map(len, stored)) == kernels  # a byte each
    scores = network_scores(content, images)
    assert np.abs(scores.sum(axis=1) - 1).max() <= 2 / 256  # two scores, each rounded to a step of 1/256
    # random weights answer with scores between 0.4 and 0.6; a trained network is held against its float one by the gate
    assert np.abs(scores - np.asarray(model(to_float(images), training=False))).max() < 0.05


@pytest.mark.parametrize("scheme", [QuantizationScheme.FLOAT32, QuantizationScheme.FLOAT16])
def test_the_signature_names_its_tensors(scheme: QuantizationScheme) -> None:
    native = Interpreter(block_scheme(scheme), num_threads=1)._native
    assert native.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}
    runner = native.get_signature_runner("serving_default")
    image = to_float(pictures(1))
    expected = np.asarray(block_model()(image, training=False))
    np.testing.assert_allclose(runner(image=image)["scores"], expected, atol=2e-3)  # float16: 11 bits of each weight


def test_the_same_network_built_again_gives_the_same_bytes() -> None:
    assert build_float_network(build_block()).content == block_network().content


def test_the_networks_own_weights_are_not_changed() -> None:
    model = build_block()
    before = [array.copy() for array in model.get_weights()]
    network = build_float_network(model)
    Quantizer(network, pictures(4)).integer(IntegerPlan(is_bias_corrected=True))
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_nothing_is_printed_while_converting(capfd: pytest.CaptureFixture[str]) -> None:
    network = build_float_network(build_cnn())
    network.convert(QuantizationScheme.FLOAT16)
    quantizer = Quantizer(network, pictures(2, size_px=CNN_SIZE_PX))
    quantizer.integer(IntegerPlan("mse", is_bias_corrected=True))
    quantizer.int16x8()
    assert capfd.readouterr() == ("", "")


# Scalings

_COLOURS = np.zeros((6, SIZE_PX, SIZE_PX, 3), np.uint8)
for number, channels in enumerate(([0], [1], [2], [0, 1], [0, 2], [1, 2])):
    _COLOURS[number][:, :, channels] = 255


@pytest.fixture(scope="module")
def caffe():
    """A network that takes blue, green, red, less their means, with its float file."""
    model = build_block(scaling="caffe")
    return model, build_float_network(model, scaling="caffe")


def test_a_caffe_file_takes_raw_bytes_and_answers_as_the_network_does(caffe) -> None:
    model, network = caffe
    assert network.scaling == "raw"
    assert network.input_range == (0, 255)
    images = np.concatenate([pictures(), _COLOURS])
    expected = np.asarray(model(to_float(images, "caffe"), training=False))
    answers = network_scores(network.content, images, scaling="raw")
    np.testing.assert_allclose(answers, expected, atol=1e-4)  # float32 sums in another order
    # and not by chance: with the other order of channels it is far off
    assert np.abs(network_scores(network.content, images[..., ::-1], scaling="raw") - expected).max() > 0.1


def test_caffe_costs_one_small_convolution(caffe) -> None:
    plain = operator_types(block_network().content)
    assert operator_types(caffe[1].content) == [plain[0], *plain]


def test_caffe_as_integer_takes_bytes_as_they_are(caffe) -> None:
    model, network = caffe
    images = np.concatenate([pictures(), _COLOURS])
    content = Quantizer(network, images).integer(IntegerPlan())
    interpreter = Interpreter(content, num_threads=1)
    assert (interpreter.input_scale, interpreter.input_zero_point) == (1.0, 0)
    expected = np.asarray(model(to_float(images, "caffe"), training=False))
    difference = np.abs(network_scores(content, images) - expected)
    assert difference.mean() < 0.05  # measured .028: 13 steps of a score of int8; scores spread over 0.3
    assert np.abs(network_scores(content, images[..., ::-1]) - expected).mean() > 3 * difference.mean()


@pytest.mark.parametrize(("scaling", "ends"), [("tf", (-1, 1)), ("unit", (0, 1)), ("raw", (0, 255))])
def test_the_input_range_is_that_of_black_and_white(scaling: str, ends: tuple[float, float]) -> None:
    network = float_network.FloatNetwork(b"", scaling, 4, 2, lambda _: b"")
    assert network.input_range == ends
    (one,) = network.inputs(np.full((1, 4, 4, 3), 255, np.uint8))
    assert one.shape == (1, 4, 4, 3)
    assert (one == ends[1]).all()


def test_an_unknown_scaling_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match=f"Expected a scaling of {', '.join(SCALINGS)}, got 'torch'"):
        build_float_network(block_model(), scaling="torch")


# Traps


def unfrozen() -> bytes:
    """What ``from_concrete_functions([cf], keras3_model)`` writes, without a word of warning."""
    model = block_model()

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE_PX, SIZE_PX, 3), tf.float32, name="image")])
    def serve(image):
        return {"scores": model(image, training=False)}

    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model).convert()


def check_block(content: bytes, model=None) -> None:
    model = model or block_model()
    check_structure(content, num_parameters=model.count_params(), bytes_per_parameter=4)


def test_a_sound_file_is_let_through() -> None:
    check_block(block_network().content)


def test_an_unfrozen_file_is_refused() -> None:
    content = unfrozen()
    with pytest.raises(
        CheckFailedError, match=f"for {block_model().count_params()} param.* and READ_VARIABLE, VAR_HANDLE"
    ) as caught:
        check_block(content)
    assert "left variables out" in caught.value.hint


def test_a_file_that_lost_its_weights_is_refused(mobilenet) -> None:
    model, network = mobilenet

    def empty(unpacked) -> None:
        for buffer in unpacked.buffers:
            if buffer.data is not None and len(buffer.data) > 256:
                buffer.data = buffer.data[:4]

    check_block(network.content, model)
    with pytest.raises(CheckFailedError, match=r"got \d+ bytes of them for \d+ parameters\."):
        check_block(altered(network.content, empty), model)


def test_a_file_without_a_signature_is_refused() -> None:
    model = block_model()

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE_PX, SIZE_PX, 3), tf.float32, name="image")])
    def serve(image):
        return {"scores": model(image, training=False)}

    content = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()]).convert()
    assert Interpreter(content).num_outputs == 2  # it runs: nothing else would tell
    with pytest.raises(
        CheckFailedError, match="Expected the signature serving_default with image and scores, got none"
    ):
        check_block(content)


def test_other_names_are_refused() -> None:
    def rename(model) -> None:
        model.signatureDefs[0].outputs[0].name = "probabilities"

    with pytest.raises(CheckFailedError, match=r"got \[\('serving_default', \['image'\], \['probabilities'\]\)\]"):
        check_block(altered(block_network().content, rename))


def test_control_flow_is_refused() -> None:
    def twice(model) -> None:
        model.subgraphs.append(model.subgraphs[0])

    with pytest.raises(CheckFailedError, match="Expected a network without control flow, got 2 subgraphs"):
        check_block(altered(build_network(), twice))


class Dilation(keras.layers.Layer):
    """An operator that TensorFlow has and TensorFlow Lite has not."""

    def call(self, inputs):
        return tf.nn.dilation2d(inputs, tf.ones((3, 3, 8)), [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])


@pytest.fixture(scope="module")
def foreign():
    image = keras.Input((SIZE_PX, SIZE_PX, 3))
    features = keras.layers.GlobalAveragePooling2D()(Dilation()(keras.layers.Conv2D(8, 3, strides=4)(image)))
    return keras.Model(image, keras.layers.Dense(2, activation="softmax")(features))


def test_an_operator_of_tensorflow_is_refused_by_name(foreign) -> None:
    message = "Expected operators that every device has, got Dilation2D of TensorFlow."
    with pytest.raises(CheckFailedError, match=f"^{message}$") as caught:
        build_float_network(foreign)
    assert caught.value.hint.startswith("Replace that layer by")


def test_a_file_that_needs_tensorflow_on_the_device_is_refused(foreign) -> None:
    converter = float_network._converter(foreign, SIZE_PX, "tf")
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    content = run_converter(converter.convert)
    with pytest.raises(CheckFailedError, match="Expected operators that every device has, got CUSTOM:FlexDilation2D"):
        check_block(content, foreign)


def test_a_network_with_broken_weights_is_refused() -> None:
    model = build_block()
    model.get_layer("scores").bias.assign(np.asarray([np.nan, 0], np.float32))
    with pytest.raises(CheckFailedError, match="Expected finite scores of the float network, got NaN or infinity"):
        build_float_network(model)


def test_a_file_that_answers_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the converter had mixed up weights: everything is there, and finite."""
    model = build_block(seed=2)
    content = block_network().content
    monkeypatch.setattr(float_network, "run_converter", lambda _: content)
    with pytest.raises(CheckFailedError, match=r"Expected the float file to answer as Keras does, got scores that dif"):
        build_float_network(model)


def test_one_weight_that_is_off_is_enough_to_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_block()
    content = block_network().content
    bias = model.get_layer("scores").bias
    bias.assign(np.asarray(bias.value) + np.asarray([0.03, 0], np.float32))  # moves a score by up to 0.0075
    monkeypatch.setattr(float_network, "run_converter", lambda _: content)
    with pytest.raises(CheckFailedError, match=r"got scores that differ by 0\.00"):
        build_float_network(model)


# Failures of the converter


def test_a_converter_that_fails_is_a_failed_check_that_says_why() -> None:
    def fail() -> bytes:
        os.write(2, b"native words\n")
        raise RuntimeError("first line\nsecond line")

    with pytest.raises(
        CheckFailedError, match=r"^Expected TensorFlow to convert the network, got: first line$"
    ) as caught:
        run_converter(fail)
    assert caught.value.hint == "native words"


def test_a_converter_that_fails_without_a_word_is_named_by_its_exception() -> None:
    def fail() -> bytes:
        raise KeyError

    with pytest.raises(CheckFailedError, match="Expected TensorFlow to convert the network, got: KeyError"):
        run_converter(fail)


def test_ctrl_c_in_the_converter_is_no_failed_check() -> None:
    def stop() -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_converter(stop)


def test_without_tensorflow_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model = block_model()
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingDependencyError, match="Expected the package tensorflow") as caught:
        build_float_network(model)
    assert caught.value.hint == "pip install 'edgegender[train]'"
