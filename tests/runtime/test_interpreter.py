"""The interpreter: the network's own numbers in and out, and one error class for what it cannot run."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from importlib import import_module

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl
from hypothesis import given
from hypothesis import strategies as st

from edgegender.entities import UInt8Array
from edgegender.errors import MissingDependencyError, ModelFileError, UsageError
from edgegender.preprocess import SCALINGS, to_float
from edgegender.runtime import interpreter
from edgegender.runtime.interpreter import MAX_THREADS, Interpreter, available_cores, default_num_threads
from edgegender.runtime.model_file import embedded_model_path
from tests.conv_model import alter_network
from tests.tiny_model import build_network, grey_picture


def noise(size_px: int = 32, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), np.uint8)


def change(alter: Callable[[tfl.ModelT], object], content: bytes | None = None) -> bytes:
    """Returns a tiny network with something altered, packed anew."""
    return alter_network(build_network() if content is None else content, alter)


def append_operator(model: tfl.ModelT, code: int, inputs: list[int], outputs: list[int], *, version: int = 1) -> None:
    operator_code = tfl.OperatorCodeT()
    operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
    operator_code.version = version
    model.operatorCodes.append(operator_code)
    operator = tfl.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = len(model.operatorCodes) - 1, inputs, outputs
    model.subgraphs[0].operators.append(operator)


def to_int8(model: tfl.ModelT) -> None:
    """Takes 128 from every byte and every zero point: the same numbers, stored as int8."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == tfl.TensorType.UINT8:
            tensor.type = tfl.TensorType.INT8
            tensor.quantization.zeroPoint = [int(tensor.quantization.zeroPoint[0]) - 128]
            buffer = model.buffers[tensor.buffer]
            if buffer.data is not None:
                buffer.data = np.bitwise_xor(np.asarray(buffer.data, np.uint8), 0x80)


def end_in_int8(model: tfl.ModelT) -> None:
    """Lets a uint8 network answer in int8."""
    graph = model.subgraphs[0]
    scores = tfl.TensorT()
    scores.name, scores.shape, scores.type, scores.buffer = "scores8", [1, 2], tfl.TensorType.INT8, 0
    scores.quantization = tfl.QuantizationParametersT()
    scores.quantization.scale, scores.quantization.zeroPoint = [1 / 256], [-128]
    graph.tensors.append(scores)
    append_operator(model, tfl.BuiltinOperator.QUANTIZE, [int(graph.outputs[0])], [len(graph.tensors) - 1])
    graph.outputs = [len(graph.tensors) - 1]


# Numbers


def test_scores_are_the_outputs_bytes_by_its_scale_and_zero_point() -> None:
    network = Interpreter(build_network(), num_threads=1)
    network.invoke_raw(noise()[np.newaxis])
    raw = network._native.get_tensor(network._output_index)[0]
    assert (network.output_scale, network.output_zero_point) == (1 / 256, 0)
    np.testing.assert_array_equal(network.read_scores(), raw / 256)


def test_an_output_with_a_zero_point_is_shifted_by_it() -> None:
    def alter(model: tfl.ModelT) -> None:
        tensor = model.subgraphs[0].tensors[model.subgraphs[0].outputs[0]]
        tensor.quantization.scale, tensor.quantization.zeroPoint = [1 / 256], [0]
        # take the logits as output instead: they have the zero point 128
        model.subgraphs[0].outputs = [6]

    content = change(alter)
    scores = Interpreter(content, num_threads=1).run(grey_picture(255))
    # a white picture's logits are ∓3, in steps of 1/16: half a step of rounding
    assert scores == pytest.approx([-3, 3], abs=1 / 32)


def test_scores_sum_to_one_within_a_step_of_the_output() -> None:
    network = Interpreter(build_network(num_labels=4), num_threads=1)
    for seed in range(20):
        scores = network.run(noise(seed=seed))
        assert scores.shape == (4,)
        assert scores.sum() == pytest.approx(1, abs=4 * 0.5 / 256)  # each of four is rounded by half a step


