"""The trained run, for tests of the conversion."""

from tests.trained_run import trained

__all__ = ["trained"]
