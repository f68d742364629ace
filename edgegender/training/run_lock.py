"""One process trains in a run folder at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from edgegender.errors import OutputError, UsageError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock for the block; the system frees it when the process ends, however it ends.

    Args:
        path: The lock's file; it stays where it is, since removing it would let two processes in.

    Raises:
        UsageError: Another process holds it.
        OutputError: The file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(f"Expected to write {path}, got {error.strerror}.", hint="Choose another folder.") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"Expected a run that nobody trains, got one that is being trained ({path.parent}).",
                hint="Wait for the other process, or stop it.",
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):  # some network file systems have none
                raise
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Returns whether a process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    else:
        return False
    finally:
        os.close(descriptor)
