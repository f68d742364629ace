"""Tests of edgegender.data."""
