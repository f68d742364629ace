"""Start weights come from a path, an earlier run or a server, whole or with an error that names network and file."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import DownloadError, UsageError
from edgegender.training import architectures
from edgegender.training.architectures import build_model
from edgegender.training.recipes import Recipe, load_recipe
from edgegender.training.start_weights import WEIGHTS_NAME, LoadedPart

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

START_WEIGHTS = Path(__file__).parents[3] / "shared" / "models" / "mobilenet_v2_1.0_imagenet_no_top.weights.h5"
SMALL = ("architecture=mobilenetv2", "alpha=0.35", "start_weights=none", "input_size_px=48")
SMALL_CNN = ("architecture=cnn", "alpha=0.25", "start_weights=none", "input_size_px=32", "hidden_units=8")


def edge(*overrides: str) -> Recipe:
    return load_recipe("edge", ["start_weights=none", *overrides])


def imagenet(*overrides: str) -> Recipe:
    return load_recipe("edge", ["start_weights=imagenet", "alpha=0.35", *overrides])


def small_base(alpha: float = 0.35) -> keras.Model:
    return keras.applications.MobileNetV2((48, 48, 3), alpha=alpha, include_top=False, weights=None)


def save_legacy(model: keras.Model, file: Path) -> None:
    """Writes weights in the format of keras.applications' downloads."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(file, "w") as opened:
        legacy_h5_format.save_weights_to_hdf5_group(opened, model)


def assert_same_base(ours: keras.Model, theirs: keras.Model) -> None:
    for ours_layer, theirs_layer in zip(ours.layers, theirs.layers, strict=False):  # ours has a head besides
        for loaded, saved in zip(ours_layer.get_weights(), theirs_layer.get_weights(), strict=True):
            np.testing.assert_array_equal(loaded, saved)


# From a file


def test_imagenet_weights_from_a_path_replace_the_random_ones() -> None:
    if not START_WEIGHTS.is_file():
        pytest.skip(f"no start weights at {START_WEIGHTS}")
    loaded = build_model(edge(), 2, start_weights=START_WEIGHTS)
    again = build_model(edge("input_size_px=64"), 2, start_weights=START_WEIGHTS)  # they fit at any size
    first = loaded.get_layer("Conv1").get_weights()[0]
    np.testing.assert_array_equal(first, again.get_layer("Conv1").get_weights()[0])
    assert not np.allclose(first, build_model(edge(), 2).get_layer("Conv1").get_weights()[0])


@pytest.mark.parametrize("name", ["small.weights.h5", "small.keras", "small.h5", "small.hdf5"])
def test_weights_that_were_saved_are_the_weights_that_are_loaded(tmp_path: Path, name: str) -> None:
    base, file = small_base(), tmp_path / name
    if name.endswith(".weights.h5"):
        base.save_weights(file)
    elif name.endswith(".keras"):
        base.save(file)
    else:
        save_legacy(base, file)
    parts: list[LoadedPart] = []
    model = build_model(edge(*SMALL), 2, start_weights=file, on_start_weights=parts.append)
    assert_same_base(model, base)
    assert parts == ["base"]


def test_a_whole_saved_classifier_gives_its_base(tmp_path: Path) -> None:
    trained = build_model(edge(*SMALL, "hidden_units=16"), 5)
    trained.save(tmp_path / "other.keras")
    model = build_model(edge(*SMALL), 2, start_weights=tmp_path / "other.keras")
    assert_same_base(keras.Model(model.input, model.get_layer("out_relu").output), trained)


def test_a_missing_weights_file_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a weights file, got nothing at") as caught:
        build_model(edge(*SMALL), 2, start_weights=tmp_path / "none.weights.h5")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["text.weights.h5", "text.h5", "empty.weights.h5"])
