"""``edgegender camera --install-service``: the camera as a systemd service, and the process's side of it."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from edgegender.cli.console import models_folder, note, require_writable
from edgegender.cli.service_arguments import INSTALL_OPTION, ServiceArguments, option_value
from edgegender.cli.service_unit import ServicePlan, quote, render_unit
from edgegender.errors import OutputError, UsageError
from edgegender.files import write_text
from edgegender.runtime.heartbeat import Heartbeat

SYSTEM_UNITS = Path("/etc/systemd/system")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PULLED_DETECTORS = ("yunet", "blazeface")
_CAMERA_GROUPS = ("video", "render")


def connect_heartbeat(environment: Mapping[str, str]) -> Heartbeat:
    """Returns the signs of life that systemd asked this process for; silent ones where it did not.

    Args:
        environment: ``os.environ``: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are read.

    Raises:
        UsageError: ``NOTIFY_SOCKET`` is no local socket.
    """
    text = environment.get("WATCHDOG_USEC", "")
    is_meant = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    watchdog_us = int(text) if is_meant and text.isdecimal() else None
    return Heartbeat(environment.get("NOTIFY_SOCKET"), watchdog_us=watchdog_us)


def _name_pulled_detector(arguments: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Returns the arguments with the pulled detector's file: a service has no home to look for it in."""
    detector = option_value(arguments, "--detector")
    if detector not in _PULLED_DETECTORS or option_value(arguments, "--detector-path"):
        return list(arguments)
    from edgegender.downloads import DOWNLOADABLE, find

    folders = [models_folder()]
    if environment.get("SUDO_USER"):
        folders.append(Path(pwd.getpwnam(environment["SUDO_USER"]).pw_dir) / ".cache" / "edgegender" / "models")
    for folder in folders:
        if (file := find(DOWNLOADABLE[detector], folder)) is not None:
            return [*arguments, "--detector-path", str(file)]
    raise UsageError(
        f"Expected the file of {detector}, got none in {' and '.join(map(str, folders))}.",
        hint=f"edgegender models pull {detector}, or name it with --detector-path.",
    )


def _program() -> list[str]:
    """Returns the command that started this process, with whole paths."""
    script = Path(sys.executable).with_name("edgegender")
    return [str(script)] if script.is_file() else [sys.executable, "-m", "edgegender"]


def _is_open_to_all(path: Path) -> bool:
    try:
        is_readable = bool(path.stat().st_mode & stat.S_IROTH)
        return is_readable and all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
    except OSError:
        return False


def _choose_user(user: str | None, reads: Sequence[Path], writable: Sequence[Path]) -> str:
    """Returns who the service runs as: the one named, nobody in particular, or the owner of what others cannot read."""
    if user is not None:
        try:
            pwd.getpwnam(user)
        except KeyError as error:
            raise UsageError(f"Expected a user of this machine, got {user!r}.", hint="getent passwd") from error
        return user
    closed = [path for path in reads if not _is_open_to_all(path)] + list(writable)
    if not closed:
        return ""
    owner_id = next((path.stat().st_uid for path in closed if path.exists()), 0)
    if owner_id == 0:
        raise UsageError(
            f"Expected files that a service without the superuser's rights can use, got {closed[0]}.",
            hint=f"Move it: models and environments below /opt, recordings below /var/lib with a relative --record. "
            f"Or give a user who may use {closed[0]}.",
        )
    return pwd.getpwuid(owner_id).pw_name


def _existing_groups(names: Sequence[str]) -> tuple[str, ...]:
    import grp

    known = {group.gr_name for group in grp.getgrall()}
    return tuple(name for name in names if name in known)


def plan_service(
    camera_arguments: Sequence[str],
    *,
    name: str = "edgegender-camera",
    user: str | None = None,
    is_user_service: bool = False,
) -> ServicePlan:
    """Returns what a service that runs the camera with these arguments needs.

    Args:
        camera_arguments: What stands behind ``edgegender camera``; ``--install-service`` among them is left out.
        name: Name of the unit.
        user: Who it runs as. ``None``: nobody in particular (``DynamicUser``); the owner, where the environment, the
            model or the folder of a recording is closed to others.
        is_user_service: Whether it is for the caller's own service manager.

    Raises:
        UsageError: The name or user is wrong; a file is not there; a password, a token, a window or standard input is
            among the arguments.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"Expected a name of letters, digits, - and _, got {name!r}.")
    arguments = _name_pulled_detector(camera_arguments, os.environ)
    needs = ServiceArguments(arguments, is_user_service=is_user_service)
    program = _program()
    reads = [Path(sys.prefix), Path(sys.executable).resolve(), *needs.reads]
    return ServicePlan(
        name=name,
        words=(*map(quote, (*program, "camera")), *needs.words),
        user="" if is_user_service else _choose_user(user, reads, needs.writable),
        groups=() if is_user_service else _existing_groups(_CAMERA_GROUPS),
        credentials=tuple(needs.credentials),
        writable=tuple(dict.fromkeys(needs.writable)),
        needs_network=needs.needs_network,
        is_user_service=is_user_service,
    )


def _next_steps(name: str, *, is_user_service: bool) -> tuple[str, ...]:
    systemctl, journal = (
        ("systemctl --user", "journalctl --user") if is_user_service else ("sudo systemctl", "journalctl")
    )
    lingering = ('sudo loginctl enable-linger "$USER"  # start it at boot, not at login',) if is_user_service else ()
    return (
        f"{systemctl} daemon-reload",
        f"{systemctl} enable --now {name}",
        *lingering,
        f"systemctl {'--user ' if is_user_service else ''}status {name}",
        f"{journal} -u {name} -f",
    )


def _require_rights(path: Path, camera_arguments: Sequence[str]) -> None:
    try:
        require_writable(path)
    except OutputError as error:
        given = [argument for argument in camera_arguments if argument != INSTALL_OPTION]
        command = shlex.join(["sudo", *_program(), "camera", *given, INSTALL_OPTION])
        raise OutputError(f"Expected a unit that can be written, got no right to ({path}).", hint=command) from error


def install_service(
    camera_arguments: Sequence[str],
    *,
    name: str = "edgegender-camera",
    user: str | None = None,
    unit_folder: Path | None = None,
    is_user_service: bool = False,
    is_dry_run: bool = False,
) -> Path:
    """Writes a systemd unit that runs the camera, says what to run next, and returns its path. Nothing is started.

    Args:
        camera_arguments: See :func:`plan_service`.
        name: Name of the unit.
        user: See :func:`plan_service`.
        unit_folder: Where it goes. ``None``: ``/etc/systemd/system``; ``~/.config/systemd/user`` of a user's service.
        is_user_service: Write it for the caller's own service manager, which needs no superuser but has fewer locks.
        is_dry_run: Print it on standard output and write nothing.

    Raises:
        UsageError: See :func:`plan_service`.
        OutputError: The folder cannot be written: it takes the superuser.
    """
    unit = render_unit(plan_service(camera_arguments, name=name, user=user, is_user_service=is_user_service))
    folder = unit_folder or (Path.home() / ".config" / "systemd" / "user" if is_user_service else SYSTEM_UNITS)
    path = folder / f"{name}.service"
    if is_dry_run:
        click.echo(unit, nl=False)
        return path
    if not is_user_service:
        _require_rights(path, camera_arguments)
    write_text(path, unit)
    note(f"{path} is written. Next:")
    for line in _next_steps(name, is_user_service=is_user_service):
        note(f"  {line}")
    return path
