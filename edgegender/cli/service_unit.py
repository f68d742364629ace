"""The text of a systemd unit that runs the camera with no more rights than it needs. Pure: nothing is looked up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

WATCHDOG_S = 30
_PLAIN_WORD = re.compile(r"[A-Za-z0-9_./:@,+-]+")  # `=` is left out: VAR=value has a meaning of its own to a reader

# What libcamera and V4L2 open. Source: /proc/devices of Raspberry Pi OS, libcamera's udev rules.
_DEVICES = (
    "char-video4linux rw",  # /dev/video*, /dev/v4l-subdev*
    "char-media rw",  # /dev/media*
    "char-dma_heap rw",  # /dev/dma_heap/*: frames of the Raspberry Pi's camera
    "/dev/udmabuf rw",  # the same where there is no such heap
    "/dev/vchiq rw",  # the firmware, of boards before the Pi 5
    "/dev/vcio rw",
)
# Work in a user's own service manager, too: they need no right to set up. Source: systemd.exec(5)
_LOCKED_PROCESS = (
    "NoNewPrivileges=yes",
    "LockPersonality=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",  # a library that would like a higher priority goes on without
    "UMask=0077",
)
_LOCKED_SYSTEM = (
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=read-only",  # a virtual environment or a model may stand in a home folder
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "PrivateTmp=yes",
    "RemoveIPC=yes",
    "KeyringMode=private",
    "DevicePolicy=closed",
)


@dataclass(frozen=True)
class ServicePlan:
    """All that a unit says which is not the same for everybody.

    Args:
        name: Name of the unit, without ``.service``, and of its state folder below ``/var/lib``.
        words: The command and its arguments, each quoted by :func:`quote`.
        user: Who it runs as; empty: a user that exists only while the service runs (``DynamicUser``).
        groups: Further groups, such as ``video``.
        credentials: (name, file): files that systemd hands to the service alone, as ``%d/name``.
        writable: Folders that may be written besides the state folder.
        needs_network: Whether a stream, a preview or a broker was asked for. Without, there is no network.
        is_user_service: Whether it is for the service manager of a user.
    """

    name: str
    words: tuple[str, ...]
    user: str = ""
    groups: tuple[str, ...] = ()
    credentials: tuple[tuple[str, Path], ...] = ()
    writable: tuple[Path, ...] = ()
    needs_network: bool = False
    is_user_service: bool = False


def quote(word: str) -> str:
    """Returns one word of ``ExecStart=`` such that systemd hands on exactly these characters.

    Percent signs and dollars are doubled (specifiers, variables), quotes and backslashes escaped.

    Source: systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting".
    """
    doubled = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN_WORD.fullmatch(doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def _section(name: str, lines: Sequence[str]) -> str:
    return "\n".join((f"[{name}]", *lines)) + "\n"


def _service_lines(plan: ServicePlan) -> list[str]:
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={' '.join(plan.words)}",
        f"WatchdogSec={WATCHDOG_S}",
        "Restart=on-failure",
        "RestartSec=5",
        "RestartPreventExitStatus=2",  # wrong usage stays wrong
        "SuccessExitStatus=143",  # stopped by SIGTERM
        "TimeoutStopSec=15",
        "KillMode=mixed",  # the process that owns the Pi's camera is told by ours
        "# Each face is an event on standard output: the journal would store them all.",
        "StandardOutput=null",
        "StandardError=journal",
        f"SyslogIdentifier={plan.name}",
        f"StateDirectory={plan.name}",
        "StateDirectoryMode=0700",
        f"WorkingDirectory=%S/{plan.name}",
        "MemoryMax=60%",
        "OOMScoreAdjust=500",  # on a small board it goes before the way in does (sshd), and comes back
    ]


def _user_lines(plan: ServicePlan) -> list[str]:
    lines = [f"User={plan.user}" if plan.user else "DynamicUser=yes"]
    if plan.groups:
        lines.append(f"SupplementaryGroups={' '.join(plan.groups)}")
    lines += [f"LoadCredential={name}:{str(path).replace('%', '%%')}" for name, path in plan.credentials]
    if plan.writable:
        lines.append(f"ReadWritePaths={' '.join(quote(str(path)) for path in plan.writable)}")
    return [*lines, *_LOCKED_SYSTEM, *(f"DeviceAllow={device}" for device in _DEVICES)]


def _network_lines(plan: ServicePlan) -> list[str]:
    families = "AF_UNIX AF_NETLINK"  # systemd, and udev's list of cameras
    if plan.needs_network:
        return [f"RestrictAddressFamilies={families} AF_INET AF_INET6"]
    lines = [f"RestrictAddressFamilies={families}"]
    return lines if plan.is_user_service else [*lines, "IPAddressDeny=any"]


def render_unit(plan: ServicePlan) -> str:
    """Returns the unit as a text. A user's own manager cannot give rights away, so its unit has fewer locks."""
    unit = (
        "Description=edgegender camera",
        *(("Wants=network-online.target", "After=network-online.target") if plan.needs_network else ()),
        "StartLimitIntervalSec=0",  # never give up: a camera may come back after a week
    )
    service = _service_lines(plan)
    service += [] if plan.is_user_service else _user_lines(plan)
    service += [*_LOCKED_PROCESS, *_network_lines(plan)]
    install = (f"WantedBy={'default' if plan.is_user_service else 'multi-user'}.target",)
    head = "# Written by `edgegender camera --install-service`, which replaces it. Own settings: systemctl edit.\n"
    return head + "\n".join((_section("Unit", unit), _section("Service", service), _section("Install", install)))
