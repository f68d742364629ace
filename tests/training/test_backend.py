"""The same code on TensorFlow, JAX and PyTorch, whichever are installed, and no other one is imported."""

from __future__ import annotations

import importlib.util
import json
import re
from typing import Any

import pytest

from edgegender.errors import MissingDependencyError, TrainingError, UsageError
from edgegender.training import backend
from tests.training.processes import clean_environment, run_together

pytest.importorskip("keras", reason="no extra with Keras is installed")

INSTALLED = [name for name in backend.BACKENDS if importlib.util.find_spec(name) is not None]


@pytest.fixture(scope="module", params=INSTALLED)
def answer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process of its own did on each of the installed backends."""
    file = tmp_path_factory.mktemp(request.param) / "tiny.weights.h5"
    environment = clean_environment(KERAS_BACKEND=request.param)
    (ended,) = run_together([["-m", "tests.training.backend_worker", str(file)]], environment=environment)
    assert ended.exit_code == 0, ended.stderr
    values: dict[str, Any] = json.loads(ended.stdout)
    assert values["backend"] == request.param
    return values


def test_weights_trained_and_stored_give_the_same_answers_when_loaded(answer: dict[str, Any]) -> None:
    assert answer["difference"] == [0.0]


def test_a_training_imports_no_other_backend(answer: dict[str, Any]) -> None:
    imported = set(answer["imported"]) - {answer["backend"]}
    # TensorFlow itself imports JAX where that is installed, for its converter
    assert imported <= ({"jax"} if answer["backend"] == "tensorflow" else set())


def test_the_precision_is_as_it_was_behind_its_scope(answer: dict[str, Any]) -> None:
    assert answer["policies"] == ["float32", "mixed_bfloat16", "float32"]


def test_the_record_says_what_was_computed_with(answer: dict[str, Any]) -> None:
    devices = answer["devices"]
    assert devices["backend"] == answer["backend"]
    assert re.match(r"\d+\.\d+", devices["backend_version"])
    assert re.match(r"3\.\d+", devices["keras"])
    if not answer["gpus"]:
        assert (devices["device"], devices["num_devices"]) == ("cpu", "1")


def test_a_gpu_that_is_not_there_is_told(answer: dict[str, Any]) -> None:
    if answer["gpus"]:
        pytest.skip("this machine has a GPU")
    assert answer["gpu"]["message"] == f"Expected a GPU, got none that {answer['backend']} can use."
    assert "--device cpu" in answer["gpu"]["hint"]
    assert "nvidia-smi" in answer["gpu"]["hint"]


def test_memory_that_runs_out_names_the_batch_size_to_try(answer: dict[str, Any]) -> None:
    assert answer["memory"]["message"] == "Expected enough memory for batches of 64, got too little."
    assert answer["memory"]["hint"].startswith("Try --set batch_size=32,")
    assert answer["memory"]["cause"] != "TrainingError"


def test_the_same_seed_gives_the_same_initial_weights(answer: dict[str, Any]) -> None:
    assert answer["is_seeded"]


class OutOfMemoryError(RuntimeError):
    """Stands for torch.OutOfMemoryError, which is raised on GPUs only, with its name."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("any words"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:125] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 68719476736 bytes."),
        RuntimeError("OOM when allocating tensor with shape[64,1024,1024]"),
        RuntimeError("cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_each_way_to_run_out_of_memory_is_known(error: Exception) -> None:
    with pytest.raises(TrainingError, match="enough memory for batches of 7") as raised, backend.told_memory(7):
        raise error
    assert "batch_size=3" in raised.value.hint
    assert raised.value.__cause__ is error


def test_one_photo_a_batch_can_only_become_smaller() -> None:
    with pytest.raises(TrainingError, match="batches of 1,") as raised, backend.told_memory(1):
        raise MemoryError
    assert "input_size_px" in raised.value.hint
    assert "batch_size" not in raised.value.hint


@pytest.mark.parametrize("error", [ValueError("shapes differ"), UsageError("out of memory"), OSError("out of memory")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, backend.told_memory(8):
        raise error
    assert raised.value is error


def test_a_device_is_one_of_three() -> None:
    with pytest.raises(UsageError, match="Expected a device of auto, cpu, gpu, got 'tpu'"):
        backend.use_device("tpu").__enter__()


@pytest.mark.parametrize(
    ("gpus", "policy"),
    [
        ([], "float32"),
        ([("NVIDIA H100", 9.0)], "mixed_bfloat16"),
        ([("Tesla T4", 7.5)], "mixed_float16"),
        ([("NVIDIA A100", 8.0), ("Tesla T4", 7.5)], "mixed_float16"),
    ],
)
def test_a_gpu_gets_the_precision_that_it_is_good_at(
    monkeypatch: pytest.MonkeyPatch, gpus: list[tuple[str, float]], policy: str
) -> None:
    monkeypatch.setattr(backend, "list_gpus", lambda: gpus)  # hardware that is not there
    assert backend.choose_precision("auto") == policy
    assert backend.choose_precision("auto", device="cpu") == "float32"
    assert backend.choose_precision("mixed_float16") == "mixed_float16"
    described = backend.describe_devices()
    assert described["num_devices"] == str(len(gpus) or 1)
    assert all(name in described["device"] for name, _ in gpus)


@pytest.mark.parametrize(
    ("missing", "extra"), [("jax", "jax"), ("torch", "torch"), ("tensorflow", "train"), ("keras", "train")]
)
def test_a_missing_backend_names_its_extra(missing: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from edgegender.errors import MissingDependencyError\n"
        "from edgegender.training.backend import import_keras\n"
        "try:\n    import_keras()\nexcept MissingDependencyError as error:\n    print(error.hint)"
    )
    name = "tensorflow" if missing == "keras" else missing
    (ended,) = run_together([["-c", program]], environment=clean_environment(KERAS_BACKEND=name))
    assert ended.stdout == f"pip install 'edgegender[{extra}]'\n", ended.stderr
    assert issubclass(MissingDependencyError, ImportError)
