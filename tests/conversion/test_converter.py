"""The converter's silent traps: an unfrozen file, other inputs and outputs, operators that a device does not have."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion import converter
from edgegender.conversion.converter import convert_to_uint8
from edgegender.entities import UInt8Array
from edgegender.errors import CheckFailedError, MissingDependencyError, UsageError
from edgegender.preprocess import to_float
from edgegender.runtime.interpreter import Interpreter
from edgegender.training.architectures import build_model
from edgegender.training.recipes import load_recipe

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytest.importorskip("tensorflow", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

SIZE_PX = 48
REPRESENTATIVE = np.random.default_rng(0).integers(0, 256, (20, SIZE_PX, SIZE_PX, 3), np.uint8)


def build(architecture: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    recipe = load_recipe("demo", [f"architecture={architecture}", "alpha=0.35", f"input_size_px={SIZE_PX}"])
    return build_model(recipe, 2)


@pytest.fixture(scope="module", params=["cnn", "mobilenetv2"])
def converted(request: pytest.FixtureRequest) -> tuple[keras.Model, bytes]:
    model = build(request.param)
    return model, convert_to_uint8(model, REPRESENTATIVE)


def test_the_file_holds_the_weights(converted: tuple[keras.Model, bytes]) -> None:
    """An unfrozen network has some kilobytes of graph, NaN answers, and exit code 0."""
    model, content = converted
    # a byte a weight, less what folds into its neighbours; a fifth of that is far from either
    assert len(content) > model.count_params() / 5
    stored = sum(
        len(buffer.data) for buffer in tfl.ModelT.InitFromPackedBuf(content).buffers if buffer.data is not None
    )
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert stored > 0.8 * trainable


def test_no_variable_is_left_in_the_graph(converted: tuple[keras.Model, bytes]) -> None:
    operators = Interpreter(converted[1], num_threads=1).count_operators()
    assert not {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"} & set(operators)


def test_scores_are_finite_and_sum_to_one(converted: tuple[keras.Model, bytes]) -> None:
    network = Interpreter(converted[1], num_threads=1)
    for image in REPRESENTATIVE:
        scores = network.run(image)
        assert np.isfinite(scores).all()
        assert scores.sum() == pytest.approx(1, abs=2 / 256)  # two scores, each rounded to a step of 1/256


def test_the_scores_follow_the_float_network(converted: tuple[keras.Model, bytes]) -> None:
    model, content = converted
    network = Interpreter(content, num_threads=1)
    quantized = np.stack([network.run(image) for image in REPRESENTATIVE])
    plain = np.asarray(model(to_float(REPRESENTATIVE), training=False))
    # random weights answer noise with scores between 0.4 and 0.6; a trained network is held against its float one
    # by the gate
    assert np.abs(quantized - plain).max() < 0.05


def test_bytes_go_in_and_bytes_come_out(converted: tuple[keras.Model, bytes]) -> None:
    network = Interpreter(converted[1], num_threads=1)
    assert (network.input_dtype, network.output_dtype) == (np.uint8, np.uint8)
    assert network.input_shape == (1, SIZE_PX, SIZE_PX, 3)
    assert network.num_outputs == 2
    assert (network.output_scale, network.output_zero_point) == (1 / 256, 0)


def test_the_inputs_scale_says_what_to_float_says(converted: tuple[keras.Model, bytes]) -> None:
    network = Interpreter(converted[1], num_threads=1)
    (details,) = network._native.get_input_details()
    scale, zero_point = details["quantization"]
    assert scale == pytest.approx(1 / 127.5, rel=1e-6)  # stored as float32: 24 bits
    assert zero_point in (127, 128)
    # the true zero point is 127.5, which no integer is: every byte is read half a step of 1/127.5 too high or too low
    every_byte = np.arange(256, dtype=np.uint8)
    difference = (every_byte.astype(np.float64) - zero_point) * scale - to_float(every_byte)
    np.testing.assert_allclose(np.abs(difference), 0.5 / 127.5, rtol=1e-4)


COLOURS = np.zeros((6, SIZE_PX, SIZE_PX, 3), np.uint8)
for number, channels in enumerate(([0], [1], [2], [0, 1], [0, 2], [1, 2])):
    COLOURS[number][:, :, channels] = 255


@pytest.mark.parametrize(("scaling", "quantization"), [("unit", (1 / 255, 0)), ("caffe", (1.0, 0))])
def test_each_scaling_takes_raw_bytes_and_answers_as_the_float_network(
    scaling: str, quantization: tuple[float, int]
) -> None:
    model = build("cnn")
    if scaling == "caffe":  # numbers to 150 instead of 1 would drive random weights' scores to 0 and 1
        model.get_layer("conv_1").set_weights([array / 75 for array in model.get_layer("conv_1").get_weights()])
    pictures = np.concatenate([REPRESENTATIVE, COLOURS])
    network = Interpreter(convert_to_uint8(model, pictures, scaling=scaling), num_threads=1)
    (details,) = network._native.get_input_details()
    scale, zero_point = details["quantization"]
    assert (np.float32(scale), zero_point) == (np.float32(quantization[0]), quantization[1])
    plain = np.asarray(model(to_float(pictures, scaling), training=False))
    quantized = np.stack([network.run(image) for image in pictures])
    difference = np.abs(quantized - plain).max()
    assert difference < 0.01  # a step of the scores is 1/256, and random weights answer close to one half
    # and not by chance: with the wrong order of channels, or with another scaling, it is far off
    turned = np.asarray(model(to_float(pictures[..., ::-1], scaling), training=False))
    assert np.abs(turned - plain).max() > 5 * difference
    assert "DEQUANTIZE" not in network.count_operators()


def test_caffe_costs_one_small_convolution() -> None:
    model = build("cnn")
    plain, turned = (
        Interpreter(convert_to_uint8(model, REPRESENTATIVE[:2], scaling=scaling), num_threads=1).count_operators()
        for scaling in ("tf", "caffe")
    )
    assert turned == {**plain, "CONV_2D": plain["CONV_2D"] + 1}


def test_an_unknown_scaling_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match="Expected a scaling of tf, unit, caffe, got 'torch'"):
        convert_to_uint8(build("cnn"), REPRESENTATIVE[:1], scaling="torch")


def test_the_signature_names_its_tensors(converted: tuple[keras.Model, bytes]) -> None:
    native = Interpreter(converted[1], num_threads=1)._native
    assert native.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}
    runner = native.get_signature_runner("serving_default")
    assert runner(image=REPRESENTATIVE[:1])["scores"].shape == (1, 2)


def test_only_operators_that_every_runtime_has_are_used(converted: tuple[keras.Model, bytes]) -> None:
    """No Flex operator: SELECT_TF_OPS would need TensorFlow on the device."""
    codes = tfl.ModelT.InitFromPackedBuf(converted[1]).operatorCodes
    assert all(code.builtinCode != tfl.BuiltinOperator.CUSTOM and not code.customCode for code in codes)
    # and nothing falls back to float: a dequantized middle would be slow on a device
    assert "DEQUANTIZE" not in Interpreter(converted[1], num_threads=1).count_operators()


def test_weights_are_quantized_by_channel(converted: tuple[keras.Model, bytes]) -> None:
    tensors = tfl.ModelT.InitFromPackedBuf(converted[1]).subgraphs[0].tensors
    kernels = [tensor for tensor in tensors if tensor.type == tfl.TensorType.INT8 and len(tensor.shape) == 4]
    scales = [len(kernel.quantization.scale) for kernel in kernels if kernel.buffer and kernel.quantization is not None]
    assert max(scales) > 1


def test_the_same_network_built_again_gives_the_same_bytes(converted: tuple[keras.Model, bytes]) -> None:
    model, content = converted
    again = build(model.name)
    again.set_weights(model.get_weights())
    assert convert_to_uint8(again, REPRESENTATIVE) == content


def test_the_networks_own_weights_are_not_changed(converted: tuple[keras.Model, bytes]) -> None:
    model, _ = converted
    before = [array.copy() for array in build(model.name).get_weights()]
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_one_representative_photo_is_enough_to_convert() -> None:
    content = convert_to_uint8(build("cnn"), REPRESENTATIVE[:1])
    assert Interpreter(content, num_threads=1).input_dtype == np.uint8


def counting(monkeypatch: pytest.MonkeyPatch, at: int, fault: BaseException) -> list[UInt8Array]:
    """Lets the representative dataset raise ``fault`` at its picture number ``at``."""
    seen: list[UInt8Array] = []

    def spoiled(image: UInt8Array, scaling: str) -> np.ndarray:
        seen.append(image)
        if len(seen) == at:
            raise fault
        return to_float(image, scaling)

    monkeypatch.setattr(converter, "to_float", spoiled)
    return seen


def test_each_photo_is_shown_to_the_converter_and_one_picture_of_the_full_range(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = counting(monkeypatch, -1, ValueError())
    convert_to_uint8(build("cnn"), REPRESENTATIVE[:3])
    assert {image.tobytes() for image in REPRESENTATIVE[:3]} < {image.tobytes() for image in seen}
    assert any({0, 255} == set(np.unique(image).tolist()) for image in seen)


def test_ctrl_c_in_the_middle_of_the_calibration_is_no_failed_check(monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, 5, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        convert_to_uint8(build("cnn"), REPRESENTATIVE)


def test_a_converter_that_fails_is_a_failed_check_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    counting(monkeypatch, 5, RuntimeError("first line\nsecond line"))
    with pytest.raises(CheckFailedError, match="Expected TensorFlow to convert the network, got: ") as caught:
        convert_to_uint8(build("cnn"), REPRESENTATIVE)
    assert "\n" not in str(caught.value)


def test_without_tensorflow_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("cnn")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingDependencyError, match="Expected the package tensorflow") as caught:
        convert_to_uint8(model, REPRESENTATIVE[:1])
    assert caught.value.hint == "pip install 'edgegender[train]'"


def test_nothing_is_printed_while_converting(capfd: pytest.CaptureFixture[str]) -> None:
    convert_to_uint8(build("cnn"), REPRESENTATIVE[:2])
    assert capfd.readouterr() == ("", "")
