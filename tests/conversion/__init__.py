"""Tests of edgegender.conversion."""