def test_a_float_network_gets_bytes_as_numbers_from_minus_one_to_one() -> None:
    network = Interpreter(build_network(is_float=True), num_threads=1)
    assert network.input_dtype == np.float32
    tensor = network.to_tensor(noise())
    np.testing.assert_array_equal(tensor[0], (noise().astype(np.float32) - 127.5) / 127.5)
    quantized = Interpreter(build_network(), num_threads=1).run(noise())
    # the quantized twin rounds its mean, its logits (1/16 each) and its scores: 0.02 of a score in all
    assert network.run(noise()) == pytest.approx(quantized, abs=0.02)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_float_network_gets_the_numbers_that_it_was_trained_with(scaling: str) -> None:
    network = Interpreter(build_network(is_float=True), num_threads=1, scaling=scaling)
    np.testing.assert_array_equal(network.to_tensor(noise())[0], to_float(noise(), scaling))


def test_a_quantized_network_gets_the_raw_bytes_themselves() -> None:
    network = Interpreter(build_network(), num_threads=1)
    picture = noise()
    tensor = network.to_tensor(picture)
    assert tensor.dtype == np.uint8
    assert np.shares_memory(tensor, picture)


def test_scores_of_one_run_are_not_changed_by_the_next() -> None:
    network = Interpreter(build_network(), num_threads=1)
    first = network.run(grey_picture(0))
    kept = first.copy()
    network.run(grey_picture(255))
    np.testing.assert_array_equal(first, kept)


@given(st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_the_same_picture_gets_the_same_scores_each_time(value: int, seed: int) -> None:
    network = Interpreter(_NETWORK, num_threads=1)
    picture = noise(seed=seed)
    first = network.run(picture)
    network.run(grey_picture(value))
    np.testing.assert_array_equal(network.run(picture), first)


_NETWORK = build_network()


# int8 in and out


def test_an_int8_network_gets_each_byte_less_128() -> None:
    network = Interpreter(change(to_int8), num_threads=1)
    assert (network.input_dtype, network.input_zero_point) == (np.int8, 0)
    picture = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)  # every byte
    tensor = network.to_tensor(picture)
    assert (tensor.dtype, tensor.shape) == (np.int8, (1, 32, 32, 3))
    np.testing.assert_array_equal(tensor[0].astype(int), picture.astype(int) - 128)
    np.testing.assert_array_equal(picture, np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3))  # untouched


def test_a_part_of_a_larger_picture_goes_in_as_its_copy_would() -> None:
    network = Interpreter(change(to_int8), num_threads=1)
    part = noise(64)[::2, ::2]
    np.testing.assert_array_equal(network.run(part), network.run(part.copy()))


def test_an_int8_network_answers_as_its_uint8_twin() -> None:
    twins = [Interpreter(content, num_threads=1) for content in (build_network(), change(to_int8))]
    assert (twins[1].output_scale, twins[1].output_zero_point) == (1 / 256, -128)
    for picture in (*map(grey_picture, range(0, 256, 15)), *(noise(seed=seed) for seed in range(10))):
        plain, shifted = (network.run(picture) for network in twins)
        # other kernels, which may round a logit (1/16) the other way: a quarter of that, and half a step of the score
        assert shifted == pytest.approx(plain, abs=1 / 64 + 1 / 512)
    assert twins[1].run(grey_picture(255))[1] > 0.99  # white is the positive label


def test_bytes_may_go_in_as_uint8_and_come_out_as_int8() -> None:
    network = Interpreter(change(end_in_int8), num_threads=1)
    assert (network.input_dtype, network.output_dtype) == (np.uint8, np.int8)
    plain = Interpreter(build_network(), num_threads=1)
    for seed in range(5):
        np.testing.assert_array_equal(network.run(noise(seed=seed)), plain.run(noise(seed=seed)))


# What stands inside


