"""What is known about a video device without opening a stream: is it there, may we, who has it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_DEVICE_FOLDER = Path("/dev")


def list_devices(folder: Path = _DEVICE_FOLDER) -> list[str]:
    """Returns the video devices of this machine, by number."""
    found = [path for path in folder.glob("video*") if path.name[5:].isdecimal()]
    return [str(path) for path in sorted(found, key=lambda path: int(path.name[5:]))]


def devices_hint(folder: Path = _DEVICE_FOLDER) -> str:
    """Returns which devices could be meant."""
    devices = list_devices(folder)
    if devices:
        return f"There are: {', '.join(devices)}."
    return "There is no video device: look at the cable. A Raspberry Pi camera is called picamera."


def find_holder(path: str) -> str:
    """Returns the process that has a device open, such as ``motion (process 812)``; empty where none is seen.

    Processes of other users are seen by root only.
    """
    target = os.path.realpath(path)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        process = folder.parent
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError):  # it ended, or belongs to another user
            if any(os.path.realpath(link) == target for link in folder.iterdir()):
                name = (process / "comm").read_text(errors="replace").strip()
                return f"{name} (process {process.name})"
    return ""


def find_fault(path: str) -> str:
    """Returns why a device cannot be opened; empty where that is not known before it is tried.

    Nothing is opened: a driver that hangs would take the caller along.
    """
    if not Path(path).exists():
        return f"there is no {path}"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path} may not be opened by this user (sudo usermod -aG video $USER, then log in again)"
    return ""


def explain_failure(path: str) -> str:
    """Returns why a device could not be opened; empty where that is not known."""
    fault = find_fault(path)
    if fault:
        return fault
    holder = find_holder(path)
    return f"{path} is in use by {holder}" if holder else ""
