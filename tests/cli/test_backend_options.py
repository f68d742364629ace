"""Which backend, device and processes a command takes is decided before Keras is imported."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from importlib.machinery import ModuleSpec

import click
import pytest
from click.testing import CliRunner

from edgegender.cli import backend_options as module
from edgegender.cli.backend_options import BackendOptions, backend_options, choose_backend
from edgegender.errors import MissingDependencyError, UsageError
from tests.training.processes import clean_environment, run_together


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A process that has not imported Keras, and an environment that chooses nothing."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    for name in ("KERAS_BACKEND", "XLA_FLAGS", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "")  # so that it is taken back at the end, whatever the test does
        monkeypatch.delenv(name)
    for names in (*module._CLUSTERS, module._KUBERNETES):
        for name in names:
            monkeypatch.delenv(name, raising=False)
    return monkeypatch


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Makes exactly these modules look installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: ModuleSpec(name, None) if name in names else None)


@pytest.mark.parametrize(
    ("installed", "named", "wanted", "expected"),
    [
        (("keras", "tensorflow", "jax", "torch"), "", None, "tensorflow"),
        (("keras", "jax", "torch"), "", None, "jax"),
        (("keras", "torch"), "", None, "torch"),
        (("keras", "tensorflow", "torch"), "torch", None, "torch"),
        (("keras", "tensorflow", "jax"), "tensorflow", "jax", "jax"),
    ],
)
def test_the_option_goes_before_the_environment_and_that_before_what_is_installed(
    fresh: pytest.MonkeyPatch, installed: tuple[str, ...], named: str, wanted: str | None, expected: str
) -> None:
    install(fresh, *installed)
    fresh.setenv("KERAS_BACKEND", named)
    assert choose_backend(wanted) == expected


@pytest.mark.parametrize(
    ("installed", "wanted", "hint"),
    [
        (("keras", "tensorflow"), "jax", "pip install 'edgegender[jax]'"),
        (("keras", "tensorflow"), "torch", "pip install 'edgegender[torch]'"),
        (("keras", "jax"), "tensorflow", "pip install 'edgegender[train]'"),
        ((), None, "pip install 'edgegender[train]'"),
        (("jax",), "jax", "pip install 'edgegender[jax]'"),
    ],
)
def test_a_missing_backend_is_told_before_anything_is_imported(
    fresh: pytest.MonkeyPatch, installed: tuple[str, ...], wanted: str | None, hint: str
) -> None:
    install(fresh, *installed)
    with pytest.raises(MissingDependencyError, match="to be installed, got none") as raised:
        choose_backend(wanted)
    assert raised.value.hint == hint


def test_an_unknown_backend_in_the_environment_is_told(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(UsageError, match="Expected KERAS_BACKEND to be one of tensorflow, jax, torch, got 'theano'"):
        choose_backend(None)


def test_keras_cannot_change_its_backend_in_a_process() -> None:
    keras = pytest.importorskip("keras", reason="no extra with Keras is installed")
    in_use = keras.config.backend()
    other = "torch" if in_use != "torch" else "jax"
    assert choose_backend(None) == in_use
    assert choose_backend(in_use) == in_use
    with pytest.raises(UsageError, match=f"Expected Keras with {other}, got {in_use}, which this process already uses"):
        choose_backend(other)


@pytest.mark.parametrize(
    ("backend", "device", "is_deterministic", "expected"),
    [
        ("jax", "cpu", None, {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}),
        ("jax", "auto", True, {"XLA_FLAGS": "--xla_a=b --xla_gpu_deterministic_ops=true"}),
        ("torch", "auto", True, {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}),
        ("tensorflow", "cpu", False, {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}),
    ],
)
def test_the_environment_says_what_the_backend_reads_when_it_is_imported(
    fresh: pytest.MonkeyPatch, backend: str, device: str, is_deterministic: bool | None, expected: dict[str, str]
) -> None:
    fresh.setenv("XLA_FLAGS", "--xla_a=b")
    module._set_environment(backend, device, is_deterministic)
    module._set_environment(backend, device, is_deterministic)  # a flag is not added twice
    assert {name: os.environ.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4"}, False),  # inside of sbatch, without srun: one process
        ({"SLURM_STEP_NODELIST": "gpu[1-2]", "SLURM_NTASKS": "1"}, False),
        ({"SLURM_STEP_NODELIST": "gpu[1-2]", "SLURM_NTASKS": "4"}, True),
        ({"OMPI_MCA_orte_hnp_uri": "1.0;tcp://", "OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"}, True),
    ],
)
def test_a_cluster_is_one_that_started_several_processes(
    fresh: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    for name, value in environment.items():
        fresh.setenv(name, value)
    assert module._is_in_cluster() is expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BackendOptions(coordinator="gpu1:29500"), "Expected --distribute with --coordinator"),
        (BackendOptions(process_index=0), "Expected --distribute with --coordinator"),
        (BackendOptions(is_distributed=True, coordinator="gpu1:29500"), "got only some of them"),
        (BackendOptions(is_distributed=True, num_processes=2, process_index=0), "got only some of them"),
    ],
)
def test_addresses_that_are_not_whole_are_told(options: BackendOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        options.started().__enter__()


def test_a_command_gets_the_options_as_one_thing() -> None:
    seen: list[BackendOptions] = []

    @click.command()
    @backend_options
    def command(backend: BackendOptions) -> None:
        seen.append(backend)

    runner = CliRunner()
    assert runner.invoke(command, []).exit_code == 0
    line = "--backend jax --device gpu --no-deterministic --distribute --coordinator a:1 --num-processes 2"
    assert runner.invoke(command, [*line.split(), "--process-index", "1"]).exit_code == 0
    assert seen == [BackendOptions(), BackendOptions("jax", "gpu", False, True, "a:1", 2, 1)]
    assert runner.invoke(command, ["--num-processes", "0"]).exit_code == 2


@pytest.mark.slow
def test_a_command_on_the_cpu_reports_its_devices() -> None:
    pytest.importorskip("keras", reason="no extra with Keras is installed")
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed")
    worker = ["-m", "tests.training.distributed_worker", "worker", "--backend", "jax", "--case", "exchange"]
    (ended,) = run_together([[*worker, "--device", "cpu", "--deterministic"]], environment=clean_environment())
    assert json.loads(ended.stdout)["environment"]["device"] == "cpu", ended.stderr
