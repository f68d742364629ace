"""What doctor looks at where a camera is wanted: is one there, who may open it, who has it open, is there a display."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgegender.cli.doctor_findings import Finding, Surroundings

_LIST_TIMEOUT_S = 15.0
# Video nodes of a Raspberry Pi that are codecs and image processors, not cameras.
_NO_CAMERA = ("bcm2835-codec", "bcm2835-isp", "rpivid", "rpi-hevc", "hevc-dec", "pispbe", "pisp_be")
_CSI_RECEIVERS = ("unicam", "rp1-cfe")  # there only where a sensor answered
_SEAT_CABLE = (
    "Power off, push the ribbon cable home at both ends with its contacts the right way round, start again, and look "
    "with: rpicam-hello --list-cameras"
)
_PLUG_IN = "Plug in a USB camera: it shows up as /dev/video0."


def _video_nodes(surroundings: Surroundings) -> dict[str, str]:
    """Returns the name of each camera's first node, such as ``{"video0": "HD Pro Webcam C920"}``."""
    found = {}
    for folder in sorted((surroundings.root / "sys/class/video4linux").glob("video*")):
        relative = f"sys/class/video4linux/{folder.name}"
        name, index = surroundings.read(f"{relative}/name"), surroundings.read(f"{relative}/index")
        is_first = index in ("", "0")  # a USB camera has a second node for metadata
        if is_first and not name.startswith((*_NO_CAMERA, *_CSI_RECEIVERS)):
            found[folder.name] = name or folder.name
    return found


def _has_csi_receiver(surroundings: Surroundings) -> bool:
    names = (surroundings.root / "sys/class/video4linux").glob("video*/name")
    return any(surroundings.read(str(name.relative_to(surroundings.root))).startswith(_CSI_RECEIVERS) for name in names)


def _libcamera_cameras(surroundings: Surroundings) -> list[str] | None:
    """Returns the sensors that libcamera lists, ``None`` where its program is not there or does not answer."""
    program = surroundings.find_program("rpicam-hello", "libcamera-hello")
    if program is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - the system's own tool, without input of a user
            [program, "--list-cameras"], capture_output=True, text=True, timeout=_LIST_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return re.findall(r"^\s*\d+ : (\S+) \[", answer.stdout, re.MULTILINE)


def camera(surroundings: Surroundings) -> Finding:
    """Returns which cameras are there."""
    nodes = [f"/dev/{node} ({name})" for node, name in _video_nodes(surroundings).items()]
    sensors = _libcamera_cameras(surroundings)
    if sensors is None and _has_csi_receiver(surroundings):
        sensors = ["a sensor on the ribbon cable"]
    cameras = [*(f"{sensor} (picamera)" for sensor in sensors or []), *nodes]
    if cameras:
        return Finding("camera", "ok", ", ".join(cameras))
    status = "problem" if surroundings.is_camera_wanted else "note"
    if surroundings.is_pi:
        return Finding("camera", status, "none on the ribbon cable, none on USB", _SEAT_CABLE)
    return Finding("camera", status, "no capture device", _PLUG_IN)


def camera_rights(surroundings: Surroundings) -> Finding | None:
    """Returns a problem where there are video devices that this user may not open."""
    nodes = sorted((surroundings.root / "dev").glob("video*"))
    is_effective = os.access in os.supports_effective_ids
    closed = [node.name for node in nodes if not os.access(node, os.R_OK | os.W_OK, effective_ids=is_effective)]
    if not closed:
        return None
    if "video" in surroundings.groups:
        detail = f"this user may not open /dev/{closed[0]}, in the group video as it is"
        return Finding("camera rights", "problem", detail, f"ls -l /dev/{closed[0]}, and look for a rule of udev.")
    fix = 'sudo usermod -aG video "$USER", and log in again'
    return Finding("camera rights", "problem", f"this user may not open /dev/{closed[0]}: not in the group video", fix)


def _open_files(process: Path) -> set[str]:
    """Returns what a process has open; nothing of a process that is not ours to look at, or is gone."""
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            found.add(str(descriptor.readlink()))
    except OSError:
        return found
    return found


def camera_in_use(surroundings: Surroundings) -> Finding | None:
    """Returns which programs have a camera open. A camera gives its frames to one program only."""
    nodes = {f"/dev/{node}" for node in _video_nodes(surroundings)}
    users = []
    for process in sorted((surroundings.root / "proc").glob("[0-9]*")):
        if taken := _open_files(process) & nodes:
            name = surroundings.read(f"proc/{process.name}/comm")
            users.append(f"{name or 'a program'} ({process.name}) has {', '.join(sorted(taken))} open")
    if not users:
        return None
    fix = "End it where the camera is called busy. All of them: sudo fuser -v /dev/video* /dev/media*"
    return Finding("camera in use", "note", "; ".join(users), fix)


def display(surroundings: Surroundings) -> Finding:
    """Returns whether ``--window`` can work."""
    if surroundings.has_display:
        return Finding("display", "ok", "there")
    fix = "See the picture in a browser: edgegender camera --preview 127.0.0.1:8080"
    return Finding("display", "note", "none: --window cannot be used", fix)


CAMERA_CHECKS: tuple[Callable[[Surroundings], Finding | None], ...] = (camera, camera_rights, camera_in_use, display)
