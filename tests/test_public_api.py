"""What the package promises to the outside: names that resolve, docstrings that stand there, a version that agrees."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest

import edgegender

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(edgegender.__path__, "edgegender.") if "__main__" not in module.name
)


def test_every_public_name_resolves() -> None:
    for name in edgegender.__all__:
        assert getattr(edgegender, name) is not None
    assert len(edgegender.__all__) <= 12


def test_the_public_names_are_those_of_their_modules() -> None:
    for name, module in edgegender._PUBLIC.items():
        assert getattr(edgegender, name) is getattr(importlib.import_module(module), name)
    assert {*edgegender._PUBLIC, "__version__"} == set(edgegender.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'edgegender' has no attribute 'Trainer'"):
        _ = edgegender.Trainer


def test_importing_the_package_loads_nothing_but_itself() -> None:
    code = "import sys, edgegender; print([name for name in ('numpy', 'cv2', 'click') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_version_is_the_distributions() -> None:
    assert edgegender.__version__ == metadata.version("edgegender")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_and_its_public_parts_have_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, name
    assert [part for part in public_parts(module) if not inspect.getdoc(part)] == []


def public_parts(module: ModuleType) -> list[object]:
    """Returns the public functions, classes and methods that a module defines."""
    parts: list[object] = []
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            parts.append(value)
        if inspect.isclass(value):
            parts += [
                method for key, method in vars(value).items() if inspect.isfunction(method) and not key.startswith("_")
            ]
    return parts


@pytest.mark.parametrize(
    "package", [name for name in ("edgegender", *MODULES) if hasattr(importlib.import_module(name), "__path__")]
)
def test_every_name_in_all_exists(package: str) -> None:
    module = importlib.import_module(package)
    assert [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)] == []


def test_raised_errors_are_of_the_packages_own_tree() -> None:
    errors = importlib.import_module("edgegender.errors")
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, Exception)]
    assert all(issubclass(value, errors.EdgeGenderError) for value in classes)
    # each is also one of Python's own, so that a caller need not know ours
    assert all(len(value.__mro__) > 5 for value in classes if value is not errors.EdgeGenderError)
