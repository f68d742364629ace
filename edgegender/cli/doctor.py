"""``edgegender doctor``: what is wrong with this machine, and the exact fix."""

from __future__ import annotations

import os
import platform
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module, metadata
from pathlib import Path

import click

from edgegender.cli.console import json_option, print_json
from edgegender.cli.doctor_camera import CAMERA_CHECKS
from edgegender.cli.doctor_findings import GLYPHS, Finding, Surroundings, look_around
from edgegender.cli.doctor_pi import PI_CHECKS
from edgegender.errors import CheckFailedError, EdgeGenderError

_LITTLE_DISK_MB = 500  # the device side with its dependencies takes about 300


def _python() -> Finding:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", version)
    return Finding("Python", "problem", f"{version} was never tried", "Use Python 3.10, 3.11, 3.12 or 3.13.")


def _system() -> Finding:
    bits = struct.calcsize("P") * 8
    machine = f"{platform.system()} {platform.machine()}, {bits} bit"
    if bits == 32 and not _installed("tflite-runtime"):
        return Finding("system", "problem", machine, "LiteRT needs 64 bit: pip install 'edgegender[tflite-runtime]'")
    return Finding("system", "ok", machine)


def _memory() -> Finding:
    file = Path("/proc/meminfo")
    if not file.is_file():
        return Finding("memory", "note", "unknown")
    values = dict(line.split(":", 1) for line in file.read_text().splitlines() if ":" in line)
    available_mb = int(values.get("MemAvailable", "0 kB").split()[0]) // 1024
    if 0 < available_mb < 200:  # the runtime, OpenCV and the model together need about 150 MB
        return Finding("memory", "problem", f"{available_mb} MB available", "Close other programs, or add swap.")
    return Finding("memory", "ok", f"{available_mb} MB available")


def _disk(surroundings: Surroundings) -> Finding:
    free_mb = surroundings.free_bytes // 1_000_000
    if free_mb < _LITTLE_DISK_MB:
        return Finding("disk", "note", f"{free_mb} MB free in this folder", "Remove what is old: sudo apt clean")
    return Finding("disk", "ok", f"{free_mb} MB free in this folder")


def _numpy_clash() -> Finding:
    numpy_version = metadata.version("numpy")
    try:
        metadata.version("ai-edge-litert")
    except metadata.PackageNotFoundError:
        if int(numpy_version.split(".")[0]) >= 2:
            return Finding(
                "numpy", "problem", f"{numpy_version} breaks tflite-runtime", "pip install 'edgegender[tflite-runtime]'"
            )
    return Finding("numpy", "ok", numpy_version)


def _runtime() -> Finding:
    from edgegender.runtime.interpreter import import_runtime

    try:
        _, name, version = import_runtime()
    except EdgeGenderError as error:
        return Finding("runtime", "problem", str(error), error.hint)
    return Finding("runtime", "ok", f"{name} {version}")


def _opencv() -> Finding:
    try:
        import cv2
    except ImportError as error:
        return Finding("OpenCV", "problem", str(error), "pip install 'opencv-python-headless>=4.10,<5'")
    cascade = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml"
    if not cascade.is_file():
        return Finding(
            "OpenCV",
            "problem",
            f"{cv2.__version__} has no face cascades",
            "pip install 'opencv-python-headless>=4.10,<5'",
        )
    return Finding("OpenCV", "ok", f"{cv2.__version__} with its face cascades")


def _embedded_model() -> Finding:
    from edgegender.runtime.classifier import Classifier

    try:
        classifier = Classifier(num_threads=1)
    except EdgeGenderError as error:
        return Finding("embedded model", "problem", str(error), "pip install --force-reinstall edgegender")
    return Finding("embedded model", "ok", f"{classifier.metadata.name}, sha256 {classifier.file.sha256[:12]}…")


def _extra(name: str, module: str, extra: str) -> Callable[[], Finding]:
    def look() -> Finding:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            return Finding(name, "note", "not installed", f"pip install 'edgegender[{extra}]'")
        if module in ("matplotlib",):  # TensorFlow takes seconds to import: its version must do
            import_module(module)
        return Finding(name, "ok", version)

    return look


