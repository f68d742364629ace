"""Where LiteRT has no wheel, tflite-runtime passes the same tests, run once more in an environment that has it."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.cli.commands import REPOSITORY

TESTS = ("interpreter", "classifier", "face_batch", "golden", "operators", "photos", "model_file", "detector_blazeface")
# LiteRT is there for its schema, which the tests build networks with; its interpreter is shut out by a plugin
PACKAGES = ("tflite-runtime==2.14.0", "numpy<2", "opencv-python-headless>=4.10,<4.12", "click", "rich")
FOR_TESTS = ("pytest>=8.3", "hypothesis>=6.100", "flatbuffers", "ai-edge-litert>=2.0")


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info[:2] not in {(3, 10), (3, 11)}, reason="tflite-runtime 2.14 has wheels for Python 3.10 and 3.11"
)
def test_the_runtime_tests_pass_with_tflite_runtime_too(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES, *FOR_TESTS]
    installed = subprocess.run(command, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"no package index within reach: {installed.stderr.strip().splitlines()[-1]}")
    files = [f"tests/runtime/test_{name}.py" for name in TESTS]
    options = ["-q", "-p", "tests.install.only_tflite_runtime", "-p", "no:cacheprovider", "-o", "addopts="]
    done = subprocess.run(
        [python, "-m", "pytest", *options, *files], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout
