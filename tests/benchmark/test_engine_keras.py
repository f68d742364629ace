"""Keras as an engine: each backend, alone in a process of its own, answers as LiteRT does on the same float network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgegender import keras_engine
from edgegender.benchmark.engine_litert import LitertEngine
from edgegender.benchmark.engines import engine_names, find_engine
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec
from edgegender.benchmark.rival_source import rival_entry
from edgegender.benchmark.rivals import read_rival
from edgegender.errors import UsageError
from edgegender.files import hash_file
from tests.benchmark.exported_pair import answer, write_rival
from tests.trained_run import TrainedRun, trained  # noqa: F401 - a fixture

pytestmark = pytest.mark.tensorflow
SIZE_PX = 32
TOLERANCE = 1e-5  # float32 sums in another order
ROUNDED_TOLERANCE = 0.02  # bfloat16 keeps 8 bits: a fraction of a per cent of each number, over three layers
_MAKE = """
import keras, sys, numpy as np, pathlib
keras.utils.set_random_seed(3)
layers = keras.layers
model = keras.Sequential([
    keras.Input((32, 32, 3)), layers.Conv2D(8, 3, 2, activation="relu"), layers.BatchNormalization(),
    layers.GlobalAveragePooling2D(), layers.Dense(2, kernel_initializer="glorot_normal", activation="softmax"),
])
model.save(sys.argv[1] + "/rival.keras")
"""
_CONVERT = """
from edgegender.conversion.float_network import build_float_network
pathlib.Path(sys.argv[1] + "/rival.tflite").write_bytes(build_float_network(model).content)
"""
_RUN = """
import json, sys, pathlib, numpy as np
from edgegender import keras_engine
from edgegender.benchmark.engines import create_engine, EngineEntry
from edgegender.benchmark.rival_numbers import InputSpec, OutputSpec
from edgegender.errors import EdgeGenderError
from tests.benchmark.exported_pair import answer
job = json.loads(sys.argv[1])
images = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)
found = {}
for variant in job["variants"]:
    for size in (1, 4):
        entry = EngineEntry(job["module"], variant)
        engine = create_engine(entry, pathlib.Path(job["model"]), num_threads=1, batch_size=size)
        found[f"{engine.record.label} {size}"] = answer(engine, images).tolist()
spec, output = InputSpec(32), OutputSpec()
path = pathlib.Path(job["model"])
other = "jax" if job["variants"][0].count("tensorflow") else "tensorflow"
refused = {
    "gpu": keras_engine.require_gpu,
    "hash": lambda: keras_engine.load(path, spec=spec, output=output, sha256="0" * 64),
    "shape": lambda: keras_engine.load(path, spec=InputSpec(64), output=output),
    "tensor": lambda: answer(keras_engine.load(path, spec=spec, output=OutputSpec(tensor=1)), images[:1]),
    "other": lambda: keras_engine.prepare(other),
    "kind": lambda: keras_engine.create(
        pathlib.Path("a.tflite"), variant=job["backend"], num_threads=1, batch_size=1
    ),
}
for name, call in refused.items():
    try:
        call()
    except EdgeGenderError as error:
        found[name] = [type(error).__name__, str(error), error.hint, error.exit_code]
