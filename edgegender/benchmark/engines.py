"""Engines by name. A module that runs networks is imported when its engine is asked for, and not before.

Such a module has one function::

    def create(model: Path, *, variant: str, num_threads: int, batch_size: int) -> Engine: ...

and, where importing its package takes a while, ``def prepare(variant: str) -> None: ...``, which imports it: that time
is then not taken for the model's. Both raise :class:`~edgegender.errors.MissingDependencyError` without the package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import cast

from edgegender.benchmark.engine import Engine
from edgegender.errors import UsageError

DEFAULT_ENGINE = "litert"


@dataclass(frozen=True)
class EngineEntry:
    """Where an engine comes from.

    Args:
        module: Its Python module, whole.
        variant: What its ``create`` is told, for modules with several engines.
        is_device_path: Whether it runs a file as :class:`edgegender.runtime.classifier.Classifier` does.
        is_parity_only: Whether it is made for exact answers, not for speed: a short measurement is enough.
    """

    module: str
    variant: str = ""
    is_device_path: bool = False
    is_parity_only: bool = False


_LITERT = "edgegender.benchmark.engine_litert"
_ONNX, _OPENVINO = "edgegender.benchmark.engine_onnx", "edgegender.benchmark.engine_openvino"
_GPU = "edgegender.benchmark.engine_gpu"
_KERAS = "edgegender.keras_engine"  # outside of this package: the device side never reaches Keras
_ENGINES: dict[str, EngineEntry] = {
    "litert": EngineEntry(_LITERT, "xnnpack", is_device_path=True),
    "litert-no-xnnpack": EngineEntry(_LITERT, "none"),
    "litert-reference": EngineEntry(_LITERT, "reference", is_parity_only=True),
    "litert-gpu": EngineEntry(_GPU, "float16"),
    "litert-gpu-float32": EngineEntry(_GPU, "float32"),
    "tflite-runtime": EngineEntry(_LITERT, "tflite-runtime"),
    "onnxruntime": EngineEntry(_ONNX),
    "openvino": EngineEntry(_OPENVINO, "as_stored"),
    "openvino-float32": EngineEntry(_OPENVINO, "float32"),
    **{
        f"keras-{backend}{suffix}": EngineEntry(_KERAS, f"{backend}{precision}")
        for backend in ("tensorflow", "jax", "torch")
        for suffix, precision in (("", ""), ("-bfloat16", " bfloat16"))
    },
}


def engine_names() -> tuple[str, ...]:
    """Returns the names that can be asked for, installed or not."""
    return tuple(_ENGINES)


def register_engine(name: str, entry: EngineEntry) -> None:
    """Adds an engine, or puts another one in a name's place."""
    _ENGINES[name] = entry


def find_engine(name: str) -> EngineEntry:
    """Returns where an engine comes from.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in _ENGINES:
        raise UsageError(f"Expected an engine of {', '.join(_ENGINES)}, got {name!r}.")
    return _ENGINES[name]


def _module_of(entry: EngineEntry) -> ModuleType:
    try:
        return import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name != entry.module:
            raise
        raise UsageError(f"Expected an engine of this version, got {entry.module}.") from error


def prepare_engine(entry: EngineEntry) -> None:
    """Imports what an engine stands on, so that loading a model is not charged for it.

    Raises:
        UsageError: This version does not have it.
        MissingDependencyError: Its package is not installed.
    """
    prepare = getattr(_module_of(entry), "prepare", None)
    if prepare is not None:
        prepare(entry.variant)


def create_engine(entry: EngineEntry | str, model: Path, *, num_threads: int, batch_size: int = 1) -> Engine:
    """Returns a model's network, loaded and ready to run.

    Args:
        entry: The engine, or its name.
        model: The file.
        num_threads: 1 to 256; an engine without threads of its own passes it over.
        batch_size: Pictures of one run.

    Raises:
        UsageError: There is no such engine, or it does not take this number of threads or pictures.
        MissingDependencyError: Its package is not installed.
        ModelFileError: The file is damaged, or the engine refuses it.
    """
    found = find_engine(entry) if isinstance(entry, str) else entry
    module = _module_of(found)
    made = module.create(model, variant=found.variant, num_threads=num_threads, batch_size=batch_size)
    return cast("Engine", made)


def entry_to_job(entry: EngineEntry) -> Mapping[str, str]:
    """Returns what a measuring process must be told to find the engine."""
    return {"module": entry.module, "variant": entry.variant}
