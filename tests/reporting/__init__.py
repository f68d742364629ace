"""Tests of edgegender.reporting."""
