"""Every error that edgegender raises on purpose.

::

    EdgeGenderError                 exit code
    ├── UsageError (ValueError)         2   the request cannot be carried out as given
    │   └── ManifestError               2   a manifest breaks its format
    ├── DataError (ValueError)          2   the photos do not allow what was asked (no rows, one class, …)
    ├── ImageError (ValueError)         1   one photo cannot be read
    ├── ModelFileError (ValueError)     1   a model file is damaged, altered or not ours
    ├── CheckFailedError (RuntimeError) 1   a gate or a data check said no
    ├── OutputError (RuntimeError)      3   a result cannot be written
    ├── DownloadError (RuntimeError)    3   a file cannot be fetched or has another hash
    ├── ResultFileError (ValueError)    1   a recorded result is damaged, edited or of another schema
    ├── MeasurementError (RuntimeError) 3   the measuring process died
    ├── SourceError (RuntimeError)      3   a camera or stream is not there, or gives no frame
    ├── WorkerError (RuntimeError)      3   one of several processes that share the work died
    ├── TrainingError (RuntimeError)    3   training cannot go on (NaN loss, out of memory)
    ├── StoppedError (RuntimeError)   130   work was asked to stop and saved what it had (143 after SIGTERM)
    └── MissingDependencyError (ImportError) 3   an extra is not installed

A message reads "Expected <rule>, got <value> (<where>)." and ``hint`` says what to do next.
"""

from __future__ import annotations

import copyreg


class EdgeGenderError(Exception):
    """Root of all errors of this package.

    Args:
        message: One line: what was expected, what was found, where.
        hint: One line: what to do next. May be empty.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException would call __init__ with the message alone: an error with needed keywords would then break
        # the process pool that it was raised in.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(EdgeGenderError, ValueError):
    """An argument or a path does not make sense."""

    exit_code = 2


class ManifestError(UsageError):
    """A manifest lacks a column, repeats a path or cannot be parsed."""


class DataError(EdgeGenderError, ValueError):
    """The photos do not allow what was asked: no rows, one class only, overlapping splits."""

    exit_code = 2


class ImageError(EdgeGenderError, ValueError):
    """One photo cannot be read: damaged, too large, not a photo.

    Args:
        message: What was expected and what was found.
        kind: One of ``missing``, ``empty``, ``format``, ``truncated``, ``too_large``, ``damaged``.
        hint: What to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, kind: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


class ModelFileError(EdgeGenderError, ValueError):
    """A model file is truncated, altered, or was not made by edgegender."""

    exit_code = 1


class CheckFailedError(EdgeGenderError, RuntimeError):
    """A gate refused: the work was done and its result is not good enough."""

    exit_code = 1


class OutputError(EdgeGenderError, RuntimeError):
    """A result cannot be written where it was asked for."""

    exit_code = 3


class DownloadError(EdgeGenderError, RuntimeError):
    """A file cannot be fetched, or what arrived has another sha256."""

    exit_code = 3


class ResultFileError(EdgeGenderError, ValueError):
    """A recorded result is missing, damaged, edited, or of another schema."""

    exit_code = 1


class MeasurementError(EdgeGenderError, RuntimeError):
    """The measuring process died: out of memory, killed, or crashed in native code."""

    exit_code = 3


class SourceError(EdgeGenderError, RuntimeError):
    """A camera or stream is not there, is in use, or gives no frame."""

    exit_code = 3


class WorkerError(EdgeGenderError, RuntimeError):
    """One of the processes that share the work died: out of memory, killed, or crashed in native code."""

    exit_code = 3


class TrainingError(EdgeGenderError, RuntimeError):
    """Training cannot go on: the loss is not finite, memory ran out, the GPU or another process is not there."""

    exit_code = 3


class StoppedError(EdgeGenderError, RuntimeError):
    """Work was asked to stop, saved what it had, and can go on from there."""

    exit_code = 130  # 128 + SIGINT, as shells have it; the command line makes it 143 after SIGTERM


class MissingDependencyError(EdgeGenderError, ImportError):
    """An optional dependency is not installed.

    Args:
        package: The distribution that is missing.
        extra: The extra of edgegender that brings it.
    """

    exit_code = 3

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"Expected the package {package} to be installed, got none.",
            hint=f"pip install 'edgegender[{extra}]'",
        )
        self.package = package
        self.extra = extra
