"""Tests of edgegender.runtime.capture."""
