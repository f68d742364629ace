"""What doctor found, and the facts about a machine that its checks read."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GLYPHS = {"ok": "✅", "note": "➖", "problem": "❌"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: What.
        status: ``ok``, ``note`` (worth knowing, or an extra that is not there) or ``problem``.
        detail: What was found.
        fix: The command or step that mends it.
    """

    name: str
    status: str
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Surroundings:
    """Where and as whom this process runs. Checks read nothing else, so that a test can build any machine.

    Args:
        root: Where ``/proc``, ``/sys``, ``/dev``, ``/etc`` and ``/usr`` are read from.
        search_path: Folders in which programs are looked for, separated by colons (``PATH``).
        kernel_architecture: Such as ``x86_64``, ``aarch64``, ``armv7l``.
        userland_bits: 64 or 32: what programs are built for.
        prefix: Folder of this Python; of a virtual environment where it is one.
        numpy_version: Version of numpy in here.
        groups: Names of the groups that this process is in.
        has_display: Whether a window could be opened.
        free_bytes: Room in the working folder.
        is_camera_wanted: Whether the caller asked for a camera, so that none is a problem.
    """

    root: Path
    search_path: str
    kernel_architecture: str
    userland_bits: int
    prefix: Path
    numpy_version: str
    groups: frozenset[str]
    has_display: bool
    free_bytes: int
    is_camera_wanted: bool = False

    def read(self, name: str) -> str:
        """Returns the text of a file below the root, empty where there is none."""
        try:
            return (self.root / name).read_text("utf-8", errors="replace").strip("\0 \n\t")
        except OSError:
            return ""

    def find_program(self, *names: str) -> str | None:
        """Returns the path of the first program that is there."""
        found = (shutil.which(name, path=self.search_path) for name in names)
        return next((path for path in found if path is not None), None)

    @property
    def board(self) -> str:
        """The device tree's model, such as ``Raspberry Pi 5 Model B Rev 1.0``; empty on a PC."""
        return self.read("proc/device-tree/model")

    @property
    def is_pi(self) -> bool:
        """Whether this is a Raspberry Pi."""
        return self.board.startswith("Raspberry Pi")


def look_around(environment: Mapping[str, str], *, numpy_version: str, is_camera_wanted: bool = False) -> Surroundings:
    """Returns the facts of this machine and process.

    Args:
        environment: ``os.environ``.
        numpy_version: Version of numpy in here.
        is_camera_wanted: Whether the caller asked for a camera.
    """
    import grp

    own = {*os.getgroups(), os.getegid()}
    return Surroundings(
        root=Path("/"),
        search_path=environment.get("PATH", os.defpath),
        kernel_architecture=platform.machine(),
        userland_bits=struct.calcsize("P") * 8,
        prefix=Path(sys.prefix),
        numpy_version=numpy_version,
        groups=frozenset(group.gr_name for group in grp.getgrall() if group.gr_gid in own),
        has_display=bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")),
        free_bytes=shutil.disk_usage(Path.cwd()).free,
        is_camera_wanted=is_camera_wanted,
    )
