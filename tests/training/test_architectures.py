"""Networks from code: their shape is the papers', their weights come from a path, a server, or nowhere."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import DownloadError, MissingDependencyError, UsageError
from edgegender.training import architectures
from edgegender.training.architectures import build_model
from edgegender.training.recipes import Recipe, load_recipe

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

START_WEIGHTS = Path(__file__).parents[3] / "shared" / "models" / "mobilenet_v2_1.0_imagenet_no_top.weights.h5"
SMALL = ("architecture=mobilenetv2", "alpha=0.35", "start_weights=none", "input_size_px=48")


def edge(*overrides: str) -> Recipe:
    return load_recipe("edge", ["start_weights=none", *overrides])


def imagenet(*overrides: str) -> Recipe:
    return load_recipe("edge", ["start_weights=imagenet", "alpha=0.35", *overrides])


# Shapes


@pytest.mark.parametrize("num_labels", [2, 3, 7])
def test_mobilenetv2_has_the_layers_and_parameters_of_the_paper(num_labels: int) -> None:
    model = build_model(edge(), num_labels)
    # Keras: MobileNetV2 1.0 without top has 154 layers and 2,257,984 parameters; then come pool, dropout and dense
    assert len(model.layers) == 154 + 3
    assert model.count_params() == 2_257_984 + 1280 * num_labels + num_labels
    assert model.input_shape == (None, 96, 96, 3)
    assert model.output_shape == (None, num_labels)
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 34_112


def test_scores_sum_to_one_from_inputs_between_minus_one_and_one() -> None:
    model = build_model(edge(*SMALL), 2)
    inputs = np.random.default_rng(0).uniform(-1, 1, (3, 48, 48, 3)).astype(np.float32)
    scores = np.asarray(model(inputs, training=False))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)  # float32 softmax


def test_batch_normalization_follows_the_recipe_and_not_keras_slow_default() -> None:
    model = build_model(edge(*SMALL, "batch_norm_momentum=0.7"), 2)
    momenta = {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert momenta == {0.7}


def test_the_same_seed_gives_the_same_start_weights() -> None:
    def weights(seed: int) -> bytes:
        keras.utils.set_random_seed(seed)
        return b"".join(array.tobytes() for array in build_model(edge(*SMALL), 2).get_weights())

    assert weights(1) == weights(1) != weights(2)


def test_the_cnn_has_three_blocks_whose_width_follows_alpha() -> None:
    model = build_model(load_recipe("demo", ["architecture=cnn", "alpha=1", "input_size_px=64"]), 2)
    filters = [layer.filters for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert filters == [32, 64, 128]
    assert model.output_shape == (None, 2)
    # 3·3·3·32+32, 3·3·32·64+64, 3·3·64·128+128; then 8·8·128·128+128 and 128·2+2
    assert model.count_params() == 896 + 18_496 + 73_856 + 1_048_704 + 258


def test_without_keras_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingDependencyError, match="Expected the package keras with tensorflow") as caught:
        build_model(edge(*SMALL), 2)
    assert caught.value.hint == "pip install 'edgegender[train]'"


# Start weights from a path


def test_imagenet_weights_from_a_path_replace_the_random_ones() -> None:
    if not START_WEIGHTS.is_file():
        pytest.skip(f"no start weights at {START_WEIGHTS}")
    loaded = build_model(edge(), 2, start_weights=START_WEIGHTS)
    again = build_model(edge(), 2, start_weights=START_WEIGHTS)
    first = loaded.get_layer("Conv1").get_weights()[0]
    np.testing.assert_array_equal(first, again.get_layer("Conv1").get_weights()[0])
    # trained filters answer edges: each of the 32 differs from the next far more than random ones would
    random = build_model(edge(), 2).get_layer("Conv1").get_weights()[0]
    assert not np.allclose(first, random)


def test_start_weights_fit_at_any_input_size() -> None:
    if not START_WEIGHTS.is_file():
        pytest.skip(f"no start weights at {START_WEIGHTS}")
    assert build_model(edge("input_size_px=64"), 2, start_weights=START_WEIGHTS).input_shape == (None, 64, 64, 3)


def test_weights_that_were_saved_are_the_weights_that_are_loaded(tmp_path: Path) -> None:
    base = keras.applications.MobileNetV2((48, 48, 3), alpha=0.35, include_top=False, weights=None)
    base.save_weights(tmp_path / "small.weights.h5")
    model = build_model(edge(*SMALL), 2, start_weights=tmp_path / "small.weights.h5")
    for ours, theirs in zip(model.layers, base.layers, strict=False):  # ours has three layers more
        for loaded, saved in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(loaded, saved)


def test_a_missing_weights_file_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a weights file, got nothing at") as caught:
        build_model(edge(*SMALL), 2, start_weights=tmp_path / "none.weights.h5")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["text.weights.h5", "text.h5", "text.keras", "text.txt", "empty.weights.h5"])
def test_a_file_that_holds_no_weights_is_a_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("" if name.startswith("empty") else "no weights")
    with pytest.raises(UsageError, match=r"Expected weights of MobileNetV2 0\.35 without top, got another file"):
        build_model(edge(*SMALL), 2, start_weights=tmp_path / name)


def test_weights_of_another_width_are_a_wrong_usage(tmp_path: Path) -> None:
    base = keras.applications.MobileNetV2((48, 48, 3), alpha=0.5, include_top=False, weights=None)
    base.save_weights(tmp_path / "half.weights.h5")
    with pytest.raises(UsageError, match="got another file") as caught:
        build_model(edge(*SMALL), 2, start_weights=tmp_path / "half.weights.h5")
    assert "same network and width" in caught.value.hint


def test_the_cnn_takes_no_start_weights(tmp_path: Path) -> None:
    recipe = load_recipe("demo", ["architecture=cnn"])
    with pytest.raises(UsageError, match="Expected start_weights=none"):
        build_model(recipe, 2, start_weights=tmp_path / "any.weights.h5")
    with pytest.raises(UsageError, match="Expected start_weights=none"):
        build_model(load_recipe("demo", ["architecture=cnn", "start_weights=imagenet"]), 2)


# Start weights by download


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler] | partial[SimpleHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class QuietFiles(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Passed over."""


