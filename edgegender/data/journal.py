"""What a long run has done so far, so that a killed one goes on where it stopped."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from edgegender import files
from edgegender.errors import OutputError, UsageError

_FLUSH_ENTRIES = 50  # a kill costs at most so many photos' work; waiting for the disk would cost more than they do
_OPEN_TRIES = 3
_Entry = TypeVar("_Entry", bound=tuple[object, ...])


class Journal:
    """An append-only file of (key, value) entries, one JSON line each, that one process writes at a time.

    The first line holds the settings of the run: a journal of other settings is started anew. A torn last line, left
    by a kill or a power cut, is dropped with all that follows it. Use it as a context manager; who has written the
    result down removes the file.

    Args:
        path: The file; its folder is made.
        settings: All that the values depend on.

    Raises:
        OutputError: The file cannot be written.
        UsageError: Another process writes it.
    """

    def __init__(self, path: Path, settings: Mapping[str, object]) -> None:
        self.path = path
        self._settings = {"edgegender_journal": 1, **settings}
        self.entries: dict[str, list[object]] = {}
        self._unflushed = 0
        files.make_folder(path.parent)
        self._stream = self._open()
        try:
            self._load()
        except BaseException:
            self._stream.close()
            raise

    def _open(self) -> IO[bytes]:
        try:
            if self.path.exists() and not self.path.is_file():  # /dev/zero has lines without an end
                raise OutputError(
                    f"Expected a file or nothing at {self.path}, got a folder or a device.", hint="Choose another name."
                )
            for _ in range(_OPEN_TRIES):
                stream = self.path.open("a+b")
                self._lock(stream)
                if self._is_at_path(stream):
                    break
                stream.close()  # the run before removed the file between our opening and our locking it
        except OSError as error:
            raise OutputError(
                f"Expected a file that can be written, got {error.strerror or error} ({self.path}).",
                hint="Choose another name or folder.",
            ) from error
        return stream

    def _lock(self, stream: IO[bytes]) -> None:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            stream.close()
            raise UsageError(
                f"Expected one run at a time, got another that is writing {self.path}.",
                hint="Wait for it, or choose another output.",
            ) from error
        except OSError:
            return  # some network disks know no locks: not to start two runs at once is then up to the user

    def _is_at_path(self, stream: IO[bytes]) -> bool:
        try:
            return os.path.samestat(os.fstat(stream.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _load(self) -> None:
        self._stream.seek(0)
        good_end = 0
        is_ours = False
        for line in self._stream:
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):  # the latter: ten thousand brackets
                break
            if good_end == 0:
                is_ours = value == json.loads(json.dumps(self._settings))
                if not is_ours:
                    break
            elif isinstance(value, list) and [type(part) for part in value] == [str, list]:
                self.entries[value[0]] = value[1]
            else:
                break
            good_end += len(line)
        self._stream.truncate(good_end)
        if not is_ours:
            self._append(self._settings)

    def _append(self, value: object) -> None:
        self._stream.write(json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")

    def add(self, key: str, value: list[object]) -> None:
        """Writes an entry down.

        Raises:
            OutputError: The disk is full.
        """
        try:
            self._append([key, value])
            self._unflushed += 1
            if self._unflushed >= _FLUSH_ENTRIES:
                self._stream.flush()
                self._unflushed = 0
        except OSError as error:
            raise OutputError(
                f"Expected room for the journal, got {error.strerror or error} ({self.path}).",
                hint="Make room and run the same command again: it goes on where it stopped.",
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk: what was flushed before stays
            self._stream.close()


def resume(
    keys: Iterable[str], known: Iterable[_Entry | None], fresh: Iterator[_Entry], journal: Journal | None
) -> Iterator[_Entry]:
    """Yields for each key what is known of it, or else the next fresh entry, which is written down first.

    Args:
        keys: In the order of the work.
        known: One a key; ``None`` where it must be done.
        fresh: What is done now, in the order of the keys that lack an entry.
        journal: Where; ``None`` keeps nothing.

    Raises:
        OutputError: The disk is full.
    """
    for key, before in zip(keys, known, strict=True):
        if before is not None:
            yield before
            continue
        entry = next(fresh)
        if journal is not None:
            journal.add(key, list(entry))
        yield entry
