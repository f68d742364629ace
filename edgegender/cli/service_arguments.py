"""The camera's arguments as those of a service: whole paths, no secrets, and what they ask of the unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from edgegender.cli.service_unit import quote
from edgegender.errors import UsageError

INSTALL_OPTION = "--install-service"
_FIFO = "fifo:"


def option_value(arguments: Sequence[str], option: str) -> str:
    """Returns what stands behind an option, as ``--name VALUE`` or ``--name=VALUE``; empty where it is not there."""
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.partition("=")[2]
        if argument == option:
            return arguments[index + 1] if index + 1 < len(arguments) else ""
    return ""


def _existing_file(value: str, option: str) -> Path:
    path = Path(value)
    if not path.is_file():
        raise UsageError(f"Expected a file, got none at {path.absolute()} ({option}).")
    return path.absolute()


def _refuse_password(value: str, option: str) -> None:
    try:
        has_password = urlsplit(value).password is not None
    except ValueError:
        has_password = "@" in value
    if has_password:
        raise UsageError(
            f"Expected no password among the arguments of a service, got one ({option}).",
            hint=f"Everybody on this machine can read a unit. Write the address into a file with mode 600, and give "
            f"{option} @FILE.",
        )


class ServiceArguments:
    """The arguments behind ``edgegender camera``, read for a unit.

    Args:
        arguments: As they were typed; ``--install-service`` among them is left out.
        is_user_service: The service runs as the caller, so that it opens secret files itself.

    Attributes:
        words: For ``ExecStart=``, quoted, with whole paths.
        reads: Files and folders that the service must be able to read.
        writable: Folders that it must be able to write.
        credentials: (name, file) of secrets that systemd reads for it.
        needs_network: Whether there is a stream, a preview or a broker.

    Raises:
        UsageError: A file is not there; a password, a token, a window or standard input is among the arguments.
    """

    def __init__(self, arguments: Sequence[str], *, is_user_service: bool) -> None:
        self.words: list[str] = []
        self.reads: list[Path] = []
        self.writable: list[Path] = []
        self.credentials: list[tuple[str, Path]] = []
        self.needs_network = False
        self._is_user_service = is_user_service
        takers: dict[str, Callable[[str, str], str]] = {
            "--source": self._take_source,
            "--mqtt": self._take_address,
            "--preview": self._take_preview,
            "--token-file": self._take_secret,
            "--token": self._refuse_token,
            "--model": self._take_file,
            "--detector-path": self._take_file,
            "--record": self._take_record,
        }
        waiting = iter([argument for argument in arguments if argument != INSTALL_OPTION])
        for argument in waiting:
            option, equals, value = argument.partition("=")
            if option == "--window":
                raise UsageError(
                    "Expected arguments that a service can have, got --window.",
                    hint="A service has no display. Give --preview 127.0.0.1:8080.",
                )
            if option in takers:
                self.words += [option, takers[option](option, value if equals else next(waiting, ""))]
            else:
                self.words.append(quote(argument))

    def _take_source(self, option: str, value: str) -> str:
        if value == "-":
            raise UsageError(
                "Expected a source that a service can open, got standard input (--source -).", hint="Name a camera."
            )
        if value.startswith("@") or "://" in value:
            return self._take_address(option, value)
        prefix = _FIFO if value.startswith(_FIFO) else ""
        path = Path(value.removeprefix(prefix))
        if not path.exists() or path.is_char_device():
            return quote(value)
        self.reads.append(path.absolute())
        return quote(f"{prefix}{path.absolute()}")

    def _take_address(self, option: str, value: str) -> str:
        self.needs_network = True
        if value.startswith("@"):
            return self._take_secret(option, value[1:], prefix="@")
        _refuse_password(value, option)
        return quote(value)

    def _take_preview(self, option: str, value: str) -> str:
        del option
        self.needs_network = True
        return quote(value)

    def _take_secret(self, option: str, value: str, *, prefix: str = "") -> str:
        path = _existing_file(value, option)
        if self._is_user_service:
            return quote(f"{prefix}{path}")
        name = option.removeprefix("--").removesuffix("-file")
        self.credentials.append((name, path))
        return f"{prefix}%d/{name}"

    def _refuse_token(self, option: str, value: str) -> str:
        del value
        raise UsageError(
            f"Expected no secret among the arguments of a service, got {option}.",
            hint="Everybody on this machine can read a unit. Write it into a file with mode 600: --token-file FILE",
        )

    def _take_file(self, option: str, value: str) -> str:
        path = _existing_file(value, option)
        self.reads.append(path)
        return quote(str(path))

    def _take_record(self, option: str, value: str) -> str:
        del option
        path = Path(value)
        if path.is_absolute():
            self.writable.append(path.parent)
        return quote(value)  # a relative one lands in the state folder
