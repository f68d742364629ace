"""A hostile weights file executes nothing and reads nothing, whether it comes as --weights or stands in a run folder.

Each crafted file is one that does its harm where a file is trusted: that is shown first.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgegender import files
from edgegender.errors import UsageError
from edgegender.training.architectures import build_model
from edgegender.training.recipes import Recipe, load_recipe
from edgegender.training.run_folder import RUN_NAME
from edgegender.training.start_weights import WEIGHTS_NAME
from edgegender.training.teacher import load_teacher
from edgegender.training.weights_file import load_weights_into
from tests.trained_run import TrainedRun

keras = pytest.importorskip("keras", reason="the [train] extra is not installed")
h5py = pytest.importorskip("h5py", reason="the [train] extra is not installed")
pytestmark = pytest.mark.tensorflow

MARKER, SECRET = "it-ran", "secret.bin"
RECIPE = load_recipe("edge", ["start_weights=none", "alpha=0.35", "input_size_px=32"])
CNN = load_recipe("edge", ["architecture=cnn", "start_weights=none", "alpha=0.25", "input_size_px=32"])


@cache
def network(recipe: Recipe) -> keras.Model:
    return build_model(recipe, 2)


def hostile_model(folder: Path, recipe: Recipe) -> keras.Model:
    """A network with right weights, and a Lambda in front of it whose bytecode touches the marker file."""
    # bytecode is all that a file holds of a function: the path has to be a constant in it
    function = eval(f"lambda x: __import__('pathlib').Path({str(folder / MARKER)!r}).touch() or x")  # noqa: S307
    image = keras.Input(network(recipe).input_shape[1:])
    return keras.Model(image, network(recipe)(keras.layers.Lambda(function)(image)))


def write_lambda_keras(folder: Path, recipe: Recipe) -> Path:
    path = folder / "lambda.keras"
    hostile_model(folder, recipe).save(path)
    (folder / MARKER).unlink()  # building it here ran it
    return path


def write_lambda_h5(folder: Path, recipe: Recipe) -> Path:
    path = folder / "lambda.h5"
    hostile_model(folder, recipe).save(path)
    (folder / MARKER).unlink()
    return path


def write_importing_keras(folder: Path, recipe: Recipe) -> Path:
    """As CVE-2025-1550: the config names a module and a function of it, with arguments."""
    path = folder / "importing.keras"
    with zipfile.ZipFile(write_lambda_keras(folder, recipe)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Lambda")
    call = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"}
    layer["config"] = {**layer["config"], "function": call, "arguments": {"path": str(folder / MARKER)}}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _write_stealing(folder: Path, recipe: Recipe, put: Callable[[h5py.Group, np.ndarray], None]) -> Path:
    path = folder / "stealing.weights.h5"
    network(recipe).save_weights(path)
    with h5py.File(path, "r+") as file:
        group = file["layers/conv2d/vars"]
        kernel = np.full(group["0"].shape, 7, np.float32)
        del group["0"]
        put(group, kernel)
    return path


def write_external_link(folder: Path, recipe: Recipe) -> Path:
    def put(group: h5py.Group, kernel: np.ndarray) -> None:
        with h5py.File(folder / "secret.h5", "w") as secret:
            secret["key"] = kernel
        group["0"] = h5py.ExternalLink(folder / "secret.h5", "/key")

    return _write_stealing(folder, recipe, put)


def write_external_storage(folder: Path, recipe: Recipe) -> Path:
    def put(group: h5py.Group, kernel: np.ndarray) -> None:
        (folder / SECRET).write_bytes(kernel.tobytes())
        group.create_dataset("0", kernel.shape, "f4", external=[(str(folder / SECRET), 0, kernel.nbytes)])

    return _write_stealing(folder, recipe, put)


def write_virtual(folder: Path, recipe: Recipe) -> Path:
    def put(group: h5py.Group, kernel: np.ndarray) -> None:
        with h5py.File(folder / "secret.h5", "w") as secret:
            secret["key"] = kernel
        layout = h5py.VirtualLayout(kernel.shape, "f4")
        layout[...] = h5py.VirtualSource(folder / "secret.h5", "key", kernel.shape)
        group.create_virtual_dataset("0", layout)

    return _write_stealing(folder, recipe, put)


Write = Callable[[Path, Recipe], Path]
RUNS_CODE: tuple[Write, ...] = (write_lambda_keras, write_lambda_h5)
STEALS: tuple[Write, ...] = (write_external_link, write_external_storage, write_virtual)
ALL: tuple[Write, ...] = (*RUNS_CODE, write_importing_keras, *STEALS)


# That they are dangerous


@pytest.mark.parametrize("write", RUNS_CODE)
def test_keras_runs_the_code_of_a_file_that_it_is_told_to_trust(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, RECIPE)
    assert not (tmp_path / MARKER).exists()
    keras.models.load_model(path, safe_mode=False, compile=False)
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("write", STEALS)
def test_hdf5_reads_the_other_file(tmp_path: Path, write: Write) -> None:
    with h5py.File(write(tmp_path, RECIPE), "r") as file:
        assert set(np.ravel(file["layers/conv2d/vars/0"])) == {7}


# That nothing comes of it


def holds_secret(model: keras.Model) -> bool:
    return any(np.all(array == 7) for array in model.get_weights())


@pytest.mark.parametrize("write", ALL)
def test_a_hostile_file_given_as_weights_does_nothing(tmp_path: Path, write: Write) -> None:
    path = write(tmp_path, RECIPE)
    with pytest.raises(UsageError, match=r"Expected .*weights") as caught:
        build_model(RECIPE, 2, start_weights=path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("write", ALL)
def test_a_hostile_file_in_a_run_folder_does_nothing(tmp_path: Path, write: Write) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write(tmp_path, CNN).rename(run / WEIGHTS_NAME)
    with pytest.raises(UsageError, match=r"Expected .*weights.*best\.weights\.h5"):
        build_model(CNN, 2, start_weights=run)
    teacher = build_model(CNN, 2)
    with pytest.raises(UsageError, match=r"Expected .*weights.*best\.weights\.h5"):
        load_weights_into(teacher, run / WEIGHTS_NAME, expected="the weights of this run")
    assert not holds_secret(teacher)
    assert not (tmp_path / MARKER).exists()


@pytest.mark.parametrize("write", ALL)
def test_a_hostile_file_in_a_teachers_folder_does_nothing(tmp_path: Path, write: Write, trained: TrainedRun) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.run.folder, run)
    write(tmp_path, trained.run.recipe).replace(run / WEIGHTS_NAME)
    record = json.loads((run / RUN_NAME).read_text("utf-8"))
    record["weights_sha256"] = files.hash_file(run / WEIGHTS_NAME)  # whoever plants the file can write this too
    (run / RUN_NAME).write_text(json.dumps(record), "utf-8")
    with pytest.raises(UsageError, match=r"Expected .*weights.*best\.weights\.h5"):
        load_teacher(run)
    assert not (tmp_path / MARKER).exists()


def flat_model(folder: Path) -> keras.Model:
    """As the hostile network, but with the base's layers where a plain one has them: its weights fit."""
    function = eval(f"lambda x: __import__('pathlib').Path({str(folder / MARKER)!r}).touch() or x")  # noqa: S307
    return keras.Model(network(RECIPE).input, keras.layers.Lambda(function)(network(RECIPE).output))


