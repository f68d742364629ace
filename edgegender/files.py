"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from edgegender.errors import OutputError

HASH_BLOCK_BYTES = 1 << 20
_PART_PREFIX = ".part-"


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Expected to write {path}, got {error.strerror or error}.",
        hint="Choose a folder that you may write to and that has room.",
    )


def make_folder(path: Path) -> Path:
    """Returns ``path`` after making it and its parents.

    Raises:
        OutputError: The folder cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    return path


@contextlib.contextmanager
def replacing(path: Path, *, is_synced: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside ``path``; on success it is synced and takes the place of ``path``.

    When the block raises, the temporary file is removed and ``path`` stays as it was.

    Args:
        path: The file.
        is_synced: Wait until the disk has it. Without, a power cut may leave an empty file, a kill does not: for
            thousands of small files whose writer syncs once at the end.

    Raises:
        OutputError: The folder is not writable or full, or ``path`` is a folder or a device.
    """
    make_folder(path.parent)
    try:
        is_taken = path.exists() and not path.is_file()
    except OSError as error:
        raise _cannot_write(path, error) from error
    if is_taken:  # os.replace would put a plain file in the place of /dev/null for the superuser
        raise OutputError(
            f"Expected a file or nothing at {path}, got a folder or a device.", hint="Choose another name."
        )
    # The name is known before the file is: mkstemp leaves a file without an owner when Ctrl-C arrives inside of it.
    temporary = path.parent / f"{_PART_PREFIX}{secrets.token_hex(8)}{path.suffix}"
    try:
        temporary.touch(mode=0o600, exist_ok=False)
        yield temporary
        if is_synced:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # private while it is made; a result is as readable as any other file
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remove_leftovers(folder: Path, *, unchanged_for_s: float | None = None) -> None:
    """Removes the temporary files that a killed process left in ``folder``.

    Args:
        folder: Where.
        unchanged_for_s: Leaves those that were written to within so many seconds, for somebody may be at it; ``None``:
            nobody writes there.
    """
    with contextlib.suppress(OSError):
        for part in folder.glob(f"{_PART_PREFIX}*"):
            if unchanged_for_s is None or time.time() - part.stat().st_mtime > unchanged_for_s:
                part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, *, is_synced: bool = True) -> None:
    """Writes ``content`` to ``path``, whole or not at all. See :func:`replacing`.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path, is_synced=is_synced) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` as UTF-8 to ``path``, whole or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Writes ``value`` as indented JSON to ``path``, whole or not at all; NaN is refused.

    Raises:
        OutputError: The file cannot be written.
        ValueError: ``value`` holds NaN or infinity.
    """
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def hash_file(path: Path) -> str:
    """Returns the sha256 of a file as 64 hexadecimal digits, reading 1 MiB at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
