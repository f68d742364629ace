"""Training through a twin in a process of its own: what comes back, and what happens when something goes wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as tfl

from edgegender.conversion import twin_child, twin_process
from edgegender.conversion.twin import NetworkSpec, describe_network
from edgegender.conversion.twin_check import check_fully_integer
from edgegender.conversion.twin_process import (
    CompressedTwin,
    QuantizedTwin,
    train_clustered,
    train_pruned,
    train_quantized,
)
from edgegender.errors import (
    CheckFailedError,
    DataError,
    MissingDependencyError,
    TrainingError,
    UsageError,
    WorkerError,
)
from edgegender.preprocess import to_float
from edgegender.runtime.interpreter import Interpreter, Network
from tests.conversion.twins import SIZE_PX, batches, build_block_network, build_small_cnn, smooth_pictures, with_head

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
if find_spec("tf_keras") is None or find_spec("tensorflow_model_optimization") is None:  # an import would be the fault
    pytest.skip("the [train] extra is not installed", allow_module_level=True)
pytest.importorskip("ai_edge_litert", reason="the reference kernels are LiteRT's")
pytestmark = pytest.mark.tensorflow

NUM_STEPS = 20
SPARSITY = 0.5
NUM_CLUSTERS = 8
PICTURES = smooth_pictures(40, seed=1000)
STEPS_SEEN: list[tuple[int, int, float]] = []


def quantize_block(model: keras.Model) -> QuantizedTwin:
    return train_quantized(model, batches(NUM_STEPS), num_steps=NUM_STEPS, scaling="tf")


def quantize_block_and_watch(model: keras.Model) -> QuantizedTwin:
    """As :func:`quantize_block`, from a generator that has more to give."""

    def watch(step: int, num_steps: int, loss: float) -> None:
        STEPS_SEEN.append((step, num_steps, loss))

    many = batches(NUM_STEPS + 5)
    return train_quantized(model, many, num_steps=NUM_STEPS, scaling="tf", on_step=watch)


def softened_cnn() -> keras.Model:
    """The cnn for numbers to 150 instead of 1, which would drive the scores of random weights to 0 and 1."""
    model = build_small_cnn()
    first = model.get_layer("conv_1")
    first.set_weights([array / 75 for array in first.get_weights()])
    return model


def quantize_cnn(model: keras.Model) -> QuantizedTwin:
    stream = batches(6, scaling="caffe")
    return train_quantized(model, stream, num_steps=6, scaling="caffe", io_type="int8")


def prune(model: keras.Model) -> CompressedTwin:
    stream = batches(2 * NUM_STEPS)
    return train_pruned(model, stream, sparsity=SPARSITY, num_steps=2 * NUM_STEPS, learning_rate=1e-2)


def cluster(model: keras.Model) -> CompressedTwin:
    stream = batches(NUM_STEPS)
    return train_clustered(model, stream, num_clusters=NUM_CLUSTERS, num_steps=NUM_STEPS)


def train_on_huge_numbers(model: keras.Model) -> QuantizedTwin:
    """The second batch is finite, and what a convolution makes of it is not."""

    def stream() -> Iterator[np.ndarray]:
        yield from batches(1)
        yield np.full((4, SIZE_PX, SIZE_PX, 3), 3e38, np.float32)

    return train_quantized(model, stream(), num_steps=2, scaling="tf")


class Impostor:
    """Is described as one network and answers as another."""

    def __init__(self, described: keras.Model, answering: keras.Model) -> None:
        self.described, self.answering = described, answering

    def __call__(self, inputs: np.ndarray, *, training: bool) -> object:
        return self.answering(inputs, training=training)


def train_impostor(model: Impostor) -> QuantizedTwin:
    return train_quantized(model, batches(1), num_steps=1, scaling="tf")


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, Future[object]]]:
    """Each child takes seconds to import TensorFlow: two at a time, once for all tests."""
    patch = pytest.MonkeyPatch()
    plain: Callable[[object], NetworkSpec] = describe_network
    patch.setattr(twin_process, "describe_network", lambda model: plain(getattr(model, "described", model)))
    # Networks are built before: the seed that their weights come from is one for all threads
    jobs = [
        (quantize_block, build_block_network()),
        (quantize_block_and_watch, build_block_network()),
        (prune, build_block_network()),
        (cluster, build_block_network()),
        (quantize_cnn, softened_cnn()),
        (train_on_huge_numbers, with_head(keras.layers.Conv2D(4, 3, name="conv"))),
        (train_impostor, Impostor(build_block_network(), build_small_cnn())),
    ]
    with ThreadPoolExecutor(2) as pool:
        yield {job.__name__: pool.submit(job, model) for job, model in jobs}
    patch.undo()


@pytest.fixture
def quantized(answers: dict[str, Future[QuantizedTwin]]) -> QuantizedTwin:
    return answers["quantize_block"].result()


def test_the_quantized_twin_answers_as_the_float_network(quantized: QuantizedTwin) -> None:
    model = build_block_network()
    network = Interpreter(quantized.content, num_threads=1)
    scores = np.stack([network.run(picture) for picture in PICTURES])
    plain = np.asarray(model(to_float(PICTURES), training=False))
    # The head stretches small differences of eight features over the scores, and with them the rounding of the features
    # to 1/256 of their range: a tenth of the spread was seen. A wrong range, input scale or layer costs all of it
    assert np.abs(scores - plain).mean() < 0.2 * plain[:, 0].std()
    assert plain[:, 0].std() > 0.1  # or any constant would pass


def test_raw_bytes_go_in_and_bytes_come_out(quantized: QuantizedTwin) -> None:
    native = Interpreter(quantized.content, num_threads=1)._native
    (image,), (scores,) = native.get_input_details(), native.get_output_details()
    assert (image["dtype"], scores["dtype"]) == (np.uint8, np.uint8)
    assert (np.float32(image["quantization"][0]), image["quantization"][1]) == (np.float32(1 / 127.5), 127)
    assert scores["quantization"] == (1 / 256, 0)
    assert native.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["scores"]}}


def test_a_depthwise_kernel_has_a_scale_for_each_channel(quantized: QuantizedTwin) -> None:
    tensors = tfl.ModelT.InitFromPackedBuf(quantized.content).subgraphs[0].tensors
    (kernel,) = (tensor for tensor in tensors if list(tensor.shape) == [1, 3, 3, 16])
    assert len(set(kernel.quantization.scale)) == 16


def test_batch_normalization_and_activations_cost_no_operator(quantized: QuantizedTwin) -> None:
    operators = Interpreter(quantized.content, num_threads=1).count_operators()
    assert not {"MUL", "RELU6", "DEQUANTIZE"} & set(operators)
    assert (operators["CONV_2D"], operators["DEPTHWISE_CONV_2D"], operators["ADD"]) == (3, 1, 1)


def test_the_same_network_and_stream_give_the_same_bytes(answers: dict[str, Future[QuantizedTwin]]) -> None:
    first, second = answers["quantize_block"].result(), answers["quantize_block_and_watch"].result()
    assert first.content == second.content
    assert first.losses == second.losses


def test_each_step_is_told(answers: dict[str, Future[QuantizedTwin]]) -> None:
    twin = answers["quantize_block_and_watch"].result()
    assert [(step, NUM_STEPS, loss) for step, loss in enumerate(twin.losses, start=1)] == STEPS_SEEN
    assert len(twin.losses) == NUM_STEPS
    assert twin.peak_memory_bytes > 100e6  # TensorFlow alone takes more


def test_caffe_takes_raw_bytes_and_int8_is_128_lower(answers: dict[str, Future[QuantizedTwin]]) -> None:
    network = Network(answers["quantize_cnn"].result().content, num_threads=1)
    (image,), (scores,) = network._native.get_input_details(), network._native.get_output_details()
    assert (image["dtype"], image["quantization"]) == (np.int8, (1.0, -128))
    assert (scores["dtype"], scores["quantization"]) == (np.int8, (1 / 256, -128))
    raw = [network.infer((picture.astype(np.int16) - 128).astype(np.int8)[np.newaxis])[0][0] for picture in PICTURES]
    answered = (np.stack(raw).astype(np.float64) + 128) / 256
    model = softened_cnn()
    plain, turned = (
        np.asarray(model(to_float(pictures, "caffe"), training=False)) for pictures in (PICTURES, PICTURES[..., ::-1])
    )
    difference = np.abs(answered - plain).mean()
    assert difference < 0.2 * plain[:, 0].std()  # as in the block: .06 was seen
    assert np.abs(turned - plain).mean() > 5 * difference  # and the order of the colours is part of it


def test_half_of_each_kernel_is_zero(answers: dict[str, Future[CompressedTwin]]) -> None:
    twin = answers["prune"].result()
    assert set(twin.sparsity) == {"stem", "expand", "project", "scores"}  # the depthwise kernel is left whole
    assert all(share == SPARSITY for share in twin.sparsity.values())  # each kernel has an even number of weights
    assert all(np.isfinite(array).all() for array in twin.weights)


def test_pruning_answers_closer_than_without_training(answers: dict[str, Future[CompressedTwin]]) -> None:
    twin = answers["prune"].result()
    model = build_block_network()
    inputs = to_float(PICTURES)
    plain = np.asarray(model(inputs, training=False))
    model.set_weights(twin.weights)
    trained = np.asarray(model(inputs, training=False))
    model = build_block_network()
    for name in twin.sparsity:
        kernel, *rest = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([np.where(np.abs(kernel) <= np.median(np.abs(kernel)), 0, kernel), *rest])
    untrained = np.asarray(model(inputs, training=False))
    # .72 was seen after 40 steps, which are few; without any learning it would be about 1
    assert np.abs(trained - plain).mean() < 0.85 * np.abs(untrained - plain).mean()


def test_each_kernel_has_few_distinct_weights(answers: dict[str, Future[CompressedTwin]]) -> None:
    twin = answers["cluster"].result()
    assert set(twin.num_distinct) == {"stem", "expand", "project", "scores"}
    assert all(1 < count <= NUM_CLUSTERS for count in twin.num_distinct.values())
    model = build_block_network()
    plain = np.asarray(model(to_float(PICTURES), training=False))
    model.set_weights(twin.weights)
    # eight values a kernel are coarse; weights in the wrong place would be as far off as the scores spread
    clustered = np.asarray(model(to_float(PICTURES), training=False))
    assert np.abs(clustered - plain).mean() < 0.3 * plain[:, 0].std()


def test_statistics_of_batch_normalization_are_kept(answers: dict[str, Future[CompressedTwin]]) -> None:
    model = build_block_network()
    before = model.get_layer("stem_norm").get_weights()
    model.set_weights(answers["prune"].result().weights)
    gamma, beta, mean, variance = model.get_layer("stem_norm").get_weights()
    np.testing.assert_array_equal([mean, variance], before[2:])
    assert not np.array_equal(gamma, before[0])
    assert not np.array_equal(beta, before[1])


def test_a_loss_that_is_not_finite_ends_training(answers: dict[str, Future[QuantizedTwin]]) -> None:
    with pytest.raises(TrainingError, match="Expected a finite loss, got nan at step 2 of 2"):
        answers["train_on_huge_numbers"].result()


def test_a_twin_that_answers_otherwise_is_refused(answers: dict[str, Future[QuantizedTwin]]) -> None:
    with pytest.raises(CheckFailedError, match="Expected the tf_keras twin to answer as the network, got scores"):
        answers["train_impostor"].result()


def test_the_callers_keras_is_left_alone(quantized: QuantizedTwin) -> None:
    assert quantized.content
    assert not {"tf_keras", "tensorflow_model_optimization", "distutils"} & set(sys.modules)
    assert "TF_USE_LEGACY_KERAS" not in os.environ


def test_the_callers_weights_are_left_alone() -> None:
    model = build_block_network()
    before = [array.copy() for array in model.get_weights()]
    with pytest.raises(DataError):
        train_quantized(model, batches(1, size=1), num_steps=2, scaling="tf")
    for left, right in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_too_few_batches_end_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen

    def remember(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(begin(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(twin_child.subprocess, "Popen", remember)
    with pytest.raises(DataError, match="Expected 2 batches, got 1") as caught:
        train_quantized(build_block_network(), batches(1, size=1), num_steps=2, scaling="tf")
    assert "fewer steps" in caught.value.hint
    assert started[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((2, 8, 8, 3), np.float32), r"of \(inputs, 32, 32, 3\), got float32 \(2, 8, 8, 3\) \(batch 1\)"),
        (np.zeros((2, SIZE_PX, SIZE_PX, 3)), r"got float64 \(2, 32, 32, 3\)"),
        (np.zeros((0, SIZE_PX, SIZE_PX, 3), np.float32), r"got float32 \(0, 32, 32, 3\)"),
        (
            np.full((2, SIZE_PX, SIZE_PX, 3), np.nan, np.float32),
            r"Expected finite inputs, got NaN or infinity \(batch 1",
        ),
    ],
)
def test_a_batch_of_another_kind_is_refused(batch: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_quantized(build_block_network(), [batch], num_steps=1, scaling="tf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scaling": "torch"}, "Expected a scaling of tf, unit, caffe, raw, got 'torch'"),
        ({"io_type": "float32"}, "Expected an input and output of uint8 or int8, got 'float32'"),
        ({"num_steps": 0}, "Expected at least one step, got 0"),
        ({"learning_rate": 0.0}, "Expected a learning rate between 0 and 1, got 0.0"),
        ({"learning_rate": float("nan")}, "Expected a learning rate between 0 and 1, got nan"),
    ],
)
def test_an_argument_out_of_its_range_is_refused(arguments: dict[str, object], message: str) -> None:
    options = {"num_steps": 1, "scaling": "tf", **arguments}
    with pytest.raises(UsageError, match=message):
        train_quantized(build_block_network(), batches(1), **options)


@pytest.mark.parametrize("sparsity", [0.0, 1.0, float("nan")])
def test_a_sparsity_out_of_its_range_is_refused(sparsity: float) -> None:
    with pytest.raises(UsageError, match="Expected a sparsity between 0 and 1"):
        train_pruned(build_block_network(), batches(1), sparsity=sparsity, num_steps=1)


@pytest.mark.parametrize("count", [1, 257])
def test_a_number_of_clusters_out_of_its_range_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"Expected 2 to 256 clusters, got {count}"):
        train_clustered(build_block_network(), batches(1), num_clusters=count, num_steps=1)


def test_a_missing_package_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_process, "find_spec", lambda name: None if "optimization" in name else object())
    monkeypatch.setattr(twin_process, "Child", None)
    with pytest.raises(MissingDependencyError, match="package tensorflow-model-optimization to be installed"):
        train_quantized(build_block_network(), batches(1), num_steps=1, scaling="tf")


def killed_at_start(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Has each child killed by a signal as soon as it has been started."""

    class _Killed(twin_child.Child):
        def __init__(self) -> None:
            super().__init__()
            self._process.send_signal(number)
            self._process.wait()

    monkeypatch.setattr(twin_process, "Child", _Killed)


