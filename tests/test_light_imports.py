"""What a device imports, and what reads recipes and batches, brings no TensorFlow along."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "matplotlib", "pandas", "scipy", "sklearn")


@pytest.mark.parametrize(
    "module",
    [
        "edgegender.errors",
        "edgegender.metrics",
        "edgegender.preprocess",
        "edgegender.runtime.camera_loop",
        "edgegender.runtime.capture.sources",
        "edgegender.runtime.detector",
        "edgegender.outputs.fan_out",
        "edgegender.serving.hub",
        "edgegender.data.check",
        "edgegender.data.crop",
        "edgegender.data.index",
        "edgegender.training.batches",  # its worker processes import it
        "edgegender.training.dataset",
        "edgegender.training.recipes",
    ],
)
def test_a_light_module_imports_nothing_heavy(module: str) -> None:
    program = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"
