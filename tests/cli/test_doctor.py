"""What doctor says of training: which backends, and which GPUs they could use."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgegender.cli import doctor


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions of the distributions that look installed."""
    versions: dict[str, str] = {}
    monkeypatch.setattr(doctor, "_installed", lambda name: versions.get(name, ""))
    return versions


def set_gpus(monkeypatch: pytest.MonkeyPatch, *models: str) -> None:
    monkeypatch.setattr(doctor, "_nvidia_gpus", lambda: list(models))  # hardware that is not there


def test_the_first_backend_is_the_default(installed: dict[str, str]) -> None:
    installed |= {"keras": "3.15.1", "torch": "2.13.0", "jax": "0.10.2"}
    assert doctor._training_backends().detail == "on jax 0.10.2 by default, or torch 2.13.0"
    assert doctor._training_backends().status == "ok"


@pytest.mark.parametrize("versions", [{}, {"keras": "3.15.1"}, {"jax": "0.10.2"}])
def test_without_keras_or_a_backend_the_fix_is_named(installed: dict[str, str], versions: dict[str, str]) -> None:
    installed |= versions
    finding = doctor._training_backends()
    assert (finding.status, finding.fix) == ("note", "pip install 'edgegender[train]'")


def test_no_gpu_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpus(monkeypatch)
    assert doctor._training_gpu().status == "note"
    assert "takes the CPU" in doctor._training_gpu().detail


def test_a_gpu_without_a_backend_for_it_gets_a_fix(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> None:
    set_gpus(monkeypatch, "NVIDIA A100", "NVIDIA A100")
    installed |= {"jax": "0.10.2", "tensorflow": "2.21.0", "torch": "2.13.0+cpu"}
    finding = doctor._training_gpu()
    assert finding.detail == "2 (NVIDIA A100), but no backend built for CUDA"
    assert "jax[cuda13]" in finding.fix


@pytest.mark.parametrize(
    ("versions", "backends"),
    [
        ({"jax": "0.10.2", "jax-cuda13-plugin": "0.10.2"}, "jax"),
        ({"tensorflow": "2.21.0", "nvidia-cudnn-cu12": "9.3"}, "tensorflow"),
        ({"torch": "2.13.0", "nvidia-cudnn-cu13": "9.12"}, "torch"),
        ({"torch": "2.13.0+cu130", "jax": "0.6.2", "jax-cuda12-plugin": "0.6.2"}, "jax or torch"),
    ],
)
def test_a_gpu_is_named_with_the_backends_that_can_use_it(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], versions: dict[str, str], backends: str
) -> None:
    set_gpus(monkeypatch, "NVIDIA H100")
    installed |= versions
    finding = doctor._training_gpu()
    assert (finding.status, finding.detail) == ("ok", f"1 (NVIDIA H100), with {backends}")


def test_the_drivers_files_name_the_gpus(tmp_path: Path) -> None:
    for number in (1, 2):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        (folder / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 107\n")
    assert doctor._nvidia_gpus(tmp_path) == ["NVIDIA H100 80GB HBM3"] * 2
    assert doctor._nvidia_gpus(tmp_path / "none") == []