@pytest.mark.parametrize(
    ("number", "hint"), [(signal.SIGKILL, "too much memory"), (signal.SIGTERM, "TensorFlow crashed")]
)
def test_a_child_that_is_killed_is_an_error(monkeypatch: pytest.MonkeyPatch, number: int, hint: str) -> None:
    killed_at_start(monkeypatch, number)
    name = signal.Signals(number).name
    with pytest.raises(WorkerError, match=f"Expected the training process to finish, got {name}") as caught:
        train_quantized(build_block_network(), batches(1), num_steps=1, scaling="tf")
    assert hint in caught.value.hint


def test_a_child_that_cannot_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(twin_child.subprocess, "Popen", fail)
    with pytest.raises(WorkerError, match="Expected to start a training process, got Resource temporarily"):
        twin_child.Child()


def test_a_child_that_ends_without_a_word_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_child, "_BOOT", "import sys; sys.exit('no such module')")
    with pytest.raises(WorkerError, match="Expected the training process to finish, got: no such module"):
        train_quantized(build_block_network(), batches(1), num_steps=1, scaling="tf")


def test_ctrl_c_ends_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[twin_child.Child] = []

    class _Kept(twin_child.Child):
        def __init__(self) -> None:
            super().__init__()
            children.append(self)

    def stream() -> Iterator[np.ndarray]:
        yield from batches(1, size=1)
        raise KeyboardInterrupt

    monkeypatch.setattr(twin_process, "Child", _Kept)
    with pytest.raises(KeyboardInterrupt):
        train_quantized(build_block_network(), stream(), num_steps=2, scaling="tf")
    assert children[0]._process.returncode == -signal.SIGKILL