def test_a_file_that_holds_no_weights_is_a_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("" if name.startswith("empty") else "no weights")
    with pytest.raises(UsageError, match="Expected a weights file, got a damaged one or none") as caught:
        build_model(edge(*SMALL), 2, start_weights=tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("name", ["w.txt", "w.npz", "w.pkl", "w.weights.json", "w.pb"])
def test_another_kind_of_file_is_a_wrong_usage(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(UsageError, match=r"Expected a weights file that ends in \.weights\.h5, ") as caught:
        build_model(edge(*SMALL), 2, start_weights=tmp_path / name)
    assert "save_weights" in caught.value.hint


@pytest.mark.parametrize("save", [lambda base, file: base.save_weights(file), save_legacy], ids=["keras 3", "legacy"])
def test_weights_of_another_width_are_a_wrong_usage(tmp_path: Path, save) -> None:
    file = tmp_path / ("half.h5" if save is save_legacy else "half.weights.h5")
    save(small_base(alpha=0.5), file)
    with pytest.raises(UsageError, match=r"Expected weights of mobilenetv2 0\.35, got others \(.*half") as caught:
        build_model(edge(*SMALL), 2, start_weights=file)
    assert "same network and width" in caught.value.hint


def test_an_hdf5_file_of_something_else_is_a_wrong_usage(tmp_path: Path) -> None:
    import h5py

    for name in ("other.weights.h5", "other.h5"):
        with h5py.File(tmp_path / name, "w") as opened:
            opened["temperatures"] = np.zeros(3)
        with pytest.raises(UsageError, match=r"Expected weights of mobilenetv2 0\.35, got others"):
            build_model(edge(*SMALL), 2, start_weights=tmp_path / name)


def test_the_cnn_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected a run folder as start weights of the cnn"):
        build_model(edge(*SMALL_CNN), 2, start_weights=tmp_path / "any.weights.h5")


# From a run folder


def save_run(folder: Path, recipe: Recipe, num_labels: int = 2) -> keras.Model:
    folder.mkdir()
    model = build_model(recipe, num_labels)
    model.save_weights(folder / WEIGHTS_NAME)
    return model


@pytest.mark.parametrize("shape", [SMALL, SMALL_CNN], ids=["mobilenetv2", "cnn"])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_a_run_with_the_same_head_fills_the_whole_network(tmp_path: Path, shape: tuple[str, ...], output: str) -> None:
    recipe = edge(*shape, f"output={output}")
    earlier = save_run(tmp_path / "run", recipe)
    parts: list[LoadedPart] = []
    model = build_model(recipe, 2, start_weights=tmp_path / "run", on_start_weights=parts.append)
    for loaded, saved in zip(model.get_weights(), earlier.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)
    assert parts == ["whole network"]


@pytest.mark.parametrize(
    ("changes", "num_labels"),
    [((), 3), (("hidden_units=16",), 2), (("hidden_units=0",), 2), (("input_size_px=64",), 2)],
    ids=["labels", "another hidden layer", "no hidden layer", "size"],
)
def test_a_run_with_another_head_fills_the_base_and_leaves_the_head_as_it_was(
    tmp_path: Path, changes: tuple[str, ...], num_labels: int
) -> None:
    earlier = save_run(tmp_path / "run", edge(*SMALL_CNN))
    recipe = edge(*SMALL_CNN, *changes)
    parts: list[LoadedPart] = []
    keras.utils.set_random_seed(5)
    untouched = build_model(recipe, num_labels)
    keras.utils.set_random_seed(5)
    model = build_model(recipe, num_labels, start_weights=tmp_path / "run", on_start_weights=parts.append)
    assert parts == ["base"]
    for name in ("conv_1", "conv_2", "conv_3"):
        for loaded, saved in zip(model.get_layer(name).get_weights(), earlier.get_layer(name).get_weights()):  # noqa: B905
            np.testing.assert_array_equal(loaded, saved)
    for name in ("scores", *(["hidden"] if recipe.hidden_units else [])):
        np.testing.assert_array_equal(
            model.get_layer(name).get_weights()[0], untouched.get_layer(name).get_weights()[0]
        )


def test_a_run_of_another_architecture_is_a_wrong_usage(tmp_path: Path) -> None:
    save_run(tmp_path / "run", edge(*SMALL_CNN))
    with pytest.raises(UsageError, match=r"Expected weights of mobilenetv2 0\.35, got others \(.*best\.weights\.h5"):
        build_model(edge(*SMALL), 2, start_weights=tmp_path / "run")


def test_a_folder_that_is_no_run_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected a run folder with best\.weights\.h5, got none in") as caught:
        build_model(edge(*SMALL_CNN), 2, start_weights=tmp_path)
    assert "edgegender train" in caught.value.hint


# By download


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
    from keras.src.applications import inception_v3, mobilenet_v2, resnet

    monkeypatch.setattr(mobilenet_v2, "BASE_WEIGHT_PATH", url)
    monkeypatch.setattr(resnet, "BASE_WEIGHTS_PATH", url)
    monkeypatch.setattr(inception_v3, "WEIGHTS_PATH_NO_TOP", f"{url}inception.h5")


@pytest.mark.parametrize("sizes_px", [(96, 96), (48, 224)], ids=["its own size", "the default's size"])
def test_mobilenetv2s_weights_are_downloaded_once_and_without_a_word(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keras_cache: Path,
    capsys: pytest.CaptureFixture[str],
    sizes_px: tuple[int, int],
) -> None:
    size_px, served_px = sizes_px
    base = small_base()
    (tmp_path / "served").mkdir()
    name = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_{served_px}_no_top.h5"
    save_legacy(base, tmp_path / "served" / name)
    with serving(partial(QuietFiles, directory=str(tmp_path / "served"))) as url:
        point_keras_at(monkeypatch, url)
        model = build_model(imagenet(f"input_size_px={size_px}"), 2)
    assert_same_base(model, base)
    again = build_model(imagenet(f"input_size_px={size_px}"), 2)  # the server is gone: from the cache
    assert_same_base(again, base)
    assert len(list(keras_cache.iterdir())) == 1
    assert capsys.readouterr().out == ""  # standard output is for results


def test_resnet50s_weights_are_downloaded_and_held_against_their_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras_cache: Path
) -> None:
    from keras.src.applications import resnet

    base = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3))
    file = tmp_path / "served" / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    file.parent.mkdir()
    save_legacy(base, file)
    recipe = imagenet("architecture=resnet50", "input_size_px=32")
    with serving(partial(QuietFiles, directory=str(file.parent))) as url:
        point_keras_at(monkeypatch, url)
        with pytest.raises(DownloadError, match="Expected to download ImageNet weights of resnet50, got: "):
            build_model(recipe, 2)  # these are not Keras's own
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(resnet.WEIGHTS_HASHES, "resnet50", ("", digest))
        assert_same_base(build_model(recipe, 2), base)
    assert len(list(keras_cache.iterdir())) == 1


