"""Several processes train one network: the same weights as one process, and a clear end when one of them goes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from edgegender.errors import UsageError
from edgegender.training.backend import backend_name
from edgegender.training.distribution import Processes, distributed, single_process
from tests.training.processes import Ended, addresses, clean_environment, run_together

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None or importlib.util.find_spec("keras") is None,
    reason="the [jax] extra is not installed",
)
WORKER = ["-m", "tests.training.distributed_worker", "worker", "--backend", "jax"]
# Sums over two halves round differently from one sum over all rows. Adam divides by the gradient's size, so that a
# gradient of nearly zero may turn that into a part of the learning rate; the worst seen here is 2e-7.
TOLERANCE = 1e-5


def run_workers(count: int, *options: str) -> list[Ended]:
    return run_together([[*WORKER, *where, *options] for where in addresses(count)])


def arrays_of(file: Path) -> list[np.ndarray]:
    with np.load(file) as stored:
        return [stored[name] for name in stored.files]


# One process


def test_a_single_process_gathers_what_it_has() -> None:
    rows = np.arange(6).reshape(3, 2)
    assert single_process().gather(rows) is rows
    assert single_process().any(True)
    assert not single_process().any(False)
    single_process().check_same("the recipe", "edge")
    assert single_process().is_main
    assert not Processes(1, 2, 2).is_main


def test_a_batch_must_be_a_multiple_of_the_devices() -> None:
    Processes(0, 2, 4).check_batch_size(64)
    with pytest.raises(UsageError, match="that 4 devices can share evenly, got 30") as raised:
        Processes(0, 2, 4).check_batch_size(30)
    assert raised.value.hint == "Use --set batch_size=32."
    with pytest.raises(UsageError, match="8 devices") as raised:
        Processes(0, 2, 8).check_batch_size(1)
    assert raised.value.hint == "Use --set batch_size=8."


# Two processes


@needs_jax
@pytest.mark.slow
def test_two_processes_and_two_devices_train_to_the_weights_of_one(tmp_path: Path) -> None:
    alone, two_devices = (
        run_together(
            [[*WORKER, "--case", "train", "--file", str(tmp_path / name), *options]],
            environment=clean_environment(XLA_FLAGS=f"--xla_force_host_platform_device_count={count}"),
        )[0]
        for name, options, count in (("one.npz", (), 1), ("devices.npz", ("--distribute",), 2))
    )
    pair = run_together(
        [
            [*WORKER, *where, "--case", "train", "--file", str(tmp_path / f"{index}.npz")]
            for index, where in enumerate(addresses(2))
        ]
    )
    assert [ended.exit_code for ended in (alone, two_devices, *pair)] == [0, 0, 0, 0], pair[0].stderr
    expected = json.loads(alone.stdout)
    for ended, file in ((two_devices, "devices.npz"), (pair[0], "0.npz"), (pair[1], "1.npz")):
        for array, other in zip(arrays_of(tmp_path / "one.npz"), arrays_of(tmp_path / file), strict=True):
            np.testing.assert_allclose(other, array, rtol=0, atol=TOLERANCE)
        answer = json.loads(ended.stdout)
        np.testing.assert_allclose(answer["losses"], expected["losses"], atol=TOLERANCE)
        np.testing.assert_allclose(answer["scores"], expected["scores"], atol=TOLERANCE)
        assert not answer["has_tensorflow"]
        assert answer["environment"]["num_devices"] == "2"
    assert json.loads(pair[1].stdout)["environment"]["num_processes"] == "2"
    assert arrays_of(tmp_path / "0.npz")[0].tobytes() == arrays_of(tmp_path / "1.npz")[0].tobytes()


@needs_jax
@pytest.mark.slow
def test_processes_exchange_rows_of_any_kind_and_number_and_find_out_that_they_differ() -> None:
    ended = run_workers(2, "--case", "exchange")
    answers = [json.loads(process.stdout) for process in ended]
    assert [answer.pop("is_main") for answer in answers] == [True, False]
    for answer in answers:
        assert answer["gathered"] == [[0.1, 0.1], [1.1, 1.1], [1.1, 1.1]]  # exactly: not rounded to float32
        assert answer["dtype"] == "float64"
        assert answer["words"] == ["of 0", "of 1"]
        assert answer["empty"] == [0, 3]
        assert answer["one"]
        assert not answer["none"]
    for process in ended:  # the last step: another manifest in process 1
        assert process.exit_code == 2
        assert "Expected the manifest to be the same in all 2 processes, got another in process 1" in process.last_words


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "victim", "why"), [("kill:0", 0, "got SIGKILL"), ("raise:1", 1, "got its end")], ids=["kill", "raise"]
)
def test_when_one_process_goes_the_other_says_so_and_leaves(case: str, victim: int, why: str) -> None:
    # Without process 0, JAX aborts the others; without another one, the connection between the CPUs raises
    ended = run_workers(2, "--case", case)
    assert [process.exit_code for process in ended] == [3, 3]
    assert why in ended[victim].last_words
    assert "got one that has gone" in ended[1 - victim].last_words
    assert "--resume" in ended[1 - victim].last_words


def test_distribute_wants_jax() -> None:
    pytest.importorskip("keras", reason="the [train] extra is not installed")
    if backend_name() == "jax":
        pytest.skip("the backend is JAX")
    with pytest.raises(UsageError, match=f"Expected the backend jax for --distribute, got {backend_name()}"):
        distributed().__enter__()