print("answer:" + json.dumps(found))
"""


_RUN_FOLDER = """
import json, sys, pathlib, numpy as np
from edgegender import keras_engine
from edgegender.preprocess import to_float
from edgegender.training.run_folder import load_model, load_run
from tests.benchmark.exported_pair import answer
folder = pathlib.Path(sys.argv[1])
subject = keras_engine.run_subject(folder)
size = subject.record.input_size_px
images = np.random.default_rng(5).integers(0, 256, (2, size, size, 3), np.uint8)
engine = keras_engine.create(subject.path, variant="tensorflow", num_threads=1, batch_size=2)
run = load_run(folder)
expected = np.asarray(load_model(run)(to_float(images, run.preprocessing.scaling), training=False))
found = {"gap": float(np.abs(answer(engine, images) - expected).max()), "labels": subject.record.labels}
print("answer:" + json.dumps({**found, "sha256": subject.record.sha256}))
"""


def run_python(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@dataclass(frozen=True)
class Saved:
    """A Keras network, the ``.tflite`` of it, and its description."""

    description: Path
    tflite: bytes


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    if util.find_spec("tensorflow") is None or util.find_spec("keras") is None:
        pytest.skip("the [train] extra is not installed")
    folder = tmp_path_factory.mktemp("keras")
    run_python(_MAKE + _CONVERT, str(folder))
    content = (folder / "rival.keras").read_bytes()
    description = write_rival(
        folder, content, model="rival.keras", input={"size_px": SIZE_PX, "scaling": "tf"}, scheme="float32"
    )
    return Saved(description, (folder / "rival.tflite").read_bytes())


def ask(saved: Saved, *engines: str) -> dict[str, Any]:
    """Returns what engines of one backend answer, one picture a run and four."""
    rival = read_rival(saved.description)
    entries = [rival_entry(rival, engine) for engine in engines]
    job = {
        "module": entries[0].module,
        "variants": [entry.variant for entry in entries],
        "model": str(rival.path),
        "backend": engines[0].removeprefix("keras-"),
    }
    line = next(line for line in run_python(_RUN, json.dumps(job)).splitlines() if line.startswith("answer:"))
    found: dict[str, Any] = json.loads(line.partition(":")[2])
    return found


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_each_backend_answers_as_litert_does(saved: Saved, backend: str) -> None:
    if util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed: the [{backend}] extra has it")
    found = ask(saved, f"keras-{backend}", f"keras-{backend}-bfloat16")
    litert = LitertEngine(saved.tflite, variant="xnnpack", num_threads=1, scaling="tf")
    images = np.random.default_rng(5).integers(0, 256, (4, SIZE_PX, SIZE_PX, 3), np.uint8)
    expected = answer(litert, images)
    for size in (1, 4):
        np.testing.assert_allclose(found[f"keras+{backend} float32 {size}"], expected, atol=TOLERANCE)
        np.testing.assert_allclose(found[f"keras+{backend} bfloat16 {size}"], expected, atol=ROUNDED_TOLERANCE)
    for name, kind, message in (
        ("hash", "ModelFileError", "Expected sha256 000000000000…, got another"),
        ("shape", "ModelFileError", "Expected an input of shape (64, 64, 3), got (32, 32, 3)"),
        ("tensor", "ModelFileError", "Expected output 1, got a network with 1"),
        ("other", "UsageError", "got one with Keras on"),
        ("kind", "UsageError", "Expected the weights of a run or a described .keras for Keras, got a.tflite"),
    ):
        assert found[name][0] == kind
        assert message in found[name][1]
    if "gpu" in found:  # this machine has none
        kind, message, hint, exit_code = found["gpu"]
        assert (kind, exit_code) == ("TrainingError", 3)
        assert f"got none that {backend} can use" in message
        assert "nvidia-smi" in hint


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("EDGEGENDER_LONG_TESTS"), reason="a minute long: set EDGEGENDER_LONG_TESTS")
def test_a_run_folder_answers_as_its_own_model_does(trained: TrainedRun) -> None:  # noqa: F811 - the fixture
    folder = trained.run.folder
    line = next(line for line in run_python(_RUN_FOLDER, str(folder)).splitlines() if line.startswith("answer:"))
    found = json.loads(line.partition(":")[2])
    assert found["gap"] <= TOLERANCE
    assert found["labels"] == list(trained.run.labels)
    assert found["sha256"] == hash_file(trained.run.weights_file)


def test_the_engines_are_known_once_they_are_registered() -> None:
    keras_engine.register()
    assert find_engine("keras-jax").module == "edgegender.keras_engine"
    assert "keras-torch-bfloat16" in engine_names()


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    spec, output = InputSpec(SIZE_PX), OutputSpec()
    with pytest.raises(UsageError, match="Expected a precision of float32, bfloat16 on cpu or gpu, got 'int8'"):
        keras_engine.load(tmp_path, spec=spec, output=output, precision="int8")
    with pytest.raises(UsageError, match="Expected a backend of tensorflow, jax, torch, got 'mxnet'"):
        keras_engine.prepare("mxnet")


def test_the_device_side_does_not_import_keras_for_it() -> None:
    program = "import sys, edgegender.keras_engine; print({'keras', 'jax', 'torch', 'tensorflow'} & set(sys.modules))"
    assert run_python(program) == "set()\n"
