"""Tests of edgegender.serving."""
