"""Machines that are not here, built from files: what doctor reads of a Raspberry Pi or a PC."""

from __future__ import annotations

from pathlib import Path

from edgegender.cli.doctor_findings import Surroundings

PI_5 = "Raspberry Pi 5 Model B Rev 1.0"


def write(root: Path, name: str, text: str = "") -> Path:
    """Writes a file below the root of a made-up machine."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def write_program(folder: Path, name: str, printed: str, *, exit_code: int = 0) -> None:
    """Writes a program that prints a text."""
    program = write(folder, name, f"#!/bin/sh\ncat <<'TEXT'\n{printed}\nTEXT\nexit {exit_code}\n")
    program.chmod(0o755)


def machine(root: Path, *, board: str = PI_5, **facts: object) -> Surroundings:
    """Returns a 64-bit machine with a virtual environment of its own, and nothing else below its root."""
    if board:
        write(root, "proc/device-tree/model", f"{board}\0")
    write(root, "home/venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    made: dict[str, object] = {
        "root": root,
        "search_path": str(root / "bin"),
        "kernel_architecture": "aarch64",
        "userland_bits": 64,
        "prefix": root / "home/venv",
        "numpy_version": "2.2.6",
        "groups": frozenset({"video"}),
        "has_display": False,
        "free_bytes": 10**10,
    }
    return Surroundings(**{**made, **facts})  # type: ignore[arg-type]
