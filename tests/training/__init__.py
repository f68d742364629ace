"""Tests of edgegender.training."""
