"""Tests of edgegender.cli."""