def test_an_orphan_ends_by_itself() -> None:
    lifeline, held = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", twin_child._BOOT, str(lifeline), "\n".join(sys.path)],
        stdin=subprocess.PIPE,
        pass_fds=(lifeline,),
    )
    os.close(lifeline)
    threading.Timer(0.2, os.close, (held,)).start()
    begin = time.monotonic()
    assert process.wait(timeout=60) == 1
    assert time.monotonic() - begin < 60
    assert process.stdin is not None
    process.stdin.close()


def test_a_float_network_is_not_fully_integer() -> None:
    model = tfl.ModelT()
    graph, tensor = tfl.SubGraphT(), tfl.TensorT()
    tensor.name, tensor.type = b"middle", tfl.TensorType.FLOAT32
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    model.operatorCodes, model.subgraphs = [], [graph]
    with pytest.raises(CheckFailedError, match=r"Expected whole numbers only, got FLOAT32 \(tensor middle\)"):
        check_fully_integer(pack(model), io_type="uint8")
    tensor.type = tfl.TensorType.INT8
    check_fully_integer(pack(model), io_type="int8")
    with pytest.raises(CheckFailedError, match="Expected an input and output of uint8, got int8"):
        check_fully_integer(pack(model), io_type="uint8")
    code = tfl.OperatorCodeT()
    code.builtinCode, code.customCode = tfl.BuiltinOperator.CUSTOM, b"FlexAddV2"
    model.operatorCodes = [code]
    with pytest.raises(CheckFailedError, match="Expected built-in operators only, got the operator FlexAddV2"):
        check_fully_integer(pack(model), io_type="int8")


def pack(model: tfl.ModelT) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_weights_of_another_shape_are_refused() -> None:
    message = ({"weights": {"scores": 1}, "treated": {}, "peak_memory_bytes": 1}, [np.zeros(3, np.float32)], b"")
    with pytest.raises(CheckFailedError, match="in its order, got 1 others"):
        twin_process._compressed(build_small_cnn(), message, ())
