"""Tests of edgegender.runtime."""