@pytest.mark.parametrize("architecture", ["mobilenetv2", "resnet50", "inceptionv3"])
def test_a_server_that_does_not_have_the_file_is_a_failed_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keras_cache: Path, architecture: str
) -> None:
    with serving(partial(QuietFiles, directory=str(tmp_path))) as url:
        point_keras_at(monkeypatch, url)
        with pytest.raises(DownloadError, match=f"ImageNet weights of {architecture}.*, got: .*404") as caught:
            build_model(imagenet(f"architecture={architecture}"), 2)
    assert "--weights PATH" in caught.value.hint
    assert not list(keras_cache.iterdir())


def test_a_server_that_is_not_there_is_a_failed_download(monkeypatch: pytest.MonkeyPatch, keras_cache: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_keras_at(monkeypatch, f"http://127.0.0.1:{port}/")
    with pytest.raises(DownloadError, match=r"Expected to download ImageNet weights .*, got: .*refused") as caught:
        build_model(imagenet(), 2)
    assert "--set start_weights=none" in caught.value.hint
    assert not list(keras_cache.iterdir())


@pytest.mark.parametrize("handler", [CutShort, Nonsense])
def test_a_server_that_hangs_up_is_a_failed_download(
    monkeypatch: pytest.MonkeyPatch, keras_cache: Path, handler: type[BaseHTTPRequestHandler]
) -> None:
    with serving(handler) as url:
        point_keras_at(monkeypatch, url)
        with pytest.raises(DownloadError, match=r"Expected to download ImageNet weights of mobilenetv2 0\.35, got: "):
            build_model(imagenet(), 2)
    assert not list(keras_cache.iterdir())


def test_a_damaged_download_in_the_cache_is_named(monkeypatch: pytest.MonkeyPatch, keras_cache: Path) -> None:
    keras_cache.mkdir()
    (keras_cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96_no_top.h5").write_text("cut short")
    point_keras_at(monkeypatch, "http://127.0.0.1:9/")
    with pytest.raises(DownloadError, match="Expected to download ImageNet weights") as caught:
        build_model(imagenet(), 2)
    assert "keras/models: delete it" in caught.value.hint


def test_a_width_that_imagenet_weights_do_not_exist_for_is_a_wrong_usage() -> None:
    with pytest.raises(UsageError, match=r"Expected a width of 0\.35, 0\.5, 0\.75, 1\.0, 1\.3, 1\.4") as caught:
        build_model(imagenet("alpha=0.6"), 2)
    assert "start_weights=none" in caught.value.hint


def test_a_fault_of_ours_is_not_told_as_a_failed_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setitem(architectures._BASES, "mobilenetv2", fail)
    with pytest.raises(ZeroDivisionError, match="a slip"):
        build_model(imagenet(), 2)


def test_nothing_is_downloaded_for_random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    point_keras_at(monkeypatch, "http://127.0.0.1:9/")
    assert build_model(edge(*SMALL), 2).name == "mobilenetv2"