@pytest.mark.parametrize("name", ["fits.keras", "fits.h5"])
def test_right_weights_in_a_hostile_file_are_taken_and_its_code_is_not(tmp_path: Path, name: str) -> None:
    hostile = flat_model(tmp_path)
    if name.endswith(".h5"):  # this format counts the layers: those of the head have to go
        hostile = keras.Model(hostile.input, hostile.layers[-1](hostile.get_layer("out_relu").output))
    hostile.save(tmp_path / name)
    (tmp_path / MARKER).unlink()
    keras.models.load_model(tmp_path / name, safe_mode=False, compile=False)
    assert (tmp_path / MARKER).exists()
    (tmp_path / MARKER).unlink()
    model = build_model(RECIPE, 2, start_weights=tmp_path / name)
    np.testing.assert_array_equal(
        model.get_layer("Conv1").get_weights()[0], hostile.get_layer("Conv1").get_weights()[0]
    )
    assert not (tmp_path / MARKER).exists()


def test_no_file_is_ever_loaded_as_a_model_or_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    from keras.src.saving import saving_lib, serialization_lib

    def fail(*_: object, **__: object) -> None:
        pytest.fail("a graph was built, or a pickle read")

    files = [write(tmp_path, RECIPE) for write in (write_lambda_keras, write_lambda_h5, write_importing_keras)]
    model = build_model(RECIPE, 2)
    for module in (saving_lib, serialization_lib):
        monkeypatch.setattr(module, "deserialize_keras_object", fail)
    for name in ("load", "loads"):
        monkeypatch.setattr(pickle, name, fail)
    with pytest.raises(pytest.fail.Exception):
        keras.models.load_model(files[0])  # the trap works
    for file in files:
        with contextlib.suppress(UsageError):
            load_weights_into(model, file, expected="weights")
    assert not (tmp_path / MARKER).exists()