@pytest.mark.parametrize("is_reference", [False, True], ids=["delegated", "reference"])
def test_nodes_and_tensors_are_those_of_the_file(is_reference: bool) -> None:
    network = Interpreter(build_network(), num_threads=1, is_reference=is_reference)
    nodes, tensors = network.operator_nodes(), network.tensors()
    assert [node.name for node in nodes] == ["AVERAGE_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    assert [node.index for node in nodes] == [0, 1, 2, 3]
    assert [tensors[index].name for index in nodes[2].inputs] == ["flat", "weights", "bias"]
    assert [tensors[index].name for index in (*network.input_indices, *network.output_indices)] == ["image", "scores"]
    logits = tensors[nodes[2].outputs[0]]
    assert (logits.shape, logits.dtype, logits.scales, logits.zero_points) == ((1, 2), "uint8", (1 / 16,), (128,))
    assert tensors[nodes[1].inputs[1]].scales == ()  # a shape has no scale


def test_an_optional_input_that_is_not_there_is_left_out() -> None:
    def alter(model: tfl.ModelT) -> None:
        inputs = model.subgraphs[0].operators[2].inputs
        model.subgraphs[0].operators[2].inputs = [inputs[0], inputs[1], -1]

    nodes = Interpreter(change(alter), num_threads=1).operator_nodes()
    assert len(nodes[2].inputs) == 2


def test_signatures_name_inputs_and_outputs() -> None:
    assert Interpreter(build_network(), num_threads=1).signatures() == {}
    embedded = Interpreter(embedded_model_path().read_bytes(), num_threads=1)
    assert embedded.signatures() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}


# Threads and kernels


def test_the_number_of_threads_does_not_change_the_answer() -> None:
    content = embedded_model_path().read_bytes()
    answers = [Interpreter(content, num_threads=count).run(noise(96)).tobytes() for count in (1, 2, 4)]
    assert len(set(answers)) == 1


def test_without_a_number_the_cores_decide_four_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Interpreter(embedded_model_path().read_bytes()).num_threads == min(4, available_cores())
    monkeypatch.setattr(interpreter, "available_cores", lambda: 64)
    assert default_num_threads() == 4
    monkeypatch.setattr(interpreter, "available_cores", lambda: 1)
    assert default_num_threads() == 1


def test_a_small_network_gets_one_thread_unless_more_are_asked_for() -> None:
    assert Interpreter(_NETWORK).num_threads == 1
    assert Interpreter(_NETWORK, num_threads=2).num_threads == 2


# In place


@pytest.mark.parametrize("content", [build_network(), build_network(is_float=True), change(to_int8)], ids=str)
def test_a_picture_written_in_place_gives_the_scores_of_one_that_is_handed_over(content: bytes) -> None:
    network = Interpreter(content, num_threads=1)
    for seed in range(3):
        picture = noise(seed=seed)
        network.invoke_raw(network.to_tensor(picture))
        expected = network.read_rows()
        np.copyto(network.picture(), 0)
        network.invoke()
        np.copyto(network.picture(), picture)
        network.invoke()
        assert network.read_rows() == expected


def test_a_uint8_picture_is_the_input_tensor_itself() -> None:
    network = Interpreter(build_network(), num_threads=1)
    np.copyto(network.picture(), noise())
    np.testing.assert_array_equal(network._native.get_tensor(network._input_index)[0], noise())


def test_a_picture_that_is_still_held_stops_the_run() -> None:
    network = Interpreter(build_network(), num_threads=1)
    held = network.picture()
    with pytest.raises(RuntimeError, match="reference to internal data"):
        network.invoke()
    del held
    network.invoke()


def test_a_batch_answers_each_picture_as_if_it_were_alone() -> None:
    content = embedded_model_path().read_bytes()
    single, batch = Interpreter(content, num_threads=1), Interpreter(content, num_threads=1, batch_size=3)
    for position in range(3):
        np.copyto(batch.picture(position), noise(96, position))
    batch.invoke()
    assert batch.read_rows() == [single.run(noise(96, position)).tolist() for position in range(3)]


def test_runs_gather_no_memory() -> None:
    network = Interpreter(build_network(), num_threads=1)
    for _ in range(100):
        network.run(noise())
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(2000):
        network.run(noise())
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 20_000  # ten bytes a run; benchmarks/camera/classifier_overhead.py has 100,000 frames


