"""The direction of imports, and that the contracts would notice a wrong one."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import REPOSITORY

LINT_IMPORTS = Path(sys.executable).parent / "lint-imports"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    if not LINT_IMPORTS.is_file():
        pytest.skip("import-linter is not installed: it comes with the [dev] extra")
    command = [str(LINT_IMPORTS), "--no-cache", "--config", str(folder / "pyproject.toml")]
    # the copy in the folder comes first: the installed package must not be looked at instead
    program = "import sys; sys.path.insert(0, sys.argv[1]); from importlinter.cli import lint_imports_command as main; "
    program += "sys.argv = ['lint-imports', *sys.argv[2:]]; main()"
    return subprocess.run(
        [sys.executable, "-c", program, str(folder), *command[1:]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_contracts_are_kept() -> None:
    done = lint(REPOSITORY)
    assert done.returncode == 0, done.stdout
    assert "3 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("runtime/photos.py", "import keras"),
        ("preprocess.py", "from edgegender.runtime import classifier"),
        ("benchmark/run.py", "from edgegender.data import manifest"),
        ("training/loop.py", "from edgegender.conversion import gate"),
    ],
)
def test_a_wrong_import_is_noticed(tmp_path: Path, module: str, line: str) -> None:
    shutil.copytree(REPOSITORY / "edgegender", tmp_path / "edgegender", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    file = tmp_path / "edgegender" / module
    file.write_text(f"{file.read_text()}\n{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout
