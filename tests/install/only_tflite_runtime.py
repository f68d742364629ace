"""A pytest plugin: LiteRT's interpreter cannot be imported, as on a system that it has no wheel for.

Its schema of ``.tflite`` files can: the tests build networks with it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _NoLiteRt(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname == "ai_edge_litert.interpreter":
            raise ImportError(f"{fullname} is not to be had here")
        return None


def pytest_configure() -> None:
    """Shuts LiteRT out, once this is loaded as a plugin: not where doctests are collected from it."""
    sys.meta_path.insert(0, _NoLiteRt())