@pytest.mark.parametrize("num_threads", [0, -1, MAX_THREADS + 1])
def test_a_number_of_threads_out_of_range_is_refused(num_threads: int) -> None:
    with pytest.raises(UsageError, match=f"Expected 1 to 256 threads, got {num_threads}"):
        Interpreter(_NETWORK, num_threads=num_threads)


def test_the_reference_kernels_answer_nearly_the_same() -> None:
    content = embedded_model_path().read_bytes()
    fast = Interpreter(content, num_threads=1).run(noise(96))
    reference = Interpreter(content, num_threads=1, is_reference=True).run(noise(96))
    # kernels round by other rules in each of some 60 layers; on noise, where the net is unsure, that adds up
    assert fast == pytest.approx(reference, abs=0.15)


def test_operators_are_counted_without_the_delegates_own_node() -> None:
    expected = {"AVERAGE_POOL_2D": 1, "FULLY_CONNECTED": 1, "RESHAPE": 1, "SOFTMAX": 1}
    assert Interpreter(_NETWORK, num_threads=1).count_operators() == expected
    assert Interpreter(_NETWORK, num_threads=1, is_reference=True).count_operators() == expected


# What it cannot run


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 100, b"\x1c\0\0\0TFL3" + b"\xff" * 100])
def test_what_is_no_network_is_refused_by_its_runtime(content: bytes) -> None:
    with pytest.raises(ModelFileError, match=r"Expected a network that (ai-edge-litert|tflite-runtime) .* runs, got: "):
        Interpreter(content)


def set_version(model: tfl.ModelT) -> None:
    model.operatorCodes[0].version = 99


def test_an_operator_of_a_newer_version_is_refused() -> None:
    with pytest.raises(ModelFileError, match="Expected a network that"):
        Interpreter(change(set_version))


def two_outputs(model: tfl.ModelT) -> None:
    model.subgraphs[0].outputs = [6, 7]


def pooled_output(model: tfl.ModelT) -> None:
    model.subgraphs[0].outputs = [1]


@pytest.mark.parametrize("alter", [two_outputs, pooled_output])
def test_another_signature_is_refused(alter: Callable[[tfl.ModelT], None]) -> None:
    with pytest.raises(ModelFileError, match="Expected one picture in and one row of scores out"):
        Interpreter(change(alter))


def test_an_int16_input_is_refused() -> None:
    def alter(model: tfl.ModelT) -> None:
        """Puts a step from int16 to float in front of a float network."""
        graph = model.subgraphs[0]
        image = tfl.TensorT()
        image.name, image.shape, image.type, image.buffer = "image16", [1, 32, 32, 3], tfl.TensorType.INT16, 0
        image.quantization = tfl.QuantizationParametersT()
        image.quantization.scale, image.quantization.zeroPoint = [1 / 32768], [0]
        graph.tensors.append(image)
        append_operator(model, tfl.BuiltinOperator.DEQUANTIZE, [len(graph.tensors) - 1], [graph.inputs[0]], version=2)
        graph.operators.insert(0, graph.operators.pop())
        graph.inputs = [len(graph.tensors) - 1]

    with pytest.raises(ModelFileError, match="Expected uint8, int8 or float32 input, got int16"):
        Interpreter(change(alter, build_network(is_float=True)))


def test_a_picture_of_another_size_or_type_never_reaches_the_network() -> None:
    network = Interpreter(_NETWORK, num_threads=1)
    with pytest.raises(ValueError, match="Dimension mismatch"):
        network.run(noise(31))
    with pytest.raises(ValueError, match="expected type UINT8"):
        network.run(noise().astype(np.float32))  # type: ignore[arg-type]


def test_without_a_runtime_the_error_names_the_command_that_installs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> object:
        if name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
            raise ImportError(name)
        return import_module(name)

    monkeypatch.setattr(interpreter, "import_module", refuse)
    with pytest.raises(MissingDependencyError, match="Expected the package ai-edge-litert") as caught:
        Interpreter(_NETWORK)
    assert caught.value.hint.startswith("pip install")


def test_nothing_is_printed_when_a_network_is_loaded() -> None:
    code = "from edgegender.runtime import Classifier; Classifier()"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("", "")
