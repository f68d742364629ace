"""The interpreter: the network's own numbers in and out, and one error class for what it cannot run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module

import flatbuffers
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
from tests.tiny_model import build_network, grey_picture


def noise(size_px: int = 32, seed: int = 0) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), np.uint8)


def change(alter: Callable[[tfl.ModelT], object]) -> bytes:
    """Returns a tiny network with something altered, packed anew."""
    model = tfl.ModelT.InitFromPackedBuf(build_network())
    alter(model)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


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


# Threads and kernels


def test_the_number_of_threads_does_not_change_the_answer() -> None:
    content = embedded_model_path().read_bytes()
    answers = [Interpreter(content, num_threads=count).run(noise(96)).tobytes() for count in (1, 2, 4)]
    assert len(set(answers)) == 1


def test_without_a_number_the_cores_decide_four_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Interpreter(_NETWORK).num_threads == min(4, available_cores())
    monkeypatch.setattr(interpreter, "available_cores", lambda: 64)
    assert default_num_threads() == 4
    monkeypatch.setattr(interpreter, "available_cores", lambda: 1)
    assert default_num_threads() == 1


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
    with pytest.raises(ModelFileError, match=r"Expected a network that ai-edge-litert .* runs, got: "):
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


def test_an_input_of_another_type_is_refused() -> None:
    def alter(model: tfl.ModelT) -> None:
        for tensor in model.subgraphs[0].tensors:
            if tensor.type == tfl.TensorType.UINT8:
                tensor.type = tfl.TensorType.INT8
                tensor.quantization.zeroPoint = [tensor.quantization.zeroPoint[0] - 128]

    with pytest.raises(ModelFileError, match="Expected uint8 or float32 input, got int8"):
        Interpreter(change(alter))


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
