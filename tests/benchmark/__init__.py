"""Tests of edgegender.benchmark."""
