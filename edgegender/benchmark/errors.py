"""What can go wrong while measuring, or with a recorded result."""

from __future__ import annotations

from edgegender.errors import EdgeGenderError


class MeasurementError(EdgeGenderError, RuntimeError):
    """The measuring process died: out of memory, killed, or crashed in native code."""

    exit_code = 3


class ResultFileError(EdgeGenderError, ValueError):
    """A recorded result is missing, damaged, edited, or of another schema."""

    exit_code = 1
