"""The trained run, for tests of the training."""

from tests.trained_run import trained

__all__ = ["trained"]