class CutShort(BaseHTTPRequestHandler):
    """Promises a megabyte and hangs up after a few bytes."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *_: object) -> None:
        """Passed over."""


class Nonsense(CutShort):
    """Speaks no HTTP."""

    def do_GET(self) -> None:
        self.wfile.write(b"what?\n")


@pytest.fixture
def keras_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from keras.src.utils import file_utils

    folder = tmp_path / "keras-home"
    folder.mkdir()
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(folder))
    return folder / "models"


def point_keras_at(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    from keras.src.applications import mobilenet_v2

    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", url)


def write_served_weights(folder: Path, size_px: int) -> keras.Model:
    """Writes random weights in the format, and under the name, of Keras' own downloads."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    base = keras.applications.MobileNetV2((size_px, size_px, 3), alpha=0.35, include_top=False, weights=None)
    folder.mkdir(exist_ok=True)
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{size_px}_no_top.h5"
    with h5py.File(folder / name, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, base)
    return base


@pytest.mark.parametrize("sizes_px", [(96, 96), (48, 224)], ids=["its own size", "the default's size"])
def test_imagenet_weights_are_downloaded_once_and_without_a_word(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keras_cache: Path,
    capsys: pytest.CaptureFixture[str],
    sizes_px: tuple[int, int],
) -> None:
    size_px, served_px = sizes_px
    base = write_served_weights(tmp_path / "served", served_px)
    with serving(partial(QuietFiles, directory=str(tmp_path / "served"))) as url:
        point_keras_at(monkeypatch, url)
        model = build_model(imagenet(f"input_size_px={size_px}"), 2)
    np.testing.assert_array_equal(model.get_layer("Conv1").get_weights()[0], base.get_layer("Conv1").get_weights()[0])
    again = build_model(imagenet(f"input_size_px={size_px}"), 2)  # the server is gone: from the cache
    np.testing.assert_array_equal(again.get_layer("Conv1").get_weights()[0], base.get_layer("Conv1").get_weights()[0])
    assert len(list(keras_cache.iterdir())) == 1
    assert capsys.readouterr().out == ""  # standard output is for results


def test_a_server_that_does_not_have_the_file_is_a_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras_cache: Path
) -> None:
    with serving(partial(QuietFiles, directory=str(tmp_path))) as url:
        point_keras_at(monkeypatch, url)
        with pytest.raises(DownloadError, match=r"Expected to download ImageNet weights, got: .*404") as caught:
            build_model(imagenet(), 2)
    assert "--weights PATH" in caught.value.hint
    assert not list(keras_cache.iterdir())


def test_a_server_that_is_not_there_is_a_failed_download(monkeypatch: pytest.MonkeyPatch, keras_cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_keras_at(monkeypatch, f"http://127.0.0.1:{port}/")
    with pytest.raises(DownloadError, match=r"Expected to download ImageNet weights, got: .*refused") as caught:
        build_model(imagenet(), 2)
    assert "--set start_weights=none" in caught.value.hint
    assert not list(keras_cache.iterdir())


@pytest.mark.parametrize("handler", [CutShort, Nonsense])
def test_a_server_that_hangs_up_is_a_failed_download(
    monkeypatch: pytest.MonkeyPatch, keras_cache: Path, handler: type[BaseHTTPRequestHandler]
) -> None:
    with serving(handler) as url:
        point_keras_at(monkeypatch, url)
        with pytest.raises(DownloadError, match="Expected to download ImageNet weights, got: "):
            build_model(imagenet(), 2)
    assert not list(keras_cache.iterdir())


def test_a_damaged_download_in_the_cache_is_named(monkeypatch: pytest.MonkeyPatch, keras_cache: Path) -> None:
    keras_cache.mkdir()
    (keras_cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5").write_text("cut short")
    point_keras_at(monkeypatch, "http://127.0.0.1:9/")
    with pytest.raises(DownloadError, match="Expected to download ImageNet weights, got: ") as caught:
        build_model(imagenet(), 2)
    assert "keras/models: delete it" in caught.value.hint


def test_a_width_that_imagenet_weights_do_not_exist_for_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"Expected a width of 0\.35, 0\.5, 0\.75, 1\.0, 1\.3, 1\.4") as caught:
        build_model(imagenet("alpha=0.6"), 2)
    assert "start_weights=none" in caught.value.hint


def test_a_fault_of_ours_is_not_told_as_a_failed_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(architectures, "_mobilenetv2", fail)
    with pytest.raises(ZeroDivisionError, match="a slip"):
        build_model(imagenet(), 2)


def test_nothing_is_downloaded_for_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    point_keras_at(monkeypatch, "http://127.0.0.1:9/")
    assert build_model(edge(*SMALL), 2).name == "mobilenetv2"
