"""Tests of edgegender. The folders mirror the package."""