def _installed(name: str) -> str:
    """Returns the version of a distribution, empty where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _training_backends() -> Finding:
    found = [f"{name} {version}" for name in ("tensorflow", "jax", "torch") if (version := _installed(name))]
    if not (found and _installed("keras")):
        return Finding("training", "note", "no backend of Keras installed", "pip install 'edgegender[train]'")
    return Finding("training", "ok", f"on {found[0]} by default" + "".join(f", or {other}" for other in found[1:]))


def _nvidia_gpus(folder: Path = Path("/proc/driver/nvidia/gpus")) -> list[str]:
    """Returns the models of the GPUs that NVIDIA's driver knows, without loading its libraries."""
    files = sorted(folder.glob("*/information"))
    lines = [line for file in files for line in file.read_text().splitlines() if line.startswith("Model:")]
    return [line.partition(":")[2].strip() for line in lines]


def _gpu_backends() -> list[str]:
    """Returns the installed backends that were built for CUDA, by their packages: to import them takes seconds."""
    marks = {
        "tensorflow": any(_installed(f"nvidia-cudnn-cu{major}") for major in (12, 13)),
        "jax": any(_installed(f"jax-cuda{major}-plugin") for major in (12, 13)),
        "torch": "+cpu" not in _installed("torch"),
    }
    return [name for name, has_cuda in marks.items() if has_cuda and _installed(name)]


def _training_gpu() -> Finding:
    gpus = _nvidia_gpus()
    if not gpus:
        return Finding("GPU for training", "note", "none of NVIDIA's with a driver: training takes the CPU")
    models = ", ".join(sorted(set(gpus)))
    backends = _gpu_backends()
    if not backends:
        fix = "pip install 'jax[cuda13]', and train with --backend jax"
        return Finding("GPU for training", "note", f"{len(gpus)} ({models}), but no backend built for CUDA", fix)
    return Finding("GPU for training", "ok", f"{len(gpus)} ({models}), with {' or '.join(backends)}")


def _governor() -> Finding:
    file = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if not file.is_file():
        return Finding("governor", "note", "not readable on this machine")
    governor = file.read_text().strip()
    if governor == "performance":
        return Finding("governor", "ok", governor)
    fix = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
    return Finding("governor", "note", f"{governor}: latencies will vary", fix)


def _checks() -> list[Callable[[], Finding]]:
    return [
        _python,
        _system,
        _memory,
        _numpy_clash,
        _opencv,
        _runtime,
        _embedded_model,
        _governor,
        _training_backends,
        _training_gpu,
        _extra("tensorflow", "tensorflow", "train"),
        _extra("keras", "keras", "train"),
        _extra("matplotlib", "matplotlib", "report"),
        _extra("ImageHash", "imagehash", "data"),
        _extra("scikit-learn", "sklearn", "data"),
        _extra("cleanlab", "cleanlab", "data"),
        _extra("pyarrow", "pyarrow", "data"),
        _extra("paho-mqtt", "paho", "camera"),
        _extra("starlette", "starlette", "serve"),
        _extra("uvicorn", "uvicorn", "serve"),
        _extra("prometheus-client", "prometheus_client", "serve"),
    ]


def _device_checks(surroundings: Surroundings) -> list[Callable[[Surroundings], Finding | None]]:
    """Returns what is looked at on a Raspberry Pi, and where a camera is wanted; nothing on any other machine."""
    checks: list[Callable[[Surroundings], Finding | None]] = [_disk]
    checks += PI_CHECKS if surroundings.is_pi else ()
    checks += CAMERA_CHECKS if surroundings.is_pi or surroundings.is_camera_wanted else ()
    return checks


def _look(surroundings: Surroundings) -> list[Finding]:
    found = [check() for check in _checks()]
    if surroundings.is_pi:
        found.insert(1, Finding("board", "ok", surroundings.board))
    return found + [finding for check in _device_checks(surroundings) if (finding := check(surroundings)) is not None]


def _print(findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f"{GLYPHS[finding.status]} {finding.name}: {finding.detail}")
        if finding.fix:
            click.echo(f"   fix: {finding.fix}")


@click.command(name="doctor")
@click.option(
    "--camera", "is_camera_wanted", is_flag=True, help="A camera is wanted: none, or a closed one, is a problem."
)
@json_option
def command(is_camera_wanted: bool, as_json: bool) -> None:
    """Look at this machine and name the fix for what is wrong. Exit 1 when the device side cannot work.

    On a Raspberry Pi it looks at power, heat, memory and the camera, too.
    """
    surroundings = look_around(os.environ, numpy_version=_installed("numpy"), is_camera_wanted=is_camera_wanted)
    findings = _look(surroundings)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        _print(findings)
    problems = [finding for finding in findings if finding.status == "problem"]
    if problems:
        raise CheckFailedError(
            f"Expected a machine that can run edgegender, got {len(problems)} problem(s): "
            f"{', '.join(finding.name for finding in problems)}.",
            hint=problems[0].fix,
        )
